"""Commands on the control socket, and what a kill says when the disk does not take it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from bus.protocol.answers import Answers, Refusal
from bus.protocol.messages import decode_map, encode_map
from bus.trading.killswitch import KillSwitch
from bus.trading.shapes import CommandAnswer, TraderStatus, told
from tests.bus.trading.disk import full_disk
from tests.support import ROOT
from trader.control import Control
from trader.journal.reader import Reader
from trader.manual import ManualCommands
from trader.report import Report


class Bench:
    """A control socket without a socket, before an engine that takes every command at once."""

    def __init__(self, data_dir: Path) -> None:
        self.taken: list[tuple[str, str]] = []
        self.kill_switch = KillSwitch(data_dir)
        self._commands = ManualCommands(self._take)
        self._answers = Answers(lambda: None)
        self._control = Control(self._commands, self.kill_switch, lambda: Reader(data_dir / "none"))
        self._control.add_to(self._answers)

    def lose(self) -> None:
        """Let the trader say that the loss of the day has reached its limit."""
        text = (ROOT / "docs" / "trader.md").read_text().split("```json\n")[1].split("```")[0]
        status = msgspec.json.decode(text, type=TraderStatus)
        self._control.report = Report(msgspec.structs.replace(status, reasons=("daily_loss",)), ())

    def _take(self) -> None:
        for command in self._commands.take():
            self.taken.append((command.op, command.reason))
            command.answer({"kill": "killed", "pause": "paused"}.get(command.op, "running"))

    def ask(self, op: str, **parameters: Any) -> dict[str, Any]:
        (frame,) = self._answers.answer(encode_map({"op": op, "id": 1, **parameters}), 0)
        answer: dict[str, Any] = decode_map(frame, dict[str, Any])
        return answer


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return Bench(folder)


def test_a_command_answers_with_the_state_afterwards(bench: Bench) -> None:
    assert bench.ask("pause") == {"ok": True, "id": 1, "state": "paused", "warning": None}
    assert told(bench.ask("kill", reason="enough"), CommandAnswer) == CommandAnswer(state="killed")
    assert bench.taken == [("pause", "by hand"), ("kill", "enough")]


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

    with pytest.raises(Refusal, match="killed, but not beyond a restart: the kill switch cannot be set"):
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
        assert "loss of the day" in bench.ask("resume", **word)["error"]["message"]
    bench.ask("resume", word="UNLOCK")
    assert bench.taken == [("resume", "UNLOCK")]
