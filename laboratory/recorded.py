"""A run over a recording, which is the feed and gives the time; the paper broker fills orders."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from bus.clock import ManualClock
from bus.process.settings import money_e6
from bus.protocol.join import Action, ReplicaStatus
from bus.protocol.memory import Slim
from bus.protocol.state import State
from bus.tape.file import Recording, RecordingError
from bus.tape.tape import Tape
from bus.tape.verify import Verdict, verify
from markets.units import HOUR_MS, PRICE_ONE_E4

from .notes import Notes
from .outcome import Outcome, Plan, span
from .spans import spans_of
from .stand import STEP_MS, Progress, Stand, point_ms, settings_of
from .statistics import DAY_MS

LONG_MS: Final = HOUR_MS
"""A longer time without messages is skipped at once, as if the machine had been suspended."""

BACK_MS: Final = 5_000
"""By how much a recording's time may go back, as its publisher's clock was set. The run's does not."""


class TapeFeed:
    """What the trader follows: the tape up to the latest admitted moment."""

    def __init__(self, tape: Tape, clock: ManualClock) -> None:
        self._tape = tape
        self._clock = clock
        self._heard: deque[Sequence[Action]] = deque()
        self.heard_ns = 0

    def hear(self, actions: Sequence[Action]) -> None:
        """Admit a moment of the tape."""
        self._heard.append(actions)

    @property
    def state(self) -> State:
        return self._tape.state

    @property
    def backlog(self) -> int:
        return len(self._heard)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def status(self) -> ReplicaStatus:
        """Return the tape's status as if it were live, since its time is the clock's."""
        return msgspec.structs.replace(self._tape.status(), source="live")

    def step(self, timeout_s: float) -> Sequence[Action]:
        """Apply the next admitted moment; it never waits."""
        self.heard_ns = self._clock.monotonic_ns()
        return self._heard.popleft() if self._heard else ()


def opened(path: Path) -> tuple[Recording, list[int]]:
    """Return a recording that can be played, and the times of its keyframes, of which there are some.

    Raises:
        OSError: it cannot be read.
        RecordingError: it is not a recording, or is of a newer version; nothing in it can be played; its
            segments are not in order.
    """
    recording = Recording(path)
    times_ms = [time_ns // 1_000_000 for time_ns, _ in recording.keyframes()]
    if not times_ms:
        raise RecordingError(f"{path}: there is no keyframe in it, so it cannot be played")
    back_ms = max((before - after for before, after in pairwise(times_ms)), default=0)
    if back_ms > BACK_MS:
        raise RecordingError(
            f"{path}: its time goes back by {_span(back_ms)}, so its segments are not in order,"
            " or its publisher's clock was set: `kalshi-bus verify` says more"
        )
    return recording, times_ms


class Recorded:
    """One run.

    Args:
        folder: an empty one for the files that the trader keeps beside its journal.

    Raises:
        RecordingError: see `opened`.
        StartupError: a setting or strategy of the plan cannot be used.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        recording, times_ms = opened(Path(plan.recording))
        self._plan = plan
        self._began_ms, self._last_ms = times_ms[0], times_ms[-1]
        if plan.hours:
            self._last_ms = min(self._last_ms, self._began_ms + round(plan.hours * HOUR_MS))
        until_ms = None if not plan.hours else self._began_ms + round(plan.hours * HOUR_MS)
        self._clock = ManualClock(self._began_ms)
        self._tape = Tape(recording, 0, to_ms=until_ms, keeping=Slim())
        self._recording = recording
        settings = settings_of(plan, folder)
        self._notes = Notes(money_e6(settings.paper_cash), Outcome(plan=plan), self._began_ms, self._odd)
        self._feed = TapeFeed(self._tape, self._clock)
        self.stand = Stand(plan, settings, self._clock, self._feed, self._notes)

    def _odd(self, event_ticker: str) -> bool:
        markets = self._tape.state.markets.values()
        values = [market.settlement_value_e4 for market in markets if market.event_ticker == event_ticker]
        return any(value not in (None, 0, PRICE_ONE_E4) for value in values)

    def run(self, progress: Progress = lambda _done: None) -> Outcome:
        """Play the recording; return the outcome."""
        stand, clock, books = self.stand, self._clock, False
        every_ms = point_ms(self._last_ms - self._began_ms)
        next_ms = self._began_ms + every_ms
        span_ms = max(1, self._last_ms - self._began_ms)
        for moment in self._tape:
            self._pass(moment.now_ns // 1_000_000)
            self._feed.hear(moment.actions)
            stand.turn()
            stand.markouts()
            books = books or bool(self._feed.state.books)
            if clock.now_ms() >= next_ms:
                next_ms = clock.now_ms() + every_ms
                stand.point()
            progress(min(1.0, (clock.now_ms() - self._began_ms) / span_ms))
        stand.point()
        stand.end()
        stand.outcome.gap_ms, stand.outcome.spans = sum(self._gaps_ms()), spans_of(self._recording)
        self._note_tape(books, verify(self._recording, deep=False, each=lambda: progress(1.0)))
        progress(1.0)
        return stand.outcome

    def _pass(self, until_ms: int) -> None:
        """Let time pass up to a moment, with everything due until then."""
        clock, stand = self._clock, self.stand
        if until_ms - clock.now_ms() > LONG_MS:
            clock.advance(until_ms - clock.now_ms())
            stand.markouts(known=False)
        gaps = [gap for gap in self._tape.tally.gaps if gap[1] > clock.now_ms() * 1_000_000]
        while clock.now_ms() < until_ms:
            at_ms = min(until_ms, stand.due_ms, clock.now_ms() + STEP_MS)
            clock.advance(max(0, at_ms - clock.now_ms()))
            stand.turn()
            now_ns = clock.now_ms() * 1_000_000
            stand.markouts(known=not any(begin_ns < now_ns <= end_ns for begin_ns, end_ns in gaps))

    def _gaps_ms(self) -> list[int]:
        return [max(0, end_ns - begin_ns) // 1_000_000 for begin_ns, end_ns in self._tape.tally.gaps]

    def _note_tape(self, books: bool, verdict: Verdict) -> None:
        """Note in the report what the recording lacks."""
        tally, outcome, gaps_ms = self._tape.tally, self.stand.outcome, self._gaps_ms()
        outcome.check, lacks = verdict.said, outcome.lacks
        if verdict.verdict != "proven":
            lacks.append(f"verify says: {verdict.said}")
        if gaps_ms:
            longest_ms, whole_ms = max(gaps_ms), outcome.ended_ms - outcome.began_ms
            lacks.append(
                f"{_times(len(gaps_ms), 'gap')}, {_span(sum(gaps_ms))} of {_span(whole_ms)} in all, the"
                f" longest {_span(longest_ms)}: nothing is bought in them, and they do not count as time"
            )
        missed = [gap for gap in verdict.gaps if gap.whose == "exchange" and gap.end_ns > gap.begin_ns]
        if missed:
            in_all = _span(sum(gap.end_ns - gap.begin_ns for gap in missed) // 1_000_000)
            times = f"{_times(len(missed), 'time')}, for {in_all} in all"
            lacks.append(f"{times}, its publisher may have missed something at the exchange")
        if not books:
            lacks.append("it has no order books: only the best prices of each market are known")
        if tally.holes:
            lacks.append(f"{_times(tally.holes, 'hole')}: messages are missing or cannot be read")
        if tally.mismatches:
            lacks.append(f"{tally.mismatches} of {tally.checked} digests in it differ")
        if self._recording.problem is not None:
            lacks.append(f"it ends early: {self._recording.problem}")


def _span(ms: int) -> str:
    return span(ms / DAY_MS)


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
