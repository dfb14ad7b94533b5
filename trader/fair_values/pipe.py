"""What a source's process says to the trader through a pipe: a length of four bytes, then msgpack. Pure."""

from collections.abc import Iterator
from typing import Final

import msgspec

from markets.errors import DecodeError

MAX_FRAME: Final = 32 * 1_048_576
MAX_VALUES: Final = 200_000
MAX_TEXT: Final = 4_000
_LENGTH: Final = 4


class SourceMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all of these."""


class SourceHello(SourceMessage, frozen=True):
    """It was loaded, and calls itself this; it is to be asked every so many seconds."""

    name: str
    every_s: float


class SourceRefused(SourceMessage, frozen=True):
    """It cannot be loaded: said once, then the process ends."""

    problem: str


class SourceWaits(SourceMessage, frozen=True):
    """It cannot be asked: there is no live data."""


class SourceAnswer(SourceMessage, frozen=True):
    """All that it believes: (ticker, probability, margin, as_of_ms).

    `refused` counts the rows that were none, `errors` says why the first of them.
    """

    values: tuple[tuple[str, float, float, int], ...]
    refused: int
    errors: tuple[str, ...]


class SourceFailed(SourceMessage, frozen=True):
    """It raised an error when it was asked, or returned nonsense. It is asked again."""

    error: str
    trace: str


AnySourceMessage = SourceHello | SourceRefused | SourceWaits | SourceAnswer | SourceFailed

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AnySourceMessage)


def frame(message: AnySourceMessage) -> bytes:
    """Return a message as it goes through the pipe.

    Raises:
        ValueError: it is too long.
    """
    body = _encode(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"{len(body)} bytes, expected at most {MAX_FRAME}")
    return len(body).to_bytes(_LENGTH) + body


class PipeMessages:
    """Cuts what comes through the pipe into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[AnySourceMessage]:
        """Yield the messages that are whole now.

        Raises:
            DecodeError: that was none.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH:
            length = int.from_bytes(self._buffer[:_LENGTH])
            if length > MAX_FRAME:
                raise DecodeError(f"a source's message: got {length} bytes, expected at most {MAX_FRAME}")
            if len(self._buffer) < _LENGTH + length:
                return
            body = bytes(self._buffer[_LENGTH : _LENGTH + length])
            del self._buffer[: _LENGTH + length]
            try:
                message = _decoder.decode(body)
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise DecodeError(f"a source's message: {error}") from None
            yield message
