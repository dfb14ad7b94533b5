"""Others who look for mispricings, each by their own temper.

* The rival of record takes one leg of every planted basket, after an exponential delay with a mean of 1 s
  from the planting: whoever comes later gets the others and misses that one.
* Sweepers take all legs of some baskets, without hurry.
* Value traders take what a single leg shows, in portions.
"""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final

from .agenda import Agenda
from .crowd import Crowd
from .draws import index
from .halts import Activity
from .listed import Listings
from .mispricing import BASKETS, Mispricing
from .model import ACTIVE, Market

RECORD_MEAN_S: Final = 1.0
_SWEEPS: Final = 0.15
_SWEEP_MEAN_S: Final = 20.0
_VALUE_MEAN_S: Final = 25.0
_KEPT: Final = 500


@dataclass(slots=True)
class Taken:
    """What a rival took: `count_e2` of a leg, at or after `time_ms`; 0 if it came too late. Never changed."""

    who: str
    kind: str
    event_ticker: str
    ticker: str
    count_e2: int
    time_ms: int


class Rivals:
    """Hear of what is planted, and act in their own time.

    Attributes:
        taken: the latest that they took, oldest first.
    """

    def __init__(
        self, agenda: Agenda, rng: Random, activity: Activity, listings: Listings, crowd: Crowd
    ) -> None:
        self.taken: deque[Taken] = deque(maxlen=_KEPT)
        self._agenda = agenda
        self._rng = rng
        self._activity = activity
        self._listings = listings
        self._crowd = crowd

    def tempted(self, planted: Mispricing, time_ms: int) -> None:
        """Hear of a mispricing when it is planted."""
        if not self._activity.rivals:
            return
        rng = self._rng
        if planted.kind in BASKETS:
            leg = index(rng, len(planted.tickers))
            self._after(RECORD_MEAN_S, time_ms, ("record", planted, (leg,)))
            if rng.random() < _SWEEPS:
                everything = tuple(range(len(planted.tickers)))
                self._after(_SWEEP_MEAN_S, time_ms, ("sweeper", planted, everything))
        else:
            self._after(_VALUE_MEAN_S, time_ms, ("value", planted, (0,)))

    def _after(self, mean_s: float, time_ms: int, plan: tuple[str, Mispricing, tuple[int, ...]]) -> None:
        self._agenda.at(time_ms + int(1000 * self._rng.expovariate(1 / mean_s)), self._take, plan)

    def _take(self, plan: tuple[str, Mispricing, tuple[int, ...]], time_ms: int) -> None:
        who, planted, legs = plan
        for leg in legs:
            market = self._listings.markets.get(planted.tickers[leg])
            count_e2 = 0
            if market is not None and self._offered(market, planted, time_ms):
                part = 0.5 if who == "value" else 1.0
                count_e2 = self._crowd.hit(market, planted.sides[leg], part, time_ms)
                if who != "value":
                    self._crowd.correct(market, time_ms)
            self.taken.append(
                Taken(who, planted.kind, planted.event_ticker, planted.tickers[leg], count_e2, time_ms)
            )

    def _offered(self, market: Market, planted: Mispricing, time_ms: int) -> bool:
        """Whether a leg is still available as planted."""
        return (
            time_ms < planted.until_ms
            and self._activity.pace > 0
            and bool(market.fair_shift_e4)
            and market.status == ACTIVE
            and self._crowd.trades(market)
        )
