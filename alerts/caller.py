"""Puts it together: judges observations, sends alerts, and carries out users' commands.

There is one lock: the main thread takes turns, the control thread answers. Each parcel is recorded on disk
before it is sent. While the disk cannot be written, parcels are sent all the same: only a restart could then
send one twice, and the answers say so.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from bus.alerting import (
    RULES_MOST,
    TITLES,
    AlertsAnswer,
    AnyRule,
    DoneAnswer,
    Quiet,
    RuleRow,
    check_quiet,
    check_rule,
    kind_of,
    words_of,
)
from bus.clock import Clock
from bus.metrics import Figure
from bus.protocol.answers import Answers, Refusal
from markets.errors import BadRecord

from .couriers import Couriers
from .heartbeat import Heart, held_back
from .judging import Judged, describe, judge
from .kept import KeptFile, Rules, Told
from .outbox import WAITING_MOST, Outbox, Parcel
from .parcels import NO_APPRISE, Order
from .quiet import is_quiet
from .seen import Seen
from .ways import HEARTBEAT, Ways

log = structlog.get_logger()

REPLAY: Final = "A recording is being played: no alerts are sent."
DROPPED_LOG_MS: Final = 60_000
"""At most this often the log says how many messages were dropped."""

TEST: Final = "This is a test: alerts arrive here."

_NOT_JUDGED: Final = Judged((), "not checked yet")


class Caller:
    """Any thread may call it; `turn` and `stop` only the main one.

    Args:
        ways: returns the ways that the file of URLs lists now.
        apprise: whether Apprise is installed.
        needs: what the heartbeat requires to be well.
    """

    def __init__(
        self,
        rules_file: KeptFile[Rules],
        told_file: KeptFile[Told],
        ways: Callable[[], Ways],
        couriers: Couriers,
        heart: Heart,
        clock: Clock,
        needs: Any,
        *,
        apprise: bool,
    ) -> None:
        self._lock = threading.Lock()
        self._rules_file = rules_file
        self._told_file = told_file
        self._ways = ways
        self._couriers = couriers
        self._heart = heart
        self._clock = clock
        self._needs = needs
        self._apprise = apprise
        self._rules = rules_file.read(clock.now_ms())
        told = told_file.read(clock.now_ms())
        self._memory = told.memory
        self._outbox = Outbox(told.outbox)
        self._under: dict[str, Parcel] = {}
        self._judged: dict[int, Judged] = {}
        self._remembered: object = None
        self._replaying = False
        self._beating = False
        self._logged = told.outbox.dropped.count
        self._logged_ms: int | None = None

    # -- any thread

    @property
    def rules(self) -> tuple[AnyRule, ...]:
        """The rules."""
        return self._rules.rules

    def add_to(self, answers: Answers) -> None:
        """Register the questions and commands with `answers`."""

        def add(op: str, answer: Callable[[Mapping[str, Any]], msgspec.Struct], *parameters: str) -> None:
            def handle(question: Mapping[str, Any], _now_ms: int) -> dict[str, Any]:
                try:
                    with self._lock:
                        return dict(msgspec.to_builtins(answer(question)))
                except BadRecord as error:
                    raise Refusal("bad_request", str(error)) from None

            answers.add(op, handle, *parameters)

        add("alerts", self._answer, "after")
        add("set_rule", self._set_rule, "rule")
        add("remove_rule", self._remove_rule, "number")
        add("set_quiet", self._set_quiet, "quiet")
        add("test", self._test, "number")

    def figures(self) -> list[Figure]:
        """Return the metrics for the snapshot server."""
        with self._lock:
            counts: dict[str, int] = {}
            for message in self._outbox.kept.messages:
                for state in message.ways.values():
                    counts[state] = counts.get(state, 0) + 1
            waiting = counts.get("waits", 0) + counts.get("sending", 0)
            undelivered = counts.get("undelivered", 0) + self._outbox.kept.dropped.count
            return [
                Figure("alerts_rules", (), len(self._rules.rules)),
                Figure("alerts_told", (), self._outbox.kept.last),
                Figure("alerts_waiting", (), waiting),
                Figure("alerts_undelivered", (), undelivered),
            ]

    # -- the main thread

    def turn(self, seen: Seen) -> None:
        """Judge the observations, and send alerts."""
        with self._lock:
            now_ms, steady_ms = self._clock.now_ms(), self._clock.monotonic_ns() // 1_000_000
            ways = self._ways()
            names = ways.names if self._apprise else ()
            self._take_done(now_ms, steady_ms)
            self._replaying = seen.health.source != "live"
            if not self._replaying:
                verdict = judge(self._rules.rules, seen, self._memory)
                self._judged = verdict.rules
                self._outbox.put(verdict.alerts, names, self._rules.quiet, now_ms)
                for alert in verdict.alerts:
                    log.info("alerts.alert", rule=alert.rule, key=alert.key, text=alert.text, what=alert.what)
            self._outbox.turn(names, self._rules.quiet, now_ms)
            parcels = self._outbox.parcels(now_ms, self._couriers.busy)
            self._log_dropped(steady_ms)
            self._keep()
            urls = {way.name: way.url for way in ways.ways}
            for parcel in parcels:
                self._under[parcel.way] = parcel
                self._couriers.start(parcel.way, Order("tell", urls[parcel.way], parcel.title, parcel.body))
            self._beat(ways, seen, steady_ms)

    def stop(self) -> None:
        """Take finished outcomes, end the senders, and write the state to disk."""
        with self._lock:
            self._take_done(self._clock.now_ms(), 0)
            self._couriers.stop()
            self._keep()

    def busy(self) -> bool:
        """Whether anything is being sent."""
        with self._lock:
            return bool(self._under)

    def take_done(self) -> None:
        """Take the outcomes of finished senders."""
        with self._lock:
            self._take_done(self._clock.now_ms(), self._clock.monotonic_ns() // 1_000_000)

    def _beat(self, ways: Ways, seen: Seen, steady_ms: int) -> None:
        if ways.heartbeat is None or self._beating:
            return
        if self._heart.due(held_back(seen, self._needs), steady_ms):
            self._beating = True
            self._couriers.start(HEARTBEAT, Order("beat", ways.heartbeat.url))

    def _take_done(self, now_ms: int, steady_ms: int) -> None:
        for name, error in self._couriers.done():
            if name == HEARTBEAT:
                self._beating = False
                self._heart.done(error, now_ms, steady_ms)
                if error is not None:
                    log.warning("alerts.heartbeat", error=error)
                continue
            parcel = self._under.pop(name)
            self._outbox.sent(parcel, error, now_ms)
            if error is None:
                log.info("alerts.delivered", way=name, messages=parcel.numbers)
            else:
                log.warning("alerts.undelivered", way=name, messages=parcel.numbers, error=error)

    def _log_dropped(self, steady_ms: int) -> None:
        count, last_ms = self._outbox.kept.dropped.count, self._logged_ms
        if count > self._logged and (last_ms is None or steady_ms - last_ms >= DROPPED_LOG_MS):
            log.error("alerts.dropped", messages=count - self._logged, waiting_most=WAITING_MOST)
            self._logged, self._logged_ms = count, steady_ms
        self._logged = min(count, self._logged)

    def _keep(self) -> None:
        """Write the state to disk if it has changed, and what could not be written before."""
        if self._rules_file.problem is not None:
            self._rules_file.write(self._rules)
        memory = self._memory.marks()
        if not self._outbox.changed and memory == self._remembered and self._told_file.problem is None:
            return
        if self._told_file.write(Told(self._memory, self._outbox.kept)):
            self._outbox.changed = False
            self._remembered = memory

    # -- answers, under the lock

    def _answer(self, question: Mapping[str, Any]) -> AlertsAnswer:
        after = question.get("after") or 0
        if isinstance(after, bool) or not isinstance(after, int):
            raise BadRecord("after", after, "the number of a message")
        ways, now_ms = self._ways(), self._clock.now_ms()
        quiet = self._rules.quiet
        return AlertsAnswer(
            now=now_ms / 1000,
            rules=tuple(self._row(rule) for rule in self._rules.rules),
            messages=self._outbox.rows(after),
            last=self._outbox.kept.last,
            ways=tuple(self._outbox.way_row(way.name, way.scheme) for way in ways.ways),
            quiet=quiet,
            quiet_now=is_quiet(quiet, now_ms),
            heartbeat=self._heart.row(there=ways.heartbeat is not None),
            problems=tuple(self._problems(ways)),
        )

    def _row(self, rule: AnyRule) -> RuleRow:
        judged = self._judged.get(rule.number, _NOT_JUDGED)
        return RuleRow(
            rule=msgspec.to_builtins(rule),
            title=TITLES[kind_of(rule)],
            words=words_of(rule),
            holds=judged.holds[:10],
            problem=judged.problem if rule.on else None,
        )

    def _problems(self, ways: Ways) -> list[str]:
        files = (self._rules_file, self._told_file)
        found = [text for file in files for text in (file.aside, file.problem) if text is not None]
        found += ways.problems
        if count := self._outbox.kept.dropped.count:
            which = "message that was" if count == 1 else f"{count:,} messages that were"
            found.append(f"The oldest {which} waiting had to be dropped: more than {WAITING_MOST:,} waited.")
        if ways.ways and not self._apprise:
            found.append(f"No alerts are sent: {NO_APPRISE}")
        return [*found, REPLAY] if self._replaying else found

    def _set_rule(self, question: Mapping[str, Any]) -> DoneAnswer:
        rule = check_rule(question.get("rule"))
        rules = {one.number: one for one in self._rules.rules}
        if rule.number and rule.number not in rules:
            raise BadRecord("number", rule.number, "the number of an existing rule, or 0 for a new one")
        if not rule.number:
            if len(rules) >= RULES_MOST:
                raise BadRecord("number", 0, f"at most {RULES_MOST} rules")
            rule = msgspec.structs.replace(rule, number=self._rules.last + 1)
        rules[rule.number] = rule
        self._change(Rules((*rules.values(),), self._rules.quiet, max(self._rules.last, rule.number)))
        return DoneAnswer(number=rule.number)

    def _remove_rule(self, question: Mapping[str, Any]) -> DoneAnswer:
        number = self._rule(question).number
        left = tuple(rule for rule in self._rules.rules if rule.number != number)
        self._change(Rules(left, self._rules.quiet, self._rules.last))
        return DoneAnswer(number=number)

    def _set_quiet(self, question: Mapping[str, Any]) -> DoneAnswer:
        quiet: Quiet = check_quiet(question.get("quiet"))
        self._change(Rules(self._rules.rules, quiet, self._rules.last))
        return DoneAnswer(number=0)

    def _test(self, question: Mapping[str, Any]) -> DoneAnswer:
        ways = self._ways()
        names = ways.names if self._apprise else ()
        text, number = TEST, 0
        if question.get("number"):
            rule = self._rule(question)
            text, number = describe(rule), rule.number
        return DoneAnswer(number=self._outbox.tell(text, names, self._clock.now_ms(), number))

    def _rule(self, question: Mapping[str, Any]) -> AnyRule:
        number = question.get("number")
        found = [rule for rule in self._rules.rules if rule.number == number and type(number) is int]
        if not found:
            raise BadRecord("number", number, "the number of an existing rule")
        return found[0]

    def _change(self, rules: Rules) -> None:
        """Use these rules from now on, once they are on disk."""
        if not self._rules_file.write(rules):
            raise Refusal("internal", f"not changed: {self._rules_file.problem}")
        self._rules = rules
        log.info("alerts.rules", rules=len(rules.rules))
