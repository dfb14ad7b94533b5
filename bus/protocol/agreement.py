"""Agreement: whether the streams held here are what heartbeats say they are."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from .messages import TOPIC_CYCLE, CycleEnd, Heartbeat, matches
from .state import State

MAX_REPAIRS: Final = 2
"""Repairs in a row of one stream that did not help, before it is called degraded and left as it is."""


class Comparison(NamedTuple):
    """What comparing one heartbeat gave.

    Attributes:
        compared: how many streams were compared by their digests.
        differing: how many streams are not as the publisher says.
        repairable: those of them to ask for anew.
        given_up: those that are degraded from now on.
    """

    compared: int
    differing: int
    repairable: tuple[str, ...]
    given_up: tuple[str, ...]


class Agreement:
    """The streams' digests compared with the publisher's, and which of them repairs have not helped.

    Args:
        prefixes: the topics that are followed.

    Attributes:
        degraded: streams that still differed after MAX_REPAIRS repairs in a row.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.degraded: set[str] = set()
        self._prefixes = tuple(prefixes)
        self._failures: dict[str, int] = {}

    def compare(self, state: State, heartbeat: Heartbeat) -> Comparison:
        """Compare `state` with what a heartbeat of the same number says of streams and of the last commit."""
        compared, differing, repairable, given_up = 0, 0, [], []
        for topic, position in heartbeat.streams.items():
            if not matches(topic, self._prefixes):
                continue
            if topic in state.streams:
                compared += 1
                agrees = state.position(topic) == position
            else:
                agrees = not any(position[1:])
            if topic == TOPIC_CYCLE:
                agrees = agrees and _bare(state.cycle) == _bare(heartbeat.cycle)
            if agrees:
                self._failures.pop(topic, None)
                self.degraded.discard(topic)
                continue
            differing += 1
            self._failures[topic] = self._failures.get(topic, 0) + 1
            if self._failures[topic] <= MAX_REPAIRS:
                repairable.append(topic)
            elif topic not in self.degraded:
                self.degraded.add(topic)
                given_up.append(topic)
        return Comparison(compared, differing, tuple(repairable), tuple(given_up))


def _bare(cycle: CycleEnd | None) -> CycleEnd | None:
    """Return a commit's end as a heartbeat says it."""
    return cycle and msgspec.structs.replace(cycle, unconfirmed=())
