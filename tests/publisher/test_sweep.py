"""Many markets read in slices; what is asked for a narrow universe."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from publisher import sweep as sweep_module
from publisher import urls as urls_module
from publisher.reading import Universe
from publisher.sweep import DISCOVERY_PAGES
from tests.publisher.exchange import BROKEN, Answer, event, market, on
from tests.publisher.world import World, all_markets, content


def a_world(directory: Path) -> World:
    """Six events of two markets, nothing read yet."""
    made = World(directory)
    for number in range(6):
        name = f"E{number}"
        made.exchange.list_event(event(name, "S", market(f"{name}-A", name), market(f"{name}-B", name)))
    return made


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(sweep_module, "SLICE_FROM_EVENTS", 2)
    monkeypatch.setattr(urls_module, "MARKETS_PER_SLICE", 3)
    made = a_world(tmp_path)
    made.run()
    yield made
    assert content(made.replica) == content(made.state)
    made.close()


def test_held_events_are_read_in_slices_and_changes_arrive(world: World) -> None:
    world.exchange.events["E3"]["markets"][1]["yes_bid_dollars"] = "0.4100"
    world.client.paths.clear()

    reading, error = world.run()

    assert error is None
    assert reading.complete
    assert len(reading.confirmed) == 11
    assert world.replica.quotes["E3-B"].yes_bid_e4 == 4100
    assert world.client.paths.count("/events") == 6 + 1  # the slices, and the bare list


def test_long_first_crawl_goes_on_in_slices_from_the_bare_list(tmp_path: Path) -> None:
    world = a_world(tmp_path / "quarantine")
    world.exchange.page_size = 1
    reading, error = world.run()

    assert (error, reading.complete) == (None, True)
    assert len(world.state.markets) == len(list(all_markets(world.exchange)))
    assert content(world.replica) == content(world.state)
    # Three pages with markets, the bare list of six, and the slices of three: no market is read twice.
    assert world.client.paths.count("/events") == 3 + 6 + 3
    world.close()


def test_bare_list_that_breaks_off_fails_the_first_sweep(tmp_path: Path) -> None:
    world = a_world(tmp_path / "quarantine")
    world.exchange.page_size = 1
    bare = iter([None] * 7 + [BROKEN])
    world.exchange.faults.append(lambda path: next(bare, None) if path == "/events" else None)
    reading, error = world.run()

    assert error is not None
    assert not reading.complete
    assert len(reading.candidates) >= 3
    world.close()


def test_event_not_held_is_discovered_with_its_markets(world: World) -> None:
    world.exchange.list_event(event("NEW", "S2", market("NEW-A", "NEW")))

    reading, _ = world.run()

    assert reading.complete
    assert world.replica.markets["NEW-A"].series_ticker == "S2"
    assert world.replica.events["NEW"].series_ticker == "S2"


def test_discovered_event_that_came_from_an_older_cache_keeps_that_age(world: World) -> None:
    world.exchange.list_event(event("NEW", "S2", market("NEW-A", "NEW")))
    replies = iter([0] * 7)  # the slices and the bare list; then the new event
    world.client.cache_age_ms = lambda path: next(replies, 5_000) if path == "/events" else 0

    world.run()

    assert world.age_ms("E5-A") == 0
    assert world.age_ms("NEW-A") == 5_000


def test_discovery_goes_on_where_it_stopped_and_begins_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "DISCOVERY_PAGES", 1)
    world.exchange.page_size = 4
    for number in range(3):
        name = f"NEW{number}"
        world.exchange.list_event(event(name, "S", market(f"{name}-A", name)))

    world.run()
    assert "NEW0" not in world.replica.events
    world.run()
    assert {"NEW0", "NEW1"} <= world.replica.events.keys()
    world.run()
    assert "NEW2" in world.replica.events


def test_discovery_is_not_caught_by_a_cursor_that_runs_in_a_circle(world: World) -> None:
    world.exchange.page_size = 1
    world.exchange.cursor_after = lambda _end: "0"

    for _ in range(3):
        reading, error = world.run()
        assert error is None
        assert reading.complete
    assert world.client.paths.count("/events") < 100
    assert DISCOVERY_PAGES < 10


def test_failed_slice_leaves_its_markets_ageing_and_the_others_fresh(world: World) -> None:
    failed: list[str] = []

    def first_slice(path: str) -> Answer | None:
        if path == "/events" and not failed:
            failed.append(path)
            return BROKEN
        return None

    world.exchange.faults.append(first_slice)
    reading, error = world.run(20_000)

    assert error is not None
    assert not reading.complete
    assert len(reading.confirmed) == 10
    assert len(world.replica.markets) == 12
    assert world.age_ms("E0-A") == 20_000
    assert world.age_ms("E5-A") == 0


def test_series_that_could_not_be_fetched_is_tried_again_though_its_event_is_unchanged(world: World) -> None:
    world.run()
    world.exchange.list_event(event("E-NEW", "S-NEW", market("E-NEW-A", "E-NEW")))
    world.exchange.faults.append(on("/series/S-NEW", BROKEN))
    reading, _ = world.run()
    assert reading.complete
    assert list(world.sweep.failing) == ["GET /series/{ticker}"]
    assert "E-NEW" in world.state.events
    assert "S-NEW" not in world.state.series

    world.exchange.faults.clear()
    world.run()

    assert "S-NEW" in world.state.series


def test_outage_ends_the_slices_after_some_failures(world: World) -> None:
    world.exchange.faults.append(on("/events", BROKEN))
    world.client.paths.clear()

    reading, error = world.run()

    assert error is not None
    assert not reading.complete
    assert world.client.paths.count("/events") == 3


def test_settled_events_are_not_read_again(world: World) -> None:
    for name in ("E0", "E1", "E2", "E3"):
        for listed in world.exchange.events[name]["markets"]:
            listed |= {"status": "finalized", "settlement_ts": "2026-09-21T10:00:00Z"}
    world.run()
    world.client.paths.clear()

    world.run()

    assert len(world.held.open_events()) == 2
    assert world.client.paths.count("/events") == 2 + 1


def test_market_that_was_refused_comes_when_it_heals_though_the_others_of_its_event_are_settled(
    world: World,
) -> None:
    refused = market("NEW-B", "NEW") | {"event_ticker": None}
    world.exchange.list_event(event("NEW", "S", market("NEW-A", "NEW"), refused))
    world.run()
    world.exchange.events["NEW"]["markets"][0] |= {
        "status": "finalized",
        "settlement_ts": "2026-09-21T10:00:00Z",
    }
    world.run()
    assert "NEW-B" not in world.state.markets
    assert "NEW" not in world.held.open_events()

    refused["event_ticker"] = "NEW"
    world.run()

    assert world.replica.quotes["NEW-B"].yes_bid_e4 == 4000
    assert "NEW" in world.held.open_events()
    assert "/events/NEW" not in world.client.paths


def test_settled_event_that_an_old_list_still_shows_costs_one_request_for_all_such(world: World) -> None:
    for name in ("E0", "E1"):
        for listed in world.exchange.events[name]["markets"]:
            listed |= {"status": "finalized", "settlement_ts": "2026-09-21T10:00:00Z"}
    world.run()
    world.exchange.still_listed |= {"E0", "E1"}
    world.client.paths.clear()

    for _ in range(3):
        world.run()

    assert world.client.paths.count("/events") == 3 * (4 + 1 + 1)  # slices, bare list, those two
    assert not [path for path in world.client.paths if path.startswith("/events/")]


def test_universe_of_tickers_asks_for_those_alone(tmp_path: Path) -> None:
    world = World(tmp_path, Universe(tickers=frozenset({"E1-B"})))
    for name in ("E0", "E1"):
        world.exchange.list_event(event(name, "S", market(f"{name}-A", name), market(f"{name}-B", name)))

    reading, error = world.run()
    assert error is None
    assert reading.complete
    assert set(world.replica.markets) == {"E1-B"}
    assert set(world.replica.events) == {"E1"}
    world.client.paths.clear()
    world.run()
    assert world.client.paths == ["/exchange/status", "/markets"]
    assert world.age_ms("E1-B") == 0
    world.close()
