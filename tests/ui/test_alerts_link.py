"""The dashboard's link to the alerts: a command that was done is reported as done."""

import threading
from pathlib import Path
from typing import Any

from bus.alerting import DoneAnswer
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers, Refusal
from bus.server import QueryServer
from ui.alerts_link import AlertsLink


def test_a_command_counts_as_done_whatever_the_next_question_returns(
    zmq_context: Any, short_dir: Path
) -> None:
    def refuse(_question: object, _now_ms: int) -> dict[str, Any]:
        raise Refusal("busy", "not now")

    answers, stop = Answers(lambda: None), Stop()
    answers.add("remove_rule", lambda _question, _now_ms: {"number": 7}, "number")
    answers.add("alerts", refuse, "after")
    endpoint = f"ipc://{short_dir}/alerts.sock"
    server = QueryServer(zmq_context, endpoint, answers, SystemClock().now_ms, "alerts_control")
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        link = AlertsLink(zmq_context, endpoint, on=True)
        assert link.command("remove_rule", number=7) == DoneAnswer(number=7)
        assert link.answer is None
    finally:
        stop.set()
        thread.join()
        stop.close()
