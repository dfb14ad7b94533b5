"""The listings: events, markets and milestones, each in the order in which they are served."""

from bisect import bisect_left, insort
from collections.abc import Callable

from .model import Event, Group, Market, Milestone

Order = list[tuple[int, str]]
"""(time, ticker or id) of each, ascending."""


class Listings:
    """Everything in the live window. It is unsorted while the universe is built, until `sort`.

    Attributes:
        groups: those of which not everything is settled; `matches` are the matches among them.
        milestones: by id, the one that changed last at the end.
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.matches: list[Group] = []
        self.events: dict[str, Event] = {}
        self.markets: dict[str, Market] = {}
        self.milestones: dict[str, Milestone] = {}
        self.groups_by_milestone: dict[str, Group] = {}
        self.event_order: Order = []
        self.market_order: Order = []
        self.milestone_order: Order = []
        self._sorted = False

    def add(self, group: Group) -> None:
        """Add a group."""
        add: Callable[[Order, tuple[int, str]], None] = insort if self._sorted else list.append
        self.groups.append(group)
        if group.kind == "match":
            self.matches.append(group)
        for event in group.events:
            self.events[event.ticker] = event
            event.series.events.append(event)
            add(self.event_order, (event.created_ms, event.ticker))
            for market in event.markets:
                self.markets[market.ticker] = market
                add(self.market_order, (event.created_ms, market.ticker))
        if group.milestone is not None:
            self.milestones[group.milestone.id] = group.milestone
            self.groups_by_milestone[group.milestone.id] = group
            add(self.milestone_order, (group.milestone.start_ms, group.milestone.id))

    def sort(self) -> None:
        """Sort everything, and keep it sorted from now on."""
        for order in (self.market_order, self.event_order, self.milestone_order):
            order.sort()
        self._sorted = True

    def end(self, group: Group) -> None:
        """Take out a group that is settled; its events stay until they are archived."""
        self.groups.remove(group)
        if group.kind == "match":
            self.matches.remove(group)

    def restamped(self, milestone: Milestone) -> None:
        """Note that a milestone has changed."""
        self.milestones[milestone.id] = self.milestones.pop(milestone.id)

    def archive(self, event: Event) -> bool:
        """Move a settled event out (the real window holds three months); return whether it was there."""
        if event.ticker not in self.events:
            return False
        event.series.events.remove(event)
        event.series.gone_e2 += sum(market.volume_e2 for market in event.markets)
        del self.events[event.ticker]
        self.event_order.remove((event.created_ms, event.ticker))
        for market in event.markets:
            del self.markets[market.ticker]
            del self.market_order[bisect_left(self.market_order, (event.created_ms, market.ticker))]
            # Orders and fills refer to their market for months, but do not need what it remembers.
            market.record = market.past = market.depth = market.day_ago = None
        return True
