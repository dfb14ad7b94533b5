"""Silence: how long nothing was heard of a feed, and what that calls for."""

from typing import Final

SILENCE_MS: Final = 3_000
"""A feed that says nothing for this long is lost: heartbeats come four times a second."""

REBUILD_MAX_MS: Final = 10 * SILENCE_MS


class Silence:
    """When the feed counts as lost, and when to reconnect to it, at growing intervals.

    Args:
        now_ms: any steady clock, the same one passed to the methods.

    Attributes:
        heard_ms: when the last message was heard.
        lost: whether that is SILENCE_MS ago or more.
    """

    def __init__(self, now_ms: int) -> None:
        self.heard_ms = now_ms
        self.lost = False
        self._rebuild_at_ms = now_ms + SILENCE_MS
        self._rebuild_wait_ms = SILENCE_MS

    def hear(self, now_ms: int) -> bool:
        """Note a message; tell whether a lost feed has come back."""
        self.heard_ms = now_ms
        if not self.lost:
            return False
        self.lost = False
        self._rebuild_wait_ms = SILENCE_MS
        return True

    def lose(self, now_ms: int) -> bool:
        """Let time pass; tell whether the feed counts as lost from now on."""
        if self.lost or now_ms - self.heard_ms < SILENCE_MS:
            return False
        self.lost = True
        self._rebuild_at_ms = now_ms
        return True

    def rebuild(self, now_ms: int) -> bool:
        """Tell whether to reconnect now."""
        if not self.lost or now_ms < self._rebuild_at_ms:
            return False
        self._rebuild_at_ms = now_ms + self._rebuild_wait_ms
        self._rebuild_wait_ms = min(2 * self._rebuild_wait_ms, REBUILD_MAX_MS)
        return True
