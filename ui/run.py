"""The dashboard process: one replica, and the pages made from it.

Threads: two `replica` follow the feed, and the trader's fair values and events; `scanner` looks for
opportunities; `trader` polls the trader, and `alerts` the alerts where they are on; `wishes` passes on which
markets are being looked at; `monitor` polls the snapshot server and a replay for their status, `movers` the
snapshot server for what has moved; `catalogue` maintains what markets are found by; `watchlist` wishes for
the starred markets; `supervised` asks supervisord for the state of the processes; the main thread serves
HTTP. None of them ever waits for Kalshi.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import structlog

from bus.ask import Asker, ask
from bus.clock import Rng, SystemClock
from bus.market_history import MarketHistory, Movers, ask_history, ask_movers
from bus.metrics import Figure, Telling
from bus.process.lifecycle import Stop
from bus.process.locks import check_port
from bus.process.settings import Settings
from bus.process.web import serve
from bus.protocol.memory import Keeping
from bus.replica import Replica
from bus.sockets import make_context
from bus.wishes import Wishes
from markets.errors import KalshiBusError

from .alerts_link import AlertsLink
from .app import make_app
from .desk import TraderLink
from .front import Front
from .hub import UpdateHub
from .monitor import Monitor
from .movers import MoversLink
from .service import Service

PORT_SETTING: Final = "KALSHI_BUS_UI_PORT"

WISH_TTL_S: Final = 60.0
"""How long a market's book and price history are wished for after a request for its page."""

PAST_MS: Final = 500
"""How long a page waits for its market's history."""

PAST_MAX: Final = 5_000
"""How many changes of a market's price are asked for."""

MOVERS_MAX: Final = 5_000
MOVERS_MS: Final = 1_000
"""How many movers are asked for, and how long the answer is waited for."""

THEN_MS: Final = 15_000
"""How long a page waits for the time machine, which takes 10 s for a whole catalogue of 130,000 markets."""

log = structlog.get_logger()


def run(settings: Settings, stop: Stop) -> int:
    """Serve the dashboard until `stop`; see bus.process.lifecycle.main."""
    check_port(settings.ui_port, PORT_SETTING, settings.bind)
    clock, hub = SystemClock(), UpdateHub()
    service = Service(settings, hub, clock)
    context = make_context(settings.curve_key)
    replica = Replica(
        context,
        settings.feed,
        settings.query,
        clock,
        Rng(),
        listener=service.listen,
        keeping=Keeping(),
        spare=settings.state,
    )
    service.follow(replica)
    wishes = Wishes(context, settings.query)
    monitor = service.monitor = Monitor(context, settings.query, settings.state)
    alerts = service.alerts = AlertsLink(context, settings.alerts_control, on=settings.alerts == "yes")

    def ask_for_movers(window_s: int) -> Movers:
        return ask_movers(context, settings.query, window_s, MOVERS_MAX, MOVERS_MS)

    movers = service.movers = MoversLink(ask_for_movers, clock.monotonic_ns)
    link = TraderLink(Asker(context, settings.trader_control), settings.data_dir, clock)
    values = Replica(
        context, settings.trader_events, settings.trader_control, clock, Rng(),
        topics=("fv.", "trader."), listener=link.nudge,
    )  # fmt: skip
    service.follow_trader(link, values)
    telling = Telling(context, settings, "ui", lambda _asker: [Figure("ui_event_streams", (), len(hub))])

    def wish(tickers: Sequence[str], what: str) -> None:
        wishes.wish(tickers, WISH_TTL_S, what)

    threads = [
        threading.Thread(target=telling.run, args=(stop,), name="metrics"),
        threading.Thread(target=link.run, args=(stop,), name="trader"),
        threading.Thread(target=service.run, args=(stop,), name="scanner"),
        threading.Thread(target=alerts.run, args=(stop,), name="alerts"),
        threading.Thread(target=wishes.run, args=(stop,), name="wishes"),
        threading.Thread(
            target=monitor.run, args=(stop, clock.monotonic_ns, service.replaying), name="monitor"
        ),
        threading.Thread(target=movers.run, args=(stop,), name="movers"),
        threading.Thread(target=service.catalogue.run, args=(stop,), name="catalogue"),
        threading.Thread(target=service.watchlist.run, args=(stop, wish), name="watchlist"),
    ]

    def past(ticker: str, start_ms: int) -> MarketHistory | None:
        try:
            return ask_history(context, settings.query, ticker, start_ms, limit=PAST_MAX, timeout_ms=PAST_MS)
        except KalshiBusError as error:  # the page is shown without it
            log.info("past.unanswered", ticker=ticker, error=str(error))
            return None

    def then(question: Mapping[str, Any]) -> dict[str, Any]:
        return ask(context, settings.past, {"id": 1, **question}, THEN_MS)

    def end() -> None:
        stop.set()
        wishes.wake()
        service.catalogue.wake()
        service.watchlist.wake()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        replica.stop()
        values.stop()

    with ExitStack() as stack:
        stack.callback(context.term)
        stack.callback(end)
        replica.start()
        values.start()
        for thread in threads:
            thread.start()
        service.supervised.thread(stop).start()
        serve(Front(make_app(service, wish, past, then), hub), settings.ui_port, PORT_SETTING, stop, settings)
    return 0
