"""What the engine decides, in order. The journal stores each decision; then the worker carries it out."""

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
    """Ask for the end of a resting order. What comes of it arrives as an input."""

    number: int
    reason: str


class Amend(Output, frozen=True):
    """Ask for another price or count of a resting order; until the answer, the costlier of both is reserved.

    `count_e2` is what it has filled plus what is to rest, `reserve_e6` the most that it can then cost.
    """

    number: int
    price_e4: int
    count_e2: int
    reserve_e6: int


class Amended(Output, frozen=True, tag="AmendBooked"):
    """How an order rests now: as was asked, or, if `refused`, as before."""

    number: int
    price_e4: int
    count_e2: int
    reserve_e6: int
    refused: bool


class Foreign(Output, frozen=True):
    """A fill that is not ours is booked. `closed`: trades, and how much of their lots it closed."""

    fill: ForeignFill
    closed: tuple[tuple[int, int], ...]
    time_ms: int


class Rehomed(Output, frozen=True):
    """A holding that we did not buy belongs to this event, not to the one that was guessed."""

    ticker: str
    event_ticker: str


class External(Output, frozen=True):
    """Cash came or went other than by our trading, and is booked. `id` is the exchange's name for it."""

    id: str
    kind: str
    exchange_index: int
    amount_e6: int
    time_ms: int


class Alarm(Output, frozen=True):
    """Something happened that must not happen: nothing is traded until a person has looked at it (resume)."""

    line: str


class Booked(Output, frozen=True):
    """What happened to an order in one input; its new fills are booked.

    `status` is its state afterwards: open; or, if ended, filled, partial, cancelled or rejected. `reason`
    says why it ended, or, for an open one, why its fate is unknown; else it is empty. `late`: the order had
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
    """A settlement was corrected; `before` is how it was booked before."""

    settlement: Settlement
    before: Settlement


class Refused(Output, frozen=True):
    """A strategy wanted a trade, and risk refused it."""

    strategy: str
    event_ticker: str
    reason: str


class Dropped(Output, frozen=True):
    """A strategy is no longer called in this session: this call raised that type of error."""

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
    """A confirmed ticket placed or cancelled this order; repeated whenever it is confirmed again."""

    ticket: int
    order: int


class FlattenConfirmed(Output, frozen=True):
    """A person wants everything flattened: rounds of `asks.Flatten` follow. `again`: confirmed again."""

    ticket: int
    again: bool = False


class Adopted(Output, frozen=True):
    """A person has accepted these lines of drift: the ledger now has what the exchange lists."""

    lines: tuple[str, ...]


class Undone(Output, frozen=True):
    """What a person asked for, or part of it, was not done.

    `subject` is the ticket, order or market; `count_e2` is what is left of a position that was to be closed.
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
    """The daily loss has reached its limit (`latched`), or somebody has decided to go on trading.

    `base_e6` is the profit from which the loss is counted.
    """

    day: int
    base_e6: int
    latched: bool


class Switch(Output, frozen=True):
    """A person stopped or allowed trading: `killed` and `paused` hold the reason, None if it is neither."""

    killed: str | None
    paused: str | None


class Equity(Output, frozen=True):
    """A point of the equity curve: positions at bid and at settlement, None while unknown."""

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
    """Return one step's outputs as bytes; the same decisions give the same bytes."""
    return _encode(outputs) if outputs else b""


def decode_outputs(body: bytes) -> tuple[AnyOutput, ...]:
    """Return the outputs of one step."""
    return _decoder.decode(body) if body else ()


def agree(outputs: list[AnyOutput], written: bytes) -> bool:
    """Return whether one step's outputs equal those that were stored by this version or an earlier one.

    An earlier version stored fewer members. Those added since, always at the end and with a default, are not
    compared; everything that was stored is.
    """
    if encode_outputs(outputs) == written:
        return True
    try:
        decode_outputs(written)  # proves that every member without a default was stored
        return _agrees(outputs, msgspec.msgpack.decode(written) if written else [])
    except msgspec.MsgspecError:
        return False


def _agrees(now: object, then: object) -> bool:
    """Whether stored values, decoded as plain msgpack, say the same as far as they go."""
    if isinstance(now, msgspec.Struct):
        tag = now.__struct_config__.tag
        members = (*(() if tag is None else (tag,)), *msgspec.structs.astuple(now))
        return isinstance(then, list) and all(map(_agrees, members, then)) and len(then) <= len(members)
    if isinstance(now, list | tuple):
        return isinstance(then, list) and len(now) == len(then) and all(map(_agrees, now, then))
    return now == then
