"""supervisord as make run becomes it."""

import time

from bus.process.stack import LOOK_S, StackOptions


def test_it_looks_after_its_processes_however_long_its_own_loop_would_wait() -> None:
    options = StackOptions()
    start = time.monotonic()
    assert options.poller.poll(60) == ([], [])
    assert LOOK_S / 2 <= time.monotonic() - start < 30
