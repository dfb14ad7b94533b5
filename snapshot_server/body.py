"""The body of `/markets`, and its encodings.

Everything but the age depends on edition and query alone, so it is made once for each and kept. The age comes
last in the JSON object: it is appended to the kept bytes, compressed or not, when an answer is sent.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec
import zstandard

from .edition import Edition, Page, Query, select
from .parameters import make_cursor
from .shared import Pause

IDENTITY: Final = "identity"
ENCODINGS: Final = ("zstd", "gzip")
"""The encodings we use, better ones first; tuned for speed rather than size, since bodies are made often."""

_JOIN: Final = 60
"""Markets joined between two pauses: about 128 kB."""

PIECE: Final = 262_144
"""Least size of every chunk but the last: each costs a round trip to the server; slow readers hold some."""

_GZIP_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_ZSTD_LAST_RAW: Final = 1
_MAX_ZSTD_BLOCK: Final = 131_072

_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Prepared(msgspec.Struct, frozen=True):
    """A body without its end: `chunks` already encoded; `crc32` and `size` of what they decode to."""

    encoding: str
    chunks: tuple[bytes, ...]
    crc32: int
    size: int

    @property
    def length(self) -> int:
        """Its size in bytes."""
        return sum(map(len, self.chunks))

    def finish(self, end: bytes) -> list[bytes]:
        """Return the whole body: the chunks followed by `end`, which is not yet encoded."""
        if self.encoding == "gzip":
            crc32 = zlib.crc32(end, self.crc32)
            size = (self.size + len(end)) & 0xFFFF_FFFF
            length = len(end)
            stored = b"\x01" + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little")
            end = stored + end + crc32.to_bytes(4, "little") + size.to_bytes(4, "little")
        elif self.encoding == "zstd":
            assert len(end) <= _MAX_ZSTD_BLOCK
            end = (len(end) << 3 | _ZSTD_LAST_RAW).to_bytes(3, "little") + end
        return [*self.chunks[:-1], self.chunks[-1] + end]


def prepare(edition: Edition, query: Query, encoding: str, pause: Pause) -> Prepared:
    """Return the body of `/markets` up to the age, in an encoding."""
    return compress(_render(edition, select(edition, query), query.fields, pause), encoding, pause)


def ending(age_ms: int | None, stale: bool) -> bytes:
    """Return the end of the body of `/markets`."""
    return b',"age_seconds":%b,"stale":%b}' % (seconds(age_ms), b"true" if stale else b"false")


def etag_of(epoch: int, seq: int, changed_ms: int, stale: bool) -> str:
    """Return the ETag of an answer of `/markets`."""
    return f'W/"{epoch:x}-{seq:x}-{changed_ms:x}-{int(stale)}"'


def age_since(as_of_ms: int, now_ms: int) -> str:
    """Return the header `age`: rounded up, so that the data never seems younger than it is."""
    return str(max(0, -((as_of_ms - now_ms) // 1000)))


def seconds(ms: int | None) -> bytes:
    """Return milliseconds as a JSON number of seconds, exactly, or null."""
    if ms is None:
        return b"null"
    return b"%b%d.%03d" % (b"-" if ms < 0 else b"", *divmod(abs(ms), 1000))


def compress(chunks: Iterable[bytes], encoding: str, pause: Pause) -> Prepared:
    """Return `chunks` as a body without its end."""
    if encoding == IDENTITY:
        plain = _pieces(chunks)
        return Prepared(encoding, plain, 0, sum(map(len, plain)))
    compressor = _compressor(encoding)
    out = [_GZIP_HEAD] if encoding == "gzip" else []
    crc32 = size = 0
    for chunk in chunks:
        if encoding == "gzip":
            crc32 = zlib.crc32(chunk, crc32)
        size += len(chunk)
        out.append(compressor.compress(chunk))
        pause()
    # Both end on a byte boundary, with a block that is not final, so that another may follow.
    flush = zlib.Z_SYNC_FLUSH if encoding == "gzip" else zstandard.COMPRESSOBJ_FLUSH_BLOCK
    out.append(compressor.flush(flush))
    return Prepared(encoding, _pieces(out), crc32, size)


def wanted_encoding(accept_encoding: str | None) -> str:
    """Return the encoding to answer in: the best of ours that `Accept-Encoding` allows, else identity."""
    if not accept_encoding:
        return IDENTITY
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        key, _, value = parameters.strip().partition("=")
        try:
            weights[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    best = max(ENCODINGS, key=lambda name: weights.get(name, weights.get("*", 0.0)))
    weight = weights.get(best, weights.get("*", 0.0))
    return best if weight > 0 and weight >= weights.get(IDENTITY, 0.0) else IDENTITY


# --- inside --------------------------------------------------------------------------------------


def _pieces(chunks: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the same bytes in pieces of at least PIECE, except for the last."""
    pieces: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= PIECE:
            pieces.append(b"".join(waiting))
            waiting, size = [], 0
    return (*pieces, b"".join(waiting))


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self, mode: int, /) -> bytes: ...


def _compressor(encoding: str) -> _Compressor:
    if encoding == "gzip":
        return zlib.compressobj(1, zlib.DEFLATED, -15)
    return zstandard.ZstdCompressor(level=1).compressobj()


def _render(edition: Edition, page: Page, fields: Sequence[str] | None, pause: Pause) -> Iterable[bytes]:
    cycle = edition.cycle
    complete = b"true" if cycle is not None and cycle.complete else b"false"
    yield (
        b'{"generated_at":%b,"complete":%b,"epoch":%d,"seq":%d,"markets":{"total_count":%d,"enriched_count":%d'
        b',"cursor":%b,"markets":['
        % (
            seconds(edition.complete_ms),
            complete,
            edition.epoch,
            edition.seq,
            page.total,
            page.enriched,
            _encode(make_cursor(page.last) if page.last is not None else ""),
        )
    )
    tickers = page.tickers
    step = _JOIN if fields is None else _JOIN // 6
    for start in range(0, len(tickers), step):
        parts: list[bytes] = []
        for ticker in tickers[start : start + step]:
            parts.append(b",")
            if fields is None:
                parts.append(edition.market(ticker))
            else:
                parts.append(_chosen(edition.market(ticker), fields))
        if not start:
            del parts[0]
        yield b"".join(parts)
        pause()
    if page.tickers is edition.tickers:
        timings = list(edition.match_times.values())
    else:
        markets, match_times = edition.state.markets, edition.match_times
        events = dict.fromkeys(markets[ticker].event_ticker for ticker in tickers)
        timings = [match_times[event] for event in events if event in match_times]
    yield b'],"match_times":{' + b",".join(timings) + b"}}"


def _chosen(market: bytes, fields: Sequence[str]) -> bytes:
    members = _members.decode(market)
    return _encode({name: members[name] for name in ("ticker", *fields) if name in members})
