"""GETs of Kalshi's REST API: signed, within the budget, bounded in time and size, retried where it helps.

A Client owns a connection and makes one request at a time; budget and key source are shared.

Source: Kalshi API reference, pagination, caching and errors (spec 3.34.0): a cursor is passed back unchanged
until it comes back empty; a bad cursor silently gives the first page again; market and series replies may
come from a cache of 15 s; errors come in four shapes.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import requests
import structlog
import urllib3.exceptions

from bus.clock import Clock
from markets.errors import BadRecord, KalshiBusError, StartupError
from markets.json.words import COST
from publisher.drift import DriftWatch

from . import answers, faults
from .budget import Budget, backoff_s
from .signing import ApiKey, KeySource

log = structlog.get_logger()
T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 3.05
READ_TIMEOUT_S: Final = 8.0
ATTEMPTS: Final = 6
GIVE_UP_AFTER_S: Final = 20.0
"""No further attempt after this time, however few there have been."""

RETRY_FIRST_S: Final = 0.25
"""First pause between attempts; all of them take about 6 s, half a sweep's interval."""

MAX_BODY_BYTES: Final = 128 * 1_048_576
MAX_PAGES: Final = 2_000
CACHE_MAX_AGE_S: Final = 15
"""The age assumed for a cached reply that does not state it."""

_ANSWERS: Final = frozenset({"rate_limited", "key_refused", "clock_off", "refused"})
"""Failures reported by the exchange's API itself."""

_FINAL: Final = frozenset({"refused", "blocked", "moved"})
"""Failures that a repeated request would meet again."""

_UNUSABLE: Final = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    urllib3.exceptions.LocationValueError,  # which requests lets through
)
"""A kind of proxy, or the name of a host, that cannot be used."""

UNANSWERED_S: Final = 3.0
"""A request without an answer for this long is reported."""

Params = Sequence[tuple[str, str | int]]


class ExchangeError(KalshiBusError):
    """A request got no usable answer, after all the retries it was worth.

    Attributes:
        outcome: a word for health and logs: "unresolved", "unreachable", "tls", "timeout",
            "rate_limited", "server_error", "bad_reply", "key_refused", "clock_off",
            "key_unusable", "not_found", "blocked" (a web page instead of an answer), "moved", "refused",
            "cursor_loop".
        body: what the exchange said, empty if nothing.
    """

    def __init__(self, outcome: str, message: str, body: bytes = b"") -> None:
        self.outcome = outcome
        self.body = body
        super().__init__(message)


class KeyRefused(ExchangeError):
    """The exchange does not accept the key, or the key is unusable: see the message."""


class NotFound(ExchangeError):
    """404: the exchange does not know this object."""


class Stopped(KalshiBusError):
    """The process is to stop, so the request was given up."""


class StopSignal(Protocol):
    """The part of bus.process.lifecycle.Stop that the client needs."""

    def is_set(self) -> bool: ...

    def wait(self, timeout_s: float | None = None) -> bool: ...


class Reply(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        as_of_ms: the time it was asked for, less the time it may have spent in a cache.
    """

    body: bytes
    as_of_ms: int


class Client:
    """GETs, one at a time.

    Args:
        base_url: with its path, such as ``https://host/trade-api/v2``.
        stop: ends every wait.
        drift: checks every answer; None for no checks.
        ahead: takes the time of every answer.

    Attributes:
        requests: how many were sent. bytes_received: bytes of bodies, decoded.
        busy_ns: time spent between sending requests and having their answers.
        reachable: whether the last request to end got an answer from the API.
        no_retry_after_ns: monotonic time after which nothing is retried.
        trouble: what went wrong in the last attempt; None if it went well.
        beside: set while asking for something other than prices: a failure is reported for that route alone.
        clock_offset_s: how far our clock is ahead of the exchange's, as of the last answer; None before.

    Any thread may read the last three, and `unanswered`.
    """

    def __init__(
        self,
        base_url: str,
        keys: KeySource,
        budget: Budget,
        clock: Clock,
        rng: Random,
        stop: StopSignal,
        drift: DriftWatch | None = None,
        ahead: faults.Ahead | None = None,
    ) -> None:
        self.requests = 0
        self.bytes_received = 0
        self.busy_ns = 0
        self.reachable = False
        self.beside = False
        self.trouble: ExchangeError | None = None
        self.clock_offset_s: float | None = None
        self._asking: tuple[str, int] | None = None
        self.no_retry_after_ns: int | None = None
        self._base_url = base_url
        self._path = urlsplit(base_url).path
        self._keys = keys
        self._budget = budget
        self._clock = clock
        self._rng = rng
        self._stop = stop
        self._drift = drift
        self._ahead = ahead or faults.Ahead()
        self._turn = threading.Lock()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, answers.Adapter())
        # No proxy for our own machine, and never credentials from ~/.netrc.
        self._session.trust_env = urlsplit(base_url).scheme == "https"
        self._session.auth = lambda request: request
        self._session.headers["User-Agent"] = "kalshi-bus"
        if not self._session.trust_env:
            # On one machine, compressing 240 MB per sweep costs both ends more than transferring them.
            self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def get(
        self,
        path: str,
        params: Params = (),
        *,
        read: Callable[[bytes], T],
        reserve: float = 0,
        cost: int = COST,
        attempts: int | None = None,
        within_s: float = GIVE_UP_AFTER_S,
    ) -> tuple[T, Reply]:
        """Return what `read` makes of the answer's body, together with the answer.

        Retried with jittered pauses: no connection, timeouts, 429, 5xx, and bodies that `read` refuses with
        BadRecord (an HTML page, a cut body).

        Args:
            path: below the base URL, such as ``/events``.
            reserve: tokens to leave in the budget for others.
            cost: tokens of this request.
            attempts: at most; ATTEMPTS if None.
            within_s: give up after this time without an answer.

        Raises:
            ExchangeError: there was no usable answer; KeyRefused and NotFound are distinguished and not
                retried.
            Stopped: the process is to stop.
        """
        end_ns = self._clock.monotonic_ns() + int(within_s * 1e9)
        if self.no_retry_after_ns is not None:
            end_ns = min(end_ns, self.no_retry_after_ns)
        attempts = ATTEMPTS if attempts is None else attempts
        pause_s = 0.0
        for attempt in range(attempts):
            if attempt and self._stop.wait(pause_s):
                raise Stopped
            left_s = (end_ns - self._clock.monotonic_ns()) / 1e9 if attempt else within_s
            try:
                reply = self._once(path, params, reserve, cost, max(0.1, min(READ_TIMEOUT_S, left_s)))
                content = self._read(path, read, reply.body)
                self.reachable, self.trouble = True, None
                return content, reply
            except NotFound:
                self.reachable, self.trouble = True, None
                raise
            except ExchangeError as error:
                # On a route without prices, this says nothing about an exchange that has just answered.
                if isinstance(error, KeyRefused) or not (self.beside and self.reachable):
                    self.trouble = error
                    if error.outcome != "key_unusable":
                        self.reachable = error.outcome in _ANSWERS
                pause_s = backoff_s(attempt, self._rng, RETRY_FIRST_S)
                again_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
                last = attempt == attempts - 1 or again_ns > end_ns
                if last or isinstance(error, KeyRefused) or error.outcome in _FINAL:
                    raise
                log.info(
                    "exchange.retry", path=path, attempt=attempt + 1, outcome=error.outcome, error=str(error)
                )
        raise AssertionError("unreachable")

    def pages(
        self,
        path: str,
        params: Params,
        *,
        read: Callable[[bytes], tuple[T, str | None]],
        longest: int = MAX_PAGES,
    ) -> Iterator[tuple[T, Reply]]:
        """Yield every page of a list.

        Args:
            read: returns a page's content and the next cursor: "" at the end, None if it cannot be read.

        Raises:
            ExchangeError: as for `get`; also a repeated or unreadable cursor, or no end after `longest`
                pages.
        """
        cursor = ""
        seen: set[str] = set()
        for _ in range(longest):
            here = [*params, ("cursor", cursor)] if cursor else params
            (content, after), reply = self.get(path, here, read=read)
            yield content, reply
            if after is None:
                raise ExchangeError("bad_reply", f"GET {path}: the cursor of the next page cannot be read")
            cursor = after
            if not cursor:
                return
            if cursor in seen:
                raise ExchangeError("cursor_loop", f"GET {path}: the cursor of an earlier page came again")
            seen.add(cursor)
        raise ExchangeError("cursor_loop", f"GET {path}: got {longest} pages and no end")

    def _once(self, path: str, params: Params, reserve: float, cost: int, timeout_s: float) -> Reply:
        key = self._key()
        if key is not None and self._drift is not None:
            self._drift.conceal(key.key_id)
        self._acquire(cost, reserve)
        if not self._turn.acquire(blocking=False):
            raise AssertionError("a client makes one request at a time")
        try:
            return self._send(path, params, key, timeout_s)
        finally:
            self._turn.release()

    def _send(self, path: str, params: Params, key: ApiKey | None, timeout_s: float) -> Reply:
        url = self._base_url + path + ("?" + urlencode(params, safe=",") if params else "")
        headers = key.headers("GET", self._path + path, self._clock.now_ms()) if key else None
        self.requests += 1
        sent_ns, sent_ms = self._clock.monotonic_ns(), self._clock.now_ms()
        where = f"GET {path}"
        self._asking = where, sent_ns
        try:
            with self._session.get(
                url,
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                stream=True,
                allow_redirects=False,  # a signature is valid for this host and path alone
            ) as response:
                received_ms = self._clock.now_ms()
                self._asking = None
                body = self._body(response, where)
                self.busy_ns += self._clock.monotonic_ns() - sent_ns
        except requests.Timeout:
            raise ExchangeError("timeout", f"{where}: no answer in time") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            outcome = faults.connection_outcome(error)
            reason = "no complete answer in time" if outcome == "timeout" else _reason(error)
            raise ExchangeError(outcome, f"{where}: {reason}") from None
        except _UNUSABLE as error:
            raise ExchangeError("unreachable", f"{where}: {_reason(error)}") from None
        except requests.RequestException as error:
            raise ExchangeError("bad_reply", f"{where}: {type(error).__name__}") from None
        finally:
            self._asking = None
        self.clock_offset_s = faults.clock_offset_s(response.headers, sent_ms, received_ms)
        self._ahead.note(response.headers, sent_ms, received_ms)
        if response.status_code != 200 and self._drift is not None:
            self._drift.refusal(path, response.status_code, body)
        self._judge(where, response, body)
        # What it says was true when it was asked for, or later: nobody knows how long it was under way.
        return Reply(body, min(sent_ms, received_ms) - 1000 * cache_age_s(response.headers))

    def _read(self, path: str, read: Callable[[bytes], T], body: bytes) -> T:
        try:
            content = read(body)
        except BadRecord as error:
            if self._drift is not None:
                self._drift.reply(path, body, readable=False)
            said = f"200 {faults.said(body)}" if faults.is_page(body) else str(error)
            raise ExchangeError("bad_reply", f"GET {path}: {said}") from None
        if self._drift is not None:
            self._drift.reply(path, body)
        return content

    def _key(self) -> ApiKey | None:
        try:
            return self._keys.current()
        except StartupError as error:
            raise KeyRefused("key_unusable", str(error)) from None

    def _acquire(self, cost: int, reserve: float) -> None:
        while wait_s := self._budget.take(cost, self._clock.monotonic_ns() / 1e9, reserve):
            if self._stop.wait(wait_s):
                raise Stopped
        if self._stop.is_set():
            raise Stopped

    def _body(self, response: requests.Response, where: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_content(262_144):
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise ExchangeError("bad_reply", f"{where}: more than {MAX_BODY_BYTES} bytes")
            if self._stop.is_set():
                raise Stopped
        self.bytes_received += size
        return b"".join(parts)

    def unanswered(self) -> ExchangeError | None:
        """Return what to say about a request that has long had no answer, as when a name lookup hangs."""
        asking = self._asking
        waited_s = 0.0 if asking is None else (self._clock.monotonic_ns() - asking[1]) / 1e9
        if asking is None or waited_s < UNANSWERED_S:
            return None
        return ExchangeError("timeout", f"{asking[0]}: no answer for {waited_s:.0f} s")

    def _judge(self, where: str, response: requests.Response, body: bytes) -> None:
        """Raise for anything but a 200, keeping budget and key source informed."""
        status = response.status_code
        if status == 429:
            asked = response.headers.get("Retry-After", "")
            asked_s = float(asked[:6]) if asked.isascii() and asked.isdigit() else 0.0
            self._budget.refused(self._clock.monotonic_ns() / 1e9, asked_s)
            raise ExchangeError("rate_limited", f"{where}: 429, the exchange's budget is spent", body)
        self._budget.accepted()
        if status == 200:
            return
        said = f"{where}: {status} {faults.said(body)}".rstrip()
        if 300 <= status < 400 and "Location" in response.headers:
            moved = faults.moved_to(response.headers["Location"])
            raise ExchangeError("moved", f"{where}: {status}, moved to {moved}", body)
        if status >= 500:
            raise ExchangeError("server_error", said, body)
        if status == 401:
            self._keys.refused()
            offset_s = self.clock_offset_s or 0.0
            skewed = abs(offset_s) >= faults.LIKELY_SKEWED_S
            said += f" ({faults.clock_words(offset_s)})" if skewed else ""
            off = skewed or "header_timestamp_expired" in said
            raise KeyRefused("clock_off" if off else "key_refused", said, body)
        if status == 404:
            raise NotFound("not_found", said, body)
        raise ExchangeError("blocked" if faults.is_page(body) else "refused", said, body)


def cache_age_s(headers: Mapping[str, str]) -> int:
    """Return how long a reply may have been cached: its Age, else what Cache-Control allows, at most 15 s."""
    age = headers.get("Age", "")
    if age.isascii() and age.isdigit():
        return min(int(age[:6]), 86_400)
    for directive in headers.get("Cache-Control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name == "max-age" and value.isascii() and value.isdigit():
            return min(int(value[:6]), CACHE_MAX_AGE_S)
    return 0


def _reason(error: Exception) -> str:
    """Return the innermost cause: requests wraps an OSError four times."""
    cause: Any = error
    while (inner := getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    text = str(cause)
    if "[Errno" in text:
        text = text[text.find("[Errno") :]
        return faults.printable(text.removesuffix(")") if "(" not in text else text)
    return faults.printable(f"{type(cause).__name__}: {text}")
