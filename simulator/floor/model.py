"""The things an exchange holds: series, events, markets and the groups whose prices move together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, Protocol

from markets.units import PRICE_ONE_E4
from simulator.universe.templates import EventTemplate, MarketTemplate, Role

from .depth import Depth
from .grid import Grid
from .past import Past
from .record import Record

INITIALIZED, ACTIVE, INACTIVE, CLOSED = "initialized", "active", "inactive", "closed"
NOTHING_STAYS: Final = (1.0, 0.0)
"""The bounds `stays_from` and `stays_to` of a quote while they are not known: no truth is within them."""

DETERMINED, DISPUTED, FINALIZED = "determined", "disputed", "finalized"

Stage = Literal["closed", "determined", "settled", "gone"]
"""The stages to which an event's life may be advanced at once."""


class Latent(Protocol):
    """The truth behind the prices of a group: its state, and what it means for each market."""

    def advance(self, dt_s: float, rng: Random) -> bool:
        """Move on by `dt_s` seconds; True if something visible happened (a score)."""

    def probability(self, role: Role) -> float:
        """Return the probability, 0..1, that a market of `role` resolves YES."""

    def probabilities(self, markets: "Sequence[Market]") -> list[float]:
        """Return the probability of each market of an event."""

    def decide(self, rng: Random) -> None:
        """Draw what is still open from the probabilities."""

    def outcome(self, role: Role) -> bool:
        """Return how a market of `role` resolves, once everything is decided."""


@dataclass(slots=True, eq=False, repr=False)
class Series:
    """A series.

    Attributes:
        body: its JSON object as served, a dict.
        gone_e2: volume of its markets that are no longer listed.
        events: the listed ones.
    """

    ticker: str
    category: str
    body: dict[str, Any]
    gone_e2: int = 0
    events: list["Event"] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Market:
    """One market. A size of 0 means that the side is empty; its price is then the sentinel.

    `ask_e4`/`ask_e2` are the YES ask: the best NO bid at 1 - `ask_e4` of the same size. As long as the truth,
    in $0.0001, is within `stays_from` and `stays_to`, the crowd need not correct it. `fair_shift_e4` is
    not 0 while a mispricing is planted. `last_quote_e4` is bid and ask when quoters pulled before a start.
    `depth` exists once somebody has looked at the book or placed an order, `past` if there were trades before
    the exchange began, `record` once something has happened since. `day_ago` is what `history.day_ago` last
    found, `held_e2` what users hold of YES and of NO. Matching treats it as an `Instrument`.
    """

    ticker: str
    event: "Event"
    template: MarketTemplate
    role: Role
    grid: Grid
    extra: Mapping[str, str]
    half_e4: int
    size_e2: int
    last_e4: int
    volume_e2: int
    open_interest_e2: int
    odd_sentinel: bool
    market_id: str | None = None
    bid_e4: int = 0
    bid_e2: int = 0
    ask_e4: int = 0
    ask_e2: int = 0
    p: float = 0.5
    stays_from: float = NOTHING_STAYS[0]
    stays_to: float = NOTHING_STAYS[1]
    fair_shift_e4: int = 0
    paused: bool = False
    result: str = ""
    value_e4: int | None = None
    last_quote_e4: tuple[int, int] | None = None
    last_size_e2: int = 0
    depth: Depth | None = None
    past: Past | None = None
    record: Record | None = None
    day_ago: tuple[int, int, int, int, int] | None = None
    held_e2: tuple[int, int] = (0, 0)

    @property
    def status(self) -> str:
        """The status word as the exchange returns it."""
        return INACTIVE if self.paused and self.event.status == ACTIVE else self.event.status

    @property
    def shown(self) -> tuple[int, int]:
        """Bid and ask as candlesticks show them: 0 and a dollar for empty sides."""
        return self.bid_e4 if self.bid_e2 else 0, self.ask_e4 if self.ask_e2 else PRICE_ONE_E4

    @property
    def event_ticker(self) -> str:
        """The ticker of its event."""
        return self.event.ticker

    @property
    def exchange_index(self) -> int:
        """The shard it trades on."""
        return self.event.shard

    @property
    def exclusive(self) -> bool:
        """Whether at most one market of its event resolves YES."""
        return self.event.template.exclusive

    @property
    def fee_type(self) -> str:
        """Effective fee type: the event's override, else the series'."""
        override = self.event.fee_override
        return str(self.event.series.body["fee_type"] if override is None else override[0])

    @property
    def fee_multiplier_e4(self) -> int:
        """Effective fee multiplier in 1/10,000."""
        override = self.event.fee_override
        return round(10_000 * (self.event.series.body["fee_multiplier"] if override is None else override[1]))


@dataclass(slots=True, eq=False, repr=False)
class Event:
    """An event. All its markets open, close and settle together; `values` fill its template's holes."""

    ticker: str
    series: Series
    template: EventTemplate
    group: "Group"
    values: dict[str, str]
    shard: int
    created_ms: int
    open_ms: int
    close_ms: int
    expected_ms: int
    updated_ms: int
    status: str = INITIALIZED
    markets: list[Market] = field(default_factory=list)
    settled_ms: int | None = None
    expiration_value: str = ""
    fee_override: tuple[str, float] | None = None

    @property
    def combo(self) -> bool:
        """Whether it is a multivariate event, which most lists leave out."""
        return self.group.kind == "combo"


@dataclass(slots=True, eq=False)
class Milestone:
    """A scheduled occasion; `body` is its JSON object, kept current."""

    id: str
    start_ms: int
    body: dict[str, Any]


@dataclass(slots=True, eq=False, repr=False)
class Group:
    """Events that share one latent process, so they move together and can be arbitraged against one another.

    `kind` says how its life goes: match, updown, range, options, ladder. `again` is what the catalogue needs
    to make a successor. `interval_s` is the mean time between its updates while quiet; `priced_ms` is when
    its prices last followed its truth. For a match `start_ms`/`end_ms` bound the play; it is `void` if it is
    not played. `nested` has, once asked for, the markets of which one includes another, by kind.
    """

    kind: str
    latent: Latent
    again: Any
    interval_s: float
    start_ms: int = 0
    end_ms: int = 0
    events: list[Event] = field(default_factory=list)
    milestone: Milestone | None = None
    in_play: bool = False
    tick: int = 0
    priced_ms: int = 0
    pulled: bool = False
    void: bool = False
    updated_ms: int = 0
    nested: dict[str, list[tuple[Market, Market]]] | None = None

    def markets(self) -> list[Market]:
        """Return the markets of all its events."""
        return [market for event in self.events for market in event.markets]
