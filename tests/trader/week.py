"""A trader, an order gateway's core and the matching exchange on one virtual clock, as long as one likes.

The trader is its unchanged worker in mode sim, with the journal on disk; the way to the exchange loses,
delays and doubles; others trade by hand on the same account; gateway and trader begin anew now and then. At
every hour, once nothing is on its way, journal and exchange are compared by what `trader reconcile` does.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.trading import Silent
from bus.clock import ManualClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.trading.gateway import (
    AccountAsk,
    AmendAsk,
    AnyAsk,
    CancelAsk,
    OrderAsk,
    OrderEventsAsk,
    PlaceAsk,
    TransferAsk,
)
from laboratory.feed import ExchangeFeed
from markets.units import HOUR_MS
from publisher.orders.steps import FeedHeard
from simulator.universe.templates import Recorded
from tests.publisher.orders.world import FAULTS, SWITCHES, World
from tests.simulator.venue import START_MS
from trader.engine.asks import CancelOrder, Confirm, Prepare
from trader.engine.outputs import Prepared
from trader.manual import ManualCommands
from trader.opening import open_books
from trader.reconcile import Comparison, books_of, compare
from trader.run import on_disk
from trader.worker import Worker

QUIET_MS: Final = 120_000
"""So long the exchange is well before the hour is over: what is unknown is decided by then."""

PATIENCE: Final = 60
"""So often the hour's comparison is tried, some seconds apart: others trade on, too."""


class CorePort:
    """Asks a gateway's core as over a socket; what takes a listing is answered when that is there."""

    def __init__(self, week: "Week") -> None:
        self._week = week
        self._answers: deque[tuple[int, dict[str, Any]]] = deque()
        self._waiting: list[tuple[int, AccountAsk, int]] = []
        self.opening = False
        """Whether time has to pass by itself: nobody else lets it."""

    def ask(self, id_: int, question: Mapping[str, Any]) -> None:
        if question["op"] == "gateway":
            self._say(id_, self._week.core.gateway(self._week.now))
            return
        ask: AnyAsk = msgspec.convert(dict(question), AnyAsk)
        if isinstance(ask, AccountAsk):
            self._waiting.append((id_, ask, self._week.now.steady_ms))
        else:
            self._say(id_, self._week.answer_to(ask))
        self._week.carry_out()

    def _say(self, id_: int, answer: msgspec.Struct) -> None:
        self._answers.append((id_, {"ok": True, **msgspec.to_builtins(answer)}))

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        if self.opening:
            self._week.run(self._week.now_ms + 100)
            self._week.feed()
        waiting, self._waiting = self._waiting, []
        for id_, ask, asked_ms in waiting:
            found = self._week.core.account(ask, asked_ms, self._week.now)
            if found is None:
                self._waiting.append((id_, ask, asked_ms))
            else:
                self._say(id_, found)
        self._week.carry_out()
        taken, self._answers = list(self._answers), deque()
        return taken

    def take_hint(self) -> bool:
        return bool(self._answers)


@dataclass
class Outcome:
    """What a week has shown, at its hours.

    Attributes:
        lines: that were compared and the same. worst_e6: by how much cash differed most.
        orders, fills, settlements: of the trader. by_hand: trades of others on its account.
        restarts: of the gateway.
    """

    hours: int = 0
    lines: int = 0
    orders: int = 0
    fills: int = 0
    settlements: int = 0
    restarts: int = 0
    by_hand: int = 0
    worst_e6: int = 0

    def note(self, found: Comparison) -> None:
        """Take an hour's comparison."""
        self.hours += 1
        self.lines += len(found.lines)
        for line in found.lines:
            if line.what == "cash of the account":
                apart_e6 = round((float(line.ours) - float(line.theirs)) * 1e6)
                self.worst_e6 = max(self.worst_e6, abs(apart_e6))


class Week(World):
    """The exchange and the gateway of `World`, and the real trader before them."""

    def __init__(
        self, recorded: Recorded, folder: Path, seed: int, markets: int = 100, step_ms: int = 1_000
    ) -> None:
        self.step_ms = step_ms
        dice = random.Random(f"week {seed}")
        self.clock = ManualClock(START_MS)
        self.stop = Stop()
        self._exchange_feed: ExchangeFeed | None = None
        switches = {name: dice.choice(SWITCHES[name]) for name in dice.sample(sorted(SAFE), 2)}
        super().__init__(
            recorded,
            seed,
            markets=markets,
            faults=FAULTS,
            fault_rate=0.05,
            switches=switches,
            restarts=dice.choice((0.0, 0.002)),
        )
        self.dice = dice
        activity = self.exchange.activity
        activity.void_rate = activity.scalar_rate = activity.dead_heat_rate = 0.1
        self._exchange_feed = ExchangeFeed(self.exchange, self.clock)
        environ = {
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_MODE": "sim",
            "KALSHI_BUS_LIMIT_PAYOUT_HOURS": "100000",
            "KALSHI_BUS_LIMIT_POSITIONS_PER_EVENT": "5",
            "KALSHI_BUS_LIMIT_EVENT": "2000",
            "KALSHI_BUS_LIMIT_TOTAL": "20000",
            "KALSHI_BUS_LIMIT_DAILY_LOSS": "5000",
            "KALSHI_BUS_GATEWAY_LIMIT_TOTAL": "30000",
        }
        self.trader_settings = Settings.load(environ, folder)
        self.commands = ManualCommands()
        self.port = CorePort(self)
        self.worker = self.begin()

    # -- the parts

    def feed(self) -> None:
        """Let the gateway hear the feed."""
        feed = self._exchange_feed
        if feed is None:
            return
        state = feed.state
        complete_ms = None if state.cycle is None else state.cycle.complete_ms
        self.core.take(FeedHeard(state.epoch, state.seq, complete_ms, "live"), self.now)

    def listen(self) -> None:
        """Hear nothing: the trader does."""

    def answer_to(self, ask: AnyAsk) -> msgspec.Struct:
        """Return what the gateway says to what it can say at once."""
        core, now = self.core, self.now
        match ask:
            case PlaceAsk():
                return core.place(ask, now)
            case CancelAsk():
                return core.cancel(ask, now)
            case AmendAsk():
                return core.amend(ask, now)
            case OrderEventsAsk():
                return core.order_events(ask, now)
            case OrderAsk():
                return core.order(ask)
            case AccountAsk() | TransferAsk():
                raise AssertionError("answered later, or by nobody here")

    def begin(self) -> Worker:
        """Begin a trader from its journal, or from the account."""
        assert self._exchange_feed is not None
        settings, rng = self.trader_settings, random.Random(self.now_ms)
        self._exchange_feed.advance(self.now_ms)
        self.feed()
        self.port.opening = True
        books = open_books(self.port, settings.data_dir, "sim", "sim", self.clock, rng, self.stop, again_s=0)
        self.port.opening = False
        self.clock.advance(self.now_ms - self.clock.now_ms())
        assert books is not None
        around = on_disk(
            settings,
            self.clock,
            rng,
            self._exchange_feed,
            self.commands,
            Silent(),
            cpu_ns=lambda: 0,
            wish=self._exchange_feed.wish,
            gateway=self.port,
            books=books,
        )
        self.path = books.path
        worker = Worker(settings, around)
        worker.begin()
        return worker

    # -- time

    def step(self) -> None:
        """Let half a second pass, in which the trader has all its turns."""
        feed, worker = self._exchange_feed, self.worker
        assert feed is not None
        self.clock.advance(self.step_ms)
        self.run(self.clock.now_ms())
        feed.advance(self.now_ms)
        self.feed()
        worker.turn()
        while feed.backlog:
            worker.turn()
        self.carry_out()
        assert worker.halted is None, worker.halted

    def pass_ms(self, ms: int) -> None:
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.step()

    def hour(self, outcome: Outcome) -> None:
        """Let an hour pass with all that goes wrong, and compare at its end."""
        end_ms = self.now_ms + HOUR_MS - QUIET_MS
        self.quiet = False
        self.hurt()
        while self.now_ms < end_ms:
            self.pass_ms(self.dice.randrange(1_000, 120_000, self.step_ms))
            roll = self.dice.random()
            if roll < 0.15:
                self.hand_made()
            elif roll < 0.4:
                self.by_hand()
            elif roll < 0.5:
                self.hurt()
        if self.dice.random() < 0.1:
            self.worker.close()
            self.worker = self.begin()
            self.counts["trader restarts"] += 1
        self.quiet = True
        self.heal()
        self.pass_ms(QUIET_MS)
        found = self.compare_quietly()
        outcome.note(found)
        engine = self.worker.engine
        unequal = [line for line in found.lines if not line.equal]
        assert not unequal, (outcome.hours, unequal, engine.books.differing)
        assert not engine.conditions.drift, engine.conditions.drift
        assert engine.conditions.alarm is None, engine.conditions.alarm
        counts = self.worker.announcer.counts
        outcome.orders, outcome.fills = counts["orders"], counts["fills"]
        outcome.settlements, outcome.restarts = counts["settlements"], self.counts["restarts"]
        outcome.by_hand = self.counts["by hand"]

    def by_hand(self) -> None:
        """A person lets an order rest, or ends one."""
        session = self.worker.session
        resting = [n for n, i in self.worker.engine.ledger.open.items() if i.time_in_force == "gtc"]
        if resting and self.dice.random() < 0.4:
            session.by_hand(CancelOrder(self.dice.choice(resting)), self.worker._present())
            return
        market = self.market()
        if market is None:
            return
        price_e4 = max(100, market.ask_e4 - 100 * self.dice.randint(0, 3)) // 100 * 100
        ask = Prepare(market.ticker, self.dice.choice(("yes", "no")), 300, price_e4, 600)
        tickets = [o.ticket for o in session.by_hand(ask, self.worker._present()) if isinstance(o, Prepared)]
        if tickets:
            session.by_hand(Confirm(tickets[0].number), self.worker._present())

    # -- comparing

    def compare_quietly(self) -> Comparison:
        """Return the journal against the exchange, at the first moment at which nothing is on its way."""
        for _ in range(PATIENCE):
            found = compare(self.path, self._asked, lambda s: self.pass_ms(round(s * 1_000)))
            if found.trouble is None and all(line.equal for line in found.lines):
                return found
            self.pass_ms(2_000)
        assert found.trouble is None, found.trouble
        return found

    def _asked(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        ask, asked_ms = msgspec.convert(dict(question), AccountAsk), self.now.steady_ms
        while True:
            found = self.core.account(ask, asked_ms, self.now)
            if found is not None:
                return {"ok": True, **msgspec.to_builtins(found)}
            self.step()

    def live_on(self, hours: int, say: Callable[[str], None] = lambda _line: None) -> Outcome:
        """Live for so many hours; return what they showed.

        Raises:
            AssertionError: at some hour ledger and exchange were not the same.
        """
        outcome = Outcome()
        for _ in range(hours):
            self.hour(outcome)
            if outcome.hours % 24 == 0:
                say(f"{outcome}")
        books = books_of(self.path)
        assert books.whole, books
        return outcome

    def end(self) -> None:
        """Free what is held."""
        self.worker.close()
        self.stop.close()


SAFE: Final = frozenset(SWITCHES) - {"client_order_id_scope", "member", "attestation_expires_s"}
"""Switches under which nothing is refused for good."""
