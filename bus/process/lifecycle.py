"""How every process starts and stops.

A ``__main__.py`` is ``sys.exit(main("publisher", run))``; everything else is in `run(settings, stop) -> int`,
which returns within 5 s of `stop`. Start and recovery are the same path: an unexpected exception is logged
once and ends the process; supervisord starts it again.

Exit codes: 0 told to stop, 1 crashed, 2 refused to start, 3 ended because a strategy did not return.
"""

import _thread
import argparse
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

import structlog

from bus.threads import main_thread
from markets.errors import SettingsError, StartupError

from . import logs
from .locks import hold_role, private_dir
from .programs import name_of
from .settings import Settings
from .streams import open_missing

EXIT_CRASHED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_STRATEGY: Final = 3

log = structlog.get_logger()


class Stop:
    """An event, set once and never cleared, that a poller can wait for together with its sockets.

    Register `fileno()` for reading in a ``zmq.Poller``: it is readable as soon as a stop signal arrives, and
    stays so. Never read from it. A signal wakes the pollers a moment before `is_set` becomes true: poll
    again.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self.failed = False

    def fileno(self) -> int:
        """The descriptor that becomes readable at the stop signal."""
        return self._reader.fileno()

    def is_set(self) -> bool:
        """Whether the process is to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Tell every thread to stop. May be called from any thread, more than once."""
        if not self._event.is_set():
            self._event.set()
            with suppress(OSError):  # it has been closed: all is over
                self._writer.send(b"\0")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` seconds for the stop; return whether it came."""
        return self._event.wait(timeout_s)

    def close(self) -> None:
        """Free the descriptors, after every thread that polls them has ended."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Set this on SIGTERM, SIGINT and SIGHUP while the block runs.

        A second SIGTERM or SIGINT ends the process at once. SIGHUP means a closed terminal, which may send it
        twice; there is nothing to reload. If it was ignored before (nohup), it stays ignored. Main thread
        only.
        """

        def handle(number: int, _frame: FrameType | None) -> None:
            if self.is_set() and number != signal.SIGHUP:
                os._exit(128 + number)
            # In another thread: the interrupted one may be inside `wait`, and hold the lock that this takes.
            _thread.start_new_thread(self.set, ())

        main_thread.check()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = [signal.signal(number, handle) for number in numbers]
        # A handler alone does not wake a thread blocked in zmq's poll (measured: still blocked after 4 s):
        # Python runs it at the main thread's next bytecode. The wake-up descriptor is written at once.
        before_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


class Deadline:
    """One moment by which several steps must all be finished (after websockets' ``sync.utils.Deadline``)."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    def remaining_s(self) -> float:
        """Seconds left, 0 when it has passed: the timeout for the next step."""
        return max(0.0, self._end - self._monotonic())

    @property
    def passed(self) -> bool:
        return self.remaining_s() == 0.0


def refuse(process: str, error: SettingsError | StartupError) -> int:
    """Say on stderr why `process` does not start, and return the exit code for it."""
    problems = error.problems if isinstance(error, SettingsError) else [str(error)]
    print(*(f"{process}: {logs.redact(problem)}" for problem in problems), sep="\n", file=sys.stderr)
    return EXIT_REFUSED


def no_arguments(module: str, about: str) -> None:
    """Answer ``--help``, and refuse all other arguments with exit code 2: a process has settings only."""
    open_missing()
    text = f"{about.strip()} Its settings (docs/settings.md) are in kalshi-bus.toml or in the environment."
    argparse.ArgumentParser(prog=name_of(module), description=text).parse_args()


def quietly(run: Callable[[], int]) -> int:
    """Return what `run` returns; 0 if its output's reader has gone: that is not an error (``... | head``)."""
    open_missing()
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whatever is still to be written at exit is silently dropped.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def main(
    process: str,
    run: Callable[[Settings, Stop], int],
    *,
    exclusive: bool = True,
    log_to: TextIO | None = None,
) -> int:
    """Run a process from its settings to its exit code.

    Args:
        process: its name in logs, and its role: `exclusive` processes hold ``<run_dir>/<process>.lock``.
        run: does the work until `stop` is set; returns the exit code. Raises StartupError if it cannot take
            its place (then the process prints the message and exits with 2).
        log_to: where its log goes; by default stdout.
    """
    open_missing()
    try:
        settings = Settings.load(os.environ, Path.cwd())
    except SettingsError as error:
        return refuse(process, error)
    logs.hide(settings.api_key_id)
    logs.configure(process, settings.log_level, log_to)
    stop = Stop()

    def thread_crashed(args: threading.ExceptHookArgs) -> None:
        # A process that has lost a thread is neither up nor down: crash it as a whole.
        name = args.thread.name if args.thread else None
        exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("thread.crashed", thread=name, exc_info=exc_info)
        stop.failed = True
        stop.set()

    threading.excepthook = thread_crashed
    with ExitStack() as stack:
        stack.callback(stop.close)
        stack.enter_context(stop.on_signals())
        try:
            private_dir(settings.run_dir)
            if exclusive:
                stack.enter_context(hold_role(settings.run_dir, process))
            log.info("process.started", pid=os.getpid(), mode=settings.mode, env=settings.env)
            code = run(settings, stop)
        except StartupError as error:
            return refuse(process, error)
        except Exception:
            log.exception("process.crashed")
            return EXIT_CRASHED
        code = EXIT_CRASHED if stop.failed else code
        log.info("process.stopped", code=code)
        return code


def release_memory() -> None:
    """Give freed memory back to the system; otherwise the C library keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
