"""What is paid out for what is held: each market once, and anew where that is corrected. Pure."""

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
"""So long a market that is paid out without a value is waited for: lists are cached, results corrected."""


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
        voids: markets held that are paid out without a value -> since when, by `paced_ms`.
    """

    def __init__(self, engine: Books) -> None:
        self.voids: dict[str, int] = {}
        self._engine = engine

    def settle(self, view: EventView) -> Iterator[Settled]:
        """Book what was paid out for what is held, of each market once, when no order there can be filled."""
        engine, ledger = self._engine, self._engine.ledger
        for seen in view.markets:
            ticker = seen.market.ticker
            if ticker not in ledger.lots or not _paid(seen) or ticker in ledger.settled:
                continue  # what is heard of after it was paid is for the comparison with the account
            if engine.gateway and ticker in ledger.positions:
                continue  # the exchange lists what it pays, and when; nothing where lots cancel out
            value_e4 = settlement_e4(seen.market)
            result = "void" if value_e4 is None else _result(seen.market, value_e4)
            if value_e4 is None:
                value_e4 = self._void_e4(seen)
            if value_e4 is None:
                continue
            if any(intent.ticker == ticker for intent in ledger.open.values()):
                continue  # what it got may yet be heard: its end settles the market
            for trade in ledger.lots[ticker]:
                self._engine.leg_risk.drop(trade)
            settlement = ledger.settle(
                ticker, result, value_e4, self._engine.now_ms, whole_cents=self._engine.rules > 0
            )
            if settlement is not None:
                self.voids.pop(ticker, None)
                self._engine.worth.forget(ticker)
                yield Settled(settlement)

    def settle_listed(self, listed: ListedSettlement) -> Iterator[Settled]:
        """Book what the exchange has paid out for a market, once, when no order there can be filled."""
        ticker, ledger = listed.ticker, self._engine.ledger
        if ticker not in ledger.lots or ticker in ledger.settled:
            return
        if any(intent.ticker == ticker for intent in ledger.open.values()):
            return
        # Not the event that is listed: where the list has none, that is a guess.
        view = self._engine.views.get(next(iter(ledger.lots[ticker].values())).event_ticker)
        markets = {} if view is None else {seen.market.ticker: seen.market for seen in view.markets}
        seen_e4 = settlement_e4(markets[ticker]) if ticker in markets else None
        result, value_e4 = settled_e4(listed, ledger.positions.get(ticker), seen_e4)
        for trade in ledger.lots[ticker]:
            self._engine.leg_risk.drop(trade)
        settlement = ledger.settle(ticker, result, value_e4, self._engine.now_ms, paid_e6=listed.revenue_e6)
        if settlement is not None:
            self._engine.books.rounded_e6 += settlement.fee_e6
            self._engine.worth.forget(ticker)
            yield Settled(settlement)

    def correct(self, view: EventView) -> Iterator[Corrected]:
        """Book anew what was paid out otherwise than the exchange says by now.

        Where orders go to an exchange its list says so (`settle_listed`).
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
        """Book anew what the exchange lists otherwise than it did: the last of a market counts."""
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
        """Book what has waited for its value long enough: of such a market nothing more may be heard."""
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
        """Return what YES of a market that is paid out is taken to be worth where nobody says it; None: wait.

        The exchange settles what cannot be decided at a fair price of its own. That may yet be told; after
        VOID_MS it is taken to be the last price at which it was traded.
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


def _paid(seen: MarketView) -> bool:
    # A determined market may still be disputed and amended; money moves when it is finalized.
    return seen.quote.status is Status.FINALIZED


def _result(market: Market, value_e4: int) -> str:
    if market.result in ("yes", "no", "scalar"):
        return market.result
    return "void" if 0 < value_e4 < PRICE_ONE_E4 else "yes" if value_e4 else "no"
