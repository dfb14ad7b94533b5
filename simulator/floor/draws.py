"""Random draws that are asked for all the time: the very numbers that `Random` draws, in fewer calls."""

from random import Random


def index(rng: Random, many: int) -> int:
    """Return a number from 0 up to, but not, `many` (at least 1): the same as `rng.randrange(many)`."""
    draw, bits = rng.getrandbits, many.bit_length()
    number = draw(bits)
    while number >= many:
        number = draw(bits)
    return number


def skip(rng: Random, many: int) -> None:
    """Draw `many` (at least 1) times in vain: `rng` is then as after so many `rng.random()`."""
    rng.getrandbits(64 * many)  # each of them takes two words of 32 bits from the generator
