"""Asking one server again and again: answers, absence, and commands that must not arrive late."""

import threading
from pathlib import Path
from typing import Any

import pytest

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
