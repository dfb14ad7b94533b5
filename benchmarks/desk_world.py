"""A publisher and a trader for the dashboard: ``python -m benchmarks.desk_world RUN_DIR MARKETS RATE``.

The publisher has the simulator's universe, streams RATE quotes a second and commits a twentieth of all
markets every two seconds. The trader has 100 orders, 100 fills, 40 positions and 60 trades. The marks of its
positions move twice a second; a new order, filled at once, is added every two seconds.
"""

import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.messages import market_topic
from bus.protocol.state import State
from bus.server import FeedServer, QueryServer
from bus.sockets import make_context
from bus.trading.shapes import (
    EquityAnswer,
    FillsAnswer,
    OrdersAnswer,
    PositionRow,
    PositionsAnswer,
    SettlementsAnswer,
    Shape,
    TradesAnswer,
)
from markets.orders import OrderState
from markets.records import Market
from tests.bus.trading.samples import a_fill, a_point, a_position, a_status, a_trade, an_order
from tests.snapshot_server.venue import Venue, a_cycle, a_writer, grouped

from .universe import universe

COMMIT_S: Final = 2.0
TICK_S: Final = 0.05
PARAMETERS: Final = ("limit", "before", "since", "until", "held")
ORDERS, POSITIONS, TRADES, POINTS = 100, 40, 60, 2_000


class Trader:
    """Answers like a working trader."""

    def __init__(self, markets: list[Market]) -> None:
        self._markets = markets
        self._began = time.time()

    def _moves(self) -> int:
        return int((time.time() - self._began) * 2)

    def _orders(self) -> int:
        return ORDERS + self._moves() // 4

    def _named(self, number: int) -> dict[str, Any]:
        market = self._markets[number * 37 % len(self._markets)]
        return {"ticker": market.ticker, "event_ticker": market.event_ticker}

    def told(self, op: str, _question: Any, _now_ms: int) -> dict[str, Any]:
        """Answer a question."""
        return msgspec.structs.asdict(self.answer(op))

    def answer(self, op: str) -> Shape:
        """Return its present answer."""
        now, orders = time.time(), self._orders()
        if op == "status":
            moves = self._moves()
            return a_status(
                now=now, started=self._began, orders=orders, fills=orders, positions=POSITIONS,
                seq=moves, equity_dollars=f"{10_000 + moves % 97}.000000",
            )  # fmt: skip
        numbers = range(orders, orders - ORDERS, -1)
        at = {number: self._began + (number - ORDERS) * 2 for number in numbers}
        if op == "orders":
            made = (
                an_order(
                    number=number, created=at[number], ended=at[number] + 0.1, latency_ms=100,
                    status=OrderState.FILLED, filled_fp="12.00", label=f"Outcome {number}",
                    **self._named(number),
                )
                for number in numbers
            )  # fmt: skip
            return OrdersAnswer(orders=tuple(made))
        if op == "fills":
            fills = (a_fill(id=n, order=n, time=at[n] + 0.1, **self._named(n)) for n in numbers)
            return FillsAnswer(fills=tuple(fills))
        if op == "positions":
            return PositionsAnswer(positions=tuple(self._position(number) for number in range(POSITIONS)))
        if op == "trades":
            return TradesAnswer(
                trades=tuple(
                    msgspec.structs.replace(a_trade(), trade=number, event_ticker=named["event_ticker"])
                    for number in range(orders, orders - TRADES, -1)
                    for named in (self._named(number),)
                )
            )
        if op == "equity":
            points = (a_point(time=now - 60 * (POINTS - n)) for n in range(POINTS))
            return EquityAnswer(points=tuple(points))
        return SettlementsAnswer(settlements=())

    def _position(self, number: int) -> PositionRow:
        # One in four moves with each answer.
        cents = 30 + (self._moves() // 4 + number) % 20 if number % 4 == 0 else 40
        since = self._moves() // 4 if number % 4 == 0 else 0
        return a_position(
            bid_dollars=f"0.{cents:02}00", value_dollars=f"{cents * 12 / 100:.6f}", opened=self._began,
            unrealised_dollars=f"{cents * 12 / 100 - 4.92:.6f}", as_of=self._began + since,
            **self._named(number),
        )  # fmt: skip


def main(run_dir: Path, count: int, rate: float) -> int:
    """Run until SIGTERM."""
    stop = Stop()
    context = make_context()
    with (
        stop.on_signals(),
        Venue(context, f"ipc://{run_dir}/feed.sock", f"ipc://{run_dir}/state.sock") as venue,
    ):
        clock = venue.clock
        catalogue = universe(count, clock.now_ms())
        trader, answers = Trader(catalogue.markets), Answers(State)
        for op in ("status", "positions", "orders", "fills", "settlements", "trades", "equity"):
            answers.add(op, partial(trader.told, op), *PARAMETERS)
        server = QueryServer(context, f"ipc://{run_dir}/trader_control.sock", answers, clock.now_ms)
        thread = threading.Thread(target=server.serve, args=(stop,))
        thread.start()
        count = len(catalogue.markets)
        writer = a_writer(catalogue, clock.now_ms(), clock.now_ms())
        series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
        venue.open(writer)
        sent, due, commit_ns = 0, 0.0, clock.monotonic_ns()

        def moved(number: int, now_ms: int) -> Any:
            quote = catalogue.quotes[number % count]
            bid = 100 * (10 + (number // 7 + now_ms // 1000) % 80)
            return msgspec.structs.replace(
                quote, yes_bid_e4=bid, yes_ask_e4=bid + 200, no_bid_e4=9_800 - bid, no_ask_e4=10_000 - bid,
                volume_e2=number, as_of_ms=now_ms,
            )  # fmt: skip

        def stream(many: int, server: FeedServer) -> None:
            nonlocal sent
            now_ns = clock.now_ns()
            for _ in range(many):
                sent += 1
                quote = moved(sent * 7919, now_ns // 1_000_000)
                server.send(
                    writer.stream(market_topic(series[quote.ticker]), "quote", [quote], now_ns, now_ns)
                )

        def commit(server: FeedServer) -> None:
            now_ms = clock.now_ms()
            part = [msgspec.structs.replace(q, as_of_ms=now_ms) for q in catalogue.quotes[sent % 20 :: 20]]
            server.send(
                writer.commit(grouped("quote", part, series), a_cycle(now_ms, count), 0, clock.now_ns())
            )

        while not stop.wait(TICK_S):
            due += rate * TICK_S
            many, due = int(due), due % 1
            venue.do(partial(stream, many))
            if clock.monotonic_ns() >= commit_ns:
                commit_ns += int(COMMIT_S * 1e9)
                venue.do(commit)
        thread.join()
    context.term()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
