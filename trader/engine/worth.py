"""What is held is worth: bids of positions, profit, the days and the equity curve. Pure."""

from typing import Final

from markets.book import YES
from markets.opportunities import EventView
from markets.opportunities.legs import top
from markets.orders import Position
from markets.records import Market, Status
from markets.units import PRICE_ONE_E4, opposite
from trader.ledger.ledger import Ledger

from .outputs import Day, Equity

DAY_MS: Final = 86_400_000
EQUITY_EVERY_MS: Final = 60_000


class Worth:
    """Values a ledger at the bids that were last seen.

    The day is told by the steady clock from where the wall clock stood as the session began: neither does a
    clock that is set begin a day, and with it room for another day's loss, nor does it hold one up for years.

    Args:
        day: days since 1970 of the last `Day`.
        offset_ms: of the wall clock to the steady one, as the session began; None in a session of old, whose
            days are those of the wall clock.

    Attributes:
        day_start_e6: the profit with which that day began.
    """

    def __init__(
        self, ledger: Ledger, day: int = 0, day_start_e6: int = 0, offset_ms: int | None = None
    ) -> None:
        self.day_start_e6 = day_start_e6
        self._ledger = ledger
        self._day = day
        self._offset_ms = offset_ms
        self._marks: dict[str, tuple[str, int]] = {}
        self._equity_ms: int | None = None
        self._equity_known = False

    def mark(self, view: EventView) -> None:
        """Take the bids of what is held in an event."""
        for seen in view.markets:
            position = self._ledger.positions.get(seen.market.ticker)
            if position is None:
                continue
            settled_e4 = settlement_e4(seen.market)
            if settled_e4 is not None:
                value_e4 = settled_e4 if position.side == YES else opposite(settled_e4)
                self._marks[position.ticker] = position.side, value_e4
            elif seen.quote.status is Status.ACTIVE:
                # Of a market that is closed or paused the last bid stands: no bid says nothing there.
                bid = top(seen).bid(position.side)
                self._marks[position.ticker] = position.side, bid[0] if bid else 0

    def forget(self, ticker: str) -> None:
        """Forget the bid of what has been paid out."""
        self._marks.pop(ticker, None)

    def bid_e4(self, position: Position) -> int | None:
        """Return the best bid of what is held, 0 if nobody bids, None while that is not known."""
        side, bid_e4 = self._marks.get(position.ticker, ("", 0))
        return bid_e4 if side == position.side else None  # of the other side nothing follows from it

    def value_e6(self) -> int | None:
        """Return what all positions are worth at their bids, None while one is not known."""
        total_e6 = 0
        for position in self._ledger.positions.values():
            bid_e4 = self.bid_e4(position)
            if bid_e4 is None:
                return None
            total_e6 += bid_e4 * position.count_e2
        return total_e6

    def profit_e6(self) -> int:
        """Return realised and unrealised profit after fees.

        A market whose position has no bid known counts at what is bound in it; pairs are worth their dollar.
        """
        ledger = self._ledger
        value_e6 = 0
        for position in ledger.positions.values():
            bid_e4 = self.bid_e4(position)
            value_e6 += ledger.basis_of_e6(position.ticker) if bid_e4 is None else bid_e4 * position.count_e2
        return ledger.realised_e6 + value_e6 - ledger.basis_e6 - ledger.fees_e6

    def lost_today_e6(self) -> int:
        """Return the loss since the day's beginning; negative is a profit."""
        return self.day_start_e6 - self.profit_e6()

    def points(self, now_ms: int, paced_ms: int, *, money_moved: bool) -> list[Day | Equity]:
        """Return the day that begins now, if one does, and a point of the equity curve, if one is due.

        A day before the last one is of a clock that was ahead: it goes on with the loss there is.
        """
        points: list[Day | Equity] = []
        day = (paced_ms + (self._offset_ms or 0)) // DAY_MS
        if day > self._day or (day < self._day and self._offset_ms is not None):
            if day > self._day:
                self.day_start_e6 = self.profit_e6()
            self._day = day
            points.append(Day(day, self.day_start_e6))
        due = self._equity_ms is None or not 0 <= now_ms - self._equity_ms < EQUITY_EVERY_MS
        # After a restart no bid is known at first: the curve goes on as soon as all are.
        if money_moved or due or (not self._equity_known and self.value_e6() is not None):
            ledger, value_e6 = self._ledger, self.value_e6()
            self._equity_ms, self._equity_known = now_ms, value_e6 is not None
            points.append(Equity(now_ms, ledger.cash_e6, value_e6, ledger.realised_e6, ledger.fees_e6))
        return points


def settlement_e4(market: Market) -> int | None:
    """Return what YES of a determined market pays, None while that is not known."""
    if market.settlement_value_e4 is not None:
        return market.settlement_value_e4 if market.result else None
    return {"yes": PRICE_ONE_E4, "no": 0}.get(market.result)
