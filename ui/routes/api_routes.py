"""The routes below /api: what the pages show, as JSON."""

from flask import Response, request

from ui.pages import desk_page as desk_views
from ui.pages import for_programs, views
from ui.pages.board import Room
from ui.pages.filters import parse
from ui.pages.missing import spelled
from ui.service import Service

from .replies import json_reply, this_moment, unknown


class ApiRoutes:
    """What the pages show, as JSON for programs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def opportunities(self) -> Response:
        """The opportunities that pass a filter."""
        filters = parse(request.args.items(multi=True))
        moment = this_moment(self._service)
        scan, status, now_ms = moment.scan, moment.status, moment.now_ms
        wanted = filters.select(scan.opportunities, now_ms)
        desk = moment.desk
        marks, room = desk.marks(), Room.of(desk.status)
        return json_reply(
            {
                "opportunities": [
                    for_programs.to_json(opportunity, now_ms, room) | {"trader": marks.of(opportunity)}
                    for opportunity in wanted
                ],
                "total_analyzed": len(scan.state.markets),
                "total_tradable": scan.tradable,
                "as_of": status.as_of,
                "age_seconds": status.age_seconds,
                "stale": status.stale,
                "epoch": scan.epoch,
                "seq": scan.seq,
            }
        )

    def status(self) -> Response:
        """The status."""
        return json_reply(this_moment(self._service).status)

    def trader(self) -> Response:
        """The trader's latest answers."""
        moment = this_moment(self._service)
        now, summary = moment.status.now, moment.status.trader
        return json_reply({"now": now, "summary": summary, **desk_views.desk_json(moment.desk)})

    def system(self) -> Response:
        """What the system page shows."""
        return json_reply(self._service.system(this_moment(self._service)))

    def market(self, ticker: str) -> Response:
        """Kalshi's object of a market."""
        scan = this_moment(self._service).scan
        found = views.market_object(scan, ticker)
        if found is None and (meant := spelled(scan.state, ticker)) is not None:
            found = views.market_object(scan, meant[1])
        if found is None:
            raise unknown("market", ticker)
        return Response(found, mimetype="application/json")
