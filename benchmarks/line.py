"""A replica's line that loses messages on demand, for benchmarks."""

import time
from typing import Any

from bus.line import Line


class LossyLine(Line):
    """Like Line, except that lost messages are taken from the socket and forgotten."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lost_ns = 0
        self._left = 0

    def lose(self, count: int) -> None:
        """Lose the next `count` messages. Any thread."""
        self._left = count

    @property
    def losing(self) -> bool:
        """Whether any are still to be lost."""
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
