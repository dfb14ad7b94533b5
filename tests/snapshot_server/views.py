"""A view of a small catalogue, and editions made of it."""

import json
from typing import Any

from bus.protocol.join import Stats
from bus.protocol.messages import Heartbeat
from bus.protocol.writer import Writer
from bus.replica import ReplicaStatus
from snapshot_server.edition import Edition, next_edition
from snapshot_server.http import HttpRequest, HttpResponse, respond
from snapshot_server.view import View
from tests.snapshot_server.venue import HEALTH, a_catalogue, a_writer

NOW_MS = 1_790_000_000_000
CATALOGUE = a_catalogue(300, NOW_MS)
HOST = {"host": "127.0.0.1:5002"}


def edition_of(writer: Writer, previous: Edition | None = None, now_ms: int = NOW_MS) -> Edition:
    state = writer.state
    return next_edition(state.frozen(), state.digest(), previous, now_ms, lambda: None)


def edition_after(writer: Writer, previous: Edition | None, now_ms: int = NOW_MS) -> Edition:
    """The next one from what was touched since the last call, the first time from all."""
    state = writer.state
    touched = state.take_touched()
    return next_edition(state.frozen(touched), state.digest(), previous, now_ms, lambda: None, touched)


def assert_same(edition: Edition, afresh: Edition) -> None:
    """All that is ever asked of them is the same."""
    assert plain(edition) == plain(afresh)
    assert edition.tickers == sorted(edition.moving)
    for name in ("created", "events_created", "event_created_ms", "timings", "match_times", "enriched"):
        assert getattr(edition, name) == getattr(afresh, name), name
    for name in ("by_event", "by_series", "milestones_of"):
        assert getattr(edition, name) == getattr(afresh, name), name
    assert edition.state.records == afresh.state.records


def view_of(edition: Edition | None, **status: Any) -> View:
    where = {
        "epoch": 1,
        "seq": 1,
        "live": True,
        "phase": "live",
        "lost": False,
        "age_ms": 0,
        "degraded": (),
        "source": "live",
        "stats": Stats(),
    }
    heartbeat = Heartbeat(since=0, seq=0, streams={}, now_ms=NOW_MS, publisher=HEALTH) if edition else None
    return View(edition, ReplicaStatus(**(where | status)), heartbeat, 30_000)  # type: ignore[arg-type]


WRITER = a_writer(CATALOGUE, NOW_MS, NOW_MS)
VIEW = view_of(edition_of(WRITER))
STARTING = view_of(None, phase="joining", epoch=0, seq=0, live=False, age_ms=None)


def get(
    path: str, query: str = "", view: View = VIEW, now_ms: int = NOW_MS + 1_250, **headers: str
) -> HttpResponse:
    sent = HOST | {name.replace("_", "-"): value for name, value in headers.items()}
    return respond(HttpRequest("GET", path, query, sent), view, now_ms)


def decoded(response: HttpResponse) -> Any:
    return json.loads(response.content())


def plain(edition: Edition) -> dict[str, Any]:
    answer: dict[str, Any] = decoded(get("/markets", view=view_of(edition)))
    return answer
