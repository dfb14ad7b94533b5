"""What the exchange's lists say, fetched as often as it matters, and what follows from that. Pure.

There are two lanes: one asks about orders and fills, the other about the account; each has one request under
way. Fills are booked here and nowhere else, each once, by its id.
"""

from collections.abc import Generator
from typing import Any, Final

import msgspec

from bus.trading.gateway import ForeignFill

from . import reading, requests
from .account import Account, Listing, event_of
from .desk import Desk
from .life import CERTAIN_MS, READ_LAG_MS, Draft, Key, Order
from .reading import Failed, Looked
from .records import Foreign, Swept
from .replies import Named, SeenFill, SeenOrder, UnreadableFill
from .requests import Asked
from .sending import Sending
from .state import AHEAD_MOST_MS
from .steps import Now, Reply, Request, Send

LOOKS_MS: Final = (0, 300, 600, 1_000, 2_000, 3_000)
"""Pauses before a look: the first at once, the last repeated as long as necessary."""

FILLS_MS: Final = (0, 150, 300, 600, 1_000, 2_000)
SWEEP_MS: Final = 30_000
"""How often fills are looked for when nothing calls for it: foreign ones count, too."""

RESTING_SWEEP_MS: Final = 10_000
ACCOUNT_MS: Final = 60_000
QUEUES_MS: Final = 10_000
"""How often to ask for places in the queue while something rests: only people look at them."""

TARGETED_MS: Final = 5_000
"""After this long, a fill that was counted but not listed is looked for by its order."""

STALE_READS_MS: Final = 90_000
"""The greatest age of a list."""

UNREADABLE_KEPT_MS: Final = 86_400_000
"""A fill that cannot be read is asked for again for this long: a later build may be able to read it."""

SIGNED_BEFORE_MS: Final = 60_000
"""Whatever the clocks, an order is never created this long before it was signed."""

GENERATION: Final = 10**9
"""A gateway asks less often than this, in ms."""

BUSY_MS: Final = 50
FAILED_MS: Final = 500
FAILED_MOST_MS: Final = 8_000
"""The pause after a list that failed: doubling, so that there are tokens left for all others."""


class Lane:
    """One job after another, each with one request at a time."""

    def __init__(self) -> None:
        self.job: Generator[Asked, Reply, None] | None = None
        self.asked: Asked | None = None
        self.request_id = 0

    @property
    def free(self) -> bool:
        """Whether another job may begin."""
        return self.job is None

    def begin(self, job: Generator[Asked, Reply, None]) -> None:
        """Begin a job."""
        self.job = job
        self._go_on(None)

    def answered(self, reply: Reply) -> None:
        """Hand it its answer."""
        self.request_id = 0
        self._go_on(reply)

    def _go_on(self, reply: Any) -> None:
        assert self.job is not None
        try:
            self.asked = self.job.send(reply)
        except StopIteration:
            self.job = self.asked = None


class Looking:
    """The reads of the gateway.

    Attributes:
        queues: how many contracts are before each order that rests, as asked for last.
        queues_ms: when that was, by the wall clock; 0: never.
        subaccount: the only one of which anything counts, None for all that is listed.
        trouble: why the account could not be listed whole when last tried, "" if it could.
    """

    def __init__(self, desk: Desk, sending: Sending) -> None:
        self._desk = desk
        self._state = desk.state
        self._sending = sending
        self._orders, self._account = Lane(), Lane()
        self._now = Now(0, 0)
        self._requests = 0
        self._look_ms: int | None = None
        self._looks = 0
        self._fills_ms: int | None = None
        self._fills_tried = 0
        self._swept_steady_ms = 0
        self._sweep_not_before_ms = 0
        self._failing: dict[str, tuple[int, str]] = {}
        self._account_ms = 0
        self._queues_ms = 0
        self.queues: dict[Key, int] = {}
        self.queues_ms = 0
        self.subaccount: int | None = None
        self._strangers: dict[str, tuple[int, list[SeenFill]]] = {}
        self._asked_strangers: dict[str, int] = {}
        self._differing: set[str] = set()
        self._sought: set[Key] = set()
        self._wait_ms: int | None = None
        self.since_ms = 0
        self.failures = 0
        self.trouble = ""

    def start(self, now: Now) -> None:
        """Look at everything first."""
        self._now = now
        self._requests = -self._state.generation * GENERATION  # no answer to an earlier gateway's is ours
        self._look_ms = self._fills_ms = now.steady_ms
        self._account_ms = now.steady_ms
        for order in self._state.active.values():
            self._desk.follow(order, now)
            if order.created == "known":
                self._desk.check(order, now.steady_ms)

    # -- when

    def soon(self, now: Now) -> None:
        """Look at orders and fills: something has happened, or may have."""
        self._looks = self._fills_tried = 0
        if self._unresolved():
            self._look_ms = now.steady_ms
        self.fills_soon(now)

    def fills_soon(self, now: Now) -> None:
        """Look for fills now."""
        self._fills_tried = 0
        self._fills_ms = now.steady_ms

    def hint(self, ticker: str, now: Now) -> None:
        """A private channel has sent something."""
        for order in self._state.active.values():
            if order.rests and ticker in ("", order.intent.ticker):
                self._desk.check(order, now.steady_ms)
        self.fills_soon(now)

    def want_account(self, now: Now, since_ms: int) -> None:
        """Ask for the account's lists, unless that is under way."""
        self.since_ms = since_ms if not self.since_ms else min(self.since_ms, since_ms)
        self._account_ms = min(self._account_ms, now.steady_ms)

    def _unresolved(self) -> list[Order]:
        return [
            order
            for order in self._state.active.values()
            if order.created == "unknown"
            or (order.doubt is not None and order.doubt.answered)
            or order.key in self._sought
        ]

    def _unlisted(self) -> list[Order]:
        return [order for order in self._state.active.values() if order.unlisted]

    # -- asking

    def leave(self, now: Now) -> list[Send]:
        """Return the reads that leave now."""
        self._now = now
        self._wait_ms = None
        out: list[Send] = []
        if self._orders.free:
            self._next_job(now)
        if self._account.free and now.steady_ms >= self._account_ms:
            self._account_ms = now.steady_ms + ACCOUNT_MS
            self._account.begin(self._account_job(now))
        if self._account.free and now.steady_ms >= self._queues_ms and self._rests():
            self._queues_ms = now.steady_ms + QUEUES_MS
            self._account.begin(self._queues_job(now))
        for lane in self._lanes():
            asked = lane.asked
            if lane.request_id or asked is None:
                continue
            presses = lane is self._orders
            wait_ms = self._sending.budget.read_wait_ms(asked.cost, now.steady_ms, presses=presses)
            if wait_ms:
                at_ms = now.steady_ms + wait_ms
                self._wait_ms = at_ms if self._wait_ms is None else min(self._wait_ms, at_ms)
                if presses:
                    break  # the tokens it waits for are not spent on the account
                continue
            self._sending.budget.pay("read", asked.cost, 0, now.steady_ms)
            self._requests -= 1  # reads are not in the log, so their numbers are below 0
            lane.request_id = self._requests
            query = asked.query
            if self.subaccount is not None and asked.what in requests.ACROSS:
                query = (*query, ("subaccount", str(self.subaccount)))
            out.append(
                Send(Request(lane.request_id, asked.what, asked.method, asked.path, query, cost=asked.cost))
            )
        return out

    def _lanes(self) -> tuple[Lane, Lane]:
        return self._orders, self._account

    @property
    def next_ms(self) -> int | None:
        """When something is to be asked."""
        times = [self._wait_ms] if self._wait_ms is not None else []
        if self._orders.free:
            times += [at for at in (self._look_ms, self._fills_ms, self._sweep_ms()) if at is not None]
            times += [work.check_ms for work in self._desk.works.values() if work.check_ms is not None]
            times += list(self._asked_strangers.values())
        if self._account.free:
            times.append(self._account_ms)
            if self._rests():
                times.append(self._queues_ms)
        return min(times, default=None)

    def answered(self, request_id: int, reply: Reply, now: Now) -> None:
        """Take the answer to a read."""
        self._now = now
        if reply.status == 429:
            self._sending.budget.reads.refused(now.steady_ms)
        elif reply.status is not None:
            self._sending.budget.reads.accepted()
        if reply.date_ms is None:  # what a list says of its own time is measured by what is believed then
            reply = msgspec.structs.replace(reply, date_ms=self._desk.exchange_ms(now))
        for lane in (self._orders, self._account):
            if lane.request_id == request_id:
                lane.answered(reply)

    def _sweep_ms(self) -> int:
        every_ms = RESTING_SWEEP_MS if self._rests() else SWEEP_MS
        return max(self._swept_steady_ms + every_ms, self._sweep_not_before_ms)

    def _failed(self, what: str, error: Failed) -> int:
        """Note that a list could not be had; return how long to wait before the next try."""
        self.failures += 1
        count = self._failing.get(what, (0, ""))[0]
        self._failing[what] = count + 1, f"{what}: {error}"
        return min(FAILED_MOST_MS, FAILED_MS << min(count, 5))

    @property
    def blind(self) -> str:
        """Why orders or fills could not be listed the last times, "" if they could."""
        return next((said for count, said in self._failing.values() if count > 1), "")

    def _rests(self) -> bool:
        return any(order.rests for order in self._state.active.values())

    def _next_job(self, now: Now) -> None:
        steady_ms = now.steady_ms
        if self._look_ms is not None and steady_ms >= self._look_ms:
            self._look_ms = None
            self._orders.begin(self._look_job(now))
            return
        stranger = next((name for name, at in self._asked_strangers.items() if steady_ms >= at), None)
        if stranger is not None:
            self._asked_strangers[stranger] = steady_ms + 1_000
            self._orders.begin(self._stranger_job(stranger))
            return
        if self._fills_ms is not None and steady_ms >= self._fills_ms:
            self._fills_ms = None
            self._orders.begin(self._fills_job(now))
            return
        checked = min(
            (
                (work.check_ms, key)
                for key, work in self._desk.works.items()
                if work.check_ms is not None and work.check_ms <= steady_ms
            ),
            default=None,
        )
        order = self._state.active.get(checked[1]) if checked is not None else None
        if order is not None and order.order_id:
            self._orders.begin(self._check_job(order))
        elif checked is not None:
            self._desk.works[checked[1]].check_ms = None
        elif steady_ms >= self._sweep_ms():
            self._orders.begin(self._fills_job(now))

    # -- jobs

    def _look_job(self, began: Now) -> reading.Job:
        """All orders and fills since the first unknown order was signed."""
        unresolved = self._unresolved()
        if not unresolved:  # something else has shown them: nobody needs this list
            self._failing.pop("orders", None)
            return
        exchange_ms = self._desk.exchange_ms(began)
        signed_ms = [
            min(order.signed_ms, order.doubt.signed_ms if order.doubt is not None else order.signed_ms)
            for order in unresolved
        ]
        since_ms = min(signed_ms) - SIGNED_BEFORE_MS
        with_moment = any(_certain_ms(order) <= exchange_ms for order in unresolved)
        try:
            as_of_ms = (yield from reading.moment()) if with_moment else 0
            orders, lost = yield from reading.orders_since(since_ms, self._ours)
            self._listed(orders, as_of_ms)  # at once, so that what is found need not wait for the fills
            self._sought.clear()
            fills, unreadable = None, list[UnreadableFill]()
            if with_moment:  # otherwise fills are fetched if something was found to have some
                fills, unreadable = yield from reading.fills_since(min(since_ms, self._fills_since(began)))
        except Failed as error:
            self._look_again(self._failed("orders", error))
            return
        self._failing.pop("orders", None)
        looked = Looked(as_of_ms, orders, lost, unreadable)
        if fills is not None:
            self._filled(fills)
            self._swept(began, whole=not unreadable)
        if looked.unreadable_orders:
            self._desk.alarm("orders are listed that cannot be read, and may be ours")
        elif looked.as_of_ms:
            self._not_placed(looked, unresolved)
        if self._unresolved():
            self._looks += 1
            self._look_again(LOOKS_MS[min(self._looks, len(LOOKS_MS) - 1)])

    def _look_again(self, pause_ms: int) -> None:
        exchange_ms = self._desk.exchange_ms(self._now)
        certain = [
            at - exchange_ms for order in self._unresolved() if (at := _certain_ms(order)) > exchange_ms
        ]
        pause_ms = min([pause_ms, *(wait + 1 for wait in certain)])
        self._look_ms = self._now.steady_ms + max(BUSY_MS, pause_ms)

    def _not_placed(self, looked: Looked, unresolved: list[Order]) -> None:
        """End those that no list contains and none can contain any more."""
        listed = {seen.client_order_id for seen in looked.orders}
        lagging = self._lagging(looked)
        for order in unresolved:
            if order.ended or order.created != "unknown" or looked.as_of_ms <= (order.deadline_ms or 0):
                continue
            stranger = any(
                fills[0].ticker == order.intent.ticker and fills[0].side == order.intent.side
                for _, fills in self._strangers.values()
            )
            if order.intent.client_order_id in listed or stranger or order.intent.exchange_index in lagging:
                continue
            if any(self._may_be_of(order, fill) for fill in looked.unreadable_fills):
                continue
            draft = Draft(order)
            draft.not_placed()
            self._desk.learn(draft, "listed", self._now)

    def _may_be_of(self, order: Order, fill: UnreadableFill) -> bool:
        """Whether a fill that cannot be read may be one of an order whose id is not known."""
        return (
            self._state.by_id.get(fill.order_id, order.key) == order.key
            and fill.ticker in ("", order.intent.ticker)
            and (fill.time_ms is None or fill.time_ms >= order.signed_ms - SIGNED_BEFORE_MS)
        )

    def _lagging(self, looked: Looked) -> set[int]:
        """Return shards whose lists lack what the exchange told us long enough ago."""
        listed = {seen.order_id: seen for seen in looked.orders}
        since_ms = min((order.signed_ms for order in self._state.active.values()), default=0)
        before_ms = self._desk.exchange_ms(self._now) - READ_LAG_MS
        lagging: set[int] = set()
        for order in self._state.active.values():
            if order.created != "known" or not since_ms <= order.signed_ms <= before_ms:
                continue
            seen = listed.get(order.order_id)
            late = order.unlisted and (self._desk.work(order).unlisted_ms or 0) < (
                self._now.steady_ms - READ_LAG_MS
            )
            if late and (seen is None or seen.filled_e2 < order.counted_e2):
                lagging.add(order.intent.exchange_index or 0)
        return lagging

    def _fills_job(self, began: Now) -> reading.Job:
        """All fills since the last sweep; of an order whose fills have long been missing, all of them."""
        late = [
            order
            for order in self._unlisted()
            if began.steady_ms - (self._desk.work(order).unlisted_ms or began.steady_ms) > TARGETED_MS
        ]
        try:
            if late and self._fills_tried % 2:
                order = min(late, key=lambda order: self._desk.work(order).unlisted_ms or 0)
                fills, _ = yield from reading.fills_since(0, order.order_id)
                self._filled(fills)
            else:
                fills, unreadable = yield from reading.fills_since(self._fills_since(began))
                self._filled(fills)
                self._swept(began, whole=not unreadable)
        except Failed as error:
            self._fills_ms = self._sweep_not_before_ms = self._now.steady_ms + self._failed("fills", error)
            return
        self._failing.pop("fills", None)
        for order in late:
            self._desk.check(order, self._now.steady_ms)
        if self._unlisted():
            self._fills_tried += 1
            pause_ms = FILLS_MS[min(self._fills_tried, len(FILLS_MS) - 1)]
            at_ms = self._now.steady_ms + pause_ms
            self._fills_ms = at_ms if self._fills_ms is None else min(self._fills_ms, at_ms)

    def _fills_since(self, now: Now) -> int:
        exchange_ms = self._desk.exchange_ms(now)
        return min(self._state.swept_ms, exchange_ms) - STALE_READS_MS

    def _swept(self, began: Now, *, whole: bool) -> None:
        """Note up to when all fills are known; `whole`: all that were listed could be read."""
        self._swept_steady_ms = self._now.steady_ms
        # Not far beyond our clock, however sure of another we are: no more than that can a wrong time do.
        until_ms = min(self._desk.exchange_ms(began), began.wall_ms + AHEAD_MOST_MS)
        if not whole:
            self._desk.alarm("fills are listed that cannot be read")
            until_ms -= UNREADABLE_KEPT_MS
        if until_ms > self._state.swept_ms + 60_000:
            self._state.commit(Swept(until_ms))

    def _check_job(self, order: Order) -> reading.Job:
        """One order of ours, by its id."""
        work = self._desk.work(order)
        work.check_ms = None
        asked_id = order.order_id
        try:
            seen = yield from reading.one_order(asked_id)
        except Failed:
            self.failures += 1
            seen = None
        work = self._desk.work(order)
        if seen is not None and seen.order_id == asked_id and order.key in self._state.active:
            before = (order.counted_e2, order.over)
            self._listed([seen], 0)
            if (order.counted_e2, order.over) != before:
                self.fills_soon(self._now)
        if order.key not in self._state.active:
            self._desk.works.pop(order.key, None)
            return
        if order.over:
            return
        work.checks += 1
        pressing = order.cancel or order.doubt is not None or seen is None
        expired = order.lease_ms is not None and order.lease_ms < self._desk.exchange_ms(self._now)
        if pressing or expired:
            self._desk.check(order, self._now.steady_ms + min(5_000, 200 << min(work.checks, 5)))
            if seen is None and work.checks > 1 and order.doubt is None:
                self._lost(order)

    def _lost(self, order: Order) -> None:
        """Look for an order that its id does not find: an amend may have given it another id."""
        self._sought.add(order.key)
        self._look_ms = self._now.steady_ms + BUSY_MS if self._look_ms is None else self._look_ms

    def _stranger_job(self, order_id: str) -> reading.Job:
        """An order with fills whose id we do not know."""
        try:
            seen = yield from reading.one_order(order_id)
        except Failed:
            self.failures += 1
            return
        if seen is None or seen.order_id != order_id:
            return
        self._listed([seen], 0)
        if order_id in self._strangers:
            self._foreign(order_id)

    def _account_job(self, began: Now) -> reading.Job:
        listing = Listing(
            self._now.wall_ms,
            began.steady_ms,
            self.since_ms or began.wall_ms - 86_400_000,
            self._state.requests,
            self._ours,
            self.subaccount or 0,
        )
        try:
            yield from reading.account(listing)
        except Failed as error:
            self.failures += 1
            self.trouble = str(error)
            self._account_ms = self._now.steady_ms + 2_000
            return
        self.trouble = listing.trouble
        self._listed(listing.resting, listing.as_of_ms)
        foreign = [seen for seen in listing.resting if self._whose(seen) is None]
        self._desk.account = Account.of(listing, self._desk.recent.after(listing.as_of_ms), foreign)
        self._compare(listing)

    def _queues_job(self, began: Now) -> reading.Job:
        """The places in the queue of all that rests. What is not listed is not known any more."""
        tickers = sorted({order.intent.ticker for order in self._state.active.values() if order.rests})
        try:
            listed = yield from reading.queues(tickers)
        except Failed:
            self.failures += 1
            return
        keys = ((self._state.by_id.get(order_id), ahead_e2) for order_id, ahead_e2 in listed.items())
        self.queues = {
            key: ahead_e2 for key, ahead_e2 in keys if key is not None and key in self._state.active
        }
        self.queues_ms = began.wall_ms

    def _compare(self, listing: Listing) -> None:
        """Report where the orders we believe to be resting differ from those listed, twice in a row."""
        listed = {seen.order_id for seen in listing.resting}
        differing = {
            order.order_id
            for order in self._state.active.values()
            if order.rests
            and order.signed_ms < listing.as_of_ms - READ_LAG_MS
            and (order.lease_ms is None or order.lease_ms > self._desk.exchange_ms(self._now))
            and order.order_id not in listed
        }
        for order in self._state.active.values():
            if order.order_id in differing:
                self._desk.check(order, self._now.steady_ms)
        again = differing & self._differing
        if again:
            self._desk.alarm(f"believed resting, and not listed: {', '.join(sorted(again)[:5])}")
        self._differing = differing

    # -- what is listed

    def _ours(self, seen: SeenOrder | Named) -> bool:
        return self._whose(seen) is not None

    def _whose(self, seen: SeenOrder | Named) -> Key | None:
        state = self._state
        return state.by_id.get(seen.order_id) or state.by_client.get(seen.client_order_id or "")

    def _order(self, key: Key) -> Order | None:
        journal = self._state.journals.get(key[0])
        return journal.orders.get(key[1]) if journal is not None else None

    def _listed(self, orders: list[SeenOrder], as_of_ms: int) -> None:
        for seen in orders:
            key = self._whose(seen)
            order = self._order(key) if key is not None else None
            if key is None or order is None:
                continue
            if self._stray(order, seen):
                if seen.status == "resting":
                    self._desk.alarm(f"another order carries the id of order {key[1]}: it is cancelled")
                    self._sending.stray(seen.order_id, key, seen.ticker, seen.shard)
                continue
            draft = Draft(order)
            draft.seen(seen, as_of_ms)
            self._desk.learn(draft, "listed", self._now)
            self._adopt(seen.order_id)
            if order.unlisted and self._fills_ms is None:
                self.fills_soon(self._now)

    def _stray(self, order: Order, seen: SeenOrder) -> bool:
        """Whether an order that carries our client id is not the one we know."""
        if seen.ticker != order.intent.ticker or seen.side != order.intent.side:
            return True
        if seen.order_id in (order.order_id, *order.ids):
            return False
        if order.ended:
            return True
        return order.created == "known" and order.doubt is None and order.key not in self._sought

    def _adopt(self, order_id: str) -> None:
        """Book the fills that an order had before its owner was known."""
        waiting = self._strangers.get(order_id)
        if waiting is not None and order_id in self._state.by_id:
            del self._strangers[order_id]
            self._asked_strangers.pop(order_id, None)
            self._filled(waiting[1])

    def _filled(self, fills: list[SeenFill]) -> None:
        for seen in fills:
            if seen.fill.id in self._state.fills:
                continue
            if not seen.fill.count_e2 and not seen.fill.fee_e6:
                # Not told, since it changes nothing; and it leaves nothing open, unlike what cannot be read.
                self._desk.alarm("a fill of 0.00 contracts without a fee is listed: it is taken for none")
                continue
            key = self._state.by_id.get(seen.order_id)
            order = self._order(key) if key is not None else None
            if order is not None and not order.ended:
                self._note(seen)
                draft = Draft(order)
                draft.filled(seen.fill)
                self._desk.learn(draft, "filled", self._now)
                self._tell_others(seen, order.journal)
            elif order is not None:
                self._desk.alarm(f"order {order.intent.number} is over and was filled")
                self._note(seen)
                self._tell_others(seen, "")
            else:
                self._strange(seen)
        for order_id in list(self._strangers):
            if order_id in self._state.by_id:
                self._adopt(order_id)  # its create was answered meanwhile
            elif order_id in self._strangers:  # else it was settled with an adopted one's fills
                self._settle_stranger(order_id)

    def _note(self, seen: SeenFill) -> None:
        self._desk.recent.note(seen)
        if self._desk.account is not None:
            self._desk.account.filled(seen)

    def _strange(self, seen: SeenFill) -> None:
        _, fills = self._strangers.setdefault(seen.order_id, (self._now.steady_ms, []))
        if all(seen.fill.id != other.fill.id for other in fills):
            fills.append(seen)

    def _settle_stranger(self, order_id: str) -> None:
        """A fill of an unknown order is foreign, unless that order may be one of ours."""
        _, fills = self._strangers[order_id]
        may_be_ours = any(
            order.intent.ticker == fills[0].ticker
            and order.intent.side == fills[0].side
            and (order.created in ("sent", "unknown") or order.doubt is not None)
            for order in self._state.active.values()
        )
        if not may_be_ours:
            self._foreign(order_id)
        elif order_id not in self._asked_strangers:
            self._asked_strangers[order_id] = self._now.steady_ms + BUSY_MS

    def _foreign(self, order_id: str) -> None:
        _, fills = self._strangers.pop(order_id)
        self._asked_strangers.pop(order_id, None)
        for seen in fills:
            if seen.fill.id in self._state.fills:
                continue
            self._note(seen)
            self._tell_others(seen, "")
            # Even if no journal is old enough to be told of it, the fill is known.
            self._state.fills.setdefault(seen.fill.id, seen.fill.time_ms)

    def _tell_others(self, seen: SeenFill, owner: str) -> None:
        """Tell the journals about a fill that is not of their orders."""
        for name, journal in self._state.journals.items():
            if name == owner or seen.fill.time_ms < journal.joined_ms:
                continue
            foreign = ForeignFill(
                seen.order_id, seen.ticker, event_of(seen.ticker), seen.shard, seen.side, seen.fill
            )
            event = self._state.foreign(name, foreign, self._now.wall_ms)
            self._state.commit(Foreign(name, seen.fill.id, self._now.wall_ms, event))


def _certain_ms(order: Order) -> int:
    """Return the time from which a list says for certain what became of an order, or of its amend."""
    if order.created == "unknown":
        return (order.deadline_ms or 0) + 1
    return (order.doubt.signed_ms + CERTAIN_MS if order.doubt is not None else 0) + 1
