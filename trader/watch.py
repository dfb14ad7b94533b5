"""What is worth a look: after each change, the events that may be traded or are held. Pure.

A scan of everything per change would be too much; an event is scanned when one of its records changed, when a
commit moved the ages of one that had candidates, and when its fair values changed. Only events with
something tradable, a position or an order go on to the engine.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from bus.protocol.state import State
from bus.scan.membership import Membership
from markets.opportunities import EventView, Opportunity, ScanLimits, candidates
from markets.records import FairValue
from markets.units import PRICE_ONE_E4


class Batch(msgspec.Struct, frozen=True):
    """What has changed: records as (kind, key); `commit`: a sweep ended; `whole`: anything may have."""

    records: Sequence[tuple[str, str]] = ()
    commit: bool = False
    whole: bool = False


class Watch:
    """Keeps the membership of events and which of them had candidates. One thread uses it."""

    def __init__(self, limits: ScanLimits) -> None:
        self.membership = Membership()
        self.scanned = 0
        self._limits = limits
        self._hot: set[str] = set()

    def events(
        self, state: State, batch: Batch, fair_values: Mapping[str, FairValue], held: Collection[str]
    ) -> list[str]:
        """Return the events to look at: what has changed, then what had candidates, then what is only held.

        Before them all those whose bids add up to more than one: likely tradable, and not for long.
        The caller holds the state's lock.
        """
        membership = self.membership
        events: set[str] = set()
        if batch.whole:
            membership.rebuild(state)
            self._hot.clear()
            events.update(membership.markets_of)
        for kind, key in batch.records:
            if kind == "fair_value":
                if key in membership.event_of:
                    events.add(membership.event_of[key])
            else:
                events.update(membership.update(state, kind, key))
        ordered = sorted(events)
        if batch.commit or batch.whole:
            # A commit confirms prices: what was too old, or not seen at one time, may be tradable now.
            ordered += sorted(self._hot - events)
            ordered += sorted(set(held) - events - self._hot)
        wanted = [
            event_ticker
            for event_ticker in ordered
            if event_ticker in held or self._may_matter(state, event_ticker, fair_values)
        ]
        return sorted(wanted, key=lambda event_ticker: not self._bids_above_one(state, event_ticker))

    def _bids_above_one(self, state: State, event_ticker: str) -> bool:
        event = state.events.get(event_ticker)
        if event is None or not event.mutually_exclusive:
            return False
        quotes = (state.quotes.get(ticker) for ticker in self.membership.markets_of.get(event_ticker, ()))
        bids_e4: int = sum(one.yes_bid_e4 for one in quotes if one is not None and one.yes_bid_size_e2)
        return bids_e4 > PRICE_ONE_E4

    def views(self, state: State, events: Iterable[str], now_ms: int) -> list[EventView]:
        """Return these events as they are now, if they are known; the caller holds the state's lock."""
        found = (self.membership.view(state, event_ticker, now_ms) for event_ticker in events)
        return [view for view in found if view is not None]

    def _may_matter(self, state: State, event_ticker: str, fair_values: Mapping[str, FairValue]) -> bool:
        event = state.events.get(event_ticker)
        if event is None:
            return False
        # Without exclusivity there is neither basket nor consensus.
        return event.mutually_exclusive or any(
            ticker in fair_values for ticker in self.membership.markets_of.get(event_ticker, ())
        )

    def relevant(
        self,
        views: Iterable[EventView],
        fair_values: Mapping[str, FairValue],
        held: Collection[str],
        now_ms: int,
    ) -> tuple[tuple[EventView, Sequence[Opportunity]], ...]:
        """Return those with something tradable, best first, then those only held, with their candidates."""
        found: list[tuple[int, str, tuple[EventView, Sequence[Opportunity]]]] = []
        for view in views:
            event_ticker = view.event.event_ticker
            self.scanned += 1
            opportunities = candidates(view, fair_values, now_ms, self._limits).opportunities
            if opportunities:
                self._hot.add(event_ticker)
            else:
                self._hot.discard(event_ticker)
            if opportunities and opportunities[0].tradable:
                found.append((-(opportunities[0].net_edge_e6 or 0), event_ticker, (view, opportunities)))
            elif event_ticker in held:
                found.append((0, event_ticker, (view, opportunities)))
        return tuple(entry[2] for entry in sorted(found, key=lambda entry: entry[:2]))
