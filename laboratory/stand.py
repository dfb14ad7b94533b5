"""The parts of every run: the trader's own worker, a clock moved by the run, and notes of what happens."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bus.clock import ManualClock
from bus.process.settings import Settings
from markets.units import MINUTE_MS
from trader.brokers.base import Broker
from trader.engine.roster import DroppedStrategy
from trader.manual import ManualCommands
from trader.run import on_disk
from trader.strategies.value import Value
from trader.worker import Follows, JournalFile, Worker

from .inputs import CODE
from .notes import Notes, worth_of
from .outcome import Outcome, Plan, Point, span
from .statistics import DAY_MS

STEP_MS: Final = 500
POINTS: Final = 96
"""About how often the equity is recorded in a run."""

REFUSED_VALUES: Final = 10
"""How many refused rows of a file of fair values the report names."""

OURS: Final = Path(__file__).resolve().parents[1]
"""The folder of the project's own packages, and perhaps of others."""

Progress = Callable[[float], None]
"""Called with the completed share of a run, 0 to 1."""

_NEVER_MS: Final = 1 << 62


class _Silent:
    """Ignores what the trader publishes."""

    def fair_values(self, set_: object, removed: object) -> None: ...

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None: ...


class _NoSwitch:
    """A kill switch that is never set, since checking its file twice a second would be wasted in a run."""

    def read(self) -> None: ...

    def clear(self) -> None: ...


def place_of(trace: str) -> str:
    """Return where a strategy failed, by its traceback: the last line of its own; "" if there is none.

    A strategy that returned nonsense has none: it was its caller that found out.
    """
    places = [
        (Path(file), line) for file, line in re.findall(r'^  File "(.+)", line (\d+)', trace, re.MULTILINE)
    ]
    ours = [OURS / name for name in CODE]
    own = [
        (path, line)
        for path, line in places
        if not any(map(path.is_relative_to, ours)) or path.is_relative_to(OURS / "trader" / "strategies")
    ]
    return f" ({own[-1][0].name}, line {own[-1][1]})" if own else ""


def point_ms(span_ms: int) -> int:
    """Return how often the equity of a run of that length is recorded: every 1 to 15 minutes."""
    return min(15 * MINUTE_MS, max(MINUTE_MS, span_ms // POINTS // MINUTE_MS * MINUTE_MS))


def settings_of(plan: Plan, folder: Path) -> Settings:
    """Return the trader's settings for a run that keeps its files in `folder`: the plan's, and defaults.

    Raises:
        StartupError: one of them cannot be used.
    """
    own = {"data_dir": "data", "run_dir": "run", "mode": "paper", "paper_latency_ms": plan.latency_ms}
    return Settings.of({**plan.settings, **own}, {}, folder, "--set")[0]


class Stand:
    """The trader's worker on a feed; whoever moves the clock calls `turn`.

    Args:
        make_broker: None for the paper broker of the settings.
        wish: see trader.worker.Surroundings.

    Raises:
        StartupError: a strategy of the plan cannot be loaded.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        clock: ManualClock,
        feed: Follows,
        notes: Notes,
        make_broker: Callable[[], Broker] | None = None,
        wish: Callable[..., None] = lambda _tickers, _ttl_s, _what: None,
    ) -> None:
        self.outcome: Outcome = notes.outcome
        self._clock = clock
        self._feed = feed
        self._values_count = True
        self._notes = notes
        self._height_e6 = 0
        rng, silent = random.Random(plan.seed), _Silent()
        around = on_disk(settings, clock, rng, feed, ManualCommands(), silent, cpu_ns=lambda: 0, wish=wish)
        around = msgspec.structs.replace(
            around,
            open_journal=self._journal,
            kill_switch=_NoSwitch(),
            lasting=False,
            tell_dropped=self._dropped,
        )
        if make_broker is not None:
            around = msgspec.structs.replace(around, make_broker=lambda _recovered: make_broker())
        for left_out in around.lineup.left_out:
            notes.fail(f"strategy {left_out.strategy} left out: {left_out.reason}")
        makers = around.lineup.makers.values()
        if around.values_file is None and any(each.class_ is Value for each in makers):
            notes.fail("there are no fair values for strategy value: give --set fair_values_file=PATH")
        self.worker = Worker(settings, around)
        self.worker.begin()

    def _journal(self, _now_ms: int) -> JournalFile:
        if hasattr(self, "worker") and hasattr(self.worker, "session"):
            self._notes.ledger = self.worker.engine.ledger
        return self._notes

    @property
    def due_ms(self) -> int:
        """When something of the broker's is due next, by the wall clock; far in the future if nothing is."""
        next_ms = self.worker.session.broker.next_ms
        if next_ms is None:
            return _NEVER_MS
        return self._clock.now_ms() + next_ms - self._clock.monotonic_ns() // 1_000_000

    def turn(self) -> None:
        """Let the trader process what is there, at the clock's time; look how far equity has fallen."""
        self._notes.now_ms = self._clock.now_ms()
        self.worker.turn()
        while self._feed.backlog:
            self.worker.turn()
        engine, outcome = self.worker.engine, self.outcome
        floor_e6, stake_e6 = engine.worth.least_profit_e6(), engine.ledger.at_stake_e6()
        if floor_e6 > self._height_e6:
            self._height_e6 = floor_e6
        elif self._height_e6 - floor_e6 > outcome.drawdown_e6:
            outcome.drawdown_e6 = self._height_e6 - floor_e6
        if stake_e6 > outcome.most_e6:
            outcome.most_e6 = stake_e6

    def _dropped(self, dropped: DroppedStrategy) -> None:
        line = f"strategy {dropped.strategy} was dropped, {dropped.call} raised {dropped.error}"
        self._notes.fail(f"{line}{place_of(dropped.trace)}")

    def markouts(self, *, known: bool = True) -> None:
        """Record the markouts that are due; where nothing is `known`, only of markets that are decided."""
        state, self._notes.now_ms = self._feed.state, self._clock.now_ms()
        self._notes.pass_time(
            lambda ticker: worth_of(state.markets.get(ticker), state.quotes.get(ticker) if known else None)
        )

    def point(self) -> None:
        """Record the state of the account."""
        ledger, worth = self.worker.engine.ledger, self.worker.engine.worth
        bid_e6, floor_e6 = worth.profit_e6(), worth.least_profit_e6()
        stake_e6 = ledger.at_stake_e6()
        self.outcome.points.append(Point(self._clock.now_ms(), floor_e6, bid_e6, stake_e6, ledger.cash_e6))
        self._look_at_values()

    def _look_at_values(self) -> None:
        """Note when a person's fair values no longer count: otherwise nothing would be traded or said."""
        engine, listed = self.worker.engine, self._feed.state.markets
        age_ms = engine.scan.max_fair_value_age_ms
        oldest_ms = self._clock.now_ms() - age_ms
        known = [value for value in engine.fair_values.values() if value.ticker in listed]
        counts = any(value.as_of_ms >= oldest_ms for value in known)
        if self._values_count and not counts and engine.fair_values:
            many = f"none of the {len(engine.fair_values)} fair values counts"
            old = f"all of listed markets are older than {span(age_ms / DAY_MS)}"
            self._notes.fail(f"{many}: {old if known else 'no market is listed that one is of'}")
        self._values_count = counts

    def end(self) -> None:
        """Value open trades, and note failures."""
        engine, worker, notes, now_ms = self.worker.engine, self.worker, self._notes, self._clock.now_ms()
        self.outcome.ended_ms = now_ms
        notes.end(
            {lot: e6 for event in engine.worth.events() for lot, e6 in engine.worth.least(event).items()}
        )
        for failures in worker.failed.values():
            for failure in failures:
                notes.fail(f"{failure.part}: {failure.error}")
        values_file = worker.around.values_file
        for line in () if values_file is None else values_file.loaded.errors[:REFUSED_VALUES]:
            notes.fail(f"fair values: {line}")
        if worker.halted is not None:
            notes.fail(f"halted: {worker.halted}")
        worker.close()
