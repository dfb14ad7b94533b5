"""A source of fair values in its own process, seen from the trader: started, heard, ended, restarted.

A thread owns the process and its pipe, and replaces `state` as a whole; the engine's thread reads it.
Whatever comes out of the pipe, or does not come, raises nothing here: only this source is affected.
"""

import contextlib
import os
import select
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from bus.clock import Clock
from bus.process.programs import command_of, environment_of
from bus.process.settings import Settings, variable_of
from bus.threads import Owner
from markets.errors import DecodeError, StartupError
from markets.records import FairValue

from .pipe import (
    AnySourceMessage,
    PipeMessages,
    SourceAnswer,
    SourceFailed,
    SourceHello,
    SourceRefused,
    SourceWaits,
)
from .values_file import SOURCE

log = structlog.get_logger()


class Patience(msgspec.Struct, frozen=True):
    """How long a source may take, in seconds.

    Attributes:
        start_s: to be imported and made, and to join the bus.
        deadline_s: to answer.
        keep_s: how long its last values hold once it no longer answers.
        stable_s: a process that ran this long is restarted after the shortest pause again.
        backoff_s: the pause before its process is restarted: the shortest and the longest.
    """

    start_s: float = 30.0
    deadline_s: float = 5.0
    keep_s: float = 60.0
    stable_s: float = 60.0
    backoff_s: tuple[float, float] = (1.0, 60.0)


PATIENCE: Final = Patience()
REFRESH_MS: Final = 60_000
"""An unchanged value is published again after this long."""

POLL_MS: Final = 200
PIPE_BYTES: Final = 262_144
SECRETS: Final = ("KALSHI_API_KEY_ID", "KALSHI_PRIVATE_KEY_PATH")
"""Variables that are not passed on to it."""

Word = Literal["starting", "waiting", "answers", "fails", "restarting"]


class SourceState(msgspec.Struct, frozen=True):
    """The state of a source.

    Attributes:
        name: empty until it is loaded.
        word: waiting: it has no live data; fails: it raised an error when last asked; restarting: its process
            has ended.
        values: by ticker. The same mapping object means that nothing has changed.
        answered_ms: wall time of its last answer.
        failures, restarts: since the trader started.
        errors: what was wrong with its last answer, or with the source itself.
    """

    name: str = ""
    word: Word = "starting"
    values: Mapping[str, FairValue] = {}
    answered_ms: int | None = None
    failures: int = 0
    restarts: int = 0
    errors: tuple[str, ...] = ()


class HostedSource:
    """One source. Call `start`, then `wait_ready`; `stop` ends it.

    Args:
        text: its text in the settings.
        command: given the pipe's descriptor, returns the command that starts its process.
    """

    def __init__(
        self,
        text: str,
        command: Callable[[int], Sequence[str]],
        clock: Clock,
        patience: Patience = PATIENCE,
    ) -> None:
        self.text = text
        self.state = SourceState()
        self._command = command
        self._clock = clock
        self._patience = patience
        self._owner = Owner("a source's process")
        self._every_s = 1.0
        self._answered_ns: int | None = None
        self._said: set[str] = set()
        self._refused: str | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        # The kernel ends the process with the thread that started it.
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    # -- any thread

    def start(self) -> None:
        """Start its process."""
        self._thread.start()

    def wait_ready(self) -> str:
        """Wait until it has been loaded; return its name.

        Raises:
            StartupError: it cannot be loaded.
        """
        self._ready.wait(self._patience.start_s + self._patience.deadline_s)
        if self._refused is not None:
            raise StartupError(self._refused)
        if not self.state.name:
            raise StartupError(
                f"{variable_of('fair_values')}: {self.text}: does not start:"
                f" {'; '.join(self.state.errors) or 'it says nothing'}"
            )
        return self.state.name

    def stop(self) -> None:
        """End its process."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    # -- its thread

    def _run(self) -> None:
        least_s, most_s = self._patience.backoff_s
        backoff_s = least_s
        while not self._stopping.is_set():
            began_ns = self._clock.monotonic_ns()
            try:
                problem = self._live()
            except OSError as error:
                problem = f"cannot be started: {error}"
            if self._stopping.is_set():
                return
            if not self.state.name:  # it has never been loaded: the trader does not start
                self._state(errors=(problem,))
                self._ready.set()
                return
            if self._since_s(began_ns) > self._patience.stable_s:
                backoff_s = least_s
            log.error("source.ended", source=self.state.name, error=problem, again_in_s=backoff_s)
            self._state(
                word="restarting",
                failures=self.state.failures + 1,
                restarts=self.state.restarts + 1,
                errors=(problem,),
            )
            waits_ns = self._clock.monotonic_ns()
            while self._since_s(waits_ns) < backoff_s and not self._stopping.wait(POLL_MS / 1000):
                self._age()
            backoff_s = min(most_s, 2 * backoff_s)

    def _live(self) -> str:
        """Listen to one process from its start to its end; return why it ended."""
        reading, writing = os.pipe()
        process: subprocess.Popen[bytes] | None = None
        try:
            try:
                env = environment_of({key: value for key, value in os.environ.items() if key not in SECRETS})
                process = subprocess.Popen(
                    self._command(writing), stdin=subprocess.DEVNULL, pass_fds=(writing,), env=env
                )
            finally:
                os.close(writing)
            os.set_blocking(reading, False)
            return self._listen(reading, process)
        finally:
            if process is not None:
                with contextlib.suppress(OSError):
                    process.kill()
                process.wait()
            os.close(reading)

    def _listen(self, reading: int, process: "subprocess.Popen[bytes]") -> str:
        frames, poll = PipeMessages(), select.poll()
        poll.register(reading, select.POLLIN)
        heard_ns, patience_s = self._clock.monotonic_ns(), self._patience.start_s
        while not self._stopping.is_set():
            self._age()
            if not poll.poll(POLL_MS):
                if self._since_s(heard_ns) > patience_s:
                    return f"did not answer within {patience_s:g} s"
                continue
            data = os.read(reading, PIPE_BYTES)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                code = process.returncode
                return "closed its pipe" if code is None else f"its process ended with exit code {code}"
            try:
                for message in frames.feed(data):
                    heard_ns = self._clock.monotonic_ns()
                    self._take(message)
                    if isinstance(message, SourceRefused):
                        return message.problem
                    # It is first asked at once, or as soon as it has data.
                    patience_s = self._patience.deadline_s
                    patience_s += 0 if isinstance(message, SourceHello) else self._every_s
            except (DecodeError, ValueError) as error:
                return f"said nonsense: {error}"
        return "the trader stops"

    def _take(self, message: AnySourceMessage) -> None:
        match message:
            case SourceHello():
                self._every_s = message.every_s
                self._state(name=message.name, word="starting")
                self._ready.set()
            case SourceRefused():
                if not self.state.name:
                    self._refused = message.problem
            case SourceWaits():
                self._state(word="waiting")
            case SourceFailed():
                self._tell("source.failed", message.error, trace=message.trace)
                self._state(word="fails", failures=self.state.failures + 1, errors=(message.error,))
            case SourceAnswer():
                for error in message.errors:
                    self._tell("source.refused", error)
                self._answered_ns = self._clock.monotonic_ns()
                self._state(
                    word="answers",
                    values=self._values(message),
                    answered_ms=self._clock.now_ms(),
                    failures=self.state.failures + bool(message.refused),
                    errors=message.errors,
                )

    def _values(self, answer: SourceAnswer) -> Mapping[str, FairValue]:
        """Return its values, reusing earlier ones that have not changed.

        Raises:
            ValueError: one is not a fair value.
        """
        name, before = self.state.name, self.state.values
        values = {}
        for ticker, probability, margin, as_of_ms in answer.values:
            held = before.get(ticker)
            if (
                held is not None
                and (held.probability, held.margin) == (probability, margin)
                and 0 <= as_of_ms - held.as_of_ms < REFRESH_MS
            ):
                values[ticker] = held
            else:
                values[ticker] = FairValue(ticker, probability, name, as_of_ms, margin)
        return before if values == before else values

    def _age(self) -> None:
        """Withdraw its values if it has not answered for too long."""
        if self.state.values and self._answered_ns is not None:
            silent_s = self._since_s(self._answered_ns)
            if silent_s > self._patience.keep_s + self._every_s:
                log.warning("source.silent", source=self.state.name, seconds=round(silent_s))
                self._state(values={})

    def _state(self, **changes: object) -> None:
        self._owner.check()
        self.state = msgspec.structs.replace(self.state, **changes)

    def _tell(self, event: str, error: str, **more: object) -> None:
        """Log what is wrong with it, each problem once."""
        if error not in self._said and len(self._said) < 100:
            self._said.add(error)
            log.error(event, source=self.state.name, error=error, **more)

    def _since_s(self, since_ns: int) -> float:
        return (self._clock.monotonic_ns() - since_ns) / 1e9


def hosted(text: str, settings: Settings, clock: Clock, folder: Path) -> HostedSource:
    """Return the source that a text names, ready to be started."""

    def command(fd: int) -> list[str]:
        places = [settings.feed, settings.query, settings.log_level, str(folder)]
        return command_of("trader.fair_values.host", str(os.getpid()), str(fd), *places, text)

    return HostedSource(text, command, clock)


def names_taken(settings: Settings) -> list[str]:
    """Return the names that no source may have."""
    return ["consensus", *([] if settings.fair_values_file is None else [SOURCE])]


def start_sources(
    texts: Sequence[str], make: Callable[[str], HostedSource], taken: Sequence[str], stack: ExitStack
) -> list[HostedSource]:
    """Start all sources and wait until each has been loaded.

    Args:
        texts: their texts in the settings.
        make: makes one that is ready to be started.
        taken: names that none may have.
        stack: ends them when it is closed.

    Raises:
        StartupError: one cannot be loaded.
    """
    sources = [make(text) for text in texts]
    for source in sources:
        stack.callback(source.stop)
        source.start()
    refuse_twins([*taken, *(source.wait_ready() for source in sources)])
    return sources


def refuse_twins(names: Sequence[str]) -> None:
    """Refuse two sources with the same name: nobody could tell their values apart.

    Raises:
        StartupError: there are two.
    """
    for index, name in enumerate(names):
        if name in names[:index]:
            raise StartupError(
                f"{variable_of('fair_values')}: got two sources named {name!r}, expected each name once"
                " (the names consensus and, with fair_values_file, file are taken)"
            )
