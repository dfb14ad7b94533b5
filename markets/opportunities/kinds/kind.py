"""What a kind of opportunity is: all that the rest of the project asks of one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, Literal

import msgspec

from markets.json.read import mentions_fair_price
from markets.opportunities import reasons as why
from markets.opportunities.floors import floor_e6, void_e6
from markets.opportunities.legs import (
    annualised,
    first_close_ms,
    least_volume_e2,
    legs_reasons,
    total_fees_e6,
)
from markets.opportunities.types import EventView, Leg, MarketView, Opportunity, ScanLimits
from markets.opportunities.words import dollars
from markets.records import Event, FairValue, Quote

Tone = Literal["plain", "yes", "no", "fair"]
"""How a page colours a kind's name; each is a class of the style sheet."""

PARTS_MAX: Final = 3
"""Up to so many legs of different outcomes are named one by one in a headline."""

NOTE_VOID: Final = "if it is called off it may pay back less than it costs"
NOTE_VOID_ALLOWED: Final = f"{NOTE_VOID}; the rules allow a settlement at a fair price"


class Headline(msgspec.Struct, frozen=True):
    """A trade in a few words: `act` ("Buy NO"), then what of (`of`). `side` is the one of all legs, or ""."""

    act: str
    of: str
    side: str


class Kind(ABC):
    """One way to earn money. Pure: what it answers depends on nothing but what it is asked.

    `find` is the only method that must be written; the other answers suit a kind of single legs.
    A method that raises costs this kind that one event, nothing else (`scanner.Failure`).

    Attributes:
        name: as it stands in keys, filters, JSON and files, for ever.
        title: as a page says it.
        tone: how a page colours it.
        by_prices: whether `find` finds anything at all depends on the event, its series and markets, their
            statuses, fair values and best prices alone: time, ages, sizes and depth decide how much, and what
            speaks against it. Where a kind does not promise it, an event is scanned more often than needed.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    tone: ClassVar[Tone] = "plain"
    by_prices: ClassVar[bool] = False

    @abstractmethod
    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        """Return the candidates of one event whose gross edge is positive, tradable or not.

        Args:
            view: the event with all its known markets.
            fair_values: what its markets are worth, by ticker, as far as somebody says.
            now_ms: the present.
            limits: bounds outside of which a candidate is returned with the reason.
        """

    def may_pay(self, view: EventView, fair_values: Mapping[str, FairValue]) -> bool:
        """Return whether a candidate of this event may be tradable: not if fees take all at best prices.

        Asked before `find` by whoever only trades. It depends on what `by_prices` names, and on nothing else.
        A wrong yes costs time, a wrong no money.
        """
        del view, fair_values
        return True

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether `find` can find anything in this event at all. Yes costs time, a wrong no money.

        Args:
            event: asked at every change of it or its markets, so this must be quick.
            valued: whether somebody has published a fair value of one of its markets.
        """
        del event, valued
        return True

    def worth_of_books_e4(self, event: Event, quotes: Sequence[Quote]) -> int | None:
        """Return what the quotes of an event's markets promise per contract before fees, 0 if nothing.

        None: nothing is gained by seeing the books of these markets at one moment. Events that promise most
        are looked at first, and their books are fetched first, all together.
        """
        del event, quotes
        return None

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        """Return what these legs, each (ticker, side, count_e2), pay together at least, whatever happens.

        The trader evens out a trade whose legs got unequally much by this, whichever strategy bought them: it
        must be true of any legs. All their markets are in `view`. None: this kind promises nothing of such
        legs, so they are left as they are.
        """
        del view, legs
        return None

    def headline(self, legs: Sequence[Leg]) -> Headline:
        """Return a trade of several legs in a few words."""
        sides = {leg.side for leg in legs}
        if len(sides) == 1:
            (side,) = sides
            return Headline(f"Buy {side.upper()}", f"on {len(legs)} outcomes", side)
        if len(legs) > PARTS_MAX:
            return Headline("Buy", f"{len(legs)} outcomes, YES and NO", "")
        return Headline("Buy", ", ".join(f"{leg.side.upper()} {leg.label or leg.ticker}" for leg in legs), "")

    def explain(self, opportunity: Opportunity) -> str:
        """Return in a sentence or two why this candidate earns money, and what it can lose."""
        o = opportunity
        cost_e6 = sum(leg.cost_e6 for leg in o.legs)
        many = "These legs cost" if len(o.legs) > 1 else "It costs"
        fees = "fees that are not known" if o.fees_e6 is None else f"{dollars(o.fees_e6)} in fees"
        earns = "" if o.ev_e6 is None else f": {dollars(o.ev_e6)} is expected of it"
        return f"{many} {dollars(cost_e6)} and {fees}, at least {dollars(o.floor_e6)} comes back{earns}."

    def key(self, event_ticker: str, legs: Sequence[Leg]) -> str:
        """Return what names this candidate from scan to scan, and no other.

        A single leg is named by its market and side; several by all of them. Where prices decide which legs
        there are, override it with something that stays. No commas; 120 characters at most.
        """
        if len(legs) == 1:
            return f"{self.name}:{legs[0].ticker}:{legs[0].side}"
        parts = (f"{leg.ticker.removeprefix(event_ticker).lstrip('-')}:{leg.side}" for leg in legs)
        return f"{self.name}:{event_ticker}:{'~'.join(parts)}"

    def offer(
        self,
        view: EventView,
        bought: Sequence[tuple[MarketView, Leg]],
        gross_e6: int,
        now_ms: int,
        limits: ScanLimits,
        *,
        doubts: Iterable[str] = (),
        sound: bool = False,
        floor: int | None = None,
        because: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> Opportunity:
        """Return the candidate of these purchases, with all that speaks against it.

        Where there is more to say of it, replace what differs (`msgspec.structs.replace`).

        Args:
            bought: each market with what is bought there.
            gross_e6: expected or sure payout of all legs together less their cost, before fees.
            doubts: reasons of this kind's own.
            sound: whether the markets are known to have no `legs.market_reasons`.
            floor: what the legs pay at least, in micro-dollars, where that is known; else it is worked out.
            because: why exactly one outcome pays, where it rests on that.
            notes: what to know besides.
        """
        legs = tuple([leg for _, leg in bought])
        fees_e6 = total_fees_e6(legs)
        net_e6 = None if fees_e6 is None else gross_e6 - fees_e6
        capital_e6 = None if fees_e6 is None else sum([leg.cost_e6 for leg in legs]) + fees_e6
        reasons = [*legs_reasons(view, bought, now_ms, limits, sound=sound), *doubts]
        amounts = [(leg.ticker, leg.side, leg.count_e2) for leg in legs]
        if floor is None:
            floor = floor_e6(view, amounts)
        floor_void_e6 = void_e6([seen for seen, _ in bought], amounts)
        may_be_void = floor_void_e6 < floor and any(mentions_fair_price(seen.market) for seen, _ in bought)
        if capital_e6 is not None and floor_void_e6 < capital_e6 < floor:
            notes = (*notes, NOTE_VOID_ALLOWED if may_be_void else NOTE_VOID)
            if not limits.void_risk:
                reasons.append(why.VOID_RISK)
        if net_e6 is None:
            reasons.append(why.FEE_UNKNOWN)
        elif net_e6 <= 0:
            reasons.append(why.FEES_EXCEED_EDGE)
        return Opportunity(
            kind=self.name,
            key=self.key(view.event.event_ticker, legs),
            event_ticker=view.event.event_ticker,
            series_ticker=view.event.series_ticker,
            title=view.event.title,
            legs=legs,
            count_e2=max([leg.count_e2 for leg in legs]),
            gross_edge_e6=gross_e6,
            fees_e6=fees_e6,
            net_edge_e6=net_e6,
            ev_e6=net_e6,
            worst_case_e6=None
            if capital_e6 is None
            else (min(floor, floor_void_e6) if may_be_void else floor) - capital_e6,
            capital_e6=capital_e6,
            annualised_return=annualised(view, net_e6, capital_e6, now_ms),
            probability=None,
            value=None,
            start_ms=view.timing.start_ms,
            close_ms=first_close_ms(seen.market for seen, _ in bought),
            as_of_ms=min([leg.as_of_ms for leg in legs]),
            volume_e2=least_volume_e2([seen for seen, _ in bought]),
            exhaustive_because=because,
            reasons=why.ordered(reasons),
            notes=notes,
            floor_e6=floor,
            floor_void_e6=floor_void_e6,
        )
