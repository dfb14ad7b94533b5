"""`/api/status`, compared byte for byte, and its problems."""

from pathlib import Path

import msgspec

from bus.process.settings import Settings
from bus.process.supervised import Supervised
from bus.protocol.join import Stats
from bus.protocol.messages import Heartbeat, PublisherHealth
from bus.protocol.state import State
from bus.replica import ReplicaStatus
from bus.scan.scans import NOTHING, Scan
from markets.records import ExchangeStatus
from tests.ui.stage import cycle_end
from ui.desk import Desk
from ui.pages.dashboard_status import DashboardStatus, replay_of, status_of

NOW_MS = 1_790_000_031_250
PUBLISHER = PublisherHealth(1_789_999_000_000, 12_000, "failed", "ok", True, "503")
SETTINGS = Settings.load({"KALSHI_BUS_MODE": "paper"}, Path("/tmp"))


class Shown:
    """A replica that does not move."""

    published_ns = NOW_MS * 1_000_000
    heartbeat = Heartbeat(since=0, seq=4_711, streams={}, now_ms=NOW_MS, publisher=PUBLISHER)

    def __init__(self, phase: str = "live", lost: bool = False) -> None:
        self.state = State(7)
        self._status = ReplicaStatus(7, 1, not lost, phase, lost, 0, (), "live", Stats(gaps=1, resyncs=1))

    def now_ms(self) -> int:
        return NOW_MS

    def status(self) -> ReplicaStatus:
        return self._status


def a_scan() -> Scan:
    state = State(7)
    with state.lock:
        state.seq = 1
        state.put("ex.", 1, "exchange", [ExchangeStatus(True, False, None, ((0, True, False),), NOW_MS)])
        state.set_cycle(cycle_end(NOW_MS - 31_250, 9, quarantined=1, unjoined=2), {})
    return Scan(state, NOW_MS)


def codes(status: DashboardStatus) -> list[str]:
    return [problem.code for problem in status.problems]


def test_the_status_has_not_changed_by_a_byte() -> None:
    processes = {"trader": Supervised("BACKOFF", None, None, 1, 7, "does not stay up")}
    status = status_of(Shown(), a_scan(), SETTINGS, processes, Desk().summary(NOW_MS, 0))
    assert msgspec.json.encode(status) == (
        b'{"mode":"paper","env":"sim","source":"live","feed":"live","now":1790000031.25,'
        b'"as_of":1790000000.0,"age_seconds":31.25,"stale":true,"stale_after_seconds":30.0,"epoch":7,'
        b'"seq":1,"cycle":9,"gaps":1,"resyncs":1,"degraded":[],"markets":0,"events":0,"books":0,'
        b'"quarantined":1,"unjoined":2,"exchange":{"exchange_active":true,"trading_active":false,'
        b'"estimated_resume_at":null,"shards":[{"exchange_index":0,"exchange_active":true,'
        b'"trading_active":false}],"as_of":1790000031.25},"publisher":{"started_ms":1789999000000,'
        b'"poll_interval_ms":12000,"sweep":"failed","key":"ok","exchange_reachable":true,"error":"503",'
        b'"stream":"off","stream_books":0,"stream_unsure":0,"stream_gaps":0,"stream_reconnects":0,'
        b'"stream_healed":0,"stream_confirmed":0,"stream_older":0,"cause":null,"remedy":null,"pages":0,'
        b'"markets_read":0,"warnings":[],"stream_error":null,"stream_refused":{},"stream_refusal":null,'
        b'"stream_books_max":null,"stream_bad":0,"routes":[],"stream_since_ms":null},"problems":[{"code":"publisher_error",'
        b'"text":"The publisher\'s last sweep failed. (503)","remedy":""},{"code":"stale",'
        b'"text":"The data is old. Nothing in it counts as tradable.","remedy":""},{"code":"exchange_closed",'
        b'"text":"The exchange is not trading now.","remedy":""},{"code":"process_trader",'
        b'"text":"The trader process does not stay up.","remedy":""}],"trader":{"state":"not running",'
        b'"sign":"idle","answers":false,"as_of":null,"reasons":[],"pnl_today_dollars":null,'
        b'"pnl_bid_dollars":null,"pnl_settlement_dollars":null,"left_out":0,'
        b'"killed":null,"error":null},"replay":null,"resyncing":null}'
    )


def test_before_the_first_snapshot_the_feed_is_starting_not_lost() -> None:
    status = status_of(Shown("joining", lost=True), NOTHING, SETTINGS)
    assert (status.feed, status.stale, status.age_seconds, status.epoch) == ("starting", True, None, 0)
    assert codes(status) == ["publisher_error"]
    assert status_of(Shown(lost=True), a_scan(), SETTINGS).feed == "lost"


def test_problems_come_in_order() -> None:
    processes = {"trader": Supervised("BACKOFF", None, None, 1, 7, "does not stay up")}
    scan = msgspec.structs.replace(a_scan(), failed=2)
    expected = ["publisher_error", "stale", "exchange_closed", "scan_failed", "process_trader"]
    assert codes(status_of(Shown(), scan, SETTINGS, processes)) == expected
    assert codes(status_of(Shown(lost=True), scan, SETTINGS)) == ["feed_lost", *expected[1:4]]


def test_time_alone_does_not_change_the_signature() -> None:
    status, replay = status_of(Shown(), a_scan(), SETTINGS), {"position_ms": 5, "speed": "max", "more": 1}
    later = msgspec.structs.replace(status, now=status.now + 9, age_seconds=40.25, seq=2, replay=None)
    assert status.signature() == later.signature()
    playing = msgspec.structs.replace(status, replay=replay_of(replay))
    moved = msgspec.structs.replace(status, replay=replay_of(replay | {"position_ms": 6}))
    assert playing.signature() == moved.signature() != status.signature()
    assert (playing.replay or {})["speed"] == 0.0
