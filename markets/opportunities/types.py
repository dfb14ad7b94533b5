"""What the scanner reads and what it finds."""

from typing import Any, Final

import msgspec

from markets.records import Book, Event, Market, Quote, Series
from markets.timing import MatchTiming
from markets.units import MONEY_ONE_E6, format_count, format_money, format_price, format_time

CONSENSUS: Final = "consensus"
"""`FairValue.source` of the leave-one-out consensus, whose inputs are the other legs' prices."""


class MarketView(msgspec.Struct, frozen=True, gc=False):
    """One market as a replica holds it.

    The ages are the replica's: a streamed market's quote may be younger than the record's own `as_of_ms`.
    `vouched`: the quote holds now, since any change would have been heard.
    """

    market: Market
    quote: Quote
    book: Book | None
    quote_as_of_ms: int
    book_as_of_ms: int | None
    suspect: bool = False
    vouched: bool = False


class EventView(msgspec.Struct, frozen=True, gc=False):
    """One event with everything the scanner needs. `markets` must hold all its known markets.

    `related` are other events of the same match, if the caller wants opportunities that span them;
    `match` is the id of its milestone, the same for all of its events, empty where none is known.
    """

    event: Event
    series: Series | None
    markets: tuple[MarketView, ...]
    timing: MatchTiming
    related: tuple["EventView", ...] = ()
    match: str = ""


class ScanLimits(msgspec.Struct, frozen=True, gc=False):
    """Bounds; a candidate outside them is not tradable. Times in milliseconds, counts in 0.01 contract.

    `void_risk`: whether a locked trade may pay back less than it costs if it is called off.
    """

    max_leg_age_ms: int = 30_000
    max_leg_spread_ms: int = 2_000
    max_fair_value_age_ms: int = 3_600_000
    min_count_e2: int = 100
    min_before_start_ms: int = 0
    min_before_close_ms: int = 60_000
    in_play: bool = False
    void_risk: bool = True


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One purchase of an opportunity: `count_e2` of `side` ("yes" or "no") at `price_e4` or better.

    `price_e4` is the worst price touched, `cost_e6` the exact cost of walking the levels down to it, `fee_e6`
    the taker fees (None: unknown). `label` is the outcome in words. `vouched`: its best price holds now,
    since any change would have been heard.
    """

    ticker: str
    side: str
    price_e4: int
    count_e2: int
    cost_e6: int
    fee_e6: int | None
    as_of_ms: int
    label: str
    vouched: bool = False


class Opportunity(msgspec.Struct, frozen=True):
    """A candidate trade and, in `reasons`, why not to trade it; without reasons it is tradable.

    All money is for the whole size. None is unknown (fees of an unknown schedule, and all that follows).

    Attributes:
        key: names this candidate, and no other, from scan to scan.
        count_e2: contracts, or baskets of one contract per leg.
        gross_edge_e6: payout, expected or guaranteed, less cost, before fees.
        net_edge_e6: gross edge less fees.
        ev_e6: expected profit; for a basket its guaranteed profit.
        worst_case_e6: profit in the worst outcome: from the floor, and where the rules let the exchange
            settle at a fair price, from the floor if void.
        capital_e6: cash needed: cost and fees.
        annualised_return: `ev` over `capital`, simple, until the expected payout.
        probability: fair probability that the leg pays; None for a basket.
        margin: half-width of the belief in it.
        value: `probability` less the leg's (worst) price; None for a basket.
        as_of_ms: age of the oldest leg.
        volume_e2: contracts ever traded in the least traded leg.
        exhaustive_because: why exactly one outcome pays, if the fair value rests on that.
        notes: anything else to know.
        floor_e6: the least that all legs pay together once the event is decided (`floors.py`).
        floor_void_e6: the least that they pay if it is called off.
    """

    kind: str
    key: str
    event_ticker: str
    series_ticker: str
    title: str
    legs: tuple[Leg, ...]
    count_e2: int
    gross_edge_e6: int
    fees_e6: int | None
    net_edge_e6: int | None
    ev_e6: int | None
    worst_case_e6: int | None
    capital_e6: int | None
    annualised_return: float | None
    probability: float | None
    value: float | None
    start_ms: int | None
    close_ms: int | None
    as_of_ms: int
    volume_e2: int | None
    exhaustive_because: str | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    margin: float | None = None
    floor_e6: int = 0
    floor_void_e6: int = 0

    @property
    def tradable(self) -> bool:
        """Whether no reason speaks against it."""
        return not self.reasons

    @property
    def locked_e6(self) -> int | None:
        """The least it earns once the event is decided, after fees; below 0, the most it can lose."""
        return None if self.capital_e6 is None else self.floor_e6 - self.capital_e6

    @property
    def if_void_e6(self) -> int | None:
        """The least it earns if it is called off, after fees."""
        return None if self.capital_e6 is None else self.floor_void_e6 - self.capital_e6

    @property
    def riskless(self) -> bool:
        """Whether it earns something however the event is decided; a void is another matter."""
        return self.locked_e6 is not None and self.locked_e6 > 0


def opportunity_json(opportunity: Opportunity) -> dict[str, Any]:
    """Return an opportunity as JSON values: exact amounts as Kalshi's strings, unknown as None.

    `ev` repeats `ev_dollars` and `volume` repeats `volume_fp` as plain numbers, for filters and sorting.
    """
    o = opportunity
    return {
        "key": o.key,
        "kind": o.kind,
        "event_ticker": o.event_ticker,
        "series_ticker": o.series_ticker,
        "title": o.title,
        "tradable": o.tradable,
        "reasons": list(o.reasons),
        "legs": [
            {
                "ticker": leg.ticker,
                "side": leg.side,
                "label": leg.label,
                "price_dollars": format_price(leg.price_e4),
                "count_fp": format_count(leg.count_e2),
                "cost_dollars": format_money(leg.cost_e6),
                "fee_dollars": _money(leg.fee_e6),
                "as_of": leg.as_of_ms / 1000,
            }
            for leg in o.legs
        ],
        "count_fp": format_count(o.count_e2),
        "gross_edge_dollars": format_money(o.gross_edge_e6),
        "fees_dollars": _money(o.fees_e6),
        "net_edge_dollars": _money(o.net_edge_e6),
        "ev_dollars": _money(o.ev_e6),
        "ev": None if o.ev_e6 is None else o.ev_e6 / MONEY_ONE_E6,
        "worst_case_dollars": _money(o.worst_case_e6),
        "floor_dollars": format_money(o.floor_e6),
        "floor_void_dollars": format_money(o.floor_void_e6),
        "locked_dollars": _money(o.locked_e6),
        "if_void_dollars": _money(o.if_void_e6),
        "riskless": o.riskless,
        "capital_dollars": _money(o.capital_e6),
        "annualised_return": o.annualised_return,
        "probability": o.probability,
        "margin": o.margin,
        "value": o.value,
        "start_time": _time(o.start_ms),
        "close_time": _time(o.close_ms),
        "as_of": o.as_of_ms / 1000,
        "volume_fp": None if o.volume_e2 is None else format_count(o.volume_e2),
        "volume": None if o.volume_e2 is None else o.volume_e2 / 100,
        "exhaustive_because": o.exhaustive_because,
        "notes": list(o.notes),
    }


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_time(time_ms)
