"""Observations that rules are judged by: everything seen at one moment, immutable."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from bus.health import Health
from bus.trading.shapes import FillRow, OrderRow, SettlementRow, TraderStatus
from markets.records import Quote


class Edge(msgspec.Struct, frozen=True):
    """Something tradable: its event and series, profit after fees, and a line about it."""

    event_ticker: str
    series_ticker: str
    net_edge_e6: int
    text: str


class TraderSeen(msgspec.Struct, frozen=True):
    """A trader's latest answers, with the newest of each list first.

    Attributes:
        answers: whether it answered the last question. status: None before its first answer.
    """

    answers: bool = False
    status: TraderStatus | None = None
    fills: Sequence[FillRow] = ()
    orders: Sequence[OrderRow] = ()
    settlements: Sequence[SettlementRow] = ()


class Up(msgspec.Struct, frozen=True):
    """The state of a process: `trouble` in words, None if all is well; how often it ended by itself."""

    trouble: str | None
    restarts: int = 0


class Seen(msgspec.Struct, frozen=True):
    """One moment.

    Attributes:
        now_ms: wall clock. up_ms: how long this process has been observing.
        health: the health of the feed.
        whole: whether the wanted catalogue is complete, so that what is not in it does not exist.
        quotes: by ticker, those that rules ask for. titles: those of these markets.
        edges: what is tradable now, None while it is not looked for.
        processes: by name, None while not known.
        drift: where the exchange departs from its documentation, as key -> line.
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
    """Something to be sent.

    Attributes:
        rule: its number. key: identifies the alert within the rule.
        what: "so", the rule's condition or event; "over", its end; "note", about the rule itself.
    """

    rule: int
    title: str
    key: str
    text: str
    urgent: bool
    what: Literal["so", "over", "note"] = "so"
