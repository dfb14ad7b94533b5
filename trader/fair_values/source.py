"""The interface between a source of fair values and the process of its own in which it runs."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import msgspec

from bus.notebook import Connection
from trader.extensions.params import Parameters


class Estimate(msgspec.Struct, frozen=True):
    """What the YES of a market is believed to be worth.

    Attributes:
        probability: 0..1.
        margin: the half-width of the belief, 0..1: an edge inside it is none.
        as_of_ms: of when it is, ms since 1970; None: of now.
    """

    probability: float
    margin: float = 0.0
    as_of_ms: int | None = None


class Source(Protocol):
    """What is asked for its values.

    Attributes:
        name: in fair values, status and pages. It never changes.
        every_s: how long to wait between two questions.
        topics: prefixes of the streams that its replica follows, such as "md.KXNBAGAME."; everything takes
            10 kB a market.
    """

    name: str
    every_s: float
    topics: tuple[str, ...]

    def values(self, bus: Connection) -> Mapping[str, float | Estimate]:
        """Return all values it has, by ticker: what is not among them any more is taken back.

        It must return within 5 s (trader/fair_values/hosted.py:Patience), or its process is ended.

        Args:
            bus: a replica of the catalogue that follows the feed, as `bus.connect()` gives it. It is live.
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
