"""An answer that takes its time comes when it is there, and nobody else waits for it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

import bus.protocol.answers
from bus.clock import SystemClock
from bus.heartbeats import Heartbeats
from bus.process.lifecycle import Stop
from bus.protocol.answers import Later, Refusal
from bus.protocol.messages import PublisherHealth, decode_map, encode_map
from bus.protocol.writer import Writer
from bus.server import FeedServer
from tests.bus.live import Context
from tests.support import eventually


class Slow:
    """A server whose op `slow` is answered with what `found` has, once it is there."""

    def __init__(self, context: Context) -> None:
        self.found: dict[int, dict[str, Any] | Exception] = {}
        self.turns = 0
        clock = SystemClock()
        self.server = FeedServer(
            context, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", clock, PublisherHealth, turn=self._turn
        )
        self.server.answers.add(
            "slow", lambda question, _now_ms: Later(lambda: self._look(question["n"])), "n"
        )
        self.server.open(Writer(clock.now_ms()))
        self.stop = Stop()
        self.thread = threading.Thread(target=self.server.serve, args=(self.stop,))
        self.thread.start()

    def _look(self, number: int) -> dict[str, Any] | None:
        found = self.found.get(number)
        if isinstance(found, Exception):
            raise found
        return found

    def _turn(self) -> int | None:
        self.turns += 1
        return SystemClock().monotonic_ns() // 1_000_000 + 5

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        self.stop.close()


@pytest.fixture
def slow(zmq_context: Context) -> Iterator[Slow]:
    slow = Slow(zmq_context)
    yield slow
    slow.close()


def answer(dealer: zmq.Socket[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = decode_map(dealer.recv_multipart()[-1], dict[str, Any])
    return found


def test_answers_come_in_the_order_in_which_they_are_known(
    slow: Slow, zmq_socket: Callable[..., zmq.Socket[bytes]]
) -> None:
    dealer = zmq_socket(zmq.DEALER)
    dealer.connect(slow.server.state_address)
    for number in range(5):
        dealer.send_multipart((b"", encode_map({"op": "slow", "n": number, "id": number})))
    dealer.send_multipart((b"", encode_map({"op": "ping", "id": 9})))
    assert answer(dealer)["id"] == 9

    slow.found[3] = {"said": "three"}
    assert answer(dealer) == {"ok": True, "id": 3, "said": "three"}
    slow.found[1] = Refusal("refused", "not this one")
    told = answer(dealer)
    assert (told["ok"], told["id"], told["error"]["code"]) == (False, 1, "refused")
    slow.found[2] = RuntimeError("a mistake of ours")
    told = answer(dealer)
    assert (told["ok"], told["id"], told["error"]["code"]) == (False, 2, "internal")
    slow.found |= {0: {}, 4: {}}
    assert {answer(dealer)["id"], answer(dealer)["id"]} == {0, 4}


def test_neither_the_impatient_nor_those_who_left_cost_anything(
    slow: Slow, zmq_socket: Callable[..., zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.protocol.answers, "LATER_MS", 500)
    monkeypatch.setattr(bus.protocol.answers, "LATER_MOST", 3)
    dealer = zmq_socket(zmq.DEALER)
    dealer.connect(slow.server.state_address)
    for number in range(4):
        dealer.send_multipart((b"", encode_map({"op": "slow", "n": number, "id": number})))
    told = [answer(dealer) for _ in range(4)]
    assert [(one["id"], one["error"]["code"]) for one in told] == [
        (3, "busy"), (0, "busy"), (1, "busy"), (2, "busy")
    ]  # fmt: skip

    gone = zmq_socket(zmq.DEALER)
    gone.connect(slow.server.state_address)
    gone.send_multipart((b"", encode_map({"op": "slow", "n": 7, "id": 7})))
    turns = slow.turns
    gone.send_multipart((b"", encode_map({"op": "ping", "id": 8})))
    assert answer(gone)["id"] == 8
    gone.close()
    slow.found[7] = {}
    assert eventually(lambda: slow.turns > turns + 5)
    assert slow.thread.is_alive()


def test_heartbeats_tell_whose_they_are(slow: Slow, zmq_context: Context) -> None:
    hears = Heartbeats(zmq_context, {"here": slow.server.feed_address, "nowhere": "tcp://127.0.0.1:1"})
    try:
        assert eventually(lambda: hears.hear(100)) == {"here"}
    finally:
        hears.close()
