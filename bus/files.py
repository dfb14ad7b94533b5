"""Files that may have been replaced by something else, and files that are whole or not there."""

import errno
import os
import stat
import threading
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO, Final

OLD_S: Final = 3_600

_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a directory"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; anything but a regular file is refused: a pipe would be waited for without end.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    require_regular(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(fd, "rb")
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # it has just been replaced
        file.close()
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return file


def write_whole(path: Path, body: bytes) -> None:
    """Write a file anew, ours alone to read: when this returns it survives a power cut.

    Until then what was there before stays. Whoever writes it at the same time has a draft of their own, a
    file whose name begins with that of `path` and ends with ".new".

    Raises:
        OSError: it cannot be written; the error names `path`.
    """
    draft = path.with_name(f"{path.name}.{threading.get_native_id()}.new")
    try:
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(fd)
        draft.replace(path)  # whole or not at all
        _drop_old_drafts(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _drop_old_drafts(path: Path) -> None:
    """Drop what processes left that were killed while they wrote; as old as this, nobody is writing it."""
    now_s = path.stat().st_mtime
    for draft in path.parent.glob(f"{escape(path.name)}.*.new"):
        with suppress(FileNotFoundError):  # whoever else writes it drops it, too
            if now_s - draft.lstat().st_mtime > OLD_S:
                draft.unlink()


def require_regular(path: Path) -> None:
    """Refuse what exists and is not a regular file.

    Raises:
        OSError: it is not one, or does not exist.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
        raise OSError(errno.EINVAL, f"is {kind}, expected a file", str(path))
