"""A feed that remembers each of its moments, to compare a recording with."""

import random
from pathlib import Path

from bus.protocol.messages import decode
from bus.tape.file import Recording
from bus.tape.moments import Moments, Position
from tests.bus.tape.planted import Recorded


class Remembered(Recorded):
    """A recorder's writing, and the state there was after each message."""

    def __init__(self, path: Path, seed: int = 7) -> None:
        super().__init__(path, seed)
        self.heard: list[tuple[int, int, int]] = []

    def hear(self, frames: list[bytes]) -> None:
        """Every message a millisecond later than the one before, so that an instant names one."""
        super().hear(frames)
        _, envelope = decode(frames[-1])
        state = self.publisher.writer.state
        self.heard.append((envelope.published_ns, state.epoch, state.seq))

    def segment(self, acts: int = 30) -> None:
        self.folder.begin()
        self.keyframe()
        for number in range(acts):
            self.publisher.now_ms += 1
            self.hear(self.publisher.commit() if number % 4 == 1 else self.publisher.stream())
            if number % 5 == 4:
                self.beat()
            if number % 7 == 6:
                self.keyframe()
            if number % 3 == 2:
                self.flush()

    def digest(self, time_ns: int) -> tuple[int, int]:
        """(number, digest) as of an instant."""
        _, epoch, seq = max(heard for heard in self.heard if heard[0] <= time_ns)
        return seq, self.publisher.history[epoch, seq]


def check_moments(folder: Path, seed: int, count: int) -> tuple[Remembered, Moments]:
    """Record three segments, and compare random moments of what there is by then with what was."""
    rng = random.Random(seed)
    recorded = Remembered(folder, seed)
    past = None
    for _ in range(3):
        recorded.segment()
        recorded.flush()
        past = past or Moments(Recording(folder))
        begin_ns, end_ns = recorded.heard[0][0], recorded.heard[-1][0]
        for _ in range(count // 6):
            at_ns = rng.randrange(begin_ns, end_ns + 1)
            then = past.at(at_ns)
            assert (then.state.seq, then.state.digest()) == recorded.digest(at_ns)
            assert then.published_ns <= at_ns
            time_ns, epoch, seq = rng.choice(recorded.heard)
            then = past.at(Position(epoch, seq))
            assert (then.state.epoch, then.state.seq) == (epoch, seq)
            assert then.state.digest() == recorded.publisher.history[epoch, seq]
            assert then.published_ns <= time_ns
    assert past is not None
    return recorded, past
