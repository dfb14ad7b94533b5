"""The interface between a source of fair values and the process in which it runs."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import msgspec

from bus.notebook import Connection
from trader.extensions.params import Parameters


class Estimate(msgspec.Struct, frozen=True):
    """What the YES of a market is believed to be worth.

    Attributes:
        probability: 0..1.
        margin: the half-width of the belief, 0..1: an edge within it does not count.
        as_of_ms: the time to which it refers, ms since 1970; None: now.
    """

    probability: float
    margin: float = 0.0
    as_of_ms: int | None = None


class Source(Protocol):
    """Something that can be asked for fair values.

    Attributes:
        name: appears in fair values, status and pages; it never changes.
        every_s: how long to wait between two questions.
        topics: prefixes of the streams that its replica follows, such as "md.KXNBAGAME."; following
            everything takes 10 kB of memory per market.
    """

    name: str
    every_s: float
    topics: tuple[str, ...]

    def values(self, bus: Connection) -> Mapping[str, float | Estimate]:
        """Return all its values, by ticker: values that are no longer among them are withdrawn.

        It must return within 5 s (trader/fair_values/hosted.py:Patience), or its process is ended.

        Args:
            bus: a live replica that follows the feed, as `bus.connect()` returns it.
        """
        ...


class Estimator:
    """Base of sources: keeps its parameters, and is asked once a second."""

    name: str
    every_s: float = 1.0
    topics: tuple[str, ...] = ("",)
    Params: ClassVar[type[Parameters]] = Parameters

    def __init__(self, params: Parameters | None = None) -> None:
        self.params = self.Params() if params is None else params

    def values(self, bus: Connection) -> Mapping[str, float | Estimate]:
        raise NotImplementedError
