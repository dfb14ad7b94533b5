"""What the front can answer by itself. Pure."""

from typing import Final

import msgspec

from bus.health import age_of, answer_of, health_of, is_stale
from bus.protocol.state import Records
from snapshot_server.body import Prepared, age_since, ending, etag_of
from snapshot_server.http import Large, respond
from snapshot_server.view import View

from . import templates
from .messages import Complete, Dictionary, News, Parts, Pulse, Shown, Template
from .parts import Shelves

PULSE_VALID_S: Final = 1.0
"""How old a pulse may be for `/health` to be answered from it. Without a new one the snapshot server is in
trouble, and is asked itself."""

MAX_OWN: Final = 512
"""The most templates of the front's own making: of the edition shown, those made last."""

MAX_OWN_BYTES: Final = 65_536
"""The longest body that one of them keeps."""

SETTLE: Final = 500
"""How many parts of editions shown are settled with each news; twice as many as it brings, at least."""

_MAY_NAME: Final = (b"GET /markets?", b"GET /trade-api/v2/markets/")
"""How requests begin that may be about markets which they name."""

_encode: Final = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """An answer: what comes before the header `date`, and what after it. `size` is that of the body."""

    route: str
    before: bytes
    after: tuple[bytes, ...]
    size: int


class Table:
    """The templates of the edition shown, the parts to make others of, and all that completes them."""

    def __init__(self) -> None:
        self.number = 0
        self._templates: dict[bytes, Template] = {}
        self._next: dict[bytes, Template] = {}
        """Those of the edition that is about to be shown."""
        self._own: dict[bytes, Template] = {}
        self._shelves = Shelves()
        self._complete = False
        """Whether all parts of the edition shown are on the shelves."""
        self._shown: Shown | None = None
        self._state = Records()
        self._pulse: Pulse | None = None
        self._pulse_s = 0.0
        self._asked: dict[bytes, None] = {}
        self._made: dict[bytes, Answer] = {}
        self._made_ms = 0

    def take(self, news: News, steady_s: float) -> bool:
        """Take news, and return whether they are to be acknowledged."""
        self._made.clear()
        settle = SETTLE
        match news:
            case Parts():
                settle = max(SETTLE, 2 * len(news.parts))
                self._shelves.put(news.kind, news.parts, coming=news.edition > self.number)
            case Dictionary():
                self._shelves.unpack(news.dictionary)
            case Complete():
                self._complete = True
            case Template():
                held = self._next if news.edition > self.number else self._templates
                held[news.request] = news
            case Pulse():
                self._pulse, self._pulse_s = news, steady_s
            case Shown():
                self.number, self._shown = news.number, news
                state = self._state = Records(news.epoch)
                state.seq, state.cycle = news.seq, news.cycle
                if news.exchange is not None:
                    state.exchange[""] = news.exchange
                state.drifts.update(news.drifts)
                self._templates, self._next, self._own = self._next, {}, {}
                self._shelves.show()
                return True
        self._shelves.settle(settle)
        return False

    def answer(self, request: bytes, now_ms: int, steady_s: float) -> Answer | None:
        """Return the answer to the bytes of a request, None if that is for the snapshot server to give."""
        if now_ms != self._made_ms:
            self._made_ms = now_ms
            self._made.clear()
        made = self._made.get(request)
        if made is None:
            template = self._templates.get(request) or self._own_template(request, now_ms)
            if template is None:
                return None
            made = self._completed(template, now_ms, steady_s)
            if made is None:
                return None
            self._made[request] = made
        if request not in self._own:
            self._asked[request] = None
        return made

    def asked(self, most_bytes: int) -> tuple[bytes, ...]:
        """Return the requests answered that were not returned before, as far as they have room."""
        asked: list[bytes] = []
        while self._asked:
            request = next(iter(self._asked))
            most_bytes -= len(request)
            if most_bytes < 0:
                break
            del self._asked[request]
            asked.append(request)
        return tuple(asked)

    def _own_template(self, request: bytes, now_ms: int) -> Template | None:
        """Return the template of an answer about markets that the request names, None if it is about others.

        It is made as the snapshot server makes it, from an edition that has only these markets.
        """
        found = self._own.get(request)
        if found is not None:
            return found
        shown, pulse = self._shown, self._pulse
        if not self._complete or shown is None or pulse is None or not request.startswith(_MAY_NAME):
            return None
        asked = templates.question(request)
        tickers = () if asked is None else templates.named(asked)
        if asked is None or not tickers:
            return None
        edition = self._shelves.edition(shown, tickers)
        if not edition.tickers:
            return None  # the exchange may have it beyond the feed
        view = View(edition, pulse.status, pulse.heartbeat, pulse.stale_after_ms)
        response = respond(asked, view, now_ms)
        if response.route not in templates.OF_NAMED:
            return None
        body = response.body.prepare(_never) if isinstance(response.body, Large) else None
        made = templates.template(request, shown.number, response, body)
        if made is not None and made.length <= MAX_OWN_BYTES:
            if len(self._own) >= MAX_OWN:
                del self._own[next(iter(self._own))]
            self._own[request] = made
        return made

    def _completed(self, template: Template, now_ms: int, steady_s: float) -> Answer | None:
        shown, pulse = self._shown, self._pulse
        if shown is None or pulse is None or template.edition != shown.number:
            return None
        if pulse.heartbeat is None or pulse.heartbeat.source != "live" or pulse.status.source != "live":
            return None  # a recording has a time of its own
        if template.varies == "health":
            if steady_s - self._pulse_s > PULSE_VALID_S:
                return None
            health = health_of(
                self._state, pulse.status, pulse.heartbeat, now_ms, pulse.stale_after_ms, pulse.processes
            )
            body = _encode(answer_of(health, shown.markets, shown.books, shown.digest))
            return _answer(template, b"", (body,))
        if template.varies == "age":
            varying = b""
            if template.as_of_ms is not None:
                varying = b"age: %b\r\n" % age_since(template.as_of_ms, now_ms).encode()
            return _answer(template, varying, _body(template, template.end))
        age_ms = age_of(shown.cycle.complete_ms if shown.cycle is not None else None, now_ms)
        stale = is_stale(age_ms, pulse.stale_after_ms)
        etag = etag_of(shown.epoch, shown.seq, shown.changed_ms, stale)
        return _answer(template, b"etag: %b\r\n" % etag.encode(), _body(template, ending(age_ms, stale)))


def _never() -> None:
    """Few markets are no reason to pause."""


def _body(template: Template, end: bytes) -> tuple[bytes, ...]:
    body = Prepared(template.encoding, template.chunks, template.crc32, template.size)
    return tuple(body.finish(end)) if end else template.chunks


def _answer(template: Template, varying: bytes, body: tuple[bytes, ...]) -> Answer:
    size = sum(map(len, body))
    before = b"%b%bcontent-length: %d\r\n" % (template.head, varying, size)
    return Answer(template.route, before, body, size)
