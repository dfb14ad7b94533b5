"""What happened in a market, asked of the snapshot server (op `history` of docs/http-api.md)."""

from typing import Any, Final

import msgspec
import zmq

from bus.protocol.messages import Error, convert_map
from markets.errors import KalshiBusError

from .ask import ask

TIMEOUT_MS: Final = 2_000


class HistoryRefused(KalshiBusError):
    """The server refused to say what happened: `code` and message say why."""

    def __init__(self, error: Error) -> None:
        self.code = error.code
        super().__init__(error.message)


class HistoryQuote(msgspec.Struct, frozen=True, array_like=True):
    """The top of a market's book from `time_ms` on, in YES prices; None is unknown."""

    time_ms: int
    bid_e4: int
    ask_e4: int
    bid_size_e2: int
    ask_size_e2: int
    last_price_e4: int | None
    volume_e2: int | None
    open_interest_e2: int | None
    status: str


class HistoryTrade(msgspec.Struct, frozen=True, array_like=True):
    """A trade; `taker_side` is the outcome that the taker bought, "" if unknown."""

    time_ms: int
    price_e4: int
    count_e2: int
    taker_side: str
    trade_id: str


class MarketHistory(msgspec.Struct, frozen=True):
    """What is known of a market between two times, oldest first.

    Attributes:
        quotes: each holds until the next; the first may be older: it is what stood at the beginning.
        quotes_begin_ms, trades_begin_ms: since when everything heard is included; None: nothing was heard.
        quotes_more, trades_more: there are older ones, which did not fit.
        quotes_holes, trades_holes: (from, to) within which something may have happened that was not heard.
    """

    ticker: str
    quotes: list[HistoryQuote]
    trades: list[HistoryTrade]
    quotes_begin_ms: int | None
    trades_begin_ms: int | None
    quotes_more: bool
    trades_more: bool
    quotes_holes: list[tuple[int, int]]
    trades_holes: list[tuple[int, int]]


class Mover(msgspec.Struct, frozen=True, array_like=True):
    """A market that has moved: what YES stood at (markets.book.standing_price_e4), and stands at."""

    ticker: str
    then_e4: int
    now_e4: int


class Movers(msgspec.Struct, frozen=True):
    """Which markets have moved since a time, those that moved most first.

    Attributes:
        window_s: over how long it was asked for.
        since_ms: from when on it is told: later than asked for where the history begins later.
        begin_ms: where the history begins.
        as_of_ms: when it was worked out.
        total: how many have moved; `movers` are the first of them.
    """

    window_s: int
    since_ms: int
    begin_ms: int
    as_of_ms: int
    total: int
    movers: list[Mover]


def ask_movers(
    context: zmq.Context[Any], endpoint: str, window_s: int, limit: int, timeout_ms: int = TIMEOUT_MS
) -> Movers:
    """Return which markets have moved. Any thread.

    Raises:
        NoAnswer: nobody answered within `timeout_ms`.
        HistoryRefused: nothing is worked out yet (`not_ready`), or an argument is wrong.
        DecodeError: the answer is none.
    """
    question = {"op": "movers", "id": 1, "window_s": window_s, "limit": limit}
    answer = ask(context, endpoint, question, timeout_ms)
    if answer.get("ok") is not True:
        raise HistoryRefused(convert_map(answer.get("error"), Error))
    return convert_map(answer, Movers)


def ask_history(
    context: zmq.Context[Any],
    endpoint: str,
    ticker: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    limit: int | None = None,
    timeout_ms: int = TIMEOUT_MS,
) -> MarketHistory:
    """Return what happened in a market. Any thread.

    Raises:
        NoAnswer: nobody answered within `timeout_ms`.
        HistoryRefused: there is no such market, or an argument is wrong.
        DecodeError: the answer is malformed.
    """
    wanted = {"ticker": ticker, "start_ms": start_ms, "end_ms": end_ms, "limit": limit}
    question = {"op": "history", "id": 1} | {k: v for k, v in wanted.items() if v is not None}
    answer = ask(context, endpoint, question, timeout_ms)
    if answer.get("ok") is not True:
        raise HistoryRefused(convert_map(answer.get("error"), Error))
    return convert_map(answer, MarketHistory)
