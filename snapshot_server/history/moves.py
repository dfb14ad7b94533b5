"""Which markets have moved: what each stood at when a stretch of time began in which it moved.

Kept as it happens, a number for each market that moves in a stretch. Who goes back from now to a time, and
lets the older number replace the newer, has what all that moved since stood at then: no pass over rows.
Stretches are of 5 minutes for an hour, of half an hour for a day, and longer where they would take too many
bytes.
"""

from array import array
from collections.abc import Mapping
from typing import Final, NamedTuple

from markets.units import MINUTE_MS

STEP_MS: Final = 5 * MINUTE_MS
COARSE_MS: Final = 30 * MINUTE_MS
FINE_FOR_MS: Final = 65 * MINUTE_MS
KEPT_MS: Final = 24 * 60 * MINUTE_MS
MOST_BYTES: Final = 16 * 1_048_576

WINDOWS_S: Final = range(300, 86_401)


class Stretch(NamedTuple):
    """A stretch of time: what each market that moved in it stood at when it began, by key, packed."""

    begin_ms: int
    keys: bytes
    prices: bytes

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return len(self.keys) + len(self.prices)

    @property
    def then_e4(self) -> Mapping[int, int]:
        """What each market stood at."""
        return dict(zip(array("Q", self.keys), array("H", self.prices), strict=True))


class Moves:
    """What markets stood at. One thread's."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._packed: list[Stretch] = []
        self._open: dict[int, dict[int, int]] = {}

    @property
    def size(self) -> int:
        """Bytes of what is packed."""
        return sum(stretch.size for stretch in self._packed)

    def note(self, key: int, time_ms: int, now_ms: int, before_e4: int) -> None:
        """Note that a market has moved, and what it stood at before: of each market in order of time."""
        begin_ms = _begin(time_ms, now_ms)
        stretch = self._open.get(begin_ms)
        if stretch is None:
            stretch = self._open[begin_ms] = {}
        stretch.setdefault(key, before_e4)

    def listened(self, since_ms: int, until_ms: int, now_ms: int) -> None:
        """Note that between two times all moves were noted: where there are none, nothing moved."""
        time_ms = max(since_ms, now_ms - KEPT_MS - COARSE_MS)
        while time_ms <= until_ms:
            self._open.setdefault(_begin(time_ms, now_ms), {})
            time_ms += STEP_MS

    def turn(self, now_ms: int) -> None:
        """Begin a new stretch when it is time, and let go of what nobody asks for any more."""
        begin_ms = _begin(now_ms, now_ms)
        if self._open.keys() == {begin_ms}:
            return
        for closed in self._open.keys() - {begin_ms}:
            self._packed.append(_packed(closed, self._open.pop(closed)))
        self._open.setdefault(begin_ms, {})
        self._thin(now_ms)

    def then(self, time_ms: int) -> tuple[int, Mapping[int, int]]:
        """Return what stood at a time of all that has moved since, by key, and which time that is.

        It is the latest beginning of a stretch that is not after `time_ms`, else the earliest there is.
        """
        stretches = [*self._packed, *(_packed(begin, then) for begin, then in sorted(self._open.items()))]
        since_ms = max(
            (stretch.begin_ms for stretch in stretches if stretch.begin_ms <= time_ms),
            default=min((stretch.begin_ms for stretch in stretches), default=time_ms),
        )
        found: dict[int, int] = {}
        for stretch in sorted(stretches, reverse=True):
            if stretch.begin_ms >= since_ms:
                found.update(stretch.then_e4)
        return since_ms, found

    def _thin(self, now_ms: int) -> None:
        groups: dict[int, list[Stretch]] = {}
        for stretch in sorted(self._packed):
            groups.setdefault(_begin(stretch.begin_ms, now_ms), []).append(stretch)
        packed = [_joined(begin, group) for begin, group in sorted(groups.items())]
        while len(packed) > 1 and packed[1].begin_ms <= now_ms - KEPT_MS:
            del packed[0]
        self._packed = packed
        while len(packed) > 1 and self.size > self._most_bytes:
            packed[:2] = [_joined(packed[0].begin_ms, packed[:2])]


def _begin(time_ms: int, now_ms: int) -> int:
    """Return when the stretch that a time lies in began."""
    fine_from_ms = (now_ms - FINE_FOR_MS) // COARSE_MS * COARSE_MS
    step_ms = STEP_MS if time_ms >= fine_from_ms else COARSE_MS
    return time_ms // step_ms * step_ms


def _packed(begin_ms: int, then_e4: Mapping[int, int]) -> Stretch:
    keys, prices = array("Q", then_e4), array("H", then_e4.values())
    return Stretch(begin_ms, keys.tobytes(), prices.tobytes())


def _joined(begin_ms: int, stretches: list[Stretch]) -> Stretch:
    """Return stretches that follow each other as one."""
    if len(stretches) == 1 and stretches[0].begin_ms == begin_ms:
        return stretches[0]
    then_e4: dict[int, int] = {}
    for stretch in reversed(stretches):
        then_e4.update(stretch.then_e4)
    return _packed(begin_ms, then_e4)
