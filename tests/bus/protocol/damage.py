"""Frames with damaged bytes, and what may come of reading them."""

import random

from tests.bus.protocol.lines import FILTER, Line

PREFIXES = (("",), FILTER)
ROUNDS = 40
"""Of 250 ms: longer than it takes to find that a number was none of the publisher's, or until a sweep."""


def a_while(line: Line) -> list[bytes]:
    """What a publisher says in a while: two sweeps, and what is streamed between them."""
    publisher = line.publisher
    acts = [publisher.commit, publisher.heartbeat, *[publisher.stream] * 3, publisher.quotes]
    return [frame for act in (*acts, *acts[:2]) for frame in act()]


def flipped(prefixes: tuple[str, ...], index: int, bit: int) -> Line:
    """A replica that heard all of it, with one bit of one message flipped, and 10 s of what came after."""
    line = Line(prefixes)
    frames = a_while(line)
    damaged = bytearray(frames[index % len(frames)])
    damaged[bit // 8 % len(damaged)] ^= 1 << bit % 8
    for number, frame in enumerate(frames):
        if number == index % len(frames):
            line.node.feed.append(bytes(damaged))  # whatever it was subscribed to
        else:
            line.send([frame])
        line.node.take_feed(line.now_ms, 1)
        line.answer()
    for number in range(ROUNDS):
        line.now_ms += 150
        line.settle(1)
        if number % 4 == 0:
            line.send(line.publisher.commit() if number == 20 else line.publisher.quotes())
    line.settle(2)
    return line


def check_flips(seed: int, count: int) -> int:
    """Flip `count` bits, each in a life of its own; return how many were healed, which is all."""
    rng = random.Random(seed)
    for _ in range(count):
        prefixes, index = rng.choice(PREFIXES), rng.randrange(100)
        # The head of each message has every number that sync goes by.
        bit = rng.randrange(60 * 8) if rng.random() < 0.5 else rng.randrange(1_000_000)
        line = flipped(prefixes, index, bit)
        assert line.node.live, (prefixes, index, bit)
        assert line.agrees(), (prefixes, index, bit)
        assert not line.node.sync.degraded, (prefixes, index, bit)
    return count


HUGE = b"\x28\xb5\x2f\xfd\xe0" + (2**45).to_bytes(8, "little") + b"\1\0\0"
"""A zstd frame that declares 32 TiB."""
