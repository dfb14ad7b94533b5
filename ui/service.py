"""The dashboard's state: the latest scan and status, kept by a thread of its own, which notifies browsers."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from bus.clock import Clock
from bus.drift import drift_rows
from bus.health import trader_problems
from bus.inbox import Inbox
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.process.supervised import ProcessMonitor
from bus.protocol.join import Action
from bus.scan.membership import scan_limits
from bus.scan.rescan import Batch
from bus.scan.scans import Scan, Scans
from bus.threads import Owner
from bus.trading.shapes import FillRow, OrderRow
from markets.records import FairValue
from ui.pages.dashboard_status import ShownReplica, replay_of, status_of
from ui.pages.system import SystemView, place_rows, process_rows

from .alerts_link import AlertsLink
from .arrivals import Arrivals
from .catalogue import MarketCatalogue
from .desk import OLD_FACTOR, Absent, Desk, TraderLink
from .hub import PageUpdate, UpdateHub
from .moment import Finds, Moment
from .monitor import Monitor
from .movers import MoversLink
from .watchlist import Watchlist

TICK_S: Final = 0.25
TICK_NS: Final = 250_000_000
"""Shortest time between two scans, and the longest until a change of status is noticed."""

AGE_MS: Final = 1_000
"""Time alone changes what is tradable (ages, starts, closes), so scan at least this often."""

REST: Final = 4
"""After a scan the scanner rests for this many times its duration: at most a fifth of one core is used."""

REST_MAX_NS: Final = 10_000_000_000

MOMENT_NS: Final = 1_000_000_000
"""How long pages are made from the same moment while only time changes."""

_encode: Final = msgspec.json.Encoder().encode

_OF_MARKET: Final = ("market", "quote", "book", "suspect", "candles")


class Told(NamedTuple):
    """What browsers were last notified of."""

    standing: tuple[Any, ...] | None = None
    version: int = -1
    trader: int = -1
    deals: frozenset[OrderRow | FillRow] = frozenset()


class Service:
    """What pages are made from. Any thread may read it; what it hands out is replaced, never changed."""

    def __init__(self, settings: Settings, hub: UpdateHub, clock: Clock) -> None:
        self.settings = settings
        self.supervised = ProcessMonitor(settings.run_dir)
        self.inbox = Inbox()
        self.scans = Scans(scan_limits(settings))
        self._hub = hub
        self._clock = clock
        self.trader: TraderLink | None = None
        self.arrivals = Arrivals()
        self.monitor: Monitor | None = None
        self.alerts = AlertsLink(None, settings.alerts_control, on=False)
        self.movers: MoversLink | None = None
        self.watchlist = Watchlist(settings.data_dir)
        self.catalogue = MarketCatalogue(clock, lambda: self.scans.membership.markets_of)
        self._shown: ShownReplica | None = None
        self._values: ShownReplica | None = None
        self._values_at = (0, 0)
        self._moment: Moment | None = None
        self._listens_owner = Owner("what the dashboard hears of its replica")
        self._scans_owner = Owner("the dashboard's scanner")

    # -- for readers, any thread

    @property
    def scan(self) -> Scan:
        """The latest scan."""
        return self.scans.latest

    def now_ms(self) -> int:
        """Now, by the replica's clock."""
        return self._replica.now_ms()

    def now_ns(self) -> int:
        """Now by this machine's clock, even in a replay."""
        return self._clock.now_ns()

    def feed_counts(self) -> dict[str, int]:
        """The counters of this process's replica since it started, and how much waits for the scanner."""
        return {**msgspec.structs.asdict(self._replica.status().stats), "waiting": len(self.inbox)}

    def steady_ns(self) -> int:
        """A clock that never jumps."""
        return self._clock.monotonic_ns()

    def moment(self) -> Moment:
        """Return the present moment, from which all of one page is made."""
        moment, now_ns = self._moment, self.steady_ns()
        if (
            moment is None
            or moment.scan is not self.scan
            or moment.desk is not self.desk
            or self._has_found(moment.finds)
            or not 0 <= now_ns - moment.taken_ns < MOMENT_NS
        ):
            moment = self._moment = self._take_moment()
        return moment

    def _take_moment(self) -> Moment:
        scan, desk, now_ns = self.scan, self.desk, self.steady_ns()
        summary = desk.summary(self._clock.now_ms(), self.oldest_ms)
        troubles = trader_problems(desk.status) if desk.answers and desk.status is not None else ()
        status = status_of(self._replica, scan, self.settings, self.supervised.processes, summary, troubles)
        replay = replay_of(self.monitor.replay if self.monitor else None)
        status = msgspec.structs.replace(status, replay=replay)
        return Moment(scan, desk, status, round(status.now * 1000), now_ns, self._finds())

    def _finds(self) -> Finds:
        starred, link = self.watchlist.tickers, self.movers
        if link is None:
            return Finds(self.catalogue.latest, starred, self.watchlist.trouble)
        return Finds(self.catalogue.latest, starred, self.watchlist.trouble, link.latest, link.silent)

    def _has_found(self, before: Finds) -> bool:
        """Whether what markets are found by has been replaced."""
        now = self._finds()
        return (
            now.shelf is not before.shelf
            or now.starred is not before.starred
            or now.movers is not before.movers
        )

    def replaying(self) -> bool:
        """Whether a recording is being played back."""
        heartbeat = self._replica.heartbeat
        return heartbeat is not None and heartbeat.source == "replay"

    @property
    def oldest_ms(self) -> int:
        """Greatest age of a price that counts in profit and loss."""
        return round(OLD_FACTOR * self.settings.stale_after_s * 1000)

    @property
    def desk(self) -> Desk:
        """The trader's latest answers."""
        return Desk() if self.trader is None else self.trader.desk

    def link(self) -> TraderLink:
        """Return the link to the trader.

        Raises:
            Absent: there is none.
        """
        if self.trader is None:
            raise Absent("this dashboard follows no trader")
        return self.trader

    def system(self, moment: Moment) -> SystemView:
        """Return what the system page shows, and note that somebody is looking."""
        if self.monitor is not None:
            self.monitor.look(self.steady_ns())
        heartbeat, desk = self._replica.heartbeat, moment.desk
        processes = self.supervised.processes
        with self._replica.state.lock:
            drift, drift_more = drift_rows(self._replica.state.drifts)
        return SystemView(
            supervised=processes is not None,
            processes=process_rows(self.settings.run_dir, processes),
            places=place_rows(
                self._replica.status(),
                None if heartbeat is None else heartbeat.seq,
                moment.scan.seq,
                None if self.monitor is None else self.monitor.snapshot_server,
                desk.status if desk.answers else None,
            ),
            message_age=self.arrivals.ages(self.now_ns()),
            decision_latency_ms=None if desk.status is None else desk.status.latency_ms,
            feed=self.feed_counts(),
            drift=drift,
            drift_more=drift_more,
        )

    @property
    def markets_of(self) -> Mapping[str, Sequence[str]]:
        """The markets of each event, as tickers."""
        return self.scans.membership.markets_of

    # -- life

    def follow(self, replica: ShownReplica) -> None:
        """Set the replica to read from; its listener is `listen`."""
        self._shown = replica

    def listen(self, actions: Sequence[Action]) -> None:
        """Take what the replica did. The replica's thread calls this."""
        self._listens_owner.check()
        self.inbox.listen(actions)
        heartbeat = self._replica.heartbeat
        if heartbeat is not None and heartbeat.source == "live":  # a replay's times are of another day
            self.arrivals.add(self._clock.now_ns(), self._replica.published_ns)

    def follow_trader(self, link: TraderLink, values: ShownReplica) -> None:
        """Set the link to the trader, and the replica of its fair values."""
        self.trader, self._values = link, values

    @property
    def _replica(self) -> ShownReplica:
        assert self._shown is not None, "follow() comes first"
        return self._shown

    def run(self, stop: Stop) -> None:
        """Scan and notify until `stop`. The scanner's thread runs this."""
        self._scans_owner.check()
        told = Told()
        next_ns = 0
        while not stop.is_set():
            news = self.inbox.wait(TICK_S)
            wait_ns = next_ns - self._clock.monotonic_ns()
            if wait_ns > 0 and stop.wait(wait_ns / 1e9):
                break
            started_ns = self._clock.monotonic_ns()
            batch = self._pass(news)
            told = self._tell(batch, told)
            spent_ns = self._clock.monotonic_ns() - started_ns
            next_ns = started_ns + min(REST_MAX_NS, max(TICK_NS, (1 + REST) * spent_ns))
        self._hub.close()

    def _pass(self, news: bool) -> Batch | None:
        """Bring the scan up to the replica's position; return what was new, None if there was no need."""
        replica = self._replica
        state = replica.state
        if not state.epoch:
            return None
        latest = self.scan
        news = self._take_values() or news
        # A repair may change the state without moving its position.
        if not news and (state.epoch, state.seq) == (latest.epoch, latest.seq):
            if not 0 <= replica.now_ms() - latest.now_ms < AGE_MS:
                self.scans.advance(latest.state, Batch(), replica.now_ms())
                return Batch()
            return None
        with state.lock:
            frozen = state.frozen()
        batch = self.inbox.take(frozen.epoch, frozen.seq, 1.0)
        if batch is None:
            return None
        self.catalogue.offer(self.scans.advance(frozen, batch, replica.now_ms()), batch)
        return batch

    def _take_values(self) -> bool:
        """Pass the trader's fair values on to the scanner if they changed."""
        if self._values is None:
            return False
        state = self._values.state
        with state.lock:
            at = (state.epoch, state.seq)
            if at == self._values_at:
                return False
            published: dict[str, FairValue] = dict(state.fair_values)
        self._values_at = at
        self.scans.publish(published)
        return True

    def _tell(self, batch: Batch | None, told: Told) -> Told:
        """Publish an event if something that a page shows has changed; return what was published."""
        moment = self._take_moment()
        scan, status = moment.scan, moment.status
        standing = (status.signature(), [problem.code for problem in status.problems])
        known, version, desk, dealt = told
        trader = moment.desk.version
        deals = dealt
        if trader != desk:
            deals = frozenset[OrderRow | FillRow]((*moment.desk.orders, *moment.desk.fills))
        everything = standing != known
        overview = scan.version != version
        markets: frozenset[str] = frozenset()
        events: frozenset[str] = frozenset()
        if batch is not None and batch.keys and not everything:
            markets = frozenset(chain.from_iterable(batch.keys.get(kind, ()) for kind in _OF_MARKET))
            event_of = self.scans.membership.event_of
            events = frozenset(event_of[ticker] for ticker in markets if ticker in event_of)
        if deals != dealt and not everything:  # orders and fills are shown on the page of their market
            markets |= {deal.ticker for deal in deals ^ dealt}
        if everything or overview or markets or trader != desk:
            self._moment = moment  # whoever is notified asks at once
            data = _encode(status).decode()
            self._hub.publish(
                PageUpdate(
                    f"{scan.epoch}:{scan.seq}", data, everything, overview, markets, events, trader != desk
                )
            )
        return Told(standing, scan.version, trader, deals)
