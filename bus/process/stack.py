"""supervisord as ``make run`` becomes it: ``python -m bus.process.stack``, with the SUPERVISE_* variables.

It differs from supervisord's own command in three ways. A closed terminal (SIGHUP) stops everything, as
Ctrl-C does, where supervisord would restart everything: there are no settings to reload. And it checks its
processes every LOOK_S, not every second: one that has ended is reaped at one check and started at the next.
And whoever hangs up before its answer, as our processes do after a second, is no error on the terminal.
"""

import os
import select
import signal
import sys
from types import FrameType
from typing import Final

from supervisor.http import deferring_http_channel
from supervisor.loggers import StreamHandler
from supervisor.medusa import asyncore_25
from supervisor.options import ServerOptions
from supervisor.supervisord import Supervisor

from .lifecycle import no_arguments
from .programs import data_file

LOOK_S: Final = 0.05
"""A check takes some 0.1 ms; this is the time lost before a killed process is restarted."""


class StackOptions(ServerOptions):  # type: ignore[misc]
    """supervisord's options, with SIGHUP as a stop, and a loop that checks every LOOK_S."""

    def __init__(self) -> None:
        super().__init__()
        self._terminal = select.poll()
        poll = self.poller.poll
        self.poller.poll = lambda timeout: poll(min(timeout, LOOK_S))

    def make_logger(self) -> None:
        """Log to terminal and file; a terminal that is gone, or that nobody reads, must end nothing."""
        super().make_logger()
        for handler in self.logger.handlers:
            if isinstance(handler, StreamHandler):
                handler.handleError = lambda: None  # the file has it

    def setsignals(self) -> None:
        """Install the handlers; SIGHUP stays ignored if it is (nohup)."""
        before = signal.getsignal(signal.SIGHUP)
        super().setsignals()
        if before is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            return
        signal.signal(signal.SIGHUP, self._terminal_closed)
        for fd in (0, 1):
            if os.isatty(fd):
                self._terminal.register(fd, 0)

    def get_signal(self) -> int | None:
        """Return the next signal that has come. Called at least every LOOK_S.

        The kernel reports a closed terminal to its session's leader alone. That may be make (ssh -t HOST make
        run), which only waits for us.
        """
        if self._terminal.poll(0):
            self._terminal_closed(signal.SIGHUP, None)
        number: int | None = super().get_signal()
        return number

    def _terminal_closed(self, _number: int, frame: FrameType | None) -> None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nowhere, fd)
        self.signal_receiver.receive(signal.SIGTERM, frame)


def close_quietly(channel: deferring_http_channel) -> None:
    """Close a channel over an error, which is told unless its client has only hung up."""
    if isinstance(sys.exc_info()[1], ConnectionError):
        channel.close()
    else:
        asyncore_25.dispatcher.handle_error(channel)


def main() -> None:
    """Keep everything up until told to stop."""
    no_arguments("bus.process.stack", "supervisord, as make run becomes it.")
    if "SUPERVISE_FOLDER" not in os.environ:
        sys.exit("bus.process.stack: make run starts it, with all that supervisord.conf needs")
    deferring_http_channel.handle_error = close_quietly
    options = StackOptions()
    options.first, options.test = True, False
    command = ["-n", "-c", str(data_file("supervisord.conf"))]
    if os.geteuid() == 0:
        command += ["-u", "root"]  # stated explicitly, so that supervisord does not warn about it
    options.realize(command, doc=__doc__)
    try:
        Supervisor(options).main()
    except asyncore_25.ExitNow:
        pass
    finally:
        options.close_httpservers()
        options.close_logger()


if __name__ == "__main__":
    main()
