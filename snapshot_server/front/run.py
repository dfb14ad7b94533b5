"""The process of the HTTP front."""

import asyncio
import socket
from contextlib import ExitStack
from typing import Final

import uvloop

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.threads import main_thread

from .server import Server

DESCRIPTORS: Final = 3


def run(descriptors: tuple[int, int, int], _settings: Settings, stop: Stop) -> int:
    """Serve until `stop`, or until the snapshot server has gone; return the exit code.

    Args:
        descriptors: the listening socket, the stream and the packets (messages.py).
    """
    main_thread.check()
    with ExitStack() as stack:
        listener, stream, packets = (
            stack.enter_context(socket.socket(fileno=descriptor)) for descriptor in descriptors
        )
        port = listener.getsockname()[1]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

            async def serve() -> None:
                await Server(listener, stream, packets, port, SystemClock(), stop).run()

            runner.run(serve())
    return 0
