"""Access to the pages from other machines, for those who know the token: an ASGI application around another.

Without a token file it is not there at all, and servers listen on loopback only. With one, every request
except GET /ready must carry the token (``Authorization: Bearer``) or a cookie that /login gave for it. To the
application inside, what passes looks as if it came from this machine, so its own checks of Host and Origin
stay as they are.
"""

import hashlib
import hmac
import html
import ipaddress
import json
import os
import re
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import structlog

from bus.clock import Clock
from markets.errors import StartupError

from .connections import AsgiApp, Scope
from .http_headers import joined, names_this_machine
from .locks import open_private_file
from .programs import to_type
from .settings import Settings, variable_of
from .tls import RELAYED

log = structlog.get_logger()

COOKIE: Final = "kalshi_bus_session"
SESSION_MS: Final = 7 * 24 * 3_600_000
TOKEN_LEAST: Final = 32
"""The least characters of a token: with 16 values each it cannot be guessed."""

TOKEN_MOST: Final = 512
BODY_MOST: Final = 4_096

REQUESTS_A_S: Final = 100.0
REQUESTS_AT_ONCE: Final = 1_000.0
"""Requests of one address. A page makes some ten requests at once, a hundred tabs a thousand."""

WRONG_A_S: Final = 0.1
WRONG_AT_ONCE: Final = 10.0
"""Wrong tokens from one address. The right one is let in whatever else came from there."""

ADDRESSES_MOST: Final = 10_000
OPEN: Final = frozenset({"/ready"})
"""What a health check asks for: it reveals only whether we are ready."""

_TOKEN: Final = re.compile(r"[!-~]+", re.ASCII)

Header = tuple[bytes, bytes]
_WAIT: Final[Header] = b"retry-after", b"10"

_SAFE: Final[list[Header]] = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>kalshi-bus: log in</title></head><body><main><h1>kalshi-bus</h1>{said}
<form method="post" action="/login"><p><label>Token <input type="password" name="token" required autofocus
autocomplete="current-password"></label> <button>Log in</button></p></form></main></body></html>
"""


def read_token(settings: Settings) -> str | None:
    """Return the token that requests must carry, None if there is none.

    Raises:
        StartupError: its file is missing, open to others, or has no token in it.
    """
    path = settings.token_file
    if path is None:
        return None
    fd = open_private_file(path, variable_of("token_file"))
    with os.fdopen(fd, "rb") as file:
        text = file.read(TOKEN_MOST + 2).decode("latin-1").strip()
    if not TOKEN_LEAST <= len(text) <= TOKEN_MOST or not _TOKEN.fullmatch(text):
        raise StartupError(
            f"{path}: no token in it, expected one line of {TOKEN_LEAST} to {TOKEN_MOST} characters without "
            f"spaces: `{to_type('token')} FILE` makes one"
        )
    return text


def make_token(path: Path, text: str) -> None:
    """Write a token's file, mode 0600.

    Raises:
        StartupError: the file exists, or cannot be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from None


class Buckets:
    """Token buckets by address: a burst, and then a rate per second."""

    def __init__(self, rate_s: float, at_once: float) -> None:
        self._rate_s = rate_s
        self._at_once = at_once
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, address: str, now_s: float) -> bool:
        """Take a token from an address's bucket; return whether there was one."""
        level, since_s = self._levels.pop(address, (self._at_once, now_s))
        level = min(self._at_once, level + (now_s - since_s) * self._rate_s)
        taken = level >= 1
        self._levels[address] = (level - 1 if taken else level, now_s)
        if len(self._levels) > ADDRESSES_MOST:
            del self._levels[next(iter(self._levels))]  # the one not seen for longest
        return taken


class Access:
    """Lets in those who know the token, and gives browsers a cookie for it.

    Args:
        port: that of the server, by which it is known on this machine.
        hosts: names and addresses by which browsers reach it, in addition to those of loopback.
        proxies: addresses of reverse proxies, which are believed about where a request comes from.
    """

    def __init__(
        self,
        app: AsgiApp,
        token: str,
        port: int,
        hosts: Iterable[str],
        proxies: Iterable[str],
        clock: Clock,
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._port = port
        self._hosts = frozenset(host.lower() for host in hosts)
        self._proxies = frozenset(proxies)
        self._clock = clock
        self._guests = Buckets(REQUESTS_A_S, REQUESTS_AT_ONCE)
        self._strangers = Buckets(REQUESTS_A_S, REQUESTS_AT_ONCE)
        self._wrong = Buckets(WRONG_A_S, WRONG_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request, or have it answered inside."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = joined(scope["headers"])
        reply = _Reply(scope["type"], send)
        host = headers.get("host", "")
        address = self._address(scope, headers)
        now_s = self._clock.monotonic_ns() / 1e9
        may = self._may(headers)
        # Whoever knows the token shares an address, such as that of a proxy, with others, but no bucket.
        if not (self._guests if may else self._strangers).take(address, now_s):
            await reply.say(429, "too_many", "too many requests from your address", [(b"retry-after", b"1")])
        elif not self._known(host, scope.get("http_version", "1.1")):
            said = f"{variable_of('hosts')} has the names by which this server may be reached"
            await reply.say(400, "bad_host", f"Host: a name that is not expected here; {said}")
        elif _is_foreign(headers, host):
            await reply.say(403, "cross_site", "Origin: a page of another site, which may not use this one")
        elif scope["path"] in OPEN and scope["type"] == "http":
            await self._app(self._inside(scope, host), receive, send)
        elif scope["path"] == "/login" and scope["type"] == "http":
            await self._login(scope, headers, address, now_s, receive, reply)
        elif scope["path"] == "/logout" and scope.get("method") == "POST":
            await reply.go("/login", [_cookie("", 0)])
        elif may:
            await self._app(self._inside(scope, host), receive, self._outside(host, send))
        elif _bearer(headers) and not self._may_guess(address, now_s):
            await reply.say(429, "too_many", "too many wrong tokens from your address", [_WAIT])
        elif scope.get("method") == "GET" and "text/html" in headers.get("accept", ""):
            await reply.go("/login")
        else:
            said = "no token: expected a header Authorization with Bearer and it, or the cookie of /login"
            await reply.say(401, "no_token", said, [(b"www-authenticate", b"Bearer")])

    def _address(self, scope: Scope, headers: dict[str, str]) -> str:
        client = scope.get("client")
        address = str(scope.get(RELAYED) or (client[0] if client else ""))
        if address in self._proxies and "x-forwarded-for" in headers:
            return headers["x-forwarded-for"].rpartition(",")[2].strip()[:45]
        return address

    def _known(self, host: str, version: str) -> bool:
        return names_this_machine(host, version) or _name(host) in self._hosts

    def _may(self, headers: dict[str, str]) -> bool:
        return self._right(_bearer(headers)) or self._session(headers.get("cookie", ""))

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def _may_guess(self, address: str, now_s: float) -> bool:
        """Count a wrong token; return whether there were not too many from there."""
        may = self._wrong.take(address, now_s)
        if may:  # the others would fill the log
            log.warning("access.wrong_token", address=address)
        return may

    def _session(self, cookies: str) -> bool:
        try:
            found = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        until, _, signature = (found.value if found else "").partition(".")
        if not re.fullmatch("[0-9]{1,16}", until, re.ASCII) or int(until) < self._clock.now_ms():
            return False
        return hmac.compare_digest(signature.encode("latin-1", "replace"), self._sign(until).encode())

    def _sign(self, until: str) -> str:
        return hmac.new(self._token, f"kalshi-bus session until {until}".encode(), hashlib.sha256).hexdigest()

    async def _login(
        self,
        scope: Scope,
        headers: dict[str, str],
        address: str,
        now_s: float,
        receive: Any,
        reply: "_Reply",
    ) -> None:
        if scope["method"] in ("GET", "HEAD"):
            await reply.page(200, "")
            return
        if scope["method"] != "POST":
            await reply.say(405, "method_not_allowed", "expected GET or POST", [(b"allow", b"GET, POST")])
            return
        body = await _body(receive)
        if body is None:
            await reply.say(413, "too_large", f"expected a token, at most {BODY_MOST} bytes")
            return
        given = parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()
        if not self._right(given):
            if self._may_guess(address, now_s):
                await reply.page(403, "That is not the token.")
            else:
                await reply.page(
                    429, "That is not the token, as too often before: wait ten seconds.", [_WAIT]
                )
            return
        until = str(self._clock.now_ms() + SESSION_MS)
        secure = "https" in (headers.get("x-forwarded-proto"), scope.get("scheme"))
        log.info("access.login", address=address)
        value = f"{until}.{self._sign(until)}"
        await reply.go("/", [_cookie(value, SESSION_MS // 1_000, secure=secure)])

    def _inside(self, scope: Scope, host: str) -> Scope:
        """Return a request as the application inside is to see it: from this machine."""
        ours = f"127.0.0.1:{self._port}".encode()
        changed = {b"host": ours, b"origin": b"http://" + ours}
        headers = [
            (name, changed.get(name.lower(), value))
            for name, value in scope["headers"]
            if name.lower() not in (b"authorization", b"cookie")  # of no use to the application inside
        ]
        return {**scope, "headers": headers}

    def _outside(self, host: str, send: Any) -> Any:
        """Return a `send` that names other servers of this machine as the client knows them."""
        inside, outside = b"http://127.0.0.1:", f"http://{_name(host) or '127.0.0.1'}:".encode()

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, value.replace(inside, outside, 1) if name.lower() == b"location" else value)
                    for name, value in message.get("headers", ())
                ]
                message = {**message, "headers": headers}
            await send(message)

        return sending


class _Reply:
    """Answers a request here, or refuses a WebSocket."""

    def __init__(self, kind: str, send: Any) -> None:
        self._kind = kind
        self._send = send

    async def _answer(self, status: int, kind: bytes, body: bytes, more: Iterable[Header]) -> None:
        if self._kind == "websocket":
            await self._send({"type": "websocket.close", "code": 1008})
            return
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *_SAFE, *more]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def say(self, status: int, code: str, message: str, more: Iterable[Header] = ()) -> None:
        body = json.dumps({"error": {"code": code, "message": message}}).encode()
        await self._answer(status, b"application/json", body, more)

    async def page(self, status: int, said: str, more: Iterable[Header] = ()) -> None:
        body = _PAGE.format(said=f"<p>{html.escape(said)}</p>" if said else "").encode()
        await self._answer(status, b"text/html; charset=utf-8", body, more)

    async def go(self, place: str, more: Iterable[Header] = ()) -> None:
        await self._answer(303, b"text/plain", b"", [(b"location", place.encode()), *more])


def _bearer(headers: dict[str, str]) -> str:
    """Return the token that a request carries, or claims to; empty if there is none."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    return re.sub(r":[0-9]{1,5}$", "", host.lower())


def _is_foreign(headers: dict[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        return True
    origin = headers.get("origin")
    return origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}")


def _cookie(value: str, seconds: int, *, secure: bool = False) -> Header:
    text = f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}"
    return b"set-cookie", (text + ("; Secure" if secure else "")).encode()


async def _body(receive: Any) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        body += bytes(message.get("body", b""))
        if len(body) > BODY_MOST:
            return None
        if not message.get("more_body"):
            return body


def guarded(app: AsgiApp, port: int, settings: Settings, clock: Clock) -> AsgiApp:
    """Return the application, guarded as these settings demand.

    Raises:
        StartupError: as `read_token`.
    """
    token = read_token(settings)
    if token is None:
        return app
    hosts = (*settings.hosts, *(() if settings.bind == "0.0.0.0" else (settings.bind,)))  # noqa: S104
    return Access(app, token, port, hosts, settings.proxies, clock)


def local(settings: Settings) -> tuple[str, dict[str, str]]:
    """Return where a program on this machine reaches our servers, and with which headers.

    Raises:
        StartupError: as `read_token`.
    """
    token = read_token(settings)
    return local_host(settings), {} if token is None else {"Authorization": f"Bearer {token}"}


def local_host(settings: Settings) -> str:
    """Return the address by which a program on this machine reaches our servers."""
    return "127.0.0.1" if ipaddress.ip_address(settings.bind).is_unspecified else settings.bind
