"""A simulated exchange, publisher, gateway and watchdog as real processes, and a trader that is none."""

import contextlib
import os
import signal
import sys
import time
import uuid
from typing import Any, Final

import msgspec
import requests

from bus.ask import NoAnswer, ask
from bus.sockets import make_context
from bus.trading.gateway import (
    AccountAnswer,
    AccountAsk,
    CancelAsk,
    GatewayEvent,
    GatewayStatus,
    OrderAnswer,
    OrderAsk,
    OrderEventsAnswer,
    OrderEventsAsk,
    PlaceAnswer,
    PlaceAsk,
)
from bus.trading.shapes import told
from markets.orders import Ended, Filled, Intent, TimeInForce
from markets.units import parse_price_e4
from publisher.kalshi.signing import KeySource
from tests.support import Process, Runner, eventually

JOURNAL: Final = "6f1c2d50-7b1e-4b52-9a36-0f5f2d1c8a01"
START_S: Final = 30.0

ALIVE = """
import sys, threading
from bus.ask import Asker, NoAnswer
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.messages import PublisherHealth
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.sockets import make_context

events, control, orders, journal = sys.argv[1:]
stop, context, clock = Stop(), make_context(), SystemClock()

def live():
    asker, after = Asker(context, orders), 0
    while not stop.wait(0.3):
        try:
            asker.ask({"op": "order_events", "journal": journal, "after": 0, "limit": 1}, 1_000)
        except NoAnswer:
            pass
    asker.close()

threading.Thread(target=live, daemon=True).start()
names = ("trader_events", "trader_control")
server = FeedServer(context, events, control, clock, PublisherHealth, names=names)
server.open(Writer(clock.now_ms()))
print("alive", flush=True)
with stop.on_signals():
    server.serve(stop)
"""
"""What of a trader the gateway and the watchdog notice: heartbeats, and that it asks for events."""

GATEWAYS = """
import os, signal, sys
from functools import partial
from bus.process.lifecycle import main
from publisher.orders import life, looking
from publisher.orders.run import run

# This exchange refuses signatures older than 10 s, not 30: what never left is known so much sooner.
life.CERTAIN_MS = looking.CERTAIN_MS = 10_000 + life.READ_LAG_MS + life.MARGIN_MS

def live(point, nth):
    seen = 0

    def probe(name):
        nonlocal seen
        seen += name == point
        if name == point and seen == nth:
            print("dies", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    return main("orders", partial(run, probe=probe))

while True:
    with open(sys.argv[1]) as orders:
        for line in orders:
            point, nth = line.split()
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    code = live(point, int(nth))
                finally:
                    os._exit(code)
            print("born", pid, flush=True)
            status = os.waitpid(pid, 0)[1]
            print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""
"""Order gateways, one after the other, each a copy of a process that has loaded everything.

A line of the pipe orders one: it ends the nth time that it comes to a point of an order's life.
"""


class Gateways:
    """Starts one gateway after the other, quickly."""

    def __init__(self, runner: Runner) -> None:
        self._pipe = runner.folder / "gateways"
        os.mkfifo(self._pipe)
        self._process = runner.start_command([sys.executable, "-c", GATEWAYS, str(self._pipe)])
        self._count = 0

    def _said(self, word: str) -> list[str]:
        lines = self._process.output().splitlines()
        return [line.removeprefix(word).strip() for line in lines if line.startswith(word)]

    def start(self, point: str = "never", nth: int = 0) -> None:
        with self._pipe.open("w") as orders:
            orders.write(f"{point} {nth}\n")
        self._count += 1
        eventually(lambda: len(self._said("born")) == self._count)

    @property
    def alive(self) -> bool:
        return len(self._said("ended")) < self._count

    @property
    def deaths(self) -> int:
        """How many came to their point."""
        return len(self._said("dies"))

    def end(self, number: signal.Signals) -> int:
        """Send the one that lives a signal, and return how it ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._said("born")[-1]), number)
        eventually(lambda: not self.alive)
        return int(self._said("ended")[-1])


class Floor:
    """Everything that orders need. `runner.env` may be changed before something is started."""

    def __init__(self, runner: Runner, *simulator: str) -> None:
        self.runner = runner
        runner.env |= {
            "KALSHI_BUS_MODE": "sim",
            "KALSHI_BUS_POLL_INTERVAL_S": "1",
            "KALSHI_BUS_STALE_AFTER_S": "8",
            "KALSHI_BUS_STREAM": "no",
            "KALSHI_BUS_GATEWAY_LIMIT_ORDERS_PER_MINUTE": "10000",
        }
        self.simulator = runner.start(
            "simulator", "--port", str(runner.sim_port), "--markets", "100", "--seed", "3",
            "--keys", str(runner.run_dir), *simulator,
        )  # fmt: skip
        self.simulator.wait_event("simulator serves", START_S)
        self.root = f"http://127.0.0.1:{runner.sim_port}"
        self.post("/sim/faults", {"settings": {"rivals": False}})
        self.publisher = runner.start("publisher")
        self.journal = JOURNAL
        self.number = 0
        self.context = make_context()

    def close(self) -> None:
        self.context.term()

    # -- processes

    def gateway(self) -> Process:
        """Start a gateway."""
        return self.runner.start("publisher.orders")

    def watchdog(self) -> Process:
        """Start the watchdog; return once it watches."""
        process = self.runner.start("publisher.orders.watchdog")
        process.wait_event("watchdog.watches", START_S)
        return process

    def trader(self) -> Process:
        """Start what is alive as a trader is."""
        ends = [
            f"ipc://{self.runner.run_dir}/{name}.sock"
            for name in ("trader_events", "trader_control", "orders")
        ]
        command = [sys.executable, "-c", ALIVE, *ends, self.journal]
        process = self.runner.start_command(command)
        eventually(lambda: "alive" in process.output(), START_S)
        return process

    # -- questions

    def ask(self, question: Any, timeout_ms: int = 2_000) -> dict[str, Any]:
        """Ask the gateway; an error is an answer, and so is that nobody is there: empty."""
        plain = question if isinstance(question, dict) else msgspec.to_builtins(question)
        try:
            return ask(
                self.context, f"ipc://{self.runner.run_dir}/orders.sock", {**plain, "id": 1}, timeout_ms
            )
        except NoAnswer:
            return {}

    def status(self, timeout_ms: int = 2_000) -> GatewayStatus | None:
        answer = self.ask({"op": "gateway"}, timeout_ms)
        return told(answer, GatewayStatus) if answer else None

    def wait_ready(self) -> None:
        def ready() -> bool:
            status = self.status()
            return status is not None and status.state == "ready"

        eventually(ready, START_S, "the gateway is ready")

    @property
    def epoch(self) -> int:
        endpoint = f"ipc://{self.runner.run_dir}/state.sock"
        epoch: int = ask(self.context, endpoint, {"op": "ping", "id": 1})["epoch"]
        return epoch

    def intent(
        self, time_in_force: TimeInForce = "gtc", price_e4: int = 100, count_e2: int = 100, **members: Any
    ) -> Intent:
        """Return the next intent: to buy YES of a market that is quoted."""
        self.number += 1
        market = self.market
        now_ms = time.time_ns() // 1_000_000
        made = Intent(
            number=self.number,
            client_order_id=str(uuid.uuid5(uuid.UUID(self.journal), str(self.number))),
            trade=self.number,
            strategy="test",
            ticker=market["ticker"],
            event_ticker=market["event_ticker"],
            series_ticker="S",
            label="",
            side="yes",
            price_e4=price_e4,
            count_e2=count_e2,
            reserve_e6=price_e4 * count_e2,
            fee_type="quadratic",
            multiplier_e4=10_000,
            created_ms=now_ms,
            valid_until_ms=now_ms + 30_000,
            epoch=self.epoch,
            seq=1,
            edge_e6=0,
            probability=None,
            exchange_index=market["exchange_index"],
            time_in_force=time_in_force,
        )
        return msgspec.structs.replace(made, **members)

    def place(self, *intents: Intent) -> tuple[int, ...]:
        """Say it until a gateway has it, as a trader does."""
        question = PlaceAsk(journal=self.journal, intents=intents, source="live")

        def logged() -> tuple[int, ...]:
            answer = self.ask(question)
            return told(answer, PlaceAnswer).logged if answer.get("ok") else ()

        return eventually(logged, START_S, "the intents are logged")

    def place_once(self, intent: Intent) -> None:
        """Say it once, to whoever is there."""
        self.ask(PlaceAsk(journal=self.journal, intents=(intent,), source="live"))

    def cancel(self, number: int) -> None:
        eventually(lambda: self.ask(CancelAsk(journal=self.journal, number=number)).get("ok"), START_S)

    def order(self, number: int) -> OrderAnswer:
        return told(self.ask(OrderAsk(journal=self.journal, number=number)), OrderAnswer)

    def events(self) -> list[GatewayEvent]:
        """All events, each once; their numbers have no hole."""
        found: list[GatewayEvent] = []
        while True:
            answer = self.ask(OrderEventsAsk(journal=self.journal, after=len(found)))
            if not answer.get("ok"):
                return []
            page = told(answer, OrderEventsAnswer)
            found += page.events
            if len(found) >= page.last:
                assert [event.number for event in found] == [*range(1, page.last + 1)]
                return found

    def ended(self, number: int) -> Ended | None:
        ends = [e.event for e in self.events() if isinstance(e.event, Ended) and e.event.number == number]
        assert len(ends) <= 1
        return ends[0] if ends else None

    def filled_e2(self, number: int) -> int:
        fills = [
            e.event.fill for e in self.events() if isinstance(e.event, Filled) and e.event.number == number
        ]
        assert len({fill.id for fill in fills}) == len(fills)
        return sum(fill.count_e2 for fill in fills)

    def account(self) -> AccountAnswer:
        found: list[AccountAnswer] = []

        def listed() -> bool:
            answer = self.ask(AccountAsk(journal=self.journal), 15_000)
            if answer.get("ok"):
                found.append(told(answer, AccountAnswer))
            return bool(found)

        eventually(listed, START_S, "the account is listed")
        return found[0]

    # -- the exchange

    def post(self, path: str, body: Any) -> None:
        requests.post(self.root + path, json=body, timeout=5).raise_for_status()

    def books(self) -> dict[str, Any]:
        """The exchange's own books."""
        found: dict[str, Any] = requests.get(self.root + "/sim/accounts", timeout=5).json()
        return found

    def private(self, method: str, path: str, **parameters: Any) -> dict[str, Any]:
        """Ask as the account's owner would, by hand."""
        run_dir = self.runner.run_dir
        key = KeySource(run_dir / "sim_private_key.pem", None, run_dir / "sim_key_id").current()
        assert key is not None
        full = f"/trade-api/v2{path}"
        headers = key.headers(method, full, time.time_ns() // 1_000_000)
        reply = requests.request(method, self.root + full, headers=headers, timeout=5, **parameters)
        assert reply.ok, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def orders(self) -> list[dict[str, Any]]:
        """All orders of the account, as the exchange lists them."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.private("GET", "/portfolio/orders", params={"limit": "1000", "cursor": cursor})
            found += page["orders"]
            cursor = page["cursor"]
            if not cursor:
                return found

    def place_by_hand(self) -> str:
        """Let an order rest that no gateway knows of; return its client order id."""
        order = {
            "ticker": self.market["ticker"],
            "client_order_id": "by-hand",
            "side": "bid",
            "count": "1.00",
            "price": "0.0100",
            "time_in_force": "good_till_canceled",
            "self_trade_prevention_type": "taker_at_cross",
            "exchange_index": self.market["exchange_index"],
        }
        self.private("POST", "/portfolio/events/orders", json=order)
        return "by-hand"

    def resting(self) -> list[str]:
        """Client order ids of what rests, by the exchange's own books."""
        return [order["client_order_id"] for order in self.books()["resting_orders"] if order["account"] == 1]

    @property
    def market(self) -> dict[str, Any]:
        """A market with a bid and an ask far from the ends, and of those the last to close.

        One that closes within minutes would be settled under the test.
        """

        def quoted() -> dict[str, Any] | None:
            listed = requests.get(
                f"{self.root}/trade-api/v2/markets?status=open&limit=1000", timeout=5
            ).json()
            for market in sorted(listed["markets"], key=lambda one: one["close_time"], reverse=True):
                bid, ask_ = (parse_price_e4(market[f"yes_{side}_dollars"] or "0") for side in ("bid", "ask"))
                size = float(market["yes_ask_size_fp"] or 0)
                if (
                    1_000 < bid < ask_ < 9_000
                    and size >= 5
                    and market["price_level_structure"] == "linear_cent"
                ):
                    found: dict[str, Any] = market
                    return found
            return None

        if not hasattr(self, "_market"):
            self._market = eventually(quoted, START_S, "a market is quoted")
        assert self._market is not None
        return self._market
