"""The order gateway's core: it is told what happens and says what to do. No clock, socket, file or thread.

Its state follows from the records of its log: see `state`. Every call brings the times of both clocks.
"""

from collections.abc import Iterable
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

from bus.trading import reasons
from bus.trading.gateway import (
    AccountAnswer,
    AccountAsk,
    AmendAsk,
    AskedAnswer,
    CancelAsk,
    GatewayStatus,
    OrderAnswer,
    OrderAsk,
    OrderEventsAnswer,
    OrderEventsAsk,
    PlaceAnswer,
    PlaceAsk,
    TransferAnswer,
    TransferAsk,
)
from markets.errors import StartupError
from markets.orders import Intent, Sent

from . import limits, records, replies, requests
from .account import listed_order, shards
from .desk import HOLD_MS, Desk
from .life import Draft, Order
from .looking import Looking
from .records import Change, Moved, Opened
from .sending import Sending
from .steps import (
    Answered,
    AnyAction,
    AnyInput,
    Append,
    CoreSettings,
    ExchangeTime,
    FeedHeard,
    Fenced,
    KillSwitch,
    Limits,
    Now,
    PrivateHint,
    Reply,
    Request,
    Send,
    Tell,
    TradingStatus,
)

DROP_LEAST: Final = 2_000
"""How many orders that can be left out make a rewrite worthwhile."""

EVENTS_MOST: Final = 10_000
TRANSFER_AGAIN_MS: Final = 2_000
RESTARTED: Final = "restarted"


class Core:
    """The gateway without its process.

    To start: `Core(settings)`, `replay` with all records of the log, `open`; then, over and over, tell what
    has happened (`take`, and the questions), and carry out `actions`. Answers are given after the actions
    that belong to them have been carried out.
    """

    def __init__(self, settings: CoreSettings) -> None:
        self._settings = settings
        self._desk = Desk(settings)
        self._state = self._desk.state
        self._sending = Sending(self._desk)
        self._looking = Looking(self._desk, self._sending)
        self._transferring: dict[int, str] = {}
        self._transfer_due: dict[str, int] = {}

    @property
    def generation(self) -> int:
        """The number of this gateway, after `open`; before that, of the last one that wrote the log."""
        return self._state.generation

    def replay(self, log: Iterable[bytes]) -> None:
        """Take records of the log, in order, all of them before `open`.

        Raises:
            DecodeError: a record is of a later version, or not ours.
        """
        for record in log:
            self._state.replay(records.decode(record))

    def open(self, generation: int, exchange: str, account: str, now: Now) -> None:
        """Begin: requests under way when the log ended have lost their replies.

        Raises:
            StartupError: the log belongs to another account or exchange, or to a later generation.
        """
        state = self._state
        if (state.exchange, state.account) not in (("", ""), (exchange, account)):
            raise StartupError(
                f"the orders' log is of account {state.account} at exchange {state.exchange}, not of account "
                f"{account} at {exchange}: each has a log of its own"
            )
        if generation <= state.generation:
            raise StartupError(
                f"the orders' log is of gateway {state.generation}, and this is {generation}: "
                "another one has taken over"
            )
        self._desk.start(now)
        state.replayed(now.wall_ms)
        state.told.clear()
        state.commit(Opened(records.VERSION, generation, exchange, account, now.wall_ms))
        for request_id in list(state.under_way):
            lost = Reply(None, b"", RESTARTED, received_ms=now.wall_ms)
            self._sending.answered(Answered(request_id, lost), now)
        for journal in state.journals.values():
            for order in journal.orders.values():
                # By when they were taken: those that still wait for their turn count, too.
                taken = order.events[0] if order.events else None
                if taken is not None and isinstance(taken.event, Sent) and now.wall_ms - taken.at_ms < 60_000:
                    self._desk.rate.note(now.steady_ms)
        for order in state.active.values():
            work = self._desk.work(order)
            work.dead_ms = now.steady_ms + max(0, min(HOLD_MS, order.intent.valid_until_ms - now.wall_ms))
            if order.created == "sent":  # written by a build that did not note requests
                self._learn_lost(order, now)
        self._looking.start(now)

    def _learn_lost(self, order: Order, now: Now) -> None:
        draft = Draft(order)
        draft.create_answered(Reply(None, trouble=RESTARTED), order.signed_ms)
        self._desk.learn(draft, RESTARTED, now)

    def take(self, what: AnyInput, now: Now) -> None:
        """Take something that has happened."""
        desk = self._desk
        if isinstance(what, Answered):
            self._answered(what, now)
        elif isinstance(what, FeedHeard):
            before = desk.feed
            if what.complete_ms is not None and (before is None or before.complete_ms != what.complete_ms):
                desk.complete_steady_ms = now.steady_ms - max(0, now.wall_ms - what.complete_ms)
            elif what.complete_ms is None:
                desk.complete_steady_ms = None
            desk.feed, desk.feed_heard_ms = what, now.steady_ms
        elif isinstance(what, KillSwitch):
            desk.killed = what.killed
        elif isinstance(what, TradingStatus):
            desk.trading, desk.shards = what.active, dict(what.shards)
        elif isinstance(what, Fenced):
            desk.fenced = True
        elif isinstance(what, Limits):
            self._sending.budget.resize(what, now.steady_ms)
            self._looking.subaccount = what.subaccount
        elif isinstance(what, ExchangeTime):
            desk.dated(what.exchange_ms, now)
        elif isinstance(what, PrivateHint):
            self._looking.hint(what.ticker, now)

    def _answered(self, what: Answered, now: Now) -> None:
        if what.reply.status is not None and 200 <= what.reply.status < 300:
            self._desk.accepted()
        if what.request_id in self._transferring:
            self._transferred(self._transferring.pop(what.request_id), what.reply, now)
        elif what.request_id < 0:
            self._looking.answered(what.request_id, what.reply, now)
        elif self._sending.answered(what, now):
            self._looking.soon(now)

    def actions(self, now: Now) -> list[AnyAction]:
        """Return what is to be done now, and forget it. Call it after telling anything, and at `next_ms`."""
        for order in self._desk.due(now.steady_ms):
            self._sending.advance(order, now)
        out: list[AnyAction] = [*self._sending.leave(now), *self._transfers(now), *self._looking.leave(now)]
        state = self._state
        appended, state.appended = state.appended, []
        told, state.told = state.told, []
        return [
            *(Append(record) for record in appended),
            *out,
            *(Tell(journal, event) for journal, event in told),
        ]

    def next_ms(self, now: Now) -> int | None:
        """Return the earliest time at which `actions` may have something, by the steady clock."""
        if self._state.appended or self._state.told:
            return now.steady_ms
        times = [
            at
            for at in (self._desk.next_due_ms, self._sending.wait_ms, self._looking.next_ms)
            if at is not None
        ]
        if not self._desk.holds:
            times += self._transfer_due.values()
        return min(times, default=None)

    def exchange_ms(self, now: Now) -> int:
        """Return the exchange's time, for signing, as far as its answers have told it."""
        return self._desk.exchange_ms(now)

    # -- questions

    def place(self, ask: PlaceAsk, now: Now) -> PlaceAnswer:
        """Take intents, or refuse each with an event."""
        journal = self._state.join(ask.journal, now.wall_ms)
        journal.heard_steady_ms = now.steady_ms
        for intent in ask.intents:
            if intent.number >= 1 and not journal.has(intent.number):
                self._place(ask, intent, now)
        logged = tuple(intent.number for intent in ask.intents if journal.has(intent.number))
        return PlaceAnswer(logged=logged)

    def _place(self, ask: PlaceAsk, intent: Intent, now: Now) -> None:
        desk = self._desk
        order = Order.of(ask.journal, intent)
        draft = Draft(order)
        reason = self._refusal(ask, intent, now)
        if reason is None:
            desk.rate.note(now.steady_ms)
            work = desk.work(order)
            work.dead_ms = now.steady_ms + min(HOLD_MS, intent.valid_until_ms - now.wall_ms)
            draft.taken()
        else:
            desk.counted[reason.partition(":")[0]] += 1
            draft.refused(reason)
        self._state.take(order, draft, now.wall_ms)
        desk.follow(order, now)

    def _refusal(self, ask: PlaceAsk, intent: Intent, now: Now) -> str | None:
        settings = self._settings
        senseless = limits.senseless(intent, now.wall_ms)
        if senseless is not None:
            return senseless
        if intent.client_order_id in self._state.by_client:
            return f"{limits.BAD_INTENT}: client_order_id is another order's"
        if ask.source != "live":
            return limits.REPLAY
        if settings.env != "sim" and (not settings.confirmation or ask.confirmation != settings.confirmation):
            return limits.NOT_CONFIRMED
        if intent.account and intent.account != self._state.account:
            return limits.OTHER_ACCOUNT
        reason = self._desk.hindrance(intent, now)
        if reason is not None:
            return reason
        if self._desk.rate.within(now.steady_ms) >= settings.orders_per_minute:
            return limits.RATE_LIMIT
        if intent.time_in_force == "gtc":
            shard = intent.exchange_index
            there = sum(
                order.intent.exchange_index == shard and order.intent.time_in_force == "gtc"
                for order in self._state.active.values()
            )
            if there >= self._sending.budget.renewable(settings.lease_ms):
                return limits.LEASES
        return None

    def cancel(self, ask: CancelAsk, now: Now) -> AskedAnswer:
        """Ask for an order's end."""
        order = self._order(ask.journal, ask.number)
        if order is None or order.ended:
            return AskedAnswer(asked=False)
        if not order.cancel:
            draft = Draft(order)
            draft.change(Change(cancel=ask.reason or reasons.CANCELLED, wanted=()))
            self._desk.learn(draft, "cancel", now)
        return AskedAnswer(asked=True)

    def amend(self, ask: AmendAsk, now: Now) -> AskedAnswer:
        """Ask for another price or count of an order."""
        order = self._order(ask.journal, ask.number)
        if order is None or order.ended or order.over or order.cancel or order.intent.time_in_force != "gtc":
            return AskedAnswer(asked=False)
        doubt, asked = order.doubt, (ask.price_e4, ask.count_e2)
        leaves = doubt is not None and doubt.what == "amend" and (doubt.price_e4, doubt.count_e2) == asked
        if leaves and not order.wanted:
            return AskedAnswer(asked=True)  # its trader has begun anew, or has not heard the answer
        draft = Draft(order)
        draft.change(Change(wanted=asked))
        self._desk.learn(draft, "amend", now)
        return AskedAnswer(asked=True)

    def order_events(self, ask: OrderEventsAsk, now: Now) -> OrderEventsAnswer:
        """Return what a journal has not yet received; the trader's sign of life."""
        state = self._state
        journal = state.join(ask.journal, now.wall_ms)
        journal.heard_steady_ms = now.steady_ms
        journal.acked = max(journal.acked, min(ask.after, journal.last))
        return OrderEventsAnswer(
            events=journal.after(ask.after, min(ask.limit, EVENTS_MOST)),
            last=journal.last,
            generation=state.generation,
            exchange=state.exchange,
            account=state.account,
            queues=tuple(
                (number, ahead_e2)
                for (name, number), ahead_e2 in self._looking.queues.items()
                if name == ask.journal and self._looking.queues_ms != ask.queues_ms
            ),
            queues_ms=self._looking.queues_ms,
            trouble=self._trouble,
        )

    @property
    def _trouble(self) -> str:
        trouble = self._looking.trouble or self._looking.blind
        return f"the account could not be listed whole: {trouble}" if trouble else ""

    def _order(self, journal: str, number: int) -> Order | None:
        found = self._state.journals.get(journal)
        return found.orders.get(number) if found is not None else None

    def order(self, ask: OrderAsk) -> OrderAnswer:
        """Return what is known about an order."""
        order = self._order(ask.journal, ask.number)
        if order is None:
            return OrderAnswer(found=False)
        return OrderAnswer(
            found=True,
            state=str(order.state),
            reason=order.reason,
            order_id=order.order_id,
            deadline_ms=order.deadline_ms if str(order.state) == "unknown" else None,
            lease_ms=order.lease_ms,
            exchanged=tuple(order.exchanged.values()),
            events=tuple(order.events),
        )

    def account(self, ask: AccountAsk, asked_steady_ms: int, now: Now) -> AccountAnswer | None:
        """Return the newest listing that began at or after `asked_steady_ms`.

        None: one is on its way; ask again after every `take`. With 0 it is whatever there is.
        """
        account, state = self._desk.account, self._state
        since_ms = ask.since_ms
        if (
            account is None
            or account.listing.steady_ms < asked_steady_ms
            or (since_ms and account.listing.since_ms > since_ms)
        ):
            self._looking.want_account(now, since_ms)
            return None
        listing, own_e6 = account.listing, dict[int, int]()
        for order in state.active.values():
            shard = order.intent.exchange_index or 0
            cost_e6 = limits.cost_e6(order.intent, order.dearest_e4, order.most_e2)
            own_e6[shard] = own_e6.get(shard, 0) + cost_e6
        journal = state.journals.get(ask.journal)
        ours = {
            order_id: order.intent.number
            for order in (journal.orders.values() if journal is not None else ())
            for order_id in (order.order_id, *order.ids)
        }
        return AccountAnswer(
            exchange=state.exchange,
            account=state.account,
            as_of_ms=listing.as_of_ms,
            asked_ms=listing.asked_ms,
            in_flight=len(state.under_way) + (state.requests - listing.requests),
            last_event=journal.last if journal is not None else 0,
            shards=shards(account, own_e6),
            positions=tuple(listing.positions),
            orders=tuple(listed_order(seen, ours.get(seen.order_id)) for seen in listing.resting),
            settlements=tuple(one for one in listing.settlements if one.time_ms >= since_ms),
            movements=tuple(one for one in listing.movements if one.time_ms >= since_ms),
            netting=listing.netting,
            missing=tuple(listing.missing),
        )

    def gateway(self, now: Now) -> GatewayStatus:
        """Return the gateway's status."""
        desk, state = self._desk, self._state
        halted = desk.halted(now)
        exposure_e6 = sum(
            limits.cost_e6(order.intent, order.dearest_e4, order.most_e2) for order in state.active.values()
        )
        if desk.account is not None:
            exposure_e6 += desk.account.total_exposure_e6
        writes, reads = self._sending.budget.shown(now.steady_ms)
        return GatewayStatus(
            state=halted or "ready",
            reasons=(halted,) if halted is not None else (),
            generation=state.generation,
            exchange=state.exchange,
            account=state.account,
            env=self._settings.env,
            open_orders=len(state.active),
            in_flight=len(state.under_way),
            unknown=sum(str(order.state) == "unknown" for order in state.active.values()),
            exposure_e6=exposure_e6,
            writes=writes,
            reads=reads,
            resolved=desk.resolved,
            longest_unknown_ms=desk.longest_unknown_ms,
            sent=desk.sent,
            refused=dict(desk.counted),
            error=self._trouble or (desk.alarms[-1] if desk.alarms else None),
        )

    # -- cash

    def transfer(self, ask: TransferAsk, now: Now) -> TransferAnswer | None:
        """Move cash; None: on its way; repeat the same ask after every `take`."""
        moved = self._state.transfers.get(ask.transfer_id)
        if moved is None:
            wrong = (
                not ask.transfer_id
                or len(ask.transfer_id) > 128
                or ask.from_shard == ask.to_shard
                or min(ask.from_shard, ask.to_shard) < 0
                or ask.amount_e6 <= 0
                or ask.amount_e6 % 100 != 0
            )
            if wrong:
                return TransferAnswer(
                    state="refused",
                    reason="expected an id, two shards and an amount above 0 in steps of $0.0001",
                )
            moved = Moved(ask.transfer_id, ask.from_shard, ask.to_shard, ask.amount_e6, now.wall_ms, "asked")
            self._state.commit(moved)
        same = (moved.from_shard, moved.to_shard, moved.amount_e6)
        if same != (ask.from_shard, ask.to_shard, ask.amount_e6):
            return TransferAnswer(state="refused", reason="this id was another transfer's")
        if moved.state == "done":
            return TransferAnswer(state="done", reason=moved.reason)
        if moved.state == "refused":
            return TransferAnswer(state="refused", reason=moved.reason)
        if ask.transfer_id not in self._transfer_due and ask.transfer_id not in self._transferring.values():
            self._transfer_due[ask.transfer_id] = now.steady_ms
        return None

    def _transfers(self, now: Now) -> list[Send]:
        out: list[Send] = []
        for own, due_ms in list(self._transfer_due.items()):
            moved = self._state.transfers[own]
            if due_ms > now.steady_ms or self._desk.holds:
                continue
            asked = requests.transfer(_uuid(own), moved.from_shard, moved.to_shard, moved.amount_e6)
            wait_ms = self._sending.budget.wait_ms("create", asked.cost, 0, now.steady_ms)
            if wait_ms:
                self._transfer_due[own] = now.steady_ms + wait_ms
                continue
            self._sending.budget.pay("create", asked.cost, 0, now.steady_ms)
            del self._transfer_due[own]
            self._state.requests += 1
            number = self._state.requests
            self._transferring[number] = own
            out.append(
                Send(
                    Request(
                        number, asked.what, asked.method, asked.path, (), asked.body, "create", asked.cost, 0
                    )
                )
            )
        return out

    def _transferred(self, own: str, reply: Reply, now: Now) -> None:
        """A transfer's answer came. If uncertain, ask again with the same id, which moves cash only once."""
        moved = self._state.transfers[own]
        state = "asked"
        code = replies.error_code(reply.body) if reply.status is not None else None
        if reply.status is not None and 200 <= reply.status < 300:
            state = "done"
        elif reply.status is not None and code is not None and 400 <= reply.status < 500:
            state = "refused"
        if state == "asked" or reply.status == 429:
            self._transfer_due[own] = now.steady_ms + TRANSFER_AGAIN_MS
            return
        self._state.commit(
            Moved(own, moved.from_shard, moved.to_shard, moved.amount_e6, now.wall_ms, state, code or "")
        )
        self._looking.want_account(now, 0)

    # -- the log

    def compactable(self, now: Now) -> bool:
        """Tell whether so much of the log has become useless that rewriting it is worthwhile."""
        return len(self._state.droppable(now.wall_ms)) >= DROP_LEAST

    def base(self, now: Now) -> bytes:
        """Return the first record of a rewritten log, and forget what it leaves out."""
        self._state.drop(self._state.droppable(now.wall_ms), now.wall_ms)
        return records.encode(self._state.base())

    def keeps(self, record: bytes) -> bool:
        """Tell whether a record of the log goes into the rewritten one, after `base`."""
        return self._state.keeps(records.decode(record))


def _uuid(own: str) -> str:
    """Return the id under which the exchange gets a transfer of ours: always the same."""
    try:
        return str(UUID(own))
    except ValueError:
        return str(uuid5(NAMESPACE_OID, f"kalshi-bus transfer {own}"))
