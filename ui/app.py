"""The Flask application, assembled from its routes. It answers from memory."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from bus.alerting import TITLES
from bus.ask import NoAnswer
from bus.health import progress
from bus.market_history import MarketHistory
from bus.process.programs import to_type
from bus.protocol.answers import Refusal
from bus.trading.killswitch import WORD
from markets.errors import BadRecord
from markets.opportunities import KINDS, REASONS, explain
from ui.pages.board import WORDS, informs
from ui.pages.columns import CHOICES, COLUMNS, TableView
from ui.pages.filters import Filters
from ui.pages.log_view import LEVELS
from ui.pages.results import profit_factor, win_rate
from ui.pages.system import DRIFT_WORDS, LOGGING
from ui.routes.alert_routes import OPS, AlertRoutes
from ui.routes.api_routes import ApiRoutes
from ui.routes.assets import Assets
from ui.routes.chart_routes import ChartRoutes
from ui.routes.command_routes import CommandRoutes
from ui.routes.page_routes import PageRoutes
from ui.routes.past_routes import AskPast, PastRoutes, nobody
from ui.routes.replies import preferences

from .desk import Absent
from .pages import desk_page as desk_views
from .pages import display
from .routes import command_rules
from .service import Service

SOURCES: Final = {
    "milestone": "from the match schedule",
    "occurrence": "estimated from the occurrence time",
    "unknown": "",
}
_DISPLAY: Final = (
    "brief", "cents", "change", "count", "countdown", "dollars", "duration", "megabytes", "money", "plain",
    "points", "price", "quoted", "rate", "together", "whole",
)  # fmt: skip


def make_app(
    service: Service,
    wish: Callable[[Sequence[str], str], None],
    past: Callable[[str, int], MarketHistory | None] = lambda _ticker, _start_ms: None,
    then: AskPast = nobody,
) -> Flask:
    """Return the application, which answers from `service` alone.

    Args:
        wish: wishes for the book or the price history of markets being looked at.
        past: returns a market's history since a time (ms), None if there is no answer.
        then: asks the time machine.
    """
    app = Flask(__name__, static_folder=None)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update({name: getattr(display, name) for name in _DISPLAY})
    app.jinja_env.filters.update(
        moment=lambda time_ms: display.moment(time_ms, preferences().zone.info),
        instant=lambda time_ms: display.instant(time_ms, preferences().zone.info),
        stamp=lambda time_ms, now_ms: display.stamp(time_ms, now_ms, preferences().zone.info),
    )
    assets, pages, api = Assets(), PageRoutes(service, wish, past), ApiRoutes(service)
    charts, found = ChartRoutes(service, wish, past), pages.found
    app.jinja_env.filters.update({**desk_views.FILTERS, "explain": explain})
    app.jinja_env.tests["informs"] = informs
    app.jinja_env.globals.update(
        KILL_WORD=WORD,
        to_type=to_type,
        KINDS=KINDS,
        REASONS=REASONS,
        SOURCES=SOURCES,
        CHOICES=[column for column in COLUMNS if column.key in CHOICES],
        USUAL=TableView(Filters()),
        LOG_LEVELS=LEVELS,
        LOGGING=LOGGING,
        ALERT_TITLES=TITLES,
        alerts_on=lambda: service.alerts.on,
        DRIFT_WORDS=DRIFT_WORDS,
        FOLDED=WORDS,
        win_rate=win_rate,
        profit_factor=profit_factor,
        asset=assets.url,
        preferences=preferences,
        progress=progress,
    )
    control = CommandRoutes(service)
    alerts = AlertRoutes(service, control)
    rules: dict[str, Callable[..., Response]] = {
        "/": pages.current(pages.overview),
        "/m/<path:ticker>": pages.current(pages.market),
        "/e/<path:event_ticker>": pages.current(pages.event),
        "/explore": pages.current(found.explore),
        "/explore.csv": found.explore_csv,
        "/s/<path:ticker>": pages.current(found.series),
        "/s/<path:ticker>/events.csv": found.series_csv,
        "/search": pages.current(found.search),
        "/search.csv": found.search_csv,
        "/past": PastRoutes(service, then).past,
        "/opportunities.csv": pages.opportunities_csv,
        "/trader": pages.current(pages.trader),
        "/trader/<name>.csv": pages.trader_csv,
        "/results": pages.current(pages.results, shared=False),
        "/results/<name>.csv": pages.results_csv,
        "/system": pages.current(pages.system, shared=False),
        "/alerts": pages.current(pages.alerts, shared=False),
        "/api/system": api.system,
        "/api/trader": api.trader,
        "/api/opportunities": api.opportunities,
        "/api/status": api.status,
        "/api/search": found.api_search,
        "/api/alerts": alerts.look,
        "/api/market/<path:ticker>": api.market,
        "/api/chart/market/<path:ticker>": charts.market,
        "/api/chart/event/<path:event_ticker>": charts.event,
        "/api/chart/equity": charts.equity,
        "/chart/<path:ticker>.svg": charts.svg,
        "/static/<path:name>": assets.static,
        "/favicon.ico": assets.favicon,
    }
    for rule, view in rules.items():
        name = "api_" + view.__name__ if rule.startswith("/api/") else view.__name__
        name = name.replace("api_api_", "api_")
        name = "chart_" + view.__name__ if "/chart/" in rule else name
        app.add_url_rule(rule, name, view, methods=["GET"])
    for op in command_rules.BODIES:
        app.add_url_rule(f"/api/trader/{op}", f"command_{op}", partial(control.command, op), methods=["POST"])
    for op in OPS:
        app.add_url_rule(f"/api/alerts/{op}", f"alerts_{op}", partial(alerts.command, op), methods=["POST"])
    app.add_url_rule("/api/watchlist", "command_watchlist", control.watchlist, methods=["POST"])
    app.add_url_rule("/api/replay", "command_replay", control.replay, methods=["POST"])
    app.register_error_handler(NoAnswer, pages.silent)
    app.register_error_handler(Absent, pages.absent)
    app.register_error_handler(Refusal, pages.refused)
    app.register_error_handler(BadRecord, pages.bad_parameter)
    app.register_error_handler(HTTPException, pages.http_error)
    return app
