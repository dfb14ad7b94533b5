"""A place for what the publisher sends."""

from collections.abc import Iterable, Sequence

from markets.records import Record
from tests.publisher.world import World


class Sink:
    """What of FeedServer publishing needs: a writer, and frames that go to the world's replica."""

    def __init__(self, world: World) -> None:
        self.writer = world.writer
        self._world = world

    def send(self, frames: Iterable[bytes]) -> None:
        self._world.apply(frames)

    def publish(self, topic: str, kind: str, records: Sequence[Record], source_ns: int, now_ns: int) -> None:
        self.writer.stream(topic, kind, records, source_ns, now_ns, lambda frame: self.send((frame,)))
