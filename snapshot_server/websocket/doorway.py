"""How a connection gets to the WebSocket server's process: as a descriptor, over a socket pair.

The process is started for the first client, and again for the next one after it has ended. If nobody uses
WebSockets, there is none.
"""

import os
import socket
import subprocess
from contextlib import suppress
from typing import Final

import structlog

from bus.process.programs import command_of, environment_of, wait_or_kill
from bus.threads import Owner

from .figures import Board, Figures

log = structlog.get_logger()

STOPS_S: Final = 2.0
"""How long the process may take to end once its end of the pair is closed."""


class Doorway:
    """Hands over connections. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._board = Board.make()
        self._latest: Figures | None = None
        self._owner = Owner("the doorway to the WebSocket server")

    def pass_on(self, connection: socket.socket) -> bool:
        """Hand over a connection, which stays open here; return whether that succeeded."""
        self._owner.check()
        try:
            try:
                socket.send_fds(self._open(), [b"connection"], [connection.fileno()])
            except BrokenPipeError:
                self._await_end()
                socket.send_fds(self._open(), [b"connection"], [connection.fileno()])
        except OSError as error:
            log.warning("websocket.unreachable", error=str(error))
            return False
        return True

    def _await_end(self) -> None:
        """Wait for the end of a process that has closed its end of the pair: the system reports it later."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOPS_S)

    def figures(self) -> Figures | None:
        """What the WebSocket server last said about itself; None before it was started."""
        self._owner.check()
        self._latest = self._board.latest() or self._latest
        return self._latest

    def close(self) -> None:
        """End the process for good. Any thread, once nothing more is handed over or asked."""
        self._end()
        self._board.close()

    def _end(self) -> None:
        """End the process. Any thread, once nothing more is handed over."""
        if self._ours is not None:
            self._ours.close()
            self._ours = None
        if self._process is not None:
            wait_or_kill(self._process, STOPS_S)

    def _open(self) -> socket.socket:
        """Return our end of the pair; the other end belongs to a running process."""
        if self._process is not None and self._process.poll() is not None:
            log.warning("websocket.ended", code=self._process.returncode)
            self._end()
            self._process = None
        if self._ours is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            with theirs:
                passed = theirs.fileno(), self._board.fileno()
                command = command_of("snapshot_server.websocket", *map(str, (os.getpid(), *passed)))
                try:
                    self._process = subprocess.Popen(command, pass_fds=passed, env=environment_of(os.environ))
                except OSError:
                    ours.close()
                    raise
            self._ours = ours
            log.info("websocket.begun", pid=self._process.pid)
        return self._ours
