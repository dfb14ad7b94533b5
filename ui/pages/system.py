"""What the system page shows of processes: the state of each, and its position in the feed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.drift import DriftRow
from bus.health import HealthAnswer
from bus.process.locks import holder
from bus.process.supervised import Processes
from bus.replica import ReplicaStatus
from bus.trading.shapes import LatencyStatus, TraderStatus
from ui.arrivals import Ages

DRIFT_WORDS: Final = {
    "unknown": "not documented",
    "missing": "missing",
    "type": "wrong type",
    "range": "out of range",
    "enum": "new value",
}
"""Kind of difference from the documentation -> its words on the page."""

ROLES: Final = ("simulator", "publisher", "snapshot_server", "trader", "ui")
LOGGING: Final = (*ROLES, "orders", "watchdog", "recorder", "past", "forwarder", "alerts")
"""The processes that write logs, as their files are named."""

WHERE_WANTED: Final = ("alerts",)
"""Processes that run only where wanted."""


class ProcessRow(msgspec.Struct, frozen=True):
    """One process; None where not known. `state` is supervisord's, or "by hand" or "not running"."""

    name: str
    state: str
    sign: str
    pid: int | None
    uptime_seconds: float | None
    restarts: int | None
    memory_bytes: int | None
    descriptors: int | None
    threads: int | None
    trouble: str | None


class PlaceRow(msgspec.Struct, frozen=True):
    """A process's position in the feed; `behind`: messages short of the publisher's last heartbeat."""

    name: str
    epoch: int | None
    seq: int | None
    behind: int | None
    state: str
    gaps: int | None = None
    resyncs: int | None = None


class SystemView(msgspec.Struct, frozen=True):
    """The system page except for its logs. `feed`: the counters of this process's replica.

    `drift`: where the exchange departs from its documentation, newest first; `drift_more`: how many more.
    """

    supervised: bool
    processes: Sequence[ProcessRow]
    places: Sequence[PlaceRow]
    message_age: Ages
    decision_latency_ms: LatencyStatus | None
    feed: Mapping[str, int]
    drift: Sequence[DriftRow] = ()
    drift_more: int = 0


def process_rows(run_dir: Path, supervised: Processes | None) -> list[ProcessRow]:
    """Return the processes of a run directory: supervisord's, or those that hold a role there."""
    rows = []
    by_hand = (*ROLES, *(name for name in WHERE_WANTED if holder(run_dir, name)))
    for name in supervised if supervised is not None else by_hand:
        known = supervised[name] if supervised is not None else None
        pid = known.pid if known is not None else holder(run_dir, name)
        memory, descriptors, threads, up_s = _proc(pid)
        if known is not None:
            state = known.state.lower()
            idle = state == "stopped" and known.trouble is None
            sign = "bad" if known.trouble else "idle" if idle else "good" if state == "running" else "fair"
            uptime_s = known.uptime_seconds
        else:
            state, sign = ("by hand", "good") if pid else ("not running", "idle")
            uptime_s = up_s
        restarts = known.restarts if known is not None else None
        trouble = known.trouble if known is not None else None
        rows.append(
            ProcessRow(
                name, state, sign, pid or None, uptime_s, restarts, memory, descriptors, threads, trouble
            )
        )
    return rows


def _proc(pid: int | None, proc: Path = Path("/proc")) -> tuple[Any, ...]:
    """Return memory (resident), open descriptors, threads and uptime (s) of a process; None where unknown."""
    try:
        folder = proc / str(pid or "none")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        started = int((folder / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        up_s = float((proc / "uptime").read_text().split()[0]) - started
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
        return int(status["VmRSS"].split()[0]) * 1024, descriptors, int(status["Threads"]), max(0.0, up_s)
    except (OSError, KeyError, ValueError, IndexError):
        return None, None, None, None


def place_rows(
    ours: ReplicaStatus,
    published_seq: int | None,
    shown_seq: int,
    snapshot_server: HealthAnswer | None,
    trader: TraderStatus | None,
) -> list[PlaceRow]:
    """Return each process's position in the feed.

    Args:
        ours: the position of this process's replica; `shown_seq`: that of its pages.
        published_seq: that of the publisher's last heartbeat.
        snapshot_server: its last answer, None if there is none.
        trader: its last status, None if there is none.
    """
    epoch = ours.epoch or None

    def row(
        name: str, state: str | None, at_epoch: int | None, at_seq: int | None, *counts: int | None
    ) -> PlaceRow:
        same = at_seq is not None and published_seq is not None and at_epoch == epoch
        behind = max(0, (published_seq or 0) - (at_seq or 0)) if same else None
        return PlaceRow(name, at_epoch, at_seq, behind, state or "no answer", *counts)

    said = snapshot_server
    return [
        PlaceRow(
            "publisher",
            epoch,
            published_seq,
            None if published_seq is None else 0,
            "lost" if ours.lost else "heard",
        ),
        row("snapshot_server", None, None, None)
        if said is None
        else row("snapshot_server", said.feed, said.epoch, said.seq, said.gaps, said.resyncs),
        row("trader", None, None, None)
        if trader is None
        else row("trader", trader.feed, trader.epoch, trader.seq),
        row("ui", ours.feed, epoch, shown_seq if epoch else None, ours.stats.gaps, ours.stats.resyncs),
    ]
