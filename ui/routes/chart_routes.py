"""The data of charts: columns as JSON, and a still picture for browsers without scripts."""

from collections.abc import Callable, Sequence
from typing import Final

from flask import Response, render_template, request

from bus.market_history import MarketHistory
from markets.errors import BadRecord
from markets.opportunities import MarketView
from markets.opportunities.legs import top
from ui.pages import views
from ui.pages.chart import OUTCOMES_MAX, SPAN, Point, line_of, picture, points_of, start_of, volume_of
from ui.pages.desk_page import curve_columns
from ui.service import Service

from .replies import json_reply, this_moment, unknown

Past = Callable[[str, int], MarketHistory | None]
"""Returns a market's history since a time (ms); None if there is no answer."""

CANDLES: Final = "candles"


class ChartRoutes:
    """Charts of markets, events and the trader's equity."""

    def __init__(self, service: Service, wish: Callable[[Sequence[str], str], None], past: Past) -> None:
        self._service = service
        self._wish = wish
        self._past = past

    def market(self, ticker: str) -> Response:
        """One market: prices and volume."""
        found = views.market_of(this_moment(self._service).scan, ticker)
        if found is None:
            raise unknown("market", ticker)
        return json_reply(self._chart(found))

    def event(self, event_ticker: str) -> Response:
        """The outcomes of an event; if there are too many, the likeliest."""
        moment = this_moment(self._service)
        found = views.event_page(self._service.scans, moment.scan, event_ticker, moment.now_ms)
        if found is None:
            raise unknown("event", event_ticker)
        drawn = [row.view for row in found.drawn]
        self._wish([view.market.ticker for view in drawn], CANDLES)
        answers, charts = True, []
        for view in drawn:
            chart = self._chart(view, asks=answers, volume=False)
            answers = bool(chart["answers"])  # once the server is silent, it is not asked for the others
            charts.append(chart)
        return json_reply({"event_ticker": event_ticker, "outcomes": charts, "most": OUTCOMES_MAX})

    def equity(self) -> Response:
        """The trader's equity from `since` (Unix seconds) on."""
        since = request.args.get("since", "0")
        if not since.replace(".", "", 1).isascii() or not since.replace(".", "", 1).isdecimal():
            raise BadRecord("since", since, "Unix seconds")
        desk = this_moment(self._service).desk
        columns = curve_columns(desk.curve)
        first = next((n for n, time in enumerate(columns["time"]) if (time or 0) >= float(since)), None)
        later = {name: column[first:] if first is not None else [] for name, column in columns.items()}
        return json_reply(later)

    def svg(self, ticker: str) -> Response:
        """One market, as a picture."""
        found = views.market_of(this_moment(self._service).scan, ticker)
        if found is None:
            raise unknown("market", ticker)
        _, start_ms, now = self._span(found)
        candles = this_moment(self._service).scan.state.candles.get(ticker)
        points = points_of(candles, self._past(ticker, start_ms), now, start_ms)
        drawn = render_template("chart.svg", drawn=picture(points), begin_ms=points[0].time_ms, now=now)
        return Response(drawn, mimetype="image/svg+xml")

    def _span(self, view: MarketView) -> tuple[str, int, Point]:
        now_ms, best = this_moment(self._service).now_ms, top(view)
        span = request.args.get("chart", SPAN)
        bid, ask = (None if level is None else level[0] for level in (best.yes_bid, best.yes_ask))
        return span, start_of(span, now_ms, view.market.open_ms), Point(now_ms, bid, ask)

    def _chart(self, view: MarketView, *, asks: bool = True, volume: bool = True) -> dict[str, object]:
        moment, ticker = this_moment(self._service), view.market.ticker
        span, start_ms, now = self._span(view)
        candles = moment.scan.state.candles.get(ticker)
        past = self._past(ticker, start_ms) if asks else None
        points = points_of(candles, past, now, start_ms)
        traded_e2 = view.quote.volume_e2
        return {
            "ticker": ticker,
            "label": view.market.yes_sub_title or ticker,
            "chart": span,
            "start": start_ms / 1000,
            "epoch": moment.scan.epoch,
            "seq": moment.scan.seq,
            "answers": past is not None,
            "line": line_of(points, past, start_ms),
            "volume": volume_of(candles, past, traded_e2, start_ms, now.time_ms) if volume else None,
        }
