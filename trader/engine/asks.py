"""What a person asks of the engine, and the tickets it answers with. Journals keep these shapes for ever.

`CancelOrder` and `ClosePosition` occur only in journals from before everything had a ticket, and so does a
`Flatten` without a confirmed ticket.
"""

from typing import Final

import msgspec

MANUAL: Final = "manual"
"""The strategy of a person's own orders."""

TICKET_MS: Final = 60_000
"""How long a ticket may be confirmed."""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all of these."""


class Prepare(Ask, frozen=True):
    """Work out an order, with risk's verdict; nothing is placed.

    Attributes:
        price_e4: the limit, as a price of `side`.
        rest_ms: how long the part not filled at once may rest; None: it is cancelled.
    """

    ticker: str
    side: str
    count_e2: int
    price_e4: int
    rest_ms: int | None = None


class PrepareSale(Ask, frozen=True):
    """Work out a sale of a position; nothing is sold.

    Attributes:
        count_e2: how much of it; None: all.
        price_e4: the least price, of the side held; None: at the bids.
    """

    ticker: str
    count_e2: int | None = None
    price_e4: int | None = None


class PrepareCancel(Ask, frozen=True):
    """Say what cancelling an order would do; `ahead_e2` was its place in the queue at `ahead_ms`."""

    number: int
    ahead_e2: int | None = None
    ahead_ms: int | None = None


class PrepareFlatten(Ask, frozen=True):
    """Say what flattening would cancel and sell; nothing is done."""


class Confirm(Ask, frozen=True):
    """Do what a ticket says."""

    ticket: int


class CancelOrder(Ask, frozen=True):
    """Cancel an order, whoever placed it."""

    number: int


class ClosePosition(Ask, frozen=True):
    """Sell a position, at `price_e4` of the side held or better; None: at the bids."""

    ticker: str
    price_e4: int | None = None


class Flatten(Ask, frozen=True):
    """Cancel every order and close every position, as far as possible now. Asked in rounds, from 1.

    Attributes:
        least_e4: market -> its least price on the ticket, as in `People.least_e4`; None in older journals:
            that of the ticket confirmed last in this session.
    """

    round: int
    least_e4: dict[str, int | None] | None = None


class Adopt(Ask, frozen=True):
    """Accept the exchange's account although nothing explains its differences; `lines` as they were shown."""

    lines: tuple[str, ...]


AnyPrepare = Prepare | PrepareSale | PrepareCancel | PrepareFlatten
AnyAsk = AnyPrepare | Confirm | CancelOrder | ClosePosition | Flatten | Adopt


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """A purchase as it would be placed now.

    Attributes:
        number: identifies the ticket; unique within eleven days.
        best_e4: the best price now, None if nobody offers.
        fillable_e2: how much of it would be filled at once.
        cost_e6, fees_e6: of that part; for an order that rests, of the whole order.
        worst_e6: the most that it can cost, including fees, all of which can be lost.
        reason: why risk would refuse it now, empty if it would not.
        prepared_ms: when, by the steady clock. valid_until_ms: when it expires, by the wall clock.
        epoch: the epoch of the data that it was prepared on.
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
    """What selling a position, or part of it, would do now. `side` is the one held, prices are of that side.

    Attributes:
        held_e2: how much is held. count_e2: how much of it would be sold.
        best_e4: the best bid, None if there is none. price_e4: the least price; None: nothing is sold.
            Of a flattening, which tries again, it has a price also while risk refuses it, with a count of 0.
        brings_e6, fees_e6: proceeds and fees of `count_e2`, at the current bids.
        cost_e6: what those had cost, including fees.
        settlement_e6: their expected payout, according to `sources`; None: unknown.
        reason: why it, or the rest of it, would not be sold; empty if all of it would.
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
        """The profit of selling it, after all fees."""
        return self.brings_e6 - self.fees_e6 - self.cost_e6

    @property
    def against_settlement_e6(self) -> int | None:
        """How much more selling it brings than keeping it is expected to pay; None while that is unknown."""
        return None if self.settlement_e6 is None else self.brings_e6 - self.fees_e6 - self.settlement_e6


class ShownOrder(msgspec.Struct, frozen=True, array_like=True):
    """An order that has not ended, as it is shown before it is cancelled.

    `frees_e6` is what it may still cost, the money reserved for it.
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
    """A sale as it would be carried out now.

    Attributes:
        worst_before_e6, worst_after_e6: profit of everything held in its event in the worst outcome, after
            cost and fees, now and after the sale.
        reason, prepared_ms, valid_until_ms, epoch: as in `Ticket`.
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
    """An order that would be cancelled; `ahead_e2`, its place in the queue at `ahead_ms`, None if unknown."""

    number: int
    order: ShownOrder
    ahead_e2: int | None
    ahead_ms: int | None
    prepared_ms: int
    valid_until_ms: int


class FlattenTicket(msgspec.Struct, frozen=True, array_like=True):
    """Everything that would be cancelled, everything held, and how much of that would be sold.

    `worst_before_e6` and `worst_after_e6` are as in SaleTicket, summed over all events with positions.
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
