"""Answers and event streams, compressed for clients that take gzip. They hold no secrets to protect."""

import gzip
import zlib
from typing import Final

from werkzeug.wrappers import Response

LEAST_BYTES: Final = 1_000
LEVEL: Final = 4
"""Beyond this level a page gets a tenth smaller for twice the time."""

_WINDOW_BITS: Final = 16 + 13
"""A window of 8 kB, in gzip's format, holds a status or two; a larger one would cost memory per stream."""

_TYPES: Final = frozenset(
    {"text/html", "text/css", "text/javascript", "text/csv", "application/json", "image/svg+xml"}
)


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that sends this header takes gzip."""
    for offer in accept_encoding.lower().split(","):
        name, _, weight = offer.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def squeezed(response: Response, accept_encoding: str) -> Response:
    """Return an answer compressed, if that is worth it and the client takes it."""
    body = response.get_data()
    if response.mimetype not in _TYPES or len(body) < LEAST_BYTES or response.content_encoding:
        return response
    response.headers.add("Vary", "Accept-Encoding")
    if takes_gzip(accept_encoding):
        response.set_data(gzip.compress(body, LEVEL, mtime=0))
        response.content_encoding = "gzip"
    return response


class SqueezedStream:
    """Compresses a stream in parts, each of which can be read as soon as it arrives."""

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOW_BITS, 5)

    def part(self, data: bytes) -> bytes:
        """Return the next part."""
        return self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
