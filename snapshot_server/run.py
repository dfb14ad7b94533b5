"""The process: one replica, and what answers from it.

Threads: `replica` follows the feed; `editor` makes editions; `history` writes down what happened; `query`
answers REQ/REP; `wishes` passes wishes on to the publisher; `lists` asks it for what is not on the feed;
`supervised` asks supervisord about the processes; the main thread serves HTTP; `front` looks after the
process that answers what can be answered without this one (front/). None of them ever waits for Kalshi.
"""

import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from bus.clock import SystemClock
from bus.metrics import EVERY_S, Joined, disk_figures, process_figures
from bus.process import http_server, web
from bus.process.connections import connection_from
from bus.process.lifecycle import Stop
from bus.process.settings import Settings, variable_of
from bus.process.supervised import ProcessMonitor
from bus.protocol.answers import Answers
from bus.protocol.join import Action
from bus.protocol.memory import Packed
from bus.protocol.state import State
from bus.replica import Replica
from bus.server import QueryServer
from bus.sockets import make_context
from bus.threads import main_thread
from bus.wishes import Wishes

from .asgi import App
from .edition import Edition
from .editor import Editor, pause
from .elsewhere import Elsewheres
from .front.parent import Front
from .history.disk import Disk
from .history.historian import Historian
from .history.store import Store
from .ops import SnapshotOps
from .trade_api import Wish
from .view import View
from .websocket.doorway import Doorway

SWITCH_S: Final = 0.0001
"""How long a thread may keep the interpreter while another waits for it. An answer takes it several times,
and at Python's default of 5 ms would wait each time for a commit being applied."""

WISH_TTL_S: Final = 60.0
"""How long to wish for what was asked for over HTTP and is not here."""


def run(settings: Settings, stop: Stop) -> int:
    """Serve until `stop`; return the exit code. Main thread only.

    Raises:
        StartupError: the HTTP port or the query endpoint is taken.
    """
    main_thread.check()
    sys.setswitchinterval(SWITCH_S)
    clock = SystemClock()
    context = make_context(settings.curve_key)
    editor = Editor(clock, lambda edition: ahead(edition))  # noqa: PLW0108 - it is made below
    history = Store(settings.history_mb * 1_048_576, pause)
    historian = Historian(history, Disk(settings.data_dir, _name_of(settings)))

    def moved(actions: Sequence[Action]) -> None:
        editor.changed(actions)
        historian.changed(actions)

    replica = Replica(
        context,
        settings.feed,
        settings.state,
        clock,
        random.Random(),
        listener=moved,
        tap=historian.tap,
        keeping=Packed(),
    )
    wishes = Wishes(context, settings.state)
    lists = Elsewheres(context, settings.state, pause)
    requests: Counter[tuple[str, int]] = Counter()
    monitor = ProcessMonitor(settings.run_dir)
    doorway = Doorway()
    joined = Joined(clock)

    def measure() -> None:
        while not stop.is_set():
            joined.put("snapshot_server", (*process_figures(), *disk_figures(settings)))
            stop.wait(EVERY_S)

    stale_after_ms = int(settings.stale_after_s * 1000)

    def view() -> View:
        status, heartbeat = replica.status(), replica.heartbeat
        return View(
            editor.edition,
            status,
            heartbeat,
            stale_after_ms,
            requests,
            monitor.processes,
            history,
            settings.past_port if settings.record == "yes" else None,
            lists.latest,
            doorway.figures,
            joined.figures,
        )

    def state() -> State | None:
        return replica.state if replica.state.epoch else None

    def on_wish(tickers: list[str], ttl_s: float, _now_ms: int, what: str) -> None:
        history.care_for(tickers)
        wishes.wish(tickers, ttl_s, what)

    answers = Answers(state, lambda: replica.status().source, on_wish)
    SnapshotOps(view, pause, history).add_to(answers)
    answers.add("metrics", joined.answer, "process", "figures")

    def moment() -> tuple[object, int]:
        return editor.edition, clock.monotonic_ns() // 1_000_000

    def wish(wish: Wish) -> None:
        on_wish(list(wish.tickers), WISH_TTL_S, 0, wish.what)

    def pass_on(client: tuple[str, int], port: int) -> bool:
        connection = connection_from(client, port)
        if connection is None:
            return False
        with connection:
            return doorway.pass_on(connection)

    def clock_s() -> float:
        return clock.monotonic_ns() / 1e9

    app = App(view, replica.now_ms, requests, pause, moment, wish, pass_on, clock_s)
    front = Front(app, view, editor.show, requests, pause, replica.now_ms, clock)

    def ahead(edition: Edition) -> None:
        app.make_ahead(edition)
        front.show(edition)

    with ExitStack() as stack:
        stack.callback(context.term)
        stack.callback(doorway.close)
        query = QueryServer(context, settings.query, answers, replica.now_ms)
        threads = [
            threading.Thread(target=query.serve, args=(stop,), name="query"),
            threading.Thread(target=editor.run, args=(replica, stop), name="editor"),
            threading.Thread(target=wishes.run, args=(stop,), name="wishes"),
            threading.Thread(target=lists.run, args=(stop,), name="lists"),
            threading.Thread(target=historian.run, args=(replica, stop), name="history"),
            threading.Thread(target=measure, name="metrics"),
        ]
        stack.callback(app.close)

        def end() -> None:
            stop.set()
            editor.wake()
            wishes.wake()
            historian.wake()
            for thread in threads:
                thread.join()
            replica.stop()

        stack.callback(end)
        replica.start()
        for thread in threads:
            thread.start()
        monitor.thread(stop).start()
        port, setting = settings.snapshot_port, variable_of("snapshot_port")
        if settings.token_file is None:
            fronting = threading.Thread(target=front.run, args=(stop,), name="front")
            threads.append(fronting)
            fronting.start()
            http_server.serve(app, app.ready, port, setting, stop, settings, front.begun)
        else:
            # Each request is checked, and one of them has a body.
            web.serve(app, port, setting, stop, settings)
    return 0


def _name_of(settings: Settings) -> str:
    """Return what the history is about: what happened at one exchange did not happen at another."""
    source = f"{settings.env} {settings.api_url or ''}".strip()
    return re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:100]
