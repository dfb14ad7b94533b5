"""Sweeps at fixed times, in a thread of their own: each is read, applied by the bus thread, and reported.

Whatever fails at the exchange fails one sweep: the state continues to be served, and ages.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.threads import Owner

from .account import Account
from .commits import Commits
from .held import Held
from .kalshi.budget import Budget
from .kalshi.client import Client, Stopped
from .kalshi.signing import KeySource
from .kalshi.tier import TierSource
from .reading import Reading
from .sweep import Sweep

log = structlog.get_logger()

KEY_PATIENCE_S: Final = 5.0
"""How long the simulator may take to start."""


class Schedule:
    """Starts sweeps at fixed times; one that takes longer skips the times it runs over. One thread runs it.

    Args:
        clients: those of the sweep; the first also asks for the account's tier.
        after: called after each sweep, with what was read and how many requests it took.
    """

    def __init__(
        self,
        sweep: Sweep,
        clients: Sequence[Client],
        budget: Budget,
        keys: KeySource,
        account: Account,
        held: Held,
        commits: Commits,
        after: Callable[[Reading, int], None],
        settings: Settings,
        clock: Clock,
        stop: Stop,
    ) -> None:
        self._sweep = sweep
        self._clients = clients
        self._budget = budget
        self._keys = keys
        self._tier = TierSource(clients[0], keys, budget, clock)
        self._account = account
        self._held = held
        self._commits = commits
        self._after = after
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._thread = Owner("the schedule of sweeps")

    def run(self) -> None:
        """Work until the stop."""
        self._thread.check()
        interval_ns = round(self._settings.poll_interval_s * 1e9)
        try:
            self._wait_for_key()
            next_ns = self._clock.monotonic_ns()
            while True:
                for client in self._clients:
                    client.no_retry_after_ns = next_ns + interval_ns * 9 // 10
                self._sweep_once()
                late_ns = self._clock.monotonic_ns() - next_ns
                skipped = late_ns // interval_ns
                if skipped:
                    log.warning("sweep.overran", late_ms=late_ns // 1_000_000, skipped=skipped)
                next_ns += (skipped + 1) * interval_ns
                if self._stop.wait(max(0, next_ns - self._clock.monotonic_ns()) / 1e9):
                    return
        except Stopped:
            return
        finally:
            for client in self._clients:
                client.close()

    def _wait_for_key(self) -> None:
        """Wait for the simulator's key files, only before the first sweep."""
        if not self._keys.missing():
            return
        path = self._settings.private_key_path
        log.info("key.waiting", path=str(path))
        self._account.waits_for_key(path, long=False)
        if not self._keys.wait(self._stop, KEY_PATIENCE_S):
            self._account.waits_for_key(path, long=True)
            if not self._keys.wait(self._stop):
                raise Stopped
        self._account.has_key()

    def _sweep_once(self) -> None:
        log.info("FETCHING FROM KALSHI")
        bytes_before = sum(client.bytes_received for client in self._clients)
        reading = Reading(self._clock.now_ms())
        self._account.begins(reading, first=not self._commits.opened)
        self._tier.ask()
        self._account.private(self._tier.refusal)
        error = self._sweep.run(reading)
        partly = reading.as_of_ms is not None and self._commits.opened
        self._account.swept(error, partly=partly, routes=tuple(self._sweep.failing.values()))
        handed_ns = self._clock.monotonic_ns()
        self._commits.take(reading, self._stop)
        if self._commits.opened:
            self._account.begins(reading, first=False)
        if reading.complete:
            self._account.matched(self._sweep.unmatched())
        health = self._account.health
        log.info(
            "sweep.done",
            outcome=health.sweep,
            error=health.error,
            ms=reading.ended_ms - reading.started_ms,
            commit_ms=(self._clock.monotonic_ns() - handed_ns) // 1_000_000,
            requests=self._sweep.last_requests,
            connections=self._sweep.last_connections,
            refused_429=self._budget.refusals,
            bytes=sum(client.bytes_received for client in self._clients) - bytes_before,
            confirmed=len(reading.confirmed),
            read=len(reading.candidates),
            refused=len(reading.bad),
            older=self._held.older,
        )
        self._after(reading, self._sweep.last_requests)
