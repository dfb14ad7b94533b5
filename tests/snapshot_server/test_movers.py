"""Movers: what each market stood at a while ago, as a plain look at all that was ever said would have it."""

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.market_history import Movers
from markets.book import standing_price_e4
from markets.records import Quote, Status
from markets.units import MINUTE_MS
from snapshot_server.history.disk import Disk
from snapshot_server.history.moves import COARSE_MS, FINE_FOR_MS, KEPT_MS, STEP_MS, Moves
from snapshot_server.history.store import ASKED_MS, MOVERS_MS, Store, standing_e4
from tests.snapshot_server.quotes import A

BEGIN_MS = 1_790_000_000_000 // COARSE_MS * COARSE_MS
HOUR_S, DAY_S = 3_600, 86_400


def a_store() -> Store:
    return Store(8 * 1_048_576, lambda: None)


def at(ticker: str, ms: int, last_e4: int, **changes: object) -> Quote:
    fields = {"yes_bid_e4": 0, "yes_bid_size_e2": 0, "yes_ask_e4": 10_000, "yes_ask_size_e2": 0} | changes
    return msgspec.structs.replace(A, ticker=ticker, as_of_ms=BEGIN_MS + ms, last_price_e4=last_e4, **fields)


def say(store: Store, quote: Quote) -> None:
    now_ms = quote.as_of_ms
    store.quotes.heard(now_ms, now_ms)
    store.put_quotes([quote], now_ms)
    store.work_out_movers(now_ms)


def movers(store: Store, ms: int, window_s: int = HOUR_S) -> Movers:
    store.movers(window_s, BEGIN_MS + ms)
    store.work_out_movers(BEGIN_MS + ms)
    found = store.movers(window_s, BEGIN_MS + ms)
    assert found is not None
    return found


def told(found: Movers) -> list[tuple[str, int, int]]:
    return [(one.ticker, one.then_e4, one.now_e4) for one in found.movers]


@pytest.mark.parametrize(
    ("bid", "ask", "last", "stands"),
    [
        (4_000, 4_200, 4_100, 4_100), (4_000, 4_200, 3_000, 4_000), (4_000, 4_200, 9_000, 4_200),
        (None, 4_200, 9_000, 4_200), (4_000, None, 3_000, 4_000), (None, None, 3_000, 3_000),
        (4_000, 4_200, None, 4_100), (4_000, 4_200, 0, 4_100), (4_000, None, None, None),
        (100, 9_900, 5_000, 5_000), (6_000, 5_000, 5_500, 5_000),
    ],
)  # fmt: skip
def test_a_price_stands_where_it_was_traded_or_where_a_side_has_passed_it(
    bid: int | None, ask: int | None, last: int | None, stands: int | None
) -> None:
    assert standing_price_e4(bid, ask, last) == stands


def test_what_moved_most_comes_first_whichever_way_and_what_came_back_has_not_moved() -> None:
    store = a_store()
    for ticker in ("UP", "DOWN", "SAME", "BACK"):
        say(store, at(ticker, 0, 5_000))
    say(store, at("UP", MINUTE_MS, 5_400))
    say(store, at("DOWN", 2 * MINUTE_MS, 4_000))
    say(store, at("BACK", 3 * MINUTE_MS, 9_000))
    say(store, at("BACK", 4 * MINUTE_MS, 5_000))
    say(store, at("SAME", 4 * MINUTE_MS, 5_000, yes_bid_e4=100, yes_bid_size_e2=5))

    found = movers(store, 10 * MINUTE_MS)
    assert told(found) == [("DOWN", 5_000, 4_000), ("UP", 5_000, 5_400)]
    assert (found.total, found.begin_ms, found.since_ms) == (2, BEGIN_MS, BEGIN_MS)


def test_a_market_that_does_not_trade_is_no_mover() -> None:
    store = a_store()
    say(store, at("A", 0, 5_000))
    say(store, at("A", 1_000, 10, status=Status.FINALIZED))

    assert movers(store, 2_000).total == 0


def test_movers_are_worked_out_only_while_somebody_asks() -> None:
    store = a_store()
    say(store, at("A", 0, 5_000))
    assert store.movers(HOUR_S, BEGIN_MS) is None
    first = movers(store, 1)
    say(store, at("A", MOVERS_MS - 1, 6_000))
    assert store.movers(HOUR_S, BEGIN_MS + 2) is first, "young enough"
    say(store, at("A", MOVERS_MS + 2, 7_000))
    assert told(movers(store, MOVERS_MS + 2)) == [("A", 5_000, 7_000)]
    store.work_out_movers(BEGIN_MS + 2 * ASKED_MS)
    assert store.movers(HOUR_S, BEGIN_MS + 2 * ASKED_MS) is None


MOVED = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(1, 40) | st.integers(1, 400), st.integers(1, 9_999)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(MOVED, st.sampled_from([900, HOUR_S, DAY_S]), st.booleans(), st.booleans())
def test_what_stood_then_is_what_was_last_said_before(
    moves: list[tuple[str, int, int]], window_s: int, restarted: bool, sealed: bool
) -> None:
    """`moves`: a market, minutes since the last one, and its price."""
    store = a_store()
    said: list[Quote] = [at(ticker, 0, 5_000) for ticker in "ABC"]
    minutes = 0
    for ticker, later, price_e4 in moves:
        minutes += later
        said.append(at(ticker, minutes * MINUTE_MS, price_e4))
    for quote in said:
        say(store, quote)
        if sealed and quote.last_price_e4 and quote.last_price_e4 % 3 == 0:
            store.quotes.seal()
    now_ms = minutes * MINUTE_MS
    if restarted:
        before, store = store, a_store()
        store.quotes = before.quotes
        store.remember(BEGIN_MS + now_ms)
        store.compare({quote.ticker: quote for quote in said}, BEGIN_MS + now_ms)

    found = movers(store, now_ms, window_s)
    since_ms = found.since_ms
    assert since_ms >= BEGIN_MS
    if now_ms > 1_000 * window_s:
        step_ms = STEP_MS if 1_000 * window_s <= FINE_FOR_MS - STEP_MS else COARSE_MS
        gaps_ms = max(later for _, later, _ in moves) * MINUTE_MS  # nothing is heard meanwhile
        assert BEGIN_MS + now_ms - 1_000 * window_s - step_ms - gaps_ms <= since_ms
        assert since_ms <= BEGIN_MS + now_ms - 1_000 * window_s
    then: dict[str, int | None] = {}
    for quote in said:
        # What is said at the very time counts as later, as do first words.
        if quote.as_of_ms < since_ms or quote.ticker not in then:
            then[quote.ticker] = standing_e4(quote)
    now = {quote.ticker: standing_e4(quote) for quote in said}
    expected = {ticker: (then[ticker], now[ticker]) for ticker in then if then[ticker] != now[ticker]}
    assert {ticker: (was, is_now) for ticker, was, is_now in told(found)} == expected


def test_stretches_grow_coarse_are_let_go_of_and_stay_within_their_bytes() -> None:
    drawn, moves = random.Random(5), Moves(most_bytes=20_000)
    for minute in range(0, 3 * 24 * 60, 2):
        now_ms = BEGIN_MS + minute * MINUTE_MS
        moves.turn(now_ms)
        for _ in range(20):
            moves.note(drawn.randrange(500), now_ms, now_ms, drawn.randrange(10_000))
        assert moves.size <= 20_000 + 5_000

    begins = [stretch.begin_ms for stretch in moves._packed]
    assert begins == sorted(begins)
    assert moves.then(now_ms - 20 * MINUTE_MS)[0] > now_ms - 26 * MINUTE_MS
    assert moves.then(now_ms - KEPT_MS)[0] <= now_ms - KEPT_MS
    assert len(moves.then(now_ms - KEPT_MS)[1]) == 500


def test_a_restart_forgets_no_move(tmp_path: Path) -> None:
    def kept() -> Store:
        store = a_store()
        Disk(tmp_path, "x").load(store)
        return store

    store = kept()
    say(store, at("A", 0, 5_000))
    say(store, at("A", 20 * MINUTE_MS, 6_000))
    Disk(tmp_path, "x").save(store)

    store = kept()
    store.remember(BEGIN_MS + 30 * MINUTE_MS)
    say(store, at("A", 31 * MINUTE_MS, 7_000))
    assert told(movers(store, 32 * MINUTE_MS)) == [("A", 5_000, 7_000)]
    assert movers(store, 32 * MINUTE_MS).since_ms == BEGIN_MS
