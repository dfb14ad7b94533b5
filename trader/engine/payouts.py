"""Books what is paid out for positions: each market once, and again if the exchange corrects it. Pure."""

from collections.abc import Iterator
from typing import Final, Protocol

from bus.trading.gateway import ListedSettlement
from markets.opportunities import EventView, MarketView
from markets.records import Market, Status
from markets.units import CENT_E6, PRICE_ONE_E4
from trader.ledger.ledger import Ledger

from .legrisk import LegRisk
from .marks import settlement_e4
from .outputs import Corrected, Settled
from .reconciliation import Reconciliation, settled_e4
from .worth import Worth

VOID_MS: Final = 600_000
"""How long to wait for the value of a market paid out without one: lists are cached, results corrected."""

_PAID: Final = Status.FINALIZED
"""A determined market may still be disputed and amended: money moves when it is finalized."""


class Books(Protocol):
    """What this needs of the engine. `gateway`: orders go to an exchange, whose list says what it pays."""

    ledger: Ledger
    leg_risk: LegRisk
    worth: Worth
    books: Reconciliation
    gateway: bool
    rules: int
    views: dict[str, EventView]
    now_ms: int
    paced_ms: int


class Payouts:
    """Books what was paid out.

    Attributes:
        voids: held markets that were paid out without a value -> since when, by `paced_ms`.
    """

    def __init__(self, engine: Books) -> None:
        self.voids: dict[str, int] = {}
        self._engine = engine

    def settle(self, view: EventView) -> Iterator[Settled]:
        """Book what was paid out for positions, each market once, when no order there can fill any more."""
        engine, ledger = self._engine, self._engine.ledger
        for seen in view.markets:
            ticker = seen.market.ticker
            if ticker not in ledger.lots or not _paid(seen) or ticker in ledger.settled:
                continue  # what arrives after the payment is left to the comparison with the account
            if engine.gateway and ticker in ledger.positions:
                continue  # the exchange lists what it pays, and when; it lists nothing if lots cancel out
            value_e4 = settlement_e4(seen.market)
            result = "void" if value_e4 is None else _result(seen.market, value_e4)
            if value_e4 is None:
                value_e4 = self._void_e4(seen)
            if value_e4 is None:
                continue
            if any(intent.ticker == ticker for intent in ledger.open.values()):
                continue  # its fills may still arrive: its end settles the market
            for trade in ledger.lots[ticker]:
                self._engine.leg_risk.drop(trade)
            settlement = ledger.settle(
                ticker,
                result,
                value_e4,
                engine.now_ms,
                whole_cents=engine.rules > 0,
                by_event=engine.rules >= 3,
            )
            if settlement is not None:
                self.voids.pop(ticker, None)
                self._engine.worth.forget(ticker)
                yield Settled(settlement)

    def settle_listed(self, listed: ListedSettlement) -> Iterator[Settled]:
        """Book what the exchange lists as paid for a market, once, when no order there can fill any more."""
        ticker, ledger = listed.ticker, self._engine.ledger
        if ticker not in ledger.lots or ticker in ledger.settled:
            return
        if any(intent.ticker == ticker for intent in ledger.open.values()):
            return
        # Not the listed event: if the list has none, that one is a guess.
        view = self._engine.views.get(next(iter(ledger.lots[ticker].values())).event_ticker)
        markets = {} if view is None else {seen.market.ticker: seen.market for seen in view.markets}
        seen_e4 = settlement_e4(markets[ticker]) if ticker in markets else None
        result, value_e4 = settled_e4(listed, ledger.positions.get(ticker), seen_e4)
        for trade in ledger.lots[ticker]:
            self._engine.leg_risk.drop(trade)
        settlement = ledger.settle(
            ticker,
            result,
            value_e4,
            self._engine.now_ms,
            paid_e6=listed.revenue_e6,
            by_event=self._engine.rules >= 3,
        )
        if settlement is not None:
            self._engine.books.rounded_e6 += settlement.fee_e6
            self._engine.worth.forget(ticker)
            yield Settled(settlement)

    def correct(self, view: EventView) -> Iterator[Corrected]:
        """Correct payouts that the exchange's data now contradicts.

        If orders go to an exchange, its list decides instead (`correct_listed`).
        """
        recent = self._engine.ledger.recent
        if self._engine.gateway or not recent or self._engine.rules < 2:
            return
        for seen in view.markets:
            paid, ticker = recent.get(seen.market.ticker), seen.market.ticker
            if paid is None or not _paid(seen) or ticker in self._engine.ledger.lots:
                continue
            value_e4 = settlement_e4(seen.market)
            if value_e4 is None or value_e4 == paid.settlement.value_e4:
                continue
            corrected = self._engine.ledger.correct(
                ticker, _result(seen.market, value_e4), value_e4, self._engine.now_ms
            )
            if corrected is None:
                continue  # it was paid too long ago
            yield Corrected(corrected[1], corrected[0])

    def correct_listed(self, listed: ListedSettlement) -> Iterator[Corrected]:
        """Correct a payout that the exchange now lists differently: a market's last listing counts."""
        paid = self._engine.ledger.recent[listed.ticker]
        before = paid.settlement
        result, value_e4 = settled_e4(listed, paid.position, None)
        same = (result, value_e4) == (before.result, before.value_e4)
        if same or abs(listed.revenue_e6 - before.payout_e6) <= CENT_E6:
            return
        corrected = self._engine.ledger.correct(
            listed.ticker, result, value_e4, self._engine.now_ms, paid_e6=listed.revenue_e6
        )
        if corrected is None:
            return  # it was paid too long ago
        now = corrected[1]
        self._engine.books.rounded_e6 += now.fee_e6 - before.fee_e6
        yield Corrected(now, before)

    def settle_voids(self) -> Iterator[Settled]:
        """Book markets that have waited long enough for their value: it may never be told."""
        due = [
            ticker for ticker, since_ms in self.voids.items() if self._engine.paced_ms - since_ms >= VOID_MS
        ]
        for ticker in due:
            lots = self._engine.ledger.lots.get(ticker)
            if lots is None:
                self.voids.pop(ticker, None)
                continue
            view = self._engine.views.get(next(iter(lots.values())).event_ticker)
            if view is not None:
                yield from self.settle(view)

    def _void_e4(self, seen: MarketView) -> int | None:
        """Return the assumed value of YES of a market paid out without a known value; None: wait.

        The exchange settles undecidable markets at a fair price of its own choice. That may still arrive;
        after VOID_MS the last traded price is assumed.
        """
        if not self._engine.rules:
            return None
        since_ms = self.voids.setdefault(seen.market.ticker, self._engine.paced_ms)
        if self._engine.paced_ms - since_ms < VOID_MS:
            return None
        quote = seen.quote
        if quote.last_price_e4 or (
            quote.last_price_e4 is not None and self._engine.rules < 2
        ):  # 0: never traded
            return quote.last_price_e4
        return (quote.yes_bid_e4 + quote.yes_ask_e4) // 2


def pays(view: EventView) -> bool:
    """Whether any market of an event is paid out: no other is settled or corrected, and mostly none is."""
    return _PAID in [seen.quote.status for seen in view.markets]


def _paid(seen: MarketView) -> bool:
    return seen.quote.status is _PAID


def _result(market: Market, value_e4: int) -> str:
    if market.result in ("yes", "no", "scalar"):
        return market.result
    return "void" if 0 < value_e4 < PRICE_ONE_E4 else "yes" if value_e4 else "no"
