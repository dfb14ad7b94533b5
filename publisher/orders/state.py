"""What follows from the gateway's log: journals, orders, requests under way. Pure; every change is a record.

While the gateway runs, an order is changed first and the record made from that (`commit`); a start reads the
records (`replay`). Both give the same state.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from bus.trading.gateway import Exchanged, ForeignFill, GatewayEvent
from markets.orders import AnyOrderEvent

from . import records
from .life import Draft, Key, Order
from .records import (
    AnyRecord,
    Base,
    Change,
    Foreign,
    Joined,
    JournalBase,
    Learned,
    Moved,
    Opened,
    Replied,
    Requested,
    Swept,
    Taken,
)

FILLS_KEPT_MS = 3_600_000
"""How long fills are remembered by their ids, counted back from the last sweep, or from when the oldest order
that has not ended was signed."""

DROP_AFTER_MS = 86_400_000
"""An order that ended longer ago is left out of a rewritten log, once its journal has all of it."""

ENDED_MOST = 5_000
"""Of the others that ended, the newest so many are kept: starts and the watchdog read the whole log."""

SETTLED_MS = 600_000
"""However many there are, one is kept this long, while requests of it or fills may still turn up."""

AHEAD_MOST_MS = 60_000
"""A sweep that a log dates later than this from now was dated by a wrong clock."""


@dataclass(slots=True)
class Journal:
    """What one trader is told.

    Attributes:
        last: number of the newest event. events: those kept, in order; the trader has the rest.
        acked: the last that it has, as it says.
        heard_steady_ms: its last sign of life; None: none yet.
    """

    joined_ms: int
    last: int = 0
    events: list[GatewayEvent] = field(default_factory=list)
    orders: dict[int, Order] = field(default_factory=dict)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    acked: int = 0
    heard_steady_ms: int | None = None

    def has(self, number: int) -> bool:
        """Return whether an intent is, or was, in the log."""
        return number in self.orders or any(low <= number <= high for low, high in self.dropped)

    def after(self, number: int, limit: int) -> tuple[GatewayEvent, ...]:
        """Return the events after one."""
        at = bisect_right(self.events, number, key=lambda event: event.number)
        return tuple(self.events[at : at + max(0, limit)])


class State:
    """Everything that follows from the log.

    Attributes:
        active: orders that have not ended. by_client, by_id: by the names that client and exchange gave them.
        fills: ids of all fills, booked or foreign, with their times.
        under_way: requests without an answer: id -> (orders, what).
        appended: records not yet on disk. told: events not yet hinted at.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.exchange = ""
        self.account = ""
        self.requests = 0
        self.swept_ms = 0
        self.journals: dict[str, Journal] = {}
        self.active: dict[Key, Order] = {}
        self.by_client: dict[str, Key] = {}
        self.by_id: dict[str, Key] = {}
        self.fills: dict[str, int] = {}
        self.under_way: dict[int, tuple[Key, str]] = {}
        self.transfers: dict[str, Moved] = {}
        self._sweeps: list[int] = []
        self._written: list[int] = []
        self.appended: list[bytes] = []
        self.told: list[tuple[str, GatewayEvent]] = []

    # -- reading the log

    def replay(self, record: AnyRecord) -> None:
        """Take a record of the log."""
        if isinstance(record, Base):
            self._base(record)
        elif isinstance(record, Taken):
            self._journal(record.journal, record.at_ms).orders[record.intent.number] = Order.of(
                record.journal, record.intent
            )
        if isinstance(record, Taken | Requested | Replied | Learned):
            number = record.intent.number if isinstance(record, Taken) else record.number
            journal = self.journals.get(record.journal)
            order = journal.orders.get(number) if journal is not None else None
            if order is not None:
                for change in record.changes:
                    order.apply(change)
        self._note(record)
        if self._sweeps[-1:] != [self.swept_ms]:
            self._sweeps.append(self.swept_ms)
        if not isinstance(record, Base | Swept):
            self._written.append(record.received_ms if isinstance(record, Replied) else record.at_ms)

    def replayed(self, wall_ms: int) -> None:
        """All of the log has been read: the last sweep is one that can have been.

        Fills are looked for from there on. A log may date sweeps in the future: by a machine's wrong clock,
        or by a wrong time in an answer, which earlier builds believed. Such a build also left the ids of
        fills out of a log that it rewrote, so there they are looked for only from when it was last written.
        """
        if self.swept_ms > wall_ms + AHEAD_MOST_MS:
            been = [ms for ms in self._sweeps if 0 < ms <= wall_ms]
            written = [ms for ms in self._written if ms <= wall_ms]
            self.swept_ms = max(been or written, default=wall_ms - FILLS_KEPT_MS)
        self._sweeps.clear()
        self._written.clear()

    def _base(self, base: Base) -> None:
        self.generation, self.exchange, self.account = base.generation, base.exchange, base.account
        self.requests, self.swept_ms = base.requests, base.swept_ms
        self.fills = dict(base.fills)
        for told in base.journals:
            journal = self._journal(told.journal, told.joined_ms)
            journal.last = told.last
            journal.dropped, journal.acked = list(told.dropped), told.acked

    def _journal(self, name: str, at_ms: int) -> Journal:
        journal = self.journals.get(name)
        if journal is None:
            journal = self.journals[name] = Journal(at_ms)
        return journal

    # -- writing it

    def commit(self, record: AnyRecord) -> None:
        """Take a record whose changes have already been made: append it, and note what it says."""
        self.appended.append(records.encode(record))
        self._note(record)

    def numbered(self, name: str, events: Iterable[AnyOrderEvent], at_ms: int) -> tuple[GatewayEvent, ...]:
        """Return events with their journal's next numbers."""
        last = self.journals[name].last
        return tuple(GatewayEvent(last + n, at_ms, event) for n, event in enumerate(events, start=1))

    def foreign(self, name: str, event: ForeignFill, at_ms: int) -> GatewayEvent:
        """Return a fill of somebody else's with the next number of a journal."""
        return GatewayEvent(self.journals[name].last + 1, at_ms, event)

    def take(self, order: Order, draft: Draft, at_ms: int) -> None:
        """An intent is accepted or refused."""
        self.journals[order.journal].orders[order.intent.number] = order
        events = self.numbered(order.journal, draft.events, at_ms)
        self.commit(Taken(order.journal, order.intent, at_ms, tuple(draft.changes), events))

    def learn(self, draft: Draft, how: str, at_ms: int) -> bool:
        """Something new about an order; return whether it was new."""
        if not draft.changes and not draft.events:
            return False
        order = draft.order
        events = self.numbered(order.journal, draft.events, at_ms)
        changes = tuple(draft.changes)
        self.commit(Learned(order.journal, order.intent.number, at_ms, how, changes, events))
        return True

    def join(self, name: str, at_ms: int) -> Journal:
        """Return a journal; an unknown one begins now."""
        journal = self.journals.get(name)
        if journal is None:
            self.commit(Joined(name, at_ms))
            journal = self.journals[name]
        return journal

    # -- what a record says in addition to the changes of an order

    def _note(self, record: AnyRecord) -> None:
        if isinstance(record, Opened):
            self.generation, self.exchange, self.account = record.generation, record.exchange, record.account
            self.swept_ms = self.swept_ms or record.at_ms
        elif isinstance(record, Joined):
            self._journal(record.journal, record.at_ms)
        elif isinstance(record, Swept):
            self.swept_ms = record.until_ms
        elif isinstance(record, Moved):
            self.transfers[record.id] = record
        elif isinstance(record, Foreign):
            self._tell(record.journal, (record.event,))
            if isinstance(record.event.event, ForeignFill):
                self.fills[record.fill_id] = record.event.event.fill.time_ms
        elif not isinstance(record, Base):
            self._note_order(record)

    def _note_order(self, record: Taken | Requested | Replied | Learned) -> None:
        number = record.intent.number if isinstance(record, Taken) else record.number
        journal = self.journals.get(record.journal)
        order = journal.orders.get(number) if journal is not None else None
        if isinstance(record, Requested):
            self.requests = max(self.requests, record.request_id)
            self.under_way[record.request_id] = (record.journal, number), record.what
        elif isinstance(record, Replied):
            self.under_way.pop(record.request_id, None)
        if order is None:
            return
        if isinstance(record, Taken):
            self.by_client[order.intent.client_order_id] = order.key
        elif isinstance(record, Requested):
            order.exchanged[record.request_id] = Exchanged(
                what=record.what,
                path=f"{record.method} {record.path}",
                body=record.body.decode("utf-8", "replace"),
                signed_ms=record.at_ms,
                sent_ms=record.at_ms,
            )
        elif isinstance(record, Replied) and (sent := order.exchanged.get(record.request_id)) is not None:
            order.exchanged[record.request_id] = Exchanged(
                what=sent.what,
                path=sent.path,
                body=sent.body,
                signed_ms=record.signed_ms or sent.signed_ms,
                replied_ms=record.received_ms,
                status=record.status,
                reply=record.body.decode("utf-8", "replace"),
                trouble=record.trouble,
                sent_ms=max(sent.sent_ms, record.signed_ms),
            )
            if sent.what == "renew" and any(change.lease_ms is not None for change in record.changes):
                self._outdate(order, record.request_id)
        self._index(order, record.changes)
        if not isinstance(record, Requested):
            order.events += record.events
            self._tell(record.journal, record.events)
            if order.ended:
                order.ended_ms = order.ended_ms or (
                    record.received_ms if isinstance(record, Replied) else record.at_ms
                )

    def _outdate(self, order: Order, renewal: int) -> None:
        """Leave out the renewals before one that succeeded: while an order rests, there is no end of them."""
        for request_id in [id_ for id_, sent in order.exchanged.items() if sent.what == "renew"]:
            if request_id < renewal and request_id not in self.under_way:
                del order.exchanged[request_id]

    def _index(self, order: Order, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.order_id:
                self.by_id[change.order_id] = order.key
            if change.fill is not None:
                self.fills[change.fill.id] = change.fill.time_ms
        if order.ended:
            self.active.pop(order.key, None)
        else:
            self.active[order.key] = order

    def _tell(self, name: str, events: Iterable[GatewayEvent]) -> None:
        journal = self.journals[name]
        for event in events:
            journal.events.append(event)
            journal.last = max(journal.last, event.number)
            self.told.append((name, event))

    # -- rewriting the log

    def droppable(self, now_ms: int) -> list[Order]:
        """Return the orders that a rewritten log leaves out: their journals have all that was told."""
        settled = [
            order
            for journal in self.journals.values()
            for order in journal.orders.values()
            if order.ended
            and order.ended_ms < now_ms - SETTLED_MS
            and all(event.number <= journal.acked for event in order.events)
        ]
        settled.sort(key=lambda order: order.ended_ms)
        old = bisect_left(settled, now_ms - DROP_AFTER_MS, key=lambda order: order.ended_ms)
        return settled[: max(old, len(settled) - ENDED_MOST)]

    def drop(self, orders: Iterable[Order], now_ms: int) -> None:
        """Forget orders, the events that their journals already have, and fills that are not listed again."""
        for order in orders:
            journal = self.journals[order.journal]
            del journal.orders[order.intent.number]
            self.by_client.pop(order.intent.client_order_id, None)
            for name in (order.order_id, *order.ids):
                self.by_id.pop(name, None)
            journal.dropped.append((order.intent.number, order.intent.number))
        for journal in self.journals.values():
            journal.dropped = _merged(journal.dropped)
            # Events that a journal already has are kept only for `order`, which has its own.
            del journal.events[: bisect_right(journal.events, journal.acked, key=lambda event: event.number)]
        if self.swept_ms > now_ms + AHEAD_MOST_MS:  # by a wrong clock: all ids are known from earlier on
            self.swept_ms = now_ms - FILLS_KEPT_MS // 2
        # While an order has not ended, fills may be asked for from before it was signed. Those of the orders
        # that are kept stay whenever the exchange says they were: an order books none twice.
        signed_ms = [order.signed_ms for order in self.active.values() if order.signed_ms]
        since_ms = min([self.swept_ms, now_ms, *signed_ms]) - FILLS_KEPT_MS
        kept = {
            name
            for journal in self.journals.values()
            for one in journal.orders.values()
            for name in one.fills
        }
        self.fills = {
            name: time_ms for name, time_ms in self.fills.items() if time_ms >= since_ms or name in kept
        }

    def base(self) -> Base:
        """Return the beginning of a rewritten log."""
        return Base(
            records.VERSION,
            self.generation,
            self.exchange,
            self.account,
            self.requests,
            self.swept_ms,
            tuple(
                JournalBase(name, journal.joined_ms, journal.last, tuple(journal.dropped), journal.acked)
                for name, journal in self.journals.items()
            ),
            tuple(self.fills.items()),
        )

    def keeps(self, record: AnyRecord) -> bool:
        """Whether a record is still of use after `base`."""
        if isinstance(record, Taken):
            return record.intent.number in self.journals[record.journal].orders
        if isinstance(record, Requested | Replied | Learned):
            journal = self.journals.get(record.journal)
            order = journal.orders.get(record.number) if journal is not None else None
            if order is None or isinstance(record, Learned) or record.request_id in order.exchanged:
                return order is not None
            # Of a renewal that others have followed, all else is as they say.
            return any(change.order_id for change in record.changes) or (
                isinstance(record, Replied) and bool(record.events)
            )
        if isinstance(record, Foreign):
            return record.event.number > self.journals[record.journal].acked
        return isinstance(record, Moved)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged
