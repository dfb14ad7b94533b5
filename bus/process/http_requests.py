"""Reads HTTP/1.1 requests and writes answers: bytes in, bytes out.

Strict (RFC 9112): what two readers might interpret differently is refused. A body is noted and never read, so
a client that sends one is answered and closed; nothing in it can be taken for another request.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

MAX_HEAD_BYTES: Final = 65_536

_END: Final = b"\r\n\r\n"
_TLS: Final = b"\x16\x03"
"""What a client of https:// begins with."""

_REQUEST: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")
_REMEMBERED: Final = 1_024
_SHORT: Final = 2_048
"""Heads up to this many bytes are cached: clients send the same ones again and again."""

Headers = tuple[tuple[bytes, bytes], ...]


class BadRequest(ValueError):
    """What came is not an HTTP/1 request, or too long. `status` is that of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head(msgspec.Struct, frozen=True):
    """The head of a request.

    Attributes:
        path: decoded. query: as sent.
        version: "1.1" or "1.0". headers: by lower-case name.
        keeps: whether the connection stays open for further requests. body: whether one follows.
        upgrade: whether another protocol is asked for.
    """

    method: str
    path: str
    query: bytes
    version: str
    headers: Headers
    keeps: bool
    body: bool
    upgrade: bool

    @property
    def plain(self) -> bool:
        """Whether the same bytes, given the same answer, are the same request."""
        return self.version == "1.1" and self.keeps and not self.body and not self.upgrade


def next_head(waiting: bytes) -> tuple[bytes, bytes] | None:
    """Return the bytes of the next request's head and those after it; None while it is incomplete.

    Raises:
        BadRequest: it is too long, or no HTTP.
    """
    if waiting.startswith(_TLS):
        raise BadRequest(400, "TLS: this port speaks plain HTTP; docs/remote.md says how to have both")
    if waiting.startswith(b"\r\n"):  # some clients end a body this way
        waiting = waiting.lstrip(b"\r\n")
    end = waiting.find(_END)
    if (end if end >= 0 else len(waiting)) > MAX_HEAD_BYTES:
        raise BadRequest(431, f"request: got a head of more than {MAX_HEAD_BYTES} bytes")
    if end < 0:
        return None
    end += len(_END)
    return waiting[:end], waiting[end:]


def read_head(head: bytes) -> Head:
    """Parse the bytes of a head.

    Raises:
        BadRequest: they are not one.
    """
    return _remembered(head) if len(head) <= _SHORT else _read(head)


def write_head(status: int, headers: Iterable[tuple[bytes, bytes]], *more: tuple[bytes, bytes]) -> bytes:
    """Return the bytes of an answer's head."""
    lines = [b"%b: %b\r\n" % field for field in (*headers, *more)]
    return b"%b%b\r\n" % (_status_line(status), b"".join(lines))


# --- inside --------------------------------------------------------------------------------------


def _read(head: bytes) -> Head:
    first, *lines = head[: -len(_END)].split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None:
        raise BadRequest(400, f"request line: got {first!r:.200}, expected a method, a target and HTTP/1.1")
    headers = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadRequest(400, f"header: got {line!r:.200}, expected a name, a colon and a value")
        headers.append((field[1].lower(), field[2].rstrip(b" \t")))
    target = request[2]
    if not target.startswith((b"/", b"*")):
        # The absolute form, as sent to a proxy.
        try:
            parts = urlsplit(target)
        except ValueError:
            raise BadRequest(400, f"target: got {target!r:.200}, expected a path") from None
        if parts.scheme not in (b"http", b"https"):
            raise BadRequest(400, f"target: got {target!r:.200}, expected a path")
        target = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    path, _, query = target.partition(b"?")
    version = "1.1" if request[3] == b"1" else "1.0"
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        named.setdefault(name, []).append(value)
    wishes = {word.strip() for value in named.get(b"connection", ()) for word in value.lower().split(b",")}
    body = b"transfer-encoding" in named or any(value != b"0" for value in named.get(b"content-length", ()))
    return Head(
        request[1].decode(),
        unquote_to_bytes(path).decode("utf-8", "replace"),
        query,
        version,
        tuple(headers),
        keeps=b"close" not in wishes and (version == "1.1" or b"keep-alive" in wishes) and not body,
        body=body,
        upgrade=b"upgrade" in named,
    )


_remembered: Final = lru_cache(maxsize=_REMEMBERED)(_read)


@lru_cache(maxsize=100)
def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()
