"""Lists of the exchange that no sweep reads, one request a cycle: what is not open, all series, fee changes.

They are not on the feed: the snapshot server asks for them (ops `lists` and `list` in docs/protocol.md). Each
carries its own age. No trading depends on them.
"""

import threading
from typing import Any, Final, NamedTuple

import msgspec
import structlog
import zstandard
from msgspec import Raw

from bus.clock import Clock
from bus.protocol.answers import Answers, Question, Refusal
from bus.threads import Owner
from markets.errors import BadRecord
from markets.json.decoding import decode
from markets.json.pages import split_list
from markets.units import DAY_MS, MINUTE_MS, format_time
from publisher.kalshi.client import Client, ExchangeError

log = structlog.get_logger()

CALLS_PER_CYCLE: Final = 1
"""The share, kept free of other requests whether it is used or not."""

MAX_BYTES: Final = 32 * 1_048_576
"""A longer list is not kept: a part of it would look like the whole."""

MILESTONES_PAST_MS: Final = 2 * DAY_MS

Params = tuple[tuple[str, str | int], ...]


class SlowRoute(NamedTuple):
    """A list to be read.

    Attributes:
        name: the name it is asked for by. member: the list within a page, if there may be more pages; None:
            one object.
        every_ms: how old it may become, if there is room for its requests.
    """

    name: str
    path: str
    params: Params
    member: str | None
    every_ms: int


def slow_routes(now_ms: int) -> tuple[SlowRoute, ...]:
    """Return what to read, the most wanted first. Source: Kalshi API reference, spec 3.34.0."""
    nested: Params = (("with_nested_markets", "true"), ("limit", 200))
    begin = format_time((now_ms - MILESTONES_PAST_MS) // DAY_MS * DAY_MS)
    whole: Params = (("include_product_metadata", "true"), ("include_volume", "true"))
    return (
        SlowRoute("schedule", "/exchange/schedule", (), None, 10 * MINUTE_MS),
        SlowRoute("unopened", "/events", (("status", "unopened"), *nested), "events", MINUTE_MS),
        SlowRoute("series", "/series", whole, "series", 10 * MINUTE_MS),
        SlowRoute("closed", "/events", (("status", "closed"), *nested), "events", 2 * MINUTE_MS),
        SlowRoute(
            "series_fees", "/series/fee_changes", (("show_historical", "true"),), "series_fee_change_arr",
            10 * MINUTE_MS,
        ),
        SlowRoute(
            "event_fees", "/events/fee_changes", (("limit", 1000),), "event_fee_changes", 10 * MINUTE_MS
        ),
        SlowRoute(
            "milestones", "/milestones", (("limit", 500), ("minimum_start_date", begin)), "milestones",
            5 * MINUTE_MS,
        ),
        SlowRoute("cutoff", "/historical/cutoff", (), None, 60 * MINUTE_MS),
        SlowRoute("costs", "/account/endpoint_costs", (), None, 60 * MINUTE_MS),
        SlowRoute("tags", "/search/tags_by_categories", (), None, 60 * MINUTE_MS),
        SlowRoute("sports", "/search/filters_by_sport", (), None, 60 * MINUTE_MS),
    )  # fmt: skip


class SlowList(msgspec.Struct, frozen=True):
    """A list as it was read: dated by its oldest page, JSON compressed with zstd."""

    as_of_ms: int
    body: bytes


class SlowLists:
    """The lists as last read. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: dict[str, SlowList] = {}

    def put(self, name: str, found: SlowList) -> None:
        """Replace a list with a newer reading."""
        with self._lock:
            self._lists[name] = found

    def add_to(self, answers: Answers) -> None:
        """Have `answers` serve the lists."""
        answers.add("lists", self._index)
        answers.add("list", self._one, "name")

    def _index(self, _question: Question, _now_ms: int) -> dict[str, Any]:
        with self._lock:
            return {"lists": {name: found.as_of_ms for name, found in self._lists.items()}}

    def _one(self, question: Question, _now_ms: int) -> dict[str, Any]:
        name = question.get("name")
        with self._lock:
            found = self._lists.get(name) if isinstance(name, str) else None
        if found is None:
            raise Refusal("not_found", f"name: got {name!r:.50}, no such list was read yet")
        return {"name": name, "as_of_ms": found.as_of_ms, "body": found.body}


class _Reading:
    """A list with some of its pages read."""

    def __init__(self, route: SlowRoute) -> None:
        self.route = route
        self.cursor = ""
        self.as_of_ms: int | None = None
        self.parts: list[bytes] = []
        self.size = 0


class SlowReader:
    """Reads the lists in turn, one page per `step`. One thread, the client's.

    Args:
        client: nobody else's meanwhile.
    """

    def __init__(self, lists: SlowLists, client: Client, clock: Clock) -> None:
        self._lists = lists
        self._client = client
        self._clock = clock
        self._tried_ms: dict[str, int] = {}
        self._reading: _Reading | None = None
        self._failing: set[str] = set()
        self._thread = Owner("the reading of slow lists")

    def step(self, reserve: float) -> None:
        """Read the next page that is due, if any.

        A list that fails is tried again when its turn comes; nothing else is affected.
        """
        self._thread.check()
        reading = self._reading or self._next()
        if reading is None:
            return
        self._reading = None
        self._client.beside = True
        try:
            done = self._page(reading, reserve)
        except (ExchangeError, BadRecord) as error:
            self._fail(reading.route, str(error))
            return
        finally:
            self._client.beside = False
        if not done:
            self._reading = reading
            return
        self._failing.discard(reading.route.name)
        body = b"".join(reading.parts) if reading.route.member is None else b"[%b]" % b",".join(reading.parts)
        packed = zstandard.ZstdCompressor(level=3).compress(body)
        self._lists.put(reading.route.name, SlowList(reading.as_of_ms or self._clock.now_ms(), packed))

    def _next(self) -> _Reading | None:
        """Return what is most overdue, starting with what was never read."""
        steady_ms = self._clock.monotonic_ns() // 1_000_000
        due: list[tuple[float, SlowRoute]] = []
        for place, route in enumerate(slow_routes(self._clock.now_ms())):
            tried_ms = self._tried_ms.get(route.name)
            if tried_ms is None:
                due.append((1e9 - place, route))
            elif steady_ms - tried_ms >= route.every_ms:
                due.append(((steady_ms - tried_ms) / route.every_ms, route))
        if not due:
            return None
        _, route = max(due, key=lambda entry: entry[0])
        self._tried_ms[route.name] = steady_ms
        return _Reading(route)

    def _page(self, reading: _Reading, reserve: float) -> bool:
        """Read a page; return whether it was the last one."""
        route = reading.route
        params = (*route.params, ("cursor", reading.cursor)) if reading.cursor else route.params

        def read(body: bytes) -> tuple[list[bytes], str | None]:
            if route.member is None:
                decode(_object, body, route.path)
                return [body], ""
            members, cursor = split_list(body, route.member)
            return list(map(bytes, members)), cursor

        (parts, cursor), reply = self._client.get(route.path, params, read=read, reserve=reserve, attempts=1)
        reading.parts += parts
        reading.size += sum(map(len, parts))
        reading.as_of_ms = min(reading.as_of_ms or reply.as_of_ms, reply.as_of_ms)
        if cursor is None or (cursor and cursor == reading.cursor):
            raise BadRecord("cursor", cursor, "one that leads on")
        if reading.size > MAX_BYTES:
            raise BadRecord(route.name, f"{reading.size} bytes", f"at most {MAX_BYTES}")
        reading.cursor = cursor
        return not cursor

    def _fail(self, route: SlowRoute, error: str) -> None:
        if route.name not in self._failing:
            self._failing.add(route.name)
            log.info("list.failed", list=route.name, error=error[:200])


_object: Final = msgspec.json.Decoder(dict[str, Raw])
