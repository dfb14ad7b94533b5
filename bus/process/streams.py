"""stdin, stdout and stderr, whatever a process is started with."""

import os
import sys
from pathlib import Path


def open_missing() -> None:
    """Open what of these was closed when this process began, as ``command 2>&-`` does: on nothing.

    Else the next file or socket gets its number, and what a library or a child prints goes there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115, until the process ends
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
