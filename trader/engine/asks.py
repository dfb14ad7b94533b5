"""What a person asks of the engine, and the tickets that it answers with. In journals for ever.

`CancelOrder` and `ClosePosition` are of journals from before all that is done had a ticket; so is a `Flatten`
of which no ticket was confirmed.
"""

from typing import Final

import msgspec

MANUAL: Final = "manual"
"""The strategy of a person's own orders."""

TICKET_MS: Final = 60_000
"""A ticket may be confirmed for so long."""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all of these."""


class Prepare(Ask, frozen=True):
    """Work out an order and say what risk says of it; nothing is placed.

    Attributes:
        price_e4: limit, in prices of `side`.
        rest_ms: how long what is not filled at once is to rest; None: it does not.
    """

    ticker: str
    side: str
    count_e2: int
    price_e4: int
    rest_ms: int | None = None


class PrepareSale(Ask, frozen=True):
    """Work out a sale of what is held of a market; nothing is sold.

    Attributes:
        count_e2: how much of it, None: all.
        price_e4: the least price, of the side that is held; None: at the bids.
    """

    ticker: str
    count_e2: int | None = None
    price_e4: int | None = None


class PrepareCancel(Ask, frozen=True):
    """Say what would be cancelled; `ahead_e2` is its place in the queue as known at `ahead_ms`."""

    number: int
    ahead_e2: int | None = None
    ahead_ms: int | None = None


class PrepareFlatten(Ask, frozen=True):
    """Say what flattening would cancel and sell; nothing is done."""


class Confirm(Ask, frozen=True):
    """Do what a ticket says."""

    ticket: int


class CancelOrder(Ask, frozen=True):
    """End an order, whoever placed it."""

    number: int


class ClosePosition(Ask, frozen=True):
    """Sell what is held of a market, at `price_e4` of the side that is held or better; None: at the bids."""

    ticker: str
    price_e4: int | None = None


class Flatten(Ask, frozen=True):
    """Cancel every order and close every position, as far as it goes now. It is asked in rounds, from 1."""

    round: int


class Adopt(Ask, frozen=True):
    """Take over what the exchange's account has, though nothing explains it; `lines` as they were shown."""

    lines: tuple[str, ...]


AnyPrepare = Prepare | PrepareSale | PrepareCancel | PrepareFlatten
AnyAsk = AnyPrepare | Confirm | CancelOrder | ClosePosition | Flatten | Adopt


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """A purchase as it would be placed now.

    Attributes:
        number: names it until it is confirmed; no two within eleven days have the same.
        best_e4: the best price now, None where nobody offers.
        fillable_e2: how much of it would be filled at once.
        cost_e6, fees_e6: of that; of an order that rests, of all of it.
        worst_e6: the most that it can cost, fees included, all of which can be lost.
        reason: why risk would not let it pass now, empty if it would.
        prepared_ms: when, by the steady clock. valid_until_ms: the end of its time by the wall clock.
        epoch: of the data that it was prepared on.
    """

    number: int
    ticker: str
    event_ticker: str
    label: str
    side: str
    count_e2: int
    price_e4: int
    rest_ms: int | None
    best_e4: int | None
    fillable_e2: int
    cost_e6: int
    fees_e6: int
    worst_e6: int
    reason: str
    prepared_ms: int
    valid_until_ms: int
    epoch: int = 0


class Sale(msgspec.Struct, frozen=True, array_like=True):
    """What selling a position, or a part of it, would do now. `side` is the one held, prices are its own.

    Attributes:
        held_e2: all that is held. count_e2: what of it would be sold.
        best_e4: the best bid, None where there is none. price_e4: nothing is sold for less; None: nothing is.
        brings_e6, fees_e6: of `count_e2`, at the bids of now.
        cost_e6: what that had cost, its fees included.
        settlement_e6: what it is expected to pay in the end, and `sources` who says so; None: not known.
        reason: why it, or what stays of it, would not be sold; empty if all of it would.
    """

    ticker: str
    event_ticker: str
    label: str
    side: str
    held_e2: int
    count_e2: int
    best_e4: int | None
    price_e4: int | None
    brings_e6: int
    fees_e6: int
    cost_e6: int
    settlement_e6: int | None
    sources: tuple[str, ...]
    reason: str

    @property
    def realised_e6(self) -> int:
        """What selling it earns, after all fees."""
        return self.brings_e6 - self.fees_e6 - self.cost_e6

    @property
    def against_settlement_e6(self) -> int | None:
        """What selling it earns more than keeping it is expected to; None while that is not known."""
        return None if self.settlement_e6 is None else self.brings_e6 - self.fees_e6 - self.settlement_e6


class ShownOrder(msgspec.Struct, frozen=True, array_like=True):
    """An order that has not ended, as it is shown before it is cancelled.

    `frees_e6` is what it may still cost, which is held for it.
    """

    number: int
    ticker: str
    event_ticker: str
    label: str
    side: str
    price_e4: int
    count_e2: int
    filled_e2: int
    frees_e6: int


class SaleTicket(msgspec.Struct, frozen=True, array_like=True):
    """A sale as it would be done now.

    Attributes:
        worst_before_e6, worst_after_e6: profit of all that is held in its event in the worst outcome, after
            cost and fees, as it is now and with the sale.
        reason, prepared_ms, valid_until_ms, epoch: those of `Ticket`.
    """

    number: int
    sale: Sale
    worst_before_e6: int
    worst_after_e6: int
    reason: str
    prepared_ms: int
    valid_until_ms: int
    epoch: int


class CancelTicket(msgspec.Struct, frozen=True, array_like=True):
    """An order that would be cancelled; its place in the queue as known at `ahead_ms`, None if it is not."""

    number: int
    order: ShownOrder
    ahead_e2: int | None
    ahead_ms: int | None
    prepared_ms: int
    valid_until_ms: int


class FlattenTicket(msgspec.Struct, frozen=True, array_like=True):
    """All that would be cancelled, and all that is held and what of it would be sold.

    `worst_before_e6` and `worst_after_e6` are those of SaleTicket, of all events in which something is held.
    """

    number: int
    orders: tuple[ShownOrder, ...]
    sales: tuple[Sale, ...]
    prepared_ms: int
    valid_until_ms: int
    epoch: int
    worst_before_e6: int = 0
    worst_after_e6: int = 0


AnyTicket = Ticket | SaleTicket | CancelTicket | FlattenTicket
