"""The answer to every HTTP request: pure, from a view of the replica and the time.

docs/http-api.md is the description for users.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec

from bus.drift import drift_counts
from bus.process.http_headers import names_this_machine
from markets.errors import BadRecord

from . import docs_page, metrics, openapi, trade_api
from .body import (
    IDENTITY,
    Prepared,
    age_since,
    compress,
    ending,
    etag_of,
    prepare,
    wanted_encoding,
)
from .edition import Edition, Query, candidates
from .parameters import MAX_LIMIT, none_expected, pairs_of, parse_markets
from .shared import Pause
from .view import View
from .websocket import handshake

Headers = list[tuple[str, str]]

SMALL: Final = 50
"""Answers with at most this many markets are made at once; larger ones where they hold up nobody."""

_COMPRESS_FROM: Final = 1_000
"""Bytes below which a body is sent uncompressed."""

_SAFE: Final[Headers] = [
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
]
_PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_JSON: Final = [("content-type", "application/json"), *_SAFE]
_FRESH: Final = [("cache-control", "no-store"), *_JSON]

_encode: Final = msgspec.json.Encoder().encode


class HttpRequest(msgspec.Struct, frozen=True):
    """One request. Header names are lower case; one that was given twice has both values (`joined`)."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    version: str = "1.1"


class Large(msgspec.Struct, frozen=True):
    """A body whose end alone depends on time; `prepare` makes the rest from the edition and `key`.

    `page`: it holds at most one page of markets. `small`: it is cheap enough to make in the event loop.
    """

    edition: Edition
    query: Query | trade_api.Listing
    encoding: str
    end: bytes
    page: bool
    small: bool = False

    @property
    def key(self) -> tuple[Query | trade_api.Listing, str]:
        return self.query, self.encoding

    def prepare(self, pause: Pause) -> Prepared:
        if isinstance(self.query, trade_api.Listing):
            return compress(self.query.render(self.edition, pause), self.encoding, pause)
        return prepare(self.edition, self.query, self.encoding, pause)


class HttpResponse(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        route: its name in the metrics.
        wishes: what it could have said more about.
        varies: what depends on time as well as on the edition: "ages" (the end of the body and the ETag),
            "age" (that header, counted from `as_of_ms`) or "health" (the whole body). "": the answer may
            depend on anything.
    """

    status: int
    headers: Headers
    body: bytes | Large
    route: str
    wishes: tuple[trade_api.Wish, ...] = ()
    varies: str = ""
    as_of_ms: int | None = None

    def content(self) -> bytes:
        """Return the body whole, however large."""
        if isinstance(self.body, bytes):
            return self.body
        return b"".join(self.body.prepare(lambda: None).finish(self.body.end))


Handler = Callable[[HttpRequest, View, int], HttpResponse]


def respond(request: HttpRequest, view: View, now_ms: int) -> HttpResponse:
    """Return the answer to a request. Never raises, whatever the request contains."""
    host = request.headers.get("host", "")
    if not names_this_machine(host, request.version):
        # A page of another site whose name was rebound to this machine must not read us.
        return said(400, "bad_host", f"Host: got {host!r:.100}, expected localhost or 127.0.0.1")
    if request.query.startswith("at=") or "&at=" in request.query:
        return _past(request, view)
    if request.path == trade_api.ROOT or request.path.startswith(trade_api.ROOT + "/"):
        response = _trade_api(request, view, now_ms)
        return _for_head(response) if request.method == "HEAD" else response
    handler = _ROUTES.get(request.path)
    if handler is None:
        return said(
            404, "not_found", f"path: got {request.path!r:.200}, expected one of {', '.join(_ROUTES)}"
        )
    if request.method not in ("GET", "HEAD"):
        refusal = said(405, "method_not_allowed", f"method: got {request.method!r:.20}, expected GET or HEAD")
        return msgspec.structs.replace(refusal, headers=[("allow", "GET, HEAD"), *refusal.headers])
    try:
        response = handler(request, view, now_ms)
    except BadRecord as error:
        return said(400, "bad_request", str(error)[:500])
    return _for_head(response) if request.method == "HEAD" else response


def upgrade(request: HttpRequest, pass_on: Callable[[], bool]) -> HttpResponse:
    """Return the answer to a request for a WebSocket. `pass_on` hands the connection over, if it can."""
    host = request.headers.get("host", "")
    if not names_this_machine(host, request.version):
        return said(
            400, "bad_host", f"Host: got {host!r:.100}, expected localhost or 127.0.0.1", handshake.PATH
        )
    try:
        headers = handshake.accept(request.method, request.version, request.headers)
    except handshake.Refused as error:
        refusal = said(error.status, error.code, str(error), handshake.PATH)
        return msgspec.structs.replace(refusal, headers=[*error.headers, *refusal.headers])
    if not pass_on():
        return said(
            503, "service_unavailable", "the WebSocket server cannot be reached; try again", handshake.PATH
        )
    return HttpResponse(101, headers, b"", handshake.PATH)


def _past(request: HttpRequest, view: View) -> HttpResponse:
    """Redirect questions about a past moment to the time machine."""
    if view.past_port is None:
        return said(404, "not_recorded", "at: nothing is recorded: KALSHI_BUS_RECORD is no")
    place = f"http://127.0.0.1:{view.past_port}{quote(request.path)}?{request.query}"
    if not place.isascii() or not place.isprintable():
        return said(400, "bad_request", "query: got bytes that are no ASCII, expected them escaped with %")
    refusal = said(307, "past", f"a past moment is answered by the time machine: {place}")
    return msgspec.structs.replace(refusal, headers=[("location", place), *refusal.headers])


# --- routes --------------------------------------------------------------------------------------


def _markets(request: HttpRequest, view: View, now_ms: int) -> HttpResponse:
    query = query_of(request.query)
    edition = view.edition
    if edition is None:
        message = "starting: no data has arrived yet; /ready tells when"
        refusal = said(503, "not_ready", message, "/markets")
        return msgspec.structs.replace(refusal, headers=[("retry-after", "1"), *refusal.headers])
    stale = view.stale(now_ms)
    age_ms = view.age_ms(now_ms)
    # Weak, since the age changes within an edition. Staleness is part of it: no cache may keep the wrong
    # word.
    etag = etag_of(edition.epoch, edition.seq, edition.changed_ms, stale)
    headers = [("etag", etag), ("cache-control", "no-cache"), ("vary", "accept-encoding"), *_JSON]
    if _knows(request.headers.get("if-none-match"), etag):
        return HttpResponse(304, headers[:3] + _SAFE, b"", "/markets")
    encoding = wanted_encoding(request.headers.get("accept-encoding"))
    if encoding != IDENTITY:
        headers.append(("content-encoding", encoding))
    count = _count(edition, query)
    large = Large(edition, query, encoding, ending(age_ms, stale), count <= MAX_LIMIT, count <= SMALL)
    return HttpResponse(200, headers, large, "/markets", varies="ages")


@lru_cache(maxsize=256)
def query_of(query_string: str) -> Query:
    """Return what the query string of `/markets` asks for. Readers ask the same over and over.

    Raises:
        BadRecord: it cannot be read.
    """
    return parse_markets(pairs_of(query_string))


def _count(edition: Edition, query: Query) -> int:
    """How many markets are examined for an answer."""
    count = len(candidates(edition, query))
    return min(count, query.limit) if query.status is None and query.limit is not None else count


def _health(request: HttpRequest, view: View, now_ms: int) -> HttpResponse:
    none_expected(pairs_of(request.query))
    status = 503 if view.edition is None else 200
    return HttpResponse(status, _FRESH, _encode(view.health(now_ms)), "/health", varies="health")


def _ready(request: HttpRequest, view: View, now_ms: int) -> HttpResponse:
    none_expected(pairs_of(request.query))
    health = view.health(now_ms)
    # While a loss is being repaired, the data is consistent and of known age: it is usable by those who are
    # told.
    status = 200 if health.status in ("ok", "resyncing") else 503
    body = _encode({"status": health.status, "resyncing": health.resyncing})
    return HttpResponse(status, _FRESH, body, "/ready")


def _metrics(request: HttpRequest, view: View, now_ms: int) -> HttpResponse:
    none_expected(pairs_of(request.query))
    drift = {} if view.edition is None else drift_counts(view.edition.state.drifts)
    body = metrics.exposition(
        view.health(now_ms), view.replica.stats, view.requests, drift, view.websocket(), view.told()
    )
    headers = [("content-type", metrics.CONTENT_TYPE), ("cache-control", "no-store"), *_SAFE]
    return _encoded(HttpResponse(200, headers, body, "/metrics"), request)


def _trade_api(request: HttpRequest, view: View, now_ms: int) -> HttpResponse:
    edition = view.edition
    answer = trade_api.answer(
        request.method, request.path, request.query, edition, view.history, view.elsewhere, now_ms
    )
    headers = [*answer.headers, *_FRESH]
    if edition is not None:
        headers.append((trade_api.SEQ, f"{edition.epoch}:{edition.seq}"))
    lasts = answer.body.lasts if isinstance(answer.body, trade_api.Listing) else answer.lasts
    varies = "age" if lasts else ""
    if answer.as_of_ms is not None:
        headers.append(("age", age_since(answer.as_of_ms, now_ms)))
    if isinstance(answer.body, bytes):
        response = HttpResponse(
            answer.status, headers, answer.body, answer.route, answer.wishes, varies, answer.as_of_ms
        )
        return _encoded(response, request)
    assert edition is not None
    encoding = wanted_encoding(request.headers.get("accept-encoding"))
    headers.append(("vary", "accept-encoding"))
    if encoding != IDENTITY:
        headers.append(("content-encoding", encoding))
    large = Large(edition, answer.body, encoding, b"}", page=True, small=answer.body.is_small(edition))
    return HttpResponse(answer.status, headers, large, answer.route, answer.wishes, varies, answer.as_of_ms)


def _openapi(request: HttpRequest, _view: View, _now_ms: int) -> HttpResponse:
    none_expected(pairs_of(request.query))
    headers = [("cache-control", "no-cache"), *_JSON]
    return _encoded(HttpResponse(200, headers, _encode(openapi.document()), "/openapi.json"), request)


def _docs(request: HttpRequest, _view: View, _now_ms: int) -> HttpResponse:
    none_expected(pairs_of(request.query))
    safe = [(name, _PAGE_POLICY if name == "content-security-policy" else value) for name, value in _SAFE]
    headers = [("cache-control", "no-cache"), ("content-type", "text/html; charset=utf-8"), *safe]
    return _encoded(HttpResponse(200, headers, docs_page.page(), "/docs"), request)


_ROUTES: Final[dict[str, Handler]] = {
    "/markets": _markets,
    "/health": _health,
    "/ready": _ready,
    "/metrics": _metrics,
    "/openapi.json": _openapi,
    "/docs": _docs,
}
PATHS: Final = tuple(_ROUTES)


# --- inside --------------------------------------------------------------------------------------


def said(status: int, code: str, message: str, route: str = "other") -> HttpResponse:
    """Return an answer that is an error."""
    return HttpResponse(status, _FRESH, _encode({"error": {"code": code, "message": message}}), route)


def _knows(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in known or etag.removeprefix("W/") in known


def _encoded(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """Compress a body that is already there."""
    encoding = wanted_encoding(request.headers.get("accept-encoding"))
    body = response.content()
    if encoding == IDENTITY or len(body) < _COMPRESS_FROM:
        return response
    headers = [*response.headers, ("content-encoding", encoding), ("vary", "accept-encoding")]
    packed = b"".join(compress([body], encoding, lambda: None).finish(b""))
    return msgspec.structs.replace(response, headers=headers, body=packed)


def _for_head(response: HttpResponse) -> HttpResponse:
    """The same headers without the body. A large body is not made to say how long it would be."""
    large = isinstance(response.body, Large) and not response.body.small
    length = [] if large else [("content-length", str(len(response.content())))]
    return msgspec.structs.replace(response, headers=response.headers + length, body=b"")


BUSY: Final = msgspec.structs.replace(
    said(503, "busy", "too many different large answers are being prepared; ask again in a second"),
    headers=[("retry-after", "1"), *_FRESH],
)
CRASHED: Final = said(500, "internal", "the server could not answer; its log says why")
