"""Kind ``implication``: one market of a match implies another, in another event, and yet costs more.

Who wins by over 2.5 points wins. So YES of the winner and NO of the margin pay a dollar at least: a sure
profit when the winner's ask is below the margin's bid. Both must belong to the same milestone, and the margin
must be worded as the winner's name, then "wins by over" and the strike. It is sure only if both are settled
by the same sources, and in the same way when the match is not played; often they are not, which then counts
as a reason against it.

The legs lie in two events, which the trader does not trade together: it is found and shown, with that reason.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from markets.book import NO, YES
from markets.fees import fee_schedule
from markets.json.read import mentions_fair_price, settlement_sources_of
from markets.opportunities import reasons as why
from markets.opportunities.legs import market_reasons, top
from markets.opportunities.strikes import interval, words_of
from markets.opportunities.types import EventView, Opportunity, ScanLimits
from markets.records import Event, FairValue

from .kind import NEVER_E4
from .locked import LockedKind
from .nested import Pair, furthest, label

WINS_BY: Final = " wins by over #"
SAYS: Final = "{} implies {}, so NO of the one or YES of the other pays in any case"


class ImplicationKind(LockedKind):
    """YES of a winner costs less than YES of a margin by which it would win."""

    name = "implication"
    title = "Implication"
    tone = "fair"

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        """Return the winner with the margin that is furthest above it, for each side of the match."""
        del fair_values  # it needs no opinion
        if not view.event.mutually_exclusive:
            return []
        offers = []
        for other in view.related:
            fees = [fee_schedule(one.event, one.series) for one in (view, other)]
            offers += [
                self.sets(
                    view,
                    [(pair.wider, YES), (pair.narrower, NO)],
                    now_ms,
                    limits,
                    fees=fees,
                    doubts=(why.TWO_EVENTS, *_settlement_reasons(view, other, pair)),
                    notes=(SAYS.format(label(pair.narrower), label(pair.wider)),),
                )
                for pair in furthest(list(_pairs(view, other, now_ms, limits)))
            ]
        return [offer for offer in offers if offer is not None]

    def lacks_e4(self, view: EventView, fair_values: Mapping[str, FairValue]) -> int:
        """Return that no prices suffice: the legs lie in two events, which is always a reason against it."""
        del view, fair_values
        return NEVER_E4

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether the event may be about who wins."""
        return event.mutually_exclusive


def _pairs(view: EventView, other: EventView, now_ms: int, limits: ScanLimits) -> Iterator[Pair]:
    """Yield the winners and margins that are priced the wrong way round: the sound ones, if there are any."""
    found = list(_crossed(view, other))
    sound = [
        pair
        for pair in found
        if not any(
            market_reasons(seen, max(seen.quote_as_of_ms, seen.book_as_of_ms or 0), now_ms, limits)
            for seen in (pair.wider, pair.narrower)
        )
    ]
    yield from sound or found


def _crossed(view: EventView, other: EventView) -> Iterator[Pair]:
    for winner in view.markets:
        ask, name = top(winner).yes_ask, winner.market.yes_sub_title
        if ask is None or not name or winner.market.strike_type != "structured":
            continue
        for margin in other.markets:
            if not margin.market.yes_sub_title.startswith(name):
                continue
            bid, words, covers = top(margin).yes_bid, words_of(margin.market), interval(margin.market)
            if (
                bid is not None
                and bid[0] > ask[0]
                and words is not None
                and words[0].startswith(name + WINS_BY)
                and covers is not None
                and covers.high is None
                and covers.low is not None
                and covers.low >= 0
                and margin.market.market_type == winner.market.market_type == "binary"
            ):
                yield Pair(bid[0] - ask[0], winner, margin)


def _settlement_reasons(view: EventView, other: EventView, pair: Pair) -> Iterator[str]:
    sources = settlement_sources_of(view.event)
    rules = [mentions_fair_price(seen.market) for seen in (pair.wider, pair.narrower)]
    if not sources or sources != settlement_sources_of(other.event) or rules[0] != rules[1]:
        yield why.SETTLED_APART
