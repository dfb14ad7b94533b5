"""Trials of fair-value sources: what each said where it would have traded, against the price at that time.

A source that knows no more than the price is worth nothing, however well calibrated it is: anybody would act
on it only where it disagrees with the price by more than spread and fees. So that is where it is scored.
Every time it begins to disagree that much in a market is a *call*: what it said, the middle of the market's
bid and ask, and what buying promised after spread and fee (its edge).

Each call is judged by two things, both after all costs: by the price ten minutes later, which knows sooner
than any result what a price was worth; and by the result, as the price's Brier score less the source's. Each
call is weighted by its edge, as it would be in money if sizes were proportional to it, and all calls in an
event are one observation, because one outcome settles them.

A source is *accepted* if the interval of what its calls earned by the later price lies above zero, and
results do not contradict that. Otherwise it is traded on at the smallest size, which keeps testing it.
Measured (benchmarks/trial.py): a day of the simulated exchange distinguishes a source with an error of 2
cents from one that adds 5 cents of noise to the price, with t = 5.3 against -5.0. Results alone give t = 1.6,
because each is a coin toss.

Pure: time is passed in. What it keeps is bounded and goes into a file as it is (`Trials` is a msgspec type).
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Final

import msgspec

MARKOUTS_MS: Final = (60_000, 600_000, 3_600_000)
"""How long after a call the price is looked at again: has it moved towards the source, or away?"""

DECIDING: Final = 1
"""Which of these decides: a minute is too short for a price to be corrected, and an hour is full of news."""

LEVEL: Final = 0.99
"""Two-sided level of the interval: of sources that earn exactly nothing, one in 200 is accepted by luck."""

EVENTS_LEAST: Final = 30
"""With fewer settled events no source is accepted: the interval assumes that the mean is nearly normal."""

CALLS_KEPT: Final = 20_000
"""How many calls that wait for a result are kept per source, the newest."""

BUCKETS: Final = 10
"""Tenths of the stated probability, for the calibration."""

_LEAST_P: Final = 0.001
"""No probability counts as more certain than this: the log loss of a wrong certainty would be infinite."""


class Call(msgspec.Struct, array_like=True):
    """A source disagreed with a price.

    Attributes:
        ticker, event_ticker: of the market.
        probability: of YES, according to the source. mid: of the market's best bid and ask at that moment.
        edge: what buying the cheap side promised after spread and fee, in dollars per contract.
        at_ms: when.
        markouts: how far the mid had moved towards the source after MARKOUTS_MS; None: not seen (yet).
    """

    ticker: str
    event_ticker: str
    probability: float
    mid: float
    edge: float
    at_ms: int
    markouts: list[float | None]


class Sums(msgspec.Struct, array_like=True):
    """Sums over events of one figure: how many, the figure, its square, and the weights."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    weights: float = 0.0

    def add(self, value: float, weight: float) -> None:
        """Add an event: the sum of its calls' figures times their weights, and the sum of the weights."""
        self.count += 1
        self.total += value
        self.squares += value * value
        self.weights += weight


class Mean(msgspec.Struct, frozen=True):
    """A mean over `count` events, with calls weighted by edge, and its interval (LEVEL); None: too few."""

    count: int
    mean: float
    low: float | None
    high: float | None


class Verdict(msgspec.Struct, frozen=True):
    """The present outcome of a source's trial.

    Attributes:
        accepted: whether it is traded on at full size.
        earned: dollars per contract by the price after each of MARKOUTS_MS, after spread and fee.
        gain, log_gain: of Brier score and log loss over the price's, by result. profit: dollars per contract
            by result, after spread and fee.
        calibration: for each tenth of the stated probability: calls, their mean, and the mean result.
        waiting: calls without a result yet.
    """

    accepted: bool
    earned: tuple[Mean, ...]
    gain: Mean
    log_gain: Mean
    profit: Mean
    calibration: tuple[tuple[int, float, float], ...]
    waiting: int


class Record(msgspec.Struct, array_like=True):
    """What is kept of one source.

    Attributes:
        calls: those of events not scored yet, the oldest event first. events: ticker -> event of these.
        standing: ticker -> the side (1: YES, -1: NO) on which it disagrees with the price now.
        results: those of markets whose event waits for other markets.
        earned, gain, log_gain, profit, buckets: sums over everything scored.
        waiting: how many calls there are; known by counting when it is read from its bytes.
    """

    calls: dict[str, list[Call]] = {}
    standing: dict[str, int] = {}
    results: dict[str, float] = {}
    events: dict[str, str] = {}
    earned: list[Sums] = msgspec.field(default_factory=lambda: [Sums() for _ in MARKOUTS_MS])
    gain: Sums = msgspec.field(default_factory=Sums)
    log_gain: Sums = msgspec.field(default_factory=Sums)
    profit: Sums = msgspec.field(default_factory=Sums)
    buckets: list[list[float]] = msgspec.field(
        default_factory=lambda: [[0.0, 0.0, 0.0] for _ in range(BUCKETS)]
    )
    waiting: int = 0

    def __post_init__(self) -> None:
        self.waiting = sum(map(len, self.calls.values()))


class Price(msgspec.Struct, frozen=True):
    """What a market shows.

    Attributes:
        bid, ask: the best ones of YES, in dollars; None if there is none, when there can be no call.
        fee: of taking one contract, in dollars.
    """

    event_ticker: str
    bid: float | None
    ask: float | None
    fee: float

    @property
    def mid(self) -> float | None:
        """The middle; None if a side is missing or the two are crossed."""
        if self.bid is None or self.ask is None or self.bid > self.ask:
            return None
        return (self.bid + self.ask) / 2


class Trials(msgspec.Struct):
    """The trial of every source, by name."""

    records: dict[str, Record] = {}

    def say(self, source: str, ticker: str, probability: float, price: Price, now_ms: int) -> None:
        """Take what a source says of a market, and what the market shows at that moment.

        A disagreement is one call as long as it lasts on the same side.
        """
        mid = price.mid
        if mid is None:
            return
        record = self.records.setdefault(source, Record())
        assert price.bid is not None
        assert price.ask is not None
        gains = probability - price.ask - price.fee, price.bid - probability - price.fee
        side = 1 if gains[0] > 0 else -1 if gains[1] > 0 else 0
        if record.standing.get(ticker, 0) == side:
            return
        if not side:
            del record.standing[ticker]
            return
        record.standing[ticker] = side
        call = Call(
            ticker, price.event_ticker, probability, mid, max(gains), now_ms, [None] * len(MARKOUTS_MS)
        )
        record.calls.setdefault(price.event_ticker, []).append(call)
        record.waiting += 1
        record.events[ticker] = price.event_ticker
        self._bound(record)

    def look(self, prices: Mapping[str, float], now_ms: int) -> None:
        """Take the mids of markets with calls, to see what became of the price since."""
        for record in self.records.values():
            for calls in record.calls.values():
                for call in calls:
                    mid = prices.get(call.ticker)
                    if mid is None or None not in call.markouts:
                        continue
                    towards = 1.0 if call.probability > call.mid else -1.0
                    for index, after_ms in enumerate(MARKOUTS_MS):
                        if call.markouts[index] is None and now_ms - call.at_ms >= after_ms:
                            call.markouts[index] = towards * (mid - call.mid)

    def waiting(self) -> set[str]:
        """Return the markets with calls that wait for a price or a result."""
        return {
            ticker
            for record in self.records.values()
            for ticker in record.events
            if ticker not in record.results
        }

    def settle(self, ticker: str, value: float) -> None:
        """Take what a market's YES was worth, 0..1. Its event is scored once all its calls have a result."""
        for record in self.records.values():
            event_ticker = record.events.get(ticker)
            if event_ticker is None:
                continue
            record.results[ticker] = value
            calls = record.calls[event_ticker]
            if all(call.ticker in record.results for call in calls):
                self._score(record, event_ticker, calls)

    def _score(self, record: Record, event_ticker: str, calls: list[Call]) -> None:
        gain = log_gain = profit = weights = 0.0
        earned: list[list[tuple[float, float]]] = [[] for _ in MARKOUTS_MS]
        for call in calls:
            value, said, weight = record.results[call.ticker], call.probability, call.edge
            towards, cost = 1.0 if said > call.mid else -1.0, abs(said - call.mid) - call.edge
            gain += weight * ((call.mid - value) ** 2 - (said - value) ** 2)
            log_gain += weight * (_log_loss(call.mid, value) - _log_loss(said, value))
            profit += weight * (towards * (value - call.mid) - cost)
            weights += weight
            for figures, moved in zip(earned, call.markouts, strict=True):
                if moved is not None:
                    figures.append((weight * (moved - cost), weight))
            bucket = record.buckets[min(BUCKETS - 1, int(said * BUCKETS))]
            for index, figure in enumerate((1.0, said, value)):
                bucket[index] += figure
        record.gain.add(gain, weights)
        record.log_gain.add(log_gain, weights)
        record.profit.add(profit, weights)
        for sums, figures in zip(record.earned, earned, strict=True):
            if figures:
                sums.add(sum(figure for figure, _ in figures), sum(weight for _, weight in figures))
        self._forget(record, event_ticker)

    def _forget(self, record: Record, event_ticker: str) -> None:
        calls = record.calls.pop(event_ticker)
        record.waiting -= len(calls)
        for call in calls:
            for kept in (record.results, record.standing, record.events):
                kept.pop(call.ticker, None)

    def _bound(self, record: Record) -> None:
        """Drop the oldest event if there are too many calls: its markets' results were never reported."""
        while record.waiting > CALLS_KEPT:
            self._forget(record, next(iter(record.calls)))

    def verdict(self, source: str) -> Verdict:
        """Return the present outcome of a source's trial, an empty one if it has said nothing."""
        record = self.records.get(source, Record())
        earned, gain = tuple(map(_mean, record.earned)), _mean(record.gain)
        by_price = earned[DECIDING]
        accepted = (
            by_price.count >= EVENTS_LEAST
            and by_price.low is not None
            and by_price.low > 0
            and gain.high is not None
            and gain.high > 0
        )
        return Verdict(
            accepted=accepted,
            earned=earned,
            gain=gain,
            log_gain=_mean(record.log_gain),
            profit=_mean(record.profit),
            calibration=tuple(
                (int(count), said / count if count else 0.0, came / count if count else 0.0)
                for count, said, came in record.buckets
            ),
            waiting=record.waiting,
        )

    def accepted(self) -> frozenset[str]:
        """Return the sources that are traded on at full size."""
        return frozenset(source for source in self.records if self.verdict(source).accepted)


def _mean(sums: Sums) -> Mean:
    """Return the weighted mean of independent events, and its interval: that of their sums, scaled."""
    if not sums.count or not sums.weights:
        return Mean(sums.count, 0.0, None, None)
    mean = sums.total / sums.weights
    if sums.count == 1:
        return Mean(1, mean, None, None)
    variance = max(0.0, (sums.squares - sums.total * sums.total / sums.count) / (sums.count - 1))
    half = student_t(sums.count - 1) * math.sqrt(variance * sums.count) / sums.weights
    return Mean(sums.count, mean, mean - half, mean + half)


def student_t(degrees: int) -> float:
    """Return the two-sided quantile of Student's t at LEVEL: the normal one, corrected (Cornish-Fisher)."""
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    n = float(degrees)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + terms[0] / n + terms[1] / n**2 + terms[2] / n**3


def _log_loss(probability: float, value: float) -> float:
    p = min(1 - _LEAST_P, max(_LEAST_P, probability))
    return -(value * math.log(p) + (1 - value) * math.log(1 - p))
