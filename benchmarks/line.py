"""A replica's line that loses what it is told to, for benchmarks."""

import time
from typing import Any

from bus.line import Line


class LossyLine(Line):
    """As Line, but for the messages it loses: they are taken from the socket and forgotten."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lost_ns = 0
        self._left = 0

    def lose(self, count: int) -> None:
        """Lose the next `count` messages. Any thread."""
        self._left = count

    @property
    def losing(self) -> bool:
        """Whether some are still to be lost."""
        return self._left > 0

    def heard(self) -> list[bytes]:
        return self._lossy(super().heard())

    def hear(self) -> list[bytes]:
        return self._lossy(super().hear())

    def _lossy(self, frames: list[bytes]) -> list[bytes]:
        lost = min(self._left, len(frames))
        if lost:
            self._left -= lost
            self.lost_ns = time.monotonic_ns()
        return frames[lost:]
