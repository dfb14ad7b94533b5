"""Errors on the WebSocket are answers: each costs what it is about, and nothing is asked for at full rate."""

import json
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from markets.json.frames import BOOKS, LIFECYCLE, TICKER, TRADES
from markets.records import Book, BookDelta, Suspect
from publisher.kalshi.stream_session import StreamSession
from publisher.kalshi.subscriptions import CODES_MAX, Broken, Command, Refusal

NOW_MS = 1_790_000_000_000
CODES = (*range(1, 29), 99, -1, 10**30)


class Venue:
    """An exchange's side that refuses: what it would do to a command is data.

    Attributes:
        most: markets of one subscription; one more is error 26.
        odd: markets that it does not take: error 11.
        refuse: (command, channel or action) -> code, or none.
        sent: commands so far by what they are.
    """

    def __init__(self, *, most: int = 1_000_000, odd: set[str] | None = None) -> None:
        self.most = most
        self.odd = odd or set()
        self.refuse: dict[str, int] = {}
        self.named = True
        self.sent: Counter[str] = Counter()
        self.books: set[str] = set()
        self.sid = 0
        self.books_sid: int | None = None
        self.seq = 0
        self.open: dict[str, int] = {}

    def error(self, number: int | None, code: int, text: str = "no") -> list[dict[str, Any]]:
        named = {"id": number} if self.named and number is not None else {}
        return [{"type": "error", **named, "msg": {"code": code, "msg": text}}]

    def answer(self, text: bytes) -> list[dict[str, Any]]:
        said = json.loads(text)
        params, number = said.get("params", {}), said["id"]
        what = params.get("action") or (params["channels"][0] if params else said["cmd"])
        self.sent[what] += 1
        if what in self.refuse:
            return self.error(number, self.refuse[what])
        tickers = set(params.get("market_tickers", ()))
        if tickers & self.odd and what != "delete_markets":
            return self.error(number, 11, "Invalid parameter")
        if what in ("add_markets", BOOKS) and len(self.books | tickers) > self.most:
            return self.error(number, 26, "Subscription market limit exceeded")
        if said["cmd"] == "subscribe":
            self.sid += 1
            self.open[what] = self.sid
            opened = {"type": "subscribed", "id": number, "msg": {"channel": what, "sid": self.sid}}
            if what != BOOKS:
                return [opened]
            self.books_sid, self.seq, self.books = self.sid, 0, tickers
            return [opened, *map(self.snapshot, sorted(tickers))]
        if said["cmd"] == "list_subscriptions":
            return [{"type": "ok", "id": number, "msg": []}]
        if what == "get_snapshot":
            return [self.snapshot(ticker) | {"id": number} for ticker in sorted(tickers)]
        done = self.numbered({"type": "ok", "id": number, "msg": {}})
        if what == "delete_markets":
            self.books -= tickers
            return [done]
        self.books |= tickers
        return [done, *map(self.snapshot, sorted(tickers))]

    def numbered(self, frame: dict[str, Any]) -> dict[str, Any]:
        self.seq += 1
        return frame | {"sid": self.books_sid, "seq": self.seq}

    def snapshot(self, ticker: str) -> dict[str, Any]:
        book = {"market_ticker": ticker, "yes_dollars_fp": [["0.4000", "1.00"]]}
        return self.numbered({"type": "orderbook_snapshot", "msg": book})


class Line:
    """A session and a venue, joined by lists."""

    def __init__(self, venue: Venue, tickers: list[str], session: StreamSession | None = None) -> None:
        self.venue = venue
        self.session = session or StreamSession()
        self.now_ms = NOW_MS
        self.refusals: list[Refusal] = []
        self.session.open(self.now_ms)
        self.session.want(tickers, self.now_ms)
        self.settle()

    def settle(self) -> None:
        while commands := self.session.commands():
            for command in commands:
                self.deliver(*self.venue.answer(command))
        self.refusals += self.session.refusals()

    def deliver(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            self.session.receive(json.dumps(frame), self.now_ms)

    def pass_time(self, seconds: int) -> None:
        """Let time pass, a second at a time, with a sign of life in each."""
        for _ in range(seconds):
            self.now_ms += 1_000
            self.session.receive('{"type":"ticker","sid":0,"msg":{}}', self.now_ms)
            self.session.tick(self.now_ms)
            self.settle()


def tickers(count: int) -> list[str]:
    return [f"T{number:03}" for number in range(count)]


def test_too_many_markets_are_halved_and_the_limit_is_remembered() -> None:
    line = Line(Venue(most=100), tickers(300))

    assert set(line.session.live) == line.venue.books == set(tickers(300)[:75])  # 300, 150, 75
    assert line.session.counters.books_max == 75
    assert [(refusal.code, refusal.text) for refusal in line.refusals] == [
        (26, "Subscription market limit exceeded")
    ] * 2
    assert line.session.counters.refused == {"26": 2}
    assert line.session.counters.refusal == (
        "error 26, Subscription market limit exceeded (subscribe orderbook_delta for 150 markets)"
    )
    assert line.venue.open.keys() == {TICKER, TRADES, LIFECYCLE, BOOKS}

    line.pass_time(60)
    assert line.venue.sent[BOOKS] == 3
    assert line.venue.sent["add_markets"] == 0
    assert line.venue.open == {TICKER: 1, TRADES: 2, LIFECYCLE: 3, BOOKS: 4}  # none of them was made again

    again = Line(Venue(most=100), tickers(300), StreamSession(line.session.counters))
    assert again.venue.sent[BOOKS] == 1
    assert len(again.session.live) == 75


def test_with_a_limit_what_is_wanted_most_comes_in_and_the_least_goes_out_first() -> None:
    line = Line(Venue(most=4), tickers(8))
    assert set(line.session.live) == set(tickers(4))

    line.session.want(["NEW", *tickers(8)], line.now_ms)
    line.settle()
    line.pass_time(2)

    assert set(line.session.live) == line.venue.books == {"NEW", *tickers(3)}
    assert line.session.counters.books_max == 4  # nothing more was refused


def test_more_books_than_a_subscription_may_have_leave_those_that_it_has() -> None:
    line = Line(Venue(most=10), tickers(8))
    line.session.want(tickers(16), line.now_ms)
    line.settle()

    assert set(line.session.live) == line.venue.books
    assert len(line.venue.books) in (9, 10)
    assert line.venue.open[BOOKS] == 4


@pytest.mark.parametrize("named", [True, False])
def test_the_refusal_of_the_field_leaves_tickers_and_trades(named: bool) -> None:
    """`{"type":"error","id":4,"msg":{"code":26,...}}`, with and without the number of the command."""
    venue = Venue(most=2)
    venue.named = named
    line = Line(venue, tickers(5))

    assert set(line.session.live) == set(tickers(2))
    assert venue.open.keys() == {TICKER, TRADES, LIFECYCLE, BOOKS}


def test_markets_that_are_not_taken_are_found_and_left_out() -> None:
    odd = {"T003", "T077"}
    line = Line(Venue(odd=odd), tickers(100))

    assert set(line.session.live) == set(tickers(100)) - odd
    assert line.session.unsure == 0
    sent = line.venue.sent.total()
    line.pass_time(30)
    assert line.venue.sent.total() <= sent + 10  # signs of life
    assert set(line.session.live) == set(tickers(100)) - odd


def test_a_snapshot_that_is_refused_for_ever_leaves_its_market_to_rest() -> None:
    line = Line(Venue(), tickers(4))
    line.venue.odd = {"T001"}
    line.session.facts()

    line.session.verify(tickers(4), line.now_ms)
    line.settle()

    assert set(line.session.live) == {"T000", "T002", "T003"}
    suspects = [fact.ticker for fact in line.session.facts() if isinstance(fact, Suspect)]
    assert suspects == ["T001"]
    line.pass_time(30)
    assert set(line.session.live) == {"T000", "T002", "T003"}


def test_too_many_commands_hold_all_of_them_ever_longer() -> None:
    venue = Venue()
    venue.refuse = dict.fromkeys((TICKER, TRADES, LIFECYCLE, BOOKS), 27)
    line = Line(venue, tickers(3))
    assert venue.sent.total() == 4
    line.pass_time(120)
    assert venue.sent.total() <= 40

    venue.refuse = {}
    line.pass_time(300)

    assert venue.open.keys() == {TICKER, TRADES, LIFECYCLE, BOOKS}
    assert set(line.session.live) == set(tickers(3))


@pytest.mark.parametrize("code", [10, 25])
@pytest.mark.parametrize("channel", [TRADES, BOOKS])
def test_a_subscription_that_ends_again_and_again_is_renewed_ever_later(code: int, channel: str) -> None:
    line = Line(Venue(), tickers(2))
    before = line.venue.sent.copy()

    for _ in range(200):
        line.deliver({"type": "error", "sid": line.venue.open[channel], "msg": {"code": code, "msg": "over"}})
        line.pass_time(1)

    assert 2 <= line.venue.sent[channel] - before[channel] <= 12
    other = BOOKS if channel == TRADES else TRADES
    assert line.venue.sent[other] == before[other] == 1
    line.pass_time(300)
    assert set(line.session.live) == set(tickers(2))


@given(code=st.sampled_from(CODES), what=st.sampled_from([TICKER, TRADES, LIFECYCLE, BOOKS, "get_snapshot"]))
@settings(max_examples=60, deadline=None)
def test_no_code_leads_to_commands_without_end(code: int, what: str) -> None:
    venue = Venue()
    venue.refuse = {what: code}
    line = Line(venue, tickers(40))
    line.session.verify(tickers(40), line.now_ms)
    line.settle()

    line.pass_time(600)

    assert venue.sent[what] <= 120  # in ten minutes
    assert venue.open.keys() >= {TICKER, TRADES, LIFECYCLE} - {what}
    if what == BOOKS:
        assert not line.session.live
    if what in (TICKER, TRADES, LIFECYCLE):
        assert set(line.session.live) == set(tickers(40))
    venue.refuse = {}
    line.pass_time(700)
    assert venue.open.keys() == {TICKER, TRADES, LIFECYCLE, BOOKS}


@given(
    frames=st.lists(
        st.fixed_dictionaries(
            {"type": st.just("error")},
            optional={
                "id": st.integers(-5, 20),
                "sid": st.integers(-1, 9),
                "seq": st.integers(0, 30),
                "msg": st.one_of(
                    st.none(),
                    st.text(max_size=5),
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "code": st.one_of(st.sampled_from(CODES), st.none(), st.text(max_size=3)),
                            "msg": st.one_of(st.text(max_size=300), st.none()),
                        },
                    ),
                ),
            },
        ),
        max_size=40,
    )
)
def test_whatever_errors_come_a_book_that_is_trusted_is_right_and_there_is_an_end(
    frames: list[dict[str, Any]],
) -> None:
    line = Line(Venue(), tickers(5))
    try:
        for frame in frames:
            line.deliver(frame)
            line.settle()
        line.pass_time(5)
    except Broken:
        return
    assert line.session.counters.errors >= len(line.refusals)
    for fact in line.session.facts():
        if isinstance(fact, Book):
            assert fact.yes == ((4_000, 100),)
        assert isinstance(fact, (Book, BookDelta, Suspect))


def test_there_is_an_end_to_the_codes_that_are_told_apart() -> None:
    line = Line(Venue(), [])
    for code in range(1_000, 1_200):
        line.deliver({"type": "error", "msg": {"code": code, "msg": "x\n" * 500}})
    refused = line.session.counters.refused
    assert sum(refused.values()) == 200
    assert len(refused) <= CODES_MAX + 1
    assert len(line.session.counters.refusal or "") < 300
    assert str(Refusal(1, "", Command("subscribe", BOOKS, ("A",), 0), None)) == (
        "error 1, without words (subscribe orderbook_delta for 1 market)"
    )
