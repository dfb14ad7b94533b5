"""What happened in a market before the exchange began: a function of its ticker, never stored.

A market's past is a list of trades, each with the quote that stood after it. Any of them can be computed from
its number alone; volume, open interest, candlesticks and the figures of a day ago all derive from them, so
that they agree. Trades become denser with time, and prices sway from the opening price to the price at the
exchange's beginning.
"""

from dataclasses import dataclass
from math import exp, log, pi, sin, sqrt
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

from markets.units import PRICE_ONE_E4

from .grid import Grid

MOST_TRADES: Final = 1_200
_MASK: Final = (1 << 64) - 1
_DAY_MS: Final = 86_400_000
_PRIME: Final = 0x9E3779B97F4A7C15


class Moment(NamedTuple):
    """A trade of the past, the first being number 1: when, price, count; quote and open interest after it."""

    number: int
    time_ms: int
    price_e4: int
    count_e2: int
    taker: str
    open_interest_e2: int
    bid_e4: int
    ask_e4: int


def _mixed(value: int) -> int:
    """Return 64 bits, each depending on all of `value`."""
    value = (value ^ value >> 31) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 29


def key_of(seed: int, ticker: str) -> int:
    """Return the number from which a market's past follows."""
    data = f"{seed}:{ticker}".encode()
    return _mixed(crc32(data) << 32 | crc32(data, 1))


@dataclass(slots=True, eq=False)
class Past:
    """A market's past, from its opening to the beginning of the exchange, or its close if that was earlier.

    Attributes:
        key: everything random in it follows from this.
        until_ms: end, exclusive.
        volume_e2, open_interest_e2, price_e4: at its end; `price_e4` is that of the last trade.
        bend: in the share t of the time, the share t ** bend of the trades has happened.
        trades: their number.
        half_e4: half the spread.
        grid: that of its prices; the market's may change later.
    """

    key: int
    open_ms: int
    until_ms: int
    volume_e2: int
    open_interest_e2: int
    price_e4: int
    bend: float
    trades: int
    half_e4: int
    grid: Grid

    def at(self, time_ms: int) -> int:
        """Return how many trades there were up to and including `time_ms`."""
        share = (time_ms - self.open_ms) / (self.until_ms - self.open_ms)
        if share <= 0:
            return 0
        if share >= 1:
            return self.trades
        number = min(int(share**self.bend * self.trades), self.trades)
        while number and self.time_ms(number) > time_ms:
            number -= 1
        while number < self.trades and self.time_ms(number + 1) <= time_ms:
            number += 1
        return number

    def time_ms(self, number: int) -> int:
        """Return the time of a trade."""
        place = (number - 1 + (_mixed(self.key + number * _PRIME) & 0xFFFFF) / 0x100000) / self.trades
        span_ms = self.until_ms - self.open_ms
        return self.open_ms + min(int(span_ms * place ** (1 / self.bend)), span_ms - 1)

    def total_e2(self, number: int) -> int:
        """Return the volume of the first `number` trades, each of at least a hundredth of a contract."""
        if number in (0, self.trades):
            return self.volume_e2 if number else 0
        place = number + 0.85 * (_mixed(self.key + number * _PRIME) >> 44) / 0x100000
        total = int(self.volume_e2 * place / (self.trades + 1))
        return total // 100 * 100 if self.volume_e2 > 2_000 * self.trades else total

    def interest_e2(self, number: int) -> int:
        """Return the open interest after a trade."""
        if not self.volume_e2:
            return 0
        return self.total_e2(number) * self.open_interest_e2 // self.volume_e2

    def _fair(self, number: int) -> float:
        """Return the price around which the quote stood after a trade."""
        share, key = number / self.trades, self.key
        end = min(max(self.price_e4, 20), PRICE_ONE_E4 - 20) / PRICE_ONE_E4
        last = log(end / (1 - end))
        first = last + ((key & 0xFFFF) / 0x8000 - 1) * 1.2
        sway = sqrt(share * (1 - share)) * (
            0.7 * sin(2 * pi * (2.3 * share + (key >> 16 & 0xFF) / 256))
            + 0.4 * sin(2 * pi * (7.1 * share + (key >> 24 & 0xFF) / 256))
            + 0.25 * sin(2 * pi * (23.7 * share + (key >> 32 & 0xFF) / 256))
        )
        return PRICE_ONE_E4 / (1 + exp(-(first + (last - first) * share + sway)))

    def quote(self, number: int) -> tuple[int, int]:
        """Return the bid and ask after a trade, 0 and a dollar where there was none."""
        fair, grid = self._fair(number), self.grid
        bid, ask = grid.around(fair - self.half_e4, fair + self.half_e4)
        if bid is not None and bid == ask:
            ask = grid.above(bid)
        return bid or 0, ask or PRICE_ONE_E4

    def _bought_yes(self, number: int) -> bool:
        return bool(_mixed(self.key + number * _PRIME) >> 30 & 1)

    def price(self, number: int) -> int:
        """Return the price of a trade: from the quote before it, if there was one."""
        if number == self.trades:
            return self.price_e4
        bid, ask = self.quote(number - 1)
        if self._bought_yes(number):
            bid, ask = (ask if ask < PRICE_ONE_E4 else 0), bid
        if bid or 0 < ask < PRICE_ONE_E4:
            return bid or ask
        return self.grid.at_or_below(self._fair(number - 1)) or self.grid.prices[0]

    def moment(self, number: int) -> Moment:
        """Return a trade."""
        return Moment(
            number,
            self.time_ms(number),
            self.price(number),
            self.total_e2(number) - self.total_e2(number - 1),
            "yes" if self._bought_yes(number) else "no",
            self.interest_e2(number),
            *self.quote(number),
        )

    def trade_id(self, number: int) -> str:
        """Return a trade's id."""
        high, low = _mixed(self.key ^ number), _mixed(self.key + 3 * number * _PRIME)
        return str(UUID(int=high << 64 | low, version=4))


def past_of(
    key: int,
    span: tuple[int, int],
    volume_e2: int,
    open_interest_e2: int,
    day_share: float,
    price_e4: int,
    typical_e2: int,
    half_e4: int,
    grid: Grid,
) -> Past:
    """Make a past.

    Args:
        span: the market's opening, and the end of its past.
        day_share: share of the volume, 0..1, that falls into the last 24 hours, if it is older.
        typical_e2: usual size of a level; trades take part of it.
    """
    length_ms = span[1] - span[0]
    bend = log(1 - day_share) / log(1 - _DAY_MS / length_ms) if length_ms > 1.01 * _DAY_MS else 2.0
    trades = min(1 + volume_e2 // max(typical_e2 // 20, 1_500), MOST_TRADES)
    bend = min(max(bend, 0.3), 8.0)
    return Past(key, *span, volume_e2, open_interest_e2, price_e4, bend, trades, half_e4, grid)
