"""The request that turns a connection into a WebSocket, and its answer. Pure."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from bus.process.http_headers import names_this_machine

PATH: Final = "/trade-api/ws/v2"
VERSION: Final = "13"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Headers = list[tuple[str, str]]


class Refused(Exception):
    """The request does not lead to a WebSocket.

    Attributes:
        status, code: those of the answer. headers: in addition to the usual ones.
    """

    def __init__(self, status: int, code: str, message: str, *headers: tuple[str, str]) -> None:
        self.status = status
        self.code = code
        self.headers = headers
        super().__init__(message)


def accept(method: str, version: str, headers: Mapping[str, str]) -> Headers:
    """Return the headers of a 101.

    Signatures are not checked. Names in `headers` are lower case.

    Raises:
        Refused: it asks for something else, or a page of another site asks.
    """
    if method != "GET":
        raise Refused(
            405, "method_not_allowed", f"method: got {method!r:.20}, expected GET", ("allow", "GET")
        )
    if version != "1.1" or "websocket" not in _words(headers.get("upgrade", "")):
        text = "a WebSocket: expected HTTP/1.1 with Upgrade: websocket"
        raise Refused(426, "upgrade_required", text, ("upgrade", "websocket"))
    origin = headers.get("origin")
    if origin is not None and not names_this_machine(_host_of(origin), version):
        # A browser lets pages of all sites open WebSockets; only the server can say no.
        raise Refused(403, "bad_origin", f"Origin: got {origin!r:.100}, expected none or this machine")
    asked = headers.get("sec-websocket-version", "")
    if asked != VERSION:
        text = f"Sec-WebSocket-Version: got {asked!r:.20}, expected {VERSION}"
        raise Refused(
            426, "upgrade_required", text, ("upgrade", "websocket"), ("sec-websocket-version", VERSION)
        )
    key = headers.get("sec-websocket-key", "")
    if "upgrade" not in _words(headers.get("connection", "")) or not _is_key(key):
        text = "a WebSocket: expected Connection: Upgrade and Sec-WebSocket-Key, 16 bytes in base64"
        raise Refused(400, "bad_request", text)
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    proof = base64.b64encode(digest).decode()
    return [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", proof)]


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return origin


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
