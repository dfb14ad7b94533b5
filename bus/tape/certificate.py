"""What a segment of a recording says about itself: its place in the chain, and what it covers.

docs/recording.md. Pure. The writer of a segment and its checker both feed the same messages, in the same
order, to a `Coverage`, so that a certificate can be made again from what it certifies.
"""

import zlib
from typing import Final

import msgspec

from bus.protocol.messages import (
    DECODE_FAULTS,
    TOPIC_HEARTBEAT,
    Header,
    Heartbeat,
    PublisherHealth,
    decode,
    decode_control,
)
from markets.errors import DecodeError

SILENCE_NS: Final = 3_000_000_000
"""The feed counts as silent after this long without a message: a publisher sends a heartbeat every 250 ms."""

MAX_GAPS: Final = 10_000
"""The most gaps that a certificate lists; more are counted."""

_HEARTBEAT: Final = TOPIC_HEARTBEAT.encode() + b"\x00"
_header: Final = msgspec.msgpack.Decoder(Header)


class SegmentHead(msgspec.Struct, frozen=True):
    """How a segment begins.

    Attributes:
        recording: id of the recording it belongs to.
        segment: its number, from 1.
        previous: SHA-256 of the previous segment, hexadecimal; "" if there was none.
        continues: whether the same recorder went on from the previous segment without a break.
    """

    recording: str
    segment: int
    previous: str = ""
    continues: bool = False


class KeyframeMark(msgspec.Struct, frozen=True):
    """Where a keyframe is, and what it holds: the digest (16 hexadecimal digits) is that of the whole state.

    `offset` is where in the segment reading can begin; it is 0 in the mark that precedes the keyframe.
    """

    time_ns: int
    epoch: int
    as_of: int
    digest: str | None = None
    offset: int = 0


class Range(msgspec.Struct):
    """Messages without a hole after a keyframe: numbers `first` to `last` of an epoch (last < first: none).

    Times are the publisher's, in ns since 1970.
    """

    epoch: int
    first: int
    last: int
    begin_ns: int
    end_ns: int


class Gap(msgspec.Struct, frozen=True):
    """What is missing: from `begin_ns` to `end_ns`, and which numbers.

    Attributes:
        whose: "exchange" (the publisher missed it at the exchange, as it said), "publisher" (it was silent,
            or started over) or "recorder" (what was published is not here).
    """

    whose: str
    why: str
    begin_ns: int
    end_ns: int
    epoch: int = 0
    first: int = 0
    last: int = 0


class Certificate(msgspec.Struct, frozen=True):
    """What a segment covers: docs/recording.md, "The certificate"."""

    sha256: str
    begin_ns: int
    end_ns: int
    frames: int
    covers: tuple[Range, ...]
    gaps: tuple[Gap, ...]
    keyframes: tuple[KeyframeMark, ...]
    stream_gaps: tuple[int, int] | None = None
    gaps_more: int = 0


class Coverage:
    """What the messages of a segment cover, as far as they have been heard.

    Attributes:
        begin_ns, end_ns: time of the first and the last of them; 0 before the first.
        frames: how many feed messages, including those written again.
    """

    def __init__(self) -> None:
        self.begin_ns = 0
        self.end_ns = 0
        self.frames = 0
        self._covers: list[Range] = []
        self._gaps: list[Gap] = []
        self._gaps_more = 0
        self._keyframes: list[KeyframeMark] = []
        self._whole = False
        self._expected = 0
        self._beyond = (0, 0)
        self._trouble = ""
        self._trouble_ns = 0
        self._beat_ns = 0
        self._stream_gaps: tuple[int, int] | None = None

    @property
    def last(self) -> Range | None:
        """The range still open, or the last one that was."""
        return self._covers[-1] if self._covers else None

    def keyframe(self, mark: KeyframeMark) -> None:
        """Take note of a keyframe; what follows has numbers from `mark.as_of` + 1 on."""
        self._keyframes.append(mark)
        before = self.last
        if before is None or before.epoch != mark.epoch or mark.as_of > before.last:
            if before is not None:
                self._gap(between(before, mark))
            self._covers.append(
                Range(mark.epoch, mark.as_of + 1, mark.as_of, mark.time_ns, max(mark.time_ns, self.end_ns))
            )
        self._whole, self._expected = True, mark.as_of + 1
        self._pass(mark.time_ns)

    def hear(self, data: bytes, time_ns: int, epoch: int, seq: int) -> None:
        """Take note of a feed message."""
        self.frames += 1
        last, numbered = self.last, not data.startswith(_HEARTBEAT)
        if last is None or last.epoch != epoch:
            self._pass(time_ns)
            return
        if self._whole and time_ns - self.end_ns > SILENCE_NS and seq <= last.last + numbered:
            self._gap(Gap("publisher", "nothing was published, no heartbeat either", self.end_ns, time_ns))
        if not numbered:
            self._beat(data, time_ns)
        elif self._whole and seq == self._expected:
            self._expected += 1
            last.last = max(last.last, seq)
        elif self._whole and seq > self._expected:
            self._whole = False
        if numbered and not self._whole:
            self._beyond = max(self._beyond, (epoch, seq))
        if self._whole:
            last.end_ns = max(last.end_ns, time_ns)
        self._pass(time_ns)

    def certificate(self, sha256: str) -> Certificate:
        """Return what was covered; nothing is heard afterwards."""
        if self._trouble:
            self._gap(Gap("exchange", self._trouble, self._trouble_ns, self.end_ns))
            self._trouble = ""
        last = self.last
        if last is not None and not self._whole and self._beyond[0] == last.epoch:
            first, end = last.last + 1, self._beyond[1]
            self._gap(Gap("recorder", MISSING, last.end_ns, self.end_ns, last.epoch, first, end))
        return Certificate(
            sha256,
            self.begin_ns,
            self.end_ns,
            self.frames,
            tuple(self._covers),
            tuple(self._gaps),
            tuple(self._keyframes),
            self._stream_gaps,
            self._gaps_more,
        )

    def _pass(self, time_ns: int) -> None:
        self.begin_ns = self.begin_ns or time_ns
        self.end_ns = max(self.end_ns, time_ns)

    def _gap(self, gap: Gap) -> None:
        if len(self._gaps) < MAX_GAPS:
            self._gaps.append(gap)
        else:
            self._gaps_more += 1

    def _beat(self, data: bytes, time_ns: int) -> None:
        try:
            health = decode_control(decode(data)[1], Heartbeat).publisher
        except DecodeError:
            return
        trouble = trouble_of(health)
        if trouble != self._trouble:
            if self._trouble:
                self._gap(Gap("exchange", self._trouble, self._trouble_ns, time_ns))
            self._trouble, self._trouble_ns = trouble, time_ns
        count = health.stream_gaps
        first, before = self._stream_gaps or (count, count)
        if count > before and not trouble:
            why = f"the stream had {count - before} gaps"
            self._gap(Gap("exchange", why, self._beat_ns or time_ns, time_ns))
        self._stream_gaps, self._beat_ns = (first, count), time_ns


MISSING: Final = "numbers are missing"


def between(before: Range, mark: KeyframeMark, continues: bool = True) -> Gap:
    """Return the gap between a range and a keyframe that does not go on from it.

    Args:
        continues: whether one recorder heard both.
    """
    begin_ns, end_ns = before.end_ns, max(before.end_ns, mark.time_ns)
    if before.epoch == mark.epoch:
        return Gap("recorder", MISSING, begin_ns, end_ns, mark.epoch, before.last + 1, mark.as_of)
    if not continues:
        return Gap("recorder", "nobody recorded, and the publisher began anew", begin_ns, end_ns)
    return Gap("publisher", f"it began anew, with epoch {mark.epoch}", begin_ns, end_ns)


def trouble_of(health: PublisherHealth) -> str:
    """Return in words what keeps a publisher from hearing all the exchange says; "" if nothing does."""
    found = []
    if not health.exchange_reachable and health.sweep not in ("starting", "waiting_for_key"):
        found.append("the exchange cannot be reached")
    if health.sweep in ("partial", "failed", "key_refused"):
        found.append(f"sweep {health.sweep}")
    if health.stream in ("connecting", "down", "key_refused", "refused"):
        found.append(f"stream {health.stream}")
    elif health.stream == "live" and health.stream_since_ms is None:
        found.append("the stream may have missed something")
    return ", ".join(found)


def header_of(data: bytes) -> Header | None:
    """Return the header of a frame, None if it cannot be read."""
    try:
        return _header.decode(data[data.index(b"\x00") + 1 :])
    except DECODE_FAULTS:
        return None


def chained(before: int, data: bytes, time_ns: int) -> int:
    """Return the checksum of a message and all those before it."""
    return zlib.crc32(data, before ^ ((time_ns ^ (time_ns >> 32)) & 0xFFFFFFFF))
