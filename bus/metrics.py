"""Metrics of processes without an HTTP port, sent to the snapshot server, which serves them at `/metrics`.

Each process names its figures here, once, by Prometheus' conventions: base units, `_total` for counters. One
of its threads sends them every few seconds, by op `metrics` on `query`; when it stops, what it sent is
forgotten.
"""

import contextlib
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import structlog
import zmq

from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.answers import Refusal
from bus.trading.gateway import GatewayStatus
from bus.trading.shapes import TraderStatus, told
from markets.errors import KalshiBusError

from .ask import Asker
from .clock import Clock

log = structlog.get_logger()

EVERY_S: Final = 5.0
TIMEOUT_MS: Final = 1_000
FORGOTTEN_MS: Final = 30_000
"""How long a process's figures are shown after they were last sent."""

FIGURES_MOST: Final = 500
"""The most figures of one process."""

PROCESSES_MOST: Final = 50
NAME_MOST: Final = 100

Kind = Literal["gauge", "counter"]


class Metric(NamedTuple):
    """What a name means. `labels` are those in addition to `process`."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Figure(msgspec.Struct, frozen=True, array_like=True):
    """One value: the metric's name, the values of its labels, and the number."""

    name: str
    labels: tuple[str, ...]
    value: float


class Told(msgspec.Struct, frozen=True):
    """What a process sends: op `metrics`."""

    process: str
    figures: tuple[Figure, ...]


METRICS: Final[Mapping[str, Metric]] = {
    # of every process
    "process_resident_memory_bytes": Metric("gauge", "Memory of the process that is in RAM."),
    "process_cpu_seconds": Metric("counter", "Processor time of the process."),
    "process_open_fds": Metric("gauge", "Open file descriptors."),
    "process_threads": Metric("gauge", "Threads."),
    # of the trader
    "trader_running": Metric("gauge", "1 while the trader may trade."),
    "trader_killed": Metric("gauge", "1 while the kill switch is set."),
    "trader_state": Metric("gauge", "1 for the state, and each reason, that holds.", ("reason",)),
    "trader_profit_dollars": Metric(
        "gauge",
        "Profit after fees: realised, unrealised (before fees), total at bid, settlement, locked, today.",
        ("of",),
    ),
    "trader_fees_dollars": Metric("gauge", "Fees paid."),
    "trader_cash_dollars": Metric("gauge", "Cash."),
    "trader_equity_dollars": Metric("gauge", "Cash and what is held, at bid."),
    "trader_exposure_dollars": Metric(
        "gauge", "What can be lost by positions, and what orders can still cost.", ("of",)
    ),
    "trader_limit_dollars": Metric("gauge", "Limits that hold.", ("of",)),
    "trader_daily_loss_dollars": Metric("gauge", "Loss that counts against the limit of the day."),
    "trader_daily_loss_latched": Metric("gauge", "1 while it has reached its limit."),
    "trader_positions": Metric("gauge", "Markets in which something is held."),
    "trader_orders": Metric("gauge", "Orders by state: open, unknown, ended.", ("state",)),
    "trader_orders_placed": Metric("counter", "Orders of this journal."),
    "trader_fills": Metric("counter", "Fills."),
    "trader_settlements": Metric("counter", "Settlements."),
    "trader_decisions": Metric("counter", "Decisions."),
    "trader_refusals": Metric("counter", "Trades that were not made, by reason.", ("reason",)),
    "trader_failures": Metric("counter", "Events over which a strategy or kind raised an error."),
    "trader_backlog_messages": Metric("gauge", "Messages that wait to be traded on."),
    "trader_data_age_seconds": Metric("gauge", "Age of the data it trades on."),
    "trader_latency_seconds": Metric("gauge", "From hearing to the order on its way.", ("quantile",)),
    "trader_reconciled": Metric("gauge", "1 while journal and account agree."),
    # of the order gateway
    "gateway_ready": Metric("gauge", "1 while the order gateway sends orders."),
    "gateway_orders": Metric("gauge", "Orders by state: open, in_flight, unknown.", ("state",)),
    "gateway_exposure_dollars": Metric("gauge", "What orders may still cost and the account holds."),
    "gateway_sent": Metric("counter", "Requests sent to the exchange."),
    "gateway_refused": Metric("counter", "Requests that it refused by itself, by reason.", ("reason",)),
    "gateway_budget_tokens": Metric("gauge", "What is left of the exchange's rate limits.", ("of",)),
    "gateway_watchdog_up": Metric("gauge", "1 while the watchdog is heard."),
    # of the snapshot server
    "disk_free_bytes": Metric("gauge", "Free on the disk of a directory: data, run.", ("place",)),
    "disk_used_bytes": Metric("gauge", "Used by recording, journals, history, logs and the rest.", ("of",)),
    # of the dashboard
    "ui_event_streams": Metric("gauge", "Pages that are open."),
    # of the alerts
    "alerts_rules": Metric("gauge", "Rules."),
    "alerts_told": Metric("counter", "Messages told, on the pages or elsewhere."),
    "alerts_waiting": Metric("gauge", "Messages that wait for a way out."),
    "alerts_undelivered": Metric("gauge", "Messages of late that nobody was told, dropped ones included."),
    # of what writes
    "recorder_messages": Metric("counter", "Messages recorded."),
    "recorder_keyframes": Metric("counter", "Keyframes recorded."),
    "recorder_dropped": Metric("counter", "Messages lost because the disk was too slow."),
    "recorder_size_bytes": Metric("gauge", "Size of the recording."),
    "bridge_messages": Metric("counter", "Messages stored in the JetStream."),
    "bridge_keyframes": Metric("counter", "Keyframes stored there, by what they are.", ("what",)),
    "bridge_dropped": Metric("counter", "Messages lost while the JetStream did not take them."),
    "forwarder_messages": Metric("counter", "Messages passed on."),
    "forwarder_bytes": Metric("counter", "Bytes of the feed passed on."),
    "forwarder_questions": Metric("counter", "Questions passed on."),
    "forwarder_lost": Metric("counter", "Questions and answers that could not be passed on."),
    "forwarder_handshakes": Metric("counter", "Handshakes, by what became of them.", ("result",)),
}
"""The metrics accepted, without the common prefix and, for counters, without `_total` at the end."""


def trader_figures(status: TraderStatus) -> Iterable[Figure]:
    """Yield a trader's figures; unknown ones are left out."""
    yield Figure("trader_running", (), float(status.state == "running"))
    yield Figure("trader_killed", (), float(status.killed is not None))
    for reason in dict.fromkeys((status.state, *status.reasons)):
        yield Figure("trader_state", (reason,), 1.0)
    pnl = status.pnl
    for of, text in (
        ("realised", pnl.realised_dollars),
        ("unrealised", pnl.unrealised_dollars),
        ("total", pnl.total_dollars),
        ("today", pnl.today_dollars),
        ("settlement", pnl.settlement_dollars),
        ("locked", pnl.locked_dollars),
    ):
        yield from _dollars("trader_profit_dollars", text, of)
    yield from _dollars("trader_fees_dollars", pnl.fees_dollars)
    yield from _dollars("trader_cash_dollars", status.cash_dollars)
    yield from _dollars("trader_equity_dollars", status.equity_dollars)
    exposure = status.exposure
    for of, text in (
        ("positions", exposure.positions_dollars),
        ("orders", exposure.orders_dollars),
        ("total", exposure.total_dollars),
    ):
        yield from _dollars("trader_exposure_dollars", text, of)
    yield from _dollars("trader_limit_dollars", status.limits.total_dollars, "total")
    yield from _dollars("trader_limit_dollars", status.limits.daily_loss_dollars, "daily_loss")
    if status.daily_loss is not None:
        yield from _dollars("trader_daily_loss_dollars", status.daily_loss.lost_dollars)
        yield Figure("trader_daily_loss_latched", (), float(status.daily_loss.latched))
    yield Figure("trader_positions", (), status.positions)
    yield Figure("trader_orders", ("open",), status.open_orders)
    yield Figure("trader_orders", ("unknown",), status.unknown_orders)
    yield Figure("trader_orders", ("ended",), max(0, status.orders - status.open_orders))
    yield Figure("trader_orders_placed", (), status.orders)
    yield Figure("trader_fills", (), status.fills)
    yield Figure("trader_settlements", (), status.settlements)
    yield Figure("trader_decisions", (), status.decisions)
    yield Figure("trader_failures", (), status.failed)
    yield Figure("trader_backlog_messages", (), status.backlog)
    yield Figure("trader_reconciled", (), float(status.reconciled))
    for reason, count in status.refusals.items():
        yield Figure("trader_refusals", (reason,), count)
    if status.data_age_seconds is not None:
        yield Figure("trader_data_age_seconds", (), status.data_age_seconds)
    for quantile, latency_ms in (("0.5", status.latency_ms.p50), ("0.99", status.latency_ms.p99)):
        if latency_ms is not None:
            yield Figure("trader_latency_seconds", (quantile,), latency_ms / 1_000)


def gateway_figures(status: GatewayStatus) -> Iterable[Figure]:
    """Yield an order gateway's figures."""
    yield Figure("gateway_ready", (), float(status.state == "ready"))
    yield Figure("gateway_orders", ("open",), status.open_orders)
    yield Figure("gateway_orders", ("in_flight",), status.in_flight)
    yield Figure("gateway_orders", ("unknown",), status.unknown)
    yield Figure("gateway_exposure_dollars", (), status.exposure_e6 / 1e6)
    yield Figure("gateway_sent", (), status.sent)
    yield Figure("gateway_budget_tokens", ("writes",), status.writes.left)
    yield Figure("gateway_budget_tokens", ("reads",), status.reads.left)
    yield Figure("gateway_watchdog_up", (), float(status.watchdog is not None))
    for reason, count in status.refused.items():
        yield Figure("gateway_refused", (reason,), count)


def process_figures() -> Iterable[Figure]:
    """Yield what the system says about this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield Figure("process_cpu_seconds", (), used.ru_utime + used.ru_stime)
    yield Figure("process_threads", (), threading.active_count())
    with contextlib.suppress(OSError):  # not Linux, or no descriptor left to look with
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        yield Figure("process_resident_memory_bytes", (), pages * os.sysconf("SC_PAGE_SIZE"))
        yield Figure("process_open_fds", (), sum(1 for _ in Path("/proc/self/fd").iterdir()))


def _dollars(name: str, text: str | None, *labels: str) -> Iterable[Figure]:
    if text is not None:
        yield Figure(name, labels, float(text))


def is_known(figure: Figure) -> bool:
    """Tell whether a figure is one of METRICS, with the right labels."""
    metric = METRICS.get(figure.name)
    return metric is not None and len(metric.labels) == len(figure.labels)


class Joined:
    """What processes have sent. Any thread reads it; if two put at once, the lost one is soon sent again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, tuple[int, tuple[Figure, ...]]] = {}

    def answer(self, question: Mapping[str, Any], _now_ms: int) -> dict[str, Any]:
        """Answer op `metrics`: what a process sends replaces what it sent before.

        Raises:
            Refusal: it is malformed or too long. Unknown metrics are left out.
        """
        told = {name: question.get(name) for name in ("process", "figures")}
        try:
            one = msgspec.convert(told, Told)
        except msgspec.ValidationError as error:
            raise Refusal("bad_request", f"metrics: expected process and figures ({error})") from None
        if not 0 < len(one.process) <= NAME_MOST or not one.process.isprintable():
            raise Refusal("bad_request", f"process: expected a name of 1 to {NAME_MOST} printable characters")
        if len(one.figures) > FIGURES_MOST:
            raise Refusal("bad_request", f"figures: got {len(one.figures)}, expected at most {FIGURES_MOST}")
        self.put(one.process, one.figures)
        return {}

    def put(self, process: str, figures: Iterable[Figure]) -> None:
        """Keep a process's figures."""
        kept = {
            (figure.name, labels): Figure(figure.name, labels, figure.value)
            for figure in figures
            if is_known(figure)
            for labels in [tuple(label[:NAME_MOST] for label in figure.labels)]
        }
        now_ms = self._clock.monotonic_ns() // 1_000_000
        told = {name: one for name, one in self._told.items() if now_ms - one[0] <= FORGOTTEN_MS}
        told.pop(process, None)
        told[process] = now_ms, tuple(kept.values())
        while len(told) > PROCESSES_MOST:
            del told[next(iter(told))]
        self._told = told

    def figures(self) -> list[tuple[str, Figure]]:
        """Return the current figures and the processes they belong to."""
        steady_ms = self._clock.monotonic_ns() // 1_000_000
        return [
            (process, figure)
            for process, (told_ms, figures) in self._told.items()
            if steady_ms - told_ms <= FORGOTTEN_MS
            for figure in figures
        ]


class Telling:
    """A thread that sends a process's figures until the stop.

    Args:
        settings: name the snapshot server of this machine, which receives them. One on another machine is
            sent nothing, since its metrics are about its own processes.
        process: the process they belong to.
        figures: gives them; the Asker is that of `endpoint`. If it raises a KalshiBusError, one turn is
            skipped.
        endpoint: a socket of the process itself, on which it reports its status.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        settings: Settings,
        process: str,
        figures: Callable[[Asker], Iterable[Figure]] = lambda _asker: (),
        endpoint: str | None = None,
    ) -> None:
        self._here = settings.query.startswith("ipc://") or settings.curve_key is None
        self._query = Asker(context, settings.query)
        self._self = Asker(context, endpoint or settings.query)
        self._process = process
        self._figures = figures

    @contextlib.contextmanager
    def while_running(self, stop: Stop) -> Iterator[None]:
        """Send while the block runs; at its end `stop` is set."""
        thread = threading.Thread(target=self.run, args=(stop,), name="metrics")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def run(self, stop: Stop) -> None:
        """Send until `stop`."""
        try:
            while self._here and not stop.is_set():
                self.tell()
                stop.wait(EVERY_S)
        finally:
            self._query.close()
            self._self.close()

    def tell(self) -> None:
        """Send once. That nobody hears it is not our fault, and is not logged."""
        figures = [*process_figures()]
        try:
            figures += self._figures(self._self)
        except KalshiBusError as error:
            log.debug("metrics.unknown", error=str(error))
        question = {"op": "metrics", "process": self._process, "figures": msgspec.to_builtins(figures)}
        try:
            answer = self._query.ask(question, TIMEOUT_MS)
        except KalshiBusError as error:
            log.debug("metrics.unheard", error=str(error))
        else:
            if not answer.get("ok"):
                log.warning("metrics.refused", error=answer.get("error"))


def of_trader(asker: Asker) -> Iterable[Figure]:
    """Return what a trader reports about itself.

    Raises:
        KalshiBusError: it does not answer, or is not ready.
    """
    return trader_figures(told(asker.ask({"op": "status"}, TIMEOUT_MS), TraderStatus))


def of_gateway(asker: Asker) -> Iterable[Figure]:
    """Return what an order gateway reports about itself.

    Raises:
        KalshiBusError: it does not answer.
    """
    return gateway_figures(told(asker.ask({"op": "gateway"}, TIMEOUT_MS), GatewayStatus))


def disk_figures(settings: Settings) -> Iterable[Figure]:
    """Yield how full the disks are, and what fills them."""
    for place, path in (("data", settings.data_dir), ("run", settings.run_dir)):
        with contextlib.suppress(OSError):
            yield Figure("disk_free_bytes", (place,), shutil.disk_usage(path).free)
    sizes = dict.fromkeys(("recording", "journals", "history", "logs", "other"), 0)
    for folder in (settings.data_dir, settings.run_dir / "logs"):
        for path, size in _files(folder):
            sizes[_use_of(path, settings)] += size
    for use, size in sizes.items():
        yield Figure("disk_used_bytes", (use,), size)


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    waiting = [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        yield Path(entry.path), entry.stat(follow_symlinks=False).st_blocks * 512


def _use_of(path: Path, settings: Settings) -> str:
    if path.is_relative_to(settings.recording):
        return "recording"
    if path.is_relative_to(settings.data_dir / "history"):
        return "history"
    if path.is_relative_to(settings.run_dir / "logs"):
        return "logs"
    return "journals" if path.name.startswith(("trader-", "orders-")) else "other"
