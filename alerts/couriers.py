"""Starts a process for each parcel, and takes its outcome. Nothing here ever waits.

A sender that is not done after DEADLINE_S is killed: whatever it hangs on costs one attempt.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from bus.clock import Clock
from bus.process.programs import command_of, environment_of
from bus.threads import Owner

from .parcels import SILENT, Order, Outcome

log = structlog.get_logger()

DEADLINE_S: Final = 30.0
SAID_MOST: Final = 10_000
ENDED: Final = "the sender ended without reporting an outcome"


class _Under(msgspec.Struct):
    """A running sender."""

    process: "subprocess.Popen[bytes]"
    until_ns: int


class Couriers:
    """Senders by name, at most one each. They belong to one thread.

    Args:
        command: the program to start, which reads an Order and writes an Outcome.
    """

    def __init__(
        self, clock: Clock, command: Sequence[str] | None = None, deadline_s: float = DEADLINE_S
    ) -> None:
        self._clock = clock
        self._command = [*(command or command_of("alerts.send"))]
        self._deadline_ns = round(deadline_s * 1e9)
        self._under: dict[str, _Under] = {}
        self._failed: dict[str, str] = {}
        self._owner = Owner("the couriers")

    @property
    def busy(self) -> frozenset[str]:
        """The names of the running senders."""
        return frozenset(self._under) | frozenset(self._failed)

    def start(self, name: str, order: Order) -> None:
        """Start sending an order; `done` returns its outcome."""
        self._owner.check()
        try:
            process = subprocess.Popen(
                self._command,
                env=environment_of(_without_ours(os.environ)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            self._failed[name] = f"the sender cannot be started: {error.strerror}"
            return
        self._under[name] = _Under(process, self._clock.monotonic_ns() + self._deadline_ns)
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(order))  # fits into the pipe, so it does not block
            process.stdin.close()
        except OSError:
            return  # it has ended, as `done` will report

    def done(self) -> list[tuple[str, str | None]]:
        """Return finished senders: name, and None or why nothing was delivered."""
        self._owner.check()
        over: list[tuple[str, str | None]] = list(self._failed.items())
        self._failed = {}
        for name, under in list(self._under.items()):
            if under.process.poll() is None:
                if self._clock.monotonic_ns() < under.until_ns:
                    continue
                under.process.kill()
                under.process.wait()
                over.append((name, SILENT))
            else:
                over.append((name, _outcome(under.process)))
            _close(under.process)
            del self._under[name]
        return over

    def stop(self) -> None:
        """Kill all running senders; their outcomes are lost."""
        self._owner.check()
        for under in self._under.values():
            under.process.kill()
            under.process.wait()
            _close(under.process)
        self._under = {}


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without our settings, which third-party libraries do not need."""
    return {name: text for name, text in environ.items() if not name.startswith("KALSHI")}


def _outcome(process: "subprocess.Popen[bytes]") -> str | None:
    assert process.stdout is not None
    try:
        return msgspec.json.decode(process.stdout.read(SAID_MOST), type=Outcome).error
    except (msgspec.MsgspecError, ValueError, OSError):
        return ENDED


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            try:
                pipe.close()
            except OSError:
                log.debug("alerts.pipe")
