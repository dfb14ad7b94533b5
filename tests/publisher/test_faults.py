"""Faults of the exchange's stream, the simulator's: what every reader holds afterwards is what it lists."""

import json
import urllib.request
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
import zmq

from bus.clock import SystemClock
from bus.replica import Replica
from markets.kalshi_json import decode_books
from tests.support import Runner, eventually

pytestmark = pytest.mark.e2e


class Exchange:
    """The simulator, a publisher of it, and a replica of that."""

    def __init__(self, runner: Runner, context: zmq.Context[Any]) -> None:
        self._base = f"http://127.0.0.1:{runner.sim_port}"
        runner.env |= {"KALSHI_BUS_POLL_INTERVAL_S": "2", "KALSHI_BUS_ENRICHED_BOOKS_MAX": "60"}
        keys = ["--keys", str(runner.run_dir)]
        runner.run_dir.mkdir(0o700)
        runner.start("simulator", "--port", str(runner.sim_port), "--markets", "120", "--tier", "none", *keys)
        runner.start("publisher")
        feed, state = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state"))
        self.replica = Replica(context, feed, state, SystemClock(), Random(1))
        self.replica.start()
        self.wait(lambda: self.health["stream_books"] >= 20 and not self.health["stream_unsure"])

    def close(self) -> None:
        self.replica.stop()

    @property
    def health(self) -> dict[str, Any]:
        heartbeat = self.replica.heartbeat
        return msgspec.to_builtins(heartbeat.publisher) if heartbeat else {"stream_books": 0}

    def wait(self, predicate: Any) -> None:
        eventually(predicate, 30, "the publisher to settle")

    def set(self, **document: Any) -> None:
        body = json.dumps(document).encode()
        request = urllib.request.Request(
            f"{self._base}/sim/faults", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def agrees(self) -> bool:
        """Whether the followed books are those of the exchange, digests fit, and nothing is suspect."""
        status = self.replica.status()
        with self.replica.state.lock:
            books, suspects = dict(self.replica.state.books), dict(self.replica.state.suspects)
        if not books or suspects or not status.live or status.degraded:
            return False
        query = "&".join(f"tickers={ticker}" for ticker in books)
        url = f"{self._base}/trade-api/v2/markets/orderbooks?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            listed, bad = decode_books(answer.read(), 0)
        assert not bad
        return all((books[b.ticker].yes, books[b.ticker].no) == (b.yes, b.no) for b in listed)


@pytest.fixture
def exchange(runner: Runner, zmq_context: zmq.Context[Any]) -> Iterator[Exchange]:
    made = Exchange(runner, zmq_context)
    yield made
    made.close()


def test_lost_doubled_swapped_frames_and_dead_lines_leave_the_exchanges_books(exchange: Exchange) -> None:
    for fault in ("drop", "duplicate", "swap"):
        gaps = exchange.health["stream_gaps"]
        rule = {"fault": fault, "frame": "orderbook_delta", "probability": 0.2, "count": 5}
        exchange.set(rules=[rule], settings={"pace": 20})
        if fault != "duplicate":
            exchange.wait(lambda gaps=gaps: exchange.health["stream_gaps"] > gaps)
        exchange.set(rules=[], settings={"pace": 0})
        exchange.wait(exchange.agrees)

    for fault in ("disconnect", "stall"):
        reconnects = exchange.health["stream_reconnects"]
        exchange.set(rules=[{"fault": fault, "frame": "*", "count": 1}], settings={"pace": 5})
        exchange.wait(lambda before=reconnects: exchange.health["stream_reconnects"] > before)
        exchange.set(rules=[], settings={"pace": 0})
        exchange.wait(lambda: exchange.health["stream"] == "live" and exchange.agrees())
