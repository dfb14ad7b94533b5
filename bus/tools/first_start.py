"""Says on the terminal of ``make run`` how the start goes, until there is data.

`bus.process.supervise` starts it beside supervisord, whose terminal would otherwise only show which processes
run. It asks `/health` every second, and supervisord if that does not answer; it ends when there is data, or
with supervisord. What belongs to a start, such as a simulator that is not up yet, is not trouble: a problem
is reported once it has lasted. Linux only; elsewhere it says nothing.
"""

import contextlib
import os
import select
import signal
import sys
import xmlrpc.client
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import msgspec

from bus.clock import SystemClock
from bus.health import (
    HealthAnswer,
    Problem,
    process_problems,
    progress,
    publisher_problem,
    publisher_warnings,
)
from bus.process.access import local
from bus.process.lifecycle import no_arguments
from bus.process.settings import Settings
from bus.process.supervised import Processes, Supervisor
from markets.errors import SettingsError

_say: Final = print

EVERY_S: Final = 1.0
TIMEOUT_S: Final = 2.0
PATIENCE_S: Final = 20.0
"""How long after the start it is not trouble that a process is not up yet."""

LASTED_S: Final = 1.5
"""A problem is reported once it has lasted this long."""

PROGRESS_S: Final = 3.0
AGAIN_S: Final = 60.0
"""How often a lasting problem is repeated."""

WARNED_S: Final = 5.0
"""How long after the first data to wait for what the publisher finds wrong with the settings."""


class Teller:
    """What to say about a start as it proceeds. Times are seconds of any steady clock.

    Args:
        dashboard: its address.

    Attributes:
        ended: whether there is nothing more to say.
    """

    def __init__(self, dashboard: str, now_s: float) -> None:
        self.ended = False
        self._dashboard = dashboard
        self._began_s = now_s
        self._ready_s: float | None = None
        self._said_s: dict[str, float] = {}
        self._since_s: dict[str, float] = {}
        self._progress: tuple[float, str] = (now_s - PROGRESS_S, "")

    def tell(self, health: HealthAnswer | None, processes: Processes | None, now_s: float) -> list[str]:
        """Return the new lines.

        Args:
            health: as the snapshot server gives it, None if it does not answer.
            processes: as supervisord gives them, if the snapshot server does not.
        """
        lines = list(self._problems(self._found(health, processes, now_s), now_s))
        account = health.publisher if health is not None else None
        if health is not None and health.epoch:
            if self._ready_s is None:
                self._ready_s = now_s
                lines.append(f"ready: {health.market_count:,} markets. Open {self._dashboard}")
            self.ended = now_s - self._ready_s >= WARNED_S
        elif account is not None and account.pages:
            said_s, before = self._progress
            text = progress(account)
            if text != before and now_s - said_s >= PROGRESS_S:
                self._progress = now_s, text
                lines.append(text)
        return lines

    def _found(
        self, health: HealthAnswer | None, processes: Processes | None, now_s: float
    ) -> Iterator[tuple[str, Problem]]:
        """Yield what is wrong, each with a key that stays the same when its words change a little."""
        late = now_s - self._began_s >= PATIENCE_S
        if health is None:
            if late:
                text = "The snapshot server does not answer: there is no page with data yet."
                yield "unanswered", Problem("unanswered", text)
        else:
            processes = health.processes
            account = health.publisher
            if account is None and late:
                text = "The publisher is not heard."
                yield "unheard", Problem("unheard", text, "Look whether a line below says why.")
            if account is not None:
                if (problem := publisher_problem(account)) is not None:
                    yield f"{problem.code} {account.cause}", problem
                yield from ((warning.text, warning) for warning in publisher_warnings(account))
        for problem in process_problems(processes):
            yield problem.code, problem

    def _problems(self, found: Iterable[tuple[str, Problem]], now_s: float) -> Iterator[str]:
        before, self._since_s = self._since_s, {}
        for key, problem in found:
            since_s = self._since_s[key] = before.get(key, now_s)
            said_s = self._said_s.get(key)
            if now_s - since_s >= LASTED_S and (said_s is None or now_s - said_s >= AGAIN_S):
                self._said_s[key] = now_s
                yield f"{'WARNING' if problem.code == 'warning' else 'WRONG'}: {problem.text}"
                if problem.remedy:
                    yield f"  What to do: {problem.remedy}"


def _health(settings: Settings) -> HealthAnswer | None:
    host, headers = local(settings)
    connection = HTTPConnection(host, settings.snapshot_port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health", headers=headers)
        return msgspec.json.decode(connection.getresponse().read(), type=HealthAnswer)
    except (OSError, HTTPException, msgspec.DecodeError):
        return None
    finally:
        connection.close()


def _processes(supervisor: Supervisor) -> Processes | None:
    try:
        return supervisor.ask()
    except (OSError, HTTPException, xmlrpc.client.Error):
        return None


def main() -> None:
    """Report until there is data, or until nobody reads it. Its terminal's supervisord is SUPERVISE_PID."""
    no_arguments("bus.tools.first_start", "Says how a start goes; make run starts it.")
    parent = os.environ.get("SUPERVISE_PID", "")
    if not parent.isdigit():
        sys.exit("bus.tools.first_start: make run starts it, beside supervisord")
    if sys.platform != "linux":
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it silently
    os.nice(10)
    try:
        settings = Settings.load(os.environ, Path.cwd())
    except SettingsError:
        return  # `make run` has reported it
    with contextlib.suppress(OSError):  # supervisord is gone, or the terminal: nobody reads
        _tell(settings, os.pidfd_open(int(parent)))


def _tell(settings: Settings, supervisord: int) -> None:
    """Report until there is data, or until the process of this descriptor ends."""
    supervisor = Supervisor(settings.run_dir)
    clock = SystemClock()
    teller = Teller(f"http://{local(settings)[0]}:{settings.ui_port}/", clock.monotonic_ns() / 1e9)
    while not teller.ended:
        health = _health(settings)
        processes = _processes(supervisor) if health is None else None
        for line in teller.tell(health, processes, clock.monotonic_ns() / 1e9):
            _say(f"kalshi-bus: {line}", flush=True)
        if select.select([supervisord], [], [], EVERY_S)[0]:
            return


if __name__ == "__main__":
    main()
