"""supervisord as make run becomes it."""

import time

import pytest
from supervisor.medusa import asyncore_25

from bus.process.stack import LOOK_S, StackOptions, close_quietly


def test_it_looks_after_its_processes_however_long_its_own_loop_would_wait() -> None:
    options = StackOptions()
    start = time.monotonic()
    assert options.poller.poll(60) == ([], [])
    assert LOOK_S / 2 <= time.monotonic() - start < 30


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError("gone"), ""), (ValueError("odd"), "odd")])
def test_a_client_that_hangs_up_is_no_error_on_the_terminal(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = []
    channel = asyncore_25.dispatcher(map={})
    channel.close = lambda: closed.append(True)
    try:
        raise error
    except (BrokenPipeError, ValueError):
        close_quietly(channel)
    printed = capsys.readouterr().out
    assert closed == [True]
    assert bool(told) == bool(printed)
    assert told in printed
