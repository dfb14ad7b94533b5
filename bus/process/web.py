"""The HTTP server of snapshot server and dashboard: granian, embedded, in the main thread of the process.

One process, one event loop: the replica lives in the same memory. Everything else about HTTP is up to the
application.
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

from bus.clock import SystemClock
from bus.threads import main_thread

from .access import guarded
from .connections import Doorkeeper, places
from .lifecycle import Deadline, Stop
from .locks import check_port
from .settings import Settings
from .tls import Place, behind_tls

log = structlog.get_logger()

MAX_HEADER_BYTES: Final = 65_536

DRAIN_S: Final = 1.5
"""How long clients may take to read the rest of their answers once we stop."""

HEADERS_MS: Final = 10_000
"""How long a request may take to arrive, counted from its connection or the previous answer."""


def serve(
    app: Callable[..., Any], port: int, setting: str, stop: Stop, settings: Settings | None = None
) -> None:
    """Serve an ASGI application until `stop`: on loopback, or as `settings` say. Main thread only.

    Which names may lead here (Host header) is for the application, or `access`, to decide.

    Args:
        setting: the variable that sets the port, named if the port is taken.

    Raises:
        StartupError: the port is in use, the address is not of this machine, or the token's file or the
            certificate is unusable.
    """
    main_thread.check()
    host = "127.0.0.1" if settings is None else settings.bind
    if settings is not None:
        app = guarded(app, port, settings, SystemClock())
    check_port(port, setting, host)
    with (
        behind_tls(app, host, port, settings) as place,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(place, stop))
    # A thread of granian's that wants the interpreter while it shuts down aborts the process (seen in 2 of 60
    # exits).
    deadline = Deadline(1)
    while _native_threads() and not deadline.passed:
        time.sleep(0.005)


def _native_threads() -> int:
    """How many threads of this process are neither Python's nor ZeroMQ's; 0 if the system does not say."""
    names = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text())
    ours = threading.active_count() + sum(name.startswith("ZMQbg") for name in names)
    return max(0, len(names) - ours)


async def _serve(place: Place, stop: Stop) -> None:
    limit = places()
    doorkeeper = Doorkeeper(place.app, place.port, limit)
    server = Server(
        doorkeeper,
        address=place.host,
        port=place.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        http=HTTPModes.http1,  # told to detect the version of HTTP, granian waits for the first byte for ever
        backlog=1_024,
        backpressure=limit,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_MS, max_buffer_size=MAX_HEADER_BYTES),
    )
    serving = asyncio.ensure_future(server.serve())
    beside = [asyncio.ensure_future(run()) for run in (doorkeeper.run, *place.beside)]
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_reader(stop.fileno(), stopped.set)
    waiting = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(stop.fileno())
    waiting.cancel()
    for task in beside:
        task.cancel()
    server.stop()
    # Granian waits until clients have taken what is on its way to them; we do not wait for ever.
    await asyncio.wait({serving}, timeout=DRAIN_S)
    if not serving.done():
        log.warning("http.cut_off", port=place.port)
        serving.cancel()
