"""Markets and matches at their end: who is asked about them, in which order, and for how long."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from markets.records import Status
from markets.units import DAY_MS, format_time
from publisher import sweep as sweep_module
from publisher.reading import Universe
from tests.publisher.exchange import BROKEN, event, market, milestone, on
from tests.publisher.world import World

PLAYED = "2026-09-20T00:00:00Z"  # before the world's clock


def a_world(directory: Path, universe: Universe | None = None, slice_from: int | None = None) -> World:
    """Two events of one market, each with its match."""
    made = World(directory, universe, slice_from)
    for name in ("E1", "E2"):
        made.exchange.list_event(event(name, "S", market(f"{name}-A", name)))
        made.exchange.milestones.append(milestone(f"m{name}", name, start_date=PLAYED))
    made.run()
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = a_world(tmp_path)
    yield made
    made.close()


def end(world: World, event_ticker: str, status: str, **members: Any) -> None:
    for listed in world.exchange.events[event_ticker]["markets"]:
        listed |= {"status": status, "result": "yes", **members}


def says(world: World, id_: str) -> str | None:
    return world.replica.milestones[id_].status


@pytest.mark.parametrize(
    ("universe", "slice_from"),
    [(None, None), (None, 1), (Universe(tickers=frozenset({"E1-A", "E2-A"})), None)],
    ids=["crawl", "slices", "tickers"],
)
@pytest.mark.parametrize("status", ["closed", "determined", "finalized"])
def test_the_milestone_of_a_match_that_no_list_shows_is_read_until_it_says_that_it_is_over(
    tmp_path: Path, status: str, universe: Universe | None, slice_from: int | None
) -> None:
    world = a_world(tmp_path, universe, slice_from)
    end(world, "E1", status)
    world.run()
    world.exchange.milestones[0]["details"]["status"] = "closed"
    for _ in range(12):
        world.run()
    assert (says(world, "mE1"), says(world, "mE2")) == ("closed", "created")
    world.exchange.milestones[0]["title"] = "never read again"
    for _ in range(12):
        world.run()
    listed = slice_from is not None and status != "finalized"  # a slice goes on showing it
    assert world.replica.milestones["mE1"].title == ("never read again" if listed else "mE1")
    world.close()


def test_a_milestone_that_never_says_so_is_asked_for_ever_more_rarely(world: World) -> None:
    end(world, "E1", "determined")
    asked = []
    for sweep in range(400):
        before = len(world.client.paths)
        world.run()
        if world.client.paths[before:].count("/events") > 1:  # beside the list
            asked.append(sweep)
    waits = [after - before for before, after in pairwise(asked)]
    assert waits == [5, 10, 20, 40, 80, 160]


def test_milestones_that_cannot_be_read_cost_nothing_else(world: World) -> None:
    end(world, "E1", "determined")
    lists = 0

    def second_list(path: str) -> Any:
        nonlocal lists
        lists += path == "/events"
        return BROKEN if path == "/events" and lists % 2 == 0 else None

    world.exchange.faults.append(second_list)
    reading, error = world.run()
    assert (error, reading.complete, lists) == (None, True, 2)
    assert world.sweep.failing.keys() == {"GET /milestones"}
    assert world.replica.quotes["E1-A"].status is Status.DETERMINED


def test_what_has_just_closed_is_read_before_what_closed_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "TICKERS_PER_REQUEST", 1)
    monkeypatch.setattr(sweep_module, "REFRESHES_PER_SWEEP", 3)
    monkeypatch.setattr(sweep_module, "REFRESHES_URGENT", 2)
    world = World(tmp_path)
    names = [f"E{number}" for number in range(9)]
    for name in names:
        world.exchange.list_event(event(name, "S", market(f"{name}-A", name)))
    world.run()
    long_ago = format_time(world.clock.now_ms() - 30 * DAY_MS)
    for name in names[:6]:
        end(world, name, "closed", close_time=long_ago, result="")
        for _ in range(6):
            world.run()
    just_now = format_time(world.clock.now_ms())
    for name in names[6:8]:
        end(world, name, "closed", close_time=just_now, result="")
    for _ in range(3):
        world.run()
    for name in names[6:8]:
        end(world, name, "determined", close_time=just_now)
    reading, _ = world.run()
    assert {"E6-A", "E7-A"} <= reading.loose.keys()
    assert len(reading.loose) == 3  # one of the others, too
    assert world.replica.markets["E7-A"].result == "yes"
    # Somebody holds one of those that closed long ago: it comes before all.
    world.kept = frozenset({"E3-A"})
    seen = [("E3-A" in world.run()[0].loose) for _ in range(4)]
    assert seen == [True] * 4
    world.close()


def test_a_market_that_somebody_holds_is_asked_for_by_name_until_nobody_does(world: World) -> None:
    settled_ms = world.clock.now_ms() - 40 * DAY_MS
    old = market("OLD-A", "OLD", status="finalized", result="no", settlement_ts=format_time(settled_ms))
    world.exchange.list_event(
        event("OLD", "S", old, market("OLD-B", "OLD", status="finalized", result="yes"))
    )
    world.run()
    assert "OLD-A" not in world.replica.markets

    world.kept = frozenset({"OLD-A"})
    for _ in range(5):
        world.run()
        assert world.replica.markets["OLD-A"].result == "no"
        assert world.replica.quotes["OLD-A"].status is Status.FINALIZED
    assert "OLD" in world.replica.events

    world.kept = frozenset()
    world.run()
    assert "OLD-A" not in world.replica.markets


def test_a_market_that_somebody_holds_is_read_whatever_the_universe(tmp_path: Path) -> None:
    world = a_world(tmp_path, Universe(series=frozenset({"S"})))
    world.exchange.list_event(event("X", "T", market("X-A", "X"), market("X-B", "X")))
    world.kept = frozenset({"X-A"})
    for _ in range(3):
        world.run()
    assert (world.replica.markets["X-A"].series_ticker, "X" in world.replica.events) == ("T", True)
    assert "X-B" not in world.replica.markets
    end(world, "X", "finalized")
    world.run()
    assert world.replica.markets["X-A"].result == "yes"
    world.close()


def test_what_only_the_history_has_is_found_there_and_what_nobody_knows_is_not_asked_for_at_every_sweep(
    world: World,
) -> None:
    world.exchange.archive["PAST-A"] = market("PAST-A", "E1", status="finalized", result="yes")
    world.kept = frozenset({"PAST-A", "NEVER-WAS"})
    world.run()
    assert world.replica.markets["PAST-A"].result == "yes"
    before = len(world.client.paths)
    for _ in range(10):
        _, error = world.run()
        assert error is None
    looked_up = [path for path in world.client.paths[before:] if "NEVER-WAS" in path]
    assert not looked_up
    world.run(sweep_module.RETRY_UNKNOWN_MS)
    assert any("NEVER-WAS" in path for path in world.client.paths[before:])


def test_a_list_that_shows_nothing_does_not_take_what_somebody_holds(world: World) -> None:
    world.kept = frozenset({"E1-A"})
    end(world, "E1", "closed", result="")
    world.run()
    world.exchange.faults.append(on("/markets/", BROKEN))
    listed = world.exchange.events.pop("E1")
    world.run()
    assert "E1-A" in world.replica.markets
    world.exchange.faults.clear()
    world.exchange.events["E1"] = listed
    world.run()
    assert json.loads(world.replica.markets["E1-A"].raw)["ticker"] == "E1-A"
