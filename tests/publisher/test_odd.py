"""What the exchange sends oddly costs itself: sweeps are complete, prices young, and all can be saved."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.protocol.state import State
from markets.json.write import market_json
from markets.records import Status
from publisher.checkpoint import load, save
from publisher.sweep import SERIES_RETRY_MS
from tests.markets.json.odd import SPOILT
from tests.markets.json.recorded import DATA
from tests.publisher.exchange import BROKEN, HTML, TOO_MANY, Answer, event, market, milestone, on
from tests.publisher.world import World, content

ODD = json.loads((DATA / "odd.json").read_text())
ANSWERS = {
    "503": BROKEN,
    "503 in HTML": Answer(503, b"<html>down</html>"),
    "200 in HTML": HTML,
    "404": Answer(404, b'{"error":{"code":"not_found"}}'),
    "429": TOO_MANY,
    "empty": Answer(200, b""),
    "null": Answer(200, b"null"),
    "nothing": Answer(200, b"{}"),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "quarantine")
    made.exchange.list_event(event("E1", "S1", market("E1-A", "E1"), market("E1-B", "E1")))
    made.exchange.list_event(event("E2", "S2", market("E2-A", "E2")))
    made.exchange.milestones.append(milestone("m1", "E1"))
    yield made
    made.close()


def check(world: World) -> None:
    """Check that a sweep reads all prices, and that they are as young as it."""
    reading, error = world.run()
    assert (error, reading.complete) == (None, True)
    assert world.state.cycle is not None
    assert world.state.cycle.complete
    assert {world.age_ms(ticker) for ticker in world.state.quotes} == {0}
    assert content(world.replica) == content(world.state)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("path", ["/exchange/status", "/series"])
def test_a_route_beside_the_prices_stops_nothing_not_even_the_first_sweep(
    world: World, path: str, answer: Answer
) -> None:
    world.exchange.faults.append(on(path, answer))
    check(world)
    assert len(world.state.quotes) == 3
    assert f"GET {path}" in world.sweep.failing
    assert world.sweep.failing[f"GET {path}"].read_ms is None
    world.clock.advance(SERIES_RETRY_MS)
    check(world)

    world.exchange.faults.clear()
    world.clock.advance(SERIES_RETRY_MS)
    check(world)
    assert world.sweep.failing == {}
    assert world.state.exchange[""].trading_active
    assert set(world.state.series) == {"S1", "S2"}
    read_ms = world.clock.now_ms()

    world.exchange.faults.append(on("/exchange/status", answer))
    check(world)
    assert world.sweep.failing["GET /exchange/status"].read_ms == read_ms
    assert world.state.exchange[""].as_of_ms == read_ms  # it has an age of its own


@pytest.mark.parametrize("sent", ODD["exchange_status"])
def test_an_odd_exchange_status_is_read(world: World, sent: dict[str, Any]) -> None:
    world.exchange.faults.append(on("/exchange/status", Answer(200, json.dumps(sent).encode())))
    check(world)
    status = world.state.exchange[""]
    assert (status.exchange_active, status.trading_active, status.resume_ms) == (True, True, None)
    assert world.sweep.failing == {}


def test_one_series_that_cannot_be_read_costs_itself(world: World) -> None:
    world.run()
    for number in (8, 9):
        new = market(f"E{number}-A", f"E{number}")
        world.exchange.list_event(event(f"E{number}", f"S{number}", new))
    world.exchange.faults.append(on("/series/S8", BROKEN))
    check(world)
    assert set(world.state.series) == {"S1", "S2", "S9"}
    assert list(world.sweep.failing) == ["GET /series/{ticker}"]


def test_a_page_that_is_none_costs_its_markets_and_what_can_be_named_is_read_all_the_same(
    world: World,
) -> None:
    world.exchange.page_size = 1
    world.run()
    world.exchange.next_faults.extend([None, None, HTML])  # status, first page, second page
    world.sweep._series_due_ms = world.clock.now_ms() + 10**9
    reading, error = world.run()
    assert (error is not None, reading.complete) == (True, False)
    assert {world.age_ms(ticker) for ticker in ("E1-A", "E1-B", "E2-A")} == {0}


def test_a_cursor_that_cannot_be_read_leaves_the_sweep_incomplete(world: World) -> None:
    world.exchange.page_size = 1
    world.exchange.cursor_after = lambda _number: 5  # type: ignore[assignment,return-value]
    reading, error = world.run()
    assert error is not None
    assert "cursor" in str(error)
    assert (reading.complete, set(reading.candidates)) == (False, {"E1-A", "E1-B"})


def still_open(event_ticker: str) -> dict[str, Any]:
    """A market that keeps its event in the list of open ones."""
    return market(f"{event_ticker}-OPEN", event_ticker)


def odd_markets() -> Iterator[tuple[str, dict[str, Any]]]:
    """A market for each member and each of the ways JSON can be odd in that Python can write."""
    ways = {
        how: json.loads(value)
        for how, value in SPOILT.items()
        if value is not None and b"\xff" not in value and b"e400" not in value and b"ud83d" not in value
    }
    names = [name for name in market("T", "E") if name not in ("ticker", "event_ticker")]
    for number, (name, how) in enumerate(
        (name, how) for name in [*names, "x_new"] for how in [*ways, "absent"]
    ):
        made = market(f"O{number // 50}-{number}", f"O{number // 50}", result="yes", status="determined")
        if how == "absent":
            made.pop(name, None)
        else:
            made[name] = ways[how]
        yield name, made


def test_no_market_is_lost_for_one_member_and_all_of_it_is_published_saved_and_answered(
    world: World, tmp_path: Path
) -> None:
    listed: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, made in odd_markets():
        listed[made["ticker"]] = name, made
        among = world.exchange.events.get(made["event_ticker"])
        if among is None:
            world.exchange.list_event(
                event(
                    made["event_ticker"],
                    "S1",
                    made,
                    market(f"{made['event_ticker']}-X", made["event_ticker"]),
                )
            )
        else:
            among["markets"].append(made)
    for sent in ODD["events"]:
        world.exchange.list_event(
            {**sent, "markets": [*(sent["markets"] or []), still_open(sent["event_ticker"])]}
        )
    assert len(listed) >= 300
    check(world)
    check(world)

    assert world.state.cycle is not None
    assert world.state.cycle.quarantined == 0
    assert listed.keys() <= world.replica.markets.keys()
    assert {"KXODDA-26DEC-A", "KXODDB-26DEC-A"} <= world.replica.markets.keys()
    assert world.replica.markets["KXODDB-26DEC-A"].result == "yes"
    assert world.replica.quotes["KXODDB-26DEC-A"].status is Status.DETERMINED
    for ticker, (name, sent) in listed.items():
        held, quote = world.replica.markets[ticker], world.replica.quotes[ticker]
        assert name == "result" or held.result == "yes"
        assert name == "status" or quote.status is Status.DETERMINED
        served = json.loads(market_json(held, quote, as_of_ms=0))
        assert {key: served[key] for key in sent} == sent

    save(tmp_path, world.state, "test", world.clock.now_ms())
    restored = State()
    for topic, kind, records in load(tmp_path, "test").changes:
        with restored.lock:
            restored.put(topic, 0, kind, records)
    assert restored.markets == world.state.markets
