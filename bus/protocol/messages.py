"""The messages of the bus: one frame each, pure encoding and decoding. docs/protocol.md is the specification.

The data plane (records) is msgspec typed arrays; the control plane (cycle, heartbeat, questions) is msgpack
maps. Whatever the bytes, every decoder here returns a value whose numbers are within their ranges, or raises
DecodeError and nothing else.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgpack
import msgspec
import zstandard
from msgspec import Meta

from markets.errors import BadRecord, DecodeError, KalshiBusError, VersionError
from markets.records import (
    Book,
    BookDelta,
    Candles,
    Drift,
    Event,
    ExchangeStatus,
    FairValue,
    Market,
    Milestone,
    Quote,
    Record,
    Remove,
    Series,
    Suspect,
    TimeMs,
    Trade,
    TraderEvent,
)
from markets.units import MAX_TIME_MS

T = TypeVar("T")

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 250_000
"""The largest feed message: a larger one would hold up the small ones behind it."""

MAX_TOGETHER_BYTES: Final = 32_000
"""The largest message of several records: what waits for a slow subscriber is counted in messages."""

MAX_RECORDS: Final = 64
"""Most records in one message."""

MAX_CHUNK: Final = 16 * 1_048_576
"""Most bytes of a snapshot's chunk, unpacked; ours have about 200,000."""

MAX_PARTS: Final = 1_000
"""Most parts of a heartbeat."""

MAX_TOPIC: Final = 300
TOPIC_MD: Final = "md."
TOPIC_REF: Final = "ref."
TOPIC_EX: Final = "ex."
TOPIC_CYCLE: Final = "cycle."
TOPIC_HEARTBEAT: Final = "hb."
CONTROL_TOPICS: Final = (TOPIC_CYCLE, TOPIC_HEARTBEAT)

RECORD_TYPES: Final[dict[str, type[Record]]] = {
    "market": Market,
    "quote": Quote,
    "book": Book,
    "book_delta": BookDelta,
    "suspect": Suspect,
    "trade": Trade,
    "series": Series,
    "event": Event,
    "milestone": Milestone,
    "exchange": ExchangeStatus,
    "fair_value": FairValue,
    "candles": Candles,
    "drift": Drift,
    "remove": Remove,
    "trader": TraderEvent,
}
"""Every kind of record."""

FIELD_COUNTS: Final = {kind: len(type_.__struct_fields__) for kind, type_ in RECORD_TYPES.items()}
"""How many fields of each kind this build knows; a peer that sends more is newer."""

Epoch = Annotated[int, Meta(ge=1, le=MAX_TIME_MS)]
Seq = Annotated[int, Meta(ge=0, le=2**53)]
TimeNs = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Digest = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class Header(msgspec.Struct, array_like=True, gc=False):
    """The header of every feed message, after its topic.

    Attributes:
        version: major version of the protocol.
        epoch: one life of the publisher's state, named by the ms since 1970 at its opening.
        seq: number in the epoch, over all topics; a heartbeat repeats the last one.
        prev: number of the previous message on this topic, 0 if none.
        kind: key of RECORD_TYPES, or "cycle" or "heartbeat".
        cycle: the commit this message is part of, 0 if streamed.
        published_ns, source_ns: wall clock of the publisher and of the source, ns since 1970.
    """

    version: int
    epoch: Epoch
    seq: Seq
    prev: Seq
    kind: str
    cycle: Count
    published_ns: TimeNs
    source_ns: TimeNs


class Envelope(Header, array_like=True, gc=False):
    """A feed message without its topic: `records` are undecoded, one msgpack array each, or one map."""

    records: list[msgspec.Raw]


class Quotes(msgspec.Struct, array_like=True, gc=False):
    """A feed message of kind `quote` in this version, decoded in one go; fields as in Header."""

    version: Literal[1]
    epoch: Epoch
    seq: Seq
    prev: Seq
    kind: Literal["quote"]
    cycle: Count
    published_ns: TimeNs
    source_ns: TimeNs
    records: list[Quote]


class Outgoing(Header, array_like=True, gc=False):
    """A feed message to encode in one go: records, or the single map of a control kind."""

    records: Sequence[Any]


class CycleEnd(msgspec.Struct, frozen=True):
    """End of a commit: section 5 of the protocol. Times in ms since 1970."""

    cycle: Count
    first: Seq
    last: Seq
    count: Count
    complete: bool
    started_ms: TimeMs
    ended_ms: TimeMs
    as_of_ms: TimeMs | None = None
    unconfirmed: tuple[str, ...] = ()
    complete_ms: TimeMs | None = None
    markets: Count = 0
    quarantined: Count = 0
    unjoined: Count = 0


class RouteHealth(msgspec.Struct, frozen=True):
    """A failing route, one that brings no prices: why, and when it was last read, None if never."""

    route: str
    error: str
    read_ms: int | None = None


class PublisherHealth(msgspec.Struct, frozen=True):
    """The publisher's own account of itself, in every heartbeat.

    Attributes:
        sweep: "starting", "waiting_for_key", "complete", "partial", "failed", "key_refused".
        key: "none", "ok" or "refused".
        error: what went wrong last, None if nothing. cause: the same as one word. remedy: what to do about
            it.
        pages, markets_read: progress of the first reading; 0 once an epoch is open.
        warnings: what is wrong without stopping anything, a sentence each.
        stream: "off", "connecting", "live", "down", "key_refused" or "refused" (the upgrade was, for a reason
            other than the key).
        stream_error: why it is not live, None if nothing is known to be wrong.
        stream_refused: code of an error that answered a command or ended a subscription -> how often it came.
        stream_refusal: the last of these in words.
        stream_books_max: the most books that one subscription may have, None while no limit has been met.
        stream_books, stream_unsure: books followed and known to be right; followed but not known to be.
        stream_gaps, stream_reconnects: how often frames were missing, and how often it reconnected.
        stream_healed, stream_confirmed: differences from the uncached book that were real, and those that
            were not.
        stream_older: records refused because a newer one is held.
        stream_bad: frames that could not be read, at least not in full.
        routes: those that bring no prices and are failing; each costs only what it brings.
        stream_since_ms: since when no change of a quote can have been missed; None while one may be.
    """

    started_ms: TimeMs = 0
    poll_interval_ms: int = 0
    sweep: str = "starting"
    key: str = "none"
    exchange_reachable: bool = False
    error: str | None = None
    stream: str = "off"
    stream_books: int = 0
    stream_unsure: int = 0
    stream_gaps: int = 0
    stream_reconnects: int = 0
    stream_healed: int = 0
    stream_confirmed: int = 0
    stream_older: int = 0
    cause: str | None = None
    remedy: str | None = None
    pages: int = 0
    markets_read: int = 0
    warnings: tuple[str, ...] = ()
    stream_error: str | None = None
    stream_refused: dict[str, int] = {}
    stream_refusal: str | None = None
    stream_books_max: int | None = None
    stream_bad: int = 0
    routes: tuple[RouteHealth, ...] = ()
    stream_since_ms: TimeMs | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    """Proof of life, position and content: section 6 of the protocol.

    `streams` maps a topic to (last seq, static, quote, book, reference digest) for every stream with
    a message in (since, seq]. `digest` is that of the whole state at `seq`, None from an older publisher.
    """

    since: Seq
    seq: Seq
    streams: dict[str, tuple[Seq, Digest, Digest, Digest, Digest]]
    now_ms: TimeMs
    part: Annotated[int, Meta(ge=0, lt=MAX_PARTS)] = 0
    parts: Annotated[int, Meta(ge=1, le=MAX_PARTS)] = 1
    cycle: CycleEnd | None = None
    publisher: PublisherHealth = PublisherHealth()
    source: str = "live"
    fields: dict[str, int] = {}
    digest: Digest | None = None


class SnapshotHead(msgspec.Struct, frozen=True):
    """First frame of a snapshot's answer: the state of `streams` (topic -> last seq) at seq `as_of`.

    `ages`: as_of_ms of each quote that `cycle` did not confirm. `digest`: of these streams.
    """

    epoch: Epoch
    as_of: Seq
    streams: dict[str, Seq]
    chunks: Count
    now_ms: TimeMs
    cycle: CycleEnd | None = None
    source: str = "live"
    fields: dict[str, int] = {}
    ages: dict[str, TimeMs] = {}
    digest: Digest | None = None


class Error(msgspec.Struct, frozen=True):
    """Why a question was refused, as an answer says it under `error`: section 8 of the protocol."""

    code: str
    message: str
    retry_ms: Annotated[int, Meta(ge=0, le=86_400_000)] | None = None


class Refused(msgspec.Struct, frozen=True):
    """An answer that refuses op `snapshot`."""

    error: Error
    id: int | None = None


class Chunk(msgspec.Struct, array_like=True, gc=False):
    """Records of one stream in a snapshot: (topic, last seq, ((kind, records), ...))."""

    topic: str
    last: Seq
    content: list[tuple[str, list[msgspec.Raw]]]


_envelope_decoder = msgspec.msgpack.Decoder(Envelope)
quotes_decoder: Final = msgspec.msgpack.Decoder(Quotes)
_chunk_decoder = msgspec.msgpack.Decoder(Chunk)
_decoders: Final[dict[str, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(type_) for kind, type_ in RECORD_TYPES.items()
}
_encode = msgspec.msgpack.Encoder().encode
_topics: dict[bytes, str] = {}
_MAX_TOPICS: Final = 100_000

DECODE_FAULTS: Final = (
    msgspec.MsgspecError,
    msgpack.UnpackException,
    UnicodeDecodeError,
    RecursionError,
    OverflowError,
    MemoryError,
    ValueError,
    TypeError,
)
"""Everything that msgspec's and msgpack's decoders raise for input they do not expect."""


def market_topic(series_ticker: str) -> str:
    """Return the topic of one series' market data."""
    return f"{TOPIC_MD}{series_ticker}."


def encode_record(record: Record) -> bytes:
    """Return a record's msgpack array."""
    return _encode(record)


def decode_record(kind: str, raw: msgspec.Raw | bytes) -> Record:
    """Return the record of a known `kind`.

    Raises:
        DecodeError: the bytes are not such a record.
    """
    (record,) = decode_records(kind, (raw,))
    return record


def decode_records(kind: str, raws: Iterable[msgspec.Raw | bytes]) -> list[Record]:
    """Return the records of a known `kind`.

    Raises:
        DecodeError: one of them is malformed.
    """
    take = _decoders[kind].decode
    try:
        records = [take(raw) for raw in raws]
    except DECODE_FAULTS as error:
        raise DecodeError(f"{kind} record: {error}") from None
    if kind == "market" and not all(record.raw[:1] == b"{" for record in records):
        raise DecodeError("market record: raw: expected a JSON object")
    return records


class MessageTooLarge(KalshiBusError):
    """A message that must not be sent: split its records over several, if it has several."""


def encode(topic: str, message: Envelope | Outgoing) -> bytes:
    """Return the frame of a message.

    Raises:
        MessageTooLarge: the frame would exceed MAX_MESSAGE_BYTES, or MAX_TOGETHER_BYTES with several records.
    """
    frame = framed(topic, message)
    if len(frame) > MAX_TOGETHER_BYTES:
        most = MAX_MESSAGE_BYTES if len(message.records) == 1 else MAX_TOGETHER_BYTES
        if len(frame) > most:
            raise MessageTooLarge(f"message on {topic} has {len(frame)} bytes, at most {most} are sent")
    return frame


def framed(topic: str, message: Envelope | Outgoing) -> bytes:
    """Return the frame of a message, of whatever size."""
    return topic.encode() + b"\x00" + _encode(message)


def decode(frame: bytes) -> tuple[str, Envelope]:
    """Return topic and envelope of a frame; its records stay encoded.

    Raises:
        VersionError: it is of a newer major version of the protocol.
        DecodeError: it is anything else that is not a message.
    """
    end = frame.find(b"\x00", 0, MAX_TOPIC)
    if end < 0:
        raise DecodeError("message: got no zero byte after the topic, expected topic, 0, msgpack")
    name = frame[:end]
    topic = _topics.get(name)
    end += 1
    body: bytes | memoryview = frame[end:] if len(frame) < 8192 else memoryview(frame)[end:]
    try:
        if topic is None:
            topic = name.decode()
            if len(_topics) < _MAX_TOPICS:
                _topics[name] = topic
        envelope = _envelope_decoder.decode(body)
    except DECODE_FAULTS as error:
        _refuse_newer(body)
        raise DecodeError(f"message: {error}") from None
    if envelope.version != VERSION:
        _refuse_newer(body)
        raise DecodeError(f"message: got version {envelope.version}, expected {VERSION}")
    if envelope.prev > envelope.seq:
        raise DecodeError(f"message: got prev {envelope.prev}, expected at most its seq {envelope.seq}")
    return topic, envelope


def decode_at_once(frame: bytes) -> tuple[str, Envelope | Quotes]:
    """Do what `decode` does, and decode quote records too, at a third of the cost of one by one."""
    name, _, body = frame.partition(b"\x00")
    topic = _topics.get(name)
    if topic is not None and topic.startswith(TOPIC_MD):
        try:
            quotes = quotes_decoder.decode(body)
        except DECODE_FAULTS:
            return decode(frame)
        if quotes.prev <= quotes.seq:
            return topic, quotes
    return decode(frame)


def _refuse_newer(body: bytes | memoryview) -> None:
    try:
        head = msgspec.msgpack.decode(body, type=list[msgspec.Raw])
        version = msgspec.msgpack.decode(head[0], type=int) if head else 0
    except DECODE_FAULTS:
        return
    if version > VERSION:
        raise VersionError(f"message: got protocol version {version}, this build reads {VERSION}: upgrade it")


def encode_map(value: object) -> bytes:
    """Return a control structure or a plain dict as a msgpack map, with ? for what UTF-8 cannot carry.

    Raises:
        BadRecord: it has a number beyond 64 bits, or is nested too deeply; the message names the member.
    """
    try:
        return _packed(value)
    except _NOT_CARRIED:
        raise _not_carried(value) from None


_NOT_CARRIED: Final = (OverflowError, RecursionError, ValueError)
"""What msgspec and msgpack raise for values that msgpack has no form for."""


def _packed(value: object) -> bytes:
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    packed: bytes
    try:
        packed = msgpack.packb(plain)
    except UnicodeEncodeError:
        packed = msgpack.packb(plain, unicode_errors="replace")
    return packed


def _not_carried(value: object) -> BadRecord:
    """Return the error that names the member of a map which cannot be packed."""
    for name, member in value.items() if isinstance(value, dict) else ():
        try:
            _packed(member)
        except _NOT_CARRIED:
            said = "what a message can carry: numbers of 64 bits, not nested deeply"
            return BadRecord(str(name), member, said)
    return BadRecord("message", value, "what a message can carry")


def unpack_map(raw: msgspec.Raw | bytes | memoryview) -> dict[str, Any]:
    """Return a msgpack map of plain values: its keys, and those of all maps in it, are text and unique.

    Raises:
        DecodeError: it is not such a map.
    """
    try:
        value = msgpack.unpackb(
            raw, raw=False, strict_map_key=True, max_ext_len=0, object_pairs_hook=_members
        )
    except DECODE_FAULTS as error:
        raise DecodeError(f"not msgpack: {_said(error)}") from None
    if not isinstance(value, dict):
        raise DecodeError(f"got a msgpack {type(value).__name__}, expected a map")
    return value


_TEXT: Final = frozenset((str,))


def _members(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key that is there twice")
    if not _TEXT.issuperset(map(type, members)):
        raise TypeError("a key that is no text")
    return members


def convert_map(value: object, type_: type[T]) -> T:
    """Return a map of plain values as a control structure; unknown keys are ignored.

    Raises:
        DecodeError: it is not of that shape.
    """
    try:
        return msgspec.convert(value, type_)
    except DECODE_FAULTS as error:
        raise DecodeError(f"{type_.__name__.lstrip('_')}: {_said(error)}") from None


def decode_map(raw: msgspec.Raw | bytes | memoryview, type_: type[T]) -> T:
    """Return the control structure in a msgpack map; unknown keys are ignored.

    Raises:
        DecodeError: it is not a map, or not of that shape.
    """
    return convert_map(unpack_map(raw), type_)


def decode_control(envelope: Envelope, type_: type[T]) -> T:
    """Return the single map of a control message: CycleEnd or Heartbeat.

    Raises:
        DecodeError: it is missing, or not of that shape.
    """
    if not envelope.records:
        raise DecodeError(f"{envelope.kind}: got no record, expected one map")
    return decode_map(envelope.records[0], type_)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removeprefix("ValidationError: ")[:300].rstrip(": ")


def encode_chunk(chunk: Chunk) -> bytes:
    """Return a snapshot chunk, not yet compressed."""
    return _encode(chunk)


def decode_chunk(body: bytes) -> Chunk:
    """Return a decompressed snapshot chunk.

    Raises:
        DecodeError: the bytes are not a chunk.
    """
    try:
        return _chunk_decoder.decode(body)
    except DECODE_FAULTS as error:
        raise DecodeError(f"snapshot chunk: {error}") from None


def unpack(frame: bytes, most: int, unpacker: zstandard.ZstdDecompressor | None = None) -> bytes:
    """Return the content of a zstd frame, at most `most` bytes.

    The declared size is checked first: if there is one, a decompressor makes room for it, whatever its bound.

    Args:
        unpacker: that of the calling thread; if not given, a new one is made.

    Raises:
        DecodeError: it is not such a frame, or a larger one.
    """
    try:
        size = zstandard.frame_content_size(frame)
        if size > most:
            raise DecodeError(f"zstd: got {size} bytes packed, expected at most {most}")
        return (unpacker or zstandard.ZstdDecompressor()).decompress(frame, max_output_size=most)
    except (zstandard.ZstdError, *DECODE_FAULTS) as error:
        raise DecodeError(f"zstd: {_said(error)}") from None


def unpack_chunk(frame: bytes, unpacker: zstandard.ZstdDecompressor | None = None) -> Chunk:
    """Return a snapshot chunk from its packed form. `unpacker` as for `unpack`.

    Raises:
        DecodeError: the bytes are not a chunk, or are larger than MAX_CHUNK.
    """
    return decode_chunk(unpack(frame, MAX_CHUNK, unpacker))


def schema() -> dict[str, Any]:
    """Return what op `schema` answers: header and record fields by name, in wire order."""
    return {
        "version": VERSION,
        "header": list(Envelope.__struct_fields__),
        "kinds": {kind: list(type_.__struct_fields__) for kind, type_ in RECORD_TYPES.items()},
        "cycle": list(CycleEnd.__struct_fields__),
        "heartbeat": list(Heartbeat.__struct_fields__),
    }


def matches(topic: str, prefixes: Sequence[str]) -> bool:
    """Tell whether a topic starts with one of the subscribed prefixes."""
    return topic.startswith(tuple(prefixes))
