"""What rules are judged by: everything that is seen at one moment, immutable."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from bus.health import Health
from bus.trading.shapes import FillRow, OrderRow, SettlementRow, TraderStatus
from markets.records import Quote


class Edge(msgspec.Struct, frozen=True):
    """Something tradable: its event and series, what it earns after fees, and a line about it."""

    event_ticker: str
    series_ticker: str
    net_edge_e6: int
    text: str


class TraderSeen(msgspec.Struct, frozen=True):
    """What a trader said last, the newest of each list first.

    Attributes:
        answers: whether it answered the last question. status: None before it has said anything.
    """

    answers: bool = False
    status: TraderStatus | None = None
    fills: Sequence[FillRow] = ()
    orders: Sequence[OrderRow] = ()
    settlements: Sequence[SettlementRow] = ()


class Up(msgspec.Struct, frozen=True):
    """How a process stands: `trouble` in words, None if nothing is wrong; how often it ended by itself."""

    trouble: str | None
    restarts: int = 0


class Seen(msgspec.Struct, frozen=True):
    """One moment.

    Attributes:
        now_ms: wall clock. up_ms: for how long somebody has looked.
        health: how the feed stands.
        whole: whether the catalogue that rules name is here, so that what is not in it does not exist.
        quotes: by ticker, those that rules ask for. titles: of these markets.
        edges: what is tradable now, None while nobody looks.
        processes: by name, None while nobody says.
        drift: what the exchange sends otherwise than documented: a key and a line each.
    """

    now_ms: int
    up_ms: int
    health: Health
    whole: bool
    quotes: Mapping[str, Quote]
    titles: Mapping[str, str]
    edges: Sequence[Edge] | None
    trader: TraderSeen
    processes: Mapping[str, Up] | None
    drift: Mapping[str, str]


class Alert(msgspec.Struct, frozen=True):
    """Something that is to be told.

    Attributes:
        rule: its number. key: names it within the rule.
        what: "so", what a rule is about; "over", that it is no more; "note", about the rule itself.
    """

    rule: int
    title: str
    key: str
    text: str
    urgent: bool
    what: Literal["so", "over", "note"] = "so"
