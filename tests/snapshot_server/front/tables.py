"""The front's table, told what the snapshot server would tell it, and what both answer."""

from collections.abc import Iterable

from bus.process.http_requests import write_head
from bus.protocol.memory import Keeping
from snapshot_server.edition import Edition
from snapshot_server.front import parts, templates
from snapshot_server.front.messages import Complete, Dictionary, Inbox, News, Parts, Pulse, frame
from snapshot_server.front.table import Answer, Table
from snapshot_server.http import HttpResponse, Large, respond
from snapshot_server.view import View
from tests.snapshot_server.views import CATALOGUE, NOW_MS, VIEW, view_of

NUMBER = 7
TICKER = CATALOGUE.markets[0].ticker

COLD = (
    "/markets?tickers={ticker}",
    "/markets?tickers={ticker},{other},NOBODY&fields=ticker,status,orderbook",
    "/markets?tickers={other},{ticker}&status=active,closed&limit=1",
    "/markets?event_ticker={event}&tickers={other}%2C{ticker}",
    "/trade-api/v2/markets/{ticker}",
    "/trade-api/v2/markets/%{first:x}{rest}?whatever=1",
)
"""About markets that they name: the front answers them the first time."""


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


def tell_parts(table: Table, number: int, slices: Iterable[parts.Slice], keeping: Keeping | None) -> None:
    keeping = keeping or Keeping()
    for kind, some in slices:
        told = Parts(number, kind, parts.encoded(kind, some, keeping))
        if keeping.dictionary is not None:
            table.take(passed_over(Dictionary(keeping.dictionary)), 0.0)
        assert not table.take(passed_over(told), 0.0)


def cold_table(edition: Edition) -> Table:
    """A table that knows no answers, but has all parts."""
    table = Table()
    told(table, view=view_of(edition))
    tell_parts(table, NUMBER, parts.everything(edition), edition.state.keeping)
    table.take(passed_over(Complete()), 0.0)
    return table


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
