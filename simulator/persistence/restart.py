"""An exchange begins, or goes on after a restart with everything that was asked of it."""

import gc
import os
import signal
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import structlog

from markets.errors import DecodeError
from simulator.floor.exchange import Exchange
from simulator.floor.grid import GRIDS
from simulator.floor.latent import SPORTS
from simulator.options import SimulatorOptions
from simulator.universe import origin
from simulator.universe.templates import Recorded

from . import graph
from .log import InputLog

HOUR_MS: Final = 3_600_000
UNUSED: Final = 3 * HOUR_MS * 1_500
"""The most milliseconds x markets caught up for an exchange that nobody has traded on: seconds of work."""

USED: Final = 7 * 24 * HOUR_MS * 1_500
"""The same if accounts have done something: minutes of work. Beyond that a new exchange begins."""

SAVE_MOST_S: Final = 600
"""A child that has not finished saving by then is ended."""

Apply = Callable[[Exchange, Iterable[dict[str, Any]]], None]

log = structlog.get_logger(__name__)


def build_id() -> str:
    """Return a fingerprint of the simulator's code."""
    digest = blake2b(digest_size=8)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _left_out(value: object, name: str) -> bool:
    """Listeners belong to a process; those of the next process add themselves."""
    return name == "listeners"


def save(exchange: Exchange) -> bytes:
    """Return an exchange as bytes."""
    return graph.save(exchange, (exchange.recorded, GRIDS, SPORTS), _left_out)


class Restart:
    """Brings the exchange of a directory back, or makes a new one.

    Args:
        began: makes an exchange that began at a given time.
        apply: repeats what was asked.
        new_id: makes the id of a new exchange, a UUID.

    Attributes:
        exchange: as of now, up to date with everything asked.
        exchange_id: another exchange has a different one.
        new: whether it is new.
        log: where requests are recorded from now on.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        recorded: Recorded,
        now_ms: int,
        began: Callable[[int], Exchange],
        apply: Apply,
        new_id: Callable[[], str],
    ) -> None:
        self._recorded = recorded
        self._apply = apply
        build = build_id()
        found = origin.read(options, now_ms)
        if found is not None:
            self.log = InputLog(options.keys, found.exchange_id, build)
            exchange = self._again(found, options.markets, now_ms, began)
            if exchange is not None:
                self.new = False
                self.exchange, self.exchange_id = exchange, found.exchange_id
                return
        self.new = True
        note = origin.new(options, now_ms, new_id())
        self.log = InputLog(options.keys, note.exchange_id, build)
        self.log.forget()
        origin.write(options.keys, note)
        self.exchange, self.exchange_id = began(now_ms), note.exchange_id

    def _again(
        self, note: origin.Origin, markets: int, now_ms: int, began: Callable[[int], Exchange]
    ) -> Exchange | None:
        exchange, since = None, 0
        for number, state in self.log.saved():
            try:
                exchange, since = graph.load(state, (self._recorded, GRIDS, SPORTS)), number
                break
            except DecodeError as problem:
                log.warning("saved exchange unreadable", error=str(problem))
        inputs = list(self.log.inputs(since))
        for what in self.log.damaged:
            log.error("what was asked or saved is damaged, the exchange goes on without it", file=what)
        used = self.log.requests > 0 or exchange is not None
        since_ms = exchange.now_ms if exchange is not None else note.start_ms
        if exchange is None and not self.log.from_the_beginning():
            log.error("exchange lost", reason="what was asked at first is only in a state of another build")
            return None
        if now_ms - since_ms > (USED if used else UNUSED) // markets:
            if used:
                down_s = (now_ms - since_ms) // 1000
                log.error("exchange lost", reason="it was down for too long", down_s=down_s)
            return None
        if exchange is None:
            exchange = began(note.start_ms)
        log.info("exchange goes on", inputs=len(inputs), behind_s=(now_ms - exchange.now_ms) // 1000)
        self._apply(exchange, inputs)
        exchange.advance(now_ms)
        return exchange


def _on_its_own() -> None:
    """Release what is the parent's: its connections would outlive it, its signals would come here."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(SAVE_MOST_S)
    gc.disable()  # it would copy pages shared by both
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def save_in_a_child(exchange: Exchange, inputs: InputLog) -> tuple[int, int]:
    """Save an exchange in a fork of this process, which keeps serving; return (child's pid, state's number).

    What is asked from now on goes into the log of that state.
    """
    number = inputs.next()
    pid = os.fork()
    if pid == 0:
        try:
            _on_its_own()
            inputs.save(number, save(exchange))
            os._exit(0)
        except BaseException:  # noqa: BLE001 (the parent says it)
            os._exit(1)
    return pid, number
