"""WebSocket framing, the server's side of RFC 6455, sans-I/O: bytes in, messages out, and vice versa.

No extension is supported: a client that offers compression does not get it.
"""

from typing import Final, NamedTuple

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_CONTINUED: Final = 0x0
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_MAX_CONTROL: Final = 125

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
TOO_BIG: Final = 1009
TRY_LATER: Final = 1013
"""Codes of a close."""


class BadFrame(Exception):
    """What came is not WebSocket, so the connection is closed with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


class Received(NamedTuple):
    """A complete message (TEXT, BINARY), or a control frame."""

    opcode: int
    payload: bytes


class Inbound:
    """Takes a client's bytes as they come, and gives its messages.

    Args:
        max_bytes: the largest message.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting = bytearray()
        self._parts = bytearray()
        self._opcode = 0  # for the message whose first part has come

    @property
    def held(self) -> int:
        """Bytes of what is still incomplete."""
        return len(self._waiting) + len(self._parts)

    def take(self, data: bytes) -> list[Received]:
        """Take bytes; return what they complete.

        Raises:
            BadFrame: what came before it is lost, too.
        """
        waiting = self._waiting
        waiting += data
        found: list[Received] = []
        at = 0
        while (frame := self._frame(at)) is not None:
            first, payload, at = frame
            self._put(first, payload, found)
        del waiting[:at]
        return found

    def _frame(self, at: int) -> tuple[int, bytes, int] | None:
        """Return the first byte of the frame at `at`, its payload, and where the next begins."""
        waiting = self._waiting
        if len(waiting) < at + 2:
            return None
        first, second = waiting[at], waiting[at + 1]
        size, start = second & 0x7F, at + 2
        if first & _RESERVED:
            raise BadFrame(PROTOCOL_ERROR, "reserved bits are set: no extension was agreed on")
        if not second & _MASKED:
            raise BadFrame(PROTOCOL_ERROR, "a client's frame must be masked")
        if first & 0x08 and (size > _MAX_CONTROL or not first & _FINAL):
            raise BadFrame(PROTOCOL_ERROR, "a control frame in parts, or of more than 125 bytes")
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(waiting) < start + width:
                return None
            size = int.from_bytes(waiting[start : start + width])
            start += width
        if size + len(self._parts) > self._max_bytes:
            raise BadFrame(TOO_BIG, f"a message of more than {self._max_bytes} bytes")
        end = start + 4 + size
        if len(waiting) < end:
            return None
        return first, _unmasked(waiting[start + 4 : end], waiting[start : start + 4]), end

    def _put(self, first: int, payload: bytes, found: list[Received]) -> None:
        opcode, final = first & 0x0F, first & _FINAL
        if opcode in (CLOSE, PING, PONG):
            found.append(Received(opcode, payload))
            return
        if opcode not in (_CONTINUED, TEXT, BINARY):
            raise BadFrame(PROTOCOL_ERROR, f"opcode: got {opcode}")
        if (opcode == _CONTINUED) != bool(self._opcode):
            raise BadFrame(PROTOCOL_ERROR, "a message inside another, or the rest of none")
        if final and not self._opcode:
            found.append(Received(opcode, payload))
            return
        self._opcode = self._opcode or opcode
        self._parts += payload
        if final:
            found.append(Received(self._opcode, bytes(self._parts)))
            self._parts = bytearray()
            self._opcode = 0


def framed(opcode: int, payload: bytes) -> bytes:
    """Return a server's frame."""
    return header(opcode, len(payload)) + payload


def header(opcode: int, size: int) -> bytes:
    """Return the header of a server's frame of `size` bytes."""
    if size < 126:
        return bytes((_FINAL | opcode, size))
    if size < 65_536:
        return bytes((_FINAL | opcode, 126, size >> 8, size & 0xFF))
    return bytes((_FINAL | opcode, 127)) + size.to_bytes(8)


def closing(code: int, reason: str = "") -> bytes:
    """Return the frame that closes a connection."""
    return framed(CLOSE, code.to_bytes(2) + reason.encode()[: _MAX_CONTROL - 2])


def close_answer(payload: bytes) -> bytes:
    """Return the answer to a client's close: its own code, if it may use that one."""
    code = int.from_bytes(payload[:2]) if len(payload) >= 2 else NORMAL
    known = code in (1000, 1001, 1002, 1003, *range(1007, 1015)) or 3000 <= code < 5000
    return closing(code if known else PROTOCOL_ERROR)


def _unmasked(payload: bytes | bytearray, mask: bytes | bytearray) -> bytes:
    size = len(payload)
    key = bytes(mask) * (size // 4 + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(key[:size])).to_bytes(size)
