"""The front answers with the bytes that the snapshot server would send at that moment, or not at all."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.process.http_requests import read_head, write_head
from snapshot_server.front import templates
from snapshot_server.front.messages import Inbox, News, Passed, Pulse, frame, packet, read_packet
from snapshot_server.front.table import PULSE_VALID_S, Answer, Table
from snapshot_server.http import HttpResponse, Large, respond
from snapshot_server.view import View
from tests.snapshot_server.venue import a_cycle, a_writer
from tests.snapshot_server.views import CATALOGUE, NOW_MS, VIEW, edition_after, edition_of, view_of

NUMBER = 7
TICKER = CATALOGUE.markets[0].ticker
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


def request(path: str, *headers: str) -> bytes:
    lines = ["host: localhost:5002", *headers]
    return "".join([f"GET {path} HTTP/1.1\r\n", *(f"{line}\r\n" for line in lines), "\r\n"]).encode()


def answered(asked: bytes, view: View, now_ms: int) -> HttpResponse:
    question = templates.question(asked)
    assert question is not None
    return respond(question, view, now_ms)


def told(table: Table, *asked: bytes, view: View = VIEW, number: int = NUMBER, now_ms: int = NOW_MS) -> None:
    """Tell a table of an edition and of its answers, as the snapshot server does."""
    edition = view.edition
    assert edition is not None
    for one in asked:
        response = answered(one, view, now_ms)
        large = response.body
        body = large.prepare(lambda: None) if isinstance(large, Large) else None
        template = templates.template(one, number, response, body)
        if template is not None:
            assert not table.take(passed_over(template), 0.0)
    assert table.take(passed_over(templates.shown(number, edition)), 0.0)
    table.take(passed_over(pulse(view)), 0.0)


def pulse(view: View) -> Pulse:
    return Pulse(view.replica, view.heartbeat, None, view.stale_after_ms)


def passed_over(news: News) -> News:
    """What arrives of it."""
    (arrived,) = Inbox().feed(frame(news))
    return arrived


def whole(answer: Answer | None) -> tuple[str, list[str], bytes] | None:
    """The first line, the other lines in order of their names, the body."""
    if answer is None:
        return None
    first, *lines = answer.before.decode().split("\r\n")
    return first, sorted(filter(None, lines)), b"".join(answer.after)


def expected(response: HttpResponse) -> tuple[str, list[str], bytes]:
    body = response.content()
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    head = write_head(response.status, [*headers, (b"content-length", b"%d" % len(body))]).decode()
    first, *lines = head.split("\r\n")
    return first, sorted(filter(None, lines)), body


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
