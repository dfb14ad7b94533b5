"""What the front is told of an answer and of an edition. Pure."""

from typing import Final

from bus.process.http_headers import joined
from bus.process.http_requests import BadRequest, read_head, write_head
from markets.errors import BadRecord
from markets.json.words import BASE
from snapshot_server import trade_api
from snapshot_server.asgi import NEEDED
from snapshot_server.body import IDENTITY, Prepared
from snapshot_server.edition import Edition
from snapshot_server.http import HttpRequest, HttpResponse, query_of

from .messages import Shown, Template

_LASTING: Final = ("/health", "/markets", trade_api.ROOT + "/")
"""How the paths begin whose answers may last as long as an edition."""

MAX_NAMED: Final = 10
"""The most markets that an answer of the front's own making has: what takes longer would hold up others."""

OF_NAMED: Final = ("/markets", BASE + "/markets/{ticker}")
"""The routes of answers that the front can make of parts (parts.py)."""

_ONE_MARKET: Final = BASE + "/markets/"


def question(request: bytes) -> HttpRequest | None:
    """Return what the bytes of a head ask; None if the same bytes may have another answer each time."""
    try:
        head = read_head(request)
    except BadRequest:
        return None
    headers = joined([header for header in head.headers if header[0] in NEEDED])
    if head.method != "GET" or not head.plain or "if-none-match" in headers:
        return None
    if not head.path.startswith(_LASTING):
        return None
    return HttpRequest(head.method, head.path, head.query.decode("latin-1"), headers, head.version)


def named(asked: HttpRequest) -> tuple[str, ...]:
    """Return the tickers of the only markets that a question is about; () if it may be about others."""
    if asked.path.startswith(_ONE_MARKET):
        ticker = asked.path.removeprefix(_ONE_MARKET)
        return () if "/" in ticker else (ticker,)
    if asked.path != "/markets" or "tickers=" not in asked.query:
        return ()
    try:
        tickers = query_of(asked.query).tickers or ()
    except BadRecord:
        return ()
    return tickers if len(tickers) <= MAX_NAMED else ()


def lasts(response: HttpResponse) -> bool:
    """Return whether an answer depends on edition and time alone."""
    return response.status == 200 and bool(response.varies) and not response.wishes


def template(
    request: bytes, edition: int, response: HttpResponse, body: Prepared | None = None
) -> Template | None:
    """Return the template of an answer; None if it depends on more than edition and time.

    Args:
        request: the bytes of its request.
        edition: the number of the edition that it was made from.
        body: the body without its end, where it is Large.
    """
    if not lasts(response):
        return None
    end = b""
    if isinstance(response.body, bytes):
        body = Prepared(IDENTITY, (response.body,), 0, len(response.body))
    elif body is None:
        return None
    else:
        end = response.body.end
    varying = "etag" if response.varies == "ages" else "age"
    kept = [(name.encode(), value.encode("latin-1")) for name, value in response.headers if name != varying]
    return Template(
        request=request,
        edition=edition,
        route=response.route,
        varies=response.varies,
        head=write_head(200, kept).removesuffix(b"\r\n"),
        encoding=body.encoding,
        chunks=body.chunks,
        crc32=body.crc32,
        size=body.size,
        end=end,
        as_of_ms=response.as_of_ms,
    )


def shown(number: int, edition: Edition) -> Shown:
    """Return what the front is told of an edition."""
    state = edition.state
    return Shown(
        number=number,
        epoch=edition.epoch,
        seq=edition.seq,
        digest=edition.digest,
        markets=len(edition.tickers),
        books=edition.enriched,
        changed_ms=edition.changed_ms,
        cycle=edition.cycle,
        exchange=state.exchange.get(""),
        drifts=dict(state.drifts),
    )
