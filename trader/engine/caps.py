"""Caps on what may be at stake beyond one event: by match, series, day, shard and strategy. Pure.

All events of one match together (winner, spread, total: they win and lose together), all of a series, all
that is expected to pay out on one day in UTC, all on one shard of the exchange, all of one strategy. If an
event is held but has not been seen since the start, its match, day and shard are not known: the match is
taken from its ticker, which names it after the series, and it counts towards every day and shard.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from bus.trading import reasons
from markets.opportunities import EventView
from markets.opportunities.legs import expected_payout_ms
from trader.ledger.ledger import Ledger

DAY_MS: Final = 86_400_000


class CapLimits(NamedTuple):
    """The most that may be at stake in each, micro-dollars."""

    match_e6: int
    series_e6: int
    day_e6: int
    shard_e6: int
    strategy_e6: int


class Cap(NamedTuple):
    """One bound on a trade: what is at stake there already, the most that may be, and its reason."""

    reason: str
    at_stake_e6: int
    limit_e6: int

    @property
    def room_e6(self) -> int:
        """What may still be added."""
        return self.limit_e6 - self.at_stake_e6


class _Group(NamedTuple):
    series: str
    day: int | None
    shards: frozenset[int] | None


class Groups:
    """What each event counts towards, as last worked out: most of what is held stands from trade to trade."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[EventView, range, _Group]] = {}

    def of(self, view: EventView, now_ms: int) -> _Group:
        """Return what an event counts towards."""
        event_ticker = view.event.event_ticker
        known = self._known.get(event_ticker)
        if known is None or known[0] is not view or now_ms not in known[1]:
            # The payout is expected elsewhere once one of these is past.
            ends_ms = [view.timing.expected_expiration_ms, view.timing.close_ms]
            until_ms = min([ms for ms in ends_ms if ms is not None and ms > now_ms], default=now_ms + 1)
            known = self._known[event_ticker] = view, range(now_ms, until_ms), _group(view, now_ms)
        return known[2]

    def keep(self, events: Collection[str]) -> None:
        """Forget all events but these."""
        for event_ticker in [known for known in self._known if known not in events]:
            del self._known[event_ticker]


def caps(
    view: EventView,
    strategy: str,
    ledger: Ledger,
    views: Mapping[str, EventView],
    limits: CapLimits,
    now_ms: int,
    groups: Groups | None = None,
    total_e6: int | None = None,
) -> tuple[Cap, ...]:
    """Return the bounds on a trade of a strategy in an event.

    Args:
        views: events in which something is held or ordered, as last seen.
        groups: what is kept of them from call to call.
        total_e6: the most that may be at stake in all. Beside that, a limit on a series, a day and a shard
            that is no lower says nothing, and these are left out where none of them is.
    """
    groups = Groups() if groups is None else groups
    own_ticker = view.event.event_ticker
    match_e6 = series_e6 = day_e6 = shard_e6 = 0
    for event_ticker in _of_match(view, ledger.events(), views):
        match_e6 += ledger.at_stake_e6(event_ticker)
    if total_e6 is not None and total_e6 <= min(limits.series_e6, limits.day_e6, limits.shard_e6):
        return (
            Cap(reasons.MATCH_LIMIT, match_e6, limits.match_e6),
            Cap(reasons.STRATEGY_LIMIT, strategy_stake_e6(ledger, strategy), limits.strategy_e6),
        )
    own = _group(view, now_ms)
    for event_ticker in ledger.events():
        stake_e6 = ledger.at_stake_e6(event_ticker)
        other = own
        if event_ticker != own_ticker:
            seen = views.get(event_ticker)
            other = _unseen(event_ticker) if seen is None else groups.of(seen, now_ms)
        series_e6 += stake_e6 * (own.series == other.series)
        day_e6 += stake_e6 * (None in (own.day, other.day) or own.day == other.day)
        shard_e6 += stake_e6 * (
            own.shards is None or other.shards is None or not own.shards.isdisjoint(other.shards)
        )
    return (
        Cap(reasons.MATCH_LIMIT, match_e6, limits.match_e6),
        Cap(reasons.SERIES_LIMIT, series_e6, limits.series_e6),
        Cap(reasons.DAY_LIMIT, day_e6, limits.day_e6),
        Cap(reasons.SHARD_LIMIT, shard_e6, limits.shard_e6),
        Cap(reasons.STRATEGY_LIMIT, strategy_stake_e6(ledger, strategy), limits.strategy_e6),
    )


def strategy_stake_e6(ledger: Ledger, strategy: str) -> int:
    """Return what a strategy's lots have cost and its open orders can still cost."""
    orders = [intent for intent in ledger.open.values() if intent.strategy == strategy]
    return ledger.stakes.of_strategy[strategy] + sum(map(ledger.left_e6, orders))


def room_e6(bounds: Iterable[Cap]) -> int | None:
    """Return what the tightest of these leaves; None without any."""
    return min((cap.room_e6 for cap in bounds), default=None)


def _group(view: EventView, now_ms: int) -> _Group:
    payout_ms = expected_payout_ms(view, now_ms)
    return _Group(
        series=view.event.series_ticker,
        day=None if payout_ms is None else payout_ms // DAY_MS,
        shards=frozenset(seen.market.exchange_index or 0 for seen in view.markets),
    )


def _unseen(event_ticker: str) -> _Group:
    return _Group(event_ticker.partition("-")[0], None, None)


def _of_match(view: EventView, events: Iterable[str], views: Mapping[str, EventView]) -> list[str]:
    """Return those events that are of one match with this one.

    A match is known by its name where both events have one, else by their tickers.
    """
    own_ticker, own_match = view.event.event_ticker, view.match
    suffix = own_ticker.partition("-")[2]
    found = []
    for event_ticker in events:
        seen = views.get(event_ticker)
        if own_match and seen is not None and seen.match:
            same = own_match == seen.match  # the usual case
        else:
            same = bool(suffix) and suffix == event_ticker.partition("-")[2]
        if same or event_ticker == own_ticker:
            found.append(event_ticker)
    return found
