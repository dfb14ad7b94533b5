"""A process's place on this machine: private directories and files, one process per role, free ports.

ZeroMQ lets two processes bind the same ipc path without an error: the earlier subscribers stay with the
first, the later get the second. So each role is held by an flock, which the kernel frees however its holder
dies.
"""

import difflib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from markets.errors import StartupError

from .echo import shown_path
from .programs import to_type

STACK: Final = "kalshi-bus"
"""The role of everything ``make run`` starts, as a whole."""

PID_TRIES: Final = 100


def private_dir(path: Path) -> Path:
    """Make `path` a directory only its owner can enter (mode 0700), and return it.

    Raises:
        StartupError: it cannot be made, is not a directory, belongs to another user or lets others in.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise StartupError(f"{shown_path(path)}: cannot make this directory: {error.strerror}") from error
    if found.st_uid != os.geteuid():
        raise StartupError(f"{path}: belongs to user {found.st_uid}, not {os.geteuid()}: use one of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise StartupError(f"{path}: mode {mode:04o} lets other users in: run chmod 700 {path}")
    return path


def writable_dir(path: Path) -> Path:
    """Make `path` a private directory in which files can be made, and return it.

    Raises:
        StartupError: as `private_dir`, or it cannot be written to.
    """
    if not os.access(private_dir(path), os.W_OK | os.X_OK):
        raise StartupError(
            f"{path}: cannot be written to: a file system that is read-only, or chmod 700 {path}"
        )
    return path


@contextmanager
def hold_role(run_dir: Path, role: str) -> Iterator[None]:
    """Hold `role` in this run directory until the block ends.

    Raises:
        StartupError: another process holds it, which the message names together with how to stop it; or no
            lock can be made.
    """
    fd = take_role(run_dir, role)
    try:
        yield  # the file stays: unlinking a locked file would let two processes lock two files of one name
    finally:
        os.close(fd)


def lock_path(run_dir: Path, role: str) -> Path:
    """Return the path of a role's lock in a run directory."""
    return run_dir / f"{role}.lock"


@contextmanager
def hold_data_dir(path: Path) -> Iterator[None]:
    """Hold a data directory for one publisher until the block ends, whichever run directory it has.

    Raises:
        StartupError: another publisher holds it, or it is no directory of ours.
    """
    try:
        fd = os.open(private_dir(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StartupError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartupError(
                f"{path}: another publisher, of another run directory, keeps its data there: set "
                "KALSHI_BUS_DATA_DIR to another one"
            ) from None
        except OSError:
            pass  # a file system on which folders cannot be locked
        yield
    finally:
        os.close(fd)


def take_role(run_dir: Path, role: str) -> int:
    """Take `role` in this run directory; return a descriptor that holds it until closed.

    Raises:
        StartupError: as `hold_role`.
    """
    path = lock_path(run_dir, role)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"{path}: cannot be made: {error.strerror}") from error
    try:
        while not _locked(fd):
            # Held by nobody any more: somebody had only looked, and let go.
            if (pid := holder(run_dir, role)) is not None:
                raise StartupError(_running(run_dir, role, pid))
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(fd)
        raise StartupError(f"{path}: cannot be written: {error.strerror}") from error
    except StartupError:
        os.close(fd)
        raise
    return fd


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _running(run_dir: Path, role: str, pid: int) -> str:
    """Say who holds a role and how to stop it."""
    whole = holder(run_dir, STACK)
    said = f"{role} already running, pid {pid or 'unknown'} (run directory {run_dir})"
    other = "or use another directory"
    if whole and role != STACK:
        return f"{said}: kill {whole} stops all that {to_type('run')} started, {other}"
    return f"{said}: kill {pid or 'PID'} stops it, {other}"


def holder(run_dir: Path, role: str) -> int | None:
    """Return the pid of the process that holds `role` in this run directory, 0 if unknown, or None."""
    try:
        fd = os.open(lock_path(run_dir, role), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for _ in range(PID_TRIES):
            if _locked(fd):
                return None
            # The pid of the previous holder, or nothing, until the new one has written its own.
            text = os.pread(fd, 20, 0).strip()
            if text.isdigit() and _alive(int(text)):
                return int(text)
        return 0
    finally:
        os.close(fd)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0


def open_private_file(path: Path, setting: str) -> int:
    """Open a file that only its owner can read; return its descriptor, which the caller closes.

    Its content is not examined here.

    Args:
        setting: the variable that names the file, for the message.

    Raises:
        StartupError: it is missing, a link, not a file, not ours or open to others; the message names the
            path and the remedy.
    """
    try:
        # A link could be redirected between check and use; an open file stays the same.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise StartupError(f"{path}: a symbolic link: name the file itself") from None
        near = _neighbour(path) if isinstance(error, FileNotFoundError) else ""
        raise StartupError(
            f"{shown_path(path)}: cannot be read: {error.strerror}{near}: put it there or set {setting}"
        ) from None
    try:
        _check_private(path, os.fstat(fd))
    except StartupError:
        os.close(fd)
        raise
    return fd


def _neighbour(path: Path) -> str:
    """Say which file beside it was probably meant."""
    try:
        beside = [found.name for found in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f", did you mean {path.with_name(close[0])}?" if close else ""


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StartupError(f"{path}: not a regular file: name the file itself")
    if found.st_uid != os.geteuid():
        raise StartupError(
            f"{path}: belongs to user {found.st_uid}, not {os.geteuid()}: run chown {os.geteuid()} {path}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o177:
        raise StartupError(f"{path}: mode {mode:04o} is looser than 0600: run chmod 600 {path}")


def check_port(port: int, setting: str, host: str = "127.0.0.1") -> None:
    """Check that a server could listen on `port` now.

    Args:
        setting: the variable that would change it, for the message.

    Raises:
        StartupError: something else listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # despite TIME_WAIT of our last run
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise StartupError(f"{host}: no address of this machine, see `ip address`") from error
            raise StartupError(
                f"port {port} on {host}: {error.strerror}: stop what listens there or set {setting}"
            ) from error
