"""One account of how things stand, and what `/health` makes of it, recorded byte for byte."""

import json
from typing import Any

import msgspec
import pytest

from bus.health import (
    HealthAnswer,
    answer_of,
    health_of,
    process_problems,
    progress,
    publisher_problem,
    trader_problems,
)
from bus.process.supervised import Supervised
from bus.protocol.join import Resync, Stats
from bus.protocol.messages import CycleEnd, Heartbeat, PublisherHealth, RouteHealth
from bus.protocol.state import State
from bus.replica import ReplicaStatus
from bus.trading.shapes import AccountStatus
from markets.records import ExchangeStatus
from markets.units import format_time
from tests.bus.trading.samples import a_status

NOW_MS = 1_790_000_001_250
WELL = PublisherHealth(1_789_999_000_000, 12_000, "complete", "ok", True)
LIVE = ReplicaStatus(7, 4_711, True, "live", False, 0, (), "live", Stats(gaps=3, resyncs=2))


def heard(account: PublisherHealth) -> Heartbeat:
    return Heartbeat(since=0, seq=4_711, streams={}, now_ms=NOW_MS, publisher=account)


def a_state(exchange: ExchangeStatus | None = None, **cycle: Any) -> State:
    state = State(7)
    state.seq = 4_710
    times = {"started_ms": NOW_MS - 2_250, "ended_ms": NOW_MS - 1_250, "complete_ms": NOW_MS - 1_250}
    end = CycleEnd(9, 4_000, 4_700, 30, True, quarantined=1, unjoined=2, **(times | cycle))
    with state.lock:
        state.set_cycle(end, {})
        if exchange is not None:
            state.put("ex.", 4_710, "exchange", [exchange])
    return state


def test_the_answer_of_health_is_byte_for_byte_what_it_was() -> None:
    paused = ExchangeStatus(True, False, NOW_MS + 4_250, ((0, True, False), (1, False, False)), NOW_MS)
    processes = {"trader": Supervised("BACKOFF", None, None, 1, 7, "does not stay up")}
    replica = msgspec.structs.replace(
        LIVE, live=False, phase="repairing", degraded=("md.KXNBA.",), proven_seq=4_709,
        resync=Resync("missing", "taking", 1_250, 512, 2, 3, 40),
    )  # fmt: skip
    health = health_of(a_state(paused), replica, heard(WELL), NOW_MS, 30_000, processes)
    answer = answer_of(health, markets=300, books=5, digest=0xABC)
    recorded = (
        b'{"status":"resyncing","age_seconds":1.25,"generated_at":1790000000.0,"stale_after_seconds":30.0,'
        b'"complete":true,"market_count":300,"enriched_count":5,"quarantined_count":1,"unjoined_count":2,'
        b'"epoch":7,"seq":4710,"digest":"0000000000000abc","feed":"resyncing","source":"live","gaps":3,'
        b'"resyncs":2,"degraded":["md.KXNBA."],"publisher":{"started_ms":1789999000000,'
        b'"poll_interval_ms":12000,"sweep":"complete","key":"ok","exchange_reachable":true,"error":null,'
        b'"stream":"off","stream_books":0,"stream_unsure":0,"stream_gaps":0,"stream_reconnects":0,'
        b'"stream_healed":0,"stream_confirmed":0,"stream_older":0,"cause":null,"remedy":null,"pages":0,'
        b'"markets_read":0,"warnings":[],"stream_error":null,"stream_refused":{},"stream_refusal":null,'
        b'"stream_books_max":null,"stream_bad":0,"routes":[],"stream_since_ms":null},"exchange":{"exchange_active":true,'
        b'"trading_active":false,"estimated_resume_at":1790000005.5,"shards":[{"exchange_index":0,'
        b'"exchange_active":true,"trading_active":false},{"exchange_index":1,"exchange_active":false,'
        b'"trading_active":false}],"as_of":1790000001.25},"processes":{"trader":{"state":"BACKOFF",'
        b'"pid":null,"uptime_seconds":null,"restarts":1,"tries":7,"trouble":"does not stay up"}},'
        b'"drift":[],"drift_more":0,"resyncing":{"since":1790000000.0,"seconds":1.25,"why":"missing",'
        b'"step":"taking","behind":512,"asked":2,"chunks":3,"chunks_total":40},"proven_seq":4709}'
    )
    assert msgspec.json.encode(answer) == recorded
    assert msgspec.json.decode(recorded, type=HealthAnswer) == answer


def test_before_the_first_snapshot_there_is_an_answer_too() -> None:
    joining = ReplicaStatus(0, 0, False, "joining", False, None, (), "live", Stats())
    answer = answer_of(health_of(None, joining, None, NOW_MS, 30_000), 0, 0, 0)
    assert json.loads(msgspec.json.encode(answer)) == {
        "status": "starting", "age_seconds": None, "generated_at": None, "stale_after_seconds": 30.0,
        "complete": False, "market_count": 0, "enriched_count": 0, "quarantined_count": 0,
        "unjoined_count": 0, "epoch": 0, "seq": 0, "digest": "0" * 16, "feed": "joining", "source": "live",
        "gaps": 0, "resyncs": 0, "degraded": [], "publisher": None, "exchange": None, "processes": None,
        "drift": [], "drift_more": 0, "resyncing": None, "proven_seq": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("complete_ms", "word", "age_ms"),
    [
        (NOW_MS, "ok", 0),
        (NOW_MS + 5_000, "ok", 0),
        (NOW_MS + 5_001, "stale", None),  # a clock was set back since
        (NOW_MS - 30_000, "ok", 30_000),
        (NOW_MS - 30_001, "stale", 30_001),
        (None, "stale", None),
    ],
)
def test_data_is_stale_beyond_the_limit_or_when_its_age_is_unknown(
    complete_ms: int | None, word: str, age_ms: int | None
) -> None:
    health = health_of(a_state(complete_ms=complete_ms), LIVE, None, NOW_MS, 30_000)
    assert (health.word, health.stale, health.age_ms) == (word, word == "stale", age_ms)


def test_a_route_beside_the_prices_that_fails_is_named_and_makes_nothing_old() -> None:
    never = RouteHealth("GET /series", "GET /series: 503 down")
    once = RouteHealth("GET /exchange/status", "GET /exchange/status: 404", NOW_MS)
    health = health_of(
        a_state(), LIVE, heard(msgspec.structs.replace(WELL, routes=(never, once))), NOW_MS, 30_000
    )
    assert health.word == "ok"
    assert [problem.code for problem in health.problems()] == ["route_failed", "route_failed"]
    one, other = (problem.text for problem in health.problems())
    assert one == "GET /series: 503 down. Prices are not concerned; what it brings was never read."
    assert other.endswith(f"what it brings was last read at {format_time(NOW_MS)}.")


@pytest.mark.parametrize("flags", [(True, None), (None, True)])
def test_an_exchange_that_does_not_say_whether_it_trades_is_not_called_closed(
    flags: tuple[bool | None, bool | None],
) -> None:
    health = health_of(a_state(ExchangeStatus(*flags, None, (), NOW_MS)), LIVE, heard(WELL), NOW_MS, 30_000)
    assert [problem.code for problem in health.problems()] == ["exchange_unknown"]


def test_what_is_wrong_is_said_the_worst_first() -> None:
    closed = ExchangeStatus(False, False, None, (), NOW_MS)
    down = msgspec.structs.replace(WELL, exchange_reachable=False, error="no route")
    replica = msgspec.structs.replace(LIVE, degraded=("md.A.", "md.B."))
    state = a_state(closed, complete_ms=NOW_MS - 60_000)

    def codes(status: ReplicaStatus, account: PublisherHealth) -> list[str]:
        return [
            problem.code for problem in health_of(state, status, heard(account), NOW_MS, 30_000).problems()
        ]

    assert codes(replica, down) == ["exchange_unreachable", "stale", "degraded", "exchange_closed"]
    # A publisher that is not heard says nothing of today.
    lost = msgspec.structs.replace(replica, lost=True)
    assert codes(lost, down) == ["feed_lost", "stale", "degraded", "exchange_closed"]
    assert health_of(a_state(), LIVE, heard(WELL), NOW_MS, 30_000).problems() == []
    texts = [problem.text for problem in health_of(state, replica, None, NOW_MS, 30_000).problems()]
    assert texts == [
        "The data is old. Nothing in it counts as tradable.",
        "Could not be brought to agree with the publisher: md.A., md.B.",
        "The exchange is closed.",
    ]


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (WELL, None),
        (PublisherHealth(), None),
        (
            msgspec.structs.replace(WELL, sweep="failed", key="refused", error="401"),
            "The exchange refuses the API key: no new data comes in. (401)",
        ),
        (
            msgspec.structs.replace(WELL, exchange_reachable=False),
            "The publisher cannot reach the exchange.",
        ),
        (msgspec.structs.replace(WELL, error="503"), "The publisher's last sweep failed. (503)"),
        (
            PublisherHealth(error="the name x cannot be resolved (GET /a)", cause="unresolved"),
            "No data comes in, since the name x cannot be resolved (GET /a).",
        ),
        (
            msgspec.structs.replace(WELL, key="refused", error="no", cause="key_refused"),
            "There is no live stream, prices are polled, since no.",
        ),
        (
            msgspec.structs.replace(WELL, error="x does not answer", cause="timeout"),
            "A request fails and is tried again, since x does not answer.",
        ),
        (
            PublisherHealth(sweep="waiting_for_key", error="k: waiting", cause="waiting_for_key"),
            "No data comes in, since k: waiting.",
        ),
    ],
)
def test_a_publishers_account_is_put_in_words(account: PublisherHealth, text: str | None) -> None:
    problem = publisher_problem(account)
    assert (problem and problem.text) == text


def test_before_the_first_snapshot_the_publishers_account_says_what_is_wrong_and_what_to_do() -> None:
    joining = ReplicaStatus(0, 0, False, "joining", False, None, (), "live", Stats())
    account = PublisherHealth(
        key="refused",
        error="x refuses the API key (401)",
        cause="key_refused",
        remedy="Check it.",
        warnings=("The clock is off.",),
        stream="refused",
        stream_error="upgrade refused with 403",
    )
    health = health_of(None, joining, heard(account), NOW_MS, 30_000)
    assert [(problem.code, problem.words) for problem in health.problems()] == [
        (
            "key_refused",
            "No data comes in, since x refuses the API key (401). Check it.",
        ),
        ("warning", "The clock is off."),
        (
            "stream_down",
            "There is no live stream, prices are polled: upgrade refused with 403.",
        ),
    ]
    assert health.word == "starting"
    going = PublisherHealth(pages=1, markets_read=1_800)
    assert progress(going) == "reading the exchange for the first time: 1 page, 1,800 markets so far"


def test_a_process_in_trouble_is_a_problem() -> None:
    processes = {
        "publisher": Supervised("RUNNING", 123, 4.0, 2, 0, None),
        "trader": Supervised("BACKOFF", None, None, 1, 7, "does not stay up, 7 tries so far"),
    }
    assert [(problem.code, problem.text) for problem in process_problems(processes)] == [
        ("process_trader", "The trader process does not stay up, 7 tries so far.")
    ]
    assert process_problems(None) == []


@pytest.mark.parametrize(
    ("reasons", "codes"),
    [
        ((), []),
        (("killed",), []),
        (("paused", "stale"), []),
        (("daily_loss",), []),
        (("no_gateway", "reconciling"), []),
        (("halted", "gap"), ["trader_halted"]),
        (("killed", "halted"), ["trader_halted"]),
        (("drift", "paused"), ["trader_drift"]),
        (("drift", "other_account"), ["trader_drift", "trader_other_account"]),
    ],
)
def test_a_trader_that_needs_a_person_is_a_problem(reasons: tuple[str, ...], codes: list[str]) -> None:
    status = a_status(state=next(iter(reasons), "running"), reasons=reasons, error="the disk is full")

    found = trader_problems(status)

    assert [problem.code for problem in found] == codes
    assert all(problem.remedy for problem in found)
    assert [problem.text.endswith(": the disk is full.") for problem in found] == [True, False][: len(codes)]


@pytest.mark.parametrize(("seconds", "codes"), [(None, []), (59, []), (61, ["trader_reconciling"])])
def test_an_account_that_is_compared_for_a_minute_is_a_problem(
    seconds: float | None, codes: list[str]
) -> None:
    account = AccountStatus(
        exchange="sim-1", gateway="answers", as_of=None, matched=None, differences=(), drift=(),
        odd_orders=(), external_dollars="0.000000", foreign_lots=0, shards=(),
        comparing_since=None if seconds is None else a_status().now - seconds,
    )  # fmt: skip
    status = a_status(state="reconciling", reasons=("reconciling",), exchange_account=account)

    assert [problem.code for problem in trader_problems(status)] == codes
