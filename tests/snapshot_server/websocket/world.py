"""A hub over a state that tests change by hand, and clients that keep what they are told, as Kalshi's do."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from bus.protocol.join import Tell
from bus.protocol.state import Changed, Records
from markets.json.frames import decode_delta, decode_frame, decode_snapshot
from markets.records import Book, Event, Level, Market, Quote, Status, Suspect, Trade
from snapshot_server.websocket.hub import Hub
from snapshot_server.websocket.session import Session
from tests.simulator.schemas import frame_errors

NOW_MS = 1_795_956_333_298
Frame = dict[str, Any]
SEEN: set[object] = set()
"""Shapes of frames that were found to be as specified."""


def a_quote(ticker: str, **values: Any) -> Quote:
    quote = Quote(
        ticker, Status.ACTIVE, 4_000, 4_300, 5_700, 6_000, 1_000, 300, 4_100, 5_000, 100, 2_500, None, None,
        None, NOW_MS,
    )  # fmt: skip
    return msgspec.structs.replace(quote, **values)


def a_market(ticker: str, **values: Any) -> Market:
    raw = json.dumps(
        {
            "ticker": ticker,
            "title": "Will it?",
            "rules_primary": "It will.",
            "price_level_structure": "linear_cent",
            "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        }
    ).encode()
    market = Market(
        ticker, "EV-1", "EV", "Will it?", "Yes", "binary", None, None, None, ((0, 10_000, 100),), NOW_MS,
        NOW_MS, NOW_MS + 3_600_000, NOW_MS + 7_200_000, None, None, 300, "", None, 0, raw,
    )  # fmt: skip
    return msgspec.structs.replace(market, **values)


def frames_in(out: bytes | bytearray) -> list[bytes]:
    """Return the payloads of a server's text frames."""
    found, at = [], 0
    while at < len(out):
        size, start = out[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(out[at + 2 : at + 4]), at + 4
        elif size == 127:
            size, start = int.from_bytes(out[at + 2 : at + 10]), at + 10
        if out[at] == 0x81:
            found.append(bytes(out[start : start + size]))
        at = start + size
    return found


class World:
    """What the replica holds, and a hub that is told of each change."""

    def __init__(self, *tickers: str) -> None:
        self.state = Records(1)
        self.now_ms = NOW_MS
        self.hub = Hub(lambda: self.state, lambda: self.now_ms)
        self.seq = 0
        for ticker in tickers:
            self.state.quotes[ticker] = a_quote(ticker)
            self.state.markets[ticker] = a_market(ticker)

    def client(self) -> "Client":
        return Client(self)

    def tell(self, kind: str, *keys: str, trades: Sequence[Trade] = ()) -> None:
        self.seq += 1
        self.hub.changed([Changed(self.seq, 0, [(kind, list(keys))] if keys else [], trades)])

    def resynced(self) -> None:
        self.hub.changed([Tell("resynced", {})])

    def quote(self, ticker: str, **values: Any) -> None:
        self.state.quotes[ticker] = msgspec.structs.replace(self.state.quotes[ticker], **values)
        self.tell("quote", ticker)

    def market(self, ticker: str, **values: Any) -> None:
        held = self.state.markets.get(ticker) or a_market(ticker)
        self.state.markets[ticker] = msgspec.structs.replace(held, **values)
        self.tell("market", ticker)

    def event(self, event: Event) -> None:
        self.state.events[event.event_ticker] = event
        self.tell("event", event.event_ticker)

    def book(self, ticker: str, yes: Sequence[Level], no: Sequence[Level] = ()) -> None:
        self.state.books[ticker] = Book(ticker, self.now_ms, tuple(yes), tuple(no))
        self.state.suspects.pop(ticker, None)
        self.tell("book", ticker)

    def suspect(self, ticker: str) -> None:
        self.state.suspects[ticker] = Suspect(ticker, self.now_ms, "gap")
        self.tell("suspect", ticker)

    def let_go(self, ticker: str) -> None:
        self.state.books.pop(ticker, None)
        self.tell("book", ticker)


class Client:
    """A client that reads when `take` is called, and holds every shape of frame against the specification."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session: Session = world.hub.connect(lambda _session: None)
        self.number = 0
        self.seqs: dict[int, int] = {}
        self.books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
        self.steady_ms = 0
        self.yes_price = False

    def send(self, cmd: str, /, **params: Any) -> list[Frame]:
        self.number += 1
        self.say({"id": self.number, "cmd": cmd, "params": params})
        return self.take()

    def say(self, command: object) -> None:
        self.session.receive(json.dumps(command).encode(), self.steady_ms)

    def subscribe(self, channel: str, *tickers: str, **more: Any) -> list[Frame]:
        self.yes_price = more.get("use_yes_price", self.yes_price)
        params = {"market_tickers": list(tickers)} if tickers else {}
        return self.send("subscribe", channels=[channel], **params, **more)

    def take(self) -> list[Frame]:
        """Read all that there is, more of it as long as more comes."""
        found: list[Frame] = []
        while self.session.out:
            out = bytes(self.session.out)
            self.session.out.clear()
            found += [self._hear(text) for text in frames_in(out)]
            self.world.hub.refill(self.session)
        return found

    def _hear(self, text: bytes) -> Frame:
        frame: Frame = json.loads(text)
        shape = frame["type"], frozenset(frame), _members(frame.get("msg"))
        if shape not in SEEN:  # to hold one against the schema takes a millisecond
            errors = [error for error in frame_errors(frame) if "last_trade_size_fp" not in error]
            assert not errors, (errors, frame)
            SEEN.add(shape)
        if "seq" in frame and frame["type"] != "unsubscribed":
            assert frame["seq"] == self.seqs.get(frame["sid"], 0) + 1
            self.seqs[frame["sid"]] = frame["seq"]
        self._keep(text)
        return frame

    def _keep(self, text: bytes) -> None:
        """Keep the books by the code that reads Kalshi's own frames."""
        frame = decode_frame(text)
        if frame.type == "orderbook_snapshot":
            snapshot = decode_snapshot(frame)
            yes, no = snapshot.sides(yes_price=self.yes_price)
            self.books[snapshot.market_ticker] = dict(yes), dict(no)
        elif frame.type == "orderbook_delta":
            delta = decode_delta(frame)
            price_e4, change_e2 = delta.change(yes_price=self.yes_price)
            side = self.books[delta.market_ticker][delta.side == "no"]
            side[price_e4] = side.get(price_e4, 0) + change_e2
            assert side[price_e4] >= 0
            if not side[price_e4]:
                del side[price_e4]

    def book(self, ticker: str) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        yes, no = self.books[ticker]
        return tuple(sorted(yes.items())), tuple(sorted(no.items()))


def _members(message: Any) -> object:
    return frozenset(message) if isinstance(message, dict) else type(message)


def kinds(frames: Sequence[Frame]) -> list[str]:
    return [frame["type"] for frame in frames]


def code(frame: Frame) -> int:
    assert frame["type"] == "error", frame
    found: int = frame["msg"]["code"]
    return found
