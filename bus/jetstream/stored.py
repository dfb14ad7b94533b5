"""What a bridge stores, and how it is read: pure encoding and decoding. Specified in docs/bridge.md."""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from bus.protocol.asks import Ask
from bus.protocol.messages import (
    DECODE_FAULTS,
    Epoch,
    Seq,
    SnapshotHead,
    decode_map,
    encode_map,
    matches,
    unpack_chunk,
)
from markets.errors import DecodeError, StartupError

FORMAT: Final = 1
DEFAULT_STREAM: Final = "kalshi-bus"
DESCRIPTION: Final = "kalshi-bus: the feed and its keyframes, format 1"
"""The description by which a stream is known to be ours."""

SCHEMES: Final = ("nats://", "tls://")
WRITER: Final = "Kalshi-Bus-Writer"
"""Header of everything stored: who stored it, and how many messages that bridge had stored before."""

PART_BYTES: Final = 512 * 1_024
"""Size of the parts a keyframe is cut into; also how much of the feed goes into one batch."""

MIN_PAYLOAD: Final = 1_048_576
"""What a server must accept in one message: a batch has at most PART_BYTES plus one message of the feed."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Address(NamedTuple):
    """Where a stream is: the servers of one cluster, as URLs, and its name there."""

    servers: tuple[str, ...]
    stream: str

    @property
    def shown(self) -> str:
        """The address without user and password."""
        hosts = [server.split("://", 1)[1].rpartition("@")[2] for server in self.servers]
        scheme = self.servers[0].split("://", 1)[0]
        return f"{scheme}://{','.join(hosts)}/{self.stream}"

    def subject(self, what: str) -> str:
        """Return the subject of "feed", "part", "keyframe", "repair" or "wanted"."""
        return f"{self.stream}.{what}"

    @property
    def subjects(self) -> list[str]:
        """The subjects that are stored, in order of their names; "wanted" is not."""
        return [self.subject(what) for what in ("feed", "keyframe", "part", "repair")]


def is_remote(feed: str) -> bool:
    """Tell whether an endpoint of a feed is a JetStream's."""
    return feed.startswith(SCHEMES)


def address_of(url: str) -> Address:
    """Read ``nats://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/STREAM]``; also ``tls://``.

    Raises:
        StartupError: it is not one. The message does not repeat the URL, which may contain a password.
    """
    expected = "expected nats://HOST:PORT[,HOST:PORT...][/STREAM]"
    scheme, _, rest = url.partition("://")
    hosts, _, stream = rest.partition("/")
    if f"{scheme}://" not in SCHEMES or not hosts:
        raise StartupError(f"address of the JetStream: got another thing than one, {expected}")
    stream = stream or DEFAULT_STREAM
    if not _NAME.fullmatch(stream):
        raise StartupError(f"name of the stream: got {stream!r:.80}, expected letters, digits, - and _")
    user, at, hosts = hosts.rpartition("@")
    servers = []
    for host in hosts.split(","):
        server = f"{scheme}://{user}{at}{host}"
        try:
            found = urlsplit(server)
            port = found.port
        except ValueError:
            raise StartupError(f"server of the JetStream: got {host!r:.80}, {expected}") from None
        if not found.hostname:
            raise StartupError(f"server of the JetStream: got {host!r:.80}, {expected}")
        servers.append(server if port else f"{server.rstrip(':')}:4222")
    return Address(tuple(servers), stream)


class Batch(msgspec.Struct, array_like=True, gc=False):
    """Messages of the feed as they came, in order.

    Attributes:
        epoch, seq: everything published up to here is stored, or was missed; 0, 0 at the beginning.
        since: the number before the first message that was missed and is in no keyframe yet; None if there is
            none.
    """

    version: Literal[1]
    epoch: Annotated[int, Meta(ge=0)]
    seq: Seq
    since: Seq | None
    frames: list[bytes]


class Mark(msgspec.Struct, frozen=True):
    """Ends a keyframe and names its parts.

    Attributes:
        epoch, as_of: where the state stands.
        since: None: the whole state. Otherwise what changed since that number, to fill a gap with.
        begin: number in the stream from which everything published after `as_of` is stored.
        parts: numbers in the stream of its parts, in order.
    """

    version: Literal[1]
    epoch: Epoch
    as_of: Seq
    begin: Seq
    parts: tuple[Seq, ...]
    since: Seq | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_batches: Final = msgspec.msgpack.Decoder(Batch)
_frames: Final = msgspec.msgpack.Decoder(list[bytes])


def encode_batch(batch: Batch) -> bytes:
    """Return what is stored on subject "feed"."""
    return _encode(batch)


def decode_batch(payload: bytes) -> Batch:
    """Read a batch.

    Raises:
        DecodeError: it is none.
    """
    try:
        return _batches.decode(payload)
    except DECODE_FAULTS as error:
        raise DecodeError(f"batch of the feed: {error}") from None


def encode_mark(mark: Mark) -> bytes:
    """Return what is stored on subject "keyframe" or "repair"."""
    return encode_map(mark)


def decode_mark(payload: bytes) -> Mark:
    """Read a mark.

    Raises:
        DecodeError: it is none.
    """
    return decode_map(payload, Mark)


def cut(answer: Sequence[bytes]) -> list[bytes]:
    """Return the parts of a keyframe, for subject "part": the frames of an answer to op `snapshot`."""
    blob = _encode(list(answer))
    return [blob[at : at + PART_BYTES] for at in range(0, len(blob), PART_BYTES)]


def joined(parts: Sequence[bytes]) -> list[bytes]:
    """Return the frames of the answer that these are the parts of.

    Raises:
        DecodeError: they are not.
    """
    try:
        frames = _frames.decode(b"".join(parts))
    except DECODE_FAULTS as error:
        raise DecodeError(f"keyframe: {error}") from None
    if not frames:
        raise DecodeError("keyframe: got no frame, expected a head")
    return frames


def answer_to(ask: Ask, frames: Sequence[bytes], prefixes: Sequence[str]) -> list[bytes]:
    """Return a keyframe as the answer that a server would have given, its delimiter included.

    Raises:
        DecodeError: it is not a keyframe.
    """
    head = decode_map(frames[0], SnapshotHead)
    chunks = list(frames[1:])
    if "" not in prefixes:
        chunks = [chunk for chunk in chunks if matches(unpack_chunk(chunk).topic, prefixes)]
        wanted = {topic: last for topic, last in head.streams.items() if matches(topic, prefixes)}
        head = msgspec.structs.replace(head, streams=wanted, digest=None)
    head = msgspec.structs.replace(head, chunks=len(chunks))
    return [b"", encode_map({"ok": True, "id": ask.id, **msgspec.to_builtins(head)}), *chunks]


def chosen(ask: Ask, repair: Mark | None, keyframe: Mark | None) -> Mark | None:
    """Return which of the last marks answers a question; None if neither does.

    A repair is preferred, since it is small. It has to reach back to where the asker stands, and to go on
    from there; what is fetched again because of its digest (`ask.also`) is not in it.
    """
    if (
        repair is not None
        and repair.since is not None
        and ask.since is not None
        and not ask.also
        and repair.epoch == ask.epoch
        and repair.since <= ask.since < repair.as_of
    ):
        return repair
    if keyframe is None or keyframe.epoch < ask.epoch:
        return None
    if keyframe.epoch > ask.epoch or ask.since is None:
        return keyframe
    return keyframe if keyframe.as_of >= ask.since + (not ask.also) else None
