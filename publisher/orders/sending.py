"""What leaves: creates, amends, renewals and cancels, each when allowed and within the budget. Pure.

Cancels overtake everything. What leaves is in the log first, and leaves once. A cancel may be repeated any
number of times: it does nothing twice.
"""

from typing import Final

import msgspec

from . import limits, replies, requests
from .budget import Budget
from .desk import Desk
from .life import EXISTS, FICKLE, Draft, Key, Order
from .records import BODY_MOST, Doubt, Replied, Requested
from .requests import Asked
from .steps import Answered, Limits, Now, Reply, Request, Send, Urgency

CANCEL_AGAIN_MS: Final = 500
CANCEL_MOST_MS: Final = 8_000
CHECK_FIRST_MS: Final = 100
RESTING_CHECK_MS: Final = 5_000
"""How often a resting order is looked up while nothing is heard about it."""

ALIVE_MS: Final = 10_000
"""A journal not heard from for this long has no trader: its resting orders are not renewed."""

SIGNED_LATE_MS: Final = 10_000

BASIC: Final = Limits(write_per_s=100, write_capacity=100, read_per_s=30, read_capacity=90)


class Sending:
    """The writes of the gateway."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._state = desk.state
        self.budget = Budget(BASIC, 0)
        self._cancels: dict[Key, None] = {}
        self._amends: dict[Key, None] = {}
        self._creates: dict[Key, None] = {}
        self._strays: dict[str, tuple[Key, str, int]] = {}
        self._out: list[Send] = []
        self._wait_ms: int | None = None

    # -- an order's turn

    def advance(self, order: Order, now: Now) -> None:
        """Decide what to do about an order now, and when to look next."""
        desk, work = self._desk, self._desk.work(order)
        steady_ms = now.steady_ms
        if order.created == "waiting":
            self._wait_for_turn(order, now)
            return
        if order.created == "unknown" and self._resends(order, now):
            self._creates[order.key] = None
        if order.created != "known" or order.over:
            return
        if order.cancel and not work.cancelling:
            if steady_ms >= work.cancel_ms:
                self._cancels[order.key] = None
            else:
                desk.wake(order, work.cancel_ms)
        if not order.rests:
            return
        if order.wanted and order.doubt is None and not work.amending:
            self._amends[order.key] = None
        if order.lease_ms is not None:
            left_ms = order.lease_ms - desk.exchange_ms(now)
            if left_ms <= -500:
                desk.check(order, steady_ms)
            elif self._renews(order, now, left_ms):
                self._amends[order.key] = None
            if left_ms > -500:
                half_ms = self._lease_half(order, left_ms)
                desk.wake(order, steady_ms + min(max(half_ms, 250), left_ms + 501))
        if work.check_ms is None:
            work.check_ms = steady_ms + RESTING_CHECK_MS

    def _resends(self, order: Order, now: Now) -> bool:
        """Whether an unanswered order is sent once more, under the same id, which the exchange knows.

        Only if the id of a finished order is refused: otherwise it might be carried out twice.
        """
        return (
            self._desk.settings.resend
            and order.creates == 1
            and not order.cancel
            and order.reason.partition(":")[0] not in (EXISTS, *FICKLE)
            and self._desk.hindrance(order.intent, now, order) is None
        )

    def _lease_half(self, order: Order, left_ms: int) -> int:
        return left_ms - self._desk.settings.lease_ms // 2 if not order.cancel else left_ms

    def _renews(self, order: Order, now: Now, left_ms: int) -> bool:
        """Whether an order's lease is to be extended now."""
        desk, work = self._desk, self._desk.work(order)
        if order.cancel or work.amending or desk.killed or desk.fenced or order.lease_ms is None:
            return False
        if order.doubt is not None and (order.doubt.what != "renew" or not order.doubt.answered):
            return False
        if left_ms > desk.settings.lease_ms // 2 or now.steady_ms < work.renew_ms:
            return False
        return self.lease_ms(order, now) > order.lease_ms and self._alive(order, now)

    def _alive(self, order: Order, now: Now) -> bool:
        heard_ms = self._state.journals[order.journal].heard_steady_ms
        return heard_ms is not None and now.steady_ms - heard_ms <= ALIVE_MS

    def _wait_for_turn(self, order: Order, now: Now) -> None:
        work = self._desk.work(order)
        if order.cancel:
            self._creates.pop(order.key, None)
            draft = Draft(order)
            draft.cancelled_unsent()
            self._desk.learn(draft, "cancel", now)
        elif now.steady_ms > work.dead_ms:
            self._refuse(order, limits.EXPIRED, now)
        else:
            self._creates[order.key] = None
            self._desk.wake(order, work.dead_ms + 1)

    def _refuse(self, order: Order, reason: str, now: Now) -> None:
        self._creates.pop(order.key, None)
        draft = Draft(order)
        draft.refused(reason)
        self._desk.counted[reason.partition(":")[0]] += 1
        self._desk.learn(draft, "refused", now)

    # -- sending

    def leave(self, now: Now) -> list[Send]:
        """Return what leaves now; its records are among those to be appended."""
        self._wait_ms = None
        if not self._desk.fenced:
            self._leave_cancels(now)
            self._leave_amends(now)
        self._leave_creates(now)  # when fenced, they are all refused
        out, self._out = self._out, []
        return out

    @property
    def wait_ms(self) -> int | None:
        """When something waiting for the budget can leave, by the steady clock."""
        return self._wait_ms

    def _may(self, urgency: Urgency, asked: Asked, now: Now, leases: int = 0) -> bool:
        wait_ms = self.budget.wait_ms(urgency, asked.cost, asked.shard, now.steady_ms, leases)
        if wait_ms:
            at_ms = now.steady_ms + wait_ms
            self._wait_ms = at_ms if self._wait_ms is None else min(self._wait_ms, at_ms)
            return False
        self.budget.pay(urgency, asked.cost, asked.shard, now.steady_ms)
        return True

    def _go(
        self,
        order: Order,
        asked: Asked,
        urgency: Urgency,
        draft: Draft,
        now: Now,
        not_after_ms: int | None = None,
    ) -> None:
        number = self._state.requests + 1
        self._state.commit(
            Requested(
                order.journal,
                order.intent.number,
                number,
                asked.what,
                asked.method,
                asked.path,
                asked.body,
                now.wall_ms,
                tuple(draft.changes),
            )
        )
        self._out.append(
            Send(
                Request(
                    number,
                    asked.what,
                    asked.method,
                    asked.path,
                    asked.query,
                    asked.body,
                    urgency,
                    asked.cost,
                    asked.shard,
                    not_after_ms,
                )
            )
        )
        self._desk.sent += 1

    def _leave_cancels(self, now: Now) -> None:
        for order_id, (key, ticker, shard) in list(self._strays.items()):
            asked = requests.cancel_listed(order_id, ticker, shard)
            order = self._known(key)
            if order is None:
                del self._strays[order_id]
            elif self._may("cancel", asked, now):
                del self._strays[order_id]
                self._go(order, asked, "cancel", Draft(order), now)
        for key in list(self._cancels):
            order = self._state.active.get(key)
            if order is None or order.over or not order.order_id:
                del self._cancels[key]
                continue
            asked = requests.cancel(order.order_id, order.intent)
            if self._may("cancel", asked, now):
                del self._cancels[key]
                work = self._desk.work(order)
                work.cancelling = True
                work.cancels += 1
                self._go(order, asked, "cancel", Draft(order), now)

    def _known(self, key: Key) -> Order | None:
        journal = self._state.journals.get(key[0])
        return journal.orders.get(key[1]) if journal is not None else None

    def _leave_amends(self, now: Now) -> None:
        for key in list(self._amends):
            order = self._state.active.get(key)
            if order is None or not order.rests or self._desk.work(order).amending or order.cancel:
                del self._amends[key]
                continue
            renewing = order.doubt is not None or not order.wanted
            if renewing:
                left_ms = (order.lease_ms or 0) - self._desk.exchange_ms(now)
                if not self._renews(order, now, left_ms):
                    del self._amends[key]
                    continue
                price_e4, count_e2 = order.price_e4, order.count_e2
            else:
                price_e4, count_e2 = order.wanted
                refused = self._amend_hindrance(order, price_e4, count_e2, now)
                if refused is not None:
                    del self._amends[key]
                    draft = Draft(order)
                    draft.amend_refused(refused)
                    self._desk.learn(draft, "refused", now)
                    continue
            lease_ms = self.lease_ms(order, now)
            what = "renew" if renewing else "amend"
            asked = requests.amend(order.order_id, order.intent, price_e4, count_e2, lease_ms, what)
            if not self._may("renew", asked, now):
                continue
            del self._amends[key]
            draft = Draft(order)
            doubt = Doubt(what, price_e4, count_e2, lease_ms, self._desk.exchange_ms(now))
            draft.amend_leaves(doubt)
            self._desk.work(order).amending = True
            self._go(order, asked, "renew", draft, now)

    def _amend_hindrance(self, order: Order, price_e4: int, count_e2: int, now: Now) -> str | None:
        desk = self._desk
        halted = desk.halted(now, order.intent.exchange_index)
        if halted is not None:
            return halted
        if not 0 < price_e4 < 10_000 or not count_e2 > 0:
            return limits.BAD_INTENT
        if price_e4 <= order.price_e4 and count_e2 <= order.count_e2:
            return None
        left_e2 = max(0, count_e2 - order.filled_e2)
        changed = msgspec.structs.replace(order.intent, price_e4=price_e4, count_e2=left_e2)
        return desk.too_much(changed, order)

    def lease_ms(self, order: Order, now: Now) -> int:
        """Return until when an order leaving now may rest: after its trader's last sign; whole seconds."""
        heard_ms, expires_ms = self._state.journals[order.journal].heard_steady_ms, order.intent.expires_ms
        silent_ms = 0 if heard_ms is None else now.steady_ms - heard_ms
        until_ms = self._desk.exchange_ms(now) + self._desk.settings.lease_ms - silent_ms
        until_ms = until_ms if expires_ms is None else min(until_ms, expires_ms)
        return until_ms // 1000 * 1000

    def _leave_creates(self, now: Now) -> None:
        leases: dict[int, int] = {}
        for other in self._state.active.values() if self._creates else ():
            if other.rests:
                shard = other.intent.exchange_index or 0
                leases[shard] = leases.get(shard, 0) + requests.COST
        for key in list(self._creates):
            order = self._state.active.get(key)
            if order is None or order.created not in ("waiting", "unknown"):
                del self._creates[key]
                continue
            if order.created == "unknown" and not self._resends(order, now):
                del self._creates[key]
                continue
            reason = self._desk.hindrance(order.intent, now, order)
            if reason is not None:
                self._refuse(order, reason, now)
                continue
            intent = order.intent
            lease_ms = None
            if intent.time_in_force == "gtc":
                lease_ms = self.lease_ms(order, now)
                if lease_ms <= self._desk.exchange_ms(now) + 1_000:  # its trader was not heard for so long
                    self._refuse(order, limits.EXPIRED, now)
                    continue
            asked = requests.create(intent, lease_ms)
            if not self._may("create", asked, now, leases.get(asked.shard, 0)):
                continue
            del self._creates[key]
            draft = Draft(order)
            draft.create_leaves(self._desk.exchange_ms(now), lease_ms)
            self._go(order, asked, "create", draft, now, intent.valid_until_ms)

    # -- what came of it

    def answered(self, answered: Answered, now: Now) -> bool:
        """Take the answer to a write; return whether fills and orders are to be looked at."""
        reply = answered.reply
        under_way = self._state.under_way.get(answered.request_id)
        if under_way is None:
            return False
        key, what = under_way
        order = self._known(key)
        if order is None:
            return False
        bucket = self.budget.writes(order.intent.exchange_index or 0, now.steady_ms)
        if reply.status == 429:
            bucket.refused(now.steady_ms)
        elif reply.status is not None:
            bucket.accepted()
        told_ms = self._told_ms(reply, now)
        draft = Draft(order)
        sent = order.exchanged.get(answered.request_id)
        looks = self._became(order, what, reply, told_ms, draft, now, sent)
        events = self._state.numbered(key[0], draft.events, now.wall_ms)
        self._state.commit(
            Replied(
                key[0],
                key[1],
                answered.request_id,
                reply.status,
                reply.body[:BODY_MOST],
                reply.trouble,
                reply.left,
                reply.signed_ms,
                reply.received_ms,
                tuple(draft.changes),
                events,
            )
        )
        self._desk.follow(order, now)
        return looks

    def _became(
        self,
        order: Order,
        what: str,
        reply: Reply,
        told_ms: int | None,
        draft: Draft,
        now: Now,
        sent: object,
    ) -> bool:
        desk = self._desk
        if what == "create":
            signed_ms = order.signed_ms
            if reply.signed_ms:
                left_ms = getattr(sent, "signed_ms", reply.signed_ms)
                signed_ms += min(max(0, reply.signed_ms - left_ms), SIGNED_LATE_MS)
            draft.create_answered(reply, signed_ms)
            if order.state is order.state.REJECTED:
                desk.counted[order.reason.partition(":")[0]] += 1
            return not order.ended
        if order.ended:
            return False
        work = desk.work(order)
        if what == "cancel":
            work.cancelling = False
            wait_ms = min(CANCEL_MOST_MS, CANCEL_AGAIN_MS << min(work.cancels, 5))
            work.cancel_ms = now.steady_ms + wait_ms
            looks = draft.cancel_answered(reply)
            desk.wake(order, work.cancel_ms)
        else:
            work.amending = False
            work.renew_ms = now.steady_ms + 2_000
            looks = draft.amend_answered(reply, told_ms)
        if looks:
            work.checks = 0
            desk.check(order, now.steady_ms + CHECK_FIRST_MS)
        return looks

    def _told_ms(self, reply: Reply, now: Now) -> int | None:
        """Return the exchange's time in an answer, if there is one that can be right."""
        if reply.status is None or not 200 <= reply.status < 300:
            return None
        found = replies.created(reply.body)
        return None if found is None else self._desk.told(found.ts_ms, reply.date_ms, now)

    def stray(self, order_id: str, key: Key, ticker: str, shard: int) -> None:
        """End an order that carries our id but is not the one we know."""
        self._strays[order_id] = key, ticker, shard
