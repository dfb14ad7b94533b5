"""Thread rules that enforce themselves: what belongs to one thread complains when another touches it.

Always on: a check is one comparison of two integers. It raises AssertionError, since a wrong thread is never
bad input but always a mistake of ours.
"""

import threading
from typing import Final

_NOBODY: Final = 0


class Owner:
    """Which thread may use something: the first to do so, or the last to call `take`.

    Args:
        what: names it in the error, for example "the trader's journal".
    """

    __slots__ = ("_ident", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self._ident = _NOBODY

    def take(self) -> None:
        """Hand over to the calling thread: from now on only it may."""
        self._ident = threading.get_ident()

    def check(self) -> None:
        """Assert that the calling thread is the owner; if there is none yet, it becomes the owner."""
        ident = threading.get_ident()
        if self._ident != ident:
            assert self._ident == _NOBODY, (
                f"{self.what} belongs to thread {self._ident}, not to"
                f" {threading.current_thread().name!r} ({ident})"
            )
            self._ident = ident


def assert_held(lock: "threading.RLock") -> None:
    """Assert that the calling thread holds a `threading.RLock`."""
    # What threading.Condition itself asks of its lock.
    assert lock._is_owned(), "the caller must hold this lock"  # type: ignore[attr-defined]  # noqa: SLF001


class MainThread:
    """The main thread of the process: signals and the HTTP server live in it."""

    def check(self) -> None:
        """Assert that the calling thread is the main thread."""
        current = threading.current_thread()
        assert current is threading.main_thread(), f"main thread only, not {current.name!r}"


main_thread: Final = MainThread()
