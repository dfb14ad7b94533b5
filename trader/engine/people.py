"""A person's own orders: tickets, and what is done when they are confirmed. Pure.

They pass the same choke point as a strategy's orders, with every limit except those that keep strategies from
repeating themselves: the least edge, and an event's pause after a miss. Orders that only sell what is held
also pass while trading is paused, at the daily loss, and after the start of a match, since they reduce risk.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from bus.trading import reasons
from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import fee_schedule, taker_fees_e6
from markets.opportunities import EventView, MarketView
from markets.opportunities.legs import ladder
from markets.orders import Intent, Proposal, Wanted, reserve_e6
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4
from trader.ledger.ledger import CLOSED_BY_HAND

from .asks import (
    MANUAL,
    TICKET_MS,
    Adopt,
    AnyAsk,
    AnyTicket,
    CancelOrder,
    CancelTicket,
    ClosePosition,
    Confirm,
    Flatten,
    FlattenTicket,
    Prepare,
    PrepareCancel,
    PrepareFlatten,
    PrepareSale,
    Sale,
    SaleTicket,
    ShownOrder,
    Ticket,
)
from .conditions import Conditions
from .outputs import (
    Adopted,
    Cancel,
    CancelPrepared,
    Confirmed,
    FlattenConfirmed,
    FlattenPrepared,
    Prepared,
    SalePrepared,
    Undone,
)
from .risk import LARGEST
from .selling import Selling, Sold, bid_for, sale, sales, worst_e6

NUMBERS: Final = 10_000_000
"""A ticket's number is the time in tenths of a second, modulo this: 11 days."""

Heard = (
    Adopted
    | Cancel
    | CancelPrepared
    | Confirmed
    | FlattenConfirmed
    | FlattenPrepared
    | Prepared
    | SalePrepared
    | Undone
)
Seen = Mapping[str, tuple[EventView, MarketView]]

KEPT: Final = 200
"""How many tickets are remembered."""


class Trading(Selling, Protocol):
    """The part of the engine that this needs."""

    paced_ms: int
    rules: int
    conditions: Conditions

    def placed_before(self, number: int) -> bool: ...

    def place_by_hand(self, proposal: Proposal, view: EventView) -> Intent | str: ...

    def adopt_drift(self, lines: Sequence[str]) -> str | None: ...


class People:
    """What people have asked for in this session.

    Attributes:
        least_e4: market -> its least price on the ticket that flattens; None: it is not sold.
    """

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._tickets: dict[int, AnyTicket] = {}
        self._confirmed: dict[int, tuple[int, ...]] = {}
        """Ticket -> the orders that it placed or cancelled."""
        self._last = -1
        self._withdrawn: set[int] = set()
        self.least_e4: dict[str, int | None] = {}

    def hear(self, ask: AnyAsk, views: Sequence[EventView]) -> Iterator[Heard]:
        """Do what a person asks; yield the results, apart from the orders that are placed.

        Args:
            views: the events concerned, as they are now.
        """
        seen = {one.market.ticker: (view, one) for view in views for one in view.markets}
        match ask:
            case Prepare():
                yield self._prepare(ask, seen)
            case PrepareSale():
                yield self._prepare_sale(ask, seen)
            case PrepareCancel():
                yield self._prepare_cancel(ask)
            case PrepareFlatten():
                yield self._prepare_flatten(seen)
            case Confirm():
                yield from self._confirm(ask.ticket, seen)
            case CancelOrder():
                yield self._cancel(ask.number)
            case ClosePosition():
                yield from self._close(ask.ticker, ask.price_e4, seen)
            case Flatten():
                if ask.least_e4 is not None:
                    self.least_e4 = ask.least_e4
                yield from self._flatten(ask.round, seen)
            case Adopt():
                reason = self._trading.adopt_drift(ask.lines)
                yield Adopted(ask.lines) if reason is None else Undone("adopt", "", reason)

    def events_of(self, ticket: int) -> Sequence[str]:
        """Return the events that must be looked at to confirm a ticket; none if the ticket is unknown."""
        match self._tickets.get(ticket):
            case Ticket(event_ticker=event_ticker):
                return [event_ticker]
            case SaleTicket(sale=shown):
                return [shown.event_ticker]
            case FlattenTicket():
                return sorted(self._trading.ledger.events())
            case _:
                return []

    # -- tickets

    def _prepare(self, ask: Prepare, seen: Seen) -> Heard:
        trading, found = self._trading, seen.get(ask.ticker)
        if found is None:
            return Undone("prepare", ask.ticker, reasons.MARKET_UNKNOWN)
        view, market = found
        fees = fee_schedule(view.event, view.series)
        if fees is None:
            return Undone("prepare", ask.ticker, reasons.FEE_UNKNOWN)
        if ask.count_e2 <= 0 or ask.side not in (YES, NO):
            return Undone("prepare", ask.ticker, reasons.BAD_SIZE)
        if ask.count_e2 * PRICE_ONE_E4 > LARGEST:
            return Undone("prepare", ask.ticker, reasons.UNREAL)
        if not 0 < ask.price_e4 < PRICE_ONE_E4:
            return Undone("prepare", ask.ticker, reasons.OFF_GRID)
        levels = ladder(market, ask.side, trading.scan).levels
        bought = fills([level for level in levels if level[0] <= ask.price_e4], ask.count_e2)
        got_e2 = depth(bought)
        paid = bought
        if ask.rest_ms is not None and got_e2 < ask.count_e2:
            paid = (*bought, (ask.price_e4, ask.count_e2 - got_e2))
        ticket = Ticket(
            number=self._next_number(),
            ticker=ask.ticker,
            event_ticker=view.event.event_ticker,
            label=market.market.yes_sub_title,
            side=ask.side,
            count_e2=ask.count_e2,
            price_e4=ask.price_e4,
            rest_ms=ask.rest_ms,
            best_e4=levels[0][0] if levels else None,
            fillable_e2=got_e2,
            cost_e6=cost_e6(paid),
            fees_e6=taker_fees_e6(fees, paid, time_ms=trading.now_ms),
            worst_e6=reserve_e6(fees, ask.price_e4, ask.count_e2, trading.now_ms),
            reason="",
            prepared_ms=trading.paced_ms,
            valid_until_ms=trading.now_ms + TICKET_MS,
            epoch=trading.conditions.epoch,
        )
        reason = self._moved(ticket, market, trading.objection(self._proposal(ticket, view), view))
        ticket = msgspec.structs.replace(ticket, reason=reason or "")
        self._keep(ticket)
        return Prepared(ticket)

    def _prepare_sale(self, ask: PrepareSale, seen: Seen) -> Heard:
        trading = self._trading
        position = trading.ledger.positions.get(ask.ticker)
        reason = None
        if position is None:
            reason = reasons.NOTHING_HELD
        elif ask.ticker not in seen:
            reason = reasons.MARKET_UNKNOWN
        elif ask.count_e2 is not None and (ask.count_e2 <= 0 or ask.count_e2 % COUNT_ONE_E2):
            reason = reasons.BAD_SIZE
        elif ask.count_e2 is not None and ask.count_e2 > position.count_e2:
            reason = reasons.MORE_THAN_HELD
        elif ask.price_e4 is not None and not 0 < ask.price_e4 < PRICE_ONE_E4:
            reason = reasons.OFF_GRID
        if reason is not None or position is None:
            return Undone("prepare", ask.ticker, reason or reasons.NOTHING_HELD)
        view, _ = seen[ask.ticker]
        told, proposals = sale(trading, position, seen, ask.count_e2, ask.price_e4)
        before_e6, after_e6 = worst_e6(trading, view.event.event_ticker, view, [(told, proposals)])
        ticket = SaleTicket(
            number=self._next_number(),
            sale=told,
            worst_before_e6=before_e6,
            worst_after_e6=after_e6,
            reason=_refused(told),
            prepared_ms=trading.paced_ms,
            valid_until_ms=trading.now_ms + TICKET_MS,
            epoch=trading.conditions.epoch,
        )
        self._keep(ticket)
        return SalePrepared(ticket)

    def _prepare_cancel(self, ask: PrepareCancel) -> Heard:
        trading = self._trading
        intent = trading.ledger.open.get(ask.number)
        if intent is None:
            return self._no_order("prepare", ask.number)
        ticket = CancelTicket(
            number=self._next_number(),
            order=self._shown(intent),
            ahead_e2=ask.ahead_e2,
            ahead_ms=ask.ahead_ms,
            prepared_ms=trading.paced_ms,
            valid_until_ms=trading.now_ms + TICKET_MS,
        )
        self._keep(ticket)
        return CancelPrepared(ticket)

    def _prepare_flatten(self, seen: Seen) -> Heard:
        trading = self._trading
        ledger = trading.ledger
        sold = [sale(trading, one, seen) for _, one in sorted(ledger.positions.items())]
        if trading.rules >= 4:
            sold = [_as_allowed(told, proposals) for told, proposals in sold]
        worst = []
        for event_ticker in sorted({position.event_ticker for position in ledger.positions.values()}):
            here = [one for one in sold if one[0].event_ticker == event_ticker]
            views = [seen[told.ticker][0] for told, _ in here if told.ticker in seen]
            worst.append(worst_e6(trading, event_ticker, views[0] if views else None, here))
        ticket = FlattenTicket(
            number=self._next_number(),
            orders=tuple(
                self._shown(intent) for _, intent in sorted(ledger.open.items()) if not _sells(intent)
            ),
            sales=tuple(told for told, _ in sold),
            prepared_ms=trading.paced_ms,
            valid_until_ms=trading.now_ms + TICKET_MS,
            epoch=trading.conditions.epoch,
            worst_before_e6=sum(before_e6 for before_e6, _ in worst),
            worst_after_e6=sum(after_e6 for _, after_e6 in worst),
        )
        self._keep(ticket)
        return FlattenPrepared(ticket)

    def _shown(self, intent: Intent) -> ShownOrder:
        ledger = self._trading.ledger
        return ShownOrder(
            number=intent.number,
            ticker=intent.ticker,
            event_ticker=intent.event_ticker,
            label=intent.label,
            side=intent.side,
            price_e4=intent.price_e4,
            count_e2=intent.count_e2,
            filled_e2=ledger.filled(intent.number).count_e2,
            frees_e6=ledger.left_e6(intent),
        )

    def _next_number(self) -> int:
        number = self._trading.now_ms // 100 % NUMBERS
        while number in self._tickets or number == self._last:
            number = (number + 1) % NUMBERS
        self._last = number
        return number

    def _keep(self, ticket: AnyTicket) -> None:
        self._tickets[ticket.number] = ticket
        for old in list(self._tickets)[:-KEPT]:
            del self._tickets[old]
            self._confirmed.pop(old, None)

    # -- carrying out tickets

    def _confirm(self, number: int, seen: Seen) -> Iterator[Heard]:
        ticket, trading = self._tickets.get(number), self._trading
        if ticket is None:
            yield Undone("confirm", str(number), reasons.TICKET_UNKNOWN)
            return
        done = self._confirmed.get(number)
        if done is not None:  # confirmed again: the answer is the same, and nothing more is done
            if isinstance(ticket, FlattenTicket):
                yield FlattenConfirmed(number, again=True)
            yield from (Confirmed(number, order) for order in done)
            return
        if trading.paced_ms - ticket.prepared_ms > TICKET_MS:
            yield Undone("confirm", str(number), reasons.TICKET_EXPIRED)
            return
        if (
            not isinstance(ticket, CancelTicket)
            and trading.rules >= 2
            and ticket.epoch != trading.conditions.epoch
        ):
            yield Undone("confirm", str(number), reasons.OTHER_EPOCH)
            return
        match ticket:
            case Ticket():
                yield self._buy(ticket, seen)
            case SaleTicket():
                yield from self._sell(ticket, seen)
            case CancelTicket():
                yield from self._end(ticket)
            case FlattenTicket():
                yield self._begin_flattening(ticket)

    def _buy(self, ticket: Ticket, seen: Seen) -> Heard:
        number, found = ticket.number, seen.get(ticket.ticker)
        if found is None:
            return Undone("confirm", str(number), reasons.MARKET_UNKNOWN)
        view, market = found
        placed = self._trading.place_by_hand(self._proposal(ticket, view), view)
        if isinstance(placed, str):
            return Undone("confirm", str(number), self._moved(ticket, market, placed) or placed)
        self._confirmed[number] = (placed.number,)
        return Confirmed(number, placed.number)

    def _moved(self, ticket: Ticket, market: MarketView, reason: str | None) -> str | None:
        """Return why a ticket is refused, in the most telling word: no depth may mean a moved price."""
        if reason != reasons.NO_DEPTH:
            return reason
        levels = ladder(market, ticket.side, self._trading.scan).levels
        return reasons.PRICE_MOVED if levels and levels[0][0] > ticket.price_e4 else reason

    def _proposal(self, ticket: Ticket, view: EventView) -> Proposal:
        trading, expires_ms = self._trading, None
        if ticket.rest_ms is not None:
            ends_ms = [trading.now_ms + ticket.rest_ms]
            ends_ms += [
                one.market.close_ms
                for one in view.markets
                if one.market.ticker == ticket.ticker and one.market.close_ms is not None
            ]
            if view.timing.start_ms is not None and not trading.scan.in_play:
                ends_ms.append(view.timing.start_ms)
            expires_ms = min(ends_ms)
        return Proposal(
            strategy=MANUAL,
            event_ticker=ticket.event_ticker,
            legs=(Wanted(ticket.ticker, ticket.side, ticket.price_e4, ticket.count_e2),),
            edge_e6=0,
            probability=None,
            time_in_force="ioc" if expires_ms is None else "gtc",
            expires_ms=expires_ms,
            by_hand=True,
        )

    def _sell(self, ticket: SaleTicket, seen: Seen) -> Iterator[Heard]:
        number, shown = str(ticket.number), ticket.sale
        reason = self._other_position(shown, exactly=True)
        if reason is not None:
            yield Undone("confirm", number, reason)
            return
        if shown.ticker not in seen:
            yield Undone("confirm", number, reasons.MARKET_UNKNOWN)
            return
        if not shown.count_e2:
            yield Undone("confirm", number, shown.reason)
            return
        view, _ = seen[shown.ticker]
        position = self._trading.ledger.positions[shown.ticker]
        now, proposals = sale(self._trading, position, seen, shown.count_e2, shown.price_e4)
        if now.reason:
            moved = now.count_e2 < shown.count_e2 and now.reason in _STAYS
            yield Undone("confirm", number, reasons.PRICE_MOVED if moved else now.reason)
            return
        orders = []
        for proposal in proposals:
            placed = self._trading.place_by_hand(proposal, view)
            if isinstance(placed, str):
                yield Undone("confirm", shown.ticker, placed, proposal.legs[0].count_e2)
                continue
            orders.append(placed.number)
            yield Confirmed(ticket.number, placed.number)
        if orders:
            self._confirmed[ticket.number] = tuple(orders)

    def _other_position(self, shown: Sale, *, exactly: bool) -> str | None:
        """Return why the position is not the one shown; None if it is, or, unless `exactly`, is smaller."""
        position = self._trading.ledger.positions.get(shown.ticker)
        if position is None:
            return reasons.NOTHING_HELD if exactly else None
        same = position.side == shown.side and position.count_e2 <= shown.held_e2
        if not same or (exactly and position.count_e2 < shown.held_e2):
            return reasons.SIZE_MOVED
        return None

    def _end(self, ticket: CancelTicket) -> Iterator[Heard]:
        intent, shown = self._trading.ledger.open.get(ticket.order.number), ticket.order
        if intent is None:
            yield self._no_order("confirm", shown.number)
        elif (intent.price_e4, intent.count_e2) != (shown.price_e4, shown.count_e2):
            yield Undone("confirm", str(ticket.number), reasons.SIZE_MOVED)
        else:
            self._confirmed[ticket.number] = (shown.number,)
            yield Cancel(shown.number, reasons.CANCELLED)
            yield Confirmed(ticket.number, shown.number)

    def _begin_flattening(self, ticket: FlattenTicket) -> Heard:
        shown = {one.ticker: one for one in ticket.sales}
        for ticker in self._trading.ledger.positions:
            line = shown.get(ticker)
            if line is None or self._other_position(line, exactly=False) is not None:
                return Undone("confirm", str(ticket.number), reasons.SIZE_MOVED)
        self._confirmed[ticket.number] = ()
        self.least_e4 = {one.ticker: one.price_e4 for one in ticket.sales}
        return FlattenConfirmed(ticket.number)

    # -- reducing risk

    def _no_order(self, op: str, number: int) -> Undone:
        ended = self._trading.placed_before(number)
        return Undone(op, str(number), reasons.ORDER_ENDED if ended else reasons.ORDER_UNKNOWN)

    def _cancel(self, number: int) -> Heard:
        if number in self._trading.ledger.open:
            return Cancel(number, reasons.CANCELLED)
        return self._no_order("cancel", number)

    def _close(
        self, ticker: str, least_e4: int | None, seen: Seen, stays: str = reasons.NO_DEPTH
    ) -> Iterator[Heard]:
        trading, found = self._trading, seen.get(ticker)
        position = trading.ledger.positions.get(ticker)
        if position is None:
            yield Undone("close", ticker, reasons.NOTHING_HELD)
            return
        if found is None:
            yield Undone("close", ticker, reasons.MARKET_UNKNOWN, position.count_e2)
            return
        view, market = found
        stays_e2 = position.count_e2
        for proposal in sales(trading.ledger, view, market, least_e4, trading.limits, trading.scan):
            count_e2 = proposal.legs[0].count_e2
            placed = trading.place_by_hand(proposal, view)
            if isinstance(placed, str):
                yield Undone("close", ticker, placed, count_e2)
            stays_e2 -= count_e2
        if stays_e2:
            part, offered = stays_e2 < COUNT_ONE_E2, bid_for(market, position.side, trading.scan)
            because = stays if offered else reasons.NO_DEPTH
            yield Undone("close", ticker, reasons.BAD_SIZE if part else because, stays_e2)

    def _flatten(self, number: int, seen: Seen) -> Iterator[Heard]:
        ledger = self._trading.ledger
        if number <= 1:
            self._withdrawn.clear()
        ordered = {intent.ticker for intent in ledger.open.values()}
        for intent in list(ledger.open.values()):
            if intent.number not in self._withdrawn and not _sells(intent):
                self._withdrawn.add(intent.number)
                yield Cancel(intent.number, reasons.CANCELLED)
        for ticker in sorted(ledger.positions):
            least_e4 = self.least_e4.get(ticker)
            if ticker in ordered:  # its fills may not all be known yet: it is closed in a later round
                yield Undone("close", ticker, reasons.RETRY_LATER, ledger.positions[ticker].count_e2)
            elif ticker in self.least_e4 and least_e4 is None:  # nobody bid when the ticket was made
                yield Undone("close", ticker, reasons.NO_DEPTH, ledger.positions[ticker].count_e2)
            else:
                stays = reasons.NO_DEPTH if least_e4 is None else reasons.PRICE_MOVED
                yield from self._close(ticker, least_e4, seen, stays)


def _sells(intent: Intent) -> bool:
    """Whether an order is a person's sale that will end in a moment anyway."""
    return intent.attempt == CLOSED_BY_HAND and intent.time_in_force != "gtc"


_STAYS: Final = frozenset({reasons.NO_DEPTH, reasons.BAD_SIZE, reasons.PRICE_MOVED})
"""Why part of a position stays while the rest is sold."""


def _as_allowed(told: Sale, proposals: Sequence[Proposal]) -> Sold:
    """Return a line of a flattening as risk lets it be done now: sold as shown, or not at all."""
    if not _refused(told):
        return told, proposals
    nothing = msgspec.structs.replace(
        told, count_e2=0, brings_e6=0, fees_e6=0, cost_e6=0, settlement_e6=None, sources=()
    )
    return nothing, ()


def _refused(told: Sale) -> str:
    """Return why nothing would be sold; empty if part of it would, when the reason concerns only the rest."""
    return "" if told.count_e2 and told.reason in _STAYS else told.reason
