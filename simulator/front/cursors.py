"""Cursors as Kalshi writes them: base64url of a protobuf {1: {1: seconds, 2: nanos}, 2: key}, unpadded.

Seen in recorded pages of June 2026. To a client a cursor is opaque; one that cannot be read means the
first page (contract 8).
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(time_ms: int, key: str) -> str:
    """Return the cursor placed after the element with this time and key."""
    stamp = b"\x08" + _varint(time_ms // 1000)
    if nanos := time_ms % 1000 * 1_000_000:
        stamp += b"\x10" + _varint(nanos)
    raw = key.encode()
    return (
        urlsafe_b64encode(b"\x0a" + _varint(len(stamp)) + stamp + b"\x12" + _varint(len(raw)) + raw)
        .rstrip(b"=")
        .decode()
    )


def _fields(data: bytes) -> dict[int, int | bytes]:
    out: dict[int, int | bytes] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            out[tag >> 3] = varint()
        elif tag & 7 == 2:
            length = varint()
            if at + length > len(data):
                raise ValueError("short")
            out[tag >> 3] = data[at : at + length]
            at += length
        else:
            raise ValueError("wire type")
    return out


def decode(cursor: str) -> tuple[int, str] | None:
    """Return (time_ms, key) of a cursor, None if it is not one of ours."""
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        fields = _fields(data)
        stamp, key = fields[1], fields[2]
        if not isinstance(stamp, bytes) or not isinstance(key, bytes):
            return None
        times = _fields(stamp)
        seconds, nanos = times.get(1, 0), times.get(2, 0)
        if not isinstance(seconds, int) or not isinstance(nanos, int) or seconds > 2**40:
            return None
        return seconds * 1000 + nanos // 1_000_000, key.decode()
    except (ValueError, KeyError, IndexError):
        return None
