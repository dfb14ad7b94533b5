"""Storms, quiet hours, failing ways: every message is delivered once, or reported as undelivered."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.outbox import (
    AT_ONCE,
    BODY_MOST,
    DROPPED_MS,
    GIVE_UP_MS,
    RETRY_MOST_MS,
    RETRY_MS,
    STORM_MS,
    WAITING_MOST,
    WAY_BACK_MS,
    Dropped,
    Kept,
    Outbox,
    Parcel,
)
from alerts.quiet import is_quiet
from bus.alerting import HISTORY_MOST, Quiet
from tests.alerts.world import NOW_MS, an_alert

NEVER = Quiet()
BERLIN = Quiet("22:00", "07:00", "Europe/Berlin")
NIGHT_MS = round(datetime(2026, 9, 21, 21, 30, tzinfo=UTC).timestamp() * 1000)
"""23:30 in Berlin."""
MORNING_MS = round(datetime(2026, 9, 22, 5, 0, tzinfo=UTC).timestamp() * 1000)
"""07:00 there."""


class Post:
    """An outbox, and what has been delivered by each way; a way in `down` fails."""

    def __init__(self, *ways: str, quiet: Quiet = NEVER, now_ms: int = NOW_MS) -> None:
        self.ways = ways or ("phone",)
        self.quiet = quiet
        self.now_ms = now_ms
        self.outbox = Outbox(Kept())
        self.down: set[str] = set()
        self.got: list[tuple[str, str]] = []
        self.tries = 0

    def put(self, *numbers: int, rule: int = 1, urgent: bool = False) -> None:
        alerts = [an_alert(number, rule=rule, urgent=urgent) for number in numbers]
        self.outbox.put(alerts, self.ways, self.quiet, self.now_ms)

    def turn(self, later_ms: int = 0) -> list[Parcel]:
        self.now_ms += later_ms
        self.outbox.turn(self.ways, self.quiet, self.now_ms)
        return self.outbox.parcels(self.now_ms, ())

    def deliver(self, later_ms: int = 0) -> list[str]:
        """Send what is due; return what arrived."""
        arrived = []
        for parcel in self.turn(later_ms):
            self.tries += 1
            error = "it did not answer in time" if parcel.way in self.down else None
            self.outbox.sent(parcel, error, self.now_ms)
            if error is None:
                arrived.append(parcel.body)
                self.got.append((parcel.way, parcel.body))
        return arrived

    def restart(self) -> None:
        self.outbox = Outbox(msgspec.json.decode(msgspec.json.encode(self.outbox.kept), type=Kept))

    def states(self) -> list[dict[str, str]]:
        return [row.ways for row in self.outbox.rows()]


def test_an_alert_is_sent_once_by_each_way() -> None:
    post = Post("phone", "mail")
    post.put(1)
    assert post.deliver() == ["fill 1", "fill 1"]
    assert post.deliver(1_000) == []
    post.restart()
    assert post.deliver(1_000) == []
    assert post.states() == [{"phone": "delivered", "mail": "delivered"}]


def test_storms_are_folded_and_nothing_is_lost() -> None:
    post = Post()
    post.put(*range(AT_ONCE + 27))
    post.put(99, rule=2)
    (first,) = post.deliver()
    assert first.count("\n") == AT_ONCE
    assert post.deliver(STORM_MS - 1) == []
    post.restart()
    assert post.deliver(1) == [f"27 more in 60 s; the last: fill {AT_ONCE + 26}"]
    assert [row.told for row in post.outbox.rows()].count(27) == 1
    assert sum(row.told for row in post.outbox.rows()) == AT_ONCE + 28


def test_waiting_messages_go_in_one_parcel_no_larger_than_all_services_accept() -> None:
    post = Post()
    for rule in range(100):
        post.outbox.put([an_alert(rule=rule, text="x" * 200)], post.ways, NEVER, NOW_MS)
    bodies = []
    while arrived := post.deliver():
        bodies += arrived
    assert max(map(len, bodies)) <= BODY_MOST
    assert sum(body.count("x" * 200) for body in bodies) == 100


def test_quiet_hours_end_with_one_digest_and_urgent_alerts_are_sent_at_once() -> None:
    post = Post(quiet=BERLIN, now_ms=NIGHT_MS)
    for number in range(30):
        post.put(number, rule=number)
    post.put(77, rule=77, urgent=True)
    assert post.deliver() == ["fill 77"]
    assert [row.quiet for row in post.outbox.rows()].count(True) == 30, "the page shows them nevertheless"
    post.restart()
    assert post.deliver(MORNING_MS - NIGHT_MS - 1) == []
    (digest,) = post.deliver(1)
    assert digest.splitlines()[0] == "Order filled: fill 0"
    assert digest.splitlines()[-1] == "and 10 more"
    assert post.deliver(60_000) == []


def test_a_digest_lists_whole_lines_and_counts_the_rest() -> None:
    post = Post(quiet=BERLIN, now_ms=NIGHT_MS)
    for number in range(30):
        text = f"{number} {'x' * 250}"
        post.outbox.put([an_alert(number, rule=number, text=text)], post.ways, BERLIN, NIGHT_MS)
    (digest,) = post.deliver(MORNING_MS - NIGHT_MS)
    assert len(digest) <= BODY_MOST
    *lines, last = digest.splitlines()
    assert all(line.endswith("x" * 250) for line in lines)
    assert last == f"and {30 - len(lines)} more"
    assert post.outbox.rows()[0].told == 30


def test_quiet_hours_follow_wall_clock_time() -> None:
    def at(text: str, quiet: Quiet) -> bool:
        return is_quiet(quiet, round(datetime.fromisoformat(text).timestamp() * 1000))

    assert at("2026-09-21T20:00Z", BERLIN)  # 22:00 in summer
    assert not at("2026-09-21T19:59Z", BERLIN)
    assert not at("2026-12-21T20:59Z", BERLIN)  # 21:59 in winter
    assert at("2026-12-21T05:59Z", BERLIN)
    day = Quiet("12:00", "13:00", "America/New_York")
    assert at("2026-07-01T16:30Z", day)
    assert not at("2026-07-01T17:00Z", day)
    assert not is_quiet(Quiet("08:00", "08:00", "UTC"), NOW_MS)


def test_a_failing_way_is_retried_with_growing_pauses_and_delays_no_other() -> None:
    post = Post("phone", "mail")
    post.down = {"phone"}
    post.put(1)
    assert post.deliver() == ["fill 1"]
    assert post.outbox.way_row("phone", "ntfy").state == "fails"
    post.put(2, rule=2)
    assert post.deliver(RETRY_MS - 1) == ["fill 2"], "the other way"
    tries = post.tries
    assert post.deliver(1) == []
    assert post.tries == tries + 1
    for _ in range(40):
        post.deliver(60_000)
    assert post.tries - tries < 20, "at most every five minutes"
    post.down = set()
    assert post.deliver(RETRY_MOST_MS) == ["Order filled: fill 1\nOrder filled: fill 2"]
    assert [way for way, _ in post.got].count("phone") == 1


def test_a_message_that_cannot_be_delivered_becomes_undelivered() -> None:
    post = Post()
    post.down = {"phone"}
    post.put(1)
    post.deliver()
    post.deliver(GIVE_UP_MS)
    assert post.states() == [{"phone": "undelivered"}]
    (row,) = post.outbox.rows()
    assert row.error == "phone: it did not answer in time"
    post.down = set()
    assert post.deliver(RETRY_MOST_MS) == []


def test_a_removed_way_is_not_waited_for() -> None:
    post = Post()
    post.down = {"phone"}
    post.put(1)
    post.deliver()
    post.ways = ()
    post.deliver(1_000)
    post.deliver(WAY_BACK_MS)
    assert post.states() == [{"phone": "undelivered"}]
    (row,) = post.outbox.rows()
    assert row.error == "the way phone no longer exists"


def test_a_way_missing_while_its_file_is_written_loses_nothing() -> None:
    post = Post()
    post.down = {"phone"}
    post.put(1)
    post.deliver()
    post.down, ways = set(), post.ways
    for _ in range(2):  # gone, back, and gone again: each time the wait starts over
        post.ways = ()
        assert post.deliver(1) == []
        assert post.deliver(WAY_BACK_MS - 1) == []
        post.ways = ways
        post.outbox.turn(post.ways, NEVER, post.now_ms)
    post.ways = ()
    post.put(2, rule=2)
    assert post.deliver(0) == []
    post.ways = ways
    assert post.deliver(RETRY_MS) == ["Order filled: fill 1\nOrder filled: fill 2"], (
        "also what came meanwhile"
    )


def test_a_message_cut_off_by_a_crash_is_not_sent_again() -> None:
    post = Post()
    post.put(1)
    assert len(post.turn()) == 1
    post.restart()
    assert post.deliver(60_000) == []
    (row,) = post.outbox.rows()
    assert (row.ways, row.error) == (
        {"phone": "uncertain"}, "the process ended while sending it: it may or may not have arrived"
    )  # fmt: skip


def test_the_history_is_bounded_and_keeps_waiting_messages() -> None:
    post = Post()
    post.down = {"phone"}
    for number in range(HISTORY_MOST + 50):
        post.put(number, rule=number)
    assert len(post.outbox.rows()) == HISTORY_MOST + 50
    post.down = set()
    while post.deliver(RETRY_MOST_MS):
        pass
    post.put(999, rule=999)
    post.deliver()
    post.put(1_000, rule=1_000)
    assert len(post.outbox.rows()) <= HISTORY_MOST


def test_what_is_dropped_because_too_many_wait_is_counted_for_a_day() -> None:
    post = Post()
    post.down = {"phone"}
    for number in range(WAITING_MOST):
        post.put(number, rule=number)
    assert post.outbox.kept.dropped.count == 0

    for number in range(WAITING_MOST, WAITING_MOST + 3):
        post.put(number, rule=number)

    assert post.outbox.kept.dropped == Dropped(3, post.now_ms)
    assert post.outbox.waiting("phone") == WAITING_MOST
    assert post.outbox.rows()[-1].text == "fill 3", "the oldest are gone"
    post.turn(DROPPED_MS - 1)
    assert post.outbox.kept.dropped.count == 3
    post.outbox.changed = False
    post.turn(1)
    assert (post.outbox.kept.dropped.count, post.outbox.changed) == (0, True)


def test_messages_that_wait_for_nobody_are_not_counted_as_dropped() -> None:
    post = Post()
    for number in range(HISTORY_MOST * 2):
        post.put(number, rule=number)
        post.deliver()
    assert len(post.outbox.rows()) == HISTORY_MOST
    assert post.outbox.kept.dropped.count == 0


def test_setting_the_clock_back_loses_nothing() -> None:
    post = Post()
    post.down = {"phone"}
    post.put(1)
    post.deliver()
    post.down = set()
    assert post.deliver(-86_400_000) == ["fill 1"]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "down", "up", "restart", "turn", "crash"]), st.integers(0, 90_000)),
        max_size=60,
    )
)
def test_whatever_happens_each_alert_arrives_once_or_is_reported_undelivered(
    steps: list[tuple[str, int]],
) -> None:
    post, number = Post(), 0
    for what, later_ms in steps:
        if what == "put":
            number += 1
            post.put(number, rule=number)
        elif what in ("down", "up"):
            post.down = {"phone"} if what == "down" else set()
        elif what == "restart":
            post.restart()
        elif what == "crash":
            post.turn(later_ms)
            post.restart()
        post.deliver(later_ms)
    post.down = set()
    while post.deliver(RETRY_MOST_MS):
        pass
    arrived = [line.rpartition("fill ")[2] for _, body in post.got for line in body.splitlines()]
    assert len(arrived) == len(set(arrived))
    ends = [state for row in post.outbox.rows() for state in row.ways.values()]
    assert len(ends) == number
    assert ends.count("delivered") == len(arrived)
    assert set(ends) <= {"delivered", "undelivered", "uncertain"}
