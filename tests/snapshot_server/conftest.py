"""A snapshot server to ask."""

from collections.abc import Iterator

import pytest

from tests.snapshot_server.stack import COUNT, Context, Served, Stack
from tests.snapshot_server.venue import a_catalogue, a_writer
from tests.support import Runner


@pytest.fixture
def stack(runner: Runner, zmq_context: Context) -> Stack:
    return Stack(runner, zmq_context)


@pytest.fixture
def served(stack: Stack) -> Iterator[Served]:
    """A stack that serves COUNT markets, five with books."""
    with stack.venue() as venue:
        now_ms = venue.clock.now_ms()
        catalogue = a_catalogue(COUNT, now_ms)
        writer = a_writer(catalogue, now_ms, now_ms)
        venue.open(writer)
        process = stack.runner.start("snapshot_server")
        stack.wait("ok")
        yield stack, venue, writer, catalogue, process
        assert process.popen.poll() is None, "the server ended"
        assert process.stop() == 0
        assert not process.events("thread.crashed")
        assert not process.events("question.crashed")
