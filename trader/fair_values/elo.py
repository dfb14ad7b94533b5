"""Source ``elo``: probabilities of a match from the ratings of its players (A. Elo, 1978).

The expected score of the second named, who is at home, is e = 1 / (1 + 10 ^ ((first - second - home) / 400)).
If the match can end in a draw, the probability of that is `draw` x 4 e (1 - e): `draw` between equals, and
less the more unequal they are; half of it is taken from each side. Matches that have begun have no value.

Ratings come from a file. When a match is seen to end, both ratings move by `k` times the surprise, for as
long as the process lives; the file is not changed.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from bus.files import open_regular
from bus.notebook import Connection
from bus.scan.membership import Membership
from markets.opportunities import EventView, MarketView
from trader.extensions.params import Parameters

from .source import Estimate, Estimator

log = structlog.get_logger()

MAX_BYTES: Final = 4 * 1_048_576
SCALE: Final = 400.0
TIE_LABELS: Final = frozenset({"tie", "draw"})


class Match(NamedTuple):
    """The markets of a match: on the first named, on the second, and on a draw if there is one."""

    away: MarketView
    home: MarketView
    tie: MarketView | None


def match_of(view: EventView) -> Match | None:
    """Return an event as a match of two; None if it is not one, or does not say who is named first."""
    sides = [seen for seen in view.markets if seen.market.yes_sub_title.casefold() not in TIE_LABELS]
    ties = [seen for seen in view.markets if seen not in sides]
    names = [name.strip() for name in view.event.title.split(" vs ")]
    if not view.event.mutually_exclusive or len(sides) != 2 or len(ties) > 1 or len(names) != 2:
        return None
    by_name = {seen.market.yes_sub_title: seen for seen in sides}
    if by_name.keys() != set(names):
        return None
    return Match(by_name[names[0]], by_name[names[1]], ties[0] if ties else None)


def expected_score(away: float, home: float, advantage: float) -> float:
    """Return the mean score of the one at home: a win is 1, a draw a half."""
    return 1.0 / (1.0 + math.pow(10.0, (away - home - advantage) / SCALE))


def probabilities(score: float, draw: float) -> tuple[float, float, float]:
    """Return the probabilities of the first, the second and a draw, from the second's expected score."""
    tie = min(draw * 4.0 * score * (1.0 - score), 2.0 * score, 2.0 * (1.0 - score))
    return 1.0 - score - tie / 2.0, score - tie / 2.0, tie


def read_ratings(text: str) -> tuple[dict[str, float], list[str]]:
    """Return the ratings in a CSV text with columns ``name,rating``, and what is wrong in which line.

    Raises:
        ValueError: it is not such a text.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if set(reader.fieldnames or ()) != {"name", "rating"}:
        raise ValueError(f"got columns {sorted(reader.fieldnames or ())}, expected name, rating")
    ratings: dict[str, float] = {}
    errors: list[str] = []
    try:
        for row in reader:
            name, written = (row["name"] or "").strip(), row["rating"]
            try:
                rating = float(written or "")
            except ValueError:
                rating = math.nan
            if not name or name in ratings or not abs(rating) <= 10_000:
                said = f"line {reader.line_num}: got {name!r:.80}, {written!r:.80}"
                errors.append(f"{said}, expected a name once and a number of at most 10000")
            else:
                ratings[name] = rating
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return ratings, errors


class Elo(Estimator):
    """Rates the matches of one series."""

    name = "elo"
    every_s = 5.0

    class Params(Parameters, frozen=True, kw_only=True):
        """`path`: the ratings. `home`: how many points playing at home is worth. `draw`: see the module."""

        path: str
        series: str
        home: float = 0.0
        draw: float = 0.0
        k: float = 20.0
        margin: float = 0.03

        def __post_init__(self) -> None:
            for name, value, most in (
                ("home", abs(self.home), 1_000.0),
                ("draw", self.draw, 0.5),
                ("k", self.k, 200.0),
                ("margin", self.margin, 1.0),
            ):
                if not 0.0 <= value <= most:
                    raise ValueError(f"{name}: got {getattr(self, name)}, expected at most {most:g}")
            if not self.series or not self.path:
                raise ValueError("path, series: got none, expected a file and the ticker of a series")

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.topics = (f"md.{params.series}.", "ref.", "ex.")
        self.moved: dict[str, float] = {}
        self._ratings: dict[str, float] = {}
        self._stamp: tuple[int, int] | None = None
        self._open: set[str] = set()
        self._membership = Membership()

    def values(self, bus: Connection) -> Mapping[str, Estimate]:
        self.read()
        now_ms, state = bus.replica.now_ms(), bus.state
        with state.lock:
            self._membership.rebuild(state)
            views = [
                view
                for event_ticker in sorted(self._membership.markets_of)
                if (event := state.events.get(event_ticker)) is not None
                and event.series_ticker == self.params.series
                and (view := self._membership.view(state, event_ticker, now_ms)) is not None
            ]
        return self.rate(views, now_ms)

    def read(self) -> None:
        """Read the ratings if their file has changed; while it cannot be read, the last ones hold."""
        path = Path(self.params.path).expanduser()
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            if found.st_size > MAX_BYTES:
                raise ValueError(f"{found.st_size} bytes, at most {MAX_BYTES} are read")
            with open_regular(path) as file:
                ratings, errors = read_ratings(file.read().decode("utf-8"))
        except (OSError, ValueError) as error:
            log.warning("elo.ratings_refused", path=str(path), error=str(error))
            return
        for line in errors[:20]:
            log.warning("elo.rating_refused", path=str(path), error=line)
        self._ratings, self.moved = ratings, {}

    def rate(self, views: Sequence[EventView], now_ms: int) -> dict[str, Estimate]:
        """Return what the markets of these events are worth; learn from those that have ended."""
        found: dict[str, Estimate] = {}
        for view in views:
            match = match_of(view)
            rated = None if match is None else self._rated(match)
            if match is None or rated is None:
                continue
            if match.home.market.result:
                self._learn(view.event.event_ticker, match, rated)
                continue
            self._open.add(view.event.event_ticker)
            timing = view.timing
            if timing.in_play or timing.start_ms is None or now_ms >= timing.start_ms:
                continue
            away, home, tie = probabilities(
                expected_score(*rated, self.params.home), self.params.draw if match.tie else 0.0
            )
            said = [(match.away, away), (match.home, home), *([(match.tie, tie)] if match.tie else [])]
            for seen, probability in said:
                value = min(1.0, max(0.0, probability))
                found[seen.market.ticker] = Estimate(value, self.params.margin)
        return found

    def _rated(self, match: Match) -> tuple[float, float] | None:
        names = [seen.market.yes_sub_title for seen in (match.away, match.home)]
        if any(name not in self._ratings for name in names):
            return None
        away, home = (self._ratings[name] + self.moved.get(name, 0.0) for name in names)
        return away, home

    def _learn(self, event_ticker: str, match: Match, rated: tuple[float, float]) -> None:
        if event_ticker not in self._open:
            return  # it had ended before: the file may include it
        self._open.discard(event_ticker)
        results = [seen.market.result for seen in match if seen is not None]
        if any(result not in ("yes", "no") for result in results):
            return  # it was called off
        came = 1.0 if results[1] == "yes" else 0.0 if results[0] == "yes" else 0.5
        more = self.params.k * (came - expected_score(*rated, self.params.home))
        for seen, points in ((match.away, -more), (match.home, more)):
            name = seen.market.yes_sub_title
            self.moved[name] = self.moved.get(name, 0.0) + points
