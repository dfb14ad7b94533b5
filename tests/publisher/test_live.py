"""The stream's facts, published: what a replica has, against sweeps and books that say otherwise."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest

from bus.protocol.state import State
from bus.server import FeedServer
from markets.json.frames import StatusChange, TickerUpdate
from markets.records import Book, BookDelta, Level, Status, Suspect
from markets.units import format_price
from publisher.kalshi.stream_session import Fact
from publisher.live import SETTLE_MS, Live
from tests.publisher.exchange import event, market
from tests.publisher.sinks import Sink
from tests.publisher.world import World, content


class Streamed:
    """A world with one event of two markets, swept once, and a stream."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory)
        self.world.exchange.list_event(event("E", "S", market("E-A", "E"), market("E-B", "E")))
        self.world.run()
        self.verified: list[str] = []
        self.live = Live(
            self.world.held,
            lambda _job: None,
            lambda _tickers: None,
            self.verified.extend,
            self.world.clock,
        )
        self.server = cast(FeedServer, Sink(self.world))

    @property
    def now_ms(self) -> int:
        return self.world.clock.now_ms()

    @property
    def state(self) -> State:
        return self.world.replica

    def publish(self, *facts: Fact) -> None:
        self.live.publish(self.server, facts, self.world.clock.now_ns())

    def tick(self, bid_e4: int, *, ticker: str = "E-A", ago_ms: int = 0) -> TickerUpdate:
        return TickerUpdate(ticker, bid_e4, 4500, 700, 5000, 4200, 100_100, None, self.now_ms - ago_ms)

    def book(self, *yes: Level, ticker: str = "E-A") -> Book:
        return Book(ticker, self.now_ms, yes, ((5500, 5000),))


@pytest.fixture
def streamed(tmp_path: Path) -> Iterator[Streamed]:
    made = Streamed(tmp_path)
    yield made
    assert content(made.world.replica) == content(made.world.state)
    made.world.close()


def test_ticks_move_quotes_and_the_last_of_several_counts(streamed: Streamed) -> None:
    streamed.world.clock.advance(1000)
    seq = streamed.state.seq
    streamed.publish(streamed.tick(4100), streamed.tick(4300))

    quote = streamed.state.quotes["E-A"]
    assert (quote.yes_bid_e4, quote.no_ask_e4, quote.yes_bid_size_e2) == (4300, 5700, 700)
    assert (quote.volume_e2, quote.open_interest_e2) == (100_100, 50_000)
    assert quote.as_of_ms == streamed.now_ms
    assert streamed.state.seq == seq + 1


def test_tick_older_than_what_is_held_is_refused(streamed: Streamed) -> None:
    streamed.publish(streamed.tick(4300, ago_ms=1))

    assert streamed.state.quotes["E-A"].yes_bid_e4 == 4000
    assert streamed.live.older == 1


def test_sweep_older_than_the_stream_is_refused_and_a_newer_one_wins(streamed: Streamed) -> None:
    world = streamed.world
    world.clock.advance(11_000)
    streamed.publish(streamed.tick(4300))

    world.client.cache_age_ms = lambda path: 15_000 if path == "/events" else 0
    world.exchange.events["E"]["markets"][0]["yes_bid_dollars"] = "0.3900"
    world.run(5_000)
    assert streamed.state.quotes["E-A"].yes_bid_e4 == 4300
    assert world.held.older == 1
    assert world.held.disputed == {"E-A"}

    world.run(12_000)
    assert streamed.state.quotes["E-A"].yes_bid_e4 == 3900
    assert not world.held.disputed


def test_a_market_that_ticks_all_the_time_still_shows_what_only_lists_say(streamed: Streamed) -> None:
    world = streamed.world
    listed = world.exchange.events["E"]["markets"][0]

    def sweep(close_time: str, age_ms: int) -> tuple[int | None, int | None, int]:
        listed.update(close_time=close_time, volume_24h_fp="777.00")
        world.clock.advance(11_000)
        streamed.publish(streamed.tick(4300))
        world.client.cache_age_ms = lambda _path: age_ms
        world.run(1_000)
        quote = streamed.state.quotes["E-A"]
        return streamed.state.markets["E-A"].close_ms, quote.volume_24h_e2, quote.yes_bid_e4

    assert sweep("2027-01-01T00:00:00Z", 2_000) == (1_798_761_600_000, 77_700, 4300)
    assert sweep("2027-01-02T00:00:00Z", 15_000) == (1_798_761_600_000, 77_700, 4300)  # an older copy
    assert sweep("2027-01-02T00:00:00Z", 2_000) == (1_798_848_000_000, 77_700, 4300)
    assert world.held.older == 3, "it is examined again until nothing is newer than its reply"


def test_a_copy_older_than_a_sweep_that_confirmed_the_quote_takes_nothing_back(streamed: Streamed) -> None:
    world = streamed.world
    listed = world.exchange.events["E"]["markets"][0]
    before = listed["close_time"]
    world.clock.advance(60_000)
    listed["close_time"] = "2027-01-02T00:00:00Z"
    world.run(1_000)
    world.clock.advance(1_000)
    streamed.publish(streamed.tick(4300))
    listed["close_time"] = before
    world.client.cache_age_ms = lambda _path: 30_000
    world.run(1_000)
    assert streamed.state.markets["E-A"].close_ms == 1_798_848_000_000


def test_sweep_with_the_bytes_of_before_does_not_confirm_a_streamed_quote(streamed: Streamed) -> None:
    world = streamed.world
    world.clock.advance(1000)
    streamed.publish(streamed.tick(4300))

    reading, _ = world.run(60_000)  # the tick that took it back was lost

    assert "E-A" not in reading.confirmed
    assert streamed.state.quotes["E-A"].yes_bid_e4 == 4000


@pytest.mark.parametrize(("best_e4", "healed"), [(4300, 0), (3900, 1)])
def test_uncached_book_decides_between_stream_and_older_sweep(
    streamed: Streamed, best_e4: int, healed: int
) -> None:
    streamed.world.clock.advance(1000)
    streamed.publish(streamed.tick(4300))
    streamed.world.held.disputed.add("E-A")
    streamed.world.clock.advance(500)
    asked_ms = streamed.now_ms
    streamed.world.clock.advance(100)

    book = streamed.book((best_e4, 700))
    streamed.live.judge(streamed.server, book, asked_ms, streamed.world.clock.now_ns())

    assert (streamed.live.healed, streamed.live.confirmed) == (healed, 1 - healed)
    assert streamed.state.quotes["E-A"].yes_bid_e4 == best_e4
    assert not streamed.world.held.disputed


def test_books_follow_deltas_and_doubt_stops_them(streamed: Streamed) -> None:
    streamed.publish(
        streamed.book((4000, 10)),
        BookDelta("E-A", streamed.now_ms, "yes", 4100, 5),
        BookDelta("E-B", streamed.now_ms, "yes", 4100, 5),  # its snapshot was not for us
    )
    assert streamed.state.books["E-A"].yes == ((4000, 10), (4100, 5))
    assert "E-B" not in streamed.state.books

    streamed.publish(Suspect("E-A", streamed.now_ms, "gap"))
    assert streamed.state.suspects["E-A"].reason == "gap"
    streamed.publish(streamed.book((4200, 1)))
    assert not streamed.state.suspects
    assert list(streamed.state.books["E-A"].yes) == [(4200, 1)]


def test_market_that_is_not_held_is_left_to_the_sweep(streamed: Streamed) -> None:
    streamed.publish(streamed.tick(4300, ticker="X"), streamed.book((4000, 1), ticker="X"))

    assert "X" not in streamed.state.books
    assert "X" not in streamed.live.followed


def test_followed_book_that_is_gone_is_fetched_whole(streamed: Streamed) -> None:
    streamed.publish(streamed.book((4000, 10)))
    del streamed.world.exchange.events["E"]
    streamed.world.run()
    assert "E-A" not in streamed.state.markets
    streamed.world.exchange.list_event(event("E", "S", market("E-A", "E"), market("E-B", "E")))
    streamed.world.run()

    streamed.publish(BookDelta("E-A", streamed.now_ms, "yes", 4100, 5))

    assert streamed.verified == ["E-A"]
    assert "E-A" not in streamed.live.followed


def test_read_book_never_replaces_a_followed_one_and_an_unexplained_difference_is_checked(
    streamed: Streamed,
) -> None:
    streamed.publish(streamed.book((4000, 10)))
    assert streamed.live.compare(streamed.server, streamed.book((4000, 9)), streamed.now_ms)
    assert streamed.verified == []  # it changed too shortly before: the time between explains it

    streamed.world.clock.advance(SETTLE_MS)
    assert streamed.live.compare(streamed.server, streamed.book((4000, 10)), streamed.now_ms)
    assert streamed.verified == []
    assert streamed.live.compare(streamed.server, streamed.book((4000, 9)), streamed.now_ms)
    assert streamed.verified == ["E-A"]

    assert not streamed.live.compare(streamed.server, streamed.book(ticker="E-B"), streamed.now_ms)


def test_announced_status_shows_at_once(streamed: Streamed) -> None:
    streamed.publish(StatusChange("E-A", Status.INACTIVE, streamed.now_ms))

    assert streamed.state.quotes["E-A"].status is Status.INACTIVE


def told(streamed: Streamed) -> list[tuple[Status, str, int | None]]:
    """What a replica that stops after any message shows of E-A, one entry a change."""
    shown: list[tuple[Status, str, int | None]] = []
    apply = streamed.world.apply

    def one_by_one(frames: Iterable[bytes]) -> None:
        for frame in frames:
            apply([frame])
            market = streamed.state.markets["E-A"]
            shown.append((streamed.state.quotes["E-A"].status, market.result, market.settlement_value_e4))

    streamed.world.apply = one_by_one  # type: ignore[method-assign]
    return shown


@pytest.mark.parametrize(
    ("result", "value_e4"), [("yes", 10_000), ("no", 0), ("scalar", 3_700), ("no", None)]
)
def test_a_result_is_on_the_bus_at_once_and_before_the_status_that_says_so(
    streamed: Streamed, result: str, value_e4: int | None
) -> None:
    world, shown = streamed.world, told(streamed)
    world.clock.advance(1_000)
    determined = StatusChange("E-A", Status.DETERMINED, streamed.now_ms, result, value_e4)
    settled = StatusChange("E-A", Status.FINALIZED, streamed.now_ms)
    streamed.publish(determined, settled)

    assert [entry for entry in shown if entry[0] in (Status.DETERMINED, Status.FINALIZED)]
    assert {entry[1:] for entry in shown if entry[0] is not Status.ACTIVE} == {(result, value_e4)}
    assert streamed.state.quotes["E-A"].status is Status.FINALIZED
    sent = json.loads(streamed.state.markets["E-A"].raw)
    assert (sent["result"], sent.get("settlement_value_dollars")) == (
        result,
        None if value_e4 is None else format_price(value_e4),
    )
    # The list shows it later, an older copy of it takes nothing back, and then confirms it.
    world.client.cache_age_ms = lambda path: 15_000 if path.startswith("/markets") else 0
    for listed in world.exchange.events["E"]["markets"]:
        listed["status"] = "closed"
    world.run(5_000)
    assert streamed.state.markets["E-A"].result == result
    world.exchange.events["E"]["markets"][0] |= {"status": "finalized", "result": result}
    world.run(30_000)
    assert (streamed.state.quotes["E-A"].status, streamed.state.markets["E-A"].result) == (
        Status.FINALIZED,
        result,
    )


def test_a_second_determination_replaces_the_result(streamed: Streamed) -> None:
    for result, value_e4 in (("yes", 10_000), ("scalar", 5_000)):
        streamed.world.clock.advance(1_000)
        streamed.publish(StatusChange("E-A", Status.DETERMINED, streamed.now_ms, result, value_e4))
        held = streamed.state.markets["E-A"]
        assert (held.result, held.settlement_value_e4) == (result, value_e4)


@pytest.mark.parametrize("status", [Status.DETERMINED, Status.FINALIZED])
def test_a_status_that_speaks_of_a_result_waits_where_nobody_said_which(
    streamed: Streamed, status: Status
) -> None:
    shown = told(streamed)
    streamed.publish(StatusChange("E-A", status, streamed.now_ms))
    assert not shown
    streamed.world.exchange.events["E"]["markets"][0] |= {"status": status.value, "result": "no"}
    streamed.world.run()
    quote = streamed.state.quotes["E-A"]
    assert (quote.status, streamed.state.markets["E-A"].result) == (status, "no")


def test_a_result_counts_though_a_reply_that_knew_nothing_of_it_came_between(streamed: Streamed) -> None:
    streamed.world.run()
    late = streamed.now_ms - 5_000
    streamed.publish(StatusChange("E-A", Status.DETERMINED, late, "yes", 10_000))
    assert streamed.state.quotes["E-A"].status is Status.DETERMINED
    assert streamed.state.markets["E-A"].result == "yes"
