"""The dashboard process: replica, scanner thread, HTTP server."""

import threading

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

PORT_SETTING = "KALSHI_BUS_UI_PORT"


def run(settings: Settings, stop: Stop) -> int:
    """Serve the dashboard until `stop`; see bus.lifecycle.main."""
    check_port(settings.ui_port, PORT_SETTING)
    clock, hub = SystemClock(), Hub()
    service = Service(settings, hub, clock)
    context = make_context()
    replica = Replica(context, settings.feed, settings.query, clock, Rng(), listener=service.inbox.listen)
    service.follow(replica)
    scanner = threading.Thread(target=service.run, args=(stop,), name="scanner")
    replica.start()
    scanner.start()
    try:
        serve(Front(make_app(service), hub), settings.ui_port, PORT_SETTING, stop, asgi=True)
    finally:
        stop.set()
        scanner.join()
        replica.stop()
        context.term()
    return 0
