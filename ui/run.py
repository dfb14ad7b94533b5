"""The dashboard process: replica, scanner thread, HTTP server."""

import threading
from typing import Final

from bus.clock import Rng, SystemClock
from bus.lifecycle import Stop
from bus.locks import check_port
from bus.replica import Replica
from bus.settings import Settings
from bus.sockets import make_context
from bus.web import serve

from .app import make_app
from .front import Front
from .hub import Hub
from .service import Service
from .watch import Watch

PORT_SETTING: Final = "KALSHI_BUS_UI_PORT"


def run(settings: Settings, stop: Stop) -> int:
    """Serve the dashboard until `stop`; see bus.lifecycle.main."""
    check_port(settings.ui_port, PORT_SETTING)
    clock, hub = SystemClock(), Hub()
    service = Service(settings, hub, clock)
    context = make_context()
    replica = Replica(context, settings.feed, settings.query, clock, Rng(), listener=service.inbox.listen)
    service.follow(replica)
    watch = Watch(context, settings.query)
    threads = [
        threading.Thread(target=service.run, args=(stop,), name="scanner"),
        threading.Thread(target=watch.run, args=(stop,), name="watch"),
        service.supervised.thread(stop),
    ]
    replica.start()
    for thread in threads:
        thread.start()
    try:
        serve(Front(make_app(service, watch.look), hub), settings.ui_port, PORT_SETTING, stop, asgi=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        replica.stop()
        context.term()
    return 0
