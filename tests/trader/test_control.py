"""Commands on the control socket, and what a kill says when the disk does not take it."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bus.protocol.answers import Answers, Refusal
from bus.protocol.messages import decode_map, encode_map
from bus.trading.killswitch import WORD
from bus.trading.shapes import CommandAnswer, told
from tests.bus.trading.disk import full_disk
from tests.trader.bench import Bench
from trader.control import COMMANDS, PREPARE_OPS, PREPARES_PER_MINUTE
from trader.engine.asks import Prepare
from trader.engine.outputs import Undone
from trader.manual import ManualCommand
from trader.tickets import BY_HAND_OPS


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return Bench(folder)


def test_a_command_answers_with_the_state_afterwards(bench: Bench) -> None:
    assert bench.ask("pause") == {"ok": True, "id": 1, "state": "paused", "warning": None}
    assert told(bench.ask("kill", reason="enough"), CommandAnswer) == CommandAnswer(state="killed")
    assert bench.taken == [("pause", "by hand"), ("kill", "enough")]


def test_a_kill_is_not_refused_because_its_reason_is_long(bench: Bench) -> None:
    said = "only the first 300 characters of the reason count"
    for op, state in (("pause", "paused"), ("kill", "killed")):
        answer = told(bench.ask(op, reason="é" * 5_000), CommandAnswer)
        assert answer == CommandAnswer(state=state, warning=said)
    assert bench.taken == [("pause", "é" * 300), ("kill", "é" * 300)]


def test_a_kill_on_a_full_disk_holds_and_says_what_it_may_have_lost(bench: Bench) -> None:
    with capture_logs(), full_disk():
        answer = told(bench.ask("kill", reason="enough"), CommandAnswer)

    assert answer.state == "killed"
    assert answer.warning is not None
    assert "its reason may be lost" in answer.warning
    assert bench.kill_switch.read() is not None
    assert bench.taken == [("kill", "enough")]


def test_a_kill_without_its_file_stops_the_trader_and_says_that_it_will_not_last(bench: Bench) -> None:
    bench.kill_switch.path.parent.chmod(0o755)

    with pytest.raises(Refusal, match="killed, but only until a restart: the kill switch cannot be set"):
        told(bench.ask("kill", reason="enough"), CommandAnswer)
    assert bench.taken == [("kill", "enough")]


def test_after_a_kill_the_word_is_needed(bench: Bench) -> None:
    bench.ask("kill")

    for word in ({}, {"word": "unlock"}):
        assert bench.ask("resume", **word)["error"]["code"] == "bad_request"
    assert told(bench.ask("resume", word="UNLOCK"), CommandAnswer).state == "running"


def test_at_the_daily_loss_the_word_is_needed_and_goes_to_the_engine(bench: Bench) -> None:
    bench.lose()

    for word in ({}, {"word": "unlock"}):
        assert "daily loss" in bench.ask("resume", **word)["error"]["message"]
    bench.ask("resume", word="UNLOCK")
    assert bench.taken == [("resume", "UNLOCK")]


class AgentsBench(Bench):
    """The socket for agents in the place of the control socket; the engine answers when it is told to."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.waiting: list[ManualCommand] = []
        self._answers = Answers(lambda: None)
        self._control.add_for_agents(self._answers)
        self.lose()  # so that there is a report

    def _take(self) -> None:
        self.waiting += self._commands.take()

    def begin(self, op: str, now_ms: int, **parameters: Any) -> list[bytes]:
        return self._answers.begin(encode_map({"op": op, "id": 1, **parameters}), now_ms, (b"agent",), now_ms)

    def due(self) -> list[dict[str, Any]]:
        return [decode_map(frames[-1], dict[str, Any]) for frames in self._answers.due(0)]


ORDER: dict[str, Any] = {"ticker": "A-1-X", "side": "yes", "count_fp": "5", "price_dollars": "0.50"}


@pytest.fixture
def agents(tmp_path: Path) -> AgentsBench:
    folder = tmp_path / "agents"
    folder.mkdir(mode=0o700)
    return AgentsBench(folder)


def test_an_agent_is_refused_every_command_of_the_control_socket(bench: Bench, agents: AgentsBench) -> None:
    theirs, ours = bench._answers._handlers, agents._answers._handlers
    assert set(ours) == set(theirs), "each operation is allowed to agents, or refused to them, on purpose"
    reads = set(theirs) - {*COMMANDS, *BY_HAND_OPS}
    for op in set(theirs) - reads - set(PREPARE_OPS):
        for parameters in ({}, {"ticket": 1}, {"word": WORD}, {"reason": "x"}, ORDER):
            answer = agents.ask(op, **parameters)
            assert answer["ok"] is False
            assert answer["error"]["code"] in ("forbidden", "bad_request"), answer
        assert "a person has to do this" in agents.ask(op)["error"]["message"]
    assert agents.waiting == []
    assert agents.kill_switch.read() is None
    assert tuple(op for op in BY_HAND_OPS if op.startswith("prepare")) == PREPARE_OPS


def test_what_an_agent_prepares_is_answered_when_the_engine_has_taken_it(agents: AgentsBench) -> None:
    assert agents.begin("prepare", 0, **ORDER) == []
    assert agents.due() == [], "nobody waits for the engine"
    (command,) = agents.waiting
    assert command.ask == Prepare("A-1-X", "yes", 500, 5_000)
    command.answer("running", [Undone("prepare", "A-1-X", "market_unknown")])
    (answer,) = agents.due()
    assert answer["error"]["message"] == "A-1-X: the market is not known"


def test_an_agent_prepares_so_many_orders_a_minute(agents: AgentsBench) -> None:
    for _ in range(PREPARES_PER_MINUTE):
        assert agents.begin("prepare", 1_000, **ORDER) == []
    (frame,) = agents.begin("prepare", 20_000, **ORDER)
    error = decode_map(frame, dict[str, Any])["error"]
    assert (error["code"], error["retry_ms"]) == ("busy", 41_000)
    assert len(agents.waiting) == PREPARES_PER_MINUTE
    bad = decode_map(agents.begin("prepare", 20_000, **ORDER | {"side": "both"})[-1], dict[str, Any])
    assert bad["error"]["code"] == "bad_request"
    assert agents.begin("prepare", 61_000, **ORDER) == []
    assert agents.begin("prepare", 500, **ORDER) == [], "a clock that was set back shuts nobody out"
