"""A person's own orders: tickets, their confirmation, cancelling, closing and flattening. Pure.

They pass the same choke point as a strategy's, with every limit but those that keep strategies from
repeating themselves: least edge, and the rest of an event after a miss. What only sells what is held also
passes while trading is paused, at the loss of the day and after the start of a match: it takes risk off.

Selling is buying the other outcome: each trade's own lot is sold by an order of that trade.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from bus.trading import reasons
from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import fee_schedule, taker_fees_e6
from markets.opportunities import EventView, MarketView, ScanLimits
from markets.opportunities.legs import ladder
from markets.orders import Intent, Proposal, Wanted, reserve_e6
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4, opposite
from trader.ledger.ledger import CLOSED_BY_HAND, Ledger

from .asks import (
    MANUAL,
    TICKET_MS,
    Adopt,
    AnyAsk,
    CancelOrder,
    ClosePosition,
    Confirm,
    Flatten,
    Prepare,
    Ticket,
)
from .outputs import Adopted, Cancel, Confirmed, Prepared, Undone
from .risk import LARGEST, Limits

NUMBERS: Final = 10_000_000
"""Numbers of tickets are tenths of a second, and begin anew with this: 11 days."""

Heard = Adopted | Cancel | Confirmed | Prepared | Undone

KEPT: Final = 200
"""So many tickets are remembered."""


class Trading(Protocol):
    """What this needs of the engine."""

    ledger: Ledger
    limits: Limits
    scan: ScanLimits
    now_ms: int
    paced_ms: int

    def placed_before(self, number: int) -> bool: ...

    def objection(self, proposal: Proposal, view: EventView) -> str | None: ...

    def place_by_hand(self, proposal: Proposal, view: EventView) -> Intent | str: ...

    def adopt_drift(self, lines: Sequence[str]) -> str | None: ...


class People:
    """What people have asked for, in this session."""

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._tickets: dict[int, Ticket] = {}
        self._confirmed: dict[int, int] = {}
        self._last = -1
        self._withdrawn: set[int] = set()

    def hear(self, ask: AnyAsk, views: Sequence[EventView]) -> Iterator[Heard]:
        """Do what a person asks; yield what came of it, besides the orders that are placed.

        Args:
            views: the events that it concerns, as they are now.
        """
        seen = {one.market.ticker: (view, one) for view in views for one in view.markets}
        match ask:
            case Prepare():
                yield self._prepare(ask, seen)
            case Confirm():
                yield self._confirm(ask.ticket, seen)
            case CancelOrder():
                yield self._cancel(ask.number)
            case ClosePosition():
                yield from self._close(ask.ticker, ask.price_e4, seen)
            case Flatten():
                yield from self._flatten(ask.round, seen)
            case Adopt():
                reason = self._trading.adopt_drift(ask.lines)
                yield Adopted(ask.lines) if reason is None else Undone("adopt", "", reason)

    def ticker_of(self, ticket: int) -> str | None:
        """Return the market of a ticket that is remembered."""
        found = self._tickets.get(ticket)
        return None if found is None else found.ticker

    # -- tickets

    def _prepare(self, ask: Prepare, seen: Mapping[str, tuple[EventView, MarketView]]) -> Heard:
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
        )
        reason = self._moved(ticket, market, trading.objection(self._proposal(ticket, view), view))
        ticket = msgspec.structs.replace(ticket, reason=reason or "")
        self._tickets[ticket.number] = ticket
        for old in list(self._tickets)[:-KEPT]:
            del self._tickets[old]
            self._confirmed.pop(old, None)
        return Prepared(ticket)

    def _next_number(self) -> int:
        number = self._trading.now_ms // 100 % NUMBERS
        while number in self._tickets or number == self._last:
            number = (number + 1) % NUMBERS
        self._last = number
        return number

    def _confirm(self, number: int, seen: Mapping[str, tuple[EventView, MarketView]]) -> Heard:
        ticket, trading = self._tickets.get(number), self._trading
        if ticket is None:
            return Undone("confirm", str(number), reasons.TICKET_UNKNOWN)
        if number in self._confirmed:  # said again: it is one order all the same
            return Confirmed(number, self._confirmed[number])
        if trading.paced_ms - ticket.prepared_ms > TICKET_MS:
            return Undone("confirm", str(number), reasons.TICKET_EXPIRED)
        found = seen.get(ticket.ticker)
        if found is None:
            return Undone("confirm", str(number), reasons.MARKET_UNKNOWN)
        view, market = found
        placed = trading.place_by_hand(self._proposal(ticket, view), view)
        if isinstance(placed, str):
            return Undone("confirm", str(number), self._moved(ticket, market, placed) or placed)
        self._confirmed[number] = placed.number
        return Confirmed(number, placed.number)

    def _moved(self, ticket: Ticket, market: MarketView, reason: str | None) -> str | None:
        """Return why a ticket is refused, in the word that says most: of too little depth, that it moved."""
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

    # -- taking risk off

    def _cancel(self, number: int) -> Heard:
        if number in self._trading.ledger.open:
            return Cancel(number, reasons.CANCELLED)
        ended = self._trading.placed_before(number)
        return Undone("cancel", str(number), reasons.ORDER_ENDED if ended else reasons.ORDER_UNKNOWN)

    def _close(
        self, ticker: str, least_e4: int | None, seen: Mapping[str, tuple[EventView, MarketView]]
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
            part = stays_e2 < COUNT_ONE_E2
            yield Undone("close", ticker, reasons.BAD_SIZE if part else reasons.NO_DEPTH, stays_e2)

    def _flatten(self, number: int, seen: Mapping[str, tuple[EventView, MarketView]]) -> Iterator[Heard]:
        ledger = self._trading.ledger
        if number <= 1:
            self._withdrawn.clear()
        ordered = {intent.ticker for intent in ledger.open.values()}
        for intent in list(ledger.open.values()):
            sells = intent.attempt == CLOSED_BY_HAND and intent.time_in_force != "gtc"
            if intent.number not in self._withdrawn and not sells:
                self._withdrawn.add(intent.number)
                yield Cancel(intent.number, reasons.CANCELLED)
        for ticker in sorted(ledger.positions):
            if ticker in ordered:  # what it gets may yet be heard: it is closed in another round
                yield Undone("close", ticker, reasons.RETRY_LATER, ledger.positions[ticker].count_e2)
            else:
                yield from self._close(ticker, None, seen)


def sales(
    ledger: Ledger,
    view: EventView,
    market: MarketView,
    least_e4: int | None,
    limits: Limits,
    scan: ScanLimits,
) -> list[Proposal]:
    """Return the orders that sell the net position in a market, lot by lot, the oldest first.

    No more than is bid for within the price collar, in whole contracts, and nothing below `least_e4`.
    """
    ticker = market.market.ticker
    position = ledger.positions[ticker]
    side = NO if position.side == YES else YES
    levels = ladder(market, side, scan).levels
    most_e4 = levels[0][0] + limits.price_collar_e4 if levels else 0
    if least_e4 is not None:
        most_e4 = min(most_e4, opposite(least_e4))
    within = [level for level in levels if level[0] <= most_e4]
    left_e2 = min(position.count_e2, depth(within))
    found, before_e2 = [], 0
    for lot in sorted(ledger.lots[ticker].values(), key=lambda lot: (lot.opened_ms, lot.trade)):
        count_e2 = min(lot.count_e2, left_e2) // COUNT_ONE_E2 * COUNT_ONE_E2
        if lot.side != position.side or not count_e2:
            continue
        left_e2 -= count_e2
        before_e2 += count_e2
        price_e4 = fills(within, before_e2)[-1][0]
        found.append(
            Proposal(
                strategy=MANUAL,
                event_ticker=view.event.event_ticker,
                legs=(Wanted(ticker, side, price_e4, count_e2),),
                edge_e6=0,
                probability=None,
                evens=lot.trade,
                by_hand=True,
            )
        )
    return found
