"""What the WebSocket server says about itself, and how that gets to the snapshot server."""

import os
import tempfile
import zlib
from typing import Final, Self

import msgspec

_SIZE: Final = 1_024


class Figures(msgspec.Struct):
    """Its state, and counts since its start."""

    clients: int = 0
    subscriptions: int = 0
    waiting_bytes: int = 0
    frames: int = 0
    overflows: int = 0
    connections: int = 0


class Board:
    """The latest figures, in a nameless file that both processes have open.

    Nothing queues up in it, so what is read is never older than the last look, however seldom somebody asks.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def make(cls) -> Self:
        """Return an empty one."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("kalshi-bus-figures"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def fileno(self) -> int:
        """Return the descriptor to hand to the other process."""
        return self._descriptor

    def put(self, figures: Figures) -> None:
        """Show these instead of the last ones."""
        body = msgspec.json.encode(figures).ljust(_SIZE)
        os.pwrite(self._descriptor, zlib.crc32(body).to_bytes(4) + body, 0)

    def latest(self) -> Figures | None:
        """Return what is shown; None if it is nothing yet, or is being exchanged."""
        said = os.pread(self._descriptor, 4 + _SIZE, 0)
        if zlib.crc32(said[4:]).to_bytes(4) != said[:4]:
            return None
        return msgspec.json.decode(said[4:], type=Figures)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
