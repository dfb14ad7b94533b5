"""``python -m bus.process.container run | ready``: what a container runs, and its health check.

It makes a token on the first start, since in a container the servers listen on all addresses, and warns if
what must survive is not in a volume.
"""

import argparse
import os
import random
import sys
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, NamedTuple

from markets.errors import SettingsError, StartupError

from .access import local_host, make_token
from .lifecycle import refuse
from .locks import private_dir
from .programs import command_of, environment_of
from .settings import Settings

READY_S: Final = 4.0
_FLEETING: Final = frozenset({"overlay", "aufs", "tmpfs", "ramfs", "fuse.fuse-overlayfs"})
"""File systems that end with their container."""


class Mount(NamedTuple):
    """Where a file system is mounted, and what it is."""

    point: str
    kind: str


def mounts(mountinfo: str) -> list[Mount]:
    """Return what ``/proc/self/mountinfo`` says (proc(5)); lines that cannot be read are left out."""
    found = []
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        words = before.split()
        if dash and len(words) > 4 and after:
            found.append(Mount(words[4].replace(r"\040", " "), after.split()[0]))
    return found


def lasts(path: Path, mounted: Iterable[Mount]) -> bool:
    """Tell whether what is written to a path outlives the container: whether it is in a volume."""
    around = [mount for mount in mounted if path.is_relative_to(mount.point)]
    if not around:
        return False
    # Of two at one place, the later one is visible.
    nearest = max(enumerate(around), key=lambda item: (len(item[1].point), item[0]))[1]
    return nearest.point != "/" and nearest.kind not in _FLEETING


def prepare(settings: Settings, mounted: Iterable[Mount]) -> list[str]:
    """Make what a first start needs; return the lines to print.

    Raises:
        StartupError: the data directory or the token's file cannot be made.
    """
    said = []
    private_dir(settings.data_dir)
    if settings.token_file is not None and not settings.token_file.exists():
        make_token(settings.token_file, f"{random.SystemRandom().getrandbits(256):064x}")
        said.append(f"a token for the pages was made: cat {settings.token_file}, in this container")
    if not lasts(settings.data_dir, [*mounted]):
        said.append(
            f"WARNING: {settings.data_dir} is in no volume: journal, token and recordings are lost with this "
            f"container. Give it one: docker run -v kalshi-bus-data:{settings.data_dir} ..."
        )
    return said


def is_ready(settings: Settings) -> bool:
    """Ask the snapshot server's /ready."""
    connection = HTTPConnection(local_host(settings), settings.snapshot_port, timeout=READY_S)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Carry out one of the two; `run` becomes supervisord."""
    parser = argparse.ArgumentParser(prog="python -m bus.process.container", description=__doc__)
    parser.add_argument("op", choices=("run", "ready"))
    op = parser.parse_args().op
    try:
        settings = Settings.load(os.environ, Path.cwd())
        if op == "ready":
            return 0 if is_ready(settings) else 1
        os.umask(0o077)
        for line in prepare(settings, mounts(Path("/proc/self/mountinfo").read_text(errors="replace"))):
            sys.stdout.write(f"kalshi-bus: {line}\n")
        sys.stdout.flush()
    except (SettingsError, StartupError) as error:
        return refuse("kalshi-bus", error)
    command = command_of("bus.process.supervise")
    return os.execve(command[0], command, environment_of(os.environ))


if __name__ == "__main__":
    sys.exit(main())
