"""The subscriptions of one WebSocket connection, sans-I/O: commands, frame numbers, signs of life.

Every frame of a sequenced subscription, acknowledgements too, takes the next number of its `sid`: a skipped
number is a lost frame, a repeated one is dropped. What the frames mean is stream_session.py.

An error answers the command of its `id`, or ends the subscription of its `sid`: that part alone is asked for
again, at growing intervals, and the rest of the connection goes on. Only one that belongs to neither ends the
connection.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from bus.threads import Owner
from markets.errors import KalshiBusError
from markets.json import frames
from markets.json.frames import BOOKS, StreamError, StreamFrame, Subscribed, believed_ms

from .faults import printable

TICKERS_PER_COMMAND: Final = 500
PROBE_AFTER_MS: Final = 4_000
"""A subscription that is silent this long is asked for a sign of life."""

STALLED_AFTER_MS: Final = 6_000
"""If no frame comes for this long after that, the connection is dead, however open it looks."""

AGAIN_FIRST_MS: Final = 1_000
AGAIN_MAX_MS: Final = 300_000
"""Bounds of the doubling pause before a refused part is asked for again."""

HELD_MAX_MS: Final = 30_000
"""The longest time to send nothing after the exchange said that it was too much."""

PROVEN_MS: Final = 30_000
"""A subscription that lived this long before it ended has not failed."""

UNANSWERED_MAX: Final = 1_000
CODES_MAX: Final = 50

ENDING: Final = frozenset(
    {
        frames.UNKNOWN_SUBSCRIPTION,
        frames.AUTHENTICATION_REQUIRED,
        frames.CHANNEL_ERROR,
        frames.BUFFER_OVERFLOW,
    }
)
"""Errors that make a subscription useless, or the connection if the error names none."""

BUSY: Final = frozenset({frames.COMMAND_TIMEOUT, frames.TOO_MANY_COMMANDS})
"""Errors that mean "not now"."""

_ADDING: Final = frozenset({"subscribe", "add_markets"})
_OF_BOOKS: Final = frozenset({"add_markets", "delete_markets", "get_snapshot"})

Verdict = Literal["next", "after_gap", "drop"]
Action = Literal["subscribe", "add_markets", "delete_markets", "get_snapshot", "list_subscriptions"]


class Broken(KalshiBusError):
    """The connection is useless: make a new one."""


class Counters(msgspec.Struct):
    """What happened on all connections so far.

    Attributes:
        refused: code of an error, as text -> how often. refusal: the last one in words.
        books_max: the most books that one subscription may have; None while no limit has been met.
    """

    frames: int = 0
    gaps: int = 0
    duplicates: int = 0
    bad: int = 0
    errors: int = 0
    healed: int = 0
    confirmed: int = 0
    refused: dict[str, int] = {}
    refusal: str | None = None
    books_max: int | None = None

    def refuse(self, code: int, words: str) -> None:
        """Count an error; only a bounded number of codes is distinguished, whatever comes."""
        key = str(code) if 0 <= code < 1_000_000 else "other"
        if key not in self.refused and len(self.refused) >= CODES_MAX:
            key = "other"
        self.errors += 1
        # A new dict each time: the bus thread reads it.
        self.refused = {**self.refused, key: self.refused.get(key, 0) + 1}
        self.refusal = words


class Command(NamedTuple):
    """A command awaiting its answer."""

    action: Action
    channel: str
    tickers: tuple[str, ...]
    sent_ms: int


class Refusal(NamedTuple):
    """An error, and what it cost.

    Attributes:
        command: the one it answers, None if none is known.
        ended: the channel whose subscription it ended, None if none.
    """

    code: int
    text: str
    command: Command | None
    ended: str | None

    def __str__(self) -> str:
        what = "no command of ours"
        if self.ended is not None:
            what = f"the subscription of {self.ended}"
        if self.command is not None:
            count = len(self.command.tickers)
            what = f"{self.command.action} {self.command.channel}".strip()
            what += f" for {count} market{'s' if count != 1 else ''}" if count else ""
        return f"error {self.code}, {self.text or 'without words'} ({what})"


class _Subscription:
    __slots__ = ("as_of_ms", "channel", "last", "last_ms", "opened_ms", "probed_ms", "since_ms")

    def __init__(self, channel: str, now_ms: int, wall_ms: int) -> None:
        self.channel = channel
        self.last = 0
        self.last_ms = now_ms
        self.as_of_ms = self.since_ms = wall_ms
        self.opened_ms = now_ms
        self.probed_ms: int | None = None


class Pauses:
    """When something that keeps failing may be tried next, at growing intervals. Times are ms."""

    def __init__(self, longest_ms: int = AGAIN_MAX_MS) -> None:
        self._longest_ms = longest_ms
        self._failures = 0
        self._due_ms = 0

    def due(self, now_ms: int) -> bool:
        """Tell whether it may be tried now; a clock that was set back does not cause a long wait."""
        return not self._due_ms - self._longest_ms <= now_ms < self._due_ms

    def refused(self, now_ms: int) -> None:
        """Note that it was refused."""
        self._due_ms = now_ms + min(self._longest_ms, AGAIN_FIRST_MS << min(self._failures, 20))
        self._failures += 1

    def ended(self, now_ms: int, lived_ms: int) -> None:
        """Note that it ended: the first time, or if it had lived long, it is tried again at once."""
        if lived_ms >= PROVEN_MS:
            self._failures = 0
        if self._failures:
            self._failures -= 1
            self.refused(now_ms)
        self._failures += 1

    def went_well(self, now_ms: int) -> None:
        """Note a success; a running pause is kept."""
        if self.due(now_ms):
            self._failures = 0


class Subscriptions:
    """What is subscribed on a connection, and what is to be sent on it. One thread.

    Times are ms: `now_ms` of a steady clock, `wall_ms` of the wall clock.
    """

    def __init__(self, counters: Counters, *, yes_price: bool) -> None:
        self._counters = counters
        self._yes_price = yes_price
        self._commands: list[bytes] = []
        self._unanswered: dict[int, Command] = {}
        self._number = 0
        self._subs: dict[int, _Subscription] = {}
        self._books_sid: int | None = None
        self._subscribing_books_ms: int | None = None
        self._heard_ms = self._now_ms = 0
        self._probed_ms: int | None = None
        self._wanted: dict[str, Pauses] = {}
        self._books_pauses = Pauses()
        self._holding = Pauses(HELD_MAX_MS)
        self._thread = Owner("the subscriptions of a stream")

    @property
    def books_open(self) -> bool:
        """Whether books are subscribed."""
        return self._books_sid is not None

    @property
    def books_as_of_ms(self) -> int | None:
        """When the subscription of books was last heard: nothing of it was lost until then."""
        sub = self._books
        return None if sub is None else sub.as_of_ms

    def since_ms(self, channel: str) -> int | None:
        """Return since when a channel for all markets has been heard without a gap; None: not subscribed."""
        return next((sub.since_ms for sub in self._subs.values() if sub.channel == channel), None)

    def is_books(self, sid: int | None) -> bool:
        """Tell whether `sid` is the subscription of books."""
        return sid is not None and sid == self._books_sid

    def held(self, now_ms: int) -> bool:
        """Tell whether nothing may be sent now, since the exchange said that it was too much."""
        return not self._holding.due(now_ms)

    def commands(self) -> list[bytes]:
        """Return, once, what is to be sent; nothing while commands are held back."""
        self._thread.check()
        if self.held(self._now_ms):
            return []
        commands, self._commands = self._commands, []
        return commands

    def leaving(self, now_ms: int) -> set[str]:
        """Return the markets that are being taken out of the subscription of books."""
        return {
            ticker
            for command in self._unanswered.values()
            if command.action == "delete_markets" and now_ms - command.sent_ms < STALLED_AFTER_MS
            for ticker in command.tickers
        }

    # -- what is heard

    def heard(self, now_ms: int) -> None:
        """Note that the connection lives: it was opened, or a frame came."""
        self._heard_ms = self._now_ms = now_ms
        self._probed_ms = None

    def answered(self, number: int | None) -> Command | None:
        """Return the command that a frame answers, once."""
        return None if number is None else self._unanswered.pop(number, None)

    def went_well(self, now_ms: int) -> None:
        """Note that a command was carried out."""
        self._holding.went_well(now_ms)

    def knows(self, sid: int | None) -> bool:
        """Tell whether there is a subscription with this number."""
        return sid in self._subs

    def opened(self, message: Subscribed, now_ms: int, wall_ms: int) -> bool:
        """Note that a subscription was acknowledged; return whether books are subscribed by it."""
        self.went_well(now_ms)
        for number, command in list(self._unanswered.items()):
            if command.action == "subscribe" and command.channel == message.channel:
                del self._unanswered[number]  # even if its answer does not carry its number
        if message.channel == BOOKS:
            self._subscribing_books_ms = None
        if message.sid in self._subs:
            self._counters.duplicates += 1
            return False
        self._subs[message.sid] = _Subscription(message.channel, now_ms, wall_ms)
        if message.channel != BOOKS:
            return False
        self._books_sid = message.sid
        return True

    def follows(self, frame: StreamFrame, now_ms: int, wall_ms: int) -> Verdict:
        """Note a frame's number; say how it follows the previous ones, or that it is to be dropped."""
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
                sub.since_ms = wall_ms
                order = "after_gap"
            sub.last = frame.seq
        sub.last_ms, sub.probed_ms = now_ms, None
        sub.as_of_ms = believed_ms(frame.sending_ts_ms, wall_ms)
        return order

    def failed(self, frame: StreamFrame, failure: StreamError, now_ms: int) -> Refusal:
        """Take an error: note what it ends or refuses, and when to ask for that again.

        What becomes of books is up to the caller.

        Raises:
            Broken: it belongs to no command or subscription, yet is one that ends something.
        """
        command = self.answered(frame.id)
        if command is None and failure.code == frames.MARKET_LIMIT:
            command = self._adding()  # it can mean nothing else
        ended = self._end(frame.sid, command, failure.code, now_ms)
        refusal = Refusal(failure.code, printable(failure.msg), command, ended)
        self._counters.refuse(failure.code, str(refusal))
        if failure.code in BUSY:
            self._holding.refused(now_ms)
        broken = ended is None and self._is_broken(command, failure.code, now_ms)
        if broken and frame.sid is None:  # otherwise it concerns a subscription that has already ended
            raise Broken(str(refusal))
        return refusal

    def _is_broken(self, command: Command | None, code: int, now_ms: int) -> bool:
        """Note that a command was refused; return whether the connection has become useless."""
        if command is None:
            return code in ENDING
        if command.action == "get_snapshot" and self._books is not None:
            self._books.probed_ms = None  # neither a sign of life nor of death: another market is asked
        if command.action != "subscribe":
            return False
        if command.channel == BOOKS:
            self._subscribing_books_ms = None
        else:
            self._wanted[command.channel].refused(now_ms)
        # A subscription it does not know at all, the exchange may accept on a new connection.
        return code == frames.AUTHENTICATION_REQUIRED and not self._subs and not self._subscribing()

    def _adding(self) -> Command | None:
        """Return the oldest unanswered command that asks for more books, marking it answered."""
        for number, command in self._unanswered.items():
            if command.channel == BOOKS and command.action in _ADDING:
                return self._unanswered.pop(number)
        return None

    def _subscribing(self) -> set[str]:
        return {command.channel for command in self._unanswered.values() if command.action == "subscribe"}

    def _end(self, sid: int | None, command: Command | None, code: int, now_ms: int) -> str | None:
        """Forget the subscription that an error ends; return its channel, None if there is none."""
        if code not in ENDING:
            return None
        if sid is None and command is not None and command.action in _OF_BOOKS:
            sid = self._books_sid if code != frames.AUTHENTICATION_REQUIRED else None
        sub = self._subs.pop(sid, None) if sid is not None else None
        if sub is None:
            return None
        lived_ms = now_ms - sub.opened_ms
        if sub.channel == BOOKS:
            self._books_sid = None
            self._books_pauses.ended(now_ms, lived_ms)
        elif sub.channel in self._wanted:
            self._wanted[sub.channel].ended(now_ms, lived_ms)
            self.renew(now_ms)
        return sub.channel

    def check_life(self, now_ms: int, followed: str | None) -> None:
        """Ask a silent subscription of books, or a silent connection, for a sign of life.

        Args:
            followed: a market whose book can be asked for.

        Raises:
            Broken: there was no sign of life.
        """
        self._now_ms = now_ms
        if self.held(now_ms):
            return
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
                self._commands.append(frames.list_subscriptions(self._next("list_subscriptions", "")))
            elif now_ms - self._probed_ms > STALLED_AFTER_MS:
                raise Broken("the connection is silent")

    # -- what is sent

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel for all markets, and again whenever the subscription ends."""
        self._wanted.setdefault(channel, Pauses())
        self._commands.append(frames.subscribe(self._next("subscribe", channel), channel))

    def renew(self, now_ms: int) -> None:
        """Subscribe again to channels that have ended or were refused, if it is time."""
        there = {sub.channel for sub in self._subs.values()} | self._subscribing()
        for channel, pauses in self._wanted.items():
            if channel not in there and pauses.due(now_ms):
                self.subscribe(channel)

    def books_due(self, now_ms: int) -> bool:
        """Tell whether books may be subscribed now."""
        return self._books_pauses.due(now_ms)

    def pause_books(self, now_ms: int) -> None:
        """Do not subscribe to books for a while: everything asked for was refused."""
        self._books_pauses.refused(now_ms)

    def subscribe_books(self, tickers: Sequence[str], now_ms: int) -> list[str]:
        """Subscribe to books, unless that is under way; return the `tickers` asked for."""
        if not tickers or self._subscribing_books_ms is not None:
            return []
        first = list(tickers[:TICKERS_PER_COMMAND])
        self._subscribing_books_ms = now_ms
        number = self._next("subscribe", BOOKS, first)
        self._commands.append(frames.subscribe_books(number, first, yes_price=self._yes_price))
        return first

    def update_books(
        self, action: Literal["add_markets", "delete_markets", "get_snapshot"], tickers: Sequence[str]
    ) -> None:
        """Change the books subscribed, or ask for those of subscribed markets."""
        if self._books_sid is None:
            return  # subscribing brings them; only an unnumbered frame could have asked for more before
        for start in range(0, len(tickers), TICKERS_PER_COMMAND):
            part = tickers[start : start + TICKERS_PER_COMMAND]
            number = self._next(action, BOOKS, part)
            self._commands.append(frames.update_subscription(number, self._books_sid, action, part))

    @property
    def _books(self) -> _Subscription | None:
        return self._subs.get(self._books_sid) if self._books_sid is not None else None

    def _next(self, action: Action, channel: str, tickers: Iterable[str] = ()) -> int:
        self._number += 1
        self._unanswered[self._number] = Command(action, channel, tuple(tickers), self._now_ms)
        if len(self._unanswered) > UNANSWERED_MAX:
            # A complete lack of answers is noticed by other means.
            del self._unanswered[next(iter(self._unanswered))]
        return self._number
