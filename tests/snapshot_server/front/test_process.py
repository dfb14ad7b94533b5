"""The front as a process: who answers, that nobody sees the difference, and what happens when it is gone."""

import http.client
import json
import os
import random
import re
import signal
import socket
import threading

import pytest

from tests.snapshot_server.front.fronts import (
    HOT,
    answers_alone,
    colder,
    front_of,
    halted,
    heat,
    read_answer,
)
from tests.snapshot_server.stack import COUNT, Served, publish
from tests.snapshot_server.venue import a_cycle, grouped, requoted
from tests.support import eventually

pytestmark = pytest.mark.slow

SMALL = 40
"""Answers with more markets may be of an earlier edition while the next is made."""


def test_what_is_asked_again_is_answered_while_the_snapshot_server_stands_still(served: Served) -> None:
    stack, _, writer, _, process = served
    front_of(process)
    answer = heat(stack, process, HOT)
    assert answer["seq"] == writer.state.seq
    with halted(process):
        age_s = stack.get(HOT)[1]["age_seconds"]
        eventually(lambda: stack.get(HOT)[1]["age_seconds"] > age_s, what="its age goes on")
    assert answers_alone(stack, process, "/markets?limit=6") is None
    assert stack.get("/markets?limit=6")[0] == 200


def test_a_market_that_nobody_asked_for_is_answered_while_the_snapshot_server_stands_still(
    served: Served,
) -> None:
    """Of the edition shown, by a front that takes over as well; what is not here is asked of the other."""
    stack, venue, writer, catalogue, process = served
    first = front_of(process)
    tickers = [market.ticker for market in catalogue.markets]
    left = iter(tickers)
    colder(stack, process, (f"/markets?tickers={ticker}" for ticker in left))
    now_ms = venue.clock.now_ms()
    series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
    changes = grouped("quote", requoted(catalogue.quotes, 4_200, now_ms), series)
    seq = publish(venue, writer, changes, a_cycle(now_ms, COUNT))
    eventually(lambda: stack.health()["seq"] == seq, what="the new edition")
    for _ in range(5):
        ticker = next(left)
        answer = answers_alone(stack, process, f"/trade-api/v2/markets/{ticker}")
        assert answer is not None
        assert (answer["market"]["ticker"], answer["market"]["volume_fp"]) == (ticker, "42.00")
        assert answer == stack.get(f"/trade-api/v2/markets/{ticker}?")[1]
    assert answers_alone(stack, process, "/trade-api/v2/markets/NOBODY") is None
    assert stack.get("/trade-api/v2/markets/NOBODY")[0] == 404
    os.kill(first, signal.SIGKILL)
    eventually(lambda: front_of(process) != first, what="another front")
    answer = colder(stack, process, (f"/markets?tickers={ticker}" for ticker in left))
    assert (answer["seq"], answer["markets"]["markets"][0]["volume_fp"]) == (seq, "42.00")
    assert not process.events("front.crashed")


def test_a_new_edition_is_answered_at_once_and_by_both_alike(served: Served) -> None:
    """Whoever answers, over connections old and new, no client is taken back in time."""
    stack, venue, writer, catalogue, process = served
    front_of(process)
    for path in (HOT, "/health"):
        heat(stack, process, path)
    series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
    done = threading.Event()
    problems: list[str] = []
    turns: list[int] = []

    def client(number: int) -> None:
        choose, last, asked = random.Random(number), 0, 0
        kept = http.client.HTTPConnection("127.0.0.1", stack.runner.snapshot_port, timeout=10)
        while not done.is_set():
            asked += 1
            market = choose.choice(catalogue.markets).ticker
            path = choose.choice(
                [
                    HOT,
                    "/health",
                    f"/markets?limit={asked % SMALL + 1}",
                    "/trade-api/v2/series",
                    f"/markets?tickers={market}",
                    f"/trade-api/v2/markets/{market}",
                ]
            )
            if choose.random() < 0.5:
                kept.request("GET", path)
                response = kept.getresponse()
                answer, header = json.loads(response.read()), response.getheader("x-kalshi-bus-seq")
            else:
                answer, header = stack.get(path)[1], None
            seq = int(header.split(":")[1]) if header else answer.get("seq", last)
            if seq < last:
                problems.append(f"{path}: {seq} after {last}")
            last = max(seq, last)
        kept.close()
        turns.append(asked)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(3)]
    for thread in clients:
        thread.start()
    try:
        for number in range(1, 7):
            now_ms = venue.clock.now_ms()
            changes = grouped("quote", requoted(catalogue.quotes, number, now_ms), series)
            seq = publish(venue, writer, changes, a_cycle(now_ms, COUNT))
            eventually(lambda seq=seq: stack.health()["seq"] == seq)  # type: ignore[misc]
    finally:
        done.set()
        for thread in clients:
            thread.join()
    assert not problems, problems[:3]
    assert min(turns) > 10
    assert heat(stack, process, HOT)


def test_a_connection_goes_to_and_fro_and_its_answers_keep_their_order(served: Served) -> None:
    stack, _, _, _, process = served
    front_of(process)
    heat(stack, process, HOT)
    limits = [5, 7, 5, 5, 9, 5, 11, 5]
    sent = b"".join(
        f"GET /markets?limit={limit} HTTP/1.1\r\nAccept-Encoding: identity\r\n"
        f"Host: 127.0.0.1:{stack.runner.snapshot_port}\r\n\r\n".encode()
        for limit in limits
    )
    choose = random.Random(3)
    with socket.create_connection(("127.0.0.1", stack.runner.snapshot_port), timeout=20) as client:
        stream = client.makefile("rb")
        for _ in range(3):
            at = 0
            while at < len(sent):  # in pieces that end anywhere
                size = choose.randrange(1, 90)
                client.sendall(sent[at : at + size])
                at += size
            got = [len(json.loads(read_answer(stream)[1])["markets"]["markets"]) for _ in limits]
            assert got == limits


@pytest.mark.parametrize(
    "paths", [[HOT], ["/markets?limit=6"], ["/markets?limit=7", "/markets?limit=8", HOT]]
)
def test_a_client_that_sends_no_more_is_answered(served: Served, paths: list[str]) -> None:
    stack, _, _, _, process = served
    front_of(process)
    heat(stack, process, HOT)
    with socket.create_connection(("127.0.0.1", stack.runner.snapshot_port), timeout=20) as client:
        client.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths))
        client.shutdown(socket.SHUT_WR)
        stream = client.makefile("rb")
        for _ in paths:
            assert read_answer(stream)[0] == 200
        assert stream.read() == b""


def test_a_front_that_is_killed_is_begun_again_and_nobody_waits_for_it(served: Served) -> None:
    stack, _, _, _, process = served
    first = front_of(process)
    heat(stack, process, HOT)
    os.kill(first, signal.SIGKILL)
    for _ in range(3):
        assert eventually(lambda: stack.health()["status"] == "ok", what="an answer")
    eventually(lambda: front_of(process) != first, what="another front")
    heat(stack, process, HOT)


def test_a_front_that_hangs_is_replaced(served: Served) -> None:
    stack, venue, writer, catalogue, process = served
    first = front_of(process)
    os.kill(first, signal.SIGSTOP)
    now_ms = venue.clock.now_ms()
    series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
    changes = grouped("quote", requoted(catalogue.quotes, 3, now_ms), series)
    seq = publish(venue, writer, changes, a_cycle(now_ms, COUNT))
    eventually(lambda: stack.health().get("seq") == seq, what="the new edition")
    assert process.events("front.ended")
    eventually(lambda: front_of(process) != first, what="another front")


def test_every_answer_is_counted_whoever_gave_it(served: Served) -> None:
    stack, _, _, _, process = served
    front_of(process)
    heat(stack, process, HOT)

    def counted() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", stack.runner.snapshot_port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(r'http_answers_total\{route="/markets",status="200"\} (\d+)', text)
        assert found is not None, text
        return int(found[1])

    before = counted()
    for _ in range(20):
        stack.get(HOT)
    assert counted() == before + 20
