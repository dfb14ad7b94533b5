"""A trader on a bench: its control socket and what stands behind it."""

from pathlib import Path
from typing import Any

import msgspec

from bus.protocol.answers import Answers
from bus.protocol.messages import decode_map, encode_map
from bus.trading.killswitch import KillSwitch
from bus.trading.shapes import TraderStatus
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
        """Let the trader say that the daily loss has reached its limit."""
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
