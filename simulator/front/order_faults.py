"""Faults in what an account asks and is told: `orders` in a fault document.

They concern the way between an account and the exchange: requests that come late or twice, answers that do
not come, frames that are lost. Whatever is carried out, the exchange carries out as usual. Deterministic:
each fault draws from a generator of its own.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Final, Literal

import msgspec

OrderFaultName = Literal[
    "request_late", "request_lost", "request_twice", "request_copied", "request_resent",
    "reply_late", "reply_lost", "reply_doubled", "reply_cut", "reply_without_id",
    "error_with_effect", "error_without_effect", "reads_stale", "shard_paused", "shard_slow",
    "shard_lagging", "clock_skew", "fills_first", "fills_twice", "fills_never", "channel_gap",
]  # fmt: skip

DURATIONS_MS: Final[dict[str, tuple[int, int]]] = {
    "request_late": (1, 29_000),
    "request_copied": (1, 29_000),
    "request_resent": (1, 29_000),
    "reply_late": (1, 29_000),
    "reads_stale": (1_000, 30_000),
    "shard_paused": (1_000, 30_000),
    "shard_slow": (1, 29_000),
    "shard_lagging": (1_000, 30_000),
    "clock_skew": (30_000, 120_000),
    "fills_first": (50, 500),
    "channel_gap": (1, 10_000),
}
"""The duration of each; without `ms` it is drawn from these bounds."""

MOST_MS: Final = 60_000
FRAMES: Final[frozenset[str]] = frozenset(("fills_twice", "fills_never", "channel_gap"))
"""Faults of frames; all others concern requests."""

CHANNELS: Final = {"user_order": "user_orders", "market_position": "market_positions"}
"""Frame type -> channel, where the two differ."""

PRIVATE: Final[frozenset[str]] = frozenset(("fill", "user_orders", "market_positions", "order_group_updates"))


class OrderMatch(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What an order fault applies to; what is not named may be anything.

    Attributes:
        operation: its name in snake case (`create_order`) or route (``POST /portfolio/events/orders``), with
            ``*``; by default, whatever changes something. Requests only.
        ticker: market, with ``*``. client_order_id: its beginning. account, exchange_index: whose, and where.
        channel: that of frames, with ``*``; by default the private ones.
    """

    operation: str | None = None
    ticker: str | None = None
    client_order_id: str | None = None
    account: int | None = None
    exchange_index: int | None = None
    channel: str | None = None


class OrderFault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One fault.

    Attributes:
        fault: what happens; see docs/simulator.md.
        times: how often; None without end.
        seed: that of what is left to chance. probability: share of what matches that is hit.
        ms: how long, or how late; None: drawn at random.
        status: that of the errors.
    """

    fault: OrderFaultName
    match: OrderMatch = msgspec.field(default_factory=OrderMatch)
    times: int | None = 1
    seed: int = 1
    probability: float = 1.0
    ms: int | None = None
    status: int = 503

    def problem(self) -> str | None:
        """Return what is wrong with it, None if nothing is."""
        if self.times is not None and self.times < 1:
            return f"times: got {self.times}, expected 1 or more, or null"
        if not 0 <= self.probability <= 1:
            return f"probability: got {self.probability}, expected 0 to 1"
        lowest = -MOST_MS if self.fault == "clock_skew" else 0
        highest = 120_000 if self.fault == "clock_skew" else MOST_MS
        if self.ms is not None and not lowest <= self.ms <= highest:
            return f"ms: got {self.ms}, expected {lowest} to {highest}"
        if not 500 <= self.status <= 599:
            return f"status: got {self.status}, expected 500 to 599"
        if self.match.channel is not None and self.fault not in FRAMES:
            return f"match.channel: {self.fault} is a fault of requests"
        if self.match.operation is not None and self.fault in FRAMES:
            return f"match.operation: {self.fault} is a fault of frames"
        return None


@dataclass(slots=True)
class Subject:
    """What a request or frame is about: markets, client order ids, shards; empty where it does not say."""

    account: int
    tickers: set[str] = field(default_factory=set)
    client_order_ids: set[str] = field(default_factory=set)
    shards: set[int] = field(default_factory=set)

    def note(self, members: Any) -> None:
        """Take what a JSON object says about itself."""
        if not isinstance(members, dict):
            return
        for name in ("ticker", "market_ticker"):
            if isinstance(members.get(name), str):
                self.tickers.add(members[name])
        if isinstance(members.get("client_order_id"), str):
            self.client_order_ids.add(members["client_order_id"])
        index = members.get("exchange_index")
        if isinstance(index, int) and index >= 0:
            self.shards.add(index)

    def fits(self, match: OrderMatch) -> bool:
        """Whether it matches."""
        ticker, start = match.ticker, match.client_order_id
        return (
            match.account in (None, self.account)
            and (ticker is None or any(fnmatchcase(mine, ticker) for mine in self.tickers))
            and (start is None or any(mine.startswith(start) for mine in self.client_order_ids))
            and (match.exchange_index is None or match.exchange_index in self.shards)
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that hits now: which one, and for how long."""

    fault: OrderFault
    ms: int


class _Drawn:
    """One fault in force: how often it has hit, and its dice."""

    def __init__(self, fault: OrderFault) -> None:
        self.fault = fault
        self.hits = 0
        self.gap_until_ms: dict[tuple[int, str], int] = {}
        self._rng = Random(fault.seed)

    def hit(self) -> Hit | None:
        fault = self.fault
        if fault.times is not None and self.hits >= fault.times:
            return None
        if fault.probability < 1 and self._rng.random() >= fault.probability:
            return None
        self.hits += 1
        lowest, highest = DURATIONS_MS.get(fault.fault, (0, 0))
        return Hit(fault, self._rng.randint(lowest, highest) if fault.ms is None else fault.ms)


class OrderFaults:
    """The order faults in force."""

    def __init__(self) -> None:
        self._requests: list[_Drawn] = []
        self._frames: list[_Drawn] = []
        self._all: list[_Drawn] = []

    def install(self, found: Iterable[OrderFault]) -> None:
        """Replace what was in force."""
        self._all = [_Drawn(fault) for fault in found]
        self._requests = [drawn for drawn in self._all if drawn.fault.fault not in FRAMES]
        self._frames = [drawn for drawn in self._all if drawn.fault.fault in FRAMES]

    def told(self) -> list[dict[str, Any]]:
        """Return what is in force, and how often each has hit."""
        return [{**msgspec.to_builtins(drawn.fault), "hits": drawn.hits} for drawn in self._all]

    @property
    def of_requests(self) -> bool:
        """Whether any fault of requests is in force."""
        return bool(self._requests)

    @property
    def of_frames(self) -> bool:
        """Whether any fault of frames is in force."""
        return bool(self._frames)

    def skew_ms(self, names: tuple[str, str], writes: bool, subject: Subject) -> int:
        """Return how far the exchange's clock is off for a request, before anything is known about it."""
        return sum(hit.ms for hit in self._drawn(names, writes, subject, skews=True))

    def requests(self, names: tuple[str, str], writes: bool, subject: Subject) -> list[Hit]:
        """Return what hits a request of an operation, known by its name and by its route."""
        return list(self._drawn(names, writes, subject, skews=False))

    def _drawn(self, names: tuple[str, str], writes: bool, subject: Subject, *, skews: bool) -> Iterator[Hit]:
        for drawn in self._requests:
            match = drawn.fault.match
            if (drawn.fault.fault == "clock_skew") != skews:
                continue
            if match.operation is None and not writes:
                continue
            if match.operation is not None and not any(fnmatchcase(n, match.operation) for n in names):
                continue
            hit = drawn.hit() if subject.fits(match) else None
            if hit is not None:
                yield hit

    def frames(self, account: int, kind: str, text: str, now_ms: int) -> list[str]:
        """Return what leaves instead of one frame of one of an account's connections."""
        out = [text]
        channel = CHANNELS.get(kind, kind)
        for drawn in self._frames:
            gap = drawn.fault.fault == "channel_gap"
            if not (self._meant(drawn, channel) if gap else kind == "fill"):
                continue
            if drawn.gap_until_ms.get((account, channel), 0) > now_ms:
                return []
            subject = Subject(account)
            subject.note(json.loads(text).get("msg"))
            hit = drawn.hit() if subject.fits(drawn.fault.match) else None
            if hit is None:
                continue
            if drawn.fault.fault == "fills_twice":
                out = out * 2
            else:
                if gap:
                    drawn.gap_until_ms[account, channel] = now_ms + hit.ms
                return []
        return out

    @staticmethod
    def _meant(drawn: _Drawn, channel: str) -> bool:
        wanted = drawn.fault.match.channel
        return channel in PRIVATE if wanted is None else fnmatchcase(channel, wanted)
