"""Stage: a commit that waits for its end, then is applied as one swap."""

from collections.abc import Sequence
from typing import Any

import msgspec

from .messages import RECORD_TYPES, TOPIC_CYCLE, CycleEnd, Envelope, decode_control
from .state import Changed, Group, State, decode_all

_Staged = tuple[str, int, str, Sequence[Any], Sequence[msgspec.Raw]]
"""(topic, seq, kind, records, their bytes) of one message; no records if the kind is unknown."""


class Stage:
    """The messages of the commit being heard, decoded, and its end once that has come.

    Attributes:
        size: bytes of its records.
    """

    def __init__(self) -> None:
        self.size = 0
        self._messages: list[_Staged] = []
        self._cycle = 0
        self._end: tuple[int, CycleEnd] | None = None

    @property
    def closed(self) -> bool:
        """Whether the end of the commit has been heard."""
        return self._end is not None

    def interrupted_by(self, envelope: Envelope) -> bool:
        """Tell whether a message shows that the end of the commit was lost: nothing may come before it."""
        return bool(self._messages) and envelope.cycle != self._cycle

    def add(self, topic: str, envelope: Envelope) -> None:
        """Take a message of the commit.

        Raises:
            DecodeError: a record is malformed; nothing was taken.
        """
        kind = envelope.kind
        records = decode_all(kind, envelope.records) if kind in RECORD_TYPES else ()
        self._cycle = envelope.cycle
        self.size += sum(map(len, envelope.records))
        self._messages.append((topic, envelope.seq, kind, records, envelope.records))

    def close(self, envelope: Envelope) -> None:
        """Take the end of the commit.

        Raises:
            DecodeError: it is malformed.
        """
        self._end = envelope.seq, decode_control(envelope, CycleEnd)

    def swap_into(self, state: State) -> Changed:
        """Apply the closed commit to `state` as one; afterwards the stage is empty."""
        assert self._end is not None
        seq, cycle = self._end
        changed: list[Group] = []
        messages, self._messages = self._messages, []
        messages.reverse()
        with state.lock:
            while messages:
                # Each is released in turn: releasing all at once would hold up every thread of the process.
                topic, last, kind, records, raws = messages.pop()
                if kind in RECORD_TYPES:
                    changed += state.put(topic, last, kind, records, raws, count=True)
                else:
                    state.stream(topic).last = last
            state.stream(TOPIC_CYCLE).last = seq
            state.end_cycle(cycle)
            state.seq = seq
        self.drop()
        return Changed(seq, cycle.cycle, changed)

    def drop(self) -> None:
        """Forget what is staged: it is fetched again."""
        self._messages = []
        self._end = None
        self.size = 0
