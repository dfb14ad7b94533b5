"""What a kind of opportunity is: everything that the rest of the project asks of one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, Literal

import msgspec

from markets.json.read import mentions_fair_price
from markets.opportunities import reasons as why
from markets.opportunities.floors import floor_e6, void_of_e6
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
"""Up to this many legs of different outcomes are named one by one in a headline."""

NEVER_E4: Final = 10**9
"""Lacked by what does not pay at any prices: further than they ever move."""

NOTE_VOID: Final = "if it is called off it may pay back less than it costs"
NOTE_VOID_ALLOWED: Final = f"{NOTE_VOID}; the rules allow a settlement at a fair price"


class Headline(msgspec.Struct, frozen=True):
    """A trade in a few words: `act` ("Buy NO"), then what it buys (`of`). `side`: that of all legs, or ""."""

    act: str
    of: str
    side: str


class Kind(ABC):
    """One way to earn money. Pure: its answers depend on its arguments alone.

    `find` is the only method that must be written; the other answers suit a kind of single legs. If a method
    raises, this kind finds nothing in that one event, and nothing else is affected (`scanner.Failure`).

    Attributes:
        name: as it appears in keys, filters, JSON and files, for ever.
        title: as a page shows it.
        tone: how a page colours it.
        by_prices: whether `find` finds anything at all depends on the event, its series and markets, their
            statuses, fair values and best prices alone: time, ages, sizes and depth decide only how much, and
            what speaks against it. If a kind does not promise this, its events are scanned more often than
            needed.
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
            fair_values: what its markets are worth, by ticker, as far as any source says.
            now_ms: the present.
            limits: bounds; a candidate outside them is returned with the reason.
        """

    def may_pay(self, view: EventView, fair_values: Mapping[str, FairValue]) -> bool:
        """Return whether a candidate of this event may be tradable: not if fees take all at best prices.

        Asked before `find` by callers that only trade. It depends on what `by_prices` names and on nothing
        else, and a no stays one when a bid falls or goes or an ask rises or goes: then everything costs more.
        A wrong yes costs time; a wrong no costs money. A kind that has its own `lacks_e4` need not write it.
        """
        return type(self).lacks_e4 is Kind.lacks_e4 or self.lacks_e4(view, fair_values) == 0

    def lacks_e4(self, view: EventView, fair_values: Mapping[str, FairValue]) -> int:
        """Return 0 if `may_pay` says yes, else how far prices must move, at least, before it does.

        What bids rise and asks fall is added up over all markets, and nothing taken off for what gets worse;
        no bid counts as one of 0, no ask as one of $1. When anything but prices changes, this is asked again.
        Too small an answer costs time; too large a one costs money.
        """
        return 0 if self.may_pay(view, fair_values) else 1

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether `find` can find anything in this event. A wrong yes costs time; a wrong no, money.

        Args:
            event: this is asked at every change of it or its markets, so it must be quick.
            valued: whether somebody has published a fair value of one of its markets.
        """
        del event, valued
        return True

    def worth_of_books_e4(self, event: Event, quotes: Sequence[Quote]) -> int | None:
        """Return what the quotes of an event's markets promise per contract before fees, 0 for nothing.

        None: nothing is gained by seeing the books of these markets at one moment. Events that promise most
        are examined first, and their books are fetched first, all together.
        """
        del event, quotes
        return None

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        """Return the least that these legs, each (ticker, side, count_e2), pay together, whatever happens.

        The trader uses this to even out a trade whose legs were filled unequally, whichever strategy bought
        them, so it must be true of any legs. All their markets are in `view`. None: this kind promises
        nothing about such legs, and they are left as they are.
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
        """Return a sentence or two on why this candidate earns money and what it can lose."""
        o = opportunity
        cost_e6 = sum(leg.cost_e6 for leg in o.legs)
        many = "These legs cost" if len(o.legs) > 1 else "It costs"
        fees = "fees that are not known" if o.fees_e6 is None else f"{dollars(o.fees_e6)} in fees"
        earns = "" if o.ev_e6 is None else f": {dollars(o.ev_e6)} is expected of it"
        return f"{many} {dollars(cost_e6)} and {fees}, at least {dollars(o.floor_e6)} comes back{earns}."

    def key(self, event_ticker: str, legs: Sequence[Leg]) -> str:
        """Return a key that names this candidate, and no other, from scan to scan.

        A single leg is named by its market and side; several by all of them. If prices decide which legs
        there are, override this with something that does not change. No commas; 120 characters at most.
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
        """Return the candidate made of these purchases, with everything that speaks against it.

        If there is more to say about it, replace what differs (`msgspec.structs.replace`).

        Args:
            bought: each market with what is bought there.
            gross_e6: expected or sure payout of all legs together, less their cost, before fees.
            doubts: reasons of this kind's own.
            sound: whether the markets are known to have no `legs.market_reasons`.
            floor: the least that the legs pay, in micro-dollars, if known; otherwise it is worked out.
            because: why exactly one outcome pays, if the candidate rests on that.
            notes: anything else to know.
        """
        legs = tuple([leg for _, leg in bought])
        markets = [seen for seen, _ in bought]
        close_ms = first_close_ms([seen.market for seen in markets])
        fees_e6 = total_fees_e6(legs)
        net_e6 = None if fees_e6 is None else gross_e6 - fees_e6
        capital_e6 = None if fees_e6 is None else sum([leg.cost_e6 for leg in legs]) + fees_e6
        reasons = [*legs_reasons(view, bought, close_ms, now_ms, limits, sound=sound), *doubts]
        if floor is None:
            floor = floor_e6(view, [(leg.ticker, leg.side, leg.count_e2) for leg in legs])
        floor_void_e6 = void_of_e6([(seen, leg.side, leg.count_e2) for seen, leg in bought])
        may_be_void = floor_void_e6 < floor and any(mentions_fair_price(seen.market) for seen in markets)
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
            close_ms=close_ms,
            as_of_ms=min([leg.as_of_ms for leg in legs]),
            volume_e2=least_volume_e2(markets),
            exhaustive_because=because,
            reasons=why.ordered(reasons),
            notes=notes,
            floor_e6=floor,
            floor_void_e6=floor_void_e6,
        )
