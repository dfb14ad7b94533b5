"""Subscriptions of one connection: numbers of frames, commands, errors."""

import json

import pytest

from markets.json.frames import (
    AUTHENTICATION_REQUIRED,
    BOOKS,
    TRADES,
    UNKNOWN_SUBSCRIPTION,
    StreamError,
    StreamFrame,
    Subscribed,
)
from publisher.kalshi.subscriptions import TICKERS_PER_COMMAND, Broken, Counters, Subscriptions

NOW_MS = 1_790_000_000_000


def opened(channel: str = BOOKS, sid: int = 1) -> tuple[Subscriptions, Counters]:
    counters = Counters()
    subscriptions = Subscriptions(counters, yes_price=True)
    subscriptions.opened(Subscribed(channel, sid), NOW_MS, NOW_MS)
    return subscriptions, counters


def numbered(seq: int, sid: int = 1) -> StreamFrame:
    return StreamFrame("orderbook_delta", sid, seq)


def test_numbers_tell_what_is_next_missing_and_old() -> None:
    subscriptions, counters = opened()
    verdicts = [subscriptions.follows(numbered(seq), NOW_MS, NOW_MS) for seq in (1, 2, 2, 5, 3, 6)]
    assert verdicts == ["next", "next", "drop", "after_gap", "drop", "next"]
    assert (counters.gaps, counters.duplicates) == (1, 2)
    assert subscriptions.follows(numbered(1, sid=9), NOW_MS, NOW_MS) == "drop"
    assert subscriptions.follows(StreamFrame("ticker"), NOW_MS, NOW_MS) == "next"


@pytest.mark.parametrize("code", [UNKNOWN_SUBSCRIPTION, AUTHENTICATION_REQUIRED])
def test_an_error_that_names_no_subscription_ends_the_connection(code: int) -> None:
    subscriptions, _ = opened()
    with pytest.raises(Broken, match=str(code)):
        subscriptions.failed(StreamFrame("error"), StreamError(code, "no"), NOW_MS)


def test_a_channel_that_ended_is_subscribed_again_and_books_are_told_of() -> None:
    subscriptions, counters = opened(BOOKS, 1)
    subscriptions.subscribe(TRADES)
    subscriptions.opened(Subscribed(TRADES, 2), NOW_MS, NOW_MS)
    subscriptions.commands()

    def ended(sid: int, code: int) -> str | None:
        return subscriptions.failed(StreamFrame("error", sid), StreamError(code), NOW_MS).ended

    assert ended(2, 10) == TRADES
    assert json.loads(subscriptions.commands()[0])["params"] == {"channels": ["trade"]}
    assert ended(1, 5) is None  # of a command: nothing has ended
    assert subscriptions.is_books(1)
    assert ended(1, 25) == BOOKS
    assert not subscriptions.books_open
    assert counters.errors == 3
    assert counters.refused == {"10": 1, "5": 1, "25": 1}


def test_many_tickers_go_in_several_commands_with_rising_numbers() -> None:
    subscriptions, _ = opened()
    tickers = [f"T{n}" for n in range(2 * TICKERS_PER_COMMAND + 1)]
    subscriptions.update_books("add_markets", tickers)
    sent = [json.loads(command) for command in subscriptions.commands()]
    assert [command["id"] for command in sent] == [1, 2, 3]
    assert [ticker for command in sent for ticker in command["params"]["market_tickers"]] == tickers
    assert subscriptions.commands() == []


def test_a_channel_is_heard_without_a_gap_since_it_was_subscribed_or_since_the_last_gap() -> None:
    subscriptions, _ = opened(TRADES, 2)
    since = [subscriptions.since_ms(TRADES), subscriptions.since_ms(BOOKS)]
    for seq, at_ms in ((1, 100), (2, 200), (5, 300), (6, 400)):
        subscriptions.follows(numbered(seq, sid=2), NOW_MS + at_ms, NOW_MS + at_ms)
        since.append(subscriptions.since_ms(TRADES))
    subscriptions.failed(StreamFrame("error", 2), StreamError(10), NOW_MS)

    assert since == [NOW_MS, None, NOW_MS, NOW_MS, NOW_MS + 300, NOW_MS + 300]
    assert subscriptions.since_ms(TRADES) is None
