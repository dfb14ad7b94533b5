"""A simulator that restarts goes on as the same exchange, with all that was asked of it."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from markets.errors import DecodeError
from simulator.floor.exchange import Exchange
from simulator.floor.grid import GRIDS
from simulator.floor.latent import SPORTS
from simulator.front.api import Api
from simulator.front.operations import ROUTES
from simulator.front.wire import Request
from simulator.options import SimulatorOptions, parse
from simulator.persistence import graph
from simulator.persistence.log import InputLog
from simulator.persistence.restart import UNUSED, USED, Restart, save
from simulator.universe import templates
from simulator.universe.origin import FILE
from simulator.universe.templates import Recorded

NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture(name="options")
def _options(tmp_path: Path) -> SimulatorOptions:
    return parse(["--keys", str(tmp_path), "--markets", "60", "--seed", "4"])


@dataclasses.dataclass
class Process:
    """A simulator's process without its sockets: it starts, is asked, and is gone."""

    options: SimulatorOptions
    recorded: Recorded
    now_ms: int
    ids: int = 0

    def __post_init__(self) -> None:
        new_id = f"exchange {self.now_ms}"
        restart = Restart(self.options, self.recorded, self.now_ms, self._began, self._again, lambda: new_id)
        self.exchange, self.exchange_id, self.log = restart.exchange, restart.exchange_id, restart.log
        self.api = Api(self.exchange, ROUTES)
        self.api.remember(self.log.append)

    def _began(self, start_ms: int) -> Exchange:
        exchange = Exchange(self.recorded, self.options.markets, self.options.seed, start_ms)
        exchange.open_account(1)
        return exchange

    def _again(self, exchange: Exchange, asked: Iterable[dict[str, Any]]) -> None:
        api = Api(exchange, ROUTES)
        for what in asked:
            api.again(what)

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        self.exchange.advance(self.now_ms)

    def order(self, number: int, side: str = "bid", price: str = "0.9900") -> None:
        """Ask for one order, in the market that is quoted and has the first ticker."""
        market = min(
            (m for m in self.exchange.markets.values() if m.bid_e2 and m.ask_e2 and m.status == "active"),
            key=lambda m: m.ticker,
        )
        body = {
            "ticker": market.ticker,
            "side": side,
            "count": "3.00",
            "price": price,
            "client_order_id": f"c{number}",
            "time_in_force": "good_till_canceled",
            "self_trade_prevention_type": "taker_at_cross",
        }
        self.api.again(
            {
                "at": self.now_ms,
                "account": 1,
                "method": "POST",
                "path": "/trade-api/v2/portfolio/events/orders",
                "query": [],
                "body": json.dumps(body),
            }
        )

    def books(self) -> Any:
        """Return all that accounts own, what rests, and what every market shows."""
        answer = self.api.handle(Request("GET", "/sim/accounts"), self.now_ms)
        shown = [
            (m.ticker, m.status, m.bid_e4, m.bid_e2, m.ask_e4, m.ask_e2, m.volume_e2)
            for m in self.exchange.markets.values()
        ]
        fills = [
            (f.trade_id, f.price_e4, f.fee_e6) for f in self.exchange.ledger.statements.fills(1).newest()
        ]
        return json.loads(answer.body) | {"exchange_id": ""}, shown, fills


@pytest.fixture(name="start", scope="module")
def _start() -> Callable[..., Process]:
    recorded = templates.load()
    return lambda options, now_ms: Process(options, recorded, now_ms)


def test_same_options_soon_after_continue_the_same_exchange(
    options: SimulatorOptions, start: Callable[..., Process]
) -> None:
    first = start(options, NOW_MS)
    later = start(options, NOW_MS + HOUR_MS)
    assert (later.exchange_id, later.exchange.start_ms) == (first.exchange_id, NOW_MS)
    assert later.exchange.now_ms == NOW_MS + HOUR_MS


@pytest.mark.parametrize("change", [{"seed": 5}, {"markets": 70}, {"cash_e6": 1}, {"accounts": 2}])
def test_other_options_begin_another_exchange(
    options: SimulatorOptions, change: dict[str, Any], start: Callable[..., Process]
) -> None:
    start(options, NOW_MS).order(1)
    other = start(dataclasses.replace(options, **change), NOW_MS + 1)
    assert other.exchange.start_ms == NOW_MS + 1
    assert list(other.exchange.ledger.statements.fills(1).newest()) == []


def test_too_long_ago_or_in_the_future_begins_anew(
    options: SimulatorOptions, start: Callable[..., Process]
) -> None:
    ago_ms = UNUSED // options.markets + 1
    first = start(options, NOW_MS)
    origin_note = (options.keys / FILE).read_text()
    assert start(options, NOW_MS + ago_ms).exchange_id != first.exchange_id
    (options.keys / FILE).write_text(origin_note)
    assert start(options, NOW_MS - 1).exchange_id != first.exchange_id
    assert USED > UNUSED


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"start_ms": "x"}', "\x00\xff"])
def test_a_damaged_note_begins_anew(
    options: SimulatorOptions, content: str, start: Callable[..., Process]
) -> None:
    (options.keys / FILE).write_text(content)
    first = start(options, NOW_MS)
    assert start(options, NOW_MS + 1).exchange_id == first.exchange_id


@pytest.mark.parametrize("saved", [False, True])
def test_orders_fills_and_cash_are_there_after_a_restart_and_go_on_as_without_one(
    options: SimulatorOptions, saved: bool, start: Callable[..., Process]
) -> None:
    process = start(options, NOW_MS)
    process.advance(60_000)
    process.order(1)
    process.order(2, price="0.0100")
    if saved:
        process.log.save(process.log.next(), save(process.exchange))
    process.advance(60_000)
    process.order(3, side="ask", price="0.0100")
    assert len(process.books()[2]) > 1
    again = start(options, process.now_ms)
    assert again.exchange_id == process.exchange_id
    assert again.books() == process.books()
    for other in (process, again):
        other.advance(600_000)
        other.order(4)
    assert again.books() == process.books()
    again.exchange.ledger.check()


def test_a_line_that_was_cut_off_was_never_answered(
    options: SimulatorOptions, start: Callable[..., Process]
) -> None:
    process = start(options, NOW_MS)
    process.order(1)
    (path,) = options.keys.glob("sim_inputs.*.jsonl")
    whole = path.read_bytes()
    process.order(2)
    path.write_bytes(path.read_bytes()[:-5])
    again = start(options, NOW_MS)
    assert {order.client_order_id for order in again.exchange.matching.orders[1].values()} == {"c1"}
    again.order(3)
    assert path.read_bytes().startswith(whole)
    assert len(start(options, NOW_MS).exchange.matching.orders[1]) == 2


def test_a_state_of_another_build_is_not_used(
    options: SimulatorOptions, start: Callable[..., Process]
) -> None:
    process = start(options, NOW_MS)
    process.order(1)
    other = InputLog(options.keys, process.exchange_id, "another build")
    other.save(other.next(), b"nonsense")
    again = start(options, NOW_MS)
    assert len(again.exchange.matching.orders[1]) == 1


@pytest.mark.parametrize(
    "damage", [b"", b"\xff" * 20, b"\x93\x90\x92\x00\x05\x90", b"\x93\x91\xa4os:x\x92\x00\x00\x90"]
)
def test_a_damaged_state_is_refused(damage: bytes) -> None:
    with pytest.raises(DecodeError):
        graph.load(damage, ())


def test_only_classes_of_the_simulator_are_made() -> None:
    for name in ("os:system", "builtins:object", "subprocess:Popen", "simulator.server:os"):
        with pytest.raises(DecodeError):
            graph.load(msgspec.msgpack.encode([[name], [0, 0], [["object", 0, {}]]]), ())


def test_what_was_saved_is_the_same_once_more() -> None:
    recorded = templates.load()
    exchange = Exchange(recorded, 60, 4, NOW_MS)
    exchange.advance(NOW_MS + 600_000)
    state = save(exchange)
    again = graph.load(state, (recorded, GRIDS, SPORTS))
    assert save(again) == state
    for one in (exchange, again):
        one.advance(NOW_MS + HOUR_MS)
    assert save(again) == save(exchange)


@pytest.mark.slow
def test_made_up_in_one_step_it_has_the_same_markets_and_results() -> None:
    recorded = templates.load()
    lived, resumed = (Exchange(recorded, 200, 4, NOW_MS) for _ in range(2))
    for ms in range(0, HOUR_MS, 60_000):
        lived.advance(NOW_MS + ms)
    lived.advance(NOW_MS + HOUR_MS)
    resumed.advance(NOW_MS + HOUR_MS)
    assert sorted(lived.markets) == sorted(resumed.markets)
    results = [[(t, m.status, m.result) for t, m in sorted(x.markets.items())] for x in (lived, resumed)]
    assert results[0] == results[1]
