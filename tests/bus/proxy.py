"""A TCP proxy that does to a connection what networks do: delay, cut, swallow, damage."""

import contextlib
import select
import socket
import struct
import threading
import time

_POLL_S = 0.02


class FaultProxy:
    """Forwards connections to a port of this machine.

    Attributes (change them at any time):
        delay_s: how long every piece is held back.
        bytes_per_s: what the line carries; 0 for as much as comes.
        black_hole: take everything, forward nothing, and keep the connections.
        corrupt: flip a bit in every n-th piece from the server; 0 for none.
        connections: how many were accepted.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.black_hole = False
        self.corrupt = 0
        self.connections = 0
        self._target_port = target_port
        self._pieces = 0
        self._stopping = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cut = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection (RST, in the middle of whatever it carries)."""
        self._cut.set()

    def close(self) -> None:
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        finally:
            for end in list(self._pairs):
                self._reset(end)
            self._listener.close()

    def _turn(self) -> None:
        if self._cut.is_set():
            self._cut.clear()
            for end in list(self._pairs):
                self._reset(end)
        ready, _, _ = select.select([self._listener, *self._pairs], [], [], _POLL_S)
        for source in ready:
            if source is self._listener:
                self._accept()
            elif source in self._pairs:
                self._forward(source)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.connections += 1
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port), 1)
        except OSError:
            client.close()
            return
        self._pairs |= {client: server, server: client}

    def _forward(self, source: socket.socket) -> None:
        target = self._pairs[source]
        corrupt, bytes_per_s = self.corrupt, self.bytes_per_s  # the test may change them meanwhile
        try:
            data = source.recv(min(65_536, bytes_per_s // 10 or 65_536))
            if not data:
                raise ConnectionResetError
            if self.black_hole:
                return
            if self.delay_s or bytes_per_s:
                time.sleep(self.delay_s + len(data) / (bytes_per_s or 1e12))
            self._pieces += 1
            if corrupt and source.getpeername()[1] == self._target_port and self._pieces % corrupt == 0:
                damaged = bytearray(data)
                damaged[len(damaged) // 2] ^= 0x20
                data = bytes(damaged)
            target.sendall(data)
        except OSError:
            self._reset(source)

    def _reset(self, end: socket.socket) -> None:
        other = self._pairs.pop(end, None)
        for one in (end, other):
            if one is not None:
                self._pairs.pop(one, None)
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()
