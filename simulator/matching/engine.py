"""The matching engine: orders of users meet each other and the crowd, by price and then by time. Pure.

It takes orders already parsed and within their bounds, and answers with an `Outcome` or a `Refusal`; a
refusal changes nothing. The venue is told what the public sees, the listeners what happens to accounts, each
in order.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Final

from . import refusals
from .book import Change, combined
from .crossing import Crossing, Venue, Work
from .groups import Group
from .ledger import Ledger
from .orders import (
    ASK,
    BID,
    FOK,
    GTC,
    IOC,
    Amendment,
    Instrument,
    NewOrder,
    Order,
    OrderSwitches,
    Outcome,
    Party,
    PrivateListener,
    Reason,
    Refusal,
    Side,
    Status,
)
from .telling import Telling

DAY_MS: Final = 86_400_000
ID_KEPT_MS: Final = 30 * DAY_MS
LIVE_KEPT_MS: Final = 14 * DAY_MS
"""Orders that have ended leave the live list after two weeks."""

LIVE_MOST: Final = 100_000
"""The most orders of an account in the live list; beyond that, those that ended first leave it earlier."""

IDS_MOST: Final = 500_000
"""How many client order ids of an account are remembered."""

ARCHIVED_MOST: Final = 50_000
"""How many archived orders of an account are kept; what ended earlier is forgotten."""

CAUGHT_MS: Final = 60_000
GROUPS_MAX: Final = 100_000


class Matching:
    """Takes orders, matches them, and knows the state of each.

    Args:
        rng: for ids and for what is left to chance; not the crowd's, so that orders do not affect its draws.

    Attributes:
        orders: account -> order id -> order, earliest first; ended ones for two weeks.
        archived: account -> those that ended before that, earliest first.
    """

    def __init__(self, venue: Venue, ledger: Ledger, switches: OrderSwitches, rng: Random) -> None:
        self.orders: dict[int, dict[str, Order]] = {}
        self.archived: dict[int, deque[Order]] = {}
        self.ledger = ledger
        self.switches = switches
        self._venue = venue
        self._crossing = Crossing(venue, ledger, switches, rng, self._expire)
        self._telling = Telling(venue, switches, rng)
        self._client_ids: dict[int, dict[str, tuple[int, Order | None]]] = {}
        self._caught_until_ms: dict[Party, int] = {}
        self._number = 0

    # -- looking

    @property
    def groups(self) -> dict[str, Group]:
        """Order group id -> group."""
        return self._crossing.groups

    @property
    def listeners(self) -> list[PrivateListener]:
        """Who hears what happens to accounts."""
        return self._telling.listeners

    def new_id(self) -> str:
        """Return a new id."""
        return self._crossing.uuid()

    def open(self, account: int) -> None:
        """Let an account place orders."""
        self.orders.setdefault(account, {})
        self.archived.setdefault(account, deque(maxlen=ARCHIVED_MOST))
        self._client_ids.setdefault(account, {})

    def find(self, account: int, order_id: str) -> Order | None:
        """Return an account's order of the last two weeks, or one that rests."""
        return self.orders[account].get(order_id)

    def resting(self, account: int) -> list[Order]:
        """Return an account's resting orders, earliest first."""
        return [order for order in self._crossing.live.values() if order.party[0] == account]

    def all_resting(self) -> Iterator[Order]:
        """Yield all accounts' resting orders, earliest first."""
        yield from self._crossing.live.values()

    @property
    def live(self) -> int:
        """The number of resting orders."""
        return len(self._crossing.live)

    def ahead_e2(self, order: Order) -> int:
        """Return how many contracts must be matched before a resting order."""
        return self._venue.book(order.instrument).before(order)

    # -- requests

    def place(self, wish: NewOrder, now_ms: int) -> Outcome | Refusal:
        """Place an order: match it, and let the rest of it rest if it may."""
        refusal = self._unacceptable(wish, now_ms)
        if refusal is not None:
            return refusal
        order = self._make(wish, now_ms)
        if wish.reduce_only:
            order.initial_e2 = order.remaining_e2 = min(wish.count_e2, self.ledger.reducible_e2(order))
            if not order.remaining_e2:
                return self._nothing_to_reduce(order, now_ms)
        if not self.ledger.admit(order):
            return refusals.INSUFFICIENT
        available_e2, own = self._crossing.available(order)
        if wish.post_only and (available_e2 or own):
            return refusals.POST_ONLY_CROSS
        if wish.time_in_force == FOK and available_e2 < wish.count_e2 and not own:
            if self.switches.killed_fok_uses_id:
                self._use_id(order.party[0], wish.client_order_id, None, now_ms)
            return refusals.FOK_VOLUME
        self._register(order, now_ms)
        if available_e2 and self.switches.resting_before_immediate_fill:
            self._telling.order(order, now_ms)
        work = Work()
        stopped = self._match(order, work, now_ms)
        if order.remaining_e2 and wish.time_in_force == GTC and not stopped:
            self._crossing.rest(order, work, now_ms)
        else:
            self._finish(order, now_ms)
        self._conclude(work, order, now_ms)
        if self._caught_until_ms.get(order.party, 0) > now_ms and order.live:
            self._cancel([order], Reason.DECREASE, now_ms)
        return self._outcome(order, work, now_ms)

    def amend(self, account: int, order_id: str, wish: Amendment, now_ms: int) -> Outcome | Refusal:
        """Change a resting order; fills caused by the change are part of the outcome."""
        order = self.find(account, order_id)
        if order is None or not order.live:
            return refusals.NOT_FOUND
        refusal = self._not_amendable(order, wish, now_ms)
        if refusal is not None:
            return refusal
        rest_e2 = wish.count_e2 - order.filled_e2
        if not rest_e2:
            self._cancel([order], Reason.AMEND, now_ms)
            return self._outcome(order, Work(), now_ms)
        moved = wish.price_e4 != order.price_e4 or rest_e2 > order.remaining_e2
        if moved:
            changed = replace(order, price_e4=wish.price_e4, remaining_e2=rest_e2)
            if not self.ledger.admit(changed):
                return refusals.INSUFFICIENT
            available_e2, own = self._crossing.available(changed)
            if own:
                return refusals.invalid_order("self cross")
            if available_e2 and order.post_only:
                return refusals.POST_ONLY_CROSS
        self._rename(order, wish, now_ms)
        if wish.expires_ms is not None:
            order.expires_ms = wish.expires_ms or None
            self._crossing.plan_expiry(order)
        work = Work()
        order.initial_e2, order.reason, order.updated_ms = wish.count_e2, Reason.AMEND, now_ms
        if moved:
            self._crossing.withdraw(order, work)
            order.price_e4, order.remaining_e2 = wish.price_e4, rest_e2
            if self._match(order, work, now_ms) or not order.remaining_e2:
                self._finish(order, now_ms)
            else:
                self._crossing.rest(order, work, now_ms)
        elif rest_e2 != order.remaining_e2:
            self._crossing.reduce(order, rest_e2, work)
        self._conclude(work, order, now_ms)
        return self._outcome(order, work, now_ms)

    def decrease(
        self, account: int, order_id: str, by_e2: int | None, to_e2: int | None, now_ms: int
    ) -> Outcome | Refusal:
        """Reduce what rests of an order by, or to, a count; it keeps its place."""
        order = self._reducible(account, order_id)
        if isinstance(order, Refusal):
            return order
        left_e2 = order.remaining_e2 - by_e2 if by_e2 is not None else to_e2 or 0
        if not 0 <= left_e2 <= order.remaining_e2:
            if self.switches.over_decrease_refused:
                return refusals.INVALID_SIZE
            left_e2 = min(max(left_e2, 0), order.remaining_e2)
        if not left_e2:
            self._cancel([order], Reason.DECREASE, now_ms)
        elif left_e2 < order.remaining_e2:
            work = Work()
            self._crossing.reduce(order, left_e2, work)
            order.reason, order.updated_ms = Reason.DECREASE, now_ms
            self._conclude(work, order, now_ms)
        return self._outcome(order, Work(), now_ms)

    def cancel(self, account: int, order_id: str, now_ms: int) -> tuple[Order, int] | Refusal:
        """Cancel an order and return it with how much of it rested (count_e2)."""
        order = self._reducible(account, order_id)
        if isinstance(order, Refusal):
            return order
        reduced_e2 = order.remaining_e2
        self._cancel([order], Reason.DECREASE, now_ms)
        return order, reduced_e2

    def _reducible(self, account: int, order_id: str) -> Order | Refusal:
        """Return an order that may be cancelled or decreased now, or why it may not."""
        order = self.find(account, order_id)
        if order is None or not order.live:
            return refusals.NOT_FOUND
        return self._venue.closed_to(order.instrument, opening=False) or order

    def cancel_all(self, account: int, subaccount: int | None, now_ms: int) -> int:
        """Cancel all possible orders of an account, or of one subaccount; return how many."""
        found = [
            order
            for order in self.resting(account)
            if subaccount in (None, order.party[1])
            and self._venue.closed_to(order.instrument, opening=False) is None
        ]
        self._cancel(found, Reason.DECREASE, now_ms)
        if self.switches.cancel_all_catches_later:
            numbers = range(64) if subaccount is None else (subaccount,)
            self._caught_until_ms.update({(account, number): now_ms + CAUGHT_MS for number in numbers})
        return len(found)

    # -- order groups

    def create_group(self, party: Party, exchange_index: int, limit_e2: int, now_ms: int) -> Group | Refusal:
        """Make an order group."""
        if sum(group.party[0] == party[0] for group in self.groups.values()) >= GROUPS_MAX:
            return refusals.invalid_parameters("too many order groups")
        group = Group(self._crossing.uuid(), party, exchange_index, limit_e2, now_ms)
        self.groups[group.group_id] = group
        self._telling.group(group, "created", now_ms)
        return group

    def group(self, account: int, group_id: str, exchange_index: int) -> Group | None:
        """Return an account's group, if it lives on that shard."""
        group = self.groups.get(group_id)
        if group is None or group.party[0] != account or group.exchange_index != exchange_index:
            return None
        return group

    def delete_group(self, group: Group, now_ms: int) -> None:
        """End a group; its orders are cancelled."""
        self._cancel(list(group.orders.values()), Reason.DECREASE, now_ms)
        del self.groups[group.group_id]
        self._telling.group(group, "deleted", now_ms)

    def reset_group(self, group: Group, now_ms: int) -> None:
        """Let a group take orders again."""
        group.reset()
        self._telling.group(group, "reset", now_ms)

    def trigger_group(self, group: Group, now_ms: int) -> None:
        """Cancel a group's orders, and take no new ones until it is reset."""
        group.triggered = True
        self._cancel(list(group.orders.values()), Reason.DECREASE, now_ms)
        self._telling.group(group, "triggered", now_ms)

    def limit_group(self, group: Group, limit_e2: int, now_ms: int) -> None:
        """Set a group's limit; if it is already exceeded, the group is triggered."""
        group.limit_e2 = limit_e2
        self._telling.group(group, "limit_updated", now_ms)
        if not group.triggered and self._crossing.exceeded(group, group.note(0, now_ms)):
            self.trigger_group(group, now_ms)

    # -- the crowd, and what happens to markets

    def take(self, instrument: Instrument, side: Side, limit_e4: int, count_e2: int, now_ms: int) -> int:
        """Let the crowd take up to `count_e2` at a YES price of `limit_e4` or better; return what it got."""
        work = Work()
        self._crossing.cross(None, instrument, side, limit_e4, count_e2, work, now_ms)
        self._conclude(work, None, now_ms, instrument)
        return work.filled_e2

    def follow(self, instrument: Instrument, changes: list[Change], now_ms: int) -> None:
        """Show a book in which the crowd has moved; where it now meets users' orders, it trades with them."""
        book = self._venue.book(instrument)
        if not book.has_orders:
            if changes := combined(changes):
                self._venue.changed(instrument, changes, now_ms)
            return
        work = Work()
        work.changes.extend(changes)
        for side in (BID, ASK):
            self._crossing.meet(book, instrument, side, work, now_ms)
        self._conclude(work, None, now_ms, instrument)

    def withdraw_all(self, instrument: Instrument, reason: Reason, now_ms: int) -> None:
        """Cancel all orders in a market: at its close, or when a pause ends."""
        self._cancel(sorted(self._venue.resting(instrument), key=lambda o: o.number), reason, now_ms)

    def halt(self, exchange_index: int | None, now_ms: int) -> None:
        """Cancel the orders that ask for it, now that trading pauses on one shard or on all."""
        found = [
            order
            for order in self._crossing.live.values()
            if order.cancel_on_pause and exchange_index in (None, order.instrument.exchange_index)
        ]
        self._cancel(found, Reason.HALT_CANCEL, now_ms)

    def settle(self, instrument: Instrument, value_e4: int, now_ms: int) -> None:
        """Pay out what is held of a market, first cancelling what still rests."""
        self.withdraw_all(instrument, Reason.CLOSE_CANCEL, now_ms)
        for settlement in self.ledger.settle(instrument, value_e4, now_ms):
            for listener in self.listeners:
                listener.position_changed(settlement.party, instrument, now_ms)
            self._pay(settlement.party, instrument.exchange_index, now_ms)

    def pay(self, party: Party, exchange_index: int, now_ms: int) -> None:
        """Cancel what a party can no longer pay for after its cash went elsewhere."""
        self._pay(party, exchange_index, now_ms)

    def reprice(self, now_ms: int) -> None:
        """Revalue what rests, after fees or switches changed, and cancel what can no longer be paid for."""
        self.ledger.repriced()
        parties = {(order.party, order.instrument.exchange_index) for order in self._crossing.live.values()}
        for party, exchange_index in sorted(parties):
            self._pay(party, exchange_index, now_ms)

    def forget(self, now_ms: int) -> None:
        """Move orders that ended two weeks ago to the archive, and forget old client ids."""
        for account, orders in self.orders.items():
            self._archive(
                account, [o for o in orders.values() if not o.live and o.updated_ms < now_ms - LIVE_KEPT_MS]
            )
            ids = self._client_ids[account]
            for key in [key for key, (used_ms, _) in ids.items() if used_ms < now_ms - ID_KEPT_MS]:
                del ids[key]

    def _archive(self, account: int, old: list[Order]) -> None:
        orders, ids = self.orders[account], self._client_ids[account]
        self.archived[account].extend(old)
        for order in old:
            del orders[order.order_id]
            used_ms, whose = ids.get(order.client_order_id, (0, None))
            if whose is order:
                ids[order.client_order_id] = (used_ms, None)

    # -- what is refused

    def _unacceptable(self, wish: NewOrder, now_ms: int) -> Refusal | None:
        instrument = wish.instrument
        closed = self._venue.closed_to(instrument, opening=True)
        if closed is not None:
            return closed
        if not self._venue.on_grid(instrument, wish.price_e4):
            return refusals.INVALID_PRICE
        if wish.count_e2 <= 0:
            return refusals.INVALID_SIZE
        if wish.expires_ms is not None and wish.time_in_force != GTC:
            return refusals.invalid_order("expiration_time requires good_till_canceled")
        if wish.expires_ms is not None and wish.expires_ms <= now_ms:
            return refusals.invalid_order("expiration_time must be in the future")
        if wish.reduce_only and wish.time_in_force != IOC:
            return refusals.invalid_order("reduce_only requires immediate_or_cancel")
        if wish.post_only and wish.time_in_force != GTC:
            return refusals.invalid_order("post_only requires good_till_canceled")
        if wish.group_id is not None:
            group = self.group(wish.party[0], wish.group_id, instrument.exchange_index)
            if group is None or group.party != wish.party:
                return refusals.invalid_order("order group not found")
            if group.triggered:
                return refusals.invalid_order("order group triggered")
        if self._id_used(wish.party[0], wish.client_order_id, now_ms):
            return refusals.ALREADY_EXISTS
        if not self.ledger.priced(instrument):
            return refusals.invalid_order("fee type")
        return None

    def _not_amendable(self, order: Order, wish: Amendment, now_ms: int) -> Refusal | None:
        if wish.ticker != order.ticker:
            return refusals.TICKER_MISMATCH
        if wish.side != order.side:
            return refusals.SIDE_MISMATCH
        if wish.client_order_id not in (None, order.client_order_id):
            return refusals.ID_MISMATCH
        closed = self._venue.closed_to(order.instrument, opening=True)
        if closed is not None:
            return closed
        if not self._venue.on_grid(order.instrument, wish.price_e4):
            return refusals.INVALID_PRICE
        if wish.count_e2 <= 0 or wish.count_e2 < order.filled_e2:
            return refusals.INVALID_SIZE
        if wish.expires_ms is not None and 0 != wish.expires_ms <= now_ms:
            return refusals.invalid_order("expiration_time must be in the future")
        new_id = wish.new_client_order_id
        if new_id not in (None, order.client_order_id) and self._id_used(order.party[0], new_id, now_ms):
            return refusals.ALREADY_EXISTS
        return None

    def _id_used(self, account: int, client_order_id: str | None, now_ms: int) -> bool:
        if not client_order_id:
            return False
        used_ms, order = self._client_ids[account].get(client_order_id, (None, None))
        if used_ms is None:
            return False
        if order is not None and order.live:
            return True
        return self.switches.client_order_id_scope == "recent_30d" and used_ms > now_ms - ID_KEPT_MS

    def _use_id(self, account: int, client_order_id: str, order: Order | None, now_ms: int) -> None:
        if client_order_id:
            ids = self._client_ids[account]
            ids[client_order_id] = (now_ms, order)
            if len(ids) > IDS_MOST:
                del ids[next(iter(ids))]

    # -- making and ending orders

    def _expire(self, order: Order, time_ms: int) -> None:
        if order.live and order.order_id in self._crossing.live and order.expires_ms == time_ms:
            self._cancel([order], Reason.EXPIRY_CANCEL, time_ms)

    def _make(self, wish: NewOrder, now_ms: int) -> Order:
        self._number += 1
        return Order(
            order_id=self._crossing.uuid(),
            client_order_id=wish.client_order_id,
            party=wish.party,
            instrument=wish.instrument,
            side=wish.side,
            price_e4=wish.price_e4,
            initial_e2=wish.count_e2,
            remaining_e2=wish.count_e2,
            time_in_force=wish.time_in_force,
            self_trade=wish.self_trade,
            created_ms=now_ms,
            updated_ms=now_ms,
            number=self._number,
            expires_ms=wish.expires_ms,
            post_only=wish.post_only,
            reduce_only=wish.reduce_only,
            cancel_on_pause=wish.cancel_on_pause,
            group_id=wish.group_id,
        )

    def _register(self, order: Order, now_ms: int) -> None:
        account = order.party[0]
        orders = self.orders[account]
        orders[order.order_id] = order
        if len(orders) > LIVE_MOST:
            ended = (old for old in orders.values() if not old.live)
            self._archive(account, list(islice(ended, LIVE_MOST // 10)))
        self._use_id(account, order.client_order_id, order, now_ms)

    def _nothing_to_reduce(self, order: Order, now_ms: int) -> Outcome | Refusal:
        if self.switches.reduce_only_without_position_refused:
            return refusals.invalid_order("reduce only without position")
        self._register(order, now_ms)
        order.status, order.reason = Status.CANCELED, Reason.REDUCE_ONLY_CANCEL
        self._telling.order(order, now_ms)
        return self._outcome(order, Work(), now_ms)

    def _rename(self, order: Order, wish: Amendment, now_ms: int) -> None:
        account = order.party[0]
        if wish.new_client_order_id not in (None, order.client_order_id):
            order.client_order_id = wish.new_client_order_id or ""
            self._use_id(account, order.client_order_id, order, now_ms)
        if not self.switches.amend_keeps_id:
            self._crossing.live.pop(order.order_id)
            group = self.groups.get(order.group_id) if order.group_id is not None else None
            if group is not None:
                del group.orders[order.order_id]
            order.order_id = self._crossing.uuid()
            self._crossing.live[order.order_id] = order
            # It keeps its place: lists are sorted, and paged, by the time of creation.
            self.orders[account] = {o.order_id: o for o in self.orders[account].values()}
            if group is not None:
                group.orders[order.order_id] = order

    def _finish(self, order: Order, now_ms: int) -> None:
        """End an order that does not rest: it is filled, or its rest is cancelled."""
        order.status = Status.CANCELED if order.remaining_e2 else Status.EXECUTED
        order.remaining_e2 = 0
        order.updated_ms = now_ms

    def _cancel(self, orders: Iterable[Order], reason: Reason, now_ms: int) -> None:
        """End resting orders, whatever market each is in, and announce it."""
        by_market: dict[str, list[Order]] = {}
        for order in orders:
            by_market.setdefault(order.ticker, []).append(order)
        for ended in by_market.values():
            work = Work()
            for order in ended:
                self._crossing.end(order, reason, work, now_ms)
            self._conclude(work, None, now_ms, ended[0].instrument)

    # -- matching

    def _match(self, order: Order, work: Work, now_ms: int) -> bool:
        """Match an order; return whether its rest must not remain."""
        stopped = self._crossing.cross(
            order, order.instrument, order.side, order.price_e4, order.remaining_e2, work, now_ms
        )
        if stopped is not None:
            order.reason = stopped
        group = self.groups.get(order.group_id) if order.group_id is not None else None
        return stopped is not None or (group is not None and group.triggered)

    # -- telling

    def _conclude(
        self, work: Work, order: Order | None, now_ms: int, instrument: Instrument | None = None
    ) -> None:
        """Announce what a request did, then end what it has made unpayable or triggered."""
        if order is not None:
            instrument = order.instrument
        assert instrument is not None
        self._telling.tell(work, order, instrument, now_ms)
        self._after_fills(work, instrument, now_ms)

    def _after_fills(self, work: Work, instrument: Instrument, now_ms: int) -> None:
        for party in sorted(work.parties):
            self._pay(party, instrument.exchange_index, now_ms)
        if not work.parties or not self.groups:
            return
        filled = [fill.order.group_id for *_, fills in work.trades for fill in fills]
        for group_id in dict.fromkeys(filled):
            group = self.groups.get(group_id) if group_id is not None else None
            if group is not None and group.triggered:
                self.trigger_group(group, now_ms)

    def _pay(self, party: Party, exchange_index: int, now_ms: int) -> None:
        unpayable = self.ledger.unpayable(party, exchange_index)
        if unpayable:
            self._cancel(unpayable, Reason.MARGIN_CANCEL, now_ms)

    def _outcome(self, order: Order, work: Work, now_ms: int) -> Outcome:
        remaining_e2 = order.remaining_e2
        if order.time_in_force != GTC and self.switches.ioc_remaining_full:
            remaining_e2 = order.initial_e2
        return Outcome(order, work.filled_e2, remaining_e2, work.cost_e6, work.fees_e6, now_ms)
