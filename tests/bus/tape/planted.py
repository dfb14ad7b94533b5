"""Recordings with something known planted in them."""

import dataclasses
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.records import Chunk as McapChunk
from mcap.records import Footer, Metadata
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import IndexType, Writer

from bus.protocol.answers import Answers
from bus.protocol.messages import PublisherHealth, decode, encode_map
from bus.tape.file import Recording, RecordingError, segment_path
from bus.tape.recorder import Folder
from bus.tape.verify import Fault, verify
from tests.bus.world import START_MS, Publisher

TICKERS = ("A-1-X", "A-1-Y", "B-1-X", "C-1-X")
SNAPSHOT = encode_map({"op": "snapshot", "id": 0})


class Recorded:
    """What a recorder writes of a publisher, without sockets and threads.

    Attributes:
        seen: digest of each position that a reader of the recording may see.
    """

    def __init__(self, path: Path, seed: int = 7, budget: int | None = None) -> None:
        self.publisher = Publisher(START_MS, random.Random(seed), TICKERS)
        self.folder = Folder(path, random.Random(seed), budget)
        self.health = PublisherHealth()

    def segment(self, acts: int = 12) -> None:
        self.folder.begin()
        self.keyframe()
        for number in range(acts):
            self.hear(self.publisher.commit() if number % 4 == 1 else self.publisher.stream())
            if number % 3 == 2:
                self.beat()
                self.flush()

    def keyframe(self) -> None:
        assert self.folder.writer is not None
        answer = Answers(lambda: self.publisher.writer.state).answer(SNAPSHOT, 0)
        self.folder.writer.keyframe(answer, self.publisher.now_ms * 1_000_000)

    def hear(self, frames: list[bytes]) -> None:
        assert self.folder.writer is not None
        for data in frames:
            _, envelope = decode(data)
            self.folder.writer.frame(data, envelope.published_ns, envelope.seq, envelope.epoch)

    def beat(self) -> None:
        publisher = self.publisher
        publisher.now_ms += 250
        self.hear(publisher.writer.heartbeat(self.health, publisher.now_ms * 1_000_000))

    def flush(self) -> None:
        assert self.folder.writer is not None
        self.folder.writer.flush()


def a_recording(path: Path, seed: int = 7, segments: int = 3) -> Recorded:
    recorded = Recorded(path, seed)
    for _ in range(segments):
        recorded.segment()
    recorded.folder.close()
    return recorded


Chunks = list[list[McapMessage]]


def rewritten(path: Path, edit: Callable[[Chunks], None]) -> None:
    """Have a segment say something else, in a file that is whole as far as MCAP can tell."""
    with path.open("rb") as file:
        records = list(StreamReader(file, emit_chunks=True).records)
    chunks: Chunks = [
        [one for one in breakup_chunk(record) if isinstance(one, McapMessage)]
        for record in records
        if isinstance(record, McapChunk)
    ]
    edit(chunks)
    with path.open("wb") as out:
        writer: Any = Writer(out, index_types=IndexType.METADATA)
        writer.start("kalshi-bus/1", "kalshi-bus")
        for name in ("feed", "keyframe", "chunk"):
            writer.register_channel(name, "msgpack", 0)
        rest = iter(chunks)
        for record in records:
            if isinstance(record, Metadata):
                writer.add_metadata(record.name, record.metadata)
            elif isinstance(record, McapChunk):
                for one in next(rest, []):
                    writer.add_message(one.channel_id, one.log_time, one.data, one.publish_time, one.sequence)
                writer.flush()
            elif isinstance(record, Footer):
                break
        writer.finish()


def dropped(chunks: Chunks, at: int) -> None:
    del chunks[at % len(chunks)][at % len(chunks[at % len(chunks)])]


def doubled(chunks: Chunks, at: int) -> None:
    chunk = chunks[at % len(chunks)]
    chunk.insert(at % len(chunk), chunk[at % len(chunk)])


def swapped(chunks: Chunks, at: int) -> None:
    messages = [one for chunk in chunks for one in chunk]
    first = at % (len(messages) - 1)
    messages[first], messages[first + 1] = messages[first + 1], messages[first]
    for chunk in chunks:
        chunk[:] = [messages.pop(0) for _ in chunk]


def edited(chunks: Chunks, at: int) -> None:
    chunk = chunks[at % len(chunks)]
    message = chunk[at % len(chunk)]
    place = at % len(message.data)
    changed = bytes((message.data[place] ^ (1 + at % 255),))
    data = message.data[:place] + changed + message.data[place + 1 :]
    chunk[at % len(chunk)] = dataclasses.replace(message, data=data)


def later(chunks: Chunks, at: int) -> None:
    chunk = chunks[at % len(chunks)]
    message = chunk[at % len(chunk)]
    time_ns = message.log_time + 1 + at
    chunk[at % len(chunk)] = dataclasses.replace(message, log_time=time_ns, publish_time=time_ns)


def without_a_chunk(chunks: Chunks, at: int) -> None:
    chunks[at % len(chunks)].clear()


INSIDE = (dropped, doubled, swapped, edited, later, without_a_chunk)


def found_in(path: Path) -> Fault | None:
    """What is wrong with a recording; one that is refused at once is wrong in its beginning."""
    try:
        return verify(Recording(path)).wrong
    except RecordingError as error:
        return Fault(1, 0, 0, 0, None, str(error))


def check_planted(good: Path, fault: Callable[[Chunks, int], None], segment: int, at: int) -> None:
    """Plant a fault in a copy of a recording of three segments; fail unless it is found where it is."""
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        path = Path(shutil.copytree(good, Path(folder) / "day"))
        before: Chunks = []
        after: Chunks = []

        def edit(chunks: Chunks) -> None:
            before.extend(list(chunk) for chunk in chunks)
            fault(chunks, at)
            after.extend(chunk for chunk in chunks if chunk)

        rewritten(segment_path(path, segment), edit)
        same = [one for chunk in before for one in chunk] == [one for chunk in after for one in chunk]
        wrong = found_in(path)
        assert (wrong is None) == same
        if wrong is None:
            return
        assert wrong.segment == segment
        place = [(c, m) for c, chunk in enumerate(after, 1) for m in range(1, len(chunk) + 1)]
        was = [one for chunk in before for one in chunk]
        now = [one for chunk in after for one in chunk]
        shorter = min(len(was), len(now))
        first = next((i for i in range(shorter) if was[i] != now[i]), shorter)
        if first < len(now):
            assert (wrong.chunk, wrong.message) == place[first], wrong
        else:
            assert "certificate" in wrong.why, "the last one is missing"
