"""Which requests are repeated."""

import threading
from typing import Final

import msgspec

HOT_S: Final = 10.0
"""A request made twice within this time is answered by the front, for as long as it keeps coming."""

MAX_HOT: Final = 1_024
"""The most repeated requests to keep: the latest ones."""

MAX_ONCE: Final = 4_096
"""The most requests to remember after their first time."""

MAX_REQUEST: Final = 2_048
"""The longest request to remember. Clients that poll send short ones."""


class Hot(msgspec.Struct):
    """A repeated request.

    Attributes:
        asked_s: when it was last made.
        took_s: how long its template is expected to take to make and send; 0: it was not made yet.
        makes_s: how long the body took when it was last made, by whomever.
    """

    asked_s: float
    took_s: float = 0.0
    makes_s: float = 0.0


class Asked:
    """Requests by when they were last made. Any thread; the lock is only ever held for a lookup."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._once: dict[bytes, float] = {}
        self._hot: dict[bytes, Hot] = {}  # those asked last come last
        self._new: dict[bytes, Hot] = {}

    def ask(self, request: bytes, now_s: float) -> bool:
        """Note a request that the front could not answer; return whether it is a repeated one from now on."""
        if len(request) > MAX_REQUEST:
            return False
        with self._lock:
            if self._renew(request, now_s):
                return False
            before_s = self._once.pop(request, None)
            if before_s is None or now_s - before_s > HOT_S:
                if len(self._once) >= MAX_ONCE:
                    del self._once[next(iter(self._once))]
                self._once[request] = now_s
                return False
            if len(self._hot) >= MAX_HOT:
                self._forget(next(iter(self._hot)))
            self._hot[request] = self._new[request] = Hot(now_s)
            return True

    def answered(self, request: bytes, now_s: float) -> None:
        """Note a request that the front has answered."""
        with self._lock:
            self._renew(request, now_s)

    def hot(self, now_s: float) -> list[tuple[bytes, Hot]]:
        """Return those that come again and again, the one asked last first."""
        with self._lock:
            while self._hot:
                request, oldest = next(iter(self._hot.items()))
                if now_s - oldest.asked_s <= HOT_S:
                    break
                self._forget(request)
            return list(self._hot.items())[::-1]

    def new(self) -> tuple[bytes, Hot] | None:
        """Return one that was not returned before, if there is one."""
        with self._lock:
            return self._new.popitem() if self._new else None

    def all_new(self) -> None:
        """Have all of them returned by `new` again."""
        with self._lock:
            self._new.update(self._hot)

    def forget(self, request: bytes) -> None:
        """Forget a request that has no template."""
        with self._lock:
            self._forget(request)

    def _renew(self, request: bytes, now_s: float) -> bool:
        hot = self._hot.pop(request, None)
        if hot is None:
            return False
        hot.asked_s = now_s
        self._hot[request] = hot
        return True

    def _forget(self, request: bytes) -> None:
        self._hot.pop(request, None)
        self._new.pop(request, None)
