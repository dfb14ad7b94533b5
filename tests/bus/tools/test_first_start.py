"""What is said on the terminal of `make run` while everything starts."""

from typing import Any

import msgspec

from bus.health import HealthAnswer, answer_of, health_of
from bus.process.supervised import Processes, Supervised
from bus.protocol.join import ReplicaStatus, Stats
from bus.protocol.messages import Heartbeat, PublisherHealth
from bus.tools.first_start import AGAIN_S, LASTED_S, PATIENCE_S, PROGRESS_S, WARNED_S, Teller

JOINING = ReplicaStatus(0, 0, False, "joining", False, None, (), "live", Stats())


def answered(processes: Processes | None = None, **account: Any) -> HealthAnswer:
    heartbeat = Heartbeat(0, 0, {}, 1, publisher=PublisherHealth(**account)) if account else None
    return answer_of(health_of(None, JOINING, heartbeat, 1, 30_000, processes), 0, 0, 0)


def lasting(health: HealthAnswer | None, processes: Processes | None, now_s: float) -> list[str]:
    """What is said of what has been so for a while."""
    teller = Teller("x", 0)
    teller.tell(health, processes, now_s)
    return teller.tell(health, processes, now_s + LASTED_S)


def test_a_good_start_is_two_kinds_of_lines_and_ends() -> None:
    teller = Teller("http://127.0.0.1:5001/", 100)
    assert teller.tell(None, None, 100) == []
    assert teller.tell(answered(), None, 101) == []
    reading = answered(pages=3, markets_read=5_400)
    said = "reading the exchange for the first time: 3 pages, 5,400 markets so far"
    assert teller.tell(reading, None, 102) == [said]
    assert teller.tell(reading, None, 102 + PROGRESS_S) == []
    assert teller.tell(answered(pages=4, markets_read=7_000), None, 103) == []  # not each page a line
    ready = msgspec.structs.replace(answered(sweep="complete", exchange_reachable=True), epoch=7)
    ready = msgspec.structs.replace(ready, market_count=130_000)
    assert teller.tell(ready, None, 110) == ["ready: 130,000 markets. Open http://127.0.0.1:5001/"]
    assert not teller.ended
    assert teller.tell(ready, None, 110 + WARNED_S) == []
    assert teller.ended


def test_what_is_wrong_is_said_once_with_its_remedy_and_again_while_it_lasts() -> None:
    teller = Teller("x", 0)

    def waited(seconds: int) -> HealthAnswer:
        return answered(error=f"h does not answer (GET /a: {seconds} s)", cause="timeout", remedy="Look.")

    assert teller.tell(waited(3), None, 1 - LASTED_S) == []
    assert teller.tell(waited(5), None, 1) == [
        "WRONG: No data comes in, since h does not answer (GET /a: 5 s).",
        "  What to do: Look.",
    ]
    assert teller.tell(waited(6), None, 2) == []
    assert len(teller.tell(waited(70), None, 1 + AGAIN_S)) == 2
    refused = answered(key="refused", error="h refuses", cause="key_refused", remedy="Check.")
    assert teller.tell(refused, None, 2 + AGAIN_S) == []
    assert teller.tell(answered(), None, 3 + AGAIN_S) == []
    assert teller.tell(refused, None, 4 + AGAIN_S) == []  # it was away in between
    assert (
        teller.tell(refused, None, 4 + AGAIN_S + LASTED_S)[0] == "WRONG: No data comes in, since h refuses."
    )


def test_processes_that_do_not_stay_up_are_said_also_without_a_snapshot_server() -> None:
    down = {"snapshot_server": Supervised("BACKOFF", None, None, 0, 3, "does not stay up, 3 tries so far: x")}
    line = "WRONG: The snapshot_server process does not stay up, 3 tries so far: x."
    assert lasting(None, down, 1) == [line]
    assert lasting(answered(down), None, 1) == [line]
    late = lasting(None, None, PATIENCE_S)
    assert late == ["WRONG: The snapshot server does not answer: there is no page with data yet."]
    assert lasting(answered(), None, PATIENCE_S)[0] == "WRONG: The publisher is not heard."
    assert lasting(answered(), None, PATIENCE_S - LASTED_S - 1) == []


def test_warnings_are_said_after_the_data_is_there() -> None:
    teller = Teller("x", 0)
    ready = answered(sweep="complete", exchange_reachable=True, warnings=("S: 'a' matches nothing.",))
    ready = msgspec.structs.replace(ready, epoch=7)
    assert teller.tell(ready, None, 1) == ["ready: 0 markets. Open x"]
    assert teller.tell(ready, None, 1 + LASTED_S) == ["WARNING: S: 'a' matches nothing."]
