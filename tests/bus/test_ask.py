"""Asking one server again and again: answers, absence, and commands that must not arrive late."""

import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

import bus.ask
from bus.ask import Asker, NoAnswer
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers, Question
from bus.server import QueryServer


def test_it_asks_again_over_one_socket_and_never_reaches_a_server_that_comes_later(
    zmq_context: Any, tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/a.sock"
    asker, heard = Asker(zmq_context, endpoint), []

    def count(question: Question, _now_ms: int) -> dict[str, Any]:
        heard.append(question["op"])
        return {"count": len(heard)}

    with pytest.raises(NoAnswer):
        asker.ask({"op": "count"}, 50)
    answers = Answers(lambda: None)
    answers.add("count", count)
    stop = Stop()
    server = QueryServer(zmq_context, endpoint, answers, lambda: 0)
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        assert [asker.ask({"op": "count"}, 5_000)["count"] for _ in range(3)] == [1, 2, 3]
        assert asker.ask({"op": "nonsense"}, 5_000)["ok"] is False
    finally:
        stop.set()
        thread.join()
        stop.close()
        asker.close()
    assert heard == ["count"] * 3


class Left:
    """A socket whose peer goes between the poll and the send."""

    closed = False

    def setsockopt(self, option: int, value: int) -> None:
        pass

    def connect(self, endpoint: str) -> None:
        pass

    def poll(self, timeout_ms: int, flags: int) -> int:
        return flags

    def send_multipart(self, frames: object, flags: int) -> None:
        raise zmq.Again

    def close(self) -> None:
        self.closed = True


def test_a_server_that_goes_just_before_it_is_asked_is_one_that_is_not_there(
    zmq_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Left()
    monkeypatch.setattr(bus.ask, "make", lambda *_arguments: socket)
    asker = Asker(zmq_context, "ipc://nowhere")

    with pytest.raises(NoAnswer, match="nobody is there"):
        asker.ask({"op": "watch"}, 50)
    assert socket.closed
