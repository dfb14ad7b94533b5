"""An order gateway and the exchange behind it, written by hand: a log, numbered events, cash and positions.

By default an order is filled whole at its limit at once; `plan` says otherwise. Nothing else happens of
itself.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.messages import decode_map, encode_map
from bus.server import QueryServer
from bus.trading.gateway import (
    AccountAnswer,
    AccountAsk,
    AmendAsk,
    AnyAsk,
    AskedAnswer,
    CancelAsk,
    ForeignFill,
    GatewayBudget,
    GatewayEvent,
    GatewayStatus,
    ListedOrder,
    ListedPosition,
    ListedSettlement,
    Movement,
    OrderAnswer,
    OrderAsk,
    OrderEventsAnswer,
    OrderEventsAsk,
    PlaceAnswer,
    PlaceAsk,
    ShardCash,
    TransferAsk,
)
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
)
from tests.trader.world import NOW_MS

Answer = dict[str, Any]
Plan = Callable[[Intent], Sequence[tuple[int, int]] | None]


class Order(msgspec.Struct):
    """An order as the exchange has it."""

    intent: Intent
    got_e2: int = 0
    ended: bool = False


def whole(intent: Intent) -> Sequence[tuple[int, int]]:
    return [(intent.price_e4, intent.count_e2)]


class FakeGateway:
    """Answers questions as docs/orders.md says; the test is the exchange.

    Attributes:
        plan: prices and counts that an order gets at once; None: it gets no answer from the exchange.
        asked: questions, oldest first.
        trouble: why it cannot list the account, "" if it can.
    """

    def __init__(self, cash_e6: int = 1_000_000_000) -> None:
        self.exchange, self.account = "sim-1", "key-1"
        self.cash_e6 = {0: cash_e6}
        self.positions: dict[str, int] = {}
        self.fees_e6: dict[str, int] = {}
        self.events: dict[str, list[GatewayEvent]] = {}
        self.orders: dict[tuple[str, int], Order] = {}
        self.settlements: list[ListedSettlement] = []
        self.movements: list[Movement] = []
        self.others: list[ListedOrder] = []
        self.asked: list[AnyAsk] = []
        self.plan: Plan = whole
        self.fee_e6 = 10_000
        self.in_flight = self.unknown = 0
        self.whole_cents = True
        self.netting: bool | None = None
        self.generation = 1
        self.queues: tuple[tuple[int, int], ...] = ()
        self.queues_ms = 0
        self.trouble = ""
        self.now_ms: Callable[[], int] = lambda: NOW_MS
        self._fills = 0

    # -- the exchange

    def trade(self, ticker: str, side: str, price_e4: int, count_e2: int, *, maker: bool = False) -> Fill:
        """Move cash and position as a purchase does."""
        self._fills += 1
        held = self.positions.get(ticker, 0)
        signed = count_e2 if side == "yes" else -count_e2
        pairs = min(abs(held), count_e2) if held * signed < 0 else 0
        self.cash_e6[0] += pairs * 10_000 - price_e4 * count_e2 - self.fee_e6
        self.positions[ticker] = held + signed
        self.fees_e6[ticker] = self.fees_e6.get(ticker, 0) + self.fee_e6
        return Fill(price_e4, count_e2, self.fee_e6, 0, self.now_ms(), f"f{self._fills}", maker)

    def fill(self, number: int, price_e4: int, count_e2: int) -> None:
        """Fill a part of a resting order."""
        (journal, _), order = next(item for item in self.orders.items() if item[0][1] == number)
        intent = order.intent
        order.got_e2 += count_e2
        self.tell(
            journal, Filled(number, self.trade(intent.ticker, intent.side, price_e4, count_e2, maker=True))
        )
        if order.got_e2 == intent.count_e2:
            self.end(number, OrderState.FILLED, "complete")

    def end(self, number: int, state: OrderState, reason: str) -> None:
        (journal, _), order = next(item for item in self.orders.items() if item[0][1] == number)
        order.ended = True
        self.tell(journal, Ended(number, reason, state))

    def by_hand(self, ticker: str, event_ticker: str, side: str, price_e4: int, count_e2: int) -> None:
        """Somebody else trades on the account."""
        fill = self.trade(ticker, side, price_e4, count_e2)
        for journal in self.events:
            self.tell(journal, ForeignFill(f"h{self._fills}", ticker, event_ticker, 0, side, fill))

    def settle(self, ticker: str, event_ticker: str, value_e4: int) -> None:
        signed = self.positions.pop(ticker, 0)
        each_e4 = value_e4 if signed > 0 else 10_000 - value_e4
        gross_e6 = abs(signed) * each_e4
        revenue_e6 = gross_e6 // 10_000 * 10_000
        self.cash_e6[0] += revenue_e6 if self.whole_cents else gross_e6
        if not signed:
            return
        result = {0: "no", 10_000: "yes"}.get(value_e4, "scalar")
        self.settlements.append(
            ListedSettlement(
                ticker=ticker,
                event_ticker=event_ticker,
                exchange_index=0,
                result=result,
                yes_e2=max(0, signed),
                no_e2=max(0, -signed),
                revenue_e6=revenue_e6,
                fee_e6=0,
                time_ms=self.now_ms(),
                value_e4=value_e4 // 100 * 100,
            )
        )

    def settle_anew(self, ticker: str, value_e4: int) -> None:
        """Pay a market that was settled by another result: listed beside what was listed before."""
        before = next(one for one in self.settlements if one.ticker == ticker)
        self.cash_e6[0] -= before.revenue_e6
        self.positions[ticker] = before.yes_e2 or -before.no_e2
        self.settle(ticker, before.event_ticker, value_e4)

    def deposit(self, amount_e6: int) -> None:
        self.cash_e6[0] += amount_e6
        name = f"d{len(self.movements)}"
        kind = "deposit" if amount_e6 > 0 else "withdrawal"
        self.movements.append(
            Movement(id=name, kind=kind, exchange_index=0, amount_e6=amount_e6, time_ms=self.now_ms())
        )

    # -- the gateway

    def tell(self, journal: str, event: AnyOrderEvent | ForeignFill) -> None:
        events = self.events.setdefault(journal, [])
        events.append(GatewayEvent(len(events) + 1, self.now_ms(), event))

    def answer(self, question: Mapping[str, Any]) -> Answer:
        if question["op"] == "gateway":
            return self._say(self._status())
        ask: AnyAsk = msgspec.convert(question, AnyAsk)
        self.asked.append(ask)
        match ask:
            case PlaceAsk():
                return self._say(PlaceAnswer(logged=tuple(self._place(ask))))
            case CancelAsk():
                return self._say(AskedAnswer(asked=self._cancel(ask)))
            case AmendAsk():
                return self._say(AskedAnswer(asked=self._amend(ask)))
            case OrderEventsAsk():
                events = self.events.setdefault(ask.journal, [])
                return self._say(
                    OrderEventsAnswer(
                        events=tuple(events[ask.after :][: ask.limit]),
                        last=len(events),
                        generation=self.generation,
                        exchange=self.exchange,
                        account=self.account,
                        queues=self.queues if ask.queues_ms != self.queues_ms else (),
                        queues_ms=self.queues_ms,
                        trouble=self.trouble,
                    )
                )
            case OrderAsk():
                return self._say(OrderAnswer(found=(ask.journal, ask.number) in self.orders))
            case AccountAsk():
                return self._say(self._listed(ask))
            case TransferAsk():
                raise AssertionError("the trader transfers nothing by itself")

    @staticmethod
    def _say(answer: msgspec.Struct) -> Answer:
        said: Answer = msgspec.to_builtins(answer)
        return {"ok": True, **said}

    def _place(self, ask: PlaceAsk) -> list[int]:
        logged = []
        for intent in ask.intents:
            key = ask.journal, intent.number
            if key not in self.orders:
                if self.now_ms() > intent.valid_until_ms:
                    continue
                self.orders[key] = Order(intent)
                self.tell(ask.journal, Sent(intent.number))
                self._send(ask.journal, self.orders[key])
            logged.append(intent.number)
        return logged

    def _send(self, journal: str, order: Order) -> None:
        intent, got = order.intent, self.plan(order.intent)
        if got is None:
            return
        self.tell(journal, Accepted(intent.number, f"o{intent.number}"))
        for price_e4, count_e2 in got:
            order.got_e2 += count_e2
            fill = self.trade(intent.ticker, intent.side, price_e4, count_e2)
            self.tell(journal, Filled(intent.number, fill))
        if order.got_e2 >= intent.count_e2:
            self.end(intent.number, OrderState.FILLED, "complete")
        elif intent.time_in_force != "gtc":
            self.end(intent.number, OrderState.CANCELLED, "nothing_left")

    def _cancel(self, ask: CancelAsk) -> bool:
        order = self.orders.get((ask.journal, ask.number))
        if order is None or order.ended:
            return False
        self.end(ask.number, OrderState.CANCELLED, "cancelled")
        return True

    def _amend(self, ask: AmendAsk) -> bool:
        order = self.orders.get((ask.journal, ask.number))
        if order is None or order.ended:
            return False
        if ask.count_e2 <= order.got_e2:
            self.tell(ask.journal, AmendRefused(ask.number, "invalid_order_size"))
            return True
        order.intent = msgspec.structs.replace(order.intent, price_e4=ask.price_e4, count_e2=ask.count_e2)
        self.tell(ask.journal, Amended(ask.number, ask.price_e4, ask.count_e2))
        return True

    def _status(self) -> GatewayStatus:
        budget = GatewayBudget(refill=1.0, left=1.0, reserved=0.0)
        return GatewayStatus(
            state="ready",
            reasons=(),
            generation=self.generation,
            exchange=self.exchange,
            account=self.account,
            env="sim",
            open_orders=0,
            in_flight=0,
            unknown=self.unknown,
            exposure_e6=0,
            writes=budget,
            reads=budget,
        )

    def _listed(self, ask: AccountAsk) -> AccountAnswer:
        resting = [
            ListedOrder(
                order_id=f"o{order.intent.number}",
                client_order_id=order.intent.client_order_id,
                ticker=order.intent.ticker,
                exchange_index=0,
                side=order.intent.side,
                price_e4=order.intent.price_e4,
                left_e2=order.intent.count_e2 - order.got_e2,
                number=order.intent.number,
            )
            for (journal, _), order in self.orders.items()
            if not order.ended and journal == ask.journal and order.intent.time_in_force == "gtc"
        ]
        held_e6 = sum(order.price_e4 * order.left_e2 for order in resting)
        return AccountAnswer(
            exchange=self.exchange,
            account=self.account,
            as_of_ms=self.now_ms() + 1,
            asked_ms=self.now_ms(),
            in_flight=self.in_flight,
            last_event=len(self.events.get(ask.journal, ())),
            shards=tuple(
                ShardCash(exchange_index=shard, cash_e6=cash, held_e6=held_e6, free_e6=cash - held_e6)
                for shard, cash in self.cash_e6.items()
            ),
            positions=tuple(
                ListedPosition(
                    ticker=ticker,
                    event_ticker=ticker.rsplit("-", 1)[0],
                    exchange_index=0,
                    signed_e2=signed,
                    exposure_e6=abs(signed) * 5_000,
                    fees_e6=self.fees_e6.get(ticker, 0),
                    realised_e6=0,
                )
                for ticker, signed in self.positions.items()
                if signed
            ),
            orders=(*resting, *self.others),
            netting=self.netting,
            settlements=tuple(one for one in self.settlements if one.time_ms >= ask.since_ms),
            movements=tuple(one for one in self.movements if one.time_ms >= ask.since_ms),
        )


class FakePort:
    """The link without a socket: what is asked is answered at once, unless the gateway is away.

    Attributes:
        up: whether anybody is there. lose: so many answers that come are lost.
    """

    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self.up = True
        self.lose = 0
        self._answers: deque[tuple[int, Answer]] = deque()

    def ask(self, id_: int, question: Mapping[str, Any]) -> None:
        if not self.up:
            return
        heard = decode_map(encode_map(dict(question)), dict[str, Any])
        answer = decode_map(encode_map(self.gateway.answer(heard)), dict[str, Any])
        if self.lose:
            self.lose -= 1
            return
        self._answers.append((id_, answer))

    def take(self) -> list[tuple[int, Answer]]:
        taken, self._answers = list(self._answers), deque()
        return taken

    def take_hint(self) -> bool:
        return False


ASKS = (PlaceAsk, CancelAsk, AmendAsk, OrderEventsAsk, OrderAsk, AccountAsk)


@contextmanager
def served(context: Any, endpoint: str, gateway: FakeGateway) -> Iterator[None]:
    """Have a gateway answer on a socket."""
    answers = Answers(lambda: None)
    answers.add("gateway", lambda question, _now_ms: gateway.answer(question))
    for ask in ASKS:
        op = str(ask.__struct_config__.tag)
        answers.add(op, lambda question, _now_ms: gateway.answer(question), *ask.__struct_fields__)
    server, stop = QueryServer(context, endpoint, answers, lambda: 0), Stop()
    thread = threading.Thread(target=server.serve, args=(stop,), name="gateway")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        stop.close()
