"""Messages from a source's process to the trader through a pipe: four bytes of length, then msgpack. Pure."""

from collections.abc import Iterator
from typing import Final

import msgspec

from markets.errors import DecodeError
from markets.texts import carried

MAX_FRAME: Final = 32 * 1_048_576
MAX_VALUES: Final = 200_000
MAX_TEXT: Final = 4_000
_LENGTH: Final = 4


class SourceMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all of these."""


class SourceHello(SourceMessage, frozen=True):
    """The source was loaded: its name, and every how many seconds it will be asked."""

    name: str
    every_s: float


class SourceRefused(SourceMessage, frozen=True):
    """The source cannot be loaded: sent once, then the process ends."""

    problem: str


class SourceWaits(SourceMessage, frozen=True):
    """The source cannot be asked, because there is no live data."""


class SourceAnswer(SourceMessage, frozen=True):
    """Everything that the source believes: (ticker, probability, margin, as_of_ms).

    `refused` counts the bad rows, `errors` explains the first of them.
    """

    values: tuple[tuple[str, float, float, int], ...]
    refused: int
    errors: tuple[str, ...]


class SourceFailed(SourceMessage, frozen=True):
    """The source raised an error when asked, or returned nonsense. It will be asked again."""

    error: str
    trace: str


AnySourceMessage = SourceHello | SourceRefused | SourceWaits | SourceAnswer | SourceFailed

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AnySourceMessage)


def frame(message: AnySourceMessage) -> bytes:
    """Return a message in the form for the pipe.

    Raises:
        ValueError: it is too long.
    """
    body = _encode(carried(message))
    if len(body) > MAX_FRAME:
        raise ValueError(f"{len(body)} bytes, expected at most {MAX_FRAME}")
    return len(body).to_bytes(_LENGTH) + body


class PipeMessages:
    """Splits what comes through the pipe into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[AnySourceMessage]:
        """Yield the messages that are complete now.

        Raises:
            DecodeError: one is not a message.
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
