"""What a sweep read becomes exactly the changes that make state and replicas what the exchange lists."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.protocol.messages import decode
from markets.json.read import QUOTE_MEMBERS
from markets.json.write import quote_members
from markets.records import Status
from publisher.held import KEEP_FINALIZED_MS, ROTATION_MS
from publisher.reading import Universe
from tests.publisher.exchange import BROKEN, Answer, event, market, milestone, on, series
from tests.publisher.world import World, all_markets, content


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "quarantine")
    made.exchange.list_event(event("E1", "S1", market("E1-A", "E1"), market("E1-B", "E1")))
    made.exchange.list_event(event("E2", "S2", market("E2-A", "E2")))
    made.exchange.milestones.append(milestone("m1", "E1"))
    yield made
    made.close()


def nested(world: World, ticker: str) -> dict[str, Any]:
    return next(m for m in all_markets(world.exchange) if m["ticker"] == ticker)


def status_of(world: World, ticker: str) -> str:
    status: Status = world.state.quotes[ticker].status
    return status.value


def joined(world: World, ticker: str) -> tuple[str, str | None]:
    return world.state.stream_of[ticker], world.state.markets[ticker].series_ticker


def test_first_sweep_publishes_everything_in_a_fixed_order(world: World) -> None:
    reading, error = world.run()

    assert error is None
    assert reading.complete
    assert world.kinds() == [
        ("ref.", "series", 2),
        ("ref.", "event", 2),
        ("ref.", "milestone", 1),
        ("md.S1.", "market", 2),
        ("md.S1.", "quote", 2),
        ("md.S2.", "market", 1),
        ("md.S2.", "quote", 1),
    ]
    assert content(world.replica) == content(world.state)
    assert world.state.cycle is not None
    assert world.state.cycle.markets == 3


def test_unchanged_sweep_sends_nothing_and_grows_younger(world: World) -> None:
    world.run()
    world.run()

    assert world.kinds() == []
    assert [world.age_ms(ticker) for ticker in world.state.quotes] == [0, 0, 0]


def test_changed_price_sends_one_quote(world: World) -> None:
    world.run()
    nested(world, "E1-B").update(yes_bid_dollars="0.4100", no_ask_dollars="0.5900")
    world.run()

    assert world.kinds() == [("md.S1.", "quote", 1)]
    assert world.replica.quotes["E1-B"].yes_bid_e4 == 4100


def test_changed_text_sends_the_static_part_alone(world: World) -> None:
    world.run()
    nested(world, "E1-B")["rules_primary"] = "If B wins."
    world.run()

    assert world.kinds() == [("md.S1.", "market", 1)]


def test_same_record_in_other_bytes_is_no_change(world: World) -> None:
    world.run()
    nested(world, "E2-A").update(dict(reversed(nested(world, "E2-A").items())))
    listed = nested(world, "E2-A")
    for name in ("status", "volume_fp"):
        listed[name] = listed.pop(name)
    world.run()

    assert world.kinds() == []


def test_event_whose_bytes_come_back_is_taken_back(world: World) -> None:
    world.run()
    listed = world.exchange.events["E1"]
    before = dict(listed)
    listed["title"] = "other"
    world.run()
    assert world.kinds() == [("ref.", "event", 1)]

    listed.clear()
    listed.update(before)
    world.run()

    assert world.kinds() == [("ref.", "event", 1)]
    assert world.state.events["E1"].title == "E1"


def test_event_that_is_listed_again_as_it_was_is_taken_back(world: World) -> None:
    world.run()
    for ticker in ("E1-A", "E1-B"):  # closed, the event is not listed, and its markets are read apart
        nested(world, ticker)["status"] = "closed"
    world.run()
    assert status_of(world, "E1-A") == "closed"

    for ticker in ("E1-A", "E1-B"):
        nested(world, ticker)["status"] = "active"
    world.run()

    assert (status_of(world, "E1-A"), status_of(world, "E1-B")) == ("active", "active")


def test_market_that_moves_to_another_event_leaves_the_first(world: World) -> None:
    world.run()
    moved = world.exchange.events["E1"]["markets"].pop()
    world.exchange.list_event(event("E3", "S3", moved | {"event_ticker": "E3"}))
    world.run()

    assert joined(world, "E1-B") == ("md.S3.", "S3")
    assert world.held.open_events() == {"E1": 1, "E2": 1, "E3": 1}

    world.exchange.events["E1"]["markets"].clear()
    world.run()
    assert "E1" not in world.state.events
    assert content(world.replica) == content(world.state)


def test_older_reply_never_overwrites_and_is_taken_when_it_is_newer(world: World) -> None:
    world.run()
    world.client.cache_age_ms = lambda _path: 20_000
    nested(world, "E2-A")["yes_bid_size_fp"] = "7.00"
    world.run()
    assert world.kinds() == []
    assert world.held.older == 1

    world.client.cache_age_ms = lambda _path: 0
    world.run()

    assert world.kinds() == [("md.S2.", "quote", 1)]


def test_clock_set_back_does_not_freeze_the_quotes(world: World) -> None:
    world.run()
    world.clock.set_wall(world.clock.now_ms() - 3_600_000)
    nested(world, "E2-A")["yes_bid_size_fp"] = "7.00"
    world.run()

    # The others, too: what is held of them is of a time to come.
    assert world.kinds() == [("md.S1.", "quote", 2), ("md.S2.", "quote", 1)]
    assert {world.age_ms(ticker) for ticker in world.state.quotes} == {0}
    world.run()
    assert world.kinds() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_ticker", None),
        ("event_ticker", "A B"),
        ("rules_primary", "x" * 300_000),
    ],
)
def test_bad_market_is_kept_out_and_the_last_good_one_ages(world: World, field: str, value: object) -> None:
    world.run()
    good = nested(world, "E1-A")[field] if field != "rules_primary" else ""
    nested(world, "E1-A")[field] = value
    nested(world, "E1-B")["yes_bid_size_fp"] = "7.00"
    reading, error = world.run()

    assert error is None
    assert reading.complete
    assert world.kinds() == [("md.S1.", "quote", 1)]
    assert world.state.cycle is not None
    assert world.state.cycle.quarantined == 1
    assert world.age_ms("E1-A") == 12_000
    assert world.age_ms("E1-B") == 0
    assert content(world.replica) == content(world.state)

    nested(world, "E1-A")[field] = good
    world.run()
    assert world.age_ms("E1-A") == 0
    assert world.state.cycle.quarantined == 0


def test_an_event_names_its_markets_in_the_order_in_which_they_were_last_listed(world: World) -> None:
    def order() -> list[str]:
        return [world.replica.events[ticker].market_tickers for ticker in ("E1", "E2")]

    world.run()
    assert order() == ["E1-A E1-B", "E2-A"]
    markets = world.exchange.events["E1"]["markets"]
    markets.reverse()
    world.run()
    assert world.kinds() == [("ref.", "event", 1)]
    assert order() == ["E1-B E1-A", "E2-A"]
    markets.insert(1, market("E1-C", "E1"))
    world.run()
    assert order()[0] == "E1-B E1-C E1-A"
    markets[1]["yes_bid_dollars"] = "9.0000"  # refused, but it is where it was
    world.run()
    assert order()[0] == "E1-B E1-C E1-A"
    world.exchange.events["E1"]["title"] = "Another"
    world.run()
    assert (world.replica.events["E1"].title, order()[0]) == ("Another", "E1-B E1-C E1-A")
    assert content(world.replica) == content(world.state)


def test_refused_bytes_are_kept_for_inspection_once(world: World, tmp_path: Path) -> None:
    nested(world, "E1-A")["event_ticker"] = "A B"
    world.run()
    world.run()

    kept = list((tmp_path / "quarantine").iterdir())
    assert [path.name for path in kept] == ["00.json"]
    assert b'"A B"' in kept[0].read_bytes()


def test_failed_page_leaves_its_markets_ageing_never_gone(world: World) -> None:
    world.exchange.page_size = 1
    world.run()
    nested(world, "E1-A")["yes_bid_size_fp"] = "7.00"
    world.exchange.next_faults.extend([None, None, BROKEN])  # status, first page, second page
    world.sweep._series_due_ms = world.clock.now_ms() + 10**9
    reading, error = world.run()

    assert error is not None
    assert not reading.complete
    assert world.kinds() == [("md.S1.", "quote", 1)]
    assert [world.age_ms(ticker) for ticker in ("E1-A", "E1-B", "E2-A")] == [0, 0, 12_000]
    cycle = world.state.cycle
    assert cycle is not None
    assert not cycle.complete
    assert cycle.unconfirmed == ("E2-A",)
    assert cycle.complete_ms == world.clock.now_ms() - 12_000
    assert content(world.replica) == content(world.state)


def test_closed_event_is_refreshed_by_tickers_until_a_day_after_it_is_finalized(world: World) -> None:
    world.run()
    nested(world, "E2-A")["status"] = "closed"
    world.run()
    assert status_of(world, "E2-A") == "closed"
    assert world.age_ms("E2-A") == 0

    settled = "2026-09-21T13:00:00Z"
    nested(world, "E2-A").update(status="finalized", result="yes", settlement_ts=settled)
    world.run()
    assert status_of(world, "E2-A") == "finalized"
    asked = world.client.requests
    world.run()
    assert world.client.requests == asked + 3  # status, events, created: it changes no more

    world.run(KEEP_FINALIZED_MS)
    assert "E2-A" not in world.state.markets
    assert "E2" not in world.state.events
    assert "S2" not in world.state.series
    assert content(world.replica) == content(world.state)


def test_long_settled_market_of_an_open_event_is_not_held(world: World) -> None:
    nested(world, "E1-B").update(status="finalized", result="no", settlement_ts="2026-01-01T00:00:00Z")
    world.run()
    assert "E1-B" not in world.state.markets
    world.run()
    assert world.kinds() == []


def test_vanished_market_is_looked_up_before_it_is_removed(world: World) -> None:
    world.run()
    del world.exchange.events["E2"]
    world.exchange.faults.append(on("/markets/E2-A", BROKEN))
    reading, error = world.run()
    assert error is None
    assert list(world.sweep.failing) == ["GET /markets/{ticker}"]
    assert "E2-A" in world.state.markets
    assert world.age_ms("E2-A") == 12_000

    world.exchange.faults.clear()
    reading, error = world.run()
    assert reading.gone == {"E2-A"}
    assert world.kinds() == [("md.S2.", "remove", 1), ("ref.", "remove", 2)]
    assert content(world.replica) == content(world.state)


def test_many_that_vanish_at_once_cost_three_lookups_a_list(world: World) -> None:
    world.exchange.list_event(event("E3", "S3", *(market(f"E3-{n:03}", "E3") for n in range(250))))
    world.run()
    del world.exchange.events["E3"]
    asked = world.client.requests
    reading, _ = world.run()

    assert len(reading.gone) == 250
    assert set(world.state.markets) == {"E1-A", "E1-B", "E2-A"}
    assert world.client.requests - asked == 3 + 3 * (1 + 3)


def test_list_that_leaves_out_what_exists_is_not_believed(world: World) -> None:
    world.exchange.list_event(event("E3", "S3", *(market(f"E3-{n:03}", "E3") for n in range(50))))
    world.run()
    for listed in world.exchange.events["E3"]["markets"]:
        listed["status"] = "closed"
    world.exchange.faults.append(lambda path: Answer(200, b'{"markets":[]}') if path == "/markets" else None)
    reading, _ = world.run()

    assert reading.gone == set()
    assert len(world.state.markets) == 53
    assert world.age_ms("E3-049") == 12_000


def test_market_with_an_older_cached_reply_keeps_that_age(world: World) -> None:
    world.run()
    nested(world, "E2-A")["status"] = "closed"
    world.client.cache_age_ms = lambda path: 5_000 if path == "/markets" else 0
    world.run()
    assert world.age_ms("E2-A") == 5_000
    assert world.age_ms("E1-A") == 0
    world.run()

    assert world.age_ms("E2-A") == 5_000
    assert world.age_ms("E1-A") == 0
    assert content(world.replica) == content(world.state)


def test_market_created_during_the_crawl_is_joined_by_its_event(world: World) -> None:
    world.exchange.events["E3"] = event("E3", "S3")
    world.exchange.series["S3"] = series("S3")
    world.exchange.loose["E3-A"] = market("E3-A", "E3")
    _, error = world.run()

    assert error is None
    assert world.state.markets["E3-A"].series_ticker == "S3"
    assert {"E3", "S3"} <= set(world.state.events) | set(world.state.series)


def test_market_whose_event_is_404_is_published_apart_and_moves_when_it_is_known(world: World) -> None:
    world.exchange.loose["X-A"] = market("X-A", "X")
    world.run()
    assert joined(world, "X-A") == ("md._.", None)
    asked = [path for path in world.client.paths if path == "/events/X"]
    world.run()
    assert [path for path in world.client.paths if path == "/events/X"] == asked

    del world.exchange.loose["X-A"]
    world.exchange.list_event(event("X", "S9", market("X-A", "X")))
    world.run()

    assert joined(world, "X-A") == ("md.S9.", "S9")
    assert ("md._.", "remove", 1) in world.kinds()
    assert content(world.replica) == content(world.state)


def test_market_waits_unjoined_while_its_event_cannot_be_fetched(world: World) -> None:
    world.run()
    world.exchange.loose["X-A"] = market("X-A", "X")
    world.exchange.faults.append(on("/events/X", BROKEN))
    world.run()

    assert list(world.sweep.failing) == ["GET /events/{ticker}"]
    assert "X-A" not in world.state.markets
    assert world.state.cycle is not None
    assert world.state.cycle.unjoined == 1


@pytest.mark.parametrize(
    ("universe", "held"),
    [
        (Universe(series=frozenset({"S1"})), {"E1-A", "E1-B"}),
        (Universe(tickers=frozenset({"E1-B", "E2-A"})), {"E1-B", "E2-A"}),
        (Universe(categories=frozenset({"Politics"})), {"E3-A"}),
        (Universe(series=frozenset({"S1"}), tickers=frozenset({"E2-A"})), set()),
    ],
    ids=["series", "tickers", "categories", "both"],
)
def test_narrow_universe_holds_nothing_else(tmp_path: Path, universe: Universe, held: set[str]) -> None:
    world = World(tmp_path, universe)
    world.exchange.list_event(event("E1", "S1", market("E1-A", "E1"), market("E1-B", "E1")))
    world.exchange.list_event(event("E2", "S2", market("E2-A", "E2")))
    world.exchange.list_event(event("E3", "S3", market("E3-A", "E3"), category="Politics"))
    world.exchange.series["S3"]["category"] = "Politics"
    world.exchange.loose["E4-A"] = market("E4-A", "E4")
    world.exchange.events["E4"] = event("E4", "S4")
    world.run()
    world.run()
    world.close()

    assert set(world.state.markets) == held


def test_too_many_unconfirmed_to_name_keep_the_age_of_the_last_commit(world: World) -> None:
    names = [f"E5-{'X' * 150}{number:04d}" for number in range(1500)]
    world.exchange.page_size = 2
    world.exchange.list_event(event("E5", "S5", *(market(name, "E5") for name in names)))
    world.run()
    world.exchange.next_faults.extend([None, None, BROKEN])
    world.sweep._series_due_ms = world.clock.now_ms() + 10**9
    world.run()

    assert world.state.cycle is not None
    assert world.state.cycle.unconfirmed == ()
    assert world.age_ms(names[0]) == 12_000
    assert world.age_ms("E1-A") == 12_000
    assert content(world.replica) == content(world.state)


def test_everything_is_sent_again_within_the_rotation(world: World) -> None:
    world.run()
    world.rotate()
    before = content(world.state)["records"]
    heard: set[tuple[str, str]] = set()
    for _ in range(ROTATION_MS // 12_000 + 1):
        world.clock.advance(12_000)
        for frame in world.rotate():
            _, envelope = decode(frame)
            heard.update((envelope.kind, bytes(raw)[:1].hex()) for raw in envelope.records)
            assert envelope.cycle == 0

    assert {kind for kind, _ in heard} == {"market", "quote", "event", "series", "milestone"}
    assert content(world.replica) == content(world.state)
    assert content(world.state)["records"] == before


def test_restart_on_a_held_state_changes_nothing(world: World, tmp_path: Path) -> None:
    world.run()
    world.restart(tmp_path / "quarantine")
    world.run()

    assert world.kinds() == []


TICKERS = [f"E{e}-{m}" for e in range(4) for m in range(3)]
tickers = st.sampled_from(TICKERS)
statuses = st.sampled_from(["active", "inactive", "closed", "determined", "finalized"])


class AnyDay(RuleBasedStateMachine):
    """Whatever the exchange does, replica and publisher agree, and a complete sweep is the truth."""

    slice_from: int | None = None

    @initialize()
    def open(self) -> None:
        self.world = World(Path("/nonexistent"), slice_from=self.slice_from)
        self.world.exchange.page_size = 2
        for number in range(4):
            listed = event(f"E{number}", f"S{number % 2}", mutually_exclusive=number % 2 == 0)
            self.world.exchange.list_event(listed)
        for ticker in TICKERS[::2]:
            self.add(ticker)

    def teardown(self) -> None:
        self.world.close()

    def find(self, ticker: str) -> dict[str, Any] | None:
        return next((m for m in all_markets(self.world.exchange) if m["ticker"] == ticker), None)

    @rule(ticker=tickers)
    def add(self, ticker: str) -> None:
        listed = self.world.exchange.events.get(ticker.partition("-")[0])
        if listed and self.find(ticker) is None:
            listed["markets"].append(market(ticker, listed["event_ticker"]))

    @rule(ticker=tickers, bid=st.integers(1, 44), size=st.integers(0, 3))
    def trade(self, ticker: str, bid: int, size: int) -> None:
        if found := self.find(ticker):
            found.update(market(ticker, found["event_ticker"], bid=bid) | {"status": found["status"]})
            found["yes_bid_size_fp"] = f"{size}.00"

    @rule(ticker=tickers, status=statuses)
    def move_on(self, ticker: str, status: str) -> None:
        if found := self.find(ticker):
            found["status"] = status

    @rule(ticker=tickers)
    def delete(self, ticker: str) -> None:
        for listed in self.world.exchange.events.values():
            listed["markets"] = [m for m in listed["markets"] if m["ticker"] != ticker]

    @rule(number=st.integers(0, 3), series_number=st.integers(0, 2))
    def change_series(self, number: int, series_number: int) -> None:
        listed = self.world.exchange.events[f"E{number}"]
        listed["series_ticker"] = f"S{series_number}"
        self.world.exchange.series.setdefault(f"S{series_number}", series(f"S{series_number}"))

    @rule(ticker=tickers, field=st.sampled_from(["yes_bid_dollars", "status", "open_time"]))
    def spoil(self, ticker: str, field: str) -> None:
        if found := self.find(ticker):
            found[field] = "nonsense"

    @rule(ticker=tickers)
    def heal(self, ticker: str) -> None:
        if found := self.find(ticker):
            found.update(market(ticker, found["event_ticker"]))

    @rule(good=st.integers(0, 5))
    def fail_next(self, good: int) -> None:
        if not self.world.exchange.next_faults:
            self.world.exchange.next_faults.extend([*[None] * good, BROKEN])

    @rule(hours=st.integers(0, 30))
    def wait(self, hours: int) -> None:
        self.world.clock.advance(hours * 3_600_000)

    @rule()
    def rotate(self) -> None:
        self.world.rotate()

    @rule()
    def restart(self) -> None:
        self.world.restart(Path("/nonexistent"))

    @rule(cached_ms=st.sampled_from([0, 0, 15_000, 60_000]))
    def sweep(self, cached_ms: int) -> None:
        self.world.client.cache_age_ms = lambda _path: cached_ms
        resumed = bool(self.world.sweep._discovery_cursor)
        reading, error = self.world.run()
        if resumed and error is None:
            # Discovery went on where an error had ended it, and has not seen the first pages of its list.
            reading, error = self.world.run()
        if error is None and not cached_ms and not self.world.sweep.failing:
            self.compare({key for _, key in reading.bad})

    @rule()
    def sweep_well(self) -> None:
        self.world.exchange.next_faults.clear()
        self.sweep(0)

    def compare(self, bad: set[str]) -> None:
        """What is held is what the exchange lists, but for the records that it lists in bad shape."""
        state = self.world.state
        for ticker, quote in state.quotes.items():
            found = self.find(ticker)
            if found is None or ticker in bad or quote.status is Status.FINALIZED:
                continue
            served = json.loads(b"{" + quote_members(quote)[1:] + b"}")
            assert served == {name: value for name, value in found.items() if name in QUOTE_MEMBERS}, ticker
            if found["yes_bid_dollars"] == "nonsense":
                assert (quote.yes_bid_size_e2, quote.yes_ask_size_e2) == (0, 0)
        for listed in self.world.exchange.events.values():
            if any(m["status"] == "active" for m in listed["markets"]):
                wanted = {m["ticker"] for m in listed["markets"] if m["status"] != "finalized"} - bad
                assert wanted <= set(state.markets)
                assert {state.markets[t].series_ticker for t in wanted} <= {listed["series_ticker"]}
        assert set(state.events) == {m.event_ticker for m in state.markets.values()}
        assert set(state.series) == {e.series_ticker for e in state.events.values()}

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def replica_is_exact(self) -> None:
        assert content(self.world.replica) == content(self.world.state)
        assert self.world.replica.digest() == self.world.state.digest()


TestAnyDay = AnyDay.TestCase
TestAnyDay.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class SlicedDay(AnyDay):
    """The same, with the events read in slices as those of a large catalogue are."""

    slice_from = 1


TestSlicedDay = SlicedDay.TestCase
TestSlicedDay.settings = TestAnyDay.settings
