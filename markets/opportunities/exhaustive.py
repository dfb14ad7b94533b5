"""Does exactly one market of an event resolve YES? Kalshi only promises "at most one" (`mutually_exclusive`).

The verdict comes with its reason in words, because money rests on it. Two proofs are accepted:

* the strikes tile the line: a lower tail, an upper tail and no hole in between;
* the outcomes of a match are all listed: both sides of a sport without draws, or both sides and the tie.

Anything else (a season's champion, an award, a list of candidates) is unknown: somebody unlisted may win.
Even with a proof, the exchange may void a match and settle at a fair price.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final

import msgspec

from markets.json.read import competition_of, custom_strike_keys
from markets.records import Event, Market

from .strikes import ON_A_LINE, interval

_NO_DRAW_STRIKES: Final = frozenset({"baseball_team", "basketball_team", "hockey_team", "tennis_competitor"})
"""Keys of `custom_strike` whose sports play on until somebody wins. Not football: an NFL game can tie."""

_NO_DRAW_COMPETITIONS: Final = frozenset({"NCAA Football"})
_TIE_LABELS: Final = frozenset({"tie", "draw"})
_GAME_SCOPES: Final = frozenset({"game", "match"})


class Verdict(msgspec.Struct, frozen=True):
    """Whether exactly one market resolves YES is `known`, and the reason in words either way."""

    known: bool
    because: str


def exhaustiveness(event: Event, markets: Sequence[Market]) -> Verdict:
    """Judge whether exactly one of `markets`, all of the event's, resolves YES."""
    if not event.mutually_exclusive:
        return Verdict(False, "the event is not mutually exclusive")
    if len(markets) < 2:
        return Verdict(False, "fewer than two markets")
    if {market.market_type for market in markets} != {"binary"}:
        return Verdict(False, "a market settles at a value")
    strike_types = {market.strike_type for market in markets}
    if strike_types <= ON_A_LINE:
        return _tiling(markets)
    if event.category == "Sports" and strike_types == {"structured"}:
        return _match(event, markets)
    return Verdict(False, "the list of outcomes may be incomplete")


def _tiling(markets: Sequence[Market]) -> Verdict:
    intervals = [interval(market) for market in markets]
    if None in intervals:
        return Verdict(False, "a strike lacks a bound")
    line = sorted((i for i in intervals if i is not None), key=lambda i: (i.low is not None, i.low or 0))
    if line[0].low is not None or line[-1].high is not None:
        return Verdict(False, "the strikes have no tail at one end")
    unit = _unit([end for i in line for end in (i.low, i.high) if end is not None])
    for left, right in pairwise(line):
        if left.high is None or right.low is None:
            return Verdict(False, "two strikes have the same tail")
        if left.high == right.low:
            joined = left.high_in or right.low_in
        else:
            joined = left.high_in and right.low_in and right.low - left.high == unit
        if not joined:
            return Verdict(False, f"the strikes do not join between {left.high} and {right.low}")
    return Verdict(True, f"the {len(line)} strikes tile the line without a hole, in units of {unit}")


def _unit(ends: Sequence[Decimal]) -> Decimal:
    """The coarsest decimal step, 1 or finer, that divides all ends: the step in which it is published."""
    places = max((-int(end.as_tuple().exponent) for end in ends), default=0)
    return Decimal(1).scaleb(-max(places, 0))


def _match(event: Event, markets: Sequence[Market]) -> Verdict:
    competition = competition_of(event)
    if competition.competition_scope.lower() not in _GAME_SCOPES:
        return Verdict(False, "the event is not marked as the result of one match")
    ties = sum([market.yes_sub_title.strip().lower() in _TIE_LABELS for market in markets])
    sides = len(markets) - ties
    if sides != 2 or ties > 1:
        return Verdict(False, "not the two sides of one match")
    if ties:
        return Verdict(True, "both sides of the match and the tie are listed")
    strikes = [custom_strike_keys(market) for market in markets]
    if competition.competition in _NO_DRAW_COMPETITIONS or all(keys & _NO_DRAW_STRIKES for keys in strikes):
        return Verdict(True, "both sides of a match that cannot end in a draw are listed")
    return Verdict(False, "the match may end in a draw, which is not listed")
