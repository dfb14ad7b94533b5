"""Logs, publishes and counts what was decided and carried out. Called in the engine's thread."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from bus.clock import Clock
from markets.records import FairValue
from trader.engine.inputs import AnyInput, Data
from trader.engine.outputs import (
    Alarm,
    Amend,
    Amended,
    AnyOutput,
    Booked,
    Cancel,
    Corrected,
    DailyLoss,
    Dropped,
    Equity,
    External,
    Foreign,
    Place,
    Refused,
    Settled,
    Switch,
)

from .figures import Latencies

log = structlog.get_logger()


class Published(Protocol):
    """What the trader publishes about itself."""

    def fair_values(self, set_: Sequence[FairValue], removed: Sequence[str]) -> None: ...

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None: ...


class Announcer:
    """Receives the outputs of each step, whose orders are on their way already.

    Args:
        state: returns the trader's current status.

    Attributes:
        counts: how many orders, fills and settlements the journal has.
        latencies: from hearing of a change to the order in the journal and on its way, of the last orders.
        heard_ns: when the data that is being decided on was heard, by the steady clock; None if it was not.
    """

    def __init__(self, published: Published, clock: Clock, state: Callable[[], str]) -> None:
        self.counts: dict[str, int] = {}
        self.latencies = Latencies()
        self.heard_ns: int | None = None
        self._log = log.bind()  # otherwise each line would go through the configuration again
        self._published = published
        self._clock = clock
        self._state = state

    def decided(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        """Count, log and publish what has happened."""
        if self.heard_ns is not None and isinstance(taken, Data):
            now_ns = self._clock.monotonic_ns()
            for output in outputs:
                if isinstance(output, Place):
                    self.latencies.note(now_ns - self.heard_ns)
        for output in outputs:
            self._tell(output)

    def _tell(self, output: AnyOutput) -> None:
        publish, counts, log = self._published.event, self.counts, self._log
        if isinstance(output, Place):
            intent = output.intent
            counts["orders"] += 1
            log.info(
                "order.placed",
                number=intent.number,
                trade=intent.trade,
                strategy=intent.strategy,
                ticker=intent.ticker,
                side=intent.side,
                price_e4=intent.price_e4,
                count_e2=intent.count_e2,
                edge_e6=intent.edge_e6,
            )
            publish("order", number=intent.number)
        elif isinstance(output, Cancel):
            log.info("order.cancelling", number=output.number, reason=output.reason)
        elif isinstance(output, Booked):
            counts["fills"] += len(output.fills)
            log.info(
                "order.ended" if output.status.ended else "order.stands",
                number=output.number,
                status=output.status,
                reason=output.reason,
                filled_e2=sum(fill.count_e2 for fill in output.fills),
            )
            publish("fill" if output.fills else "order", number=output.number)
        elif isinstance(output, Settled):
            settlement = output.settlement
            counts["settlements"] += 1
            log.info(
                "position.settled",
                ticker=settlement.ticker,
                result=settlement.result,
                payout_e6=settlement.payout_e6,
            )
            publish("settlement")
        elif isinstance(output, Corrected):
            now = output.settlement
            log.warning(
                "position.settled_anew",
                ticker=now.ticker,
                result=now.result,
                result_before=output.before.result,
                payout_e6=now.payout_e6,
                payout_before_e6=output.before.payout_e6,
            )
            publish("settlement")
        elif isinstance(output, Amend | Amended | Foreign | External | Alarm):
            self._tell_of_exchange(output)
        elif isinstance(output, Switch | Dropped | DailyLoss):
            publish("state", state=self._state())
        elif isinstance(output, Equity):
            publish("equity")
        elif isinstance(output, Refused):
            log.info(
                "trade.refused",
                strategy=output.strategy,
                event_ticker=output.event_ticker,
                reason=output.reason,
            )

    def _tell_of_exchange(self, output: Amend | Amended | Foreign | External | Alarm) -> None:
        publish, log = self._published.event, self._log
        match output:
            case Amend():
                log.info("order.amending", **msgspec.structs.asdict(output))
            case Amended():
                log.info("order.amended", **msgspec.structs.asdict(output))
                publish("order", number=output.number)
            case Foreign():
                foreign, fill = output.fill, output.fill.fill
                log.warning(
                    "fill.foreign",
                    order_id=foreign.order_id,
                    ticker=foreign.ticker,
                    side=foreign.side,
                    price_e4=fill.price_e4,
                    count_e2=fill.count_e2,
                    closed_elsewhere=output.closed,
                )
                publish("fill")
            case External():
                log.warning("cash.external", **msgspec.structs.asdict(output))
                publish("equity")
            case Alarm():
                log.error("trader.alarm", line=output.line)
                publish("state", state=self._state())
