"""Writer: the publisher's end of the protocol, sans-I/O. It owns the state, numbers messages, makes frames.

One thread publishes. Every change goes through `stream` or `commit`, which apply it to `state` exactly as a
replica will and return the frames to send, in order.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from bus.threads import Owner, assert_held
from markets.records import Record

from .messages import (
    MAX_RECORDS,
    RECORD_TYPES,
    TOPIC_CYCLE,
    TOPIC_HEARTBEAT,
    VERSION,
    CycleEnd,
    Envelope,
    Heartbeat,
    MessageTooLarge,
    Outgoing,
    PublisherHealth,
    Quotes,
    decode_control,
    encode,
    encode_map,
)
from .state import State, decode_all

WINDOW_HEARTBEATS: Final = 4
WINDOW_MS: Final = 1_500
_STREAMS_PER_PART: Final = 2_500
_PART_BYTES: Final = 200_000
_STREAM_BYTES: Final = 50
"""The bytes that a stream's numbers take in a heartbeat, in addition to its topic."""

Change = tuple[str, str, Sequence[Record]]
"""(topic, kind, records) of one stream."""

Send = Callable[[bytes], object]

Relayed = tuple[str, Envelope | Quotes, Sequence[Any]]
"""(topic, message, its records as `records_of` gives them)."""


class Writer:
    """The only writer of an epoch.

    Args:
        epoch: ms since 1970 at its opening, larger than any before.

    Attributes:
        state: the publisher's own replica, the truth that all others copy.
    """

    def __init__(self, epoch: int, source: str = "live") -> None:
        self.state = State(epoch)
        self.source = source
        self._owner = Owner("the writer of an epoch")
        self._heartbeats: deque[tuple[int, int]] = deque()
        self._recent: dict[str, None] = {}

    def take(self) -> None:
        """Hand over to the calling thread, the one that publishes from now on."""
        self._owner.take()

    def load(self, changes: Iterable[Change]) -> None:
        """Put in what the epoch opens with; nothing is sent, since subscribers get it as a snapshot."""
        with self.state.lock:
            for topic, kind, records in changes:
                self.state.put(topic, 0, kind, records)
            self.state.digest()  # now, and not when a heartbeat is due

    def stream(
        self,
        topic: str,
        kind: str,
        records: Sequence[Record],
        source_ns: int,
        now_ns: int,
        send: Send | None = None,
    ) -> list[bytes]:
        """Publish records that apply immediately; return the frames.

        Args:
            send: sends each frame before the state has what it says, so that readers do not wait for that.
                It must not read the state.
        """
        self._owner.check()
        with self.state.lock:
            return self._messages(topic, kind, records, 0, source_ns, now_ns, send)

    def commit(self, changes: Iterable[Change], cycle: CycleEnd, source_ns: int, now_ns: int) -> list[bytes]:
        """Publish a sweep's difference as one run closed by `cycle`; return the frames.

        `cycle.cycle`, `first`, `last` and `count` are filled in here.
        """
        self._owner.check()
        state = self.state
        frames: list[bytes] = []
        with state.lock:
            number = state.cycle.cycle + 1 if state.cycle else 1
            first = state.seq + 1
            for topic, kind, records in changes:
                frames += self._messages(topic, kind, records, number, source_ns, now_ns)
            last = state.seq
            cycle = msgspec.structs.replace(
                cycle, cycle=number, first=first, last=last, count=last - first + 1
            )
            frames.append(
                self._message(
                    TOPIC_CYCLE, "cycle", [msgspec.Raw(encode_map(cycle))], number, source_ns, now_ns
                )
            )
            state.end_cycle(cycle)
        return frames

    def relay(self, messages: Iterable[Relayed]) -> None:
        """Adopt messages of a recording as the next ones; the caller holds the state's lock.

        Only quotes, and only if the state need not keep bytes.
        """
        state = self.state
        assert_held(state.lock)
        for topic, envelope, records in messages:
            stream = state.stream(topic)
            if isinstance(envelope, Quotes):
                state.put_quotes(stream, envelope.seq, records, [])
            elif envelope.kind in RECORD_TYPES:
                state.put(topic, envelope.seq, envelope.kind, records, envelope.records)
            else:
                stream.last = envelope.seq
                for cycle in records:
                    state.end_cycle(cycle)
            self._recent[topic] = None
            state.seq = envelope.seq

    def heartbeat(self, health: PublisherHealth, now_ns: int, steady_ms: int | None = None) -> list[bytes]:
        """Return the frames of a heartbeat: one, or several parts when many streams changed.

        in a replay, consumers take `now_ns` as the present; `steady_ms`, a clock that does not jump, measures
        the window.
        """
        self._owner.check()
        state, now_ms = self.state, now_ns // 1_000_000
        steady_ms = now_ms if steady_ms is None else steady_ms
        window = self._heartbeats
        window.append((steady_ms, state.seq))
        while len(window) > WINDOW_HEARTBEATS and window[1][0] <= steady_ms - WINDOW_MS:
            window.popleft()
        since = window[0][1]
        topics = [topic for topic in self._recent if state.streams[topic].last > since]
        self._recent = dict.fromkeys(topics)
        longest = max(map(len, topics), default=0)
        per_part = min(_STREAMS_PER_PART, _PART_BYTES // (longest + _STREAM_BYTES))
        parts = max(1, -(-len(topics) // per_part))
        cycle = state.cycle and msgspec.structs.replace(state.cycle, unconfirmed=())
        digest = state.digest()
        frames = []
        for part in range(parts):
            heartbeat = Heartbeat(
                since=since,
                seq=state.seq,
                streams={
                    topic: state.position(topic) for topic in topics[part * per_part : (part + 1) * per_part]
                },
                now_ms=now_ms,
                part=part,
                parts=parts,
                cycle=cycle,
                publisher=health,
                source=self.source,
                fields=state.fields,
                digest=digest,
            )
            envelope = Envelope(
                VERSION,
                state.epoch,
                state.seq,
                0,
                "heartbeat",
                0,
                now_ns,
                now_ns,
                [msgspec.Raw(encode_map(heartbeat))],
            )
            frames.append(encode(TOPIC_HEARTBEAT, envelope))
        return frames

    def _messages(
        self,
        topic: str,
        kind: str,
        records: Sequence[Any],
        cycle: int,
        source_ns: int,
        now_ns: int,
        send: Send | None = None,
    ) -> list[bytes]:
        """Publish records in as many messages as they need; return the frames."""
        if not records:
            return []
        if len(records) <= MAX_RECORDS:
            try:
                return [self._message(topic, kind, records, cycle, source_ns, now_ns, send)]
            except MessageTooLarge:
                if len(records) == 1:
                    raise
        size = min(MAX_RECORDS, -(-len(records) // 2))
        frames: list[bytes] = []
        for start in range(0, len(records), size):
            part = records[start : start + size]
            frames += self._messages(topic, kind, part, cycle, source_ns, now_ns, send)
        return frames

    def _message(
        self,
        topic: str,
        kind: str,
        records: Sequence[Any],
        cycle: int,
        source_ns: int,
        now_ns: int,
        send: Send | None = None,
    ) -> bytes:
        state = self.state
        stream = state.streams.get(topic) or state.stream(topic)
        seq = state.seq + 1
        frame = encode(
            topic, Outgoing(VERSION, state.epoch, seq, stream.last, kind, cycle, now_ns, source_ns, records)
        )
        # Only a message that can be sent is numbered: a refused one must not leave a hole.
        state.seq = seq
        self._recent[topic] = None
        if send is not None:
            send(frame)
        if kind == "quote":
            state.put_quotes(stream, seq, records, [])
        elif kind == "cycle":
            stream.last = seq
        else:
            state.put(topic, seq, kind, records)
        return frame


def records_of(envelope: Envelope | Quotes) -> Sequence[Any]:
    """Return a message's records, decoded: for the end of a commit its map, for an unknown kind none.

    Raises:
        DecodeError: one is malformed.
    """
    if isinstance(envelope, Quotes):
        return envelope.records
    if envelope.kind == "cycle":
        return [decode_control(envelope, CycleEnd)]
    return decode_all(envelope.kind, envelope.records) if envelope.kind in RECORD_TYPES else ()
