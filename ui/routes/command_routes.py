"""The POST routes: commands to the trader and to a replay."""

from collections import defaultdict

import msgspec
import structlog
from flask import Response, request
from werkzeug.exceptions import Conflict, Forbidden, TooManyRequests, UnsupportedMediaType

from bus.protocol.answers import Refusal
from bus.trading.shapes import KillCommand, PauseCommand, ResumeCommand
from ui.service import Service

from . import command_rules
from .replies import json_reply, unknown

log = structlog.get_logger()


class CommandRoutes:
    """Commands to the trader and to a replay. What could come from another site's page is refused unread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._rates: defaultdict[str, command_rules.CommandRate] = defaultdict(command_rules.CommandRate)
        self._rates["watchlist"] = command_rules.CommandRate(
            command_rules.STAR_BURST, command_rules.STARS_PER_SECOND
        )
        for op in ("prepare", "confirm"):
            self._rates[op] = command_rules.CommandRate(
                command_rules.TICKET_BURST, command_rules.TICKETS_PER_SECOND
            )

    def command(self, op: str) -> Response:
        """Carry out a command to the trader."""
        command = command_rules.read_body(op, self.body(op))
        self.pay(op)
        link = self._service.link()
        try:
            if isinstance(command, KillCommand):
                result = link.kill(command.reason)
            elif isinstance(command, PauseCommand | ResumeCommand):
                result = link.command(command)
            else:
                answer = link.by_hand(command)
                log.info("command.sent", op=op, ok=True, answer=repr(answer)[:500])
                return json_reply(answer)
        except Refusal as refusal:
            log.info("command.sent", op=op, ok=False, error=str(refusal))
            return json_reply({"error": {"code": refusal.code, "message": str(refusal)}}, 409)
        log.info("command.sent", op=op, ok=True, state=result.state)
        status = self._service.desk.status
        return json_reply(
            {
                **msgspec.structs.asdict(result),
                "positions": None if status is None else status.positions,
                "open_orders": None if status is None else status.open_orders,
            }
        )

    def replay(self) -> Response:
        """Carry out a command to the replay."""
        parameters = command_rules.read_replay(self.body("replay"))
        self.pay("replay")
        monitor = self._service.monitor
        if monitor is None or not self._service.replaying():
            raise Conflict("no recording is being played back")
        answer = monitor.command_replay(parameters)
        return json_reply(answer, 200 if answer.get("ok") else 409)

    def watchlist(self) -> Response:
        """Add a market to the watchlist, or remove it."""
        wanted = command_rules.read_star(self.body("watchlist"))
        self.pay("watchlist")
        if wanted.starred and wanted.ticker not in self._service.scan.state.markets:
            raise unknown("market", wanted.ticker)
        try:
            tickers = self._service.watchlist.star(wanted.ticker, starred=wanted.starred)
        except OSError as error:
            message = f"the watchlist cannot be written: {error.strerror or error}"
            return json_reply({"error": {"code": "not_written", "message": message}}, 503)
        return json_reply({"tickers": tickers})

    def body(self, op: str) -> bytes:
        """Return the body of a request that may send commands; refuse any other."""
        because = command_rules.foreign(dict(request.headers), request.host)
        if because is not None:
            log.warning("command.refused", op=op, because=because)
            raise Forbidden(because)
        if request.mimetype != "application/json":
            raise UnsupportedMediaType("Content-Type: expected application/json")
        return request.get_data(cache=False)

    def pay(self, op: str) -> None:
        """Count a command against its rate limit; refuse it if there are too many."""
        if not self._rates[op].take(self._service.steady_ns()):
            raise TooManyRequests("too many commands; try again in a moment")
