"""Messages, where they go, and what became of them: storms folded, quiet hours, retries. Pure.

An alert becomes a message. Up to AT_ONCE messages of one rule in STORM_MS are sent individually; any more are
counted, and sent as one when the time is over. A message waits for each way separately: a way that fails is
retried with growing pauses and then takes everything that waits for it in one go; a message that waits too
long becomes "undelivered". Each attempt is recorded on disk before it is made: one cut off by a crash is
"uncertain" and is not repeated, so that nothing is sent twice.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from bus.alerting import HISTORY_MOST, MessageRow, Quiet, WayRow

from .judging import clean
from .quiet import is_quiet
from .seen import Alert

AT_ONCE: Final = 5
STORM_MS: Final = 60_000
RETRY_MS: Final = 5_000
RETRY_MOST_MS: Final = 300_000
GIVE_UP_MS: Final = 3_600_000
"""The age at which a message that could not be delivered is given up."""

WAY_BACK_MS: Final = 60_000
"""How long a way that is no longer listed is waited for, since its file may be in the middle of a write."""

BODY_MOST: Final = 1_500
"""Most characters in one go: Discord takes 2,000, Telegram and ntfy 4,096."""

DIGEST_MOST: Final = 20
WAITING_MOST: Final = 1_000
"""How many messages may wait; of more, the oldest are dropped and counted."""

DROPPED_MS: Final = 86_400_000
"""How long it is said that messages were dropped."""

ERROR_MOST: Final = 200

WAITS: Final = "waits"
SENDING: Final = "sending"
DELIVERED: Final = "delivered"
UNDELIVERED: Final = "undelivered"
UNCERTAIN: Final = "uncertain"
_OPEN: Final = frozenset({WAITS, SENDING})


class Message(msgspec.Struct):
    """A message. `ways`: by name, its state there; `quiet`: it was held for a digest."""

    number: int
    at_ms: int
    rule: int
    title: str
    text: str
    urgent: bool
    quiet: bool = False
    told: int = 1
    ways: dict[str, str] = {}
    error: str | None = None


class Storm(msgspec.Struct):
    """How much of one rule was sent since a time: `folded` alerts are only counted, the last is `text`."""

    since_ms: int
    count: int = 0
    folded: int = 0
    title: str = ""
    text: str = ""
    urgent: bool = False


class Way(msgspec.Struct):
    """The state of a way: `failures` in a row, no attempt before `next_ms`; `gone_ms`: since when missing."""

    failures: int = 0
    next_ms: int = 0
    error: str | None = None
    since_ms: int | None = None
    gone_ms: int | None = None


class Dropped(msgspec.Struct):
    """How many messages were dropped while they waited, and when the last of them."""

    count: int = 0
    last_ms: int = 0


class Kept(msgspec.Struct):
    """The part of an outbox that must survive a restart."""

    last: int = 0
    messages: list[Message] = []
    storms: dict[int, Storm] = {}
    digest: list[str] = []
    digest_more: int = 0
    ways: dict[str, Way] = {}
    dropped: Dropped = msgspec.field(default_factory=Dropped)


class Parcel(msgspec.Struct, frozen=True):
    """What is sent in one go, by one way."""

    way: str
    title: str
    body: str
    numbers: tuple[int, ...]


class Outbox:
    """One thread's. When `changed` is set, `kept` must be written to disk before parcels are sent."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.changed = False
        for message in kept.messages:
            for way, state in message.ways.items():
                if state == SENDING:
                    message.ways[way] = UNCERTAIN
                    message.error = "the process ended while sending it: it may or may not have arrived"
                    self.changed = True

    # -- in

    def put(self, alerts: Sequence[Alert], ways: Collection[str], quiet: Quiet, now_ms: int) -> None:
        """Take alerts: to be sent now, counted, or held until after the quiet hours."""
        ways = self._given(ways)
        for alert in alerts:
            storm = self.kept.storms.get(alert.rule)
            if storm is None or not 0 <= now_ms - storm.since_ms < STORM_MS:
                if storm is not None:
                    self._fold(alert.rule, storm, ways, quiet, now_ms)
                storm = self.kept.storms[alert.rule] = Storm(now_ms)
            self.changed = True
            if storm.count < AT_ONCE:
                storm.count += 1
                self._tell(alert.rule, alert.title, alert.text, ways, quiet, now_ms, urgent=alert.urgent)
                continue
            storm.folded += 1
            storm.title, storm.text = alert.title, alert.text
            storm.urgent = storm.urgent or alert.urgent

    def tell(self, text: str, ways: Collection[str], now_ms: int, rule: int = 0, title: str = "Test") -> int:
        """Send a text at once, even in quiet hours; return the number of the message."""
        self._add(Message(0, now_ms, rule, title, text, urgent=True), self._given(ways))
        return self.kept.last

    def turn(self, ways: Collection[str], quiet: Quiet, now_ms: int) -> None:
        """Do what is due: end storms, send the digest, give up messages that are too old or have no way."""
        dropped = self.kept.dropped
        if dropped.count and not 0 <= now_ms - dropped.last_ms < DROPPED_MS:
            self.kept.dropped, self.changed = Dropped(), True
        gone = self._gone(ways, now_ms)
        for way in gone:
            del self.kept.ways[way]
        ways = self._given(ways)
        for rule, storm in list(self.kept.storms.items()):
            if not 0 <= now_ms - storm.since_ms < STORM_MS:
                del self.kept.storms[rule]
                self._fold(rule, storm, ways, quiet, now_ms)
        if self.kept.digest and not is_quiet(quiet, now_ms):
            lines, more = self.kept.digest, self.kept.digest_more
            count, text = len(lines) + more, _digest(lines, more)
            self.kept.digest, self.kept.digest_more = [], 0
            self._add(Message(0, now_ms, 0, "In the quiet hours", text, urgent=False, told=count), ways)
        for message in self.kept.messages:
            for way, state in message.ways.items():
                old = now_ms - message.at_ms >= GIVE_UP_MS
                if state == WAITS and (old or way in gone):
                    message.ways[way] = UNDELIVERED
                    if way in gone:
                        message.error = f"the way {way} no longer exists"
                    self.changed = True

    def _given(self, ways: Collection[str]) -> Collection[str]:
        """Return the listed ways, and those that may be back in a moment."""
        return tuple(dict.fromkeys((*ways, *self.kept.ways)))

    def _gone(self, ways: Collection[str], now_ms: int) -> list[str]:
        """Note which ways are listed; return those that have been missing for long."""
        gone = []
        waited = (way for one in self.kept.messages for way, state in one.ways.items() if state in _OPEN)
        for name in dict.fromkeys((*self.kept.ways, *ways, *waited)):
            way = self.kept.ways.setdefault(name, Way())
            if name in ways:
                way.gone_ms = None
            elif way.gone_ms is None:
                way.gone_ms = now_ms
            elif not 0 <= now_ms - way.gone_ms < WAY_BACK_MS:
                gone.append(name)
        return gone

    def _fold(self, rule: int, storm: Storm, ways: Collection[str], quiet: Quiet, now_ms: int) -> None:
        if storm.folded:
            text = f"{storm.folded} more in {STORM_MS // 1000} s; the last: {storm.text}"
            self._tell(rule, storm.title, text, ways, quiet, now_ms, urgent=storm.urgent, told=storm.folded)

    def _tell(
        self,
        rule: int,
        title: str,
        text: str,
        ways: Collection[str],
        quiet: Quiet,
        now_ms: int,
        *,
        urgent: bool,
        told: int = 1,
    ) -> None:
        message = Message(0, now_ms, rule, title, text, urgent, told=told)
        if not urgent and is_quiet(quiet, now_ms):
            message.quiet = True
            if len(self.kept.digest) < DIGEST_MOST:
                self.kept.digest.append(f"{title}: {text}")
            else:
                self.kept.digest_more += told
            self._add(message, ())
            return
        self._add(message, ways)

    def _add(self, message: Message, ways: Collection[str]) -> None:
        self.kept.last += 1
        message.number = self.kept.last
        message.ways = dict.fromkeys(ways, WAITS)
        self.kept.messages.append(message)
        self.changed = True
        waiting = [one for one in self.kept.messages if _OPEN.intersection(one.ways.values())]
        spare = len(self.kept.messages) - HISTORY_MOST
        if spare > 0:  # drop the oldest, except the newest WAITING_MOST that are still waiting
            held = {one.number for one in waiting[-WAITING_MOST:]}
            gone = {*[one.number for one in self.kept.messages if one.number not in held][:spare]}
            self.kept.messages = [one for one in self.kept.messages if one.number not in gone]
            if lost := sum(one.number in gone for one in waiting):
                self.kept.dropped = Dropped(self.kept.dropped.count + lost, message.at_ms)

    # -- out

    def parcels(self, now_ms: int, busy: Collection[str]) -> list[Parcel]:
        """Return what is to be sent now, at most one parcel per way; from now on it counts as being sent.

        Call `turn` first, which notes which ways are listed.
        """
        found = []
        for way, stand in self.kept.ways.items():
            if way in busy or stand.gone_ms is not None or 0 < stand.next_ms - now_ms <= RETRY_MOST_MS:
                continue
            taken: list[Message] = []
            size = 0
            for message in self.kept.messages:
                if message.ways.get(way) == WAITS:
                    size += len(message.title) + len(message.text) + 3
                    if taken and size > BODY_MOST:
                        break
                    taken.append(message)
            if not taken:
                continue
            for message in taken:
                message.ways[way] = SENDING
            self.changed = True
            found.append(_parcel(way, taken))
        return found

    def sent(self, parcel: Parcel, error: str | None, now_ms: int) -> None:
        """Take the outcome of a parcel: None, or why it was not delivered."""
        way = self.kept.ways.setdefault(parcel.way, Way())
        self.changed = True
        for message in self.kept.messages:
            if message.number in parcel.numbers and message.ways.get(parcel.way) == SENDING:
                message.ways[parcel.way] = DELIVERED if error is None else WAITS
                message.error = None if error is None else f"{parcel.way}: {error}"[:ERROR_MOST]
        if error is None:
            self.kept.ways[parcel.way] = Way(since_ms=now_ms)
            return
        pause_ms = min(RETRY_MOST_MS, RETRY_MS * 2 ** min(way.failures, 10))
        way.failures += 1
        way.next_ms = now_ms + pause_ms
        if way.error is None:
            way.since_ms = now_ms
        way.error = error[:ERROR_MOST]

    # -- for readers

    def waiting(self, way: str) -> int:
        """Return how many messages wait for a way."""
        return sum(one.ways.get(way) in _OPEN for one in self.kept.messages)

    def way_row(self, name: str, scheme: str) -> WayRow:
        """Return the state of a way."""
        way = self.kept.ways.get(name, Way())
        since = None if way.since_ms is None else way.since_ms / 1000
        return WayRow(
            name=name,
            scheme=scheme,
            state="fails" if way.error else "unused" if since is None else "works",
            waiting=self.waiting(name),
            error=way.error,
            since=since,
        )

    def rows(self, after: int = 0) -> tuple[MessageRow, ...]:
        """Return messages with a higher number than `after`, newest first."""
        return tuple(
            MessageRow(
                number=one.number,
                at=one.at_ms / 1000,
                rule=one.rule,
                title=one.title,
                text=one.text,
                urgent=one.urgent,
                quiet=one.quiet,
                told=one.told,
                ways=dict(one.ways),
                error=one.error,
            )
            for one in reversed(self.kept.messages)
            if one.number > after
        )


def _digest(lines: Sequence[str], more: int) -> str:
    """Return lines as one text that fits a message; those that do not fit are counted."""
    room = BODY_MOST - len(f"\nand {len(lines) + more} more")
    told: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        told.append(line)
    more += len(lines) - len(told)
    return "\n".join([*told, *([f"and {more} more"] if more else [])])


def _parcel(way: str, messages: Sequence[Message]) -> Parcel:
    numbers = tuple(one.number for one in messages)
    if len(messages) == 1:
        (one,) = messages
        return Parcel(way, f"kalshi-bus: {one.title}", one.text[:BODY_MOST], numbers)
    body = "\n".join(f"{one.title}: {one.text}" for one in messages)
    return Parcel(way, clean(f"kalshi-bus: {len(messages)} alerts"), body[:BODY_MOST], numbers)
