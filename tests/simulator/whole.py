"""Random lives of a whole exchange: two accounts ask for anything while it lives on, restarts and all.

`Life` drives the pure core (REST, WebSocket, the log of what is asked, the saved state) by a seed alone.
After every step it asserts what must hold whatever was asked; see `Life.check` and `Life.compare`.
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final

from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Market
from simulator.front.api import Api
from simulator.front.auth import KeyPair
from simulator.front.operations import ROUTES
from simulator.front.wire import Request, Response
from simulator.front.ws import Hub, WsConnection
from simulator.matching.orders import Order
from simulator.options import parse
from simulator.persistence.restart import Restart, save
from simulator.universe import templates
from simulator.universe.templates import Recorded

from .venue import START_MS

BASE: Final = "/trade-api/v2"
ORDERS: Final = "/portfolio/events/orders"
ACCOUNTS: Final = (1, 2)
ACCOUNT: Final = "x-account"
EXCHANGE_ID: Final = "00000000-0000-4000-8000-00000000000e"
STATUSES: Final = frozenset({200, 201, 204, 400, 404, 409})
SAME: Final = (
    "client_order_id", "created_time", "exchange_index", "fill_count_fp", "initial_count_fp",
    "last_update_time", "maker_fees_dollars", "maker_fill_cost_dollars", "order_id", "remaining_count_fp",
    "status", "subaccount_number", "taker_fees_dollars", "taker_fill_cost_dollars", "ticker", "user_id",
    "yes_price_dollars", "book_side",
)  # fmt: skip
"""Members of an order that REST and channel `user_orders` have in common."""

SWITCHES: Final[dict[str, tuple[object, ...]]] = {
    "ioc_remaining_full": (False, True),
    "killed_fok_uses_id": (True, False),
    "reduce_only_without_position_refused": (False, True),
    "group_triggers_when_met": (False, True),
    "over_decrease_refused": (False, True),
    "wrong_shard_cancel_404": (True, False),
    "balance_reduced_by_resting": (False, True),
    "resting_value": ("sum", "max"),
    "amend_keeps_id": (True, True, False),
    "settle_whole_cents": (True, False),
    "client_order_id_scope": ("recent_30d", "open_only"),
    "fill_before_trade": ("random", "first", "last"),
    "read_lag_ms": (0, 400, 400, 5_000),
    "maker_cancel_before_fill": (True, False),
    "member": ("direct", "intermediary"),
    "cancel_all_catches_later": (False, True),
    "resting_before_immediate_fill": (False, True),
}


class Unsigned(Api):
    """The API without signatures: a header says whose a request is."""

    def authenticate(self, request: Request, now_ms: int) -> KeyPair | None:
        account = request.headers.get(ACCOUNT)
        return None if account is None else KeyPair(f"key {account}", None, int(account))  # type: ignore[arg-type]


@dataclass
class Told:
    """What one account's connection has told so far, each with its time."""

    session: WsConnection
    orders: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    fills: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    positions: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    books: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    tickers: dict[str, dict[str, Any]] = field(default_factory=dict)
    seqs: dict[int, int] = field(default_factory=dict)


class Life:
    """One exchange and its two users, moved on by `step`.

    Args:
        recorded: what the universe is made of.
        folder: for the log and the saved state.
        seed: of everything.
        stride_ms: how far the exchange goes on at once.

    Attributes:
        said: digests of all answers and frames by account.
        hours: of the steps in time, those of an hour: settlements, new fees, successors; they cost seconds.
    """

    def __init__(self, recorded: Recorded, folder: Path, seed: int, stride_ms: int = 1_000) -> None:
        self.said = {account: blake2b(digest_size=16) for account in ACCOUNTS}
        self.stride_ms = stride_ms
        self.hours = 0.0
        self.rng = Random(f"life {seed}")
        self.recorded = recorded
        self.now_ms = START_MS
        markets = str(self.rng.choice((60, 150)))
        cash = self.rng.choice(("30", "300", "10000"))
        self.options = parse(
            [
                "--keys",
                str(folder),
                "--markets",
                markets,
                "--seed",
                str(seed),
                "--accounts",
                "2",
                "--cash",
                cash,
            ]
        )
        self.told: dict[int, Told] = {}
        self.client_ids: list[str] = ["x"]
        self.known_orders: list[tuple[int, str]] = []
        self.groups: list[tuple[int, str, int]] = []
        self.moments: dict[int, int] = {}
        self.aheads: dict[str, tuple[int, int, int]] = {}
        self.steps = 0
        self.restarts = 0
        self._start()
        self.followed: list[str] = []
        self._follow()

    # -- the process

    def _start(self) -> None:
        restart = Restart(
            self.options, self.recorded, self.now_ms, self._began, self._again, lambda: EXCHANGE_ID
        )
        self.exchange, self.log = restart.exchange, restart.log
        self.api = Unsigned(self.exchange, ROUTES, None, None, restart.exchange_id)
        self.api.remember(self.log.append)
        self.hub = self.api.hub = Hub(self.exchange, restart.exchange_id)

    def _began(self, start_ms: int) -> Exchange:
        options = self.options
        exchange = Exchange(self.recorded, options.markets, options.seed, start_ms, cash_e6=options.cash_e6)
        for account in ACCOUNTS:
            exchange.open_account(account)
        return exchange

    def _again(self, exchange: Exchange, asked: Iterable[dict[str, Any]]) -> None:
        api = Api(exchange, ROUTES)
        for what in asked:
            api.again(what)
        assert not api._reported

    def restart(self, down_ms: int, saved: bool) -> None:
        """Kill the process and start it again, after it was saved or not."""
        before = self._whole()
        if saved:
            number = self.log.next()
            self.log.save(number, save(self.exchange))
            self.log.drop_before(number)
            if self.rng.random() < 0.5:  # something is asked while it is being saved
                self.create()
                before = self._whole()
        asked_before = self.exchange
        self._start()
        assert self.exchange is not asked_before
        after = self._whole()
        assert before == after, _difference(before, after)
        self.restarts += 1
        self.now_ms += down_ms
        self.exchange.advance(self.now_ms)
        self.told.clear()
        self.aheads.clear()
        self._follow()
        for account, moment in self.moments.items():
            self.moments[account] = moment - 1  # the process began in the millisecond in which that one ended
        for account in ACCOUNTS:
            self.moment(account)

    def _whole(self) -> dict[str, Any]:
        """Return all that is there to see, exact."""
        exchange = self.exchange
        seen: dict[str, Any] = {"accounts": json.loads(self.local("GET", "/sim/accounts").body)}
        seen["truth"] = json.loads(self.local("GET", "/sim/truth").body)
        seen["next"] = exchange.next_ms()
        seen["rng"] = hash(exchange.rng.getstate())
        for market in exchange.markets.values():
            seen[market.ticker] = (
                market.status, market.bid_e4, market.bid_e2, market.ask_e4, market.ask_e2, market.last_e4,
                market.volume_e2, market.open_interest_e2, market.p, market.fair_shift_e4, market.fee_type,
                market.fee_multiplier_e4, market.grid.name, market.value_e4,
                None if market.depth is None else [
                    sorted(half.levels().items()) for half in (market.depth.book.yes, market.depth.book.no)
                ],
            )  # fmt: skip
        for account in ACCOUNTS:
            seen[f"orders {account}"] = [
                (o.order_id, o.status, o.remaining_e2, o.ahead_e2, o.updated_ms, o.fee_accumulator_e6)
                for o in exchange.matching.orders[account].values()
            ]
            seen[f"fills {account}"] = [
                f.trade_id for f in exchange.ledger.statements.fills(account).newest()
            ]
        return seen

    # -- asking

    def ask(
        self,
        account: int,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> Response:
        raw = b"" if body is None else json.dumps(body).encode()
        pairs = tuple((name, str(value)) for name, value in (query or {}).items())
        request = Request(method, BASE + path, pairs, {ACCOUNT: str(account)}, raw, "127.0.0.1")
        response = self.api.handle(request, self.now_ms)
        assert response.status in STATUSES, (method, path, body, response.status, response.body)
        assert not self.api._reported, "an error of our own"
        self.said[account].update(response.body)
        return response

    def read(self, account: int, path: str, **query: object) -> Any:
        response = self.ask(account, "GET", path, None, query)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def local(self, method: str, path: str, body: object = None) -> Response:
        raw = b"" if body is None else json.dumps(body).encode()
        response = self.api.handle(Request(method, path, body=raw), self.now_ms)
        assert response.status == 200, (path, body, response.body)
        return response

    def walk(self, account: int, path: str, key: str, **query: object) -> list[Any]:
        found: list[Any] = []
        cursor = ""
        while True:
            page = self.read(account, path, cursor=cursor, **query)
            found += page[key]
            cursor = page["cursor"]
            if not cursor:
                return found

    # -- what is done

    def _follow(self) -> None:
        """Choose the markets of the next while: those that live fast, and one of each shard."""
        exchange, rng = self.exchange, self.rng
        live = [m for m in exchange.markets.values() if m.status == ACTIVE]
        soon = sorted(live, key=lambda m: (m.event.close_ms, m.event.group.end_ms or 2**60, m.ticker))[:12]
        exclusive = [m for m in live if m.exclusive]
        event = rng.choice(exclusive).event if exclusive else None
        chosen = rng.sample(soon, min(3, len(soon))) + rng.sample(live, min(2, len(live)))
        chosen += event.markets[:3] if event is not None else []
        resting = [order.instrument for a in ACCOUNTS for order in exchange.matching.resting(a)]
        tickers = dict.fromkeys([*(m.ticker for m in chosen), *(i.ticker for i in resting[:6])])
        self.followed = list(tickers) or self.followed[-1:] or list(exchange.markets)[:1]
        for account in ACCOUNTS:
            told = self.told.get(account)
            if told is None:
                told = self.told[account] = Told(self.hub.connect(account))
                self._command(told, "subscribe", channels=["fill", "user_orders", "market_positions"])
            self._command(
                told,
                "subscribe",
                channels=["orderbook_delta", "ticker"],
                market_tickers=self.followed,
                send_initial_snapshot=True,
                use_yes_price=account == 2,
            )
        self.hear()

    def _command(self, told: Told, name: str, **params: object) -> None:
        text = json.dumps({"id": 1, "cmd": name, "params": params})
        told.session.receive(text, self.now_ms)

    def hear(self) -> None:
        """Take all frames."""
        for account, told in self.told.items():
            while told.session.outgoing:
                text = told.session.outgoing.popleft()
                self.said[account].update(text.encode())
                self._frame(account, told, json.loads(text))

    def _frame(self, account: int, told: Told, frame: dict[str, Any]) -> None:
        kind, message, at_ms = frame["type"], frame.get("msg", {}), frame["sending_ts_ms"]
        assert kind != "error", frame
        if "seq" in frame:
            assert frame["seq"] == told.seqs.get(frame["sid"], 0) + 1, frame
            told.seqs[frame["sid"]] = frame["seq"]
        if kind == "user_order":
            told.orders.append((at_ms, message))
        elif kind == "fill":
            told.fills.append((at_ms, message))
        elif kind == "market_position":
            told.positions.append((at_ms, message))
        elif kind == "ticker":
            told.tickers[message["market_ticker"]] = message
        elif kind == "orderbook_snapshot":
            told.books[message["market_ticker"]] = {
                (side, price): count
                for side in ("yes", "no")
                for price, count in message.get(f"{side}_dollars_fp", ())
            }
        elif kind == "orderbook_delta":
            book = told.books[message["market_ticker"]]
            key = (message["side"], message["price_dollars"])
            left_e2 = _e2(book.get(key, "0.00")) + _e2(message["delta_fp"])
            assert left_e2 >= 0, message
            if left_e2:
                book[key] = f"{left_e2 / 100:.2f}"
            else:
                book.pop(key)

    def market(self) -> Market | None:
        markets = self.exchange.markets
        found = [markets[ticker] for ticker in self.followed if ticker in markets]
        return self.rng.choice(found) if found else None

    def _price_e4(self, market: Market) -> int:
        """Return a price near the quote, mostly on the grid."""
        rng, prices = self.rng, market.grid.prices
        around = rng.choice((market.bid_e4, market.ask_e4, round(market.p * 10_000)))
        at = market.grid.at_or_above(around)
        index = prices.index(at) if at is not None else len(prices) - 1
        index = min(max(index + round(rng.gauss(0, 2)), 0), len(prices) - 1)
        return prices[index] if rng.random() < 0.98 else prices[index] + 7

    def order(self, account: int) -> dict[str, Any]:
        rng = self.rng
        market = self.market()
        if market is None:
            return {"ticker": "NONE"}
        client_id = (
            f"{self.steps}-{rng.random():.6f}"[2:] if rng.random() < 0.9 else rng.choice(self.client_ids)
        )
        client_id = client_id.replace(".", "")
        self.client_ids.append(client_id)
        del self.client_ids[:-30]
        body: dict[str, Any] = {
            "ticker": market.ticker,
            "side": rng.choice(("bid", "ask")),
            "count": rng.choice(("0.01", "1.00", "3.37", "10.00", "50.00", "400.00")),
            "price": f"{self._price_e4(market) / 1e4:.4f}",
            "time_in_force": rng.choice(
                ("good_till_canceled",) * 5 + ("immediate_or_cancel", "immediate_or_cancel", "fill_or_kill")
            ),
            "self_trade_prevention_type": rng.choice(("taker_at_cross", "maker")),
            "client_order_id": client_id,
        }
        for name in ("post_only", "cancel_order_on_pause", "reduce_only"):
            if rng.random() < 0.15:
                body[name] = True
        if body.get("reduce_only"):
            body["time_in_force"] = "immediate_or_cancel"
        if rng.random() < 0.15:
            body["expiration_time"] = self.now_ms // 1000 + rng.choice((-1, 1, 5, 60, 600))
        if rng.random() < 0.3:
            body["exchange_index"] = rng.choice((-1, market.exchange_index, market.exchange_index, 0, 1))
        if rng.random() < 0.2:
            body["subaccount"] = rng.choice((0, 1, 2))
        mine = [group for group in self.groups if group[0] == account]
        if mine and rng.random() < 0.3:
            body["order_group_id"] = rng.choice(mine)[1]
        if rng.random() < 0.06:
            body[rng.choice(("price", "count", "ticker", "client_order_id"))] = rng.choice(
                (5, None, "", "-1", "1e3", "\ud800")
            )
        return body

    def create(self) -> None:
        account = self.rng.choice(ACCOUNTS)
        if self.rng.random() < 0.15:
            orders = [self.order(account) for _ in range(self.rng.randint(1, 6))]
            batch = self.ask(account, "POST", f"{ORDERS}/batched", {"orders": orders})
            if any(5 in order.values() for order in orders):  # a number where a string belongs: refused whole
                assert batch.status == 400
                return
            answered = json.loads(batch.body)
            assert len(answered["orders"]) == len(orders)
            self.known_orders += [(account, o["order_id"]) for o in answered["orders"] if "order_id" in o]
            return
        response = self.ask(account, "POST", ORDERS, self.order(account))
        if response.status == 201:
            self.known_orders.append((account, json.loads(response.body)["order_id"]))

    def _known(self) -> tuple[int, str, Order | None]:
        rng = self.rng
        resting = [(o.party[0], o.order_id) for a in ACCOUNTS for o in self.exchange.matching.resting(a)]
        pool = resting if resting and rng.random() < 0.85 else self.known_orders[-200:] or [(1, "none")]
        account, order_id = rng.choice(pool)
        return account, order_id, self.exchange.matching.find(account, order_id)

    def _where(self, order: Order | None, query: dict[str, Any]) -> dict[str, Any]:
        if order is not None:
            if self.rng.random() < 0.8:
                query["exchange_index"] = order.instrument.exchange_index
            if order.party[1]:
                query["subaccount"] = order.party[1]
        return query

    def cancel(self) -> None:
        account, order_id, order = self._known()
        live = order is not None and order.live
        if self.rng.random() < 0.2:
            rows = [self._where(order, {"order_id": order_id}), {"order_id": "nobody's"}]
            answered = json.loads(self.ask(account, "DELETE", f"{ORDERS}/batched", {"orders": rows}).body)
            assert "error" in answered["orders"][1]
            return
        response = self.ask(account, "DELETE", f"{ORDERS}/{order_id}", None, self._where(order, {}))
        if response.status == 200:
            assert live
            assert order is not None
            assert not order.live

    def cancel_all(self) -> None:
        account = self.rng.choice(ACCOUNTS)
        query = {"subaccount": self.rng.choice((0, 1))} if self.rng.random() < 0.5 else {}
        assert self.ask(account, "DELETE", ORDERS, None, query).status in (204, 409)

    def amend(self) -> None:
        rng = self.rng
        account, order_id, order = self._known()
        if order is None or not isinstance(order.instrument, Market):
            return
        price_e4 = order.price_e4 if rng.random() < 0.4 else self._price_e4(order.instrument)
        rest_e2 = rng.choice(
            (0, order.remaining_e2, order.remaining_e2 + 100, max(1, order.remaining_e2 // 2))
        )
        body: dict[str, object] = {
            "ticker": order.ticker,
            "side": order.side,
            "price": f"{price_e4 / 1e4:.4f}",
            "count": f"{(order.filled_e2 + rest_e2) / 100:.2f}",
        }
        if rng.random() < 0.2:
            body["updated_client_order_id"] = f"a{self.steps}"
        if rng.random() < 0.2:
            body["expiration_time"] = rng.choice((0, self.now_ms // 1000 + 30))
        keeps = price_e4 == order.price_e4 and rest_e2 <= order.remaining_e2
        query = {"subaccount": order.party[1]} if order.party[1] else {}
        live, number, ahead = order.live, order.number, self._ahead(order)
        response = self.ask(account, "POST", f"{ORDERS}/{order_id}/amend", body, query)
        if response.status != 200:
            return
        assert live
        assert order.number == number
        answer = json.loads(response.body)
        self.known_orders.append((account, answer["order_id"]))
        if keeps and order.live:
            assert self._ahead(order) == ahead
        self.aheads.pop(order.order_id, None)

    def decrease(self) -> None:
        account, order_id, order = self._known()
        word = self.rng.choice(("reduce_by", "reduce_to"))
        body = self._where(order, {word: self.rng.choice(("0.00", "1.00", "0.37", "5000.00"))})
        query = {"subaccount": body.pop("subaccount")} if "subaccount" in body else {}
        self.ask(account, "POST", f"{ORDERS}/{order_id}/decrease", body, query)

    def group(self) -> None:
        rng = self.rng
        account = rng.choice(ACCOUNTS)
        mine = [group for group in self.groups if group[0] == account]
        if not mine or rng.random() < 0.3:
            market = self.market()
            index = market.exchange_index if market is not None else 0
            body = {"contracts_limit_fp": rng.choice(("1.00", "5.50", "100.00")), "exchange_index": index}
            answer = json.loads(self.ask(account, "POST", "/portfolio/order_groups/create", body).body)
            self.groups.append((account, answer["order_group_id"], index))
            return
        _, group_id, index = rng.choice(mine)
        path, query = f"/portfolio/order_groups/{group_id}", {"exchange_index": index}
        match rng.randrange(6):
            case 0:
                self.ask(account, "DELETE", path, None, query)
            case 1 | 2:
                self.ask(account, "PUT", f"{path}/reset", None, query)
            case 3:
                self.ask(account, "PUT", f"{path}/trigger", None, query)
            case 4:
                self.ask(account, "PUT", f"{path}/limit", {"contracts_limit": rng.randint(1, 30)}, query)
            case _:
                self.ask(account, "GET", path)

    def money(self) -> None:
        rng = self.rng
        account = rng.choice(ACCOUNTS)
        match rng.randrange(5):
            case 0:
                self.ask(account, "POST", "/portfolio/subaccounts", {})
            case 1:
                body: dict[str, object] = {
                    "client_transfer_id": f"00000000-0000-4000-8000-{rng.randrange(10**6):012d}",
                    "from_subaccount": rng.choice((0, 1)),
                    "to_subaccount": rng.choice((0, 1)),
                    "amount_cents": rng.choice((1, 500, 3_000)),
                    "exchange_index": rng.randrange(4),
                }
                self.ask(account, "POST", "/portfolio/subaccounts/transfer", body)
            case 2:
                body = {"amount": rng.choice((1, 77_777))}
                for end in ("source", "destination"):
                    body[end] = "event_contract"
                    body[f"{end}_exchange_shard"] = rng.randrange(4)
                    body[f"{end}_subaccount"] = rng.choice((0, 0, 1))
                self.ask(account, "POST", "/portfolio/intra_exchange_instance_transfer", body)
            case _:
                body = {"subaccount_number": rng.choice((0, 1)), "enabled": rng.random() < 0.7}
                self.ask(account, "PUT", "/portfolio/subaccounts/netting", body)

    def switch(self) -> None:
        name = self.rng.choice(list(SWITCHES))
        self.local("POST", "/sim/switches", {name: self.rng.choice(SWITCHES[name])})

    def intervene(self) -> None:
        """Pause, close, settle: what happens to exchanges."""
        rng, market = self.rng, self.market()
        wish: dict[str, object]
        match rng.randrange(9):
            case 0 if market is not None:
                wish = {"paused_markets": [market.ticker]}
            case 1:
                wish = {"shards": {str(rng.randrange(4)): rng.random() < 0.4}}
            case 2:
                wish = {rng.choice(("trading_active", "exchange_active")): False}
            case 3 if market is not None and market.event.ticker in self.exchange.events:
                stage = rng.choice(("closed", "determined", "settled", "gone"))
                wish = {"stages": {market.event.ticker: stage}}
            case 4:
                wish = {"void_rate": rng.choice((0.0, 0.5)), "postponed_rate": rng.choice((0.0, 0.4)),
                        "scalar_rate": 0.5, "dead_heat_rate": 0.5}  # fmt: skip
            case _:
                wish = {"paused_markets": [], "shards": {str(i): True for i in range(4)},
                        "trading_active": True, "exchange_active": True}  # fmt: skip
        self.local("POST", "/sim/faults", {"settings": wish})

    def advance(self) -> None:
        rng = self.rng
        ms = rng.choice((1, 7, 50, 200, 200, 999, 3_000, 3_000, 20_000, 120_000))
        if rng.random() < self.hours:
            ms = 3_600_000
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(
                self.now_ms + self.stride_ms, until_ms
            )  # else a market gone wild overflows the buffer
            number = self.exchange.trades[-1].number if self.exchange.trades else 0
            self.exchange.advance(self.now_ms)
            self.hear()
            self._check_pauses(number)

    def _check_pauses(self, after: int) -> None:
        """Assert that nothing traded where trading is paused."""
        halts = self.exchange.halts
        for trade in reversed(self.exchange.trades):
            if trade.number <= after:
                return
            assert trade.market.exchange_index in halts.trading, trade
            assert not trade.market.paused, trade

    # -- a step, and what must hold after it

    def step(self) -> None:
        """Do one thing, and check."""
        rng = self.rng
        self.steps += 1
        chance = rng.random()
        if chance < 0.36:
            self.create()
        elif chance < 0.66:
            self.advance()
        elif chance < 0.74:
            self.cancel()
        elif chance < 0.82:
            self.amend()
        elif chance < 0.86:
            self.decrease()
        elif chance < 0.90:
            self.group()
        elif chance < 0.93:
            self.money()
        elif chance < 0.95:
            self.switch()
        elif chance < 0.97:
            self.intervene()
        elif chance < 0.975:
            self.cancel_all()
        elif chance < 0.985:
            self._follow()
        elif chance < 0.99:
            self.restart(rng.choice((1, 50, 2_000, 60_000)), saved=rng.random() < 0.6)
        else:
            self.compare()
        if rng.random() < 0.1:
            self.compare()
        self.check()

    def check(self) -> None:
        """Assert what must hold at any moment."""
        self.hear()
        ledger = self.exchange.ledger
        ledger.audit() if self.rng.random() < 0.1 else ledger.check()
        for order in [o for a in ACCOUNTS for o in self.exchange.matching.resting(a)]:
            self._check_order(order)
        for ticker in self.followed:
            market = self.exchange.markets.get(ticker)
            if market is not None:
                self._check_book(market)

    def _check_order(self, order: Order) -> None:
        assert order.live
        assert order.remaining_e2 > 0
        assert order.expires_ms is None or order.expires_ms > self.now_ms
        market = order.instrument
        assert isinstance(market, Market)
        assert market.event.status == ACTIVE or self.now_ms < market.event.close_ms + 251, market.event.status
        bid, ask = self.exchange.book(market).quote()
        if order.side == "bid":
            assert not ask[1] or ask[0] > order.price_e4, (market.ticker, order, ask)
        else:
            assert not bid[1] or bid[0] < order.price_e4, (market.ticker, order, bid)
        ahead, before = self._ahead(order), self.aheads.get(order.order_id)
        state = (order.price_e4, order.initial_e2)
        if before is not None and before[:2] == state:
            assert ahead <= before[2], (order, before, ahead)
        self.aheads[order.order_id] = (*state, ahead)

    def _ahead(self, order: Order) -> int:
        """Return what stands before an order at its own price."""
        if not order.live:
            return 0
        market = order.instrument
        assert isinstance(market, Market)
        half = self.exchange.book(market).half(order.side)
        queue = half.orders[order.price_e4 if order.side == "bid" else 10_000 - order.price_e4]
        earlier = queue[: queue.index(order)]
        assert order.ahead_e2 >= max((o.ahead_e2 for o in earlier), default=0)
        return order.ahead_e2 + sum(o.remaining_e2 for o in earlier)

    def _check_book(self, market: Market) -> None:
        served = json.loads(
            self.api.handle(Request("GET", f"{BASE}/markets/{market.ticker}/orderbook"), self.now_ms).body
        )["orderbook_fp"]
        book = {(side, price): count for side in ("yes", "no") for price, count in served[f"{side}_dollars"]}
        assert all(_e2(count) > 0 for count in book.values())
        other = {(s, p if s == "yes" else f"{1 - float(p):.4f}"): c for (s, p), c in book.items()}
        assert self.told[1].books[market.ticker] == book, market.ticker
        assert self.told[2].books[market.ticker] == other, market.ticker
        shown = json.loads(
            self.api.handle(Request("GET", f"{BASE}/markets/{market.ticker}"), self.now_ms).body
        )["market"]
        yes = max((p for s, p in book if s == "yes"), default=None)
        no = max((p for s, p in book if s == "no"), default=None)
        assert yes is None or no is None or float(yes) + float(no) < 1 - 1e-9, market.ticker
        if yes is not None:
            assert (shown["yes_bid_dollars"], shown["yes_bid_size_fp"]) == (yes, book["yes", yes])
        else:
            assert shown["yes_bid_size_fp"] == "0.00"
        if no is not None:
            assert (shown["no_bid_dollars"], shown["yes_ask_size_fp"]) == (no, book["no", no])
        else:
            assert shown["yes_ask_size_fp"] == "0.00"
        for told in self.told.values():
            frame = told.tickers[market.ticker]
            for name in ("yes_bid_dollars", "yes_bid_size_fp", "yes_ask_dollars", "yes_ask_size_fp"):
                assert frame[name] == shown[name], (name, market.ticker)

    # -- what accounts read

    def moment(self, account: int) -> int:
        """Ask for the time as of which an account reads, and return it; it must not go back."""
        self.read(account, "/exchange/user_data_timestamp")
        moment = self.api.reads._as_of_ms[account]
        assert moment >= self.moments.get(account, 0)
        assert self.now_ms - self.exchange.switches.read_lag_ms <= moment <= self.now_ms or (
            moment == self.moments.get(account)
        )
        self.moments[account] = moment
        return moment

    def _as_of(self, account: int) -> int:
        """Return as of when the last read was."""
        moment = self.api.reads._as_of_ms[account]
        assert moment >= self.moments.get(account, 0)
        self.moments[account] = moment
        return moment

    def compare(self) -> None:
        """Assert that REST, frames and the exchange's own books say the same, each as of its time."""
        self.hear()
        for account in ACCOUNTS:
            self.moment(account)
            told = self.told[account]
            self._compare_orders(account, told)
            self._compare_fills(account, told)
            for subaccount in self.exchange.ledger.subaccounts(account):
                self._compare_positions(account, subaccount, told)
                self._compare_cash(account, subaccount)

    def _compare_orders(self, account: int, told: Told) -> None:
        rows = self.read(account, "/portfolio/orders", limit=1000)["orders"]
        as_of = self._as_of(account)
        read = {row["order_id"]: row for row in rows}
        assert len(read) == len(rows)
        expected: dict[str, dict[str, Any]] = {}
        for at_ms, message in told.orders:
            if at_ms <= as_of:
                expected[message["order_id"]] = message
        later = {m["order_id"] for at_ms, m in told.orders if at_ms > as_of} - set(expected)
        for order_id, message in expected.items():
            row = read.get(order_id)
            if row is None:
                assert len(rows) == 1000 or self.exchange.matching.find(account, order_id) is None, message
                continue
            assert {name: row[name] for name in SAME} == {name: message[name] for name in SAME}
        if not later and len(rows) < 1000 and as_of == self.now_ms:
            live = {o.order_id for o in self.exchange.matching.resting(account)}
            assert live == {row["order_id"] for row in rows if row["status"] == "resting"}

    def _compare_fills(self, account: int, told: Told) -> None:
        rows = self.read(account, "/portfolio/fills", limit=1000)["fills"]
        as_of = self._as_of(account)
        read = {(row["fill_id"], row["order_id"], row["is_taker"]): row for row in rows}
        for at_ms, message in told.fills:
            row = read.get((message["trade_id"], message["order_id"], message["is_taker"]))
            if at_ms > as_of:
                assert row is None
            elif row is None:
                assert len(rows) == 1000 or self.exchange.matching.find(account, message["order_id"]) is None
            else:
                assert all(row[n] == message[n] for n in ("count_fp", "yes_price_dollars", "fee_cost", "ts"))

    def _compare_positions(self, account: int, subaccount: int, told: Told) -> None:
        path, key = "/portfolio/positions", "market_positions"
        rows = self.read(account, path, subaccount=subaccount, limit=1000)[key]
        as_of = self._as_of(account)
        read = {row["ticker"]: row for row in rows}
        assert len(read) == len(rows)
        paged = self.walk(account, path, key, subaccount=subaccount, limit=3)
        assert len({row["ticker"] for row in paged}) == len(paged)
        expected: dict[str, dict[str, Any]] = {}
        for at_ms, message in told.positions:
            if at_ms <= as_of and message["subaccount"] == subaccount:
                expected[message["market_ticker"]] = message
        first = {
            m["market_ticker"]: at for at, m in reversed(told.positions) if m["subaccount"] == subaccount
        }
        for ticker, message in expected.items():
            held = self.exchange.ledger.statements.position((account, subaccount), ticker)
            row = read.get(ticker)
            if row is None:
                assert held is None, f"{ticker} is held and not read"
                settled = self.exchange.ledger.statements.positions((account, subaccount), "settled")
                (mine,) = [position for position in settled if position.instrument.ticker == ticker]
                assert (mine.settled_ms or 0) <= as_of, f"{ticker} was not settled yet"
            else:
                assert row["position_fp"] == message["position_fp"], (ticker, as_of, self.now_ms)
                assert row["fees_paid_dollars"] == message["fees_paid_dollars"]
        for ticker in read:
            assert ticker in expected or first.get(ticker, 0) <= as_of or ticker in first

    def _compare_cash(self, account: int, subaccount: int) -> None:
        row = self.read(account, "/portfolio/balance", subaccount=subaccount)
        books = json.loads(self.local("GET", "/sim/accounts").body)["accounts"]
        mine = next(b for b in books if (b["account"], b["subaccount"]) == (account, subaccount))
        cash_e6 = sum(mine["cash_e6"].values())
        if self.exchange.switches.balance_reduced_by_resting:
            assert 0 <= row["balance"] * 10_000 <= cash_e6
        else:
            assert row["balance"] == cash_e6 // 10_000


def _e2(text: str) -> int:
    return round(float(text) * 100)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    return "; ".join(
        f"{key}: {before.get(key)} -> {after.get(key)}"[:600]
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    )[:3000]


def live(recorded: Recorded, folder: Path, seed: int, steps: int, hours: float = 0.0) -> int:
    """Live so many steps; return how many."""
    life = Life(recorded, folder, seed)
    life.hours = hours
    for _ in range(steps):
        life.step()
    life.compare()
    life.restart(1, saved=True)
    life.compare()
    return life.steps


def said(recorded: Recorded, folder: Path, seed: int, steps: int, stride_ms: int) -> str:
    """Live so many steps; return the digests of all that was answered and sent."""
    life = Life(recorded, folder, seed, stride_ms)
    for _ in range(steps):
        life.step()
    return " ".join(digest.hexdigest() for digest in life.said.values())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(said(templates.load(), Path(folder), *map(int, sys.argv[1:])))
