"""The WebSocket server: one replica, and its listeners.

Threads: `replica` follows the feed; `wishes` passes wishes on to the publisher; the main thread has the
sockets.
"""

import random
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from bus.clock import SystemClock
from bus.process.connections import places
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.memory import Packed
from bus.replica import Replica
from bus.sockets import make_context
from bus.threads import main_thread
from bus.wishes import Wishes

from .figures import Board
from .hub import Hub
from .server import Arrivals, Server

SWITCH_S: Final = 0.000_5
"""How long a thread, such as the replica's applying a commit, may keep the interpreter while another
waits."""


def run(descriptor: int, board: Board, settings: Settings, stop: Stop) -> int:
    """Serve clients that come through the socket `descriptor` until `stop`; return the exit code."""
    main_thread.check()
    sys.setswitchinterval(SWITCH_S)
    places()
    clock = SystemClock()
    context = make_context(settings.curve_key)
    arrivals = Arrivals()
    replica = Replica(
        context,
        settings.feed,
        settings.query,
        clock,
        random.Random(),
        listener=arrivals.put,
        keeping=Packed(),
        spare=settings.state,
    )
    wishes = Wishes(context, settings.state)

    def wish(tickers: Sequence[str], ttl_s: float) -> None:
        wishes.wish(tickers, ttl_s, "book")

    with ExitStack() as stack:
        stack.callback(context.term)
        stack.callback(arrivals.wake.close)
        doorway = stack.enter_context(socket.socket(fileno=descriptor))
        hub = Hub(lambda: replica.state, replica.now_ms)
        server = Server(hub, doorway, arrivals, wish, clock, stop, board.put)
        passing_on = threading.Thread(target=wishes.run, args=(stop,), name="wishes")

        def end() -> None:
            stop.set()
            wishes.wake()
            passing_on.join()
            replica.stop()

        stack.callback(end)
        replica.start()
        passing_on.start()
        server.run()
    return 0
