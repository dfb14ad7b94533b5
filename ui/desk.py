"""The dashboard's link to the trader: its account of itself, kept fresh by one thread, and commands to it.

What it says is kept as it came (docs/trader.md): exact decimal strings. The kill switch is set twice, as the
command line does it: the file first, which holds whatever happens to the trader, then the command.
"""

import json
import os
import queue
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from bus.ask import Asker, NoAnswer
from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.process.locks import private_dir
from bus.trading import reasons
from markets.errors import KalshiBusError
from markets.opportunities import Opportunity

log = structlog.get_logger()

EVERY_S: Final = 1.0
"""How often the trader is asked how it stands; its events make it sooner."""

LEAST_S: Final = 0.25
EQUITY_EVERY_NS: Final = 15_000_000_000
STATUS_MS: Final = 1_000
COMMAND_MS: Final = 3_000
COMMAND_WAIT_S: Final = 6.0
AWAY_MS: Final = 30_000
"""A trader that answered less than this ago is "not answering", later it is "not running"."""

ROWS: Final = 200
ROWS_PER_QUESTION: Final = 1_000
CSV_ROWS_MAX: Final = 100_000
POINTS: Final = 2_000
LISTS: Final = ("orders", "fills", "settlements")
KILL_FILE: Final = "KILLED"
WORD: Final = "UNLOCK"

OLD_FACTOR: Final = 3
"""Prices older than this many times what is called stale count no more in profit and loss."""

Row = Mapping[str, Any]

SIGNS: Final = {
    "running": "good",
    "not running": "idle",
    "halted": "bad",
    "killed": "bad",
    "not answering": "bad",
}
"""How bad a state is; those not named are fair."""


class Desk(msgspec.Struct, frozen=True):
    """What the trader last said.

    Attributes:
        answers: whether it answered the last question.
        heard_ms: when it last did, None if never; `status` is of then.
        killed: why trading is killed and since when, from the trader or, without one, from the kill file.
        version: grows whenever something but an age differs.
    """

    answers: bool = False
    heard_ms: int | None = None
    status: Row | None = None
    positions: Sequence[Row] = ()
    orders: Sequence[Row] = ()
    fills: Sequence[Row] = ()
    settlements: Sequence[Row] = ()
    points: Sequence[Row] = ()
    killed: Row | None = None
    version: int = 0

    def pnl(self, now_ms: int, oldest_ms: int) -> tuple[dict[str, Any], int]:
        """Return profit and equity without positions of unknown or old prices, and how many those are.

        They stand at their cost: what they would fetch now, nobody knows. A market that does not trade any
        more does not grow old.

        Args:
            oldest_ms: greatest age of a price that counts.
        """
        told = {
            **(self.status or {}).get("pnl", {}),
            "equity_dollars": (self.status or {}).get("equity_dollars"),
        }
        old = [
            row
            for row in self.positions
            if row.get("stale") and (row["as_of"] is None or now_ms - row["as_of"] * 1000 > oldest_ms)
        ]
        out = sum((Decimal(row["unrealised_dollars"] or 0) for row in old), Decimal(0))
        if out:
            for name in ("today_dollars", "total_dollars", "unrealised_dollars", "equity_dollars"):
                if told.get(name) is not None:
                    told[name] = f"{Decimal(told[name]) - out:.6f}"
        return told, len(old)

    def summary(self, now_ms: int, oldest_ms: int) -> dict[str, Any]:
        """Return what every page shows of the trader; see `pnl`."""
        status = self.status or {}
        pnl, left_out = self.pnl(now_ms, oldest_ms)
        away_ms = None if self.heard_ms is None else max(0, now_ms - self.heard_ms)
        if self.answers:
            state = "killed" if self.killed else str(status.get("state", "starting"))
        elif self.killed:
            state = "killed"
        else:
            state = "not running" if away_ms is None or away_ms > AWAY_MS else "not answering"
        return {
            "state": state,
            "sign": SIGNS.get(state, "fair"),
            "answers": self.answers,
            "as_of": None if self.heard_ms is None else self.heard_ms / 1000,
            "reasons": list(status.get("reasons", ())) if self.answers else [],
            "pnl_today_dollars": pnl.get("today_dollars"),
            "left_out": left_out,
            "killed": self.killed,
            "error": status.get("error") if self.answers else None,
        }

    def marks(self) -> "Marks":
        """Return what the trader did about events and markets."""
        held = {(row["ticker"], row["side"]): row for row in self.positions}
        refused = {
            (str(row["strategy"]), str(row["event_ticker"])): str(row["reason"])
            for row in (self.status or {}).get("refused", ())
        }
        missed: dict[tuple[str, str], Row] = {}
        for row in self.orders:  # the newest first
            missed.setdefault((row["ticker"], row["side"]), row)
        limits = (self.status or {}).get("limits", {})
        full = (
            {row["event_ticker"] for row in self.positions} if limits.get("positions_per_event") == 1 else ()
        )
        return Marks(held, refused, missed, frozenset(full))


class Marks(msgspec.Struct, frozen=True):
    """What the trader holds by (ticker, side), what it refused by (strategy, event), its last orders.

    `full` are the events that may have no other position than the one they have.
    """

    held: Mapping[tuple[str, str], Row]
    refused: Mapping[tuple[str, str], str]
    last: Mapping[tuple[str, str], Row]
    full: Collection[str] = frozenset()

    def of(self, one: Opportunity) -> dict[str, Any]:
        """Return `held` (contracts held of each of its legs that is), `refused`, and `why`: that in full."""
        legs = [(leg.ticker, leg.side) for leg in one.legs]
        held = [self.held[leg]["count_fp"] for leg in legs if leg in self.held]
        because = self.refused.get((one.kind, one.event_ticker))
        if because is None and not held and one.event_ticker in self.full:
            because = reasons.ONE_POSITION_PER_EVENT
        if because is not None or held:
            return {"held": held, "refused": because, "why": because and reasons.why_refused(because)}
        ends = (self.last.get(leg) for leg in legs)
        lost = (row for row in ends if row is not None and row["status"] in ("rejected", "cancelled"))
        because = next((str(row["reason"]) for row in lost if row["reason"]), None)
        return {"held": held, "refused": because, "why": because and reasons.why_ended(because)}


class Absent(KalshiBusError):
    """The trader did not answer."""


class TraderLink:
    """`run` in a thread of its own, which alone uses the socket; everything else from any thread."""

    def __init__(self, context: Any, endpoint: str, data_dir: Path, clock: Clock) -> None:
        self.desk = Desk()
        self._asker = Asker(context, endpoint)
        self._file = data_dir / KILL_FILE
        self._clock = clock
        self._jobs: queue.SimpleQueue[tuple[dict[str, Any], Future[dict[str, Any]]] | None] = (
            queue.SimpleQueue()
        )
        self._nudged = threading.Event()
        self._counts: tuple[Any, ...] = ()
        self._equity_ns = 0
        self._signature = b""

    # -- any thread

    def nudge(self, *_: Any) -> None:
        """Ask soon how the trader stands: something has happened there."""
        if not self._nudged.is_set():
            self._nudged.set()
            self._jobs.put(None)

    def ask(self, op: str, **parameters: Any) -> dict[str, Any]:
        """Ask the trader anything; return its answer, which may be an error.

        Raises:
            Absent: it does not answer.
        """
        future: Future[dict[str, Any]] = Future()
        self._jobs.put(({"op": op, **parameters}, future))
        try:
            return future.result(COMMAND_WAIT_S)
        except NotInTime:
            future.cancel()  # not sent yet: then it never is
            raise Absent(f"the trader has not answered {op!r} in {COMMAND_WAIT_S:g} s") from None

    def kill(self, reason: str) -> dict[str, Any]:
        """Kill: the file first, then the command. Return `ok` and `state`, or `error`."""
        held, why = True, ""
        try:
            private_dir(self._file.parent)
            fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.truncate(fd, 0)
                os.write(fd, json.dumps({"reason": reason}).encode())
                os.fsync(fd)
            finally:
                os.close(fd)
        except (OSError, KalshiBusError) as error:
            held, why = self._file.exists(), str(error)
            log.warning("kill.file", error=why)
        try:
            answer = self.ask("kill", reason=reason)
        except Absent:
            if held:
                return {"ok": True, "state": "killed", "answered": False}
            raise Absent(f"the trader does not answer, and {self._file} cannot be written: {why}") from None
        return {**answer, "answered": True}

    def rows(self, name: str) -> list[Row]:
        """Return a whole list for a file: newest first, up to CSV_ROWS_MAX.

        Raises:
            Absent: the trader does not answer.
        """
        if name == "positions":
            return list(self._told(self.ask(name), name))
        found: list[Row] = []
        key = "number" if name == "orders" else "id"
        before: dict[str, Any] = {}
        while len(found) < CSV_ROWS_MAX:
            page = self._told(self.ask(name, limit=ROWS_PER_QUESTION, **before), name)
            found += page
            if len(page) < ROWS_PER_QUESTION:
                break
            before = {"before": page[-1][key]}
        return found

    @staticmethod
    def _told(answer: dict[str, Any], name: str) -> list[Row]:
        if not answer.get("ok"):
            raise Absent(str(answer.get("error", {}).get("message", "the trader refuses")))
        rows: list[Row] = answer[name]
        return rows

    # -- its own thread

    def run(self, stop: Stop) -> None:
        """Ask and pass on until `stop`."""
        due_ns = 0
        try:
            while not stop.is_set():
                left_s = (due_ns - self._clock.monotonic_ns()) / 1e9
                if left_s <= 0:
                    self._nudged.clear()
                    self._refresh()
                    due_ns = self._clock.monotonic_ns() + round(EVERY_S * 1e9)
                    continue
                try:
                    job = self._jobs.get(timeout=min(left_s, LEAST_S))
                except queue.Empty:
                    continue
                if job is None:
                    due_ns = min(due_ns, self._clock.monotonic_ns() + round(LEAST_S * 1e9))
                else:
                    self._serve(*job)
                    due_ns = 0
        finally:
            self._asker.close()

    def _serve(self, question: dict[str, Any], future: "Future[dict[str, Any]]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._asker.ask(question, COMMAND_MS))
        except KalshiBusError as error:
            future.set_exception(Absent(str(error)))

    def _refresh(self) -> None:
        now_ms, desk = self._clock.now_ms(), self.desk
        fresh: dict[str, Any] = {"answers": False}
        try:
            status = self._take("status")
            if status is not None:
                fresh = {"answers": True, "heard_ms": now_ms, "status": status, **self._lists(status)}
            else:
                fresh = {"answers": True, "heard_ms": now_ms, "status": {"state": "starting"}}
        except NoAnswer:
            self._counts = ()
        except KalshiBusError as error:
            log.warning("trader.answer", error=str(error))
        killed = (fresh.get("status") or {}).get("killed") if fresh["answers"] else self._kill_file()
        if fresh["answers"] and killed is None and self._file.exists():
            killed = self._kill_file()  # set a moment ago: the trader is about to see it
        made = msgspec.structs.replace(desk, **fresh, killed=killed)
        signature = _signature(made)
        self.desk = msgspec.structs.replace(made, version=desk.version + (signature != self._signature))
        self._signature = signature

    def _lists(self, status: Row) -> dict[str, Any]:
        lists = {"positions": (self._take("positions") or {}).get("positions", [])}
        counts = (status.get("started"), *(status.get(name) for name in (*LISTS, "open_orders", "positions")))
        if counts != self._counts:
            for name in LISTS:
                lists[name] = (self._take(name, limit=ROWS) or {}).get(name, [])
        now_ns = self._clock.monotonic_ns()
        if counts != self._counts or now_ns - self._equity_ns >= EQUITY_EVERY_NS:
            lists["points"] = (self._take("equity", limit=POINTS) or {}).get("points", [])
            self._equity_ns = now_ns
        self._counts = counts
        return lists

    def _take(self, op: str, **parameters: Any) -> dict[str, Any] | None:
        answer = self._asker.ask({"op": op, **parameters}, STATUS_MS)
        return answer if answer.get("ok") else None

    def _kill_file(self) -> Row | None:
        try:
            at, text = self._file.stat().st_mtime, self._file.read_text(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            return {"at": None, "reason": str(error.strerror)}
        try:
            reason = str(json.loads(text)["reason"])
        except (ValueError, KeyError, TypeError):
            reason = text.strip()
        return {"at": at, "reason": reason[:500] or "the kill file is there"}


_PASSING: Final = (
    "now",
    "uptime_seconds",
    "data_age_seconds",
    "seq",
    "decisions",
    "decisions_per_second",
    "latency_ms",
)


def _signature(desk: Desk) -> bytes:
    status = {name: value for name, value in (desk.status or {}).items() if name not in _PASSING}
    positions = [{**row, "as_of": None} for row in desk.positions]
    shown = (desk.answers, status, positions, desk.orders, desk.fills, desk.settlements, len(desk.points))
    return msgspec.msgpack.encode((*shown, desk.killed))
