"""The life of one order: a state machine without clock, socket or file. See docs/orders.md.

Whatever happens to an order goes through a `Draft`, which changes it and notes the changes for the log.
"""

from dataclasses import dataclass, field
from typing import Final

from bus.trading import reasons
from bus.trading.gateway import Exchanged, GatewayEvent
from markets.orders import (
    Accepted,
    Amended,
    AmendRefused,
    AnyOrderEvent,
    Ended,
    Fill,
    Filled,
    Intent,
    OrderState,
    Sent,
    Unknown,
)

from . import replies
from .records import Change, Doubt
from .replies import SeenOrder
from .requests import yes_price_e4
from .steps import Reply

SIGNATURE_MS: Final = 30_000
"""The exchange refuses requests signed longer ago."""

READ_LAG_MS: Final = 5_000
"""Lists are at most this late; 0.4 s was seen."""

MARGIN_MS: Final = 2_000

CERTAIN_MS: Final = SIGNATURE_MS + READ_LAG_MS + MARGIN_MS
"""A list dated this long after a signature contains the request's effects."""

FICKLE: Final = frozenset(
    {
        "trading_is_paused",
        "exchange_is_paused",
        "insufficient_balance",
        "available_balance_too_low",
        "too_many_requests",
        "market_inactive",
    }
)
"""Refusals that may soon no longer hold: a copy of the request that arrives later may be carried out."""

NOT_PLACED: Final = "not_placed"
EXISTS: Final = replies.ALREADY_EXISTS
AMEND_UNANSWERED: Final = "amend_unanswered"
NOT_SENT: Final = "not_sent"

Key = tuple[str, int]


@dataclass(slots=True)
class Order:
    """An order as it follows from the log; see `records.Change` for the members of the same name."""

    journal: str
    intent: Intent
    price_e4: int
    count_e2: int
    state: OrderState = OrderState.SENT
    reason: str = ""
    created: str = "waiting"
    order_id: str = ""
    ids: list[str] = field(default_factory=list)
    signed_ms: int = 0
    deadline_ms: int | None = None
    counted_e2: int = 0
    over: bool = False
    expired: bool = False
    why: str = ""
    lease_ms: int | None = None
    cancel: str = ""
    wanted: tuple[int, ...] = ()
    doubt: Doubt | None = None
    fills: dict[str, Fill] = field(default_factory=dict)
    filled_e2: int = 0
    exchanged: dict[int, Exchanged] = field(default_factory=dict)
    events: list[GatewayEvent] = field(default_factory=list)
    ended_ms: int = 0
    amended_ms: int = 0

    @classmethod
    def of(cls, journal: str, intent: Intent) -> "Order":
        """Return an order to which nothing has happened yet."""
        return cls(journal, intent, intent.price_e4, intent.count_e2)

    @property
    def key(self) -> Key:
        """Its name."""
        return self.journal, self.intent.number

    @property
    def ended(self) -> bool:
        """Whether nothing more can become of it."""
        return self.state.ended

    @property
    def creates(self) -> int:
        """How often its create has left."""
        return sum(sent.what == "create" for sent in self.exchanged.values())

    @property
    def rests(self) -> bool:
        """Whether it may be in the book, as far as the exchange has told."""
        return self.created == "known" and not self.over and self.intent.time_in_force == "gtc"

    @property
    def unlisted(self) -> bool:
        """Whether fills have been counted that the list has not shown yet."""
        return self.filled_e2 < self.counted_e2

    @property
    def most_e2(self) -> int:
        """The most that may still be filled, whatever is in doubt."""
        if self.ended:
            return 0
        if self.over:
            return max(0, self.counted_e2 - self.filled_e2)
        doubt_e2 = self.doubt.count_e2 if self.doubt is not None else 0
        return max(0, max(self.count_e2, doubt_e2, self.counted_e2) - self.filled_e2)

    @property
    def dearest_e4(self) -> int:
        """The highest price it may pay, whatever is in doubt."""
        return max(self.price_e4, self.doubt.price_e4 if self.doubt is not None else 0)

    def apply(self, change: Change) -> None:
        """Take a change, from life or from the log."""
        if change.order_id is not None and change.order_id != self.order_id:
            if self.order_id:
                self.ids.append(self.order_id)
            self.order_id = change.order_id
        for name in _MEMBERS:
            value = getattr(change, name)
            if value is not None:
                setattr(self, name, value)
        if change.undoubted:
            self.doubt = None
        if change.doubt is not None:
            self.doubt = change.doubt
        if change.fill is not None and change.fill.id not in self.fills:
            self.fills[change.fill.id] = change.fill
            self.filled_e2 += change.fill.count_e2


_MEMBERS: Final = (
    "state", "reason", "created", "signed_ms", "deadline_ms", "counted_e2", "over", "expired", "why",
    "price_e4", "count_e2", "lease_ms", "cancel", "wanted", "amended_ms",
)  # fmt: skip


class Draft:
    """One step of an order's life: its changes, and the events to tell."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.changes: list[Change] = []
        self.events: list[AnyOrderEvent] = []
        self.number = order.intent.number

    def change(self, change: Change) -> None:
        """Change something."""
        self.order.apply(change)
        self.changes.append(change)

    def tell(self, event: AnyOrderEvent) -> None:
        """Tell the journal."""
        self.events.append(event)

    def end(self, state: OrderState, reason: str) -> None:
        """End it for good."""
        assert not self.order.ended
        self.change(Change(state=state, reason=reason, over=True, undoubted=True, wanted=()))
        self.tell(Ended(self.number, reason, state))

    # -- what is asked

    def refused(self, reason: str) -> None:
        """It is not accepted, or not sent."""
        state = OrderState.EXPIRED if reason == reasons.EXPIRED else OrderState.REJECTED
        self.change(Change(created="none"))
        self.end(state, reason)

    def taken(self) -> None:
        """It is in the log."""
        self.tell(Sent(self.number))

    def cancelled_unsent(self) -> None:
        """Its end was asked for before it left."""
        self.change(Change(created="none"))
        self.end(OrderState.CANCELLED, reasons.CANCELLED)

    def create_leaves(self, signed_ms: int, lease_ms: int | None) -> None:
        """Its create is about to leave."""
        self.change(Change(created="sent", signed_ms=signed_ms, lease_ms=lease_ms))

    def amend_leaves(self, doubt: Doubt) -> None:
        """An amend is about to leave."""
        self.change(Change(doubt=doubt, wanted=() if doubt.what == "amend" else None))

    def amend_refused(self, reason: str) -> None:
        """A requested amend does not leave."""
        self.change(Change(wanted=()))
        self.tell(AmendRefused(self.number, reason))

    # -- what is answered

    def create_answered(self, reply: Reply, signed_ms: int) -> None:
        """The create's answer came, or certainly none will; `signed_ms` is by the exchange's clock."""
        order = self.order
        if order.created != "sent":
            return  # a list was quicker
        code = replies.error_code(reply.body) if reply.status is not None else None
        again = order.creates > 1  # whatever is said about the second, the first may have arrived
        if not reply.left and not again:
            self.refused(reply.trouble if reply.trouble in _SAID_HERE else f"{NOT_SENT}: {reply.trouble}")
        elif reply.status is None:
            self._unknown(reply.trouble or "no_answer", signed_ms)
        elif reply.status < 300:
            found = replies.created(reply.body)
            if found is None or found.client_order_id not in ("", order.intent.client_order_id):
                self._unknown("answered_without_id", signed_ms)
            else:
                self._known(found.order_id, found.filled_e2 or 0)
                if order.intent.time_in_force != "gtc" or found.remaining_e2 == 0:
                    self.change(Change(over=True, counted_e2=order.counted_e2))
        elif code is not None and 400 <= reply.status < 500 and _final(code) and not again:
            self.refused(code)
        else:
            self._unknown(code or f"status_{reply.status}", signed_ms)
        self.conclude()

    def _unknown(self, reason: str, signed_ms: int) -> None:
        until_ms = max(self.order.signed_ms, signed_ms) + CERTAIN_MS
        self.change(Change(created="unknown", state=OrderState.UNKNOWN, reason=reason, deadline_ms=until_ms))
        self.tell(Unknown(self.number, reason, until_ms))

    def _known(self, order_id: str, filled_e2: int) -> None:
        self.change(
            Change(created="known", order_id=order_id, counted_e2=max(self.order.counted_e2, filled_e2))
        )
        self.tell(Accepted(self.number, order_id))
        self._works()

    def _works(self) -> None:
        """Its place is known: in the book, or over and soon to be listed."""
        order = self.order
        state = OrderState.PARTIAL if order.filled_e2 else OrderState.RESTING
        if order.intent.time_in_force != "gtc" and not order.filled_e2:
            state = OrderState.SENT
        if order.state is not state and not order.ended:
            self.change(Change(state=state, reason=""))

    def amend_answered(self, reply: Reply, told_ms: int | None) -> bool:
        """An amend's answer came; return whether to look up the order's present state.

        Args:
            told_ms: the exchange's time in it, if there is one that can be right.
        """
        order, doubt = self.order, self.order.doubt
        if doubt is None or order.ended:
            return True
        code = replies.error_code(reply.body) if reply.status is not None else None
        if not reply.left:
            self._amend_over(f"{NOT_SENT}: {reply.trouble}")
            return False
        if reply.status is not None and 200 <= reply.status < 300:
            found = replies.created(reply.body)
            ours = found is not None and found.client_order_id in ("", order.intent.client_order_id)
            same = found is not None and found.order_id == order.order_id
            if found is not None and ours and (same or found.client_order_id):
                if doubt.what == "renew":
                    self._renewed(doubt, found.order_id)
                    return False
                self._amended(doubt, found.order_id, told_ms or doubt.signed_ms)
                return True
        elif reply.status is not None and code is not None and 400 <= reply.status < 500:
            self._amend_over(code)
            return reply.status in (404, 409)
        if doubt.what == "amend":
            until_ms = doubt.signed_ms + CERTAIN_MS
            reason = AMEND_UNANSWERED
            self.change(Change(state=OrderState.UNKNOWN, reason=reason, deadline_ms=until_ms))
            self.tell(Unknown(self.number, reason, until_ms))
        self.change(
            Change(
                doubt=Doubt(
                    doubt.what, doubt.price_e4, doubt.count_e2, doubt.lease_ms, doubt.signed_ms, answered=True
                )
            )
        )
        return True

    def _amended(self, doubt: Doubt, order_id: str, amended_ms: int) -> None:
        self.change(
            Change(
                undoubted=True,
                order_id=order_id,
                price_e4=doubt.price_e4,
                count_e2=doubt.count_e2,
                lease_ms=doubt.lease_ms,
                amended_ms=amended_ms,
            )
        )
        self.tell(Amended(self.number, doubt.price_e4, doubt.count_e2, order_id))
        self._works()
        self.conclude()

    def _renewed(self, doubt: Doubt, order_id: str) -> None:
        new_id = order_id if order_id != self.order.order_id else None
        self.change(Change(undoubted=True, order_id=new_id, lease_ms=doubt.lease_ms))
        self.conclude()

    def _amend_over(self, reason: str) -> None:
        doubt = self.order.doubt
        self.change(Change(undoubted=True))
        if doubt is not None and doubt.what == "amend":
            self.tell(AmendRefused(self.number, reason))
            self._works()
        self.conclude()

    def cancel_answered(self, reply: Reply) -> bool:
        """A cancel's answer came; return whether to look up the order's present state."""
        order = self.order
        if order.ended or order.over:
            return False
        amended = any(sent.what == "amend" for sent in order.exchanged.values())
        if reply.status is not None and 200 <= reply.status < 300 and not amended and order.doubt is None:
            found = replies.reduced(reply.body)
            if found is not None and found[0] == order.order_id and found[1] is not None:
                counted_e2 = order.count_e2 - found[1]
                if counted_e2 >= max(order.counted_e2, order.filled_e2):
                    self.change(Change(over=True, counted_e2=counted_e2, why=reasons.CANCELLED))
                    self.conclude()
                    return False
        return reply.left

    # -- what is listed

    def seen(self, seen: SeenOrder, as_of_ms: int) -> None:
        """An order of ours is listed, as of some moment not before `as_of_ms`, 0 if unknown."""
        order = self.order
        if order.ended:
            return
        if order.created in ("sent", "unknown"):
            self._known(seen.order_id, seen.filled_e2)
        elif seen.order_id != order.order_id:
            if seen.order_id in order.ids:
                return  # as it was before an amend
            self.change(Change(order_id=seen.order_id))
        if seen.filled_e2 > order.counted_e2:
            self.change(Change(counted_e2=seen.filled_e2))
        if seen.status in ("canceled", "executed") and not order.over:
            expired = (
                seen.status == "canceled"
                and seen.expires_ms is not None
                and (seen.updated_ms or 0) >= seen.expires_ms
                and not order.cancel
            )
            self._doubt_over(seen, as_of_ms)
            self.change(Change(over=True, expired=expired, counted_e2=max(order.filled_e2, seen.filled_e2)))
        elif seen.status in ("canceled", "executed"):
            counted_e2 = max(order.filled_e2, seen.filled_e2)  # what a list says about the end is final
            if counted_e2 != order.counted_e2:
                self.change(Change(counted_e2=counted_e2))
        elif seen.status == "resting" and order.doubt is None:
            self._differs(seen)
        elif seen.status == "resting" and order.doubt is not None:
            self._doubt_over(seen, as_of_ms)
        self.conclude()

    def _differs(self, seen: SeenOrder) -> None:
        """Adopt a price or count that we did not ask for, or whose refused request arrived after all."""
        order = self.order
        price_e4 = yes_price_e4(order.intent.side, seen.price_e4)
        count_e2 = seen.filled_e2 + seen.remaining_e2
        updated_ms = seen.updated_ms or 0
        if (price_e4, count_e2) == (order.price_e4, order.count_e2) or updated_ms <= order.amended_ms:
            return
        self.change(Change(price_e4=price_e4, count_e2=count_e2, amended_ms=updated_ms))
        self.tell(Amended(self.number, price_e4, count_e2, seen.order_id))

    def _doubt_over(self, seen: SeenOrder, as_of_ms: int) -> None:
        """Decide whether an unanswered amend arrived, if the list shows that."""
        order, doubt = self.order, self.order.doubt
        if doubt is None:
            return
        total_e2 = seen.filled_e2 + seen.remaining_e2
        priced = yes_price_e4(order.intent.side, doubt.price_e4) == seen.price_e4
        lease_s = None if doubt.lease_ms is None else doubt.lease_ms // 1000
        leased = seen.expires_ms is not None and seen.expires_ms // 1000 == lease_s
        if doubt.what == "renew":
            if leased:
                self._renewed(doubt, seen.order_id)
            elif as_of_ms > doubt.signed_ms + CERTAIN_MS:
                self._amend_over(NOT_PLACED)
            return
        counted = total_e2 == doubt.count_e2 or seen.initial_e2 == doubt.count_e2
        different = (doubt.price_e4, doubt.count_e2) != (order.price_e4, order.count_e2)
        if priced and counted and (different or leased):
            self._amended(doubt, seen.order_id, seen.updated_ms or doubt.signed_ms)
        elif as_of_ms > doubt.signed_ms + CERTAIN_MS:
            self._amend_over(NOT_PLACED)

    def filled(self, fill: Fill) -> None:
        """The list of fills shows a new one of this order's."""
        order = self.order
        assert not order.ended
        assert fill.id not in order.fills
        self.change(Change(fill=fill))
        self.tell(Filled(self.number, fill))
        if fill.count_e2 and order.state in (OrderState.SENT, OrderState.RESTING):
            self.change(Change(state=OrderState.PARTIAL))
        self.conclude()

    def not_placed(self) -> None:
        """No list contains it, and none ever will."""
        assert self.order.created in ("sent", "unknown")
        said = self.order.reason
        self.change(Change(created="none"))
        self.end(OrderState.REJECTED, said if said.partition(":")[0] in FICKLE else NOT_PLACED)

    def conclude(self) -> None:
        """End it if nothing more can become of it and every counted fill is listed."""
        order = self.order
        if order.ended or order.created != "known":
            return
        full = order.filled_e2 >= order.count_e2
        if order.over and order.filled_e2 >= order.counted_e2:
            if full:
                self.end(OrderState.FILLED, reasons.COMPLETE)
            elif order.expired:
                self.end(OrderState.EXPIRED, reasons.EXPIRED)
            elif order.intent.time_in_force != "gtc":
                self.end(OrderState.CANCELLED, reasons.NOTHING_LEFT)
            else:
                self.end(OrderState.CANCELLED, order.why or reasons.CANCELLED)
        elif full and order.doubt is None and not order.over:
            self.end(OrderState.FILLED, reasons.COMPLETE)


def _final(code: str) -> bool:
    """Whether what the exchange has said about a create is final."""
    return code.partition(":")[0] not in (EXISTS, *FICKLE)


_SAID_HERE: Final = frozenset({"expired", "killed", "fenced", "key_may_not_trade", reasons.EXPIRED})
"""Reasons for a request never leaving, as this process words them."""
