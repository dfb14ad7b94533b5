"""What is remembered of a market since the exchange began: minutes in which something changed.

As many minutes are kept as a budget for the whole exchange allows, so that 130,000 markets cost no more than
1,500. Older ones are merged into hours and days: their sums stay, their single trades go.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple

MINUTE_MS: Final = 60_000
MINUTES_IN_ALL: Final = 400_000
HOURS_IN_ALL: Final = 100_000

_HEAD: Final = Struct(">IH12HHQQQQ")
_TRADE: Final = Struct(">HHQ?Q16s")
_HOUR, _DAY = 60, 1_440


class Deal(NamedTuple):
    """A trade: its number in the exchange, time, price, count, whether YES was bought, its id."""

    number: int
    time_ms: int
    price_e4: int
    count_e2: int
    bought_yes: bool
    trade_id: bytes


@dataclass(slots=True)
class Span:
    """Consecutive minutes, of which at least the last saw a change.

    Attributes:
        minute: the first, since the epoch.
        minutes: how many.
        bid, ask: open, high, low, close in $0.0001; 0 and a dollar mean none.
        price: the same for trades, None without any.
        last_e4, open_interest_e2, total_e2: last price, open interest and the market's volume at the end.
        notional: count x price of the trades.
        trades: those of a single minute, in packed form.
    """

    minute: int
    minutes: int
    bid: list[int]
    ask: list[int]
    price: list[int] | None
    last_e4: int
    volume_e2: int
    notional: int
    open_interest_e2: int
    total_e2: int
    trades: bytes = b""

    @property
    def end(self) -> int:
        """Its last minute."""
        return self.minute + self.minutes - 1

    def pack(self) -> bytes:
        """Return it as bytes, which compare greater for a later span."""
        head = _HEAD.pack(
            self.minute,
            self.minutes,
            *self.bid,
            *self.ask,
            *(self.price or (0, 0, 0, 0)),
            self.last_e4,
            self.volume_e2,
            self.notional,
            self.open_interest_e2,
            self.total_e2,
        )
        return head + self.trades

    def deals(self) -> list[Deal]:
        """Return its trades, the earliest first."""
        start_ms = self.minute * MINUTE_MS
        return [
            Deal(number, start_ms + offset, price, count, bought_yes, trade_id)
            for offset, price, count, bought_yes, number, trade_id in _TRADE.iter_unpack(self.trades)
        ]


def unpack(data: bytes) -> Span:
    """Return a span that was packed."""
    minute, minutes, *prices, last_e4, volume, notional, interest, total = _HEAD.unpack_from(data)
    price = prices[8:] if prices[8] else None
    trades = data[_HEAD.size :]
    return Span(
        minute, minutes, prices[:4], prices[4:8], price, last_e4, volume, notional, interest, total, trades
    )


@dataclass(slots=True)
class Keeping:
    """How many minutes and hours each market keeps; without minutes only how it began."""

    minutes: int
    hours: int


@dataclass(frozen=True, slots=True)
class Memory:
    """How much an exchange remembers that nobody holds.

    Attributes:
        keeping: how much of each market.
        trades: how many of the latest public trades.
        settled_ms: for how long what is settled stays listed.
    """

    keeping: Keeping
    trades: int = 50_000
    settled_ms: int = 86_400_000


def keeping(markets: int) -> Keeping:
    """Return what an exchange of this many markets keeps of each."""
    markets = max(markets, 1)
    minutes = min(max(MINUTES_IN_ALL // markets, 3), _DAY)
    return Keeping(minutes, min(max(HOURS_IN_ALL // markets, 1), 72))


@dataclass(slots=True, eq=False)
class Record:
    """What is remembered of one market; `last` is the latest minute, older ones are packed."""

    keeping: Keeping
    last: Span
    minutes: deque[bytes] = field(default_factory=deque)
    hours: deque[bytes] = field(default_factory=deque)
    days: list[bytes] = field(default_factory=list)

    def begin(self, minute: int) -> Span:
        """Begin a minute with the state at the end of the last one, and return it."""
        last = self.last
        self.minutes.append(last.pack())
        bid, ask, interest = last.bid[3], last.ask[3], last.open_interest_e2
        self.last = Span(minute, 1, [bid] * 4, [ask] * 4, None, last.last_e4, 0, 0, interest, last.total_e2)
        if len(self.minutes) > self.keeping.minutes:
            _put(self.hours, self.minutes.popleft(), _HOUR)
            if len(self.hours) > self.keeping.hours:
                _put(self.days, self.hours.popleft(), _DAY)
        return self.last

    def first(self) -> Span:
        """Return the earliest span."""
        for packed in (self.days, self.hours, self.minutes):
            if packed:
                return unpack(packed[0])
        return self.last

    def spans(self, from_minute: int) -> list[Span]:
        """Return the spans that end in `from_minute` or later, and the previous one if there is one."""
        found = [self.last]
        for packed in (self.minutes, self.hours, self.days):
            for data in reversed(packed):
                if found[-1].end < from_minute:
                    return found[::-1]
                found.append(unpack(data))
        return found[::-1]

    def before(self, minute: int) -> Span | None:
        """Return the last span that ended before `minute`."""
        if self.last.end < minute:
            return self.last
        key = minute.to_bytes(4, "big")
        for packed in (self.minutes, self.hours, self.days):
            for index in range(bisect_left(packed, key) - 1, -1, -1):
                span = unpack(packed[index])
                if span.end < minute:
                    return span
        return None

    def newest(self) -> Iterator[Deal]:
        """Yield the trades that are kept, the latest first."""
        yield from reversed(self.last.deals())
        for data in reversed(self.minutes):
            if len(data) > _HEAD.size:
                yield from reversed(unpack(data).deals())


def _put(packed: "deque[bytes] | list[bytes]", data: bytes, width: int) -> None:
    """Add a span, merged with the last one if both belong to the same hour or day. Its trades are dropped."""
    joined = _joined(packed[-1], data, width) if packed else None
    if joined is None:
        packed.append(data[: _HEAD.size])
    else:
        packed[-1] = joined


def _joined(before: bytes, later: bytes, width: int) -> bytes | None:
    """Return two packed spans as one, without their trades; None if they are not of the same hour or day."""
    minute, _, *prices, _, volume, notional, _, _ = _HEAD.unpack_from(before)
    at, minutes, *after, last_e4, more_volume, more_notional, interest, total = _HEAD.unpack_from(later)
    end = at + minutes - 1
    if minute // width != end // width:
        return None
    bid, ask, price = _later(prices[:4], after[:4]), _later(prices[4:8], after[4:8]), tuple(prices[8:])
    if after[8]:
        price = _later(prices[8:], after[8:]) if prices[8] else tuple(after[8:])
    return _HEAD.pack(
        minute,
        end - minute + 1,
        *bid,
        *ask,
        *price,
        last_e4,
        volume + more_volume,
        notional + more_notional,
        interest,
        total,
    )


def _later(mine: list[int], after: list[int]) -> tuple[int, ...]:
    """Return open, high, low and close of two spans of time together."""
    return mine[0], max(mine[1], after[1]), min(mine[2], after[2]), after[3]


def trade_bytes(time_ms: int, price_e4: int, count_e2: int, bought_yes: bool, number: int, id_: str) -> bytes:
    """Return a trade as a span keeps it."""
    return _TRADE.pack(
        time_ms % MINUTE_MS, price_e4, count_e2, bought_yes, number, bytes.fromhex(id_.replace("-", ""))
    )
