"""Whatever is lost, doubled, late or dead in between: in the end journal, ledger and exchange are one."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from markets.orders import OrderState
from tests.trader.brokers.fake_gateway import FakeGateway, FakePort
from tests.trader.brokers.patient import Patient, check
from tests.trader.stand import Stand
from tests.trader.world import basket
from trader.strategies import BUILT_IN

ACTIONS = (
    "offer",
    "fill",
    "end",
    "cancel",
    "by_hand",
    "deposit",
    "settle",
    "lose",
    "away",
    "back",
    "die",
    "wait",
    "wait_long",
)


class Run:
    """A trader, a gateway and an exchange, to which things happen."""

    def __init__(self, folder: Path) -> None:
        self.gateway = FakeGateway()
        self.gateway.plan = lambda _intent: []
        self.port = FakePort(self.gateway)
        self.folder = folder
        self.stand = Stand(folder, gateway=self.port)
        self.offered = 0
        self.settled: set[str] = set()
        self.stand.turns(12)

    def do(self, action: str, size: int) -> None:
        getattr(self, action)(size)

    def offer(self, size: int) -> None:
        self.offered += 1
        self.stand.commit(basket(self.offered, as_of_ms=self.stand.clock.now_ms()))
        self.stand.turns(2)

    def _open(self, size: int) -> tuple[int, int] | None:
        """An order that rests, and what of it is left."""
        open_ = [
            (order.intent.number, order.intent.count_e2 - order.got_e2)
            for order in self.gateway.orders.values()
            if not order.ended and order.intent.ticker not in self.settled
        ]
        return open_[size % len(open_)] if open_ else None

    def fill(self, size: int) -> None:
        if (order := self._open(size)) is not None:
            number, left_e2 = order
            self.gateway.fill(number, 4_000 + size, min(left_e2, 100 * (1 + size)))
            self.stand.turns(size % 3)

    def end(self, size: int) -> None:
        if (order := self._open(size)) is not None:
            self.gateway.end(order[0], OrderState.EXPIRED, "expired")

    def cancel(self, size: int) -> None:
        ledger = self.stand.worker.engine.ledger
        if ledger.open:
            number = sorted(ledger.open)[size % len(ledger.open)]
            self.stand.worker.session.broker.cancel(number, self.stand.worker._present())

    def by_hand(self, size: int) -> None:
        tickers = sorted(self.gateway.positions.keys() - self.settled) or [f"KXOTHER-{len(self.settled)}-A"]
        ticker = tickers[size % len(tickers)]
        event_ticker = ticker.rsplit("-", 1)[0]
        self.gateway.by_hand(ticker, event_ticker, "yes" if size % 2 else "no", 3_000, 100 * (1 + size))

    def deposit(self, size: int) -> None:
        self.gateway.deposit((size - 10) * 1_234_567)

    def settle(self, size: int) -> None:
        """Pay a market out; its orders end before."""
        tickers = sorted(self.gateway.positions.keys() - self.settled)
        if not tickers:
            return
        ticker = tickers[size % len(tickers)]
        for order in self.gateway.orders.values():
            if order.intent.ticker == ticker and not order.ended:
                self.gateway.end(order.intent.number, OrderState.CANCELLED, "market_closed")
        self.settled.add(ticker)
        self.gateway.settle(ticker, ticker.rsplit("-", 1)[0], (0, 10_000, 5_000, 3_333)[size % 4])

    def lose(self, size: int) -> None:
        self.port.lose = 1 + size % 4

    def away(self, size: int) -> None:
        self.port.up = False

    def back(self, size: int) -> None:
        self.port.up = True

    def die(self, size: int) -> None:
        """End without a word: what was not committed is gone."""
        self.stand.close()
        self.port.up, self.port.lose = True, 0
        now_ms = self.stand.clock.now_ms() + 1_000
        self.stand = Stand(self.folder, now_ms=now_ms, gateway=self.port)

    def wait(self, size: int) -> None:
        self.stand.turns(1 + size)

    def wait_long(self, size: int) -> None:
        self.stand.commit()
        self.stand.turns(7, ms=1_000)

    def rest(self) -> None:
        """Let all end: after that nothing is open, and the account is looked at."""
        self.port.up, self.port.lose = True, 0
        self.stand.worker.session.command("pause", "", self.stand.worker._present())
        self.stand.turns(20)
        for order in list(self.gateway.orders.values()):
            if not order.ended:
                self.gateway.end(order.intent.number, OrderState.CANCELLED, "cancelled")
        for _ in range(20):
            self.stand.commit()
            self.stand.turns(2, ms=2_000)


# Each example is many lives of a trader: who fails is looked at as it is.
@settings(max_examples=25, deadline=None, phases=(Phase.generate,))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 19)), min_size=5, max_size=40))
def test_in_the_end_they_are_one(actions: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setitem(BUILT_IN, "no_basket", Patient)
        run = Run(Path(folder))
        try:
            for action, size in actions:
                run.do(action, size)
            run.rest()

            ledger = run.stand.worker.engine.ledger
            # Every order has ended, but for those by which a basket waits for a leg.
            assert all(intent.post_only and intent.attempt for intent in ledger.open.values())
            assert run.stand.worker.reconciled, run.stand.worker.error
            placed = [number for _, number in run.gateway.orders]
            assert len(placed) == len(set(placed))
            check(run.stand, run.gateway)
        finally:
            run.stand.close()
