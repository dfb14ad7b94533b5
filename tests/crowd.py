"""Clients that do a server no good: many at once, kept up by one thread, and renewed when they are closed."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Self


class Crowd:
    """`count` connections that each say `first`, then `drip` once a second. Use as a context manager.

    Args:
        reads: take what is answered, and notice when the server closes; a new connection follows.
    """

    def __init__(self, port: int, count: int, first: bytes, drip: bytes = b"", reads: bool = True) -> None:
        self.closed = 0
        self._port = port
        self._count = count
        self._first = first
        self._drip = drip
        self._reads = reads
        self._ending = threading.Event()
        self._open: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="crowd")

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._connect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for client in self._open:
            client.close()
        self._selector.close()

    @property
    def standing(self) -> int:
        """Connections that were made and not closed."""
        return len(self._open)

    def _connect(self) -> None:
        client = socket.socket()
        if not self._reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(5)
        try:
            client.connect(("127.0.0.1", self._port))
            client.sendall(self._first)
        except OSError:
            client.close()
            return
        client.setblocking(False)
        self._open.add(client)
        if self._reads:
            self._selector.register(client, selectors.EVENT_READ)

    def _run(self) -> None:
        due_s = time.monotonic() + 1
        while not self._ending.is_set():
            for key, _ in self._selector.select(0.05):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                try:
                    gone = not client.recv(65_536)
                except BlockingIOError:
                    continue
                except OSError:
                    gone = True
                if gone:
                    self.closed += 1
                    self._selector.unregister(client)
                    self._open.discard(client)
                    client.close()
                    self._connect()
            if self._drip and time.monotonic() >= due_s:
                due_s = time.monotonic() + 1
                for client in list(self._open):
                    with contextlib.suppress(OSError):
                        client.send(self._drip)


def waits_s(do: Callable[[], object], times: int) -> list[float]:
    """Do something again and again; return how long it took each time."""
    found = []
    for _ in range(times):
        started_s = time.monotonic()
        do()
        found.append(time.monotonic() - started_s)
    return found


def assert_within(limit_s: float, *took_s: float) -> None:
    """Fail, in the words of a wait that ran out, if anything took as long as this."""
    assert max(took_s) < limit_s, f"not within {limit_s:g} s: it took {max(took_s):.2f} s"
