"""Kalshi's WebSocket, sans-I/O: commands in, frames out, no socket and no clock.

A `Hub` listens to the exchange and knows who has subscribed to what; a `WsConnection` is one of its
connections. The shell reads `WsConnection.outgoing` and sends it. Behaviour: contract section 15 (AsyncAPI of
August 2026, changelog to October 2026, recorded streams).
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from markets.units import format_count, format_price, format_time, opposite
from simulator.floor.exchange import Exchange
from simulator.floor.happenings import Trade
from simulator.floor.model import Event, Market
from simulator.matching.book import Change, OrderBook

from .private import FILLS, GROUPS, ORDERS, POSITIONS, PrivateChannels
from .render import dumps, event_json, levels_json, market_json, quote_values, sendable

BOOKS, TICKER, TRADES, LIFECYCLE = "orderbook_delta", "ticker", "trade", "market_lifecycle_v2"
COMBO_LIFECYCLE: Final = "multivariate_market_lifecycle"
PUBLIC: Final = frozenset({BOOKS, TICKER, TRADES, LIFECYCLE, COMBO_LIFECYCLE})
PRIVATE: Final = frozenset({FILLS, ORDERS, POSITIONS, GROUPS, "communications"})
"""Channels of an account; the simulator has no communications (requests for quotes)."""

FEEDS: Final = frozenset({"cfbenchmarks_value", "cfbenchmarks_value_5hz", "pyth_value"})
UNSEQUENCED: Final = frozenset({TICKER, FILLS, ORDERS, POSITIONS})

BUFFER_FRAMES: Final = 20_000
"""Unsent frames of one connection above which its subscriptions end with error 25 (size unknown)."""

ERRORS: Final = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
}
"""Error codes of the public channels (contract 15.6)."""


MARKETS_PER_SESSION: Final = 500_000
COMMANDS_PER_SECOND: Final = 10_000
"""Limits of one connection (changelog of 18 June 2026), answered with errors 26 and 27."""


class CommandError(Exception):
    """A command that is answered with an error frame."""

    def __init__(self, code: int, sid: int | None = None) -> None:
        self.code = code
        self.sid = sid
        super().__init__(ERRORS[code])


@dataclass(slots=True)
class Subscription:
    """One channel of one connection. `tickers` None means all markets."""

    sid: int
    channel: str
    tickers: dict[str, None] | None
    use_yes_price: bool = False
    skip_ack: bool = False
    seq: int = 0

    def wants(self, ticker: str) -> bool:
        """Return whether frames of this market belong to the subscription."""
        return self.tickers is None or ticker in self.tickers


def market_id(market: Market) -> str:
    """Return the UUID by which the WebSocket also names a market."""
    if market.market_id is None:
        market.market_id = str(uuid5(NAMESPACE_URL, "simulator/market/" + market.ticker))
    return market.market_id


def ticker_message(market: Market, time_ms: int) -> dict[str, Any]:
    """Return the body of a ``ticker`` frame."""
    quote = quote_values(market)
    return {
        "market_ticker": market.ticker,
        "market_id": market_id(market),
        "price_dollars": format_price(market.last_e4),
        "yes_bid_dollars": quote["yb"],
        "yes_ask_dollars": quote["ya"],
        "yes_bid_size_fp": quote["ybs"],
        "yes_ask_size_fp": quote["yas"],
        "last_trade_size_fp": format_count(market.last_size_e2),
        "volume_fp": format_count(market.volume_e2),
        "open_interest_fp": format_count(market.open_interest_e2),
        "dollar_volume": market.volume_e2 // 200,
        "dollar_open_interest": market.open_interest_e2 // 200,
        "ts": time_ms // 1000,
        "ts_ms": time_ms,
        "time": format_time(time_ms),
    }


class Hub:
    """All connections: listens to the exchange and hands every frame to those who asked for it."""

    def __init__(self, exchange: Exchange, exchange_id: str = str(UUID(int=0))) -> None:
        self.exchange = exchange
        self.private = PrivateChannels(exchange, self, exchange_id)
        self.sessions: list[WsConnection] = []
        self.frames = 0
        self.max_markets = MARKETS_PER_SESSION
        self.max_commands = COMMANDS_PER_SECOND
        self.mangle: Callable[[WsConnection, str, str], Iterable[str]] | None = None
        exchange.listeners.append(self)

    def connect(self, account: int = 1) -> "WsConnection":
        """Open a connection of an account."""
        session = WsConnection(self, account)
        self.sessions.append(session)
        return session

    def disconnect(self, session: "WsConnection") -> None:
        """Forget a connection."""
        if session in self.sessions:
            self.sessions.remove(session)

    def quoted(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """Send book differences and the ticker of a market.

        A book requested before its market was listed begins with the first quote.
        """
        if market.depth is None:
            self.emptied(market, time_ms)
        self.deepened(market, changes, time_ms)
        for session in self.sessions:
            for sub in session.subscribed(TICKER, market.ticker):
                session.data(sub, TICKER, ticker_message(market, time_ms), time_ms)

    def deepened(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """Send book differences."""
        for session in self.sessions:
            for sub in session.subscribed(BOOKS, market.ticker):
                for change in changes:
                    session.delta(sub, market, change, time_ms)

    def emptied(self, market: Market, time_ms: int) -> None:
        """Send the whole book, which is empty after a market's close."""
        for session in self.sessions:
            for sub in session.subscribed(BOOKS, market.ticker):
                session.snapshot(sub, market.ticker, time_ms)

    def traded(self, trade: Trade) -> None:
        """Send a public trade; the ticker and the book follow with the quote it changes."""
        message = None
        for session in self.sessions:
            for sub in session.subscribed(TRADES, trade.market.ticker):
                message = message or {
                    "trade_id": trade.trade_id,
                    "market_ticker": trade.market.ticker,
                    "yes_price_dollars": format_price(trade.yes_price_e4),
                    "no_price_dollars": format_price(opposite(trade.yes_price_e4)),
                    "count_fp": format_count(trade.count_e2),
                    "taker_side": trade.taker,
                    "taker_outcome_side": trade.taker,
                    "taker_book_side": "bid" if trade.taker == "yes" else "ask",
                    "is_block_trade": False,
                    "ts": trade.time_ms // 1000,
                    "ts_ms": trade.time_ms,
                }
                session.data(sub, TRADES, message, trade.time_ms)

    def announced(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        """Send a life cycle message."""
        event = subject.event if isinstance(subject, Market) else subject
        channel = COMBO_LIFECYCLE if event.combo else LIFECYCLE
        for session in self.sessions:
            for sub in session.subscribed(channel):
                if isinstance(subject, Market):
                    kind = channel
                    body = {"event_type": event_type, "market_ticker": subject.ticker, **fields}
                    if event_type == "created" and not event.combo:
                        body.update(_created(subject, time_ms))
                elif event_type == "event_created":
                    kind, body = "event_lifecycle", _event_created(subject, time_ms)
                else:
                    kind, body = event_type, {"event_ticker": subject.ticker, **fields}
                session.data(sub, kind, body, time_ms)


def _event_created(event: Event, time_ms: int) -> dict[str, Any]:
    body = json.loads(event_json(event, time_ms))
    return {
        "event_ticker": event.ticker,
        "exchange_index": event.shard,
        "title": body["title"],
        "subtitle": body["sub_title"],
        "collateral_return_type": body["collateral_return_type"],
        "series_ticker": event.series.ticker,
    }


def _created(market: Market, time_ms: int) -> dict[str, Any]:
    body = json.loads(market_json(market, time_ms))
    event = market.event
    more = {
        "name": body["yes_sub_title"],
        "expected_expiration_ts": event.expected_ms // 1000,
        "event_ticker": event.ticker,
    }
    copied = ("title", "yes_sub_title", "no_sub_title", "rules_primary", "rules_secondary", "can_close_early",
              "strike_type", "floor_strike", "cap_strike", "custom_strike")  # fmt: skip
    return {
        "exchange_index": event.shard,
        "open_ts": event.open_ms // 1000,
        "close_ts": event.close_ms // 1000,
        "price_level_structure": body["price_level_structure"],
        "price_ranges": body["price_ranges"],
        "additional_metadata": {**more, **{key: body[key] for key in copied if key in body}},
    }


@dataclass(slots=True)
class _Command:
    id: int
    name: str
    params: dict[str, Any] = field(default_factory=dict)

    def tickers(self) -> list[str] | None:
        """Return the markets a command names; None if it names none."""
        single, many = self.params.get("market_ticker"), self.params.get("market_tickers")
        if single is not None and many is not None:
            raise CommandError(11)
        tickers = [single] if single is not None else many
        if tickers is None:
            return None
        if not isinstance(tickers, list) or not all(isinstance(t, str) and t for t in tickers):
            raise CommandError(11)
        return [sendable(ticker) for ticker in tickers]

    def flag(self, name: str) -> bool:
        value = self.params.get(name, False)
        if not isinstance(value, bool):
            raise CommandError(11)
        return value


class WsConnection:
    """One connection.

    Attributes:
        account: that of the key that opened it.
        outgoing: frames to send, oldest first; the sender removes them.
        closing: set once the server wants to end the connection.
        stalled: while True, nothing leaves (a fault); what happens meanwhile is lost, as on a dead line.
    """

    def __init__(self, hub: Hub, account: int = 1) -> None:
        self.hub = hub
        self.account = account
        self.outgoing: deque[str] = deque()
        self.closing = False
        self.stalled = False
        self.wake: Callable[[], None] = lambda: None
        self._subs: dict[int, Subscription] = {}
        self._by_channel: dict[str, Subscription] = {}
        self._next_sid = 1
        self._second = (0, 0)

    # Frames -----------------------------------------------------------------------------------------

    def subscribed(self, channel: str, ticker: str | None = None) -> Iterable[Subscription]:
        """Yield this connection's subscription to a channel if it covers the market."""
        sub = self._by_channel.get(channel)
        if sub is not None and (ticker is None or sub.wants(ticker)):
            yield sub

    def data(
        self, sub: Subscription, kind: str, message: Any, time_ms: int, command: int | None = None
    ) -> None:
        """Queue a data frame of a subscription."""
        frame: dict[str, Any] = {"type": kind, "sid": sub.sid}
        if sub.channel not in UNSEQUENCED:
            sub.seq += 1
            frame["seq"] = sub.seq
        frame["msg"] = message
        if command is not None:
            frame["id"] = command
        frame["sending_ts_ms"] = time_ms
        self._queue(kind, dumps(frame))
        if len(self.outgoing) > BUFFER_FRAMES:
            self._overflow(sub, time_ms)

    def delta(self, sub: Subscription, market: Market, change: Change, time_ms: int) -> None:
        """Queue one difference of an order book; the account's own carries its client order id."""
        side, price_e4, delta_e2, order = change
        if side == "no" and sub.use_yes_price:
            price_e4 = opposite(price_e4)
        message: dict[str, Any] = {
            "market_ticker": market.ticker,
            "market_id": market_id(market),
            "price_dollars": format_price(price_e4),
            "delta_fp": format_count(delta_e2),
            "side": side,
            "ts": format_time(time_ms),
            "ts_ms": time_ms,
        }
        if order is not None and order.party[0] == self.account and order.client_order_id:
            message |= {"client_order_id": order.client_order_id, "subaccount": order.party[1]}
        self.data(sub, BOOKS, message, time_ms)

    def _reply(self, frame: dict[str, Any], now_ms: int, sub: Subscription | None = None) -> None:
        """Queue an answer; on a sequenced subscription it takes a number (contract 15.3)."""
        if sub is not None:
            frame["sid"] = sub.sid
            if sub.channel not in UNSEQUENCED:
                sub.seq += 1
                frame["seq"] = sub.seq
        frame["sending_ts_ms"] = now_ms
        self._queue(frame["type"], dumps(frame))

    def _queue(self, kind: str, text: str) -> None:
        if self.stalled:
            return
        mangle = self.hub.mangle
        self.outgoing.extend((text,) if mangle is None else mangle(self, kind, text))
        self.wake()

    def _overflow(self, sub: Subscription, now_ms: int) -> None:
        self._forget(sub)
        self._reply({"type": "error", "msg": {"code": 25, "msg": ERRORS[25]}}, now_ms, sub)

    # Commands ---------------------------------------------------------------------------------------

    def receive(self, text: str | bytes, now_ms: int) -> None:
        """Process a message from the client. Never raises; bad input is answered with an error frame."""
        command_id: int | None = None
        try:
            try:
                message = json.loads(text)
            except (ValueError, RecursionError):
                raise CommandError(1) from None
            if not isinstance(message, dict):
                raise CommandError(1)
            given = message.get("id")
            if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 0):
                raise CommandError(1)
            command_id = given or None
            self._count_command(now_ms)
            name, params = message.get("cmd"), message.get("params")
            if name not in ("subscribe", "unsubscribe", "update_subscription", "list_subscriptions"):
                raise CommandError(5)
            if name != "list_subscriptions" and not isinstance(params, dict):
                raise CommandError(2)
            command = _Command(command_id or 0, name, params or {})
            getattr(self, f"_{name}")(command, now_ms)
        except CommandError as error:
            frame: dict[str, Any] = {"type": "error"}
            if command_id is not None:
                frame["id"] = command_id
            frame["msg"] = {"code": error.code, "msg": ERRORS[error.code]}
            self._reply(frame, now_ms, self._subs.get(error.sid) if error.sid is not None else None)

    def _count_command(self, now_ms: int) -> None:
        second, commands = self._second
        self._second = (second, commands + 1) if second == now_ms // 1000 else (now_ms // 1000, 1)
        if self._second[1] > self.hub.max_commands:
            raise CommandError(27)

    def _room_for(self, tickers: int, sid: int | None = None) -> None:
        held = sum(len(sub.tickers or ()) for sub in self._subs.values())
        if held + tickers > self.hub.max_markets:
            raise CommandError(26, sid)

    def _subscribe(self, command: _Command, now_ms: int) -> None:
        channels = command.params.get("channels")
        if not channels or not isinstance(channels, list):
            raise CommandError(3)
        if any(c not in PUBLIC | PRIVATE | FEEDS for c in channels if isinstance(c, str)):
            raise CommandError(8)
        if not all(isinstance(c, str) for c in channels):
            raise CommandError(11)
        tickers = command.tickers() or None  # an empty list says as little as no list
        if tickers is None:
            tickers = self._by_id(command.params, channels)
        if BOOKS in channels and not tickers:
            raise CommandError(14)
        use_yes, initial = command.flag("use_yes_price"), command.flag("send_initial_snapshot")
        skip = command.flag("skip_ticker_ack")
        for channel in dict.fromkeys(channels):
            mine = None if channel in (LIFECYCLE, COMBO_LIFECYCLE, GROUPS) else tickers
            sub = self._by_channel.get(channel)
            if sub is None:
                self._room_for(len(mine or ()))
                sub = Subscription(
                    self._next_sid, channel, None if mine is None else dict.fromkeys(mine), use_yes, skip
                )
                self._next_sid += 1
                self._subs[sub.sid] = self._by_channel[channel] = sub
                self._reply(
                    {"type": "subscribed", "id": command.id, "msg": {"channel": channel, "sid": sub.sid}},
                    now_ms,
                )
                self._snapshots(sub, mine or [], initial, now_ms)
                if channel == ORDERS and self.hub.exchange.switches.user_orders_initial_snapshot:
                    for message in self.hub.private.resting(self.account):
                        if sub.wants(message["ticker"]):
                            self.data(sub, "user_order", message, now_ms)
            else:
                self._add(sub, command, mine, initial, now_ms)

    def _by_id(self, params: dict[str, Any], channels: list[str]) -> list[str] | None:
        """Resolve ``market_id(s)``, which only the ticker channel takes."""
        ids = [params["market_id"]] if "market_id" in params else params.get("market_ids")
        if ids is None:
            return None
        if channels != [TICKER] or not isinstance(ids, list):
            raise CommandError(11)
        return [ticker for ticker, market in self.hub.exchange.markets.items() if market_id(market) in ids]

    def _add(
        self, sub: Subscription, command: _Command, tickers: list[str] | None, initial: bool, now_ms: int
    ) -> None:
        """Widen a subscription: one ``ok`` with the whole list, then snapshots of only the new markets."""
        fresh: list[str] = []
        if tickers is None:
            sub.tickers = None
        elif sub.tickers is not None:
            fresh = [ticker for ticker in dict.fromkeys(tickers) if ticker not in sub.tickers]
            self._room_for(len(fresh), sub.sid)
            sub.tickers.update(dict.fromkeys(fresh))
        self._acknowledge(sub, command, now_ms)
        self._snapshots(sub, fresh, initial, now_ms)

    def _acknowledge(self, sub: Subscription, command: _Command, now_ms: int) -> None:
        message = {} if sub.skip_ack else {"market_tickers": sorted(sub.tickers or ())}
        self._reply({"type": "ok", "id": command.id, "msg": message}, now_ms, sub)

    def _snapshots(self, sub: Subscription, tickers: Iterable[str], initial: bool, now_ms: int) -> None:
        for ticker in tickers:
            if sub.channel == BOOKS:
                self.snapshot(sub, ticker, now_ms)
            elif sub.channel == TICKER and initial and (market := self.hub.exchange.markets.get(ticker)):
                self.data(sub, TICKER, ticker_message(market, now_ms), now_ms)

    def snapshot(self, sub: Subscription, ticker: str, now_ms: int, command: int | None = None) -> None:
        """Queue the whole book of a market; for an unknown market, an empty one without id."""
        market = self.hub.exchange.markets.get(ticker)
        book = self.hub.exchange.book(market) if market is not None else OrderBook()
        message: dict[str, Any] = {
            "market_ticker": ticker,
            "market_id": market_id(market) if market is not None else "",
        }
        scale = opposite if sub.use_yes_price else None
        for key, levels, price in (
            ("yes_dollars_fp", book.yes.levels(), None),
            ("no_dollars_fp", book.no.levels(), scale),
        ):
            if levels:
                message[key] = json.loads(levels_json(levels, price=price))
        self.data(sub, "orderbook_snapshot", message, now_ms, command)

    def _one(self, command: _Command) -> Subscription:
        sid, sids = command.params.get("sid"), command.params.get("sids")
        if sid is None and sids is None:
            raise CommandError(4)
        if sid is not None and sids is not None:
            raise CommandError(12)
        if sids is not None:
            if not isinstance(sids, list) or len(sids) != 1:
                raise CommandError(12)
            sid = sids[0]
        sub = self._subs.get(sid) if isinstance(sid, int) else None
        if sub is None:
            raise CommandError(7)
        return sub

    def _update_subscription(self, command: _Command, now_ms: int) -> None:
        sub = self._one(command)
        action = command.params.get("action")
        if action is None:
            raise CommandError(15, sub.sid)
        if action not in ("add_markets", "delete_markets", "get_snapshot"):
            raise CommandError(13, sub.sid)
        if action == "get_snapshot" and sub.channel != BOOKS:
            raise CommandError(13, sub.sid)
        tickers = command.tickers()
        if not tickers:
            raise CommandError(14, sub.sid)
        if action == "get_snapshot":
            for ticker in tickers:
                self.snapshot(sub, ticker, now_ms, command.id)
        elif action == "add_markets":
            self._add(sub, command, tickers, command.flag("send_initial_snapshot"), now_ms)
        else:
            for ticker in tickers:
                if sub.tickers is not None:
                    sub.tickers.pop(ticker, None)
            self._acknowledge(sub, command, now_ms)

    def _unsubscribe(self, command: _Command, now_ms: int) -> None:
        sids = command.params.get("sids")
        if not sids or not isinstance(sids, list):
            raise CommandError(4)
        if not all(isinstance(sid, int) and sid in self._subs for sid in sids):
            raise CommandError(7)
        for sid in dict.fromkeys(sids):
            sub = self._subs[sid]
            self._forget(sub)
            sub.seq += 1
            frame = {"type": "unsubscribed", "id": command.id, "sid": sid, "seq": sub.seq}
            self._reply(frame, now_ms)

    def _forget(self, sub: Subscription) -> None:
        self._subs.pop(sub.sid, None)
        if self._by_channel.get(sub.channel) is sub:
            del self._by_channel[sub.channel]

    def _list_subscriptions(self, command: _Command, now_ms: int) -> None:
        listed = [{"channel": sub.channel, "sid": sub.sid} for sub in self._subs.values()]
        self._reply({"type": "ok", "id": command.id, "msg": listed}, now_ms)
