"""One simulator at a time has a directory: two would write each other's books."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from markets.errors import StartupError


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a directory until the block ends, or this process does; it is made if it is missing.

    The lock is on the directory itself: it leaves no file, and holds where nothing can be written.

    Raises:
        StartupError: another simulator has it, or it cannot be used.
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
