"""An exchange on a socket that says word for word what it is told to, one answer for each request."""

import queue
import socket
import threading
from typing import NamedTuple, Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Answer(NamedTuple):
    """`pause_s`: between its bytes, unless it comes at once."""

    content: bytes = OK
    ends: bool = False
    pause_s: float | None = None


class Peer:
    """Attributes: heard: requests as they came. answers: what is said to them, in this order."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/trade-api/v2"
        self.heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.connections = 0
        self._stop = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            while True:
                request = b""
                while not request.endswith((b"\r\n\r\n", b"}")):
                    part = peer.recv(65_536)
                    if not part:
                        return
                    request += part
                self.heard.put(request)
                answer = self.answers.get()
                if not self._say(peer, answer) or answer.ends:
                    return

    def _say(self, peer: socket.socket, answer: Answer) -> bool:
        """Return whether it was heard to its end."""
        parts = [answer.content] if answer.pause_s is None else map(bytes, zip(answer.content, strict=True))
        try:
            for part in parts:
                peer.sendall(part)
                self._stop.wait(answer.pause_s or 0)
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.listener.close()
