"""Follows only the part of the feed that the rules need, to save memory.

Without a rule about prices that is the exchange's status; a rule about a price adds the series of its market;
a rule about edges adds its series and all events, or everything.
"""

import threading
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from bus.alerting import AnyRule, EdgeRule, PriceRule
from bus.clock import Clock, Rng
from bus.inbox import Inbox
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.memory import Slim
from bus.protocol.messages import TOPIC_EX, TOPIC_REF, market_topic
from bus.replica import Replica
from bus.scan.membership import scan_limits
from bus.threads import Owner

from .edges import Edges

EVERYTHING: Final = ""


class Wanted(NamedTuple):
    """What rules need: topics of the feed, and whether to look for edges."""

    topics: tuple[str, ...]
    edges: bool


def wanted_by(rules: Sequence[AnyRule]) -> Wanted:
    """Return what the active rules need."""
    series: set[str] = set()
    edges = everything = False
    for rule in rules:
        if isinstance(rule, PriceRule) and rule.on:
            series.add(rule.series or rule.ticker.split("-")[0])
        elif isinstance(rule, EdgeRule) and rule.on:
            edges = True
            everything = everything or not rule.series
            series.add(rule.series)
    if everything:
        return Wanted((EVERYTHING,), edges)
    topics = {TOPIC_EX, *(market_topic(name) for name in series), *((TOPIC_REF,) if edges else ())}
    return Wanted(tuple(sorted(topics | ({market_topic("_")} if series else set()))), edges)


class Following:
    """A replica of what is wanted, and the search for edges in it. They belong to one thread."""

    def __init__(self, context: Any, settings: Settings, clock: Clock) -> None:
        self._context = context
        self._settings = settings
        self._clock = clock
        self._wanted: Wanted | None = None
        self._replica: Replica | None = None
        self._edges: Edges | None = None
        self._parts: list[Replica] = []
        self._stop: Stop | None = None
        self._thread: threading.Thread | None = None
        self._owner = Owner("what the alerts follow")

    @property
    def replica(self) -> Replica:
        """The replica of what is wanted."""
        assert self._replica is not None, "follow() comes first"
        return self._replica

    @property
    def edges(self) -> Edges | None:
        """The search for edges, None if none are wanted."""
        return self._edges

    def follow(self, wanted: Wanted) -> None:
        """Follow this from now on; nothing happens if it is the same as before."""
        self._owner.check()
        if wanted == self._wanted:
            return
        self.stop()
        self._wanted = wanted
        settings, inbox = self._settings, Inbox()
        self._replica = Replica(
            self._context,
            settings.feed,
            settings.query,
            self._clock,
            Rng(),
            topics=wanted.topics,
            listener=inbox.listen if wanted.edges else None,
            keeping=Slim(),
            spare=settings.state,
        )
        self._parts = [self._replica]
        if wanted.edges:
            values = Replica(
                self._context,
                settings.trader_events,
                settings.trader_control,
                self._clock,
                Rng(),
                topics=("fv.",),
            )
            self._parts.append(values)
            self._edges = Edges(self._replica, inbox, scan_limits(settings), values, self._clock)
            self._stop = Stop()
            self._thread = threading.Thread(target=self._edges.run, args=(self._stop,), name="edges")
        for part in self._parts:
            part.start()
        if self._thread is not None:
            self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._owner.check()
        if self._stop is not None and self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._stop.close()
        for part in self._parts:
            part.stop()
        self._parts, self._stop, self._thread, self._edges, self._wanted = [], None, None, None, None
