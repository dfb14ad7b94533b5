"""What the exchange sends otherwise than it documents: looked for where bytes changed, held, and published.

What is wrong with a reply or frame is `markets/json/drift.py`'s to say. Here each member is counted, said
once in the log, and sent as a record `drift`: a new one with the next commit, its count once a minute.
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
"""Unknown members of one route that have a row each; a hostile exchange has any number of them."""

OTHERS: Final = "*"
"""Member of the row of all further ones."""

ONE_BY_ONE: Final = frozenset({"GET /events", "GET /markets", "GET /series"})
"""Routes whose lists are long: what is in them is looked at where its own bytes changed."""


_ENOUGH: Final = 8
"""Of a key's id: an example may be cut in the middle of one."""


class DriftWatch:
    """Looks at what comes, and keeps what was found. Any thread.

    All that could grow is bounded: rows for members of the documents by these, and unknown ones by a number.
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
        """Let nothing with this key's id in it be an example: an exchange may repeat what it was sent."""
        self._secret = key_id[:_ENOUGH]

    # -- what comes

    def reply(self, path: str, body: bytes, *, readable: bool = True) -> None:
        """Look at the body of a 200; `readable`: what is in long lists will be looked at by itself."""
        route = self._sentinel.route_of(path)
        if not readable or route not in ONE_BY_ONE:
            self.note(self._sentinel.reply(route, body))
        elif route != "GET /events":  # see `page`
            self.note(self._sentinel.reply(route, body, whole=False))

    def page(self, body: bytes, *lists: Sequence[Raw] | None) -> None:
        """Look at what a page of ``GET /events`` has beside these lists, which were split from it.

        The lists are cut out of it first: a page has megabytes, and the rest of it some hundred bytes.
        """
        self.note(self._sentinel.reply("GET /events", _without(body, lists), whole=False))

    def part(self, route: str, name: str, raw: Raw | bytes) -> None:
        """Look at an element of the list `name` of a route."""
        found = self._sentinel.part(route, name, raw)
        if found:
            self.note(found)

    def frame(self, kind: str, text: bytes) -> None:
        """Look at a frame of the WebSocket."""
        found = self._sentinel.frame(kind, text)
        if found:
            self.note(found)

    def refusal(self, path: str, status: int, body: bytes) -> None:
        """Look at the body of an answer that is no 200."""
        self.note(self._sentinel.refusal(self._sentinel.route_of(path), status, body))

    def note(self, findings: Iterable[Finding]) -> None:
        """Count what was found; say it, and keep it, if it is new."""
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
        """Return all rows, for an epoch to open with."""
        with self._lock:
            self._new.clear()
            self._grown.clear()
            return list(self._rows.values())

    def changes(self, now_ms: int) -> list[Drift]:
        """Return the rows that are new, and now and then those that were counted on, once."""
        with self._lock:
            if not 0 <= now_ms - self._sent_ms < COUNTS_EVERY_MS:
                self._sent_ms = now_ms
                self._new.update(self._grown)
                self._grown.clear()
            found = [self._rows[key] for key in self._new]
            self._new.clear()
            return found


def shipped() -> Sentinel:
    """Return a sentinel of the two files that come with the program."""
    folder = Path(markets.json.__file__).parent
    return Sentinel((folder / "spec.json").read_bytes(), (folder / "known.json").read_bytes())


def _without(body: bytes, lists: Collection[Sequence[Raw] | None]) -> bytes:
    """Return a page with nothing in these lists; whole if it is written otherwise than compact."""
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
