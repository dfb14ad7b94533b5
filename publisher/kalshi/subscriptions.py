"""The subscriptions of one WebSocket connection, sans-I/O: commands, the numbers of frames, signs of life.

Every frame of a sequenced subscription, acknowledgements too, takes the next number of its `sid`: a number
left out is a frame lost, one that was there before is dropped. What the frames mean is stream_session.py.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from bus.threads import Owner
from markets.errors import KalshiBusError
from markets.json import frames
from markets.json.frames import BOOKS, StreamError, StreamFrame, Subscribed, believed_ms

TICKERS_PER_COMMAND: Final = 500
PROBE_AFTER_MS: Final = 4_000
"""A subscription that is silent this long is asked whether it lives."""

STALLED_AFTER_MS: Final = 6_000
"""No frame for this long after that question: the connection is dead, however open it looks."""

ENDING: Final = frozenset(
    {
        frames.UNKNOWN_SUBSCRIPTION,
        frames.AUTHENTICATION_REQUIRED,
        frames.CHANNEL_ERROR,
        frames.BUFFER_OVERFLOW,
    }
)
"""Errors after which a subscription, or the connection where the error names none, is of no use any more."""


Verdict = Literal["next", "after_gap", "drop"]


class Broken(KalshiBusError):
    """The connection is of no use any more: make a new one."""


class Counters(msgspec.Struct):
    """What happened on all connections so far."""

    frames: int = 0
    gaps: int = 0
    duplicates: int = 0
    bad: int = 0
    errors: int = 0
    healed: int = 0
    confirmed: int = 0


class _Subscription:
    __slots__ = ("as_of_ms", "channel", "last", "last_ms", "probed_ms")

    def __init__(self, channel: str, now_ms: int) -> None:
        self.channel = channel
        self.last = 0
        self.last_ms = now_ms
        self.as_of_ms = now_ms
        self.probed_ms: int | None = None


class Subscriptions:
    """What is subscribed on one connection, and what is to be sent on it. One thread; times are ms."""

    def __init__(self, counters: Counters, *, yes_price: bool) -> None:
        self._counters = counters
        self._yes_price = yes_price
        self._commands: list[bytes] = []
        self._number = 0
        self._subs: dict[int, _Subscription] = {}
        self._books_sid: int | None = None
        self._subscribing_books_ms: int | None = None
        self._heard_ms = 0
        self._probed_ms: int | None = None
        self._thread = Owner("the subscriptions of a stream")

    @property
    def books_open(self) -> bool:
        """Whether books are subscribed."""
        return self._books_sid is not None

    @property
    def books_as_of_ms(self) -> int | None:
        """When the subscription of books was last heard: up to then nothing of it was lost."""
        sub = self._books
        return None if sub is None else sub.as_of_ms

    def is_books(self, sid: int | None) -> bool:
        """Tell whether `sid` is the subscription of books."""
        return sid is not None and sid == self._books_sid

    def commands(self) -> list[bytes]:
        """Return what is to be sent, once."""
        self._thread.check()
        commands, self._commands = self._commands, []
        return commands

    # -- what is heard

    def heard(self, now_ms: int) -> None:
        """Note that the connection lives: it was opened, or a frame came."""
        self._heard_ms, self._probed_ms = now_ms, None

    def opened(self, message: Subscribed, now_ms: int) -> bool:
        """Note that a subscription was acknowledged; return whether books are subscribed by it."""
        if message.channel == BOOKS:
            self._subscribing_books_ms = None
        if message.sid in self._subs:
            self._counters.duplicates += 1
            return False
        self._subs[message.sid] = _Subscription(message.channel, now_ms)
        if message.channel != BOOKS:
            return False
        self._books_sid = message.sid
        return True

    def follows(self, frame: StreamFrame, now_ms: int) -> Verdict:
        """Take note of a frame's number; say how it follows those before it, or that it is to be dropped."""
        if frame.sid is None:
            return "next"
        sub = self._subs.get(frame.sid)
        if sub is None:
            return "drop"
        order: Verdict = "next"
        if frame.seq is not None:
            if frame.seq <= sub.last:
                self._counters.duplicates += 1
                return "drop"
            if frame.seq != sub.last + 1:
                self._counters.gaps += 1
                order = "after_gap"
            sub.last = frame.seq
        sub.last_ms, sub.probed_ms = now_ms, None
        sub.as_of_ms = believed_ms(frame.sending_ts_ms, now_ms)
        return order

    def failed(self, sid: int | None, failure: StreamError) -> bool:
        """Take an error; return whether it ended the subscription of books. Others are subscribed again.

        Raises:
            Broken: it ended the connection's use.
        """
        self._counters.errors += 1
        if failure.code not in ENDING:
            return False
        sub = self._subs.pop(sid, None) if sid is not None else None
        if sub is None:
            raise Broken(f"error {failure.code}: {failure.msg}")
        if sub.channel == BOOKS:
            self._books_sid = None
            return True
        self.subscribe(sub.channel)
        return False

    def check_life(self, now_ms: int, followed: str | None) -> None:
        """Ask a silent subscription of books, and a silent connection, for a sign of life.

        Args:
            followed: a market whose book to ask for.

        Raises:
            Broken: there was none.
        """
        sub = self._books
        if sub is not None and now_ms - sub.last_ms > PROBE_AFTER_MS and followed is not None:
            if sub.probed_ms is None:
                sub.probed_ms = now_ms
                self.update_books("get_snapshot", [followed])
            elif now_ms - sub.probed_ms > STALLED_AFTER_MS:
                raise Broken("the books are silent")
        asked_ms = self._subscribing_books_ms
        if asked_ms is not None and now_ms - asked_ms > STALLED_AFTER_MS:
            raise Broken("the subscription of books is not answered")
        if now_ms - self._heard_ms > PROBE_AFTER_MS:
            if self._probed_ms is None:
                self._probed_ms = now_ms
                self._commands.append(frames.list_subscriptions(self._next()))
            elif now_ms - self._probed_ms > STALLED_AFTER_MS:
                raise Broken("the connection is silent")

    # -- what is sent

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel for all markets."""
        self._commands.append(frames.subscribe(self._next(), channel))

    def subscribe_books(self, tickers: Sequence[str], now_ms: int) -> list[str]:
        """Subscribe to books, unless that is under way; return those of `tickers` that were asked for."""
        if not tickers or self._subscribing_books_ms is not None:
            return []
        first = list(tickers[:TICKERS_PER_COMMAND])
        self._subscribing_books_ms = now_ms
        self._commands.append(frames.subscribe_books(self._next(), first, yes_price=self._yes_price))
        return first

    def update_books(
        self, action: Literal["add_markets", "delete_markets", "get_snapshot"], tickers: Sequence[str]
    ) -> None:
        """Change which books are subscribed, or ask for those of subscribed markets."""
        if self._books_sid is None:
            return  # subscribing brings them; only a frame without a number could ask for more before
        for start in range(0, len(tickers), TICKERS_PER_COMMAND):
            part = tickers[start : start + TICKERS_PER_COMMAND]
            self._commands.append(frames.update_subscription(self._next(), self._books_sid, action, part))

    @property
    def _books(self) -> _Subscription | None:
        return self._subs.get(self._books_sid) if self._books_sid is not None else None

    def _next(self) -> int:
        self._number += 1
        return self._number
