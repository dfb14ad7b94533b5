"""Only one simulator at a time may use a directory: two would overwrite each other's books."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from markets.errors import StartupError


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a directory until the block, or this process, ends; make it if it is missing.

    The lock is on the directory itself: it leaves no file, and works even where nothing can be written.

    Raises:
        StartupError: another simulator uses it, or it is unusable.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(f"{directory}: {error.strerror}; --keys must be a directory of yours") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartupError(
                f"{directory}: another simulator has its keys and books there; stop it or choose --keys"
            ) from None
        yield
    finally:
        os.close(descriptor)
