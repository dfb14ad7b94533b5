"""The gateway's core and the simulated exchange in one process, on a virtual clock, with all that goes wrong.

`World` plays a trader (random intents, cancels, amends), the way to the exchange (late, lost, cut answers),
and the gateway's deaths: it begins anew from its log, whose end may be torn. In the end everything is made to
settle, and what the gateway has told is held against the exchange's own books, to the micro-dollar.
"""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID

from bus.trading.gateway import (
    AccountAnswer,
    AccountAsk,
    AmendAsk,
    CancelAsk,
    ForeignFill,
    GatewayEvent,
    OrderAsk,
    OrderEventsAsk,
    PlaceAsk,
)
from markets.orders import (
    Accepted,
    Amended,
    AmendRefused,
    Ended,
    Fill,
    Filled,
    Intent,
    OrderState,
    Sent,
    TimeInForce,
    Unknown,
)
from publisher.orders.core import Core
from publisher.orders.life import FICKLE
from publisher.orders.steps import (
    Answered,
    Append,
    CoreSettings,
    ExchangeTime,
    FeedHeard,
    Limits,
    Now,
    Reply,
    Request,
    Send,
)
from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Market
from simulator.front import auth
from simulator.front.api import Api
from simulator.front.auth import KeyPair
from simulator.front.operations import ROUTES
from simulator.front.wire import ApiError, Response, error
from simulator.front.wire import Request as Wire
from simulator.universe.templates import Recorded
from tests.simulator.venue import START_MS

JOURNAL: Final = "journal"
TIMEOUT_MS: Final = 8_000
SETTINGS: Final = CoreSettings(
    order_e6=200_000_000, market_e6=2_000_000_000, total_e6=20_000_000_000, orders_per_minute=100_000
)
LIMITS: Final = Limits(
    write_per_s=9_600, write_capacity=28_800, read_per_s=600, read_capacity=1_800, subaccount=0
)
"""Wide: the soak is about lives, not about waiting. Budgets have tests of their own."""

FAULTS: Final = (
    "request_late", "request_lost", "request_twice", "request_copied", "request_resent", "reply_late",
    "reply_lost", "reply_doubled", "reply_cut", "reply_without_id", "error_with_effect",
    "error_without_effect", "reads_stale", "shard_paused", "shard_slow", "shard_lagging", "clock_skew",
    "fills_first",
)  # fmt: skip
"""All order faults of requests; those of frames concern hints only."""

LOST: Final = (
    "reply_lost", "reply_cut", "reply_without_id", "error_with_effect", "request_lost",
    "error_without_effect",
)  # fmt: skip
"""Those under which the exchange answers all the while: there are bounds for them."""

SURPRISES: Final = frozenset({"not_placed", "fill_or_kill_insufficient_resting_volume"})
"""Ends after which an order may still be found: what lists hid past every bound, and the everyday refusal."""

SWITCHES: Final[dict[str, tuple[object, ...]]] = {
    "ioc_remaining_full": (False, True),
    "killed_fok_uses_id": (True, False),
    "over_decrease_refused": (False, True),
    "wrong_shard_cancel_404": (True, False),
    "balance_reduced_by_resting": (False, True),
    "resting_value": ("sum", "max"),
    "collateral_return": (False, True),
    "amend_keeps_id": (True, False),
    "code_after_close": ("market_inactive", "MARKET_CLOSED"),
    "settle_whole_cents": (True, False),
    "client_order_id_scope": ("recent_30d", "open_only"),
    "read_lag_ms": (400, 0, 4_000),
    "member": ("direct", "intermediary"),
    "attestation_expires_s": (None, 1),
    "cancel_all_catches_later": (False, True),
}


class Loose(Api):
    """The API with signatures that are but a name and a time."""

    def authenticate(self, request: Wire, now_ms: int) -> KeyPair | None:
        account = request.headers.get(auth.KEY)
        if account is None:
            return None
        if abs(int(request.headers[auth.TIMESTAMP]) - now_ms) > 10_000:
            raise ApiError(error(401, "header_timestamp_expired", "header timestamp expired"))
        return KeyPair(f"key {account}", None, int(account))  # type: ignore[arg-type]


class Told:
    """What a journal has of one order."""

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.count_e2 = intent.count_e2
        self.fills: dict[str, Fill] = {}
        self.ended: Ended | None = None
        self.unknown_ms: int | None = None
        self.amend_unknown = False
        self.cancelled = False
        self.accepted = False

    @property
    def filled_e2(self) -> int:
        return sum(fill.count_e2 for fill in self.fills.values())


class World:
    """One exchange, one trader, and one gateway after the other.

    Attributes:
        told: orders by number, as the journal has them. foreign: fills that are not of the journal's orders.
        longest: how long orders were unknown while the exchange answered, by how that ended.
    """

    def __init__(
        self,
        recorded: Recorded,
        seed: int,
        *,
        markets: int = 60,
        faults: Sequence[str] = FAULTS,
        fault_rate: float = 0.1,
        switches: dict[str, object] | None = None,
        restarts: float = 0.0,
        settings: CoreSettings = SETTINGS,
        limits: Limits = LIMITS,
        wall_steps: bool = False,
    ) -> None:
        self.rng = Random(f"orders {seed}")
        self.exchange = Exchange(recorded, markets, seed, START_MS, cash_e6=10_000_000_000)
        self.exchange.open_account(1)
        keys = {"1": KeyPair("1", None, 1)}  # type: ignore[arg-type]
        self.api = Loose(self.exchange, ROUTES, keys, None)
        self.settings, self.limits = settings, limits
        self.restart_rate = restarts
        self.wall_steps = wall_steps
        self.wall_off_ms = 0
        self.now_ms = START_MS
        self.sim_cash_e6 = self.books()["cash_e6"]
        for name, value in (switches or {}).items():
            self.local("POST", "/sim/switches", {name: value})
        self.switches = dict(switches or {})
        self.faults = faults
        self.fault_rate = fault_rate
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self.log: list[bytes] = []
        self.generation = 0
        self.last_event = 0
        self.told: dict[int, Told] = {}
        self.foreign: dict[str, ForeignFill] = {}
        self.longest: dict[str, list[int]] = {"found": [], "not_placed": [], "amends": []}
        self.counts: Counter[str] = Counter()
        self.number = 0
        self.sent: Counter[str] = Counter()
        self.down_until_ms = 0
        self.quiet = False
        self.start()
        self.listen()  # the journal is known before anything happens: all that follows is told to it

    # -- the machine

    @property
    def now(self) -> Now:
        return Now(self.now_ms + self.wall_off_ms, self.now_ms - START_MS + 1_000)

    def at(self, at_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at_ms, next(self._order), what))

    def start(self) -> None:
        """Start a gateway from the log."""
        self.generation += 1
        core = self.core = Core(self.settings)
        core.replay(self.log)
        core.open(self.generation, "exchange", "account", self.now)
        core.take(self.limits, self.now)
        self.feed()
        self.carry_out()

    def feed(self) -> None:
        self.core.take(FeedHeard(1, 1, self.now.wall_ms - 1_000, "live"), self.now)

    def die(self) -> None:
        """Let the gateway die, now or in the midst of what it is about to do; a new one goes on."""
        actions = self.core.actions(self.now)
        records = [action.record for action in actions if isinstance(action, Append)]
        if records and self.rng.random() < 0.5:
            self.log += records[: self.rng.randrange(len(records) + 1)]  # a torn end, or all of it
        self.counts["restarts"] += 1
        self.start()

    def carry_out(self) -> None:
        """Do what the gateway wants done."""
        actions = self.core.actions(self.now)
        self.log += [action.record for action in actions if isinstance(action, Append)]
        sends = [action.request for action in actions if isinstance(action, Send)]
        if sends and self.restart_rate and not self.quiet and self.rng.random() < self.restart_rate:
            for request in sends[: self.rng.randrange(len(sends) + 1)]:
                self.send(request)
            self.counts["restarts"] += 1
            self.start()
            return
        for request in sends:
            self.send(request)

    def send(self, request: Request) -> None:
        """Put a request on its way, with the clocks as they are."""
        signed_ms, generation = self.now.wall_ms, self.generation
        signed_as_ms = self.core.exchange_ms(self.now)
        if request.not_after_ms is not None and signed_ms > request.not_after_ms:
            self.answer(generation, request, Reply(None, b"", "expired", False, signed_ms, signed_ms), 1)
            return
        if request.what == "create":
            self.sent[json.loads(request.body)["client_order_id"]] += 1
        sent_ms = self.now_ms
        wire = Wire(
            request.method,
            "/trade-api/v2" + request.path,
            request.query,
            {auth.KEY: "1", auth.TIMESTAMP: str(signed_as_ms)},
            request.body,
            "127.0.0.1",
        )
        done = [False]

        def finish(status: int | None, body: bytes, trouble: str) -> None:
            if not done[0]:
                done[0] = True
                date_ms = None if status is None else self.now_ms // 1000 * 1000
                reply = Reply(status, body, trouble, True, signed_ms, self.now.wall_ms, date_ms)
                self.answer(generation, request, reply, self.rng.randint(1, 20))

        def arrive() -> None:
            response = self.api.handle(wire, self.now_ms)
            assert not self.api._reported, (request, "an error of the simulator's own")
            if response.copy is not None:
                copy_ms, again = response.copy

                def once_more() -> None:
                    again(self.now_ms)

                self.at(self.now_ms + copy_ms, once_more)
            self.later(response, finish)

        self.at(sent_ms + self.rng.randint(1, 20), arrive)
        self.at(sent_ms + TIMEOUT_MS, lambda: finish(None, b"", "timeout"))

    def later(self, response: Response, finish: Callable[[int | None, bytes, str], None]) -> None:
        """Give an answer when it is time to."""
        if response.delay_ms:
            after = response.later

            def then() -> None:
                if after is not None:
                    self.later(after(self.now_ms), finish)
                else:
                    self.spoil(response, finish)

            self.at(self.now_ms + response.delay_ms, then)
        else:
            self.spoil(response, finish)

    def spoil(self, response: Response, finish: Callable[[int | None, bytes, str], None]) -> None:
        if response.cut or response.half:
            finish(None, b"", "unreachable" if response.cut else "bad_reply")
        else:
            finish(response.status, response.body, "")

    def answer(self, generation: int, request: Request, reply: Reply, after_ms: int) -> None:
        def give() -> None:
            if generation == self.generation:
                self.core.take(ExchangeTime(self.now_ms // 1000 * 1000), self.now)
                self.core.take(Answered(request.id, reply), self.now)
                self.carry_out()

        self.at(self.now_ms + after_ms, give)

    def run(self, until_ms: int) -> None:
        """Let time pass."""
        while True:
            due = self._queue[0][0] if self._queue else until_ms + 1
            next_ms = self.core.next_ms(self.now)
            wanted = until_ms + 1 if next_ms is None else max(self.now_ms, next_ms + START_MS - 1_000)
            at_ms = min(due, wanted)
            if at_ms > until_ms:
                self.now_ms = max(self.now_ms, until_ms)
                return
            stuck = at_ms == self.now_ms and wanted < due
            self.now_ms = max(self.now_ms, at_ms)
            self.api.exchange.advance(self.now_ms)
            if due <= at_ms:
                heapq.heappop(self._queue)[2]()
            else:
                self.carry_out()
                if stuck:
                    self._stuck += 1
                    assert self._stuck < 1_000, "the core wants a turn again and again"
                    continue
            self._stuck = 0

    _stuck = 0

    # -- the exchange

    def local(self, method: str, path: str, body: object = None) -> Any:
        raw = b"" if body is None else json.dumps(body).encode()
        response = self.api.handle(Wire(method, path, body=raw), self.now_ms)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def books(self) -> Any:
        found = self.local("GET", "/sim/accounts")["accounts"]
        return next(row for row in found if row["account"] == 1 and row["subaccount"] == 0)

    def hurt(self) -> None:
        """Let some faults be in force for a while."""
        rules = []
        for name in self.rng.sample(self.faults, min(len(self.faults), 4)):
            rule: dict[str, object] = {
                "fault": name,
                "times": None,
                "probability": self.fault_rate,
                "seed": self.rng.randrange(10**6),
            }
            if name == "clock_skew" and self.rng.random() < 0.5:
                rule["ms"] = -60_000
            rules.append(rule)
        self.local("POST", "/sim/faults", {"orders": rules})

    def heal(self) -> None:
        self.local("DELETE", "/sim/faults")

    # -- the trader

    def market(self) -> Market | None:
        live = [m for m in self.exchange.markets.values() if m.status == ACTIVE and 100 < m.ask_e4 < 9_900]
        return self.rng.choice(live) if live else None

    def intent(self, market: Market) -> Intent:
        rng, now_ms = self.rng, self.now.wall_ms
        self.number += 1
        side = rng.choice(("yes", "no"))
        best_e4 = market.ask_e4 if side == "yes" else 10_000 - market.bid_e4
        tif: TimeInForce = rng.choice(("ioc", "ioc", "fok", "gtc", "gtc"))
        step_e4 = 100
        if tif == "gtc":
            price_e4 = best_e4 - step_e4 * rng.randint(-1, 6)
        else:
            price_e4 = best_e4 + step_e4 * rng.randint(-1, 2)
        price_e4 = min(9_900, max(100, price_e4 // 100 * 100))
        return Intent(
            number=self.number,
            client_order_id=str(UUID(int=(7 << 64) + self.number)),
            trade=self.number,
            strategy="soak",
            ticker=market.ticker,
            event_ticker=market.event_ticker,
            series_ticker=market.event.series.ticker,
            label="",
            side=side,
            price_e4=price_e4,
            count_e2=rng.choice((100, 500, 1_000, 2_500, rng.randint(1, 5_000))),
            reserve_e6=1,
            fee_type=market.fee_type,
            multiplier_e4=10_000,
            created_ms=now_ms,
            valid_until_ms=now_ms + rng.choice((500, 2_000, 2_000, 5_000)),
            epoch=1,
            seq=1,
            edge_e6=0,
            probability=None,
            exchange_index=market.exchange_index,
            time_in_force=tif,
            expires_ms=now_ms + rng.randint(3_000, 200_000) if tif == "gtc" and rng.random() < 0.3 else None,
        )

    def place(self) -> None:
        """Place an order or two; now and then the same once more."""
        market = self.market()
        if market is None:
            return
        intents = tuple(self.intent(market) for _ in range(self.rng.choice((1, 1, 1, 2))))
        ask = PlaceAsk(journal=JOURNAL, intents=intents, source="live")
        for intent in intents:
            self.told[intent.number] = Told(intent)
        answer = self.core.place(ask, self.now)
        assert answer.logged == tuple(intent.number for intent in intents)
        if self.rng.random() < 0.1:
            self.core.place(ask, self.now)
        if self.restart_rate and self.rng.random() < self.restart_rate / 4:
            self.die()
            # The trader has no answer: it asks again, and what is too old by now is dead.
            self.core.place(ask, self.now)
            self.core.place(ask, self.now)
        self.carry_out()
        self.counts["orders"] += len(intents)

    def open(self) -> list[Told]:
        return [order for order in self.told.values() if order.ended is None]

    def cancel(self) -> None:
        chosen = self.open()
        if chosen:
            order = self.rng.choice(chosen)
            order.cancelled = True
            ask = CancelAsk(journal=JOURNAL, number=order.intent.number)
            self.core.cancel(ask, self.now)
            self.carry_out()
            self.counts["cancels"] += 1

    def amend(self) -> None:
        chosen = [order for order in self.open() if order.intent.time_in_force == "gtc" and order.accepted]
        if not chosen:
            return
        order, rng = self.rng.choice(chosen), self.rng
        price_e4 = order.intent.price_e4 + 100 * rng.randint(-2, 2)
        count_e2 = max(1, order.count_e2 + rng.choice((-200, 0, 0, 300, -order.count_e2)))
        ask = AmendAsk(
            journal=JOURNAL,
            number=order.intent.number,
            price_e4=min(9_900, max(100, price_e4)),
            count_e2=count_e2,
        )
        self.core.amend(ask, self.now)
        self.carry_out()
        self.counts["amends"] += 1

    def listen(self) -> None:
        """Take all events after the last, as a trader does."""
        self.feed()
        while True:
            ask = OrderEventsAsk(journal=JOURNAL, after=self.last_event, limit=100)
            answer = self.core.order_events(ask, self.now)
            self.counts["queues"] += len(answer.queues)
            for event in answer.events:
                assert event.number == self.last_event + 1, "events have no hole"
                self.last_event = event.number
                self.hear(event)
            if self.last_event >= answer.last:
                break
        self.carry_out()

    def hear(self, told: GatewayEvent) -> None:
        event = told.event
        if isinstance(event, ForeignFill):
            assert event.fill.id not in self.foreign, "a foreign fill is told once"
            self.foreign[event.fill.id] = event
            return
        order = self.told[event.number]
        assert order.ended is None, ("nothing is told of what is over", event, order.ended)
        if isinstance(event, Filled):
            assert event.fill.id not in order.fills, "a fill is told once"
            assert event.fill.id, "a fill has the exchange's id"
            order.fills[event.fill.id] = event.fill
            if event.fill.price_e4 != order.intent.price_e4 and order.intent.time_in_force != "gtc":
                assert event.fill.price_e4 < order.intent.price_e4, "never dearer than its limit"
        elif isinstance(event, Ended):
            order.ended = event
            assert event.state is not None
            full = order.filled_e2 >= order.count_e2
            assert (event.state is OrderState.FILLED) == (full and bool(order.fills)), (
                event,
                order.filled_e2,
            )
            if event.state is OrderState.REJECTED:
                assert not order.fills
            self.counts[f"{event.state} {event.reason.partition(':')[0]}"] += 1
            never = event.reason == "not_placed" or event.reason in FICKLE
            self._known(order, told.at_ms, "not_placed" if never else "found")
        elif isinstance(event, Unknown):
            assert event.until_ms is not None, "an unknown order has its deadline"
            self.counts["unknown"] += 1
            order.unknown_ms = told.at_ms if order.unknown_ms is None else order.unknown_ms
            order.amend_unknown = event.reason == "amend_unanswered"
        elif isinstance(event, Accepted):
            order.accepted = True
            self._known(order, told.at_ms, "found")
        elif isinstance(event, Amended):
            order.count_e2 = event.count_e2
            self.counts["amended"] += 1
            self._known(order, told.at_ms, "found")
        elif isinstance(event, AmendRefused):
            self.counts["amend refused"] += 1
            self._known(order, told.at_ms, "not_placed")
        else:
            assert isinstance(event, Sent)

    def _known(self, order: Told, at_ms: int, how: str) -> None:
        if order.unknown_ms is not None:
            how = "amends" if order.amend_unknown else how
            self.longest[how].append(0 if self.wall_steps else at_ms - order.unknown_ms)
            order.unknown_ms = None

    def step(self) -> None:
        """Do something, and let some time pass."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.55:
            self.place()
        elif roll < 0.65:
            self.cancel()
        elif roll < 0.72:
            self.amend()
        elif roll < 0.75:
            self.hurt()
        elif roll < 0.76:
            self.heal()
        elif roll < 0.77 and self.wall_steps:
            self.wall_off_ms = rng.choice((0, 3_600_000, -3_600_000))
            self.feed()
        elif roll < 0.78:
            self.hand_made()
        self.run(self.now_ms + rng.choice((5, 50, 200, 200, 500, 2_000)))
        self.listen()

    def hand_made(self, **members: object) -> None:
        """Somebody trades by hand on the same account."""
        market = self.market()
        if market is None:
            return
        body = {
            "ticker": market.ticker, "client_order_id": f"hand-{self.rng.randrange(10**9)}", "side": "bid",
            "count": "3.00", "price": f"{market.ask_e4 / 1e4:.4f}", "time_in_force": "immediate_or_cancel",
            "self_trade_prevention_type": "taker_at_cross", **members,
        }  # fmt: skip
        headers = {auth.KEY: "1", auth.TIMESTAMP: str(self.now_ms)}
        path = "/trade-api/v2/portfolio/events/orders"
        wire = Wire("POST", path, (), headers, json.dumps(body).encode(), "127.0.0.1")
        self.api.handle(wire, self.now_ms)
        self.counts["by hand"] += 1

    # -- the end

    def settle(self) -> None:
        """Let the exchange be well, and wait until everything has come to its end."""
        self.quiet = True
        self.heal()
        for _ in range(400):
            self.run(self.now_ms + 1_000)
            self.listen()
            for order in self.open():
                if order.intent.time_in_force == "gtc" and not order.cancelled:
                    order.cancelled = True
                    self.core.cancel(CancelAsk(journal=JOURNAL, number=order.intent.number), self.now)
            if not self.open() and not self._queue:
                break
        self.run(self.now_ms + 70_000)
        self.listen()
        left = [
            (o.intent, self.core.order(OrderAsk(journal=JOURNAL, number=o.intent.number)))
            for o in self.open()
        ]
        assert not left, ("every order comes to its end", left[0])
        self.account()
        self.run(self.now_ms + 5_000)
        self.listen()
        assert not self.exchange.matching.resting(1), "nothing is left behind"

    def account(self) -> AccountAnswer:
        asked_ms = self.now.steady_ms
        for _ in range(200):
            found = self.core.account(AccountAsk(journal=JOURNAL, since_ms=START_MS), asked_ms, self.now)
            if found is not None:
                return found
            self.run(self.now_ms + 200)
        raise AssertionError("the account is listed")

    def compare(self) -> None:
        """Hold what was told against the exchange's own books."""
        fills = {fill.trade_id: fill for fill in self.exchange.ledger.statements.fills(1).newest()}
        ours: dict[str, Fill] = {}
        for order in self.told.values():
            assert not ours.keys() & order.fills.keys(), "no fill is of two orders"
            ours |= order.fills
        assert not ours.keys() & self.foreign.keys(), "no fill is ours and foreign"
        assert ours.keys() | self.foreign.keys() == fills.keys(), "no fill is lost, none is invented"
        by_client: dict[str, set[int]] = {}
        for made_there in self.exchange.matching.orders[1].values():
            by_client.setdefault(made_there.client_order_id, set()).add(made_there.number)
        for told in self.told.values():
            made = by_client.get(told.intent.client_order_id, set())
            sent = self.sent[told.intent.client_order_id]
            assert sent <= 1 + self.settings.resend, "a create leaves once"
            if self.switches.get("client_order_id_scope") != "open_only":
                assert len(made) <= 1, "never two orders an intent"
            if told.ended is not None and told.ended.state is OrderState.REJECTED:
                # Its request came late to lists that hid it, or a copy of it that was refused came once more.
                # What it was filled is foreign, and nothing of it rests: that is all that can be done.
                self.counts["came after all"] += bool(made)
                assert not made or told.ended.reason in SURPRISES, told.ended
        for name, fill in {**ours, **{k: f.fill for k, f in self.foreign.items()}}.items():
            theirs = fills[name]
            price_e4 = theirs.price_e4 if theirs.side == "bid" else 10_000 - theirs.price_e4
            assert (fill.price_e4, fill.count_e2, fill.fee_e6, fill.maker) == (
                price_e4, theirs.count_e2, theirs.fee_e6, not theirs.is_taker,
            )  # fmt: skip
        self.money()

    def money(self) -> None:
        """Cash and positions are what the fills that were told make of them."""
        account = self.account()
        cash_e6 = sum(self.sim_cash_e6.values())
        net_e2: dict[str, int] = {}
        told = [
            (o.intent.ticker, o.intent.side, fill) for o in self.told.values() for fill in o.fills.values()
        ]
        told += [(f.ticker, f.side, f.fill) for f in self.foreign.values()]
        order_of = {t: f.number for t, f in self._numbers().items()}
        for ticker, side, fill in sorted(told, key=lambda one: order_of[one[2].id]):
            before_e2, sign = net_e2.get(ticker, 0), 1 if side == "yes" else -1
            pairs_e2 = min(fill.count_e2, max(0, -sign * before_e2))
            cash_e6 += 10_000 * pairs_e2 - fill.price_e4 * fill.count_e2 - fill.fee_e6
            net_e2[ticker] = before_e2 + sign * fill.count_e2
        settled = {one.ticker for one in account.settlements}
        cash_e6 += sum(one.revenue_e6 for one in account.settlements)
        books = self.books()
        cash_e6 += sum(books["returned_e6"].values())
        whole_cents = self.switches.get("settle_whole_cents", True)
        if whole_cents and not self.switches.get("collateral_return"):
            assert cash_e6 == sum(books["cash_e6"].values()), (
                "cash is what the fills say, to the micro-dollar"
            )
        held = {t: row["position_e2"] for t, row in books["positions"].items() if row["position_e2"]}
        assert {t: n for t, n in net_e2.items() if n and t not in settled} == held
        listed = {one.ticker: one.signed_e2 for one in account.positions if one.signed_e2}
        assert listed == held

    def _numbers(self) -> Any:
        return {fill.trade_id: fill for fill in self.exchange.ledger.statements.fills(1).newest()}

    def live(self, orders: int) -> None:
        """Place so many orders, and see how it ends."""
        self.hurt()
        while self.counts["orders"] < orders:
            self.step()
        self.settle()
        self.compare()


def soak(recorded: Recorded, seed: int, orders: int) -> World:
    """Live by a seed: some faults, perhaps a switch flipped, perhaps a gateway that dies."""
    rng = Random(f"soak {seed}")
    switches: dict[str, object] = {}
    for name in rng.sample(sorted(SWITCHES), rng.choice((0, 1, 1, 2, 4))):
        switches[name] = rng.choice(SWITCHES[name][1:])
    world = World(
        recorded,
        seed,
        markets=rng.choice((60, 100)),
        faults=rng.choice((FAULTS, FAULTS, LOST)),
        fault_rate=rng.choice((0.05, 0.1, 0.2)),
        switches=switches,
        restarts=rng.choice((0.0, 0.01, 0.03)),
        wall_steps=rng.random() < 0.3,
    )
    world.live(orders)
    return world
