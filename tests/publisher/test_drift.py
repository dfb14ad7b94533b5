"""What is noticed in what the exchange sends: where bytes changed, once each, bounded, and published."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bus.clock import ManualClock
from bus.drift import ROWS_MOST, drift_counts, drift_rows
from bus.protocol.state import State
from markets.json.drift import Finding
from markets.json.pages import split_events
from markets.records import Drift
from publisher import checkpoint
from publisher.drift import COUNTS_EVERY_MS, OTHERS, UNKNOWN_MOST, DriftWatch
from publisher.reading import Universe
from simulator.front.mutations import MUTATIONS, mutate
from tests.markets.json.documented import SENTINEL, allows, encoded, payload
from tests.publisher.exchange import Answer
from tests.publisher.world import World


def a_market(ticker: str, **members: Any) -> dict[str, Any]:
    named = {"ticker": ticker, "event_ticker": "E1", "status": "active"}
    grid = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]
    return payload("Market") | named | {"price_ranges": grid} | members


def an_event(*markets: dict[str, Any], **members: Any) -> dict[str, Any]:
    return (
        payload("EventData")
        | {"event_ticker": "E1", "series_ticker": "S", "markets": list(markets)}
        | members
    )


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.exchange.list_event(an_event(a_market("E1-A"), a_market("E1-B")))
    world.exchange.series["S"] = payload("Series") | {"ticker": "S"}
    named = {"id": "M", "primary_event_tickers": ["E1"], "related_event_tickers": ["E1"]}
    world.exchange.milestones.append(payload("Milestone") | named)
    world.exchange.loose["L"] = a_market("L", event_ticker="E1")
    world.run()
    yield world
    world.close()


def rows(world: World) -> list[tuple[str, str, str, int]]:
    return sorted((row.route, row.member, row.what, row.count) for row in world.drift.all())


def test_only_what_changed_is_looked_at_and_each_difference_has_its_row(world: World) -> None:
    assert not rows(world)
    listed = world.exchange.events["E1"]
    listed["surprise"] = True
    listed["markets"][0]["last_price"] = listed["markets"][0].pop("last_price_dollars")
    listed["markets"][1]["strike_type"] = "lunar"
    world.exchange.milestones[0]["start_date"] = "0001-01-01T00:00:00Z"
    world.exchange.series["S"]["fee_type"] = "cubic"
    world.clock.advance(600_000)
    world.run()
    noticed = [
        ("GET /events", "events.surprise", "unknown", 1),
        ("GET /events", "markets.last_price", "unknown", 1),
        ("GET /events", "markets.last_price_dollars", "missing", 1),
        ("GET /events", "markets.strike_type", "enum", 1),
        ("GET /events", "milestones.start_date", "range", 1),
        ("GET /series", "series.fee_type", "enum", 1),
    ]
    assert {row[:3] for row in rows(world)} == {row[:3] for row in noticed}
    listed["markets"][1]["strike_type"] = "greater"
    listed["markets"][0]["last_price_dollars"] = listed["markets"][0].pop("last_price")
    world.run()
    counted = rows(world)
    assert {row[3] for row in counted} <= {1, 2}
    world.run()  # nothing changed: nothing is looked at
    assert rows(world) == counted


def test_what_a_checkpoint_brought_is_looked_at_again(world: World, tmp_path: Path) -> None:
    listed = world.exchange.events["E1"]
    listed["surprise"] = listed["markets"][0]["surprise"] = world.exchange.milestones[0]["surprise"] = 1
    world.run()
    found = rows(world)
    assert [row[1] for row in found] == ["events.surprise", "markets.surprise", "milestones.surprise"]
    world.restart(tmp_path)
    world.run()
    assert rows(world) == found


def test_what_is_noticed_is_not_in_the_checkpoint(world: World, tmp_path: Path) -> None:
    row = Drift("GET /events", "events.surprise", "unknown", 1, 5, "1")
    world.apply(world.writer.stream("ref.", "drift", [row], 1, 1))
    assert list(world.replica.drifts.values()) == list(world.state.drifts.values()) == [row]
    checkpoint.save(tmp_path, world.state, "source", 1)
    kinds = {kind for _, kind, _ in checkpoint.load(tmp_path, "source").changes}
    assert "event" in kinds
    assert "drift" not in kinds


def test_a_market_of_a_narrow_universe_is_looked_at_on_its_own_route(tmp_path: Path) -> None:
    world = World(tmp_path, Universe(tickers=frozenset({"E1-A"})))
    world.exchange.list_event(an_event(a_market("E1-A", surprise=1), a_market("E1-B")))
    world.exchange.series["S"] = payload("Series") | {"ticker": "S"}
    world.run()
    assert ("GET /markets", "markets.surprise", "unknown") in {row[:3] for row in rows(world)}
    world.close()


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_page_is_looked_at_beside_its_lists(separators: tuple[str, str]) -> None:
    watch = DriftWatch(ManualClock())
    event = an_event(a_market("E1-A"))
    for body in (
        {"events": [event, event], "milestones": [payload("Milestone")] * 3, "cursor": ""},
        {"milestones": [payload("Milestone")], "cursor": "c", "events": [event]},
        {"events": [], "cursor": ""},
        {"milestones": [], "events": [event], "cursor": ""},
    ):
        text = json.dumps(body, separators=separators).encode()
        page = split_events(text)
        watch.page(text, page.events, page.milestones)
    assert not watch.all()
    text = json.dumps({"events": [event], "cursor": "", "total": 7}, separators=separators).encode()
    watch.page(text, split_events(text).events, None)
    (row,) = watch.all()
    assert (row.member, row.example) == ("total", "7")


def test_a_new_row_goes_out_at_once_and_its_count_once_a_minute() -> None:
    clock = ManualClock()
    watch = DriftWatch(clock)
    watch.changes(clock.now_ms())
    finding = Finding("GET /events", "markets.surprise", "unknown", "1")
    watch.note([finding])
    (sent,) = watch.changes(clock.now_ms())
    assert (sent.count, sent.first_seen_ms) == (1, clock.now_ms())
    clock.advance(12_000)
    watch.note([finding, finding])
    assert not watch.changes(clock.now_ms())
    clock.advance(COUNTS_EVERY_MS)
    (again,) = watch.changes(clock.now_ms())
    assert (again.count, again.first_seen_ms) == (3, sent.first_seen_ms)
    assert not watch.changes(clock.now_ms() + 2 * COUNTS_EVERY_MS)


def test_members_without_end_have_so_many_rows_and_one_for_all_others() -> None:
    watch = DriftWatch(ManualClock())
    with structlog.testing.capture_logs() as logged:
        for number in range(5_000):
            watch.note([Finding("GET /events", f"events.m{number}", "unknown", "1")])
    found = watch.all()
    assert len(found) == UNKNOWN_MOST + 1 == len(logged)
    assert found[-1].member == OTHERS
    assert found[-1].count == 5_000 - UNKNOWN_MOST


def test_the_newest_rows_are_shown_and_the_others_counted() -> None:
    state = State(1)
    drifts = [Drift("GET /events", f"m{n}", "type", 2, n, "") for n in range(ROWS_MOST + 7)]
    with state.lock:
        state.put("ref.", 1, "drift", drifts)
    shown, more = drift_rows(state.drifts)
    assert (len(shown), more) == (ROWS_MOST, 7)
    assert (shown[0].member, shown[0].first_seen) == (f"m{ROWS_MOST + 6}", (ROWS_MOST + 6) / 1000)
    assert drift_counts(state.drifts) == {("type", "GET /events"): 2 * (ROWS_MOST + 7)}
    assert shown[0].text == f"GET /events: m{ROWS_MOST + 6}: type, 2 times"


def test_replies_of_each_route_are_looked_at_whole_or_beside_what_is_looked_at_apart() -> None:
    watch = DriftWatch(ManualClock())
    market = a_market("E1-A", surprise=1)
    watch.reply("/markets", encoded({"markets": [market], "cursor": ""}))
    assert not watch.all()
    watch.reply("/markets/E1-A", encoded({"market": market}))
    watch.reply("/markets", encoded({"listed": [market], "cursor": ""}), readable=False)
    watch.refusal("/markets/E1-A", 400, b'{"error":{"code":"moon"}}')
    found = {(row.route, row.member) for row in watch.all()}
    assert found == {
        ("GET /markets/{ticker}", "market.surprise"),
        ("GET /markets/{ticker}", "error.code"),
        ("GET /markets", "listed"),
        ("GET /markets", "markets"),
    }


def test_a_keys_id_that_the_exchange_repeats_is_in_no_row_and_no_log() -> None:
    watch = DriftWatch(ManualClock())
    canary = "c0ffee00-1111-4222-8333-444455556666"
    watch.conceal(canary)
    with structlog.testing.capture_logs() as logged:
        watch.refusal("/events", 401, encoded({"problem": f"no such key {'x' * 40}{canary}"}))
        watch.reply("/markets/A", encoded({"market": a_market("A"), canary: 1}))
        watch.frame("trade", encoded(payload("frame.trade") | {"who": canary}))
    assert len(watch.all()) == 3
    assert canary[:8] not in f"{logged}{watch.all()}"


def test_a_held_market_is_looked_at_when_its_quote_is_otherwise(world: World) -> None:
    """Where its static part is that of before, the reader says whether its quote needs a second look."""
    listed, answer = world.exchange.events["E1"]["markets"], world.exchange.answer

    def with_bytes(path: str, query: dict[str, list[str]]) -> Answer:
        found = answer(path, query)
        return found._replace(body=encoded(json.loads(found.body)))

    world.exchange.answer = with_bytes  # type: ignore[method-assign]
    good = dict(listed[0])
    for name in ("yes_bid_dollars", "yes_ask_size_fp", "last_price_dollars", "volume_fp"):
        for how in MUTATIONS:
            watch = world.sweep._intake.drift = DriftWatch(world.clock, SENTINEL)
            listed[0] = dict(good)
            if mutate(listed[0], name, how):
                world.run()
                noticed = any(row.member.startswith(f"markets.{name}") for row in watch.all())
                assert noticed is not allows(SENTINEL.objects["Market"][name], how), (name, how)
                assert "E1-A" in world.state.markets
