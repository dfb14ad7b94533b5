"""The HTTP server of snapshot server and dashboard: granian, embedded, in the main thread of the process.

One process, one event loop: the replica lives in the same memory. Everything else about HTTP is the application's.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from .lifecycle import Stop
from .locks import check_port

HOST: Final = "127.0.0.1"
"""Loopback only: DNS names that lead here are the application's to refuse (Host header)."""

MAX_HEADER_BYTES: Final = 65_536


def serve(app: Callable[..., Any], port: int, setting: str, stop: Stop, *, asgi: bool = False) -> None:
    """Serve an RSGI (or ASGI) application on loopback until `stop`. Main thread only.

    Args:
        setting: the variable that moves the port, named when it is taken.

    Raises:
        StartupError: the port is in use.
    """
    check_port(port, setting, HOST)
    asyncio.run(_serve(app, port, stop, asgi))


async def _serve(app: Callable[..., Any], port: int, stop: Stop, asgi: bool) -> None:
    server = Server(
        app,
        address=HOST,
        port=port,
        interface=Interfaces.ASGINL if asgi else Interfaces.RSGI,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=MAX_HEADER_BYTES),
    )
    serving = asyncio.ensure_future(server.serve())
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_reader(stop.fileno(), stopped.set)
    waiting = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(stop.fileno())
    server.stop()
    await serving
    waiting.cancel()
