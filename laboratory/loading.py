"""Which strategies a text names, and of what files they are: found in a process of its own.

Loading a person's code runs it. Nothing that it does there is felt elsewhere: a folder or a signal handler
that it changes, a thread that it leaves running, a module under a name that others use too, or that it ends
its process. Nor does it matter if it never returns, even holding the interpreter's lock.
"""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import msgspec

from bus.clock import SystemClock
from bus.process.child import die_with_parent
from bus.trading.ended import EndedStrategies, EndedStrategy
from markets.errors import StartupError
from trader.extensions.load import Extension, in_words
from trader.lineup import FAMILY, line_up
from trader.minder import LIMIT_MS, Minder
from trader.strategies import Strategy

from .inputs import files_of, modules_of_own
from .processes import STUCK_S, stdout_to_stderr
from .quiet import quiet
from .simulated import START_MS

_LOADING_MS: Final = round(STUCK_S * 1000)
"""How long importing a person's modules may take."""

_BETWEEN_MS: Final = _LOADING_MS
"""How long what is not a call may take: checking parameters, and reading files."""


class Loaded(NamedTuple):
    """Strategies in one way of writing them, and the state of each of a person's own files among theirs."""

    strategies: str
    files: dict[str, str]


class _Call(NamedTuple):
    """What is under way, most often a call of a person's code, and how long it may take."""

    strategy: str
    call: str
    limit_ms: int


def loaded(strategies: Sequence[str]) -> Loaded:
    """Load strategies, and try whether each can be made and started.

    Raises:
        StartupError: one cannot, or does not return.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    told, telling = Pipe(duplex=False)
    parent_pid = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process needs no lock of another thread
        pid = os.fork()
    if not pid:
        _load(strategies, telling, parent_pid)
    telling.close()  # or its end would not be noticed
    try:
        return _heard(told, _Call(", ".join(strategies), "loading", _LOADING_MS))
    finally:
        told.close()
        for kill in (os.killpg, os.kill):  # what it has begun, too
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _heard(told: Connection, at: _Call) -> Loaded:
    while told.poll(at.limit_ms / 1000):
        try:
            said = told.recv()
        except EOFError:
            why = f"{at.call} ended the process, expected that it returns"
            break
        if isinstance(said, Loaded):
            return said
        if not isinstance(said, _Call):
            raise StartupError(said)
        at = said
    else:
        why = f"{at.call} did not return within {at.limit_ms / 1000:g} s"
    raise StartupError(f"{FAMILY.setting}: {at.strategy}: {why}")


def _load(strategies: Sequence[str], telling: Connection, parent_pid: int) -> NoReturn:
    """Load strategies, and tell what came of it: a Loaded, or why not."""
    try:
        os.setsid()
        die_with_parent(parent_pid)
        stdout_to_stderr()
        with quiet():
            folder, known = Path.cwd(), modules_of_own()
            lineup = line_up(strategies, folder, _NoneEnded(folder), _Telling(telling), START_MS)
            text = ",".join(map(_shortest, lineup.makers.values()))
            telling.send(Loaded(text, files_of(lineup, modules_of_own() - known)))
    except StartupError as error:
        telling.send(str(error))
    except BaseException as error:  # noqa: BLE001, whatever a person's code raises is reported
        telling.send(f"{FAMILY.setting}: {in_words(error)}")
    finally:
        try:
            sys.stderr.flush()
        finally:
            os._exit(0)


class _NoneEnded(EndedStrategies):
    """No strategy was ended before: a run has no past."""

    def read(self) -> tuple[EndedStrategy, ...]:
        return ()


class _Telling(Minder):
    """Tells which call of a person's code is under way."""

    def __init__(self, telling: Connection) -> None:
        super().__init__(SystemClock())
        self._telling = telling

    def begins(self, strategy: str, call: str, limit_ms: int = LIMIT_MS) -> None:
        super().begins(strategy, call, limit_ms)
        self._telling.send(_Call(strategy, call, limit_ms))

    def ends(self) -> None:
        if self.running is not None:
            call = f"what follows {self.running.call}"
            self._telling.send(_Call(self.running.strategy, call, _BETWEEN_MS))
        super().ends()


def _shortest(extension: Extension[Strategy]) -> str:
    """Return the text of a strategy without parameters that have their default value, the others in order."""
    arguments = dict(sorted(extension.spec.arguments.items()))
    for field in msgspec.structs.fields(extension.params):
        usual = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if getattr(extension.params, field.name) == usual:
            arguments.pop(field.encode_name, None)
    return msgspec.structs.replace(extension.spec, arguments=arguments).text
