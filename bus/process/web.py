"""The HTTP server of snapshot server and dashboard: granian, embedded, in the main thread of the process.

One process, one event loop: the replica lives in the same memory. Everything else about HTTP is the
application's.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from bus.threads import main_thread

from .connections import Doorkeeper, places
from .lifecycle import Deadline, Stop
from .locks import check_port

log = structlog.get_logger()

HOST: Final = "127.0.0.1"
"""Loopback only: DNS names that lead here are the application's to refuse (Host header)."""

MAX_HEADER_BYTES: Final = 65_536

DRAIN_S: Final = 1.5
"""How long clients may take for the rest of their answers once we stop."""

HEADERS_MS: Final = 10_000
"""How long a request may take to be said, from the first moment of its connection or the last answer on."""


def serve(app: Callable[..., Any], port: int, setting: str, stop: Stop) -> None:
    """Serve an ASGI application on loopback until `stop`. Main thread only.

    Args:
        setting: the variable that moves the port, named when it is taken.

    Raises:
        StartupError: the port is in use.
    """
    main_thread.check()
    check_port(port, setting, HOST)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, port, stop))
    # A thread of granian's that wants the interpreter while it ends aborts the process (seen: 2 exits in 60).
    deadline = Deadline(1)
    while _native_threads() and not deadline.passed:
        time.sleep(0.005)


def _native_threads() -> int:
    """How many threads of this process are neither Python's nor ZeroMQ's; 0 where the system does not say."""
    names = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text())
    ours = threading.active_count() + sum(name.startswith("ZMQbg") for name in names)
    return max(0, len(names) - ours)


async def _serve(app: Callable[..., Any], port: int, stop: Stop) -> None:
    limit = places()
    doorkeeper = Doorkeeper(app, port, limit)
    server = Server(
        doorkeeper,
        address=HOST,
        port=port,
        interface=Interfaces.ASGINL,
        websockets=False,
        http=HTTPModes.http1,  # told to find out which HTTP it is, granian waits for the first byte for ever
        backlog=1_024,
        backpressure=limit,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_MS, max_buffer_size=MAX_HEADER_BYTES),
    )
    serving = asyncio.ensure_future(server.serve())
    keeping = asyncio.ensure_future(doorkeeper.run())
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_reader(stop.fileno(), stopped.set)
    waiting = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(stop.fileno())
    waiting.cancel()
    keeping.cancel()
    server.stop()
    # Granian waits for its clients to take what is on the way to them; we do not wait for ever.
    await asyncio.wait({serving}, timeout=DRAIN_S)
    if not serving.done():
        log.warning("http.cut_off", port=port)
        serving.cancel()
