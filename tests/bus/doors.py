"""A door of a snapshot server that keeps who came through it."""

import threading
from pathlib import Path

from bus.clock import SystemClock
from bus.curve import Keyring, Pair, write_keys
from bus.forwarder import Forwarder
from bus.process.lifecycle import Stop
from bus.sockets import make_context


class Door:
    """A forwarder in a thread of its own, and its keyring."""

    def __init__(self, folder: Path, feed: str, query: str, key: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self.keyring = Keyring(folder / "curve")
        self.keyring.make_server()
        self._from, self._key = (feed, query), key
        self._stop, self._started = Stop(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder")
        self._thread.start()
        assert self._started.wait(30)

    def _run(self) -> None:
        context = make_context(self._key)
        doors = "tcp://127.0.0.1:*", "tcp://127.0.0.1:*"
        self.forwarder = Forwarder(context, *self._from, *doors, self.keyring, SystemClock())
        self.feed, self.query = self.forwarder.feed_address, self.forwarder.query_address
        self._started.set()
        self.forwarder.serve(self._stop)
        context.term()

    def key(self, name: str, *, let_in: bool = True, server: bytes | None = None) -> Path:
        """Make a key file, as `kalshi-bus keys make` does."""
        pair, path = Pair.make(), self.folder / f"{name}.key"
        write_keys(path, pair, server or self.keyring.server().public)
        if let_in:
            self.keyring.allow(name, pair.public)
        return path

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()
