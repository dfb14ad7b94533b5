"""Questions to the trader."""

import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent_server.world import Unanswered, World
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.answers import Answers, Refusal
from bus.server import QueryServer
from bus.trading.shapes import FillsAnswer, TicketAnswer
from tests.support import eventually


def test_a_read_that_is_not_ready_is_repeated_but_a_prepare_is_not(zmq_context: Any, short_dir: Path) -> None:
    asked: list[str] = []

    def halted(_question: object, _now_ms: int) -> dict[str, Any]:
        asked.append("prepare")
        raise Refusal("not_ready", "it is halted: nothing is done")

    def slowly(_question: object, _now_ms: int) -> dict[str, Any]:
        asked.append("fills")
        if asked.count("fills") < 3:
            raise Refusal("not_ready", "it reads its journal")
        return {"fills": ()}

    def reads() -> FillsAnswer | None:
        with suppress(Unanswered):
            return world.trader({"op": "fills"}, FillsAnswer, 30_000)
        return None

    settings = Settings.load({"KALSHI_BUS_RUN_DIR": str(short_dir)}, short_dir)
    answers, stop = Answers(lambda: None), Stop()
    answers.add("prepare", halted, "what")
    answers.add("fills", slowly)
    clock = SystemClock()
    server = QueryServer(zmq_context, settings.trader_agents, answers, clock.now_ms, "trader_agents")
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    world = World(settings, zmq_context, clock, random.Random(1))
    try:
        assert eventually(reads) == FillsAnswer(fills=())
        assert asked.count("fills") >= 3
        with pytest.raises(Unanswered, match="it is halted"):
            world.trader({"op": "prepare", "what": "flatten"}, TicketAnswer, 30_000)
        assert asked.count("prepare") == 1
    finally:
        world.close_sockets()
        world.stop()
        stop.set()
        thread.join()
        stop.close()
