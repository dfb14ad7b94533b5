"""Nothing of ours rests for long after trader, gateway or feed have died or stand still."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from publisher.kalshi.signing import KeySource
from publisher.orders.terms import Terms
from publisher.orders.watchdog import GIVE_UP_MS, SILENT_MS, Ours, Silence, Takeover
from tests.publisher.orders.drills import QUICK, drill, mountable
from tests.publisher.orders.peer import Answer, Peer
from tests.support import Runner


def test_each_is_given_its_time_and_told_of_once() -> None:
    silence = Silence(0)
    everybody = set(SILENT_MS)
    for now_ms in range(100, 20_000, 100):
        assert silence.look(everybody, now_ms) == ()
    said: dict[int, tuple[str, ...]] = {}
    for now_ms in range(20_000, 60_000, 100):
        if new := silence.look({"feed"} if now_ms < 40_000 else (), now_ms):
            said[now_ms] = new
    # A gateway that stays away is told of again: it may have come and gone unheard.
    assert said.pop(22_900) == ("gateway", "trader")
    assert said.pop(49_900) == ("feed", "gateway")
    assert said == dict.fromkeys((ms for ms in range(25_900, 60_000, 3_000) if ms != 49_900), ("gateway",))
    assert silence.look({"trader", "gateway"}, 60_000) == ()
    for now_ms in range(60_100, 63_000, 100):
        assert silence.look((), now_ms) == ()
    assert silence.look((), 63_000) == ("gateway", "trader")


def test_who_was_never_heard_is_silent_too() -> None:
    silence = Silence(0)
    for now_ms in range(0, 3_000, 500):
        assert silence.look({"feed", "gateway"}, now_ms) == ()
    assert silence.look({"feed", "gateway"}, 3_000) == ("trader",)


def test_where_this_process_stood_still_the_others_get_their_time_again() -> None:
    silence = Silence(0)
    assert silence.look((), 60_000) == ()
    for now_ms in range(60_500, 63_000, 500):
        assert silence.look((), now_ms) == ()
    assert silence.look((), 63_000) == ("gateway", "trader")


# -- what it makes of the exchange's list

LISTED: dict[str, Any] = {
    "order_id": "o1", "client_order_id": "c1", "ticker": "KXA-1-X", "exchange_index": 1,
    "status": "resting", "outcome_side": "yes", "yes_price_dollars": "0.5000", "fill_count_fp": "0.00",
    "remaining_count_fp": "1.00",
}  # fmt: skip
OTHERS = {**LISTED, "order_id": "by hand", "client_order_id": ""}
OURS = Ours({"c1": ("", "KXA-1-X", 1)}, {"o0": ("o0", "KXA-0-X", 2)}, (("", "KXA-1-X", 1),))
"""What the log says: the id of one order of ours was never told."""


class Waited:
    """A clock whose time passes only by waiting. `stops_ms`: from then on the process is to stop."""

    def __init__(self) -> None:
        self.ms = 1_795_000_000_000
        self.began_ms = self.ms
        self.stops_ms = self.ms * 2

    def now_ms(self) -> int:
        return self.ms

    def now_ns(self) -> int:
        return self.ms * 1_000_000

    monotonic_ns = now_ns

    def wait(self, seconds: float) -> bool:
        if self.ms < self.stops_ms:
            self.ms += round(seconds * 1_000)
        return self.ms >= self.stops_ms


class Lists:
    """An exchange's answers: to a list what `page` makes of the cursor, without what was cancelled."""

    def __init__(self, peer: Peer, page: Callable[[str], dict[str, Any]]) -> None:
        self.peer, self.page = peer, page
        self.cancelled: list[str] = []
        self.asked: list[tuple[str, str, int]] = []
        """Of each cancel the order, the shard, and how many pages had been asked for."""
        self.tickers: list[str] = []
        self.pages = 0

    def get(self) -> Answer:
        method, target, _ = self.peer.heard.get(timeout=30).decode().split(" ", 2)
        parts = urlsplit(target)
        if method == "DELETE":
            self.cancelled.append(parts.path.rpartition("/")[2])
            self.asked.append((self.cancelled[-1], parse_qs(parts.query)["exchange_index"][0], self.pages))
            self.tickers += parse_qs(parts.query)["market_ticker"]
            said: dict[str, Any] = {"order_id": self.cancelled[-1], "reduced_by": "1.00"}
        else:
            self.pages += 1
            said = self.page(parse_qs(parts.query).get("cursor", [""])[0])
            said["orders"] = [
                one
                for one in said["orders"]
                if not isinstance(one, dict) or one.get("order_id") not in self.cancelled
            ]
        body = json.dumps(said).encode()
        return Answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@contextmanager
def takes_over(
    page: Callable[[str], dict[str, Any]], folder: Path
) -> Iterator[tuple[Takeover, Lists, Waited]]:
    clock = Waited()
    with Peer() as peer:
        lists = Lists(peer, page)
        peer.answers = lists  # type: ignore[assignment]
        keys = KeySource(None, None, None)
        takeover = Takeover(peer.url, keys, clock, clock.wait, Terms("exchange", "account", folder))
        try:
            yield takeover, lists, clock
        finally:
            takeover.close()


@pytest.mark.parametrize(
    ("orders", "proved"),
    [
        ([OTHERS, LISTED], 1),
        ([{**OTHERS, "yes_price_dollars": "1.50"}, LISTED], 1),
        ([{**LISTED, "remaining_count_fp": None, "outcome_side": 7}], 1),
        ([{**LISTED, "ticker": None, "exchange_index": None}], 1),
        ([{**LISTED, "ticker": 7, "exchange_index": 2**60}], 1),
        ([{**OTHERS, "ticker": None}, LISTED], 1),
        ([{**OTHERS, "order_id": None}, LISTED], None),
        ([None, {**OTHERS, "client_order_id": 5}, LISTED], None),
    ],
)
def test_what_cannot_be_read_of_others_hides_no_order_of_ours(
    orders: list[Any], proved: int | None, tmp_path: Path
) -> None:
    with takes_over(lambda _cursor: {"orders": list(orders)}, tmp_path) as (takeover, lists, clock):
        assert takeover.cancel(OURS) == proved
        assert lists.asked == [("o1", "1", 1)]
        assert lists.tickers == ["KXA-1-X"]
        assert (clock.ms - clock.began_ms >= GIVE_UP_MS) == (proved is None)


@pytest.mark.parametrize("client_order_id", [5, "", "somebody's"])
def test_an_order_of_ours_is_cancelled_by_whichever_id_can_be_read(
    client_order_id: object, tmp_path: Path
) -> None:
    listed = {
        **LISTED,
        "order_id": "o0",
        "client_order_id": client_order_id,
        "ticker": [],
        "exchange_index": "",
    }
    with takes_over(lambda _cursor: {"orders": [listed]}, tmp_path) as (takeover, lists, _):
        assert takeover.cancel(OURS) == 1
        assert (lists.asked, lists.tickers) == ([("o0", "2", 1)], ["KXA-0-X"])


def test_an_order_of_ours_whose_own_id_cannot_be_read_is_cancelled_by_the_logs_and_proves_nothing(
    tmp_path: Path,
) -> None:
    ours = Ours({"c1": ("o0", "KXA-0-X", 2)}, {}, ())
    with takes_over(lambda _cursor: {"orders": [{**LISTED, "order_id": 7}]}, tmp_path) as (
        takeover,
        lists,
        _,
    ):
        assert takeover.cancel(ours) is None
        assert lists.asked[0] == ("o0", "1", 1)


@pytest.mark.parametrize("follows", ["the same", "another"])
def test_a_list_without_an_end_is_left_when_time_is_up_and_ours_are_cancelled(
    follows: str, tmp_path: Path
) -> None:
    def page(cursor: str) -> dict[str, Any]:
        following = "again" if follows == "the same" else f"{cursor}+"
        return {"orders": [OTHERS, LISTED], "cursor": following}

    with takes_over(page, tmp_path) as (takeover, lists, clock):
        assert takeover.cancel(OURS) is None
        assert lists.asked == [("o1", "1", 1)]
        assert GIVE_UP_MS <= clock.ms - clock.began_ms < GIVE_UP_MS + 20_000


def test_a_process_that_is_to_stop_leaves_a_long_list(tmp_path: Path) -> None:
    with takes_over(lambda cursor: {"orders": [LISTED], "cursor": f"{cursor}+"}, tmp_path) as (
        takeover,
        lists,
        clock,
    ):
        clock.stops_ms = clock.began_ms + 10_000
        assert takeover.cancel(OURS) is None
        assert lists.asked == [("o1", "1", 1)]
        assert clock.ms - clock.began_ms < 20_000


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(150)
def test_whoever_is_killed_or_stopped_nothing_of_ours_rests_after_five_seconds(runner: Runner) -> None:
    """More drills, and those that wait for a lease: make soak order_drills."""
    drill(runner, [*QUICK, *(["disk full"] if mountable() else [])])
