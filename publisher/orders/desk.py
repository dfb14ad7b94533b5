"""What sending and looking share: the state, the clocks, the world as far as it is known.

Only `state` is in the log: the rest is what this process has seen, and a restart begins without it.
"""

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Final

from markets.orders import Intent, OrderState

from . import limits
from .account import Account, Recent
from .life import Draft, Key, Order
from .state import State
from .steps import CoreSettings, FeedHeard, Now

CLOCK_KEPT_MS: Final = 600_000
"""A time told by the exchange longer ago than this means nothing: clocks drift."""

TOLD_OFF_MS: Final = 5_000
"""A time in an answer that is further from its header Date, or without one from our clock, is none."""

FAR_MS: Final = 60_000
"""A refusal's Date that is further from our clock is believed once the next one agrees with it."""

HOLD_MS: Final = 30_000
"""No create waits longer for its turn."""


@dataclass(slots=True)
class Work:
    """What this process is doing about an order; times are of the steady clock.

    Attributes:
        dead_ms: the time by which its create must have left.
        check_ms: when to look it up; None: no reason to. checks: how often that was fruitless.
        cancel_ms: no cancel leaves before this. cancels: how many have left.
        cancelling, amending: whether a request is under way.
        unknown_ms: since when it has been unknown.
        unlisted_ms: since when a counted fill has been missing.
    """

    dead_ms: int = 0
    check_ms: int | None = None
    checks: int = 0
    cancel_ms: int = 0
    cancels: int = 0
    renew_ms: int = 0
    cancelling: bool = False
    amending: bool = False
    unknown_ms: int | None = None
    unlisted_ms: int | None = None


class Desk:
    """Shared by the parts of the core."""

    def __init__(self, settings: CoreSettings) -> None:
        self.settings = settings
        self.state = State()
        self.works: dict[Key, Work] = {}
        self.account: Account | None = None
        self.recent = Recent()
        self.rate = limits.Rate()
        self.killed = False
        self.fenced = False
        self.trading: bool | None = None
        self.shards: dict[int, bool] = {}
        self.feed: FeedHeard | None = None
        self.feed_heard_ms = 0
        self.complete_steady_ms: int | None = None
        self.alarms: list[str] = []
        self.resolved = 0
        self.longest_unknown_ms = 0
        self.sent = 0
        self.counted: Counter[str] = Counter()
        self._due: list[tuple[int, Key]] = []
        self._offset_ms = 0
        self._told_ms: int | None = None
        self._doubted_ms: int | None = None

    # -- clocks

    def start(self, now: Now) -> None:
        """Begin with the wall clock as an estimate of the exchange's time."""
        self._offset_ms = now.wall_ms - now.steady_ms

    def exchange_ms(self, now: Now) -> int:
        """Return the exchange's time."""
        return now.steady_ms + self._offset_ms

    def told(self, ts_ms: int | None, date_ms: int | None, now: Now) -> int | None:
        """Take a time that the exchange put into an answer: its clock shows that, or slightly more.

        Return it; None if there is none, or it cannot be right. What is believed here decides leases,
        signatures, and up to when all fills are in the log: one wrong number must not.
        """
        if ts_ms is None:
            return None
        first_ms, last_ms = (now.wall_ms, now.wall_ms) if date_ms is None else (date_ms, date_ms + 1_000)
        if ts_ms > last_ms + TOLD_OFF_MS:
            self.alarm("an answer's time is far from its Date, or from this machine's clock: it is not used")
            return None
        if ts_ms < first_ms - TOLD_OFF_MS:  # as that of an answer which was long under way
            return None
        self._believe(ts_ms, now)
        return ts_ms

    def dated(self, date_ms: int, now: Now) -> None:
        """Take the Date of an answer that refuses a signature: what is believed may be wrong, either way.

        So may be the Date, since a network's login page refuses everything, too. One that is far from our
        clock counts once the next refusal agrees with it, and nothing was accepted between them.
        """
        offset_ms = date_ms - now.steady_ms
        before_ms, self._doubted_ms = self._doubted_ms, None
        if abs(date_ms - self.exchange_ms(now)) > TOLD_OFF_MS:
            agrees = before_ms is not None and abs(offset_ms - before_ms) <= TOLD_OFF_MS
            if abs(date_ms - now.wall_ms) > FAR_MS and not agrees:
                self._doubted_ms = offset_ms
                return
            self._told_ms = None
        self._believe(date_ms, now)

    def accepted(self) -> None:
        """Note that the exchange took a request, and so its signature: no Date is needed."""
        self._doubted_ms = None

    def _believe(self, exchange_ms: int, now: Now) -> None:
        offset_ms = exchange_ms - now.steady_ms
        stale = self._told_ms is None or now.steady_ms - self._told_ms > CLOCK_KEPT_MS
        if stale or offset_ms > self._offset_ms:
            self._offset_ms = offset_ms
            self._told_ms = now.steady_ms

    # -- when to do something about an order

    def work(self, order: Order) -> Work:
        """Return what is being done about it."""
        work = self.works.get(order.key)
        if work is None:
            work = self.works[order.key] = Work()
        return work

    def wake(self, order: Order, steady_ms: int) -> None:
        """Attend to it then."""
        heapq.heappush(self._due, (steady_ms, order.key))

    def check(self, order: Order, steady_ms: int) -> None:
        """Look it up at the exchange then, or earlier."""
        work = self.work(order)
        if work.check_ms is None or steady_ms < work.check_ms:
            work.check_ms = steady_ms

    def due(self, steady_ms: int) -> list[Order]:
        """Return the orders to attend to now."""
        found: dict[Key, Order] = {}
        while self._due and self._due[0][0] <= steady_ms:
            _, key = heapq.heappop(self._due)
            order = self.state.active.get(key)
            if order is not None:
                found[key] = order
        return list(found.values())

    @property
    def next_due_ms(self) -> int | None:
        """When an order is to be attended to."""
        while self._due and self._due[0][1] not in self.state.active:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    # -- what becomes of orders

    def learn(self, draft: Draft, how: str, now: Now) -> None:
        """Record what is new about an order, and attend to it."""
        if self.state.learn(draft, how, now.wall_ms):
            self.follow(draft.order, now)

    def follow(self, order: Order, now: Now) -> None:
        """Keep what this process does about an order in step with it, after any change."""
        if order.ended:
            work = self.works.pop(order.key, None)
            if work is not None and work.unknown_ms is not None:
                self._resolved(work, now)
            return
        work = self.work(order)
        unknown = order.state is OrderState.UNKNOWN
        doubtful = unknown or (order.doubt is not None and order.doubt.answered)
        if doubtful and work.unknown_ms is None:
            work.unknown_ms = now.steady_ms
        elif not doubtful and work.unknown_ms is not None:
            self._resolved(work, now)
        if order.unlisted:
            work.unlisted_ms = now.steady_ms if work.unlisted_ms is None else work.unlisted_ms
        else:
            work.unlisted_ms = None
        self.wake(order, now.steady_ms)

    def _resolved(self, work: Work, now: Now) -> None:
        self.resolved += 1
        self.longest_unknown_ms = max(self.longest_unknown_ms, now.steady_ms - (work.unknown_ms or 0))
        work.unknown_ms = None

    def alarm(self, text: str) -> None:
        """Note something that must not happen."""
        if text not in self.alarms:
            self.alarms.append(text)
            del self.alarms[:-20]

    # -- whether an order may leave

    @property
    def holds(self) -> bool:
        """Whether nothing new leaves until somebody says so."""
        return self.fenced or self.killed

    def halted(self, now: Now, shard: int | None = None) -> str | None:
        """Return why no order may leave at all, None if they may."""
        if self.fenced:
            return limits.FENCED
        if self.killed:
            return limits.KILLED
        feed = self.feed
        if feed is not None and feed.source != "live":
            return limits.REPLAY
        if (
            feed is None
            or now.steady_ms - self.feed_heard_ms > self.settings.feed_silent_ms
            or self.complete_steady_ms is None
            or now.steady_ms - self.complete_steady_ms > self.settings.stale_after_ms
        ):
            return limits.STALE
        if self.trading is False or (shard is not None and self.shards.get(shard) is False):
            return limits.PAUSED
        if self.account is None:
            return limits.NOT_READY
        return None

    def hindrance(self, intent: Intent, now: Now, order: Order | None = None) -> str | None:
        """Return why an intent must not leave, None if it may; `order` is its order, if it is in the log."""
        halted = self.halted(now, intent.exchange_index)
        if halted in (limits.FENCED, limits.KILLED):
            return halted
        if now.wall_ms > intent.valid_until_ms or (
            intent.expires_ms is not None and intent.expires_ms <= self.exchange_ms(now) + 1_000
        ):
            return limits.EXPIRED
        if halted is not None:
            return halted
        if self.feed is not None and intent.epoch != self.feed.epoch:
            return limits.OTHER_EPOCH
        return self.too_much(intent, order)

    def too_much(self, intent: Intent, itself: Order | None) -> str | None:
        """Return which limit an order would break, or that cash is lacking; None if neither."""
        account, most = self.account, self.settings
        if account is None:
            return limits.NOT_READY
        others = [order for order in self.state.active.values() if order is not itself]
        held = limits.weigh(intent, others, account)
        if held.order_e6 > most.order_e6:
            return limits.ORDER_LIMIT
        if held.order_e6 and held.market_e6 > most.market_e6:
            return limits.MARKET_LIMIT
        if held.order_e6 and held.total_e6 > most.total_e6:
            return limits.TOTAL_LIMIT
        return limits.no_cash(intent, held, account)
