"""The broker that passes orders to the order gateway: docs/orders.md, from the trader's side. Pure.

It says what to ask next and takes the answers; the link (bus/trading/link.py) has the socket. What has become
of orders is known from the gateway's numbered events, each passed on once: `heard` is the number of the last
one passed on, and the session writes it down together with what it books. A question without an answer is
asked again: all of them may be repeated any number of times. Only the thread that decides asks, so that its
questions are a sign of life.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

from bus.protocol.answers import Refusal
from bus.trading import reasons
from bus.trading.gateway import (
    AccountAnswer,
    AccountAsk,
    AmendAsk,
    AnyAsk,
    AskedAnswer,
    CancelAsk,
    ForeignFill,
    GatewayEvent,
    OrderAnswer,
    OrderAsk,
    OrderEventsAnswer,
    OrderEventsAsk,
    PlaceAnswer,
    PlaceAsk,
    Source,
)
from bus.trading.shapes import told
from markets.errors import DecodeError
from markets.opportunities import MarketView
from markets.orders import Amended, AmendRefused, AnyOrderEvent, Ended, Intent, OrderState
from markets.records import Trade
from trader.engine.inputs import Present

from .base import Markets, OpenOrder, QueuePlace

EVENTS_MS: Final = 500
"""How often events are asked for while nothing is awaited, as a sign of life."""

SOON_MS: Final = 50
"""How often events are asked for while an order is on its way."""

AGAIN_MS: Final = 500
"""How long until an unanswered question is asked again."""

ACCOUNT_MS: Final = 10_000
"""The same for what the exchange lists, which takes longer to put together."""

SILENT_MS: Final = 3_000
MARGIN_MS: Final = 1_000
"""How long after its expiry an order that the gateway never had is given up: clocks differ."""

MAX_ASKED: Final = 1_000
"""How many unanswered questions are remembered."""

_ON_ITS_WAY: Final = ("place", "cancel", "amend")


class _Errand(msgspec.Struct):
    """A question to repeat until it is answered. `asked_ms` is by the steady clock, None at first."""

    ask: AnyAsk
    asked_ms: int | None = None


class GatewayBroker:
    """Says what to ask the gateway, and reports what it answered.

    Args:
        journal: the journal's id. heard: number of the last event that it has.
        exchange, account: whose the journal is.
        source: of the feed that is traded on.
        confirmation: what the settings have of it.
        amending: open order -> price and count, of amends that were asked for and not answered before.
        urge: called once all orders, amends and cancels of one step have been passed on: ask now.

    Attributes:
        heard: number of the last event that `due` has told.
        generation: of the gateway that answered last, 0 before one has.
        last: number of its newest event for the journal, as far as is known.
        urge: may be set once it is known who asks.
        trouble: why the account could not be listed whole, by the gateway's last word; "" if it could.
        moved: whether the gateway trades at a different exchange from the journal's.
    """

    def __init__(
        self,
        journal: str,
        exchange: str,
        account: str,
        heard: int = 0,
        source: Callable[[], Source] = lambda: "live",
        confirmation: str = "",
        amending: Mapping[int, tuple[int, int]] | None = None,
        urge: Callable[[], None] = lambda: None,
    ) -> None:
        self.heard = heard
        self.generation = 0
        self.last = heard
        self._journal = journal
        self._whose = exchange, account
        self._source = source
        self._confirmation = confirmation
        self._amending = dict(amending or {})
        self.urge = urge
        self._arrived = heard
        self._waiting: list[AnyOrderEvent | ForeignFill] = []
        self._due_ms: int | None = None
        self._unlogged: dict[int, Intent] = {}
        self._unsaid: dict[int, Intent] = {}
        self._place_ms: int | None = None
        self._events_ms: int | None = None
        self._events_open = False
        self._awaited: set[int] = set()
        """Orders that are filled at once or not at all, and have not ended."""
        self._errands: dict[tuple[str, int], _Errand] = {}
        self._account: AccountAnswer | None = None
        self._queued: dict[int, QueuePlace] = {}
        self._queues_ms = 0
        self._asked: dict[int, AnyAsk] = {}
        self._next_id = 1
        self._answered_ms: int | None = None
        self._began_ms: int | None = None
        self._other = ""
        self.moved = False
        self.trouble = ""

    # -- the session's side

    @property
    def next_ms(self) -> int | None:
        """When something has arrived that is not told yet, by the steady clock; None: nothing."""
        return self._due_ms

    @property
    def watched(self) -> AbstractSet[str]:
        """No market: the exchange fills."""
        return frozenset()

    @property
    def queued(self) -> Mapping[int, QueuePlace]:
        """As the exchange said last."""
        return self._queued

    def place(self, intent: Intent, present: Present) -> None:
        """Have an order placed."""
        self._unsaid[intent.number] = intent
        if intent.time_in_force != "gtc":
            self._awaited.add(intent.number)

    def cancel(self, number: int, present: Present) -> None:
        """Have an order cancelled."""
        self._errands["cancel", number] = _Errand(CancelAsk(journal=self._journal, number=number))

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        """Have a resting order changed."""
        self._ask_amend(number, price_e4, count_e2)

    def _ask_amend(self, number: int, price_e4: int, count_e2: int) -> None:
        self._amending.pop(number, None)
        ask = AmendAsk(journal=self._journal, number=number, price_e4=price_e4, count_e2=count_e2)
        self._errands["amend", number] = _Errand(ask)

    def carry_out(self) -> None:
        """Ask for everything passed on in this step."""
        self.urge()

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> list[AnyOrderEvent | ForeignFill]:
        """Return what has arrived, in order."""
        events, self._waiting, self._due_ms = self._waiting, [], None
        self.heard = self._arrived
        return events

    def observe(self, market: MarketView, present: Present) -> None:
        """Look at nothing."""

    def traded(self, trade: Trade, present: Present) -> None:
        """Look at nothing."""

    def recover(self, standing: Sequence[OpenOrder]) -> list[AnyOrderEvent | ForeignFill]:
        """Ask about the open orders again: the gateway has them, takes them now, or never will."""
        for order in standing:
            self._unsaid[order.intent.number] = order.intent
            if order.intent.time_in_force != "gtc":
                self._awaited.add(order.intent.number)
        return []

    # -- the link's side

    def questions(self, now_ms: int, steady_ms: int) -> list[tuple[int, AnyAsk]]:
        """Return the questions to ask now, each with an id of its own."""
        if self._began_ms is None:
            self._began_ms = steady_ms
            # An answer meant for the previous broker must not be taken for one to this.
            self._next_id = steady_ms * 1_000
        asks: list[AnyAsk] = list(self._to_place(now_ms, steady_ms))
        for (kind, _), errand in self._errands.items():
            if _over(errand.asked_ms, steady_ms, ACCOUNT_MS if kind == "account" else AGAIN_MS):
                errand.asked_ms = steady_ms
                asks.append(errand.ask)
        pause_ms = AGAIN_MS if self._events_open else self._pause_ms
        if _over(self._events_ms, steady_ms, pause_ms):
            self._events_ms, self._events_open = steady_ms, True
            asks.append(OrderEventsAsk(journal=self._journal, after=self._arrived, queues_ms=self._queues_ms))
        return [(self._note(ask), ask) for ask in asks]

    @property
    def _pause_ms(self) -> int:
        on_its_way = self._awaited or any(kind in _ON_ITS_WAY for kind, _ in self._errands)
        return SOON_MS if on_its_way else EVENTS_MS

    @property
    def ask_ms(self) -> int | None:
        """When to ask for events next, by the steady clock; None: at once."""
        if self._events_ms is None:
            return None
        return self._events_ms + (AGAIN_MS if self._events_open else self._pause_ms)

    def _to_place(self, now_ms: int, steady_ms: int) -> list[AnyAsk]:
        intents = dict(self._unsaid)
        self._unlogged.update(self._unsaid)
        self._unsaid.clear()
        if self._unlogged and _over(self._place_ms, steady_ms, AGAIN_MS):
            intents = dict(self._unlogged)
        if not intents:
            return []
        self._place_ms = steady_ms
        asks: list[AnyAsk] = []
        for number, intent in list(intents.items()):
            if now_ms > intent.valid_until_ms + MARGIN_MS:
                del intents[number]
                asks.append(OrderAsk(journal=self._journal, number=number))
        if intents:
            asks.append(
                PlaceAsk(
                    journal=self._journal,
                    intents=tuple(intents.values()),
                    source=self._source(),
                    confirmation=self._confirmation,
                )
            )
        return asks

    def _note(self, ask: AnyAsk) -> int:
        id_ = self._next_id
        self._next_id += 1
        self._asked[id_] = ask
        while len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        return id_

    def hear(self, id_: int, answer: Mapping[str, Any], steady_ms: int) -> str | None:
        """Take an answer; return what is wrong with it, None if nothing is."""
        ask = self._asked.pop(id_, None)
        if ask is None:
            return None
        if isinstance(ask, OrderEventsAsk):
            self._events_open = False
        try:
            self._take(ask, answer, steady_ms)
        except (Refusal, DecodeError) as error:
            return f"the order gateway, asked {type(ask).__struct_config__.tag}: {error}"
        self._answered_ms = steady_ms
        return None

    def _take(self, ask: AnyAsk, answer: Mapping[str, Any], steady_ms: int) -> None:
        match ask:
            case OrderEventsAsk():
                self._take_events(told(answer, OrderEventsAnswer), steady_ms)
            case PlaceAsk():
                for number in told(answer, PlaceAnswer).logged:
                    self._unlogged.pop(number, None)
            case OrderAsk():
                if told(answer, OrderAnswer).found:
                    self._unlogged.pop(ask.number, None)
                elif self._unlogged.pop(ask.number, None) is not None:
                    self._awaited.discard(ask.number)
                    # The gateway refuses an order that has expired, so it will never have this one.
                    self._tell(Ended(ask.number, reasons.EXPIRED, OrderState.EXPIRED), steady_ms)
            case CancelAsk():
                asked = told(answer, AskedAnswer).asked
                if asked or ask.number not in self._unlogged:
                    self._errands.pop(("cancel", ask.number), None)
            case AmendAsk():
                asked = told(answer, AskedAnswer).asked
                errand = self._errands.get(("amend", ask.number))
                if errand is not None and errand.ask == ask:
                    del self._errands["amend", ask.number]
                    if not asked:
                        self._tell(AmendRefused(ask.number, "not_open"), steady_ms)
            case AccountAsk():
                self._errands.pop(("account", 0), None)
                listed = told(answer, AccountAnswer)
                if (listed.exchange, listed.account) == self._whose:
                    self._account = listed
            case _:
                raise AssertionError(f"nobody asks {ask}")

    def _take_events(self, answer: OrderEventsAnswer, steady_ms: int) -> None:
        whose = answer.exchange, answer.account
        if whose != self._whose:
            self._other = f"the order gateway is that of {' '.join(whose)}, not of {' '.join(self._whose)}"
            self.moved = answer.exchange != self._whose[0]
            return
        if answer.last < self._arrived:
            self._other = (
                f"the order gateway has {answer.last} events of this journal, which has"
                f" {self._arrived} of them: its log is another one"
            )
            return
        first = answer.events[0].number if answer.events else answer.last + 1
        if self._arrived + 1 < first:
            self._other = (
                f"the order gateway has left out events {self._arrived + 1} to {first - 1} of this journal,"
                " since the journal had them already: it is an old copy"
            )
            return
        self._other, self.generation, self.last = "", answer.generation, answer.last
        self.trouble = answer.trouble
        if answer.queues_ms != self._queues_ms:
            self._queues_ms = answer.queues_ms
            self._queued = {
                number: QueuePlace(ahead_e2, answer.queues_ms) for number, ahead_e2 in answer.queues
            }
        for event in answer.events:
            if event.number == self._arrived + 1:
                self._arrived += 1
                self._take_event(event, steady_ms)
        if self._arrived < answer.last:
            self._events_ms = None  # there is more
            return
        # Not before: what the gateway has done already is not done twice; the second time would be taken for
        # the answer to the next amend.
        for number, wanted in list(self._amending.items()):
            self._ask_amend(number, *wanted)

    def _take_event(self, told_of: GatewayEvent, steady_ms: int) -> None:
        event = told_of.event
        if not isinstance(event, ForeignFill):
            self._unlogged.pop(event.number, None)
            if isinstance(event, Amended | AmendRefused):
                self._drop_amend(event)
            if isinstance(event, Ended):
                self._amending.pop(event.number, None)
                self._awaited.discard(event.number)
                self._queued.pop(event.number, None)
                for kind in ("cancel", "amend"):
                    self._errands.pop((kind, event.number), None)
        self._tell(event, steady_ms)

    def _drop_amend(self, event: Amended | AmendRefused) -> None:
        """Ask no more for an amend that is answered, though the answer to the question itself was lost."""
        number = event.number
        errand, wanted = self._errands.get(("amend", number)), self._amending.get(number)
        if errand is not None and isinstance(errand.ask, AmendAsk):
            wanted = errand.ask.price_e4, errand.ask.count_e2
        if isinstance(event, AmendRefused) or (event.price_e4, event.count_e2) == wanted:
            self._errands.pop(("amend", number), None)
            self._amending.pop(number, None)

    def _tell(self, event: AnyOrderEvent | ForeignFill, steady_ms: int) -> None:
        self._waiting.append(event)
        if self._due_ms is None:
            self._due_ms = steady_ms

    # -- how it stands

    def hint(self) -> None:
        """Ask for events now, since there may be some."""
        if not self._events_open:
            self._events_ms = None

    def word(self, steady_ms: int) -> tuple[str, str]:
        """Return the gateway's state (answers, silent, other or starting) and a sentence that explains it."""
        if self._other:
            return "other", self._other
        if self._answered_ms is None:
            began_ms = steady_ms if self._began_ms is None else self._began_ms
            waited = steady_ms - began_ms > SILENT_MS
            return ("silent", "the order gateway does not answer") if waited else ("starting", "")
        if steady_ms - self._answered_ms > SILENT_MS:
            return "silent", "the order gateway does not answer"
        return "answers", ""

    def look(self, since_ms: int) -> None:
        """Ask what the exchange lists for the account: settlements and movements from `since_ms` on."""
        if ("account", 0) not in self._errands:
            ask = AccountAsk(journal=self._journal, since_ms=since_ms)
            self._errands["account", 0] = _Errand(ask)

    def take_account(self) -> AccountAnswer | None:
        """Return what was listed, once; not before all events that it reflects have been passed on."""
        listed = self._account
        if listed is None:
            return None
        if self.heard < listed.last_event:
            self.hint()
            return None
        self._account = None
        return listed


def _over(since_ms: int | None, steady_ms: int, pause_ms: int) -> bool:
    """Whether a pause is over; true if nothing was done before."""
    return since_ms is None or steady_ms - since_ms >= pause_ms
