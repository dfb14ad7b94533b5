"""A way to wake a thread that waits in a zmq.Poller."""

import socket

from .threads import Owner


class Wake:
    """Register `fileno()` for reading; `set` from any thread makes it readable, `clear` after waking.

    `clear` is for the waiting thread only. Call `close` when that has ended, or in it.
    """

    def __init__(self) -> None:
        self._owner = Owner("what wakes a thread")
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._reader.fileno()

    def set(self) -> None:
        """Wake the waiting thread."""
        try:
            self._writer.send(b"\0")
        except (BlockingIOError, OSError):
            return  # already pending, or already closed

    def clear(self) -> None:
        """Take the pending wake-ups."""
        self._owner.check()
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Free the descriptors."""
        self._reader.close()
        self._writer.close()
