"""What the engine decides, in order. The journal writes each down; then the worker carries it out."""

from collections.abc import Sequence

import msgspec

from bus.trading.gateway import ForeignFill
from markets.orders import Fill, Intent, OrderState, Settlement

from .asks import CancelTicket, FlattenTicket, SaleTicket, Ticket


class Output(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all outputs."""


class Place(Output, frozen=True):
    """Carry out an order, once it is in the journal."""

    intent: Intent


class Cancel(Output, frozen=True):
    """Ask for the end of an order that rests. What comes of it is an input of its own."""

    number: int
    reason: str


class Amend(Output, frozen=True):
    """Ask for another price or count of an order that rests; what either may cost is held until then.

    `count_e2` is what it has got and what shall rest, `reserve_e6` the most that it can cost so.
    """

    number: int
    price_e4: int
    count_e2: int
    reserve_e6: int


class Amended(Output, frozen=True, tag="AmendBooked"):
    """An order rests like this now: as was asked, or, `refused`, as before."""

    number: int
    price_e4: int
    count_e2: int
    reserve_e6: int
    refused: bool


class Foreign(Output, frozen=True):
    """A fill that is not ours is in the ledger. `closed`: trades and what of their lots it has ended."""

    fill: ForeignFill
    closed: tuple[tuple[int, int], ...]
    time_ms: int


class Rehomed(Output, frozen=True):
    """What is held of a market, and was not bought by us, is of this event and not of the one guessed."""

    ticker: str
    event_ticker: str


class External(Output, frozen=True):
    """Cash came or went by other ways than ours, and is in the ledger. `id` is the exchange's name for it."""

    id: str
    kind: str
    exchange_index: int
    amount_e6: int
    time_ms: int


class Alarm(Output, frozen=True):
    """Something happened that must not: nothing is traded until a person has looked at it (resume)."""

    line: str


class Booked(Output, frozen=True):
    """What happened to an order in one input: its new fills are in the ledger.

    `status` is what it is after that: open; or, ended, filled, partial, cancelled or rejected. `reason` says
    why it ended, of an open one why nobody can say what became of it; empty if somebody can. `late`: it had
    ended before.
    """

    number: int
    status: OrderState
    reason: str
    fills: tuple[Fill, ...]
    time_ms: int
    late: bool = False


class Settled(Output, frozen=True):
    """A position was paid out."""

    settlement: Settlement


class Corrected(Output, frozen=True):
    """A settlement was booked anew: `before` it was said otherwise."""

    settlement: Settlement
    before: Settlement


class Refused(Output, frozen=True):
    """A strategy wanted a trade and risk said no."""

    strategy: str
    event_ticker: str
    reason: str


class Dropped(Output, frozen=True):
    """A strategy is not called any more in this session: this call of it raised that type of error."""

    strategy: str
    call: str
    error: str


class Prepared(Output, frozen=True):
    """A person has a ticket to buy. Nothing is placed."""

    ticket: Ticket


class SalePrepared(Output, frozen=True):
    """A person has a ticket to sell. Nothing is placed."""

    ticket: SaleTicket


class CancelPrepared(Output, frozen=True):
    """A person has a ticket to cancel an order. Nothing is cancelled."""

    ticket: CancelTicket


class FlattenPrepared(Output, frozen=True):
    """A person has a ticket to flatten. Nothing is done."""

    ticket: FlattenTicket


class Confirmed(Output, frozen=True):
    """A ticket has become this order, or the end of it; said again each time that it is confirmed."""

    ticket: int
    order: int


class FlattenConfirmed(Output, frozen=True):
    """A person wants all of it flattened: rounds of `asks.Flatten` follow. `again`: it was said before."""

    ticket: int
    again: bool = False


class Adopted(Output, frozen=True):
    """A person has accepted these lines of drift: the ledger has what the exchange lists."""

    lines: tuple[str, ...]


class Undone(Output, frozen=True):
    """What a person asked for, or a part of it, was not done.

    `subject` is the ticket, order or market; `count_e2` what stays of a position that was to be closed.
    """

    op: str
    subject: str
    reason: str
    count_e2: int = 0


class Day(Output, frozen=True):
    """A day (days since 1970, UTC) begins with this total profit."""

    day: int
    start_e6: int


class DailyLoss(Output, frozen=True):
    """The loss of a day has reached its limit (`latched`), or somebody has said to trade all the same.

    `base_e6` is the profit from which the loss is counted.
    """

    day: int
    base_e6: int
    latched: bool


class Switch(Output, frozen=True):
    """Trading was stopped or allowed by a person: `killed` and `paused` hold the reason, None if not."""

    killed: str | None
    paused: str | None


class Equity(Output, frozen=True):
    """A point of the equity curve: positions at bid and at settlement, None while that is unknown."""

    time_ms: int
    cash_e6: int
    positions_e6: int | None
    realised_e6: int
    fees_e6: int
    settlement_e6: int | None = None


AnyOutput = (
    Place
    | Cancel
    | Amend
    | Amended
    | Booked
    | Foreign
    | External
    | Rehomed
    | Alarm
    | Settled
    | Corrected
    | Refused
    | Dropped
    | Day
    | DailyLoss
    | Switch
    | Equity
    | Prepared
    | SalePrepared
    | CancelPrepared
    | FlattenPrepared
    | Confirmed
    | FlattenConfirmed
    | Adopted
    | Undone
)

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(tuple[AnyOutput, ...])


def encode_outputs(outputs: Sequence[AnyOutput]) -> bytes:
    """Return one step's outputs as bytes; the same decisions are the same bytes."""
    return _encode(outputs) if outputs else b""


def decode_outputs(body: bytes) -> tuple[AnyOutput, ...]:
    """Return the outputs of one step."""
    return _decoder.decode(body) if body else ()


def agree(outputs: list[AnyOutput], written: bytes) -> bool:
    """Return whether one step's outputs are those that were written, by this version or an earlier one.

    An earlier version wrote fewer members: those added since, always at the end and with a default, are not
    compared. Everything that was written is.
    """
    if encode_outputs(outputs) == written:
        return True
    try:
        decode_outputs(written)  # whatever has no default was written
        return _agrees(outputs, msgspec.msgpack.decode(written) if written else [])
    except msgspec.MsgspecError:
        return False


def _agrees(now: object, then: object) -> bool:
    """Whether what was written, of which only msgpack is known, says the same as far as it goes."""
    if isinstance(now, msgspec.Struct):
        tag = now.__struct_config__.tag
        members = (*(() if tag is None else (tag,)), *msgspec.structs.astuple(now))
        return isinstance(then, list) and all(map(_agrees, members, then)) and len(then) <= len(members)
    if isinstance(now, list | tuple):
        return isinstance(then, list) and len(now) == len(then) and all(map(_agrees, now, then))
    return now == then
