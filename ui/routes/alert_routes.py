"""The routes of the alerts: their latest answer as JSON, and commands to them."""

from typing import Any, Final

import msgspec
import structlog
from flask import Response, request
from werkzeug.exceptions import ServiceUnavailable

from bus.alerting import AlertsAnswer, Number, PriceRule, check_quiet, check_rule
from bus.protocol.answers import Refusal
from bus.trading.asked import asked
from markets.errors import BadRecord
from ui.service import Service

from . import command_rules
from .command_routes import CommandRoutes
from .replies import json_reply, this_moment

log = structlog.get_logger()

OPS: Final = ("set_rule", "remove_rule", "set_quiet", "test")


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a command: `rule` for set_rule, `quiet` for set_quiet, `number` for the others."""

    rule: dict[str, Any] | None = None
    quiet: dict[str, Any] | None = None
    number: Number | None = None


class AlertRoutes:
    """What pages and programs read from the alerts, and the commands they send."""

    def __init__(self, service: Service, commands: CommandRoutes) -> None:
        self._service = service
        self._commands = commands

    def look(self) -> Response:
        """The alerts' whole answer; with `after`, only newer messages, for pages that poll for them."""
        link = self._service.alerts
        answer = link.answer if link.answers else None
        shared = {"on": link.on, "answers": link.answers}
        text = request.args.get("after")
        if text is None:
            return json_reply(shared | (msgspec.to_builtins(answer) if answer is not None else {}))
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise BadRecord("after", text[:50], "the number of a message")
        return json_reply(shared | (_news(answer, int(text)) if answer is not None else {}))

    def command(self, op: str) -> Response:
        """Carry out a command to the alerts."""
        body = asked(command_rules.read_members(op, self._commands.body(op)), _Body)
        parameters = self._parameters(op, body)
        self._commands.pay(op)
        if not self._service.alerts.on:
            raise ServiceUnavailable("alerts are off: KALSHI_BUS_ALERTS=yes turns them on")
        try:
            done = self._service.alerts.command(op, **parameters)
        except Refusal as refusal:
            return json_reply({"error": {"code": refusal.code, "message": str(refusal)}}, 409)
        log.info("alerts.command", op=op, number=done.number)
        return json_reply(done)

    def _parameters(self, op: str, body: _Body) -> dict[str, Any]:
        if op == "set_rule":
            rule = check_rule(body.rule)
            if isinstance(rule, PriceRule):
                rule = self._known(rule)
            return {"rule": msgspec.to_builtins(rule)}
        if op == "set_quiet":
            return {"quiet": msgspec.to_builtins(check_quiet(body.quiet))}
        return {} if body.number is None else {"number": body.number}

    def _known(self, rule: PriceRule) -> PriceRule:
        """Return a rule about a market with the market's series filled in."""
        state = this_moment(self._service).scan.state
        market = state.markets.get(rule.ticker) or state.markets.get(rule.ticker.upper())
        if market is None:
            if rule.number:  # a rule may be edited or turned off after its market has gone
                return rule
            raise BadRecord("ticker", rule.ticker, "the ticker of a listed market")
        return msgspec.structs.replace(rule, ticker=market.ticker, series=market.series_ticker or "_")


def _news(answer: AlertsAnswer, after: int) -> dict[str, Any]:
    messages = [one for one in answer.messages if one.number > after]
    return {"last": answer.last, "quiet_now": answer.quiet_now, "messages": msgspec.to_builtins(messages)}
