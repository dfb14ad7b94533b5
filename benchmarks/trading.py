"""What the trader earns: the unchanged worker and a simulated exchange with known truth, under one clock.

``python -m benchmarks.trading --hours 12 --seed 1`` prints what was shown, promised, true and realised. The
worker is the trader's own, with its paper broker; the feed has streamed quotes, sweeps every 12 s, and books
of the planner's 300 markets (laboratory/feed.py). Time moves in steps of half a second: what happens within a
step is seen at its end, and an order arrives at the first whole step at least ``--latency`` after its
decision. Several seeds (``--seeds 1-20``) give the profit per day with an interval.
"""

import argparse
import gc
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Self

import msgspec

from bus.clock import ManualClock
from bus.process.settings import Settings, money_e6
from bus.scan.membership import scan_limits
from laboratory.feed import ExchangeFeed
from laboratory.quiet import quiet
from markets.opportunities import candidates
from markets.units import HOUR_MS, MINUTE_MS
from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.universe.templates import load
from trader.engine.worth import LotWorth
from trader.manual import ManualCommands
from trader.run import on_disk
from trader.worker import JournalFile, Surroundings, Worker

from .trading_record import Recorder, Result, Watching
from .trading_tables import tables

STEP_MS: Final = 500
START_MS: Final = 1_790_000_000_000
DIPS_EVERY_MS: Final = 5_000
ROWS_EVERY_MS: Final = 30_000
BELIEFS_EVERY_MS: Final = 10 * MINUTE_MS
DIP_E6: Final = 1_000_000
MARK_AT_MS: Final = (15 * MINUTE_MS, 30 * MINUTE_MS, *(hours * HOUR_MS for hours in (1, 2, 4, 8, 12, 24)))
MARKETS: Final = 1_500


class Plan(msgspec.Struct, frozen=True):
    """One run. `settings` are the trader's, `activity` the exchange's."""

    seed: int
    hours: float
    markets: int = MARKETS
    rivals: bool = True
    latency_ms: int = STEP_MS
    settings: dict[str, str] = {}
    activity: dict[str, float] = {}


class Silent:
    """Ignores what the trader publishes."""

    def fair_values(self, set_: Sequence[object], removed: Sequence[str]) -> None: ...

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None: ...


class Stand:
    """A trader and an exchange, and what moves both."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.clock = ManualClock(START_MS)
        activity = Activity(rivals=plan.rivals)
        for name, value in plan.activity.items():
            setattr(activity, name, type(getattr(activity, name))(value))
        self.exchange = Exchange(load(None), plan.markets, plan.seed, START_MS, activity)
        self.feed = ExchangeFeed(self.exchange, self.clock)
        # One more than the steps, so that orders arriving in a step find its changes.
        latency_ms = -(-plan.latency_ms // STEP_MS) * STEP_MS + 1
        environ = {
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_MODE": "paper",
            "KALSHI_BUS_PAPER_LATENCY_MS": str(latency_ms),
            **plan.settings,
        }
        settings = Settings.load(environ, folder)
        self.result = Result(plan.seed, plan.hours, plan.rivals, START_MS)
        self.recorder = Recorder(self.exchange, money_e6(settings.paper_cash), self.result)
        self.scan = scan_limits(settings)
        around: Surroundings = on_disk(
            settings,
            self.clock,
            random.Random(plan.seed),
            self.feed,
            ManualCommands(),
            Silent(),
            cpu_ns=lambda: 0,
            wish=self.feed.wish,
        )
        around = msgspec.structs.replace(around, open_journal=self._journal)
        self.refused: Counter[str] = Counter()
        self.worker = Worker(settings, around)
        self.worker.begin()
        self._session = self.worker.session
        self._watch()

    def _journal(self, _now_ms: int) -> JournalFile:
        if hasattr(self, "worker") and hasattr(self.worker, "session"):
            self.recorder.ledger = self.worker.engine.ledger
        return self.recorder

    def _watch(self) -> None:
        session = self._session = self.worker.session
        session.rescan = Watching(self.scan, session.rescan, self.recorder)

    def step(self) -> None:
        """Let half a second pass."""
        feed, worker, recorder = self.feed, self.worker, self.recorder
        self.clock.advance(STEP_MS)
        recorder.now_ms = self.clock.now_ms()
        recorder.followed = feed.followed
        feed.advance(recorder.now_ms)
        recorder.look_at_plants()
        self._look_at_matches()
        worker.turn()
        while feed.backlog:
            worker.turn()
        if worker.session is not self._session:
            self.refused.update(self._session.engine.refusals.counts)
            self._watch()

    def run(self, hours: float) -> Result:
        """Run for `hours`; return the record."""
        result, recorder, began = self.result, self.recorder, time.process_time()
        for number in range(1, round(hours * HOUR_MS / STEP_MS) + 1):
            self.step()
            passed_ms = number * STEP_MS
            if passed_ms % DIPS_EVERY_MS == 0:
                self._look_at_page()
            if passed_ms % ROWS_EVERY_MS == 0:
                recorder.rows()
            if passed_ms % BELIEFS_EVERY_MS == 0:
                self._look_at_beliefs()
            if passed_ms in MARK_AT_MS or passed_ms == round(hours * HOUR_MS):
                result.marks.append(recorder.mark(*self.shown()))
                gc.collect()
        result.refused = dict(self.refused + self.worker.engine.refusals.counts)
        result.failures = [
            f"{failure.part}: {failure.error}" for found in self.worker.failed.values() for failure in found
        ]
        if self.worker.halted is not None:
            result.failures.append(f"halted: {self.worker.halted}")
        result.trades = list(recorder.trades.values())
        for trade in result.trades:
            trade.locked_e6, trade.truth_e6 = recorder.floor_e6(trade), recorder.truth_of_e6(trade)
        result.cpu_s = time.process_time() - began
        return result

    def shown(self) -> tuple[int, int]:
        """Return the two profits shown on a page: at bid, and at settlement."""
        engine = self.worker.engine
        worth, ledger = engine.worth, engine.ledger
        value_e6 = worth.settlement_e6(engine.now_ms)
        return worth.profit_e6(), ledger.realised_e6 + value_e6 - ledger.basis_e6 - ledger.fees_e6

    def _look_at_page(self) -> None:
        result, recorder = self.result, self.recorder
        result.looks += 1
        below_e6, unlocked_e6 = recorder.at_bid_e6() - self.shown()[0], self._not_shown_e6()
        result.dips_bid += below_e6 > DIP_E6
        result.dips_locked += unlocked_e6 > DIP_E6
        result.deepest_bid_e6 = max(result.deepest_bid_e6, below_e6)
        result.deepest_locked_e6 = max(result.deepest_locked_e6, unlocked_e6)

    def shown_of_lot_e6(self, lot: LotWorth) -> int:
        """Return a lot's worth at settlement as shown on the page."""
        return lot.settlement_e6

    def _not_shown_e6(self) -> float:
        """Return how much of the locked profit the page does not show."""
        worth, recorder = self.worker.engine.worth, self.recorder
        shown_e6: Counter[int] = Counter()
        for event_ticker in worth.events():
            for seen in worth.lots(event_ticker, recorder.now_ms):
                shown_e6[seen.lot.trade] += self.shown_of_lot_e6(seen)
        return sum(
            max(0.0, recorder.floor_e6(trade, pairs=False) - shown_e6[trade.number])
            for trade in recorder.holding.values()
            if not trade.values  # once part of it was paid out, the rest is no longer a set
        )

    def _look_at_matches(self) -> None:
        """Look at all events of a match together, as pages do and the trader does not."""
        now_ms, rescan, state = self.recorder.now_ms, self._session.rescan, self.feed.state
        for view in rescan.views(state, self.recorder.implied(), now_ms):
            related = rescan.membership.with_related(state, view, now_ms)
            self.recorder.shown(candidates(related, {}, now_ms, self.scan).opportunities)

    def _look_at_beliefs(self) -> None:
        now_ms, rescan = self.recorder.now_ms, self._session.rescan
        exclusive = [
            ticker
            for ticker, event in self.exchange.events.items()
            if event.template.exclusive and not event.group.in_play
        ]
        for view in rescan.views(self.feed.state, exclusive, now_ms):
            self.recorder.believe(view)


def run(plan: Plan) -> Result:
    """Carry out one plan; return the record."""
    with quiet(), tempfile.TemporaryDirectory(prefix="kb-") as name:
        return Stand(plan, Path(name)).run(plan.hours)


def main(arguments: Sequence[str]) -> int:
    """Carry out the command line and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, default=1.0, help="simulated hours (%(default)s)")
    parser.add_argument("--seed", "--seeds", default="1", help="3, or 1-20, or 1,5,9")
    parser.add_argument("--markets", type=int, default=MARKETS, help="roughly how many (%(default)s)")
    parser.add_argument(
        "--rivals", choices=("yes", "no"), default="yes", help="whether others take planted mispricings"
    )
    parser.add_argument(
        "--latency", type=float, default=STEP_MS / 1000, help="seconds until an order arrives (%(default)s)"
    )
    parser.add_argument("--strategies", help="KALSHI_BUS_STRATEGIES")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the trader"
    )
    parser.add_argument(
        "--exchange", action="append", default=[], metavar="NAME=VALUE", help="such as void_rate=0.05"
    )
    parser.add_argument("--processes", type=int, default=1, help="how many seeds at a time (%(default)s)")
    parser.add_argument("--keep", type=Path, help="file for the results, as msgpack")
    parser.add_argument("--read", type=Path, nargs="*", help="print the tables of saved results instead")
    asked = parser.parse_args(arguments)
    if asked.read:
        print(tables([one for path in asked.read for one in read(path)]))
        return 0
    settings = dict(one.split("=", 1) for one in asked.set)
    if asked.strategies is not None:
        settings["STRATEGIES"] = asked.strategies
    prefix = "KALSHI_BUS_"
    plans = [
        Plan(
            seed,
            asked.hours,
            asked.markets,
            asked.rivals == "yes",
            round(asked.latency * 1000),
            {prefix + name.upper().removeprefix(prefix): value for name, value in settings.items()},
            {name: float(value) for name, value in (one.split("=", 1) for one in asked.exchange)},
        )
        for seed in seeds_of(asked.seed)
    ]
    results: list[Result] = []
    with get_context("spawn").Pool(asked.processes) if asked.processes > 1 else _Here() as pool:
        for result in pool.imap(run, plans):
            results.append(result)
            print(f"seed {result.seed}: {result.cpu_s:.0f} s of a core", file=sys.stderr, flush=True)
            if asked.keep is not None:
                asked.keep.write_bytes(msgspec.msgpack.encode(results))
    print(tables(results))
    return 0


class _Here:
    """Run one after the other, in this process."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    imap = staticmethod(map)


def seeds_of(text: str) -> list[int]:
    """Return the seeds in a text such as ``1-3,7``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def read(path: Path) -> list[Result]:
    """Return saved results."""
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Result])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
