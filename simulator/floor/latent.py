"""Latent truths, which move the prices. Probabilities are floats here; money never is.

Every process gives one consistent probability measure over all markets of its group. Quotes are kept
around it (bid <= p <= ask), so by construction no combination of a group's quotes can be a sure profit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, exp, prod, sqrt
from random import Random
from typing import Final

from simulator.universe.templates import Role

from .model import Market

_FLOOR: Final = 0.0004
_CEILING: Final = 1 - _FLOOR

_SQRT_2: Final = sqrt(2)

_WINS: Final = (Role("win", "A"), Role("win", "B"))

_NOBODY: Final = (0.8, 0.0)
"""The mean and the count of a player of whom nothing is known."""


def _clip(p: float) -> float:
    if _FLOOR < p < _CEILING:
        return p
    return _FLOOR if p <= _FLOOR else _CEILING


def normal_above(threshold: float, mean: float, deviation: float) -> float:
    """Return P(X > threshold) for a normal X; a step at deviation 0."""
    if deviation < 1e-9:
        return 1.0 if mean > threshold else 0.0
    return 0.5 * (1.0 - erf((threshold - mean) / (deviation * _SQRT_2)))


def poisson(mean: float, rng: Random) -> int:
    """Draw a Poisson number (by products for small means, rounded normal for large ones)."""
    if mean <= 0.0:
        return 0
    if mean > 30.0:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    limit, product = exp(-mean), rng.random()
    if product <= limit:  # the usual case
        return 0
    count = 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def poisson_above(threshold: float, mean: float) -> float:
    """Return P(N > threshold) for a Poisson N."""
    if threshold < 0:
        return 1.0
    term = total = exp(-mean) if mean > 0.0 else 1.0
    for k in range(1, int(threshold) + 1):
        term *= mean / k
        total += term
    return max(0.0, 1 - total)


@dataclass(frozen=True, slots=True)
class Sport:
    """How a sport scores: points per side and match, points per score, minutes of play, ties."""

    points: float
    step: int
    minutes: int
    ties: bool
    spread: float
    milestone: str
    shard: int

    @property
    def short(self) -> bool:
        """Whether half an hour of watching shows matches begin, end and settle."""
        return self.minutes < 30


SPORTS: Final = {
    "football": Sport(23.0, 4, 190, False, 6.0, "football_game", 0),
    "baseball": Sport(4.4, 1, 165, False, 0.7, "baseball_game", 3),
    "basketball": Sport(86.0, 2, 135, False, 7.0, "basketball_game", 3),
    "soccer": Sport(1.4, 1, 115, True, 0.45, "soccer_tournament_multi_leg", 0),
    "tennis": Sport(12.0, 1, 110, False, 2.5, "tennis_tournament_singles", 3),
    "tie_break": Sport(8.0, 1, 8, False, 2.0, "tennis_tournament_singles", 3),
}
"""Rough averages for each sport; `spread` is how far two sides differ. Milestone types: contract 7.9.
Shards of newly created events: contract 16."""


class Match:
    """A score process: both sides score at their rates until the end; before it the strengths drift."""

    __slots__ = ("_players", "elapsed", "means", "over", "scores", "sport", "started")

    def __init__(self, sport: Sport, rng: Random, total: float | None = None) -> None:
        mean_total = (total or 2 * sport.points) * (1 + 0.03 * rng.gauss(0, 1))
        edge = rng.gauss(0, sport.spread)
        self.sport = sport
        self.means = [max(mean_total / 2 + edge / 2, 0.2), max(mean_total / 2 - edge / 2, 0.2)]
        self.scores = [0, 0]
        self.elapsed = 0.0
        self.started = False
        self.over = False
        self._players: dict[str, list[float]] = {}

    def advance(self, dt_s: float, rng: Random) -> bool:
        sport = self.sport
        if not self.started:
            drift = rng.gauss(0, 0.02 * sport.spread * sqrt(dt_s / 60))
            one, other = self.means
            one, other = one + drift, other - drift
            if one < 0.2:
                one = 0.2
            if other < 0.2:
                other = 0.2
            self.means = [one, other]
            return False
        share, left = dt_s / (sport.minutes * 60), 1 - self.elapsed
        if share > left:
            share = left
        self.elapsed += share
        scored, step = False, sport.step
        one, other = self.means
        if scores := poisson(one / step * share, rng):
            self.scores[0] += step * scores
            scored = True
        if scores := poisson(other / step * share, rng):
            self.scores[1] += step * scores
            scored = True
        for player in self._players.values():
            if deeds := poisson(player[0] * share, rng):
                player[1] += deeds
                scored = True
        return scored

    def finish(self, rng: Random) -> None:
        """End the play; if there are no ties, somebody scores once more."""
        self.started = True  # one that is ended before it began is played, too
        self.advance(1e9, rng)
        if not self.sport.ties and self.scores[0] == self.scores[1]:
            self.scores[int(rng.random() < 0.5)] += self.sport.step
        self.over = True

    def decide(self, rng: Random) -> None:
        if not self.over:
            self.finish(rng)

    def player(self, name: str, mean: float) -> None:
        """Count a player's points: `mean` of them per match."""
        self._players.setdefault(name, [mean, 0.0])

    def _value(self, role: Role) -> tuple[float, float, float]:
        """Return (threshold, mean, variance) of the number that decides `role`."""
        left = 0.0 if self.over else 1 - self.elapsed
        variance = self.sport.step * sum(self.means) * left
        if role.kind == "total":
            return role.floor, sum(self.scores) + sum(self.means) * left, variance
        sign = 1 if role.key == "A" else -1
        margin = sign * (self.scores[0] - self.scores[1] + (self.means[0] - self.means[1]) * left)
        if role.kind == "margin":
            return role.floor, margin, variance
        # Between a loss and a win lies the tie, half a score wide on either side, if ties exist.
        return 0.5 if self.sport.ties else 0.0, margin, variance

    def probability(self, role: Role) -> float:
        if role.kind == "count":
            mean, count = self._players.get(role.key, _NOBODY)
            left = 0.0 if self.over else 1 - self.elapsed
            return _clip(poisson_above(role.floor - count, mean * left))
        if role.kind == "tie":
            return _clip(1 - sum(map(self.probability, _WINS)))
        threshold, mean, variance = self._value(role)
        return _clip(normal_above(threshold, mean, sqrt(variance)))

    def probabilities(self, markets: Sequence[Market]) -> list[float]:
        left = 0.0 if self.over else 1 - self.elapsed
        one, other = self.means
        mine, theirs = self.scores
        total = mine + theirs + (one + other) * left
        lead = mine - theirs + (one - other) * left
        width = sqrt(2 * self.sport.step * (one + other) * left)
        if width < 1e-6:
            return [self.probability(market.role) for market in markets]
        found, players = [], self._players
        for market in markets:
            role = market.role
            kind = role.kind
            if kind == "margin":
                p = 0.5 - 0.5 * erf((role.floor - (lead if role.key == "A" else -lead)) / width)
            elif kind == "total":
                p = 0.5 - 0.5 * erf((role.floor - total) / width)
            elif kind == "win":
                draw = 0.5 if self.sport.ties else 0.0
                p = 0.5 - 0.5 * erf((draw - (lead if role.key == "A" else -lead)) / width)
            elif kind == "count":
                mean, count = players.get(role.key, _NOBODY)
                p = poisson_above(role.floor - count, mean * left)
            else:
                p = self.probability(role)
            found.append(p if _FLOOR < p < _CEILING else _clip(p))
        return found

    def outcome(self, role: Role) -> bool:
        if role.kind == "tie":
            return self.scores[0] == self.scores[1]
        return self.probability(role) > 0.5


class Options:
    """A simplex: one of many options comes true. The weights' logarithms walk."""

    __slots__ = ("_total", "_weights", "_winner", "volatility")

    def __init__(self, weights: Sequence[float], rest: float, volatility: float) -> None:
        self._weights = [max(weight, 1e-5) for weight in weights]
        self._total = sum(self._weights) + rest
        self.volatility = volatility
        self._winner: int | None = None

    def advance(self, dt_s: float, rng: Random) -> bool:
        weights = self._weights
        index = int(rng.random() * len(weights))
        before = weights[index]
        weight = before * exp(rng.gauss(0, self.volatility * sqrt(dt_s / 60)))
        most = 50 * self._total / len(weights)
        if weight < 1e-5:
            weight = 1e-5
        if weight > most:
            weight = most
        weights[index] = weight
        self._total += weight - before
        return False

    def probability(self, role: Role) -> float:
        return _clip(self._weights[int(role.key)] / self._total)

    def probabilities(self, markets: Sequence[Market]) -> list[float]:
        """See Latent; the markets are those of all options, in order."""
        total = self._total
        low, high = _FLOOR * total, _CEILING * total
        return [w / total if low < w < high else _clip(w / total) for w in self._weights]

    def decide(self, rng: Random) -> None:
        """Draw one option by its weight, or none of those listed."""
        if self._winner is None:
            left = rng.random() * self._total
            self._winner = -1
            for index, weight in enumerate(self._weights):
                left -= weight
                if left < 0:
                    self._winner = index
                    return

    def outcome(self, role: Role) -> bool:
        return int(role.key) == self._winner


class Underlying:
    """A number that drifts until it is read off at the end: a temperature, a rate. Strikes refer to it."""

    __slots__ = ("deviation", "left_s", "life_s", "mean")

    def __init__(self, mean: float, deviation: float, life_s: float) -> None:
        self.mean, self.deviation = mean, deviation
        self.life_s = self.left_s = max(life_s, 1.0)

    def advance(self, dt_s: float, rng: Random) -> bool:
        if dt_s > self.left_s:
            dt_s = self.left_s
        self.left_s -= dt_s
        self.mean += rng.gauss(0, self.deviation * sqrt(dt_s / self.life_s))
        return False

    def probability(self, role: Role) -> float:
        mean, deviation = self.mean, self.deviation * sqrt(self.left_s / self.life_s)
        p = normal_above(role.floor, mean, deviation)
        if role.kind == "below":
            p = 1 - p
        elif role.kind == "between":
            p -= normal_above(role.cap, mean, deviation)
        return _clip(p)

    def probabilities(self, markets: Sequence[Market]) -> list[float]:
        mean, deviation = self.mean, self.deviation * sqrt(self.left_s / self.life_s)
        if deviation < 1e-9:
            return [self.probability(market.role) for market in markets]
        # The same, sooner.
        width = deviation * _SQRT_2
        found = []
        for market in markets:
            role = market.role
            kind = role.kind
            p = 0.5 * (1.0 - erf((role.floor - mean) / width))
            if kind == "between":
                p -= 0.5 * (1.0 - erf((role.cap - mean) / width))
            elif kind == "below":
                p = 1 - p
            found.append(p if _FLOOR < p < _CEILING else _clip(p))
        return found

    def decide(self, rng: Random) -> None:
        self.advance(self.left_s, rng)

    def outcome(self, role: Role) -> bool:
        return self.probability(role) > 0.5


class Asset:
    """The price of an asset, shared by its windows. `volatility` is relative, per square root of a second."""

    __slots__ = ("decimals", "now_ms", "price", "volatility")

    def __init__(self, price: float, volatility: float, now_ms: int) -> None:
        self.price, self.volatility, self.now_ms = price, volatility, now_ms
        self.decimals = 2 if price >= 10 else 4

    def advance_to(self, now_ms: int, rng: Random) -> None:
        """Move the price on to `now_ms`."""
        if now_ms > self.now_ms:
            self.price *= exp(rng.gauss(0, self.volatility * sqrt((now_ms - self.now_ms) / 1000)))
            self.now_ms = now_ms


class Window:
    """Up or down from the asset's price at the opening to that at the close."""

    __slots__ = ("asset", "close_ms", "now_ms", "strike")

    def __init__(self, asset: Asset, now_ms: int, close_ms: int) -> None:
        self.asset, self.now_ms, self.close_ms = asset, now_ms, close_ms
        self.strike: float | None = None

    def advance(self, dt_s: float, rng: Random) -> bool:
        now_ms = self.now_ms + round(dt_s * 1000)
        if now_ms > self.close_ms:
            now_ms = self.close_ms
        self.now_ms = now_ms
        self.asset.advance_to(now_ms, rng)
        return False

    def probability(self, role: Role) -> float:
        return self._probability()

    def probabilities(self, markets: Sequence[Market]) -> list[float]:
        return [self._probability()] * len(markets)

    def _probability(self) -> float:
        if self.strike is None:
            return 0.5
        asset = self.asset
        deviation = asset.price * asset.volatility * sqrt((self.close_ms - self.now_ms) / 1000)
        return _clip(normal_above(self.strike, asset.price, deviation))

    def decide(self, rng: Random) -> None:
        """Nothing is open at the close; one closed early ends at the price of the moment."""

    def outcome(self, role: Role) -> bool:
        return self.strike is not None and round(self.asset.price, self.asset.decimals) >= self.strike


class Combo:
    """Several markets at once: YES if every leg resolves as it should."""

    __slots__ = ("legs",)

    def __init__(self, legs: Sequence[Market]) -> None:
        self.legs = tuple(legs)

    def advance(self, dt_s: float, rng: Random) -> bool:
        """Return whether the outcome is known: one leg lost, or all won."""
        results = [leg.result for leg in self.legs]
        return "no" in results or all(results)

    def probability(self, role: Role) -> float:
        return _clip(prod([leg.p for leg in self.legs]))

    def probabilities(self, markets: Sequence[Market]) -> list[float]:
        return [self.probability(market.role) for market in markets]

    def decide(self, rng: Random) -> None:
        """Its legs decide the outcome."""

    def outcome(self, role: Role) -> bool:
        return all(leg.result == "yes" for leg in self.legs)
