"""A connection to the exchange, opened ahead of need and kept alive: a request is a signature and one write.

HTTP/1.1 as `http.client` reads it. Requests are put together here, because they must be on the socket as soon
as they are signed, and because it must be certain whether any byte has left.
"""

import base64
import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from bus.clock import Clock
from markets.errors import StartupError
from publisher.kalshi import faults
from publisher.kalshi.answers import Answer, Plain, Secure
from publisher.kalshi.client import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from publisher.kalshi.signing import ApiKey, KeySource

from .steps import AHEAD_MS, Reply, Request

MAX_BODY_BYTES: Final = 32 * 1_048_576
_PIECE: Final = 262_144

Check = Callable[[Request], str | None]
"""Says at the last moment why a request must not leave, None if it may."""


class _Signature(NamedTuple):
    """A signature made by `key` when our clock showed `at_ms` and the exchange's `signed_ms`."""

    key: ApiKey
    what: tuple[str, str]
    at_ms: int
    signed_ms: int
    headers: dict[str, str]


class Connection:
    """A kept-alive connection, one request at a time. One thread.

    Args:
        base_url: with its path, such as ``https://host/trade-api/v2``.
        check: asked after the request is ready and before its first byte leaves.
        ahead_ms: how far the exchange's clock is ahead of ours: signatures use its time.

    Attributes:
        clock_offset_s: how far our clock is ahead of the exchange's, as of the last answer; None before.
    """

    def __init__(
        self,
        base_url: str,
        keys: KeySource,
        clock: Clock,
        check: Check,
        ahead_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._ahead_ms = ahead_ms
        parts = urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._path = parts.path
        self._keys = keys
        self._clock = clock
        self._check = check
        self._open: http.client.HTTPConnection | None = None
        self._ahead: _Signature | None = None
        named = f"[{self._host}]" if ":" in self._host else self._host
        host = f"{named}:{parts.port}" if parts.port else named
        self._fixed = f"Host: {host}\r\nUser-Agent: kalshi-bus\r\nAccept-Encoding: identity\r\n"
        self.clock_offset_s: float | None = None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def warm(self) -> None:
        """Connect, if there is no connection or the other side has closed it. Failures are retried later."""
        try:
            self._connected()
        except (OSError, http.client.HTTPException, ValueError):
            self.close()

    def sign_ahead(self, method: str, path: str) -> None:
        """Sign the next request of this kind now: that takes longer than everything else.

        The signature does not cover a body. It is good for one request, and for `AHEAD_MS`.
        """
        self._ahead = None
        try:
            key = self._keys.current()
        except StartupError:
            return
        if key is not None:
            self._ahead = self._made_by(key, method, path)

    def exchange(self, request: Request) -> Reply:
        """Send a request and return what came of it. Whatever happens, it is sent only once."""
        began_ms = self._clock.now_ms()
        try:
            sock = self._connected().sock
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return Reply(
                None,
                trouble=_outcome(error),
                left=False,
                signed_ms=began_ms,
                received_ms=self._clock.now_ms(),
            )
        signed_ms, head = self._head(request)
        sent_ms = self._clock.now_ms()
        late = request.not_after_ms is not None and sent_ms > request.not_after_ms
        refused = "expired" if late else self._check(request)
        if refused is not None or head is None:
            why = refused or "key_unusable"
            return Reply(None, trouble=why, left=False, signed_ms=signed_ms, received_ms=sent_ms)
        status: int | None = None
        date_ms: int | None = None
        body, trouble = b"", ""
        try:
            sock.settimeout(READ_TIMEOUT_S)
            sock.sendall(head + request.body)
            status, body, date_ms = self._answer(request, sent_ms)
        except TimeoutError:
            trouble = "timeout"
        except (OSError, http.client.HTTPException, ValueError) as error:
            trouble = _outcome(error) if isinstance(error, OSError) else "bad_reply"
        if trouble:
            status, body = None, b""
            self.close()
        if status == 401:
            self._keys.refused()
        return Reply(status, body, trouble, True, signed_ms, self._clock.now_ms(), date_ms)

    def _head(self, request: Request) -> tuple[int, bytes | None]:
        """Return when a request was signed, by our clock, and its head.

        None if the key cannot be used: never unsigned instead.
        """
        now_ms = self._clock.now_ms()
        try:
            key = self._keys.current()
        except StartupError:
            return now_ms, None
        path = self._path + request.path
        query = "?" + urlencode(request.query, safe=",") if request.query else ""
        signed: dict[str, str] = {}
        if key is not None:
            signature = self._signature(key, request.method, request.path)
            now_ms, signed = signature.at_ms, signature.headers
        lines = [f"{request.method} {path}{query} HTTP/1.1\r\n", self._fixed]
        lines += [f"{name}: {value}\r\n" for name, value in signed.items()]
        if request.body:
            lines.append("Content-Type: application/json\r\n")
        if request.body or request.method == "POST":
            lines.append(f"Content-Length: {len(request.body)}\r\n")
        lines.append("\r\n")
        return now_ms, "".join(lines).encode("ascii")

    def _signature(self, key: ApiKey, method: str, path: str) -> _Signature:
        """Return the signature made ahead, if it is for this key and request and as good as a new one."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.key is key and ahead.what == (method, path):
            age_ms = self._clock.now_ms() + self._ahead_ms() - ahead.signed_ms
            if 0 <= age_ms <= AHEAD_MS:
                return ahead
        return self._made_by(key, method, path)

    def _made_by(self, key: ApiKey, method: str, path: str) -> _Signature:
        at_ms = self._clock.now_ms()
        signed_ms = at_ms + self._ahead_ms()
        headers = key.headers(method, self._path + path, signed_ms)
        return _Signature(key, (method, path), at_ms, signed_ms, headers)

    def _answer(self, request: Request, sent_ms: int) -> tuple[int, bytes, int | None]:
        """Return an answer's status and body, and the time that its headers state."""
        assert self._open is not None
        response = Answer(self._open.sock, method=request.method)
        try:
            response.begin()
            parts: list[bytes] = []
            size = 0
            while part := response.read(_PIECE):
                parts.append(part)
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise http.client.HTTPException(f"more than {MAX_BODY_BYTES} bytes")
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            headers = dict(response.getheaders())
            self.clock_offset_s = faults.clock_offset_s(headers, sent_ms, self._clock.now_ms())
            stated_s = faults.stated_s(headers)
            return response.status, b"".join(parts), None if stated_s is None else stated_s * 1000
        finally:
            ends = response.will_close
            response.close()
            if ends:
                self.close()

    def _connected(self) -> http.client.HTTPConnection:
        if self._open is not None and self._open.sock is not None and _alive(self._open.sock):
            return self._open
        self.close()
        self._open = self._made()
        self._open.connect()  # which sets TCP_NODELAY
        return self._open

    def _made(self) -> http.client.HTTPConnection:
        if not self._secure:  # our own machine: no proxy
            return Plain(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        context = ssl.create_default_context(cafile=certifi.where())
        proxy = "" if proxy_bypass(self._host) else getproxies().get("https", "")
        if not proxy:
            return Secure(self._host, self._port, timeout=CONNECT_TIMEOUT_S, context=context)
        by = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        opened = Secure(by.hostname or "", by.port or 3128, timeout=CONNECT_TIMEOUT_S, context=context)
        headers = {}
        if by.username:
            login = f"{unquote(by.username)}:{unquote(by.password or '')}".encode()
            headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        opened.set_tunnel(self._host, self._port, headers)
        return opened


def _alive(sock: socket.socket) -> bool:
    """Tell whether the other side has neither closed the connection nor sent anything unasked."""
    sock.settimeout(0)
    try:
        sock.recv(1)  # going through TLS, it takes in what a server sends after the handshake
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


def _outcome(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return faults.connection_outcome(error)
