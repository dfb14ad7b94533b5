"""Where the exchange departs from its documents: looked for where bytes changed, kept, and published.

`markets/json/drift.py` decides what is wrong with a reply or frame. Here each member is counted, logged once,
and sent as a record `drift`: a new one with the next commit, its count once a minute.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Raw

import markets.json
from bus.clock import Clock
from bus.process.logs import REDACTED
from markets.json.drift import Finding, Sentinel
from markets.records import Drift

log = structlog.get_logger()

COUNTS_EVERY_MS: Final = 60_000
UNKNOWN_MOST: Final = 50
"""How many unknown members of one route get a row each; a hostile exchange can have any number of them."""

OTHERS: Final = "*"
"""The member named by the row for all further ones."""

ONE_BY_ONE: Final = frozenset({"GET /events", "GET /markets", "GET /series"})
"""Routes whose lists are long: an element is checked only when its own bytes change."""


_ENOUGH: Final = 8
"""How much of a key's id: an example may be cut in the middle of one."""


class DriftWatch:
    """Checks what comes, and keeps what it finds. Any thread.

    Everything that could grow is bounded: rows for documented members by the documents, those for unknown
    members by a number.
    """

    def __init__(self, clock: Clock, sentinel: Sentinel | None = None) -> None:
        self._clock = clock
        self._sentinel = sentinel or shipped()
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str, str], Drift] = {}
        self._unknown: dict[str, int] = {}
        self._new: dict[tuple[str, str, str], None] = {}
        self._grown: dict[tuple[str, str, str], None] = {}
        self._sent_ms = 0
        self._secret = ""

    def conceal(self, key_id: str) -> None:
        """Let no example contain this key's id: an exchange may repeat what it was sent."""
        self._secret = key_id[:_ENOUGH]

    # -- what comes

    def reply(self, path: str, body: bytes, *, readable: bool = True) -> None:
        """Check the body of a 200; `readable`: the elements of long lists will be checked by themselves."""
        route = self._sentinel.route_of(path)
        if not readable or route not in ONE_BY_ONE:
            self.note(self._sentinel.reply(route, body))
        elif route != "GET /events":  # see `page`
            self.note(self._sentinel.reply(route, body, whole=False))

    def page(self, body: bytes, *lists: Sequence[Raw] | None) -> None:
        """Check what a page of ``GET /events`` contains besides these lists, which were split from it.

        The lists are cut out first: a page has megabytes, and the rest of it a few hundred bytes.
        """
        self.note(self._sentinel.reply("GET /events", _without(body, lists), whole=False))

    def part(self, route: str, name: str, raw: Raw | bytes) -> None:
        """Check an element of the list `name` of a route."""
        found = self._sentinel.part(route, name, raw)
        if found:
            self.note(found)

    def frame(self, kind: str, text: bytes) -> None:
        """Check a frame of the WebSocket."""
        found = self._sentinel.frame(kind, text)
        if found:
            self.note(found)

    def refusal(self, path: str, status: int, body: bytes) -> None:
        """Check the body of an answer other than 200."""
        self.note(self._sentinel.refusal(self._sentinel.route_of(path), status, body))

    def note(self, findings: Iterable[Finding]) -> None:
        """Count a finding; log it and keep it if it is new."""
        for finding in findings:
            row = self._count(finding)
            if row is not None:
                log.warning(
                    "drift.noticed", route=row.route, member=row.member, what=row.what, example=row.example
                )

    def _count(self, finding: Finding) -> Drift | None:
        """Return the row of a finding if it is the first of its kind."""
        route, member, what, example = finding
        if self._secret and self._secret in member + example:
            member, example = member if self._secret not in member else REDACTED, REDACTED
        with self._lock:
            key = route, member, what
            row = self._rows.get(key)
            if row is None and what == "unknown" and self._unknown.get(route, 0) >= UNKNOWN_MOST:
                key = route, OTHERS, what
                row = self._rows.get(key)
            if row is not None:
                self._rows[key] = msgspec.structs.replace(row, count=row.count + 1)
                if key not in self._new:
                    self._grown[key] = None
                return None
            if what == "unknown":
                self._unknown[route] = self._unknown.get(route, 0) + 1
            row = self._rows[key] = Drift(route, key[1], what, 1, self._clock.now_ms(), example)
            self._new[key] = None
            return row

    # -- what is published

    def all(self) -> list[Drift]:
        """Return all rows, for opening an epoch."""
        with self._lock:
            self._new.clear()
            self._grown.clear()
            return list(self._rows.values())

    def changes(self, now_ms: int) -> list[Drift]:
        """Return, once, the rows that are new, and now and then those whose counts have grown."""
        with self._lock:
            if not 0 <= now_ms - self._sent_ms < COUNTS_EVERY_MS:
                self._sent_ms = now_ms
                self._new.update(self._grown)
                self._grown.clear()
            found = [self._rows[key] for key in self._new]
            self._new.clear()
            return found


def shipped() -> Sentinel:
    """Return a sentinel made from the two files that come with the program."""
    folder = Path(markets.json.__file__).parent
    return Sentinel((folder / "spec.json").read_bytes(), (folder / "known.json").read_bytes())


def _without(body: bytes, lists: Collection[Sequence[Raw] | None]) -> bytes:
    """Return a page with these lists emptied; unchanged if it is not written compactly."""
    cuts: list[tuple[int, int]] = []
    for members in lists:
        if not members:
            continue
        sizes = [len(memoryview(member)) for member in members]
        begin = body.find(b"[" + bytes(members[0]))
        end = begin + sum(sizes) + len(sizes)
        if begin < 0 or body[end : end + 1] != b"]":
            return body
        cuts.append((begin + 1, end))
    kept, at = b"", 0
    for begin, end in sorted(cuts):
        kept += body[at:begin]
        at = end
    return kept + body[at:]
