"""Requests on several connections at once."""

import threading
from random import Random
from typing import cast

import pytest

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from markets.json.pages import Tier, split_list
from publisher.fetchers import connections, fetch_all
from publisher.kalshi.budget import Budget
from publisher.kalshi.client import Client, ExchangeError, Reply, Stopped
from publisher.kalshi.signing import KeySource
from tests.publisher.exchange import Answer, FakeExchange, market, on


def test_connections_grow_with_rate_and_page_time() -> None:
    assert connections(161, 0.0, 8) == 2
    assert connections(161, 0.2, 8) == 5
    assert connections(161, 3.0, 8) == 8
    assert connections(12_000, 0.2, 8) == 8
    assert connections(161, 0.2, 1) == 1


def rich_clients(url: str, count: int, stop: Stop) -> list[Client]:
    budget = Budget(Tier(1e6, 1e6), Random(1), -10.0)
    keys = KeySource(None, None, None)
    return [Client(url, keys, budget, SystemClock(), Random(n), stop) for n in range(count)]


def test_all_answers_come_and_several_requests_run_at_once() -> None:
    stop, together = Stop(), threading.Barrier(3)

    def meet(path: str) -> None:
        together.wait(10)  # breaks the test unless three are there

    with FakeExchange() as exchange:
        for name in "ABCDEF":
            exchange.loose[name] = market(name, "E")
        exchange.faults.append(meet)
        clients = rich_clients(exchange.url, 3, stop)
        queries = [[("tickers", name)] for name in "ABCDEF"]
        found = list(fetch_all(clients, "/markets", queries, lambda body: split_list(body, "markets")[0]))
        for client in clients:
            client.close()
    stop.close()

    answers = [cast("tuple[list[bytes], Reply]", result)[0] for result in found]
    assert sorted(bytes(raws[0])[11:12] for raws in answers) == [b"A", b"B", b"C", b"D", b"E", b"F"]


def test_failures_come_among_the_answers_and_stop_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    with FakeExchange() as exchange:
        clients = rich_clients(exchange.url, 3, stop)
        exchange.faults.append(on("/markets", Answer(400, b"{}")))
        found = list(fetch_all(clients, "/markets", [[("tickers", "A")]] * 4, lambda body: body))
        assert [cast(ExchangeError, result).outcome for result in found] == ["refused"] * 4
        stop.set()
        with pytest.raises(Stopped):
            list(fetch_all(clients, "/markets", [[("tickers", "A")]] * 4, lambda body: body))
        for client in clients:
            client.close()
    stop.close()
