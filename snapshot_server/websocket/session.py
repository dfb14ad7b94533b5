"""One WebSocket client, sans-I/O: its commands come in, frames for it go out.

Kalshi's protocol: each subscription has a number (`sid`); on most channels its frames are numbered, its
acknowledgements too (`seq`). The hub knows what a subscription is to be sent (hub.py).

Source: Kalshi AsyncAPI of August 2026, changelog to 1 October 2026, recorded sessions of June to August 2026.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from markets.json.decoding import JSON_FAULTS
from markets.json.frames import (
    AUTHENTICATION_REQUIRED,
    BOOKS,
    BUFFER_OVERFLOW,
    CHANNEL_ERROR,
    COMMAND_TIMEOUT,
    LIFECYCLE,
    MARKET_LIMIT,
    TICKER,
    TOO_MANY_COMMANDS,
    TRADES,
    UNKNOWN_SUBSCRIPTION,
)

from .framing import PING, TEXT, framed, header

CHANNELS: Final = (BOOKS, TICKER, TRADES, LIFECYCLE)
"""The channels served here."""

PRIVATE: Final = frozenset(
    ("fill", "user_orders", "market_positions", "order_group_updates", "communications")
)
"""Channels of an account; this server has no accounts."""

ELSEWHERE: Final = {
    "multivariate_market_lifecycle": "combos are not swept",
    "cfbenchmarks_value": "reference prices are not on the bus",
    "cfbenchmarks_value_5hz": "reference prices are not on the bus",
    "pyth_value": "reference prices are not on the bus",
}
"""Public channels that are not served here, and why."""

MAX_MARKETS: Final = 100_000
"""The most markets that a client's subscriptions may name together."""

COMMANDS_PER_S: Final = 1_000
"""The most commands of a client that are carried out within a second."""

WORK_PER_S: Final = 2_000
"""How much work a client's commands may cause in a second; beyond that it is not read for a while. The unit
is a short command."""

_TICKERS_A_WORK: Final = 50
"""How many tickers, named or sent, are as much work as a command."""

_BYTES_A_WORK: Final = 2_048
_REFUSED_WORK: Final = 0.1

BUFFER_BYTES: Final = 2 * 1_048_576
"""How much may wait for a client to take it. A subscription that has more to say then ends with error 25."""

MAX_TICKER: Final = 200
"""The most characters of a ticker."""

_NAMED: Final = 10
"""How many tickers an error names."""

PAUSE_BYTES: Final = 128 * 1024
"""While this much waits for a client, what is not urgent is held: snapshots, answers to further commands."""

INVALID: Final = 11
_ERRORS: Final = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    UNKNOWN_SUBSCRIPTION: "Unknown subscription ID",
    8: "Unknown channel name",
    AUTHENTICATION_REQUIRED: "Authentication required",
    CHANNEL_ERROR: "Channel error",
    INVALID: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    COMMAND_TIMEOUT: "Command timeout",
    BUFFER_OVERFLOW: "Subscription buffer overflow",
    MARKET_LIMIT: "Subscription market limit exceeded",
    TOO_MANY_COMMANDS: "Too many requests",
}

_encode: Final = msgspec.json.Encoder().encode
_message: Final = msgspec.json.Decoder(dict[str, Any])


class CommandRefused(Exception):
    """A command gets an error: its code, and more than Kalshi's text if that helps."""

    def __init__(self, code: int, more: str = "", subscription: "Subscription | None" = None) -> None:
        self.code = code
        self.more = more
        self.subscription = subscription
        super().__init__(_text_of(code, more))


class Subscription:
    """A channel of a client. `tickers` has its markets, in order; None means all.

    Attributes:
        session: the client's session.
        numbered: whether its frames carry a `seq`.
        asked: books requested again (`get_snapshot`), with the command that asked.
    """

    __slots__ = ("asked", "channel", "numbered", "seq", "session", "sid", "skip_ack", "tickers", "yes_price")

    def __init__(
        self,
        session: "Session",
        sid: int,
        channel: str,
        tickers: dict[str, None] | None,
        *,
        yes_price: bool,
        skip_ack: bool,
    ) -> None:
        self.session = session
        self.sid = sid
        self.channel = channel
        self.numbered = channel != TICKER
        self.tickers = tickers
        self.yes_price = yes_price
        self.skip_ack = skip_ack
        self.seq = 0
        self.asked: dict[str, int] = {}

    def data(self, kind: bytes, message: bytes, time_ms: int, command: int = 0) -> None:
        """Send something to the subscription; `message` is the same for everybody who gets it."""
        self.session.data(self, kind, message, time_ms, command)


class Listeners(Protocol):
    """The one that knows what subscriptions are to be sent: the hub."""

    def added(self, subscription: Subscription, tickers: Sequence[str] | None, *, initial: bool) -> None:
        """Note markets (None: all) that a subscription covers from now on.

        `initial`: it wants their present state at once.
        """

    def removed(self, subscription: Subscription, tickers: Sequence[str]) -> None:
        """Note markets that a subscription no longer covers."""

    def ended(self, subscription: Subscription) -> None:
        """Forget a subscription."""

    def asked(self, subscription: Subscription, tickers: Sequence[str], command: int) -> None:
        """Send these books once more, as the answer to a command."""

    def unknown(self, tickers: Sequence[str]) -> Sequence[str]:
        """Return which of these are not markets, as far as is known."""

    @property
    def ready(self) -> bool:
        """Whether there is any data: without it nobody can subscribe."""

    def now_ms(self) -> int:
        """Return the time."""


class Session:
    """One client.

    Args:
        dirty: called with the session when there is something new to send.

    Attributes:
        out: bytes to send, WebSocket frames; the sender removes them.
        limit: how much of these may wait, apart from answers to commands.
        backlog: books that are to be sent when there is room.
        frames: data frames so far. overflows: subscriptions that ended with error 25.
    """

    def __init__(
        self, listeners: Listeners, dirty: Callable[["Session"], None] = lambda _session: None
    ) -> None:
        self.out = bytearray()
        self.limit = BUFFER_BYTES
        self.backlog: dict[tuple[Subscription, str], None] = {}
        self.frames = 0
        self.overflows = 0
        self.subscriptions: dict[int, Subscription] = {}
        self._listeners = listeners
        self._dirty = dirty
        self._by_channel: dict[str, Subscription] = {}
        self._next_sid = 1
        self._second = (0, 0)
        self._replied = 0  # bytes of `out` that are answers, at most: the client asked for them
        self._work = float(WORK_PER_S)
        self._worked_ms = 0

    # -- frames

    @property
    def has_room(self) -> bool:
        """Whether what is not urgent may be sent."""
        return len(self.out) < PAUSE_BYTES

    def books(self) -> Subscription | None:
        """Return the subscription to books, if there is one."""
        return self._by_channel.get(BOOKS)

    def data(
        self, subscription: Subscription, kind: bytes, message: bytes, time_ms: int, command: int = 0
    ) -> None:
        """Send a message of a subscription."""
        out = self.out
        if not out:
            self._replied = 0
            self._dirty(self)
        self.frames += 1
        if subscription.numbered:
            subscription.seq += 1
            head = b'{"type":"%b","sid":%d,"seq":%d,"msg":' % (kind, subscription.sid, subscription.seq)
        else:
            head = b'{"type":"%b","sid":%d,"msg":' % (kind, subscription.sid)
        tail = b',"sending_ts_ms":%d}' % time_ms
        if command:
            tail = b',"id":%d%b' % (command, tail)
        out += header(TEXT, len(head) + len(message) + len(tail))
        out += head
        out += message
        out += tail
        if len(out) > self.limit + self._replied:
            self._overflow(subscription)

    def ping(self, payload: bytes) -> None:
        """Check whether the client is there."""
        self._put(framed(PING, payload))

    def raw(self, frame: bytes) -> None:
        """Send a control frame."""
        self._put(frame)

    def _put(self, frame: bytes) -> None:
        if not self.out:
            self._replied = 0
            self._dirty(self)
        self.out += frame
        self._replied += len(frame)

    def _reply(
        self, kind: str, command: int, message: object = None, subscription: Subscription | None = None
    ) -> None:
        """Send an answer; on a numbered subscription it takes a number."""
        frame: dict[str, object] = {"type": kind}
        if command or isinstance(message, list):  # the list of subscriptions always has one
            frame["id"] = command
        if subscription is not None:
            frame["sid"] = subscription.sid
            if subscription.numbered:
                subscription.seq += 1
                frame["seq"] = subscription.seq
        if message is not None:
            frame["msg"] = message
        frame["sending_ts_ms"] = self._listeners.now_ms()
        self._put(framed(TEXT, _encode(frame)))

    def _error(
        self,
        command: int,
        code: int,
        more: str = "",
        subscription: Subscription | None = None,
        **members: str,
    ) -> None:
        self._reply("error", command, {"code": code, "msg": _text_of(code, more), **members}, subscription)

    def _overflow(self, subscription: Subscription) -> None:
        self.overflows += 1
        self._end(subscription)
        self._error(0, BUFFER_OVERFLOW, subscription=subscription)

    def _end(self, subscription: Subscription) -> None:
        if self.subscriptions.pop(subscription.sid, None) is None:
            return
        del self._by_channel[subscription.channel]
        self.backlog = {key: None for key in self.backlog if key[0] is not subscription}
        self._listeners.ended(subscription)

    def close(self) -> None:
        """Forget all subscriptions: the client is gone."""
        for subscription in list(self.subscriptions.values()):
            self._end(subscription)
        self.backlog.clear()

    # -- commands

    def rests_ms(self, steady_ms: int) -> int:
        """Return how long the client is not to be read, because its requests were too much work."""
        self._tire(0.0, steady_ms)
        return max(0, int(-self._work * 1000 / WORK_PER_S))

    def receive(self, text: bytes, steady_ms: int) -> None:
        """Carry out a command. Never raises: what is impossible is answered with an error."""
        command, work = 0, 1.0 + len(text) / _BYTES_A_WORK
        try:
            try:
                said = _message.decode(text)
            except JSON_FAULTS:
                raise CommandRefused(1, "expected a JSON object") from None
            given = said.get("id")
            if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
                raise CommandRefused(1, "id: expected a whole number")
            command = given or 0
            if not self._may_command(steady_ms):
                work = _REFUSED_WORK
                raise CommandRefused(TOO_MANY_COMMANDS, f"at most {COMMANDS_PER_S} a second")
            name = said.get("cmd")
            do = _COMMANDS.get(name) if isinstance(name, str) else None
            if do is None:
                raise CommandRefused(5)
            params = said.get("params")
            if params is None and name == "list_subscriptions":
                params = {}
            if not isinstance(params, dict):
                raise CommandRefused(2)
            work += do(self, command, params) / _TICKERS_A_WORK
        except CommandRefused as error:
            self._error(command, error.code, error.more, error.subscription)
        self._tire(work, steady_ms)

    def refuse(self, code: int, more: str) -> None:
        """Say why a message was not accepted at all."""
        self._error(0, code, more)

    def _may_command(self, steady_ms: int) -> bool:
        second, count = self._second
        self._second = (second, count + 1) if second == steady_ms // 1000 else (steady_ms // 1000, 1)
        return self._second[1] <= COMMANDS_PER_S

    def _tire(self, work: float, steady_ms: int) -> None:
        rested = max(0, steady_ms - self._worked_ms) * WORK_PER_S / 1000
        self._worked_ms = steady_ms
        self._work = min(float(WORK_PER_S), self._work + rested) - work

    def _room_for(self, count: int, subscription: Subscription | None = None) -> None:
        held = sum(len(held.tickers or ()) + len(held.asked) for held in self.subscriptions.values())
        if held + count > MAX_MARKETS:
            raise CommandRefused(MARKET_LIMIT, f"at most {MAX_MARKETS} a connection", subscription)

    def _subscribe(self, command: int, params: Mapping[str, Any]) -> int:
        if not self._listeners.ready:
            raise CommandRefused(COMMAND_TIMEOUT, "no data has arrived yet")
        channels = params.get("channels")
        if not channels or not isinstance(channels, list):
            raise CommandRefused(3)
        if not all(isinstance(channel, str) for channel in channels):
            raise CommandRefused(INVALID, "channels: expected names")
        for channel in channels:
            if channel not in CHANNELS and channel not in PRIVATE and channel not in ELSEWHERE:
                raise CommandRefused(8, f"{channel:.50}")
        tickers = _tickers_in(params) or None  # an empty list says as little as no list
        if BOOKS in channels and tickers is None:
            raise CommandRefused(14)
        yes_price, skip = _flag(params, "use_yes_price"), _flag(params, "skip_ticker_ack")
        initial = _flag(params, "send_initial_snapshot")
        work = 0
        for channel in dict.fromkeys(channels):
            if channel in PRIVATE:
                self._error(command, AUTHENTICATION_REQUIRED, f"{channel}: this server has no accounts")
                continue
            if channel in ELSEWHERE:
                self._error(command, CHANNEL_ERROR, f"{channel}: {ELSEWHERE[channel]}")
                continue
            mine = None if channel == LIFECYCLE else tickers
            held = self._by_channel.get(channel)
            if held is not None:
                work += self._add(held, command, mine, initial=initial)
                continue
            self._room_for(len(mine or ()))
            wanted = None if mine is None else dict.fromkeys(mine)
            made = Subscription(self, self._next_sid, channel, wanted, yes_price=yes_price, skip_ack=skip)
            self._next_sid += 1
            self.subscriptions[made.sid] = self._by_channel[channel] = made
            self._reply("subscribed", command, {"channel": channel, "sid": made.sid})
            self._listeners.added(made, mine, initial=initial)
            self._say_unknown(made, command, mine or ())
            work += len(mine or ())
        return work

    def _add(
        self, subscription: Subscription, command: int, tickers: Sequence[str] | None, *, initial: bool
    ) -> int:
        """Widen a subscription: one `ok` with all its markets, then what there is about the new ones."""
        fresh: list[str] = []
        if tickers is None:
            if subscription.tickers is not None:
                self._listeners.removed(subscription, list(subscription.tickers))
                subscription.tickers = None
                self._listeners.added(subscription, None, initial=False)
        elif subscription.tickers is not None:
            fresh = [ticker for ticker in tickers if ticker not in subscription.tickers]
            self._room_for(len(fresh), subscription)
            subscription.tickers.update(dict.fromkeys(fresh))
        told = self._acknowledge(subscription, command)
        if fresh:
            self._listeners.added(subscription, fresh, initial=initial)
            self._say_unknown(subscription, command, fresh)
        return told + len(tickers or ())

    def _acknowledge(self, subscription: Subscription, command: int) -> int:
        tickers = [] if subscription.skip_ack else sorted(subscription.tickers or ())
        self._reply("ok", command, {} if subscription.skip_ack else {"market_tickers": tickers}, subscription)
        return len(tickers)

    def _say_unknown(self, subscription: Subscription, command: int, tickers: Sequence[str]) -> None:
        """Say which markets are not here: Kalshi would send an empty book, which here would be a lie."""
        unknown = self._listeners.unknown(tickers)
        if unknown:
            named, more = ", ".join(unknown[:_NAMED]), len(unknown) - _NAMED
            text = f"market_tickers: not on the bus: {named}" + (f" and {more} more" if more > 0 else "")
            self._error(command, INVALID, text, subscription, market_ticker=unknown[0])

    def _of(self, params: Mapping[str, Any]) -> Subscription:
        sid, sids = params.get("sid"), params.get("sids")
        if sid is None and sids is None:
            raise CommandRefused(4)
        if sids is not None:
            if sid is not None or not isinstance(sids, list) or len(sids) != 1:
                raise CommandRefused(12)
            sid = sids[0]
        found = self.subscriptions.get(sid) if isinstance(sid, int) and not isinstance(sid, bool) else None
        if found is None:
            raise CommandRefused(UNKNOWN_SUBSCRIPTION)
        return found

    def _update_subscription(self, command: int, params: Mapping[str, Any]) -> int:
        subscription = self._of(params)
        action = params.get("action")
        if action is None:
            raise CommandRefused(15, subscription=subscription)
        if action not in ("add_markets", "delete_markets", "get_snapshot") or (
            subscription.channel == LIFECYCLE or (action == "get_snapshot" and subscription.channel != BOOKS)
        ):
            raise CommandRefused(13, f"{action!r:.50} of {subscription.channel}", subscription)
        try:
            tickers = _tickers_in(params)
        except CommandRefused as error:
            raise CommandRefused(error.code, error.more, subscription) from None
        if not tickers:
            raise CommandRefused(14, subscription=subscription)
        if action == "add_markets":
            return self._add(subscription, command, tickers, initial=_flag(params, "send_initial_snapshot"))
        if action == "get_snapshot":
            self._room_for(len(tickers), subscription)
            self._listeners.asked(subscription, tickers, command)
            self._say_unknown(subscription, command, tickers)
            return len(tickers)
        gone = [ticker for ticker in tickers if subscription.tickers and ticker in subscription.tickers]
        for ticker in gone:
            del subscription.tickers[ticker]  # type: ignore[union-attr]  # it was in it
        self._listeners.removed(subscription, gone)
        return len(tickers) + self._acknowledge(subscription, command)

    def _unsubscribe(self, command: int, params: Mapping[str, Any]) -> int:
        sids = params.get("sids")
        if not sids or not isinstance(sids, list):
            raise CommandRefused(4)
        if not all(type(sid) is int and sid in self.subscriptions for sid in sids):
            raise CommandRefused(UNKNOWN_SUBSCRIPTION)
        work = 0
        for sid in dict.fromkeys(sids):
            subscription = self.subscriptions[sid]
            work += len(subscription.tickers or ())
            self._end(subscription)
            subscription.numbered = True  # this answer is, on every channel
            self._reply("unsubscribed", command, subscription=subscription)
        return work

    def _list_subscriptions(self, command: int, _params: Mapping[str, Any]) -> int:
        listed = [{"channel": held.channel, "sid": held.sid} for held in self.subscriptions.values()]
        self._reply("ok", command, listed)
        return 0


_COMMANDS: Final[Mapping[str, Callable[[Session, int, Mapping[str, Any]], int]]] = {
    "subscribe": Session._subscribe,  # noqa: SLF001 (its own)
    "unsubscribe": Session._unsubscribe,  # noqa: SLF001
    "update_subscription": Session._update_subscription,  # noqa: SLF001
    "list_subscriptions": Session._list_subscriptions,  # noqa: SLF001
}
"""What each command does; returns how many tickers that involved."""


def _text_of(code: int, more: str) -> str:
    return f"{_ERRORS[code]}: {more}" if more else _ERRORS[code]


def _flag(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise CommandRefused(INVALID, f"{name}: expected true or false")
    return value


def _tickers_in(params: Mapping[str, Any]) -> list[str] | None:
    """Return the markets that a command names, each once; None if it names none."""
    if params.get("market_id") is not None or params.get("market_ids") is not None:
        raise CommandRefused(INVALID, "market_ids: Kalshi's are not on the bus; name market_tickers")
    single, many = params.get("market_ticker"), params.get("market_tickers")
    if single is not None and many is not None:
        raise CommandRefused(INVALID, "market_ticker or market_tickers, not both")
    if single is None and many is None:
        return None
    tickers = [single] if many is None else many
    if not isinstance(tickers, list) or not all(
        isinstance(ticker, str) and 0 < len(ticker) <= MAX_TICKER for ticker in tickers
    ):
        raise CommandRefused(INVALID, "market_tickers: expected a list of tickers")
    return list(dict.fromkeys(tickers))
