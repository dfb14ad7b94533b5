"""The snapshot server's own ops of `query`: the same data as over HTTP."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack
import msgspec

from bus.protocol.answers import Answers, Frames, Question, Refusal
from markets.errors import BadRecord
from markets.json.decoding import JSON_FAULTS, legible
from markets.timing import MatchTiming, match_time_json
from markets.units import MAX_TIME_MS, MIN_TIME_MS

from .edition import Edition, select
from .history.moves import WINDOWS_S
from .history.store import MAX_POINTS, MOST_MOVERS, Store
from .parameters import MARKETS, MAX_LIMIT, make_cursor, parse_markets, texts_of
from .shared import Pause
from .view import View

POINTS: Final = 2_000
"""How many points of each sort op `history` returns by default."""

MOVERS: Final = 100
"""How many movers op `movers` returns by default."""

_PACK_SLICE: Final = 50

_decode_exactly: Final = msgspec.json.Decoder().decode
_INTEGERS: Final = range(-(2**63), 2**64)
_MOST_DIGITS: Final = 21
_DIGITS: Final = re.compile(rb"[0-9]{19}")
"""The least digits of an integer beyond 64 bits."""


class SnapshotOps:
    """Answers from a view and from the history. `pause` lets other threads have the interpreter."""

    def __init__(self, view: Callable[[], View], pause: Pause, history: Store) -> None:
        self._view = view
        self._pause = pause
        self._store = history

    def add_to(self, answers: Answers) -> None:
        """Add our ops to `answers`."""
        answers.add("health", self._health)
        answers.add("market", self._market, "ticker")
        answers.add("markets", self._markets, *MARKETS)
        answers.add("book", self._book, "ticker")
        answers.add("candles", self._candles, "ticker")
        answers.add("history", self._history, "ticker", "start_ms", "end_ms", "limit")
        answers.add("movers", self._movers, "window_s", "limit")
        answers.add("match_times", self._match_times, "event_ticker")

    def _health(self, _question: Question, now_ms: int) -> dict[str, Any]:
        answer: dict[str, Any] = msgspec.to_builtins(self._view().health(now_ms))
        return answer

    def _market(self, question: Question, now_ms: int) -> dict[str, Any]:
        head, edition = self._start(now_ms)
        return head | {"market": _decode(edition.market(_known_ticker(question, edition)))}

    def _book(self, question: Question, now_ms: int) -> dict[str, Any]:
        head, edition = self._start(now_ms)
        ticker = _known_ticker(question, edition)
        book = edition.state.books.get(ticker)
        suspect = edition.state.suspects.get(ticker)
        if book is None:
            raise Refusal("not_found", f"ticker: {ticker} has no book now; op watch asks for one")
        return head | {
            "ticker": ticker,
            "as_of_ms": book.as_of_ms,
            "yes": [list(level) for level in book.yes],
            "no": [list(level) for level in book.no],
            "suspect_since_ms": suspect.since_ms if suspect is not None else None,
        }

    def _candles(self, question: Question, now_ms: int) -> dict[str, Any]:
        head, edition = self._start(now_ms)
        ticker = _known_ticker(question, edition)
        candles = edition.state.candles.get(ticker)
        if candles is None:
            message = f"ticker: {ticker} has no price history now; op watch with what=candles asks for it"
            raise Refusal("not_found", message)
        return head | {
            "ticker": ticker,
            "as_of_ms": candles.as_of_ms,
            "period_s": candles.period_s,
            "candlesticks": _decode(candles.raw),
        }

    def _history(self, question: Question, now_ms: int) -> dict[str, Any]:
        head, edition = self._start(now_ms)
        ticker = _ticker(question)
        low_ms = _integer(question, "start_ms", 0, MIN_TIME_MS, MAX_TIME_MS)
        high_ms = _integer(question, "end_ms", MAX_TIME_MS, MIN_TIME_MS, MAX_TIME_MS)
        most = _integer(question, "limit", POINTS, 1, MAX_POINTS)
        self._store.care_for([ticker])
        found = self._store.history(ticker, low_ms, high_ms, most)
        if ticker not in edition.moving and not found.quotes:
            raise Refusal("not_found", f"ticker: got {ticker!r:.210}, no such market here")
        answer: dict[str, Any] = msgspec.to_builtins(found)
        return head | answer

    def _movers(self, question: Question, now_ms: int) -> dict[str, Any]:
        head, _ = self._start(now_ms)
        window_s = _integer(question, "window_s", 3_600, WINDOWS_S.start, WINDOWS_S.stop - 1)
        most = _integer(question, "limit", MOVERS, 1, MOST_MOVERS)
        found = self._store.movers(window_s, now_ms)
        if found is None:
            raise Refusal("not_ready", "the movers are being worked out", retry_ms=250)
        answer: dict[str, Any] = msgspec.to_builtins(
            msgspec.structs.replace(found, movers=found.movers[:most])
        )
        return head | answer

    def _match_times(self, question: Question, now_ms: int) -> dict[str, Any]:
        head, edition = self._start(now_ms)
        timings: Mapping[str, MatchTiming] = edition.timings
        if "event_ticker" in question:
            event = question["event_ticker"]
            if not isinstance(event, str):
                raise Refusal("bad_request", f"event_ticker: got {event!r:.50}, expected an event ticker")
            timings = {event: timings[event]} if event in timings else {}
        return head | {"match_times": {event: match_time_json(timing) for event, timing in timings.items()}}

    def _markets(self, question: Question, now_ms: int) -> Frames:
        head, edition = self._start(now_ms)
        try:
            query = parse_markets(texts_of(question))
        except BadRecord as error:
            raise Refusal("bad_request", str(error)[:500]) from None
        if query.limit is None:
            query = msgspec.structs.replace(query, limit=MAX_LIMIT)
        page = select(edition, query)
        events = dict.fromkeys(edition.state.markets[ticker].event_ticker for ticker in page.tickers)
        inner = {
            "total_count": page.total,
            "enriched_count": page.enriched,
            "cursor": make_cursor(page.last) if page.last is not None else "",
            "match_times": {
                event: match_time_json(edition.timings[event]) for event in events if event in edition.timings
            },
        }
        # Market by market, so that a page never keeps the interpreter from other threads for long.
        packer = msgpack.Packer()
        parts = _open_map(packer, {"ok": True, "id": question.get("id"), **head}, "markets")
        parts += _open_map(packer, inner, "markets")
        parts.append(packer.pack_array_header(len(page.tickers)))
        for index, ticker in enumerate(page.tickers):
            market = _decode(edition.market(ticker))
            if query.fields is not None:
                market = {name: market[name] for name in ("ticker", *query.fields) if name in market}
            parts.append(packer.pack(market))
            if index % _PACK_SLICE == _PACK_SLICE - 1:
                self._pause()
        return Frames([b"".join(parts)])

    def _start(self, now_ms: int) -> tuple[dict[str, Any], Edition]:
        view = self._view()
        edition = view.edition
        if edition is None:
            raise Refusal("not_ready", "starting: no data has arrived yet", retry_ms=250)
        age_ms = view.age_ms(now_ms)
        head = {
            "generated_at": None if edition.complete_ms is None else edition.complete_ms / 1000,
            "age_seconds": None if age_ms is None else age_ms / 1000,
            "stale": view.stale(now_ms),
            "complete": edition.cycle is not None and edition.cycle.complete,
            "epoch": edition.epoch,
            "seq": edition.seq,
        }
        return head, edition


def _decode(raw: bytes) -> Any:
    """Return the exchange's JSON as msgpack can carry it: an integer beyond 64 bits becomes a float.

    Half a character, which a recording made elsewhere may have, becomes U+FFFD.
    """
    try:
        found = _decode_exactly(raw)
        if _DIGITS.search(raw) is None:
            return found
    except JSON_FAULTS:  # a number beyond a double's range is still JSON
        pass
    return json.loads(legible(raw), parse_int=_carried)


def _carried(digits: str) -> int | float:
    if len(digits) <= _MOST_DIGITS and (number := int(digits)) in _INTEGERS:
        return number
    return float(digits)


def _ticker(question: Question) -> str:
    ticker = question.get("ticker")
    if not isinstance(ticker, str) or not ticker:
        raise Refusal("bad_request", f"ticker: got {ticker!r:.50}, expected a market ticker")
    return ticker


def _integer(question: Question, name: str, default: int, lowest: int, highest: int) -> int:
    value = question.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        expected = f"a whole number from {lowest} to {highest}"
        raise Refusal("bad_request", f"{name}: got {value!r:.50}, expected {expected}")
    return value


def _known_ticker(question: Question, edition: Edition) -> str:
    ticker = _ticker(question)
    if ticker not in edition.moving:
        raise Refusal("not_found", f"ticker: got {ticker!r:.210}, no such market here")
    return ticker


def _open_map(packer: msgpack.Packer, members: dict[str, Any], last: str) -> list[bytes]:
    """Pack a map up to the key of its last member, whose value follows."""
    parts = [packer.pack_map_header(len(members) + 1)]
    for name, value in members.items():
        parts += (packer.pack(name), packer.pack(value))
    return [*parts, packer.pack(last)]
