"""Changes are taken exactly up to a position, whichever of state and news is ahead."""

import threading
from typing import Any

import pytest

from bus.inbox import Inbox
from bus.protocol.join import Tell
from bus.protocol.state import Changed
from bus.scan.rescan import Batch
from tests.bus.scan.changes import batch_with


def test_a_batch_ends_exactly_at_the_position_asked_for() -> None:
    inbox = Inbox()
    inbox.listen([Tell("live", {"epoch": 1, "seq": 5})])
    inbox.listen([Changed(6, 0, (("quote", ("A",)),)), Changed(7, 2, (("quote", ("B",)),))])

    assert inbox.take(1, 6, 0.0) == Batch(whole=True)
    assert inbox.take(1, 7, 0.0) == batch_with((("quote", "B"),), commit=True)
    assert inbox.take(1, 8, 0.0) is None
    assert inbox.take(2, 1, 0.0) is None


def test_taking_waits_for_what_the_state_already_has() -> None:
    inbox = Inbox()
    inbox.listen([Tell("live", {"epoch": 1, "seq": 5})])
    inbox.take(1, 5, 0.0)
    taken: list[Any] = []
    taker = threading.Thread(target=lambda: taken.append(inbox.take(1, 6, 5.0)))
    taker.start()
    inbox.listen([Changed(6, 0, (("book", ("A",)),))])
    taker.join(30)

    assert taken == [batch_with((("book", "A"),))]


def test_a_resync_makes_everything_new() -> None:
    inbox = Inbox()
    inbox.listen([Changed(6, 0, (("quote", ("A",)),)), Tell("resynced", {"epoch": 1, "seq": 9})])

    assert inbox.take(1, 9, 0.0) == Batch(whole=True)
    assert not inbox.wait(0.0)


def test_more_than_may_wait_is_told_as_everything_until_that_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bus.inbox.MAX_KEYS", 20)
    inbox = Inbox()
    inbox.listen([Tell("live", {"epoch": 1, "seq": 5})])
    inbox.take(1, 5, 0.0)
    inbox.listen([Changed(seq, 0, (("quote", (f"M{seq}",)),)) for seq in range(6, 10)])

    assert len(inbox) <= 3
    assert inbox.take(1, 7, 0.0) == Batch(whole=True)
    assert inbox.take(1, 9, 0.0) == Batch(whole=True)
    inbox.listen([Changed(10, 0, (("quote", ("M10",)),))])
    assert inbox.take(1, 10, 0.0) == batch_with((("quote", "M10"),))
