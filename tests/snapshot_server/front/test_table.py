"""The front answers with the bytes that the snapshot server would send at that moment, or not at all."""

import json
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.process.http_requests import read_head
from bus.protocol.messages import market_topic
from markets.records import Book, Record, Remove, Suspect
from snapshot_server.edition import Edition
from snapshot_server.front import parts, templates
from snapshot_server.front.messages import (
    Complete,
    Inbox,
    News,
    Passed,
    frame,
    packet,
    read_packet,
)
from snapshot_server.front.table import MAX_OWN, PULSE_VALID_S, Table
from snapshot_server.http import Large
from tests.snapshot_server.front.tables import (
    COLD,
    NUMBER,
    TICKER,
    answered,
    cold_table,
    expected,
    passed_over,
    pulse,
    request,
    tell_parts,
    told,
    whole,
)
from tests.snapshot_server.venue import a_cycle, a_writer
from tests.snapshot_server.views import CATALOGUE, NOW_MS, VIEW, edition_after, edition_of, view_of

EVENT = CATALOGUE.events[3].event_ticker
SERIES = CATALOGUE.markets[0].series_ticker or ""
PATHS = (
    "/health",
    "/markets",
    "/markets?limit=3",
    f"/markets?tickers={TICKER}",
    "/markets?status=active&limit=120&fields=ticker,yes_bid_dollars",
    f"/trade-api/v2/markets/{TICKER}",
    "/trade-api/v2/markets?limit=7",
    "/trade-api/v2/markets?limit=200&status=open",
    f"/trade-api/v2/events/{EVENT}?with_nested_markets=true",
    f"/trade-api/v2/events?series_ticker={SERIES}",
)
NOT_HERE = (
    "/markets?limit=none",
    "/marketsx",
    "/health?x=1",
    f"/trade-api/v2/markets/{TICKER}/orderbook",
    "/trade-api/v2/markets/NOBODY",
    "/trade-api/v2/exchange/status",
    "/trade-api/v2/markets/trades",
    "/trade-api/v2/markets/trades?limit=10",
    f"/trade-api/v2/markets/candlesticks?market_tickers={TICKER}&start_ts=1&end_ts=2&period_interval=1",
)

NOT_COLD = (
    "/markets",
    "/markets?limit=2",
    f"/markets?event_ticker={EVENT}",
    "/markets?tickers=NOBODY",
    f"/markets?tickers={TICKER}&at=1:1",
    f"/markets?tickers={TICKER}&tickers={TICKER}",
    f"/markets?tickers={TICKER}&unknown=1",
    f"/markets?tickers={TICKER},%FF",
    f"/markets?at=1:1&tickers={TICKER}",
    "/markets?tickers=" + ",".join(market.ticker for market in CATALOGUE.markets[:11]),
    "/trade-api/v2/markets/NOBODY",
    f"/trade-api/v2/markets/{TICKER}%2Forderbook",
    f"/trade-api/v2/markets?tickers={TICKER}",
    *(path for path in NOT_HERE if TICKER in path),
)


@given(
    path=st.sampled_from(PATHS),
    encoding=st.sampled_from(["", "gzip", "zstd"]),
    made_ms=st.integers(-10_000, 70_000),
    later_ms=st.integers(-10_000, 70_000),
)
def test_an_answer_of_the_front_is_what_the_snapshot_server_says_at_that_moment(
    path: str, encoding: str, made_ms: int, later_ms: int
) -> None:
    """Whenever its template was made: before data went stale or after, or before a clock was set back."""
    asked = request(path, *([f"accept-encoding: {encoding}"] if encoding else []))
    table = Table()
    told(table, asked, now_ms=NOW_MS + made_ms)
    now_ms = NOW_MS + later_ms
    assert whole(table.answer(asked, now_ms, 0.0)) == expected(answered(asked, VIEW, now_ms))


@pytest.mark.parametrize("path", NOT_HERE)
def test_what_depends_on_more_than_the_edition_is_never_answered_by_the_front(path: str) -> None:
    table = Table()
    told(table, request(path), request("/health"))
    assert table.answer(request(path), NOW_MS, 0.0) is None
    assert table.answer(request("/health"), NOW_MS, 0.0) is not None


def test_a_question_that_may_have_another_answer_each_time_is_none_for_it() -> None:
    for asked in (
        request("/markets", 'if-none-match: "x"'),
        request("/markets", "connection: close"),
        request("/trade-api/ws/v2", "upgrade: websocket", "connection: upgrade"),
        request("/health").replace(b"GET", b"HEAD"),
        request("/health").replace(b"GET", b"POST"),
        request("/health", "content-length: 3"),
        request("/health").replace(b"1.1\r\n", b"1.0\r\n"),
        *map(request, ("/metrics", "/ready", "/openapi.json", "/docs", "/nowhere")),
    ):
        read_head(asked)
        assert templates.question(asked) is None


def test_answers_end_with_their_edition_and_come_with_the_next() -> None:
    table, asked, other = Table(), request("/markets?limit=3"), request("/markets?limit=4")
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    first = edition_of(writer)
    told(table, asked, other, view=view_of(first))
    writer.commit([], a_cycle(NOW_MS + 500, len(CATALOGUE.markets)), 0, NOW_MS)
    second = view_of(edition_after(writer, first, NOW_MS + 500))
    template = templates.template(
        asked,
        NUMBER + 1,
        response := answered(asked, second, NOW_MS),
        response.body.prepare(lambda: None) if isinstance(response.body, Large) else None,
    )
    assert template is not None
    before = table.answer(asked, NOW_MS, 0.0)
    table.take(template, 0.0)
    assert before is not None
    assert table.answer(asked, NOW_MS, 0.0) == before, "the next edition is not shown yet"
    assert second.edition is not None
    table.take(templates.shown(NUMBER + 1, second.edition), 0.0)
    assert whole(table.answer(asked, NOW_MS + 900, 0.0)) == expected(answered(asked, second, NOW_MS + 900))
    assert table.answer(other, NOW_MS + 900, 0.0) is None, "of an edition that is no longer shown"


def test_health_is_told_only_while_the_snapshot_server_gives_signs_of_life() -> None:
    table, health, markets = Table(), request("/health"), request("/markets?limit=3")
    told(table, health, markets)
    assert table.answer(health, NOW_MS, PULSE_VALID_S) is not None
    assert table.answer(health, NOW_MS + 1, PULSE_VALID_S + 0.01) is None
    stale = table.answer(markets, NOW_MS + 90_000, 90.0)
    assert stale is not None, "data is served, and its age told, whatever becomes of the snapshot server"
    told_of = json.loads(b"".join(stale.after))
    assert (told_of["stale"], told_of["age_seconds"]) == (True, 90.0 + age_s())


def age_s() -> float:
    assert VIEW.edition is not None
    return (NOW_MS - (VIEW.edition.complete_ms or 0)) / 1000


def test_health_follows_the_pulse() -> None:
    table, health = Table(), request("/health")
    told(table, health)
    lost = view_of(VIEW.edition, lost=True, phase="joining", live=False)
    table.take(pulse(lost), 0.0)
    assert whole(table.answer(health, NOW_MS, 0.0)) == expected(answered(health, lost, NOW_MS))


def test_a_replay_has_a_time_of_its_own_and_no_front() -> None:
    table, health = Table(), request("/health")
    told(table, health, view=view_of(VIEW.edition, source="replay"))
    assert table.answer(health, NOW_MS, 0.0) is None


class World:
    """A publisher that changes a few markets at a time, and the editions that follow."""

    def __init__(self) -> None:
        self.writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
        self.edition = edition_of(self.writer)
        self.writer.state.take_touched()

    def change(self, what: str, number: int, value: int) -> None:
        """Change one of the first markets in some way."""
        market, quote = CATALOGUE.markets[number], CATALOGUE.quotes[number]
        state, now_ms = self.writer.state, NOW_MS + 10 * value
        topic = market_topic(market.series_ticker or "_")
        cycle = a_cycle(now_ms, len(CATALOGUE.markets))
        if what == "sweep":
            unconfirmed = tuple(one.ticker for one in CATALOGUE.markets[number : number + value % 9])
            found = [one for one in unconfirmed if one in state.quotes]
            self.writer.commit([], msgspec.structs.replace(cycle, unconfirmed=tuple(found)), 0, NOW_MS)
            return
        record: Record
        match what:
            case "quote":
                record = msgspec.structs.replace(quote, volume_e2=value, as_of_ms=now_ms)
                what = "quote" if market.ticker in state.markets else "market"
                record = record if what == "quote" else market
            case "market":
                raw = market.raw.replace(b"{", b'{"x":%d,' % value, 1)
                record = msgspec.structs.replace(market, raw=raw)
            case "book":
                record = Book(market.ticker, now_ms, ((100 + value, 1_000),), ((2_000, 7),))
            case "suspect":
                record = Suspect(market.ticker, now_ms if value % 3 else None, "gap")
            case _:
                what, kind = "remove", ("market", "quote", "book", "milestone")[value % 4]
                key = "m1" if kind == "milestone" else market.ticker
                if key not in state.records[kind]:
                    return
                topic = "ref." if kind == "milestone" else topic
                record = Remove(kind, key)
        self.writer.commit([(topic, what, [record])], cycle, 0, NOW_MS)

    def next(self) -> tuple[Edition, Edition]:
        """The edition until now, and the one after what was changed."""
        before, self.edition = self.edition, edition_after(self.writer, self.edition, NOW_MS + 1)
        return before, self.edition


KINDS_OF_CHANGE = ("sweep", "quote", "market", "book", "suspect", "remove")
ROUNDS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(KINDS_OF_CHANGE), st.integers(0, 7), st.integers(0, 3_000)), max_size=8
    ),
    max_size=6,
)


def look(table: Table, edition: Edition, complete: bool, now_ms: int, *headers: str) -> None:
    """Ask about some markets; all that is answered must be what this edition says."""
    view = view_of(edition)
    for market in CATALOGUE.markets[:9]:
        ticker = market.ticker
        names = {"ticker": ticker, "other": TICKER, "event": market.event_ticker}
        for path in COLD:
            asked = request(path.format(**names, first=ord(ticker[0]), rest=ticker[1:]), *headers)
            for at_ms in (now_ms, now_ms + 1_000):
                answer = table.answer(asked, at_ms, 0.0)
                if answer is not None:
                    assert whole(answer) == expected(answered(asked, view, at_ms))
                else:
                    assert not complete or ticker not in edition.moving


@settings(max_examples=60)
@given(ROUNDS, st.integers(0, 2), st.sampled_from(["", "gzip", "zstd"]), st.integers(-10_000, 70_000))
def test_markets_that_nobody_asked_for_before_are_answered_as_the_snapshot_server_would(
    rounds: list[list[tuple[str, int, int]]], late: int, encoding: str, later_ms: int
) -> None:
    """Whatever has changed; while the front is still told of everything, and while an edition comes."""
    world, table, now_ms, complete = World(), Table(), NOW_MS + later_ms, False
    told(table, view=view_of(world.edition), number=0)
    missing = parts.everything(world.edition)
    headers = [f"accept-encoding: {encoding}"] if encoding else []
    for number, round_ in enumerate([*rounds, [], [], []]):
        for kind, some in islice(missing, 0 if number < late else 3):
            held = parts.held(world.edition)[kind]
            tell_parts(table, number, [(kind, {key: held[key] for key in some if key in held})], None)
        if number == late + 2:
            assert not list(missing)
            table.take(Complete(), 0.0)
            complete = True
        for change in round_:
            world.change(*change)
        before, edition = world.next()
        tell_parts(table, number + 1, parts.changed(edition, before), None)
        look(table, before, complete, now_ms, *headers)
        assert table.take(passed_over(templates.shown(number + 1, edition)), 0.0)
        look(table, edition, complete, now_ms, *headers)


@pytest.mark.parametrize("path", NOT_COLD)
def test_what_the_front_has_no_parts_of_is_left_to_the_snapshot_server(path: str) -> None:
    assert VIEW.edition is not None
    table = cold_table(VIEW.edition)
    assert table.answer(request(path), NOW_MS, 0.0) is None
    assert table.answer(request(f"/markets?tickers={TICKER}"), NOW_MS, 0.0) is not None


def test_many_markets_that_are_asked_for_once_take_no_room_and_are_not_reported() -> None:
    assert VIEW.edition is not None
    table = cold_table(VIEW.edition)
    for number in range(2 * MAX_OWN):
        asked = request(f"/markets?tickers={TICKER}", f"x-number: {number}")
        assert table.answer(asked, NOW_MS, 0.0) is not None
    assert len(table._own) == MAX_OWN
    assert table.asked(10_000) == ()


def test_what_was_answered_is_reported_once() -> None:
    table, health = Table(), request("/health")
    told(table, health)
    for _ in range(3):
        table.answer(health, NOW_MS, 0.0)
    table.answer(request("/markets"), NOW_MS, 0.0)
    assert table.asked(10_000) == (health,)
    assert table.asked(10_000) == ()


@given(st.data())
def test_news_arrive_whole_however_the_stream_is_cut(data: st.DataObject) -> None:
    assert VIEW.edition is not None
    news: list[News] = [templates.shown(1, VIEW.edition), pulse(VIEW)]
    template = templates.template(request("/health"), 1, answered(request("/health"), VIEW, NOW_MS))
    assert template is not None
    news.append(template)
    stream = b"".join(map(frame, news))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    inbox = Inbox()
    arrived: list[News] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += inbox.feed(stream[start:end])
    assert arrived == news


def test_packets_carry_what_they_are_given() -> None:
    passed = Passed(b"\xff\0GET", 3, {"/health": 2}, (b"GET / HTTP/1.1\r\n\r\n",))
    assert read_packet(packet(passed)) == passed
    with pytest.raises(msgspec.MsgspecError):
        read_packet(b"\xc1")
