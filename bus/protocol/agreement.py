"""Agreement: whether the streams held here match what heartbeats say."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from .digest import MASK
from .messages import TOPIC_CYCLE, CycleEnd, Heartbeat, matches
from .state import State

WHOLE: Final = "*"
"""Stands for all streams together when it is not known which of them differs; no topic has this name."""

MAX_REPAIRS: Final = 2
"""Failed repairs of one stream in a row before it is called degraded and left as it is."""


class Comparison(NamedTuple):
    """The result of comparing one heartbeat.

    Attributes:
        compared: how many streams were compared by their digests.
        differing: how many streams, or all together, are not what the publisher says.
        repairable: those of them to fetch again.
        given_up: those that are degraded from now on.
    """

    compared: int
    differing: int
    repairable: tuple[str, ...]
    given_up: tuple[str, ...]


class Agreement:
    """Compares the streams' digests with the publisher's, and knows which of them repairs have not helped.

    Args:
        prefixes: the topics followed.

    Attributes:
        degraded: streams that still differed after MAX_REPAIRS repairs in a row.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.degraded: set[str] = set()
        self._prefixes = tuple(prefixes)
        self._failures: dict[str, int] = {}
        self._answered = True

    def compare(self, state: State, heartbeat: Heartbeat) -> Comparison:
        """Compare `state` with what a heartbeat of the same number says about streams and the last commit.

        If nothing is seen to differ and everything is followed, the digest of the whole is compared too: it
        covers what no heartbeat lists any more.
        """
        compared, differing, repairable, given_up = 0, 0, list[str](), list[str]()
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
            if not agrees:
                differing += 1
            self._judge(topic, repairable, given_up, agrees=agrees)
        if (
            not differing
            and not self.degraded - {WHOLE}
            and "" in self._prefixes
            and heartbeat.digest is not None
        ):
            agrees = state.digest() == heartbeat.digest
            differing += not agrees
            self._judge(WHOLE, repairable, given_up, agrees=agrees)
            if repairable:
                repairable = list(state.streams)
        return Comparison(compared, differing, tuple(repairable), tuple(given_up))

    def check(self, state: State, topics: Collection[str], digest: int) -> bool:
        """Tell whether streams that were just put in are to be fetched again.

        They are, once, if they do not add up to the digest that came in the same answer. If they still do
        not, heartbeats will say which of them differs.
        """
        held = sum(sum(state.position(topic)[1:]) for topic in topics if topic in state.streams)
        agrees, again = held & MASK == digest, self._answered
        self._answered = agrees
        return again and not agrees

    def _judge(self, topic: str, repairable: list[str], given_up: list[str], *, agrees: bool) -> None:
        if agrees:
            self._failures.pop(topic, None)
            self.degraded.discard(topic)
            return
        self._failures[topic] = self._failures.get(topic, 0) + 1
        if self._failures[topic] <= MAX_REPAIRS:
            repairable.append(topic)
        elif topic not in self.degraded:
            self.degraded.add(topic)
            given_up.append(topic)


def _bare(cycle: CycleEnd | None) -> CycleEnd | None:
    """Return a commit's end as a heartbeat says it."""
    return cycle and msgspec.structs.replace(cycle, unconfirmed=())
