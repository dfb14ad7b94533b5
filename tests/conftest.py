"""Fixtures for all tests."""

import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import settings

from tests.support import Runner

# `make test` explores the same examples each time; `--hypothesis-profile=explore` looks for new ones, and
# `make soak` for as many as there is time for.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("fixed")

# nohup, and a shell's &, start a program with these ignored, and so would be all that the tests start.
for _number, _usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("chromium") and not shutil.which("chromium"):
        pytest.skip("chromium is not installed (apt-get install chromium)")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes, and move what needs the machine alone to the end."""
    for item in items:
        if "runner" in getattr(item, "fixturenames", ()):
            item.add_marker("e2e")
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-timeout: to wait for the machine is no fault
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked `alone` run while the other worker of this run runs none."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    # Two locks, on files that are there anyway. Who wants the machine alone keeps the door while it waits, so
    # that nobody comes in meanwhile.
    with Path(__file__).open() as door, Path(__file__).with_name("support.py").open() as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, how)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)


@pytest.fixture
def zmq_context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """A context that fails the test when a socket is left open (after pyzmq's own conftest)."""
    context = zmq.Context[zmq.Socket[bytes]]()
    context.linger = 0
    yield context
    # term() blocks while sockets are open, so another thread calls it; it stays behind in a failing run only.
    closer = threading.Thread(target=context.term, name="zmq-term", daemon=True)
    closer.start()
    closer.join(30)
    if closer.is_alive():
        pytest.fail("a ZeroMQ socket was left open: context.term() did not return in 30 s")


@pytest.fixture
def zmq_socket(zmq_context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """A factory of sockets of `zmq_context` that give up sending and receiving after 30 s and are closed."""
    opened: list[zmq.Socket[bytes]] = []

    def open_socket(kind: int, **options: Any) -> zmq.Socket[bytes]:
        socket = zmq_context.socket(kind)
        socket.rcvtimeo = socket.sndtimeo = 30_000
        for name, value in options.items():
            setattr(socket, name, value)
        opened.append(socket)
        return socket

    yield open_socket
    for socket in opened:
        socket.close(linger=0)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory with a path short enough for Unix sockets (tmp_path may not be)."""
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def runner(short_dir: Path) -> Iterator[Runner]:
    """Starts real processes; kills what is left of them and prints their logs when the test ends."""
    runner = Runner(short_dir)
    yield runner
    runner.close()
