"""What happened: nothing is lost, nothing made up, in bounded bytes, through restarts."""

import errno
import os
import random
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bus.market_history import HistoryQuote, HistoryTrade, MarketHistory
from markets.records import Quote, Status, Trade
from markets.units import MAX_COUNT_E2, MAX_TIME_MS, MIN_TIME_MS
from snapshot_server.history.disk import Disk
from snapshot_server.history.store import KEPT_SHARE, Store
from tests.snapshot_server.quotes import BEGIN_MS, A

BYTES = 8 * 1_048_576


def a_store(most_bytes: int = BYTES) -> Store:
    return Store(most_bytes, lambda: None)


def at(ms: int, bid_e4: int = 4_000, ticker: str = "KXA-1") -> Quote:
    return msgspec.structs.replace(A, ticker=ticker, yes_bid_e4=bid_e4, as_of_ms=BEGIN_MS + ms)


def a_trade(ms: int, ticker: str = "KXA-1", trade_id: str | None = None) -> Trade:
    return Trade(trade_id or str(uuid.uuid4()), ticker, 4_200, 1_000, "yes", BEGIN_MS + ms)


def whole(store: Store, ticker: str = "KXA-1") -> MarketHistory:
    return store.history(ticker, MIN_TIME_MS, MAX_TIME_MS)


def bids(store: Store, low_ms: int, high_ms: int, ticker: str = "KXA-1") -> list[int]:
    return [p.bid_e4 for p in store.history(ticker, BEGIN_MS + low_ms, BEGIN_MS + high_ms).quotes]


def point_of(quote: Quote) -> HistoryQuote:
    return HistoryQuote(
        quote.as_of_ms,
        quote.yes_bid_e4,
        quote.yes_ask_e4,
        quote.yes_bid_size_e2,
        quote.yes_ask_size_e2,
        quote.last_price_e4,
        quote.volume_e2,
        quote.open_interest_e2,
        quote.status.value,
    )


PRICES = st.integers(0, 10_000)
COUNTS = st.integers(-MAX_COUNT_E2, MAX_COUNT_E2)
QUOTES = st.builds(
    Quote,
    st.sampled_from(["KXA-1", "KXB-1", "é" * 100]),
    st.sampled_from(list(Status)),
    PRICES, PRICES, PRICES, PRICES, COUNTS, COUNTS,
    st.none() | PRICES, st.none() | COUNTS, st.none(), st.none() | COUNTS,
    st.none(), st.none(), st.none(), st.integers(MIN_TIME_MS, MAX_TIME_MS),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(QUOTES, max_size=40), st.sets(st.integers(0, 40)))
def test_every_change_is_told_exactly_packed_or_not(quotes: list[Quote], sealed_after: set[int]) -> None:
    store = a_store()
    store.quotes.heard(MIN_TIME_MS, MIN_TIME_MS)
    expected: dict[str, list[HistoryQuote]] = {}
    for number, quote in enumerate(quotes):
        store.put_quotes([quote])
        points = expected.setdefault(quote.ticker, [])
        point = point_of(quote)
        if not points or msgspec.structs.replace(points[-1], time_ms=point.time_ms) != point:
            points.append(point)
        if number in sealed_after:
            store.quotes.seal()
    for ticker, points in expected.items():
        assert whole(store, ticker).quotes == sorted(points, key=lambda point: point.time_ms)


TRADE_IDS = st.one_of(st.uuids().map(str), st.text("aé-0", min_size=1, max_size=12), st.just("f" * 36))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.builds(Trade, TRADE_IDS, st.sampled_from(["KXA-1", "KXB-1"]), PRICES, st.integers(0, MAX_COUNT_E2),
                  st.sampled_from(["yes", "no", ""]), st.integers(BEGIN_MS, BEGIN_MS + 20)),
        max_size=40, unique_by=lambda trade: trade.trade_id,
    ),
    st.sets(st.integers(0, 40)),
    st.integers(1, 10),
)  # fmt: skip
def test_pages_of_trades_make_up_all_of_them_the_latest_first(
    trades: list[Trade], sealed_after: set[int], size: int
) -> None:
    store = a_store()
    store.trades.heard(BEGIN_MS, BEGIN_MS)
    for number, trade in enumerate(trades):
        store.put_trades([trade, trade])
        if number in sealed_after:
            store.trades.seal()
    found: list[tuple[str, HistoryTrade]] = []
    before = None
    while page := store.newest_trades(MIN_TIME_MS, MAX_TIME_MS, size, before):
        found += page
        before = page[-1][1].time_ms, page[-1][1].trade_id
    told = [(t, p.trade_id, p.price_e4, p.count_e2, p.taker_side, p.time_ms) for t, p in found]
    assert told == [
        (t.ticker, t.trade_id, t.yes_price_e4, t.count_e2, t.taker_side, t.time_ms)
        for t in sorted(trades, key=lambda t: (t.time_ms, t.trade_id), reverse=True)
    ]
    of_one = [t.trade_id for t in sorted(trades, key=lambda t: t.time_ms) if t.ticker == "KXA-1"]
    assert sorted(p.trade_id for p in whole(store).trades) == sorted(of_one)


def test_what_stood_at_the_beginning_of_a_time_comes_first() -> None:
    store = a_store()
    store.quotes.heard(BEGIN_MS, BEGIN_MS)
    store.put_quotes([at(0, 1_000), at(10, 2_000)])
    store.quotes.seal()
    store.put_quotes([at(20, 3_000), at(30, 4_000)])

    assert bids(store, 15, 25) == [2_000, 3_000]
    assert bids(store, 10, 10) == [1_000, 2_000]
    assert bids(store, 31, 99) == [4_000]
    assert bids(store, -9, -5) == []


def test_of_too_many_points_the_last_are_told_and_that_there_are_more() -> None:
    store = a_store()
    store.quotes.heard(BEGIN_MS, BEGIN_MS)
    for number in range(30):
        store.put_quotes([at(number, 1_000 + number)])
        if number == 20:
            store.quotes.seal()

    found = store.history("KXA-1", BEGIN_MS, MAX_TIME_MS, 5)

    assert [point.bid_e4 for point in found.quotes] == [1_025, 1_026, 1_027, 1_028, 1_029]
    assert (found.quotes_more, found.trades_more) == (True, False)


def test_what_was_not_heard_is_a_hole_and_before_the_beginning_there_is_nothing() -> None:
    store = a_store()
    assert (whole(store).quotes_begin_ms, whole(store).trades_begin_ms) == (None, None)
    store.quotes.heard(BEGIN_MS, BEGIN_MS + 10)
    store.put_quotes([at(1, 1_000)])
    store.quotes.heard(BEGIN_MS + 10, BEGIN_MS + 20)
    store.quotes.seal()
    store.quotes.heard(BEGIN_MS + 50, BEGIN_MS + 60)
    store.quotes.heard(BEGIN_MS + 60, BEGIN_MS + 70)

    assert whole(store).quotes_begin_ms == BEGIN_MS
    assert whole(store).quotes_holes == [(BEGIN_MS + 20, BEGIN_MS + 50)]
    assert store.history("KXA-1", BEGIN_MS + 50, BEGIN_MS + 70).quotes_holes == []


def random_changes(rng: random.Random, markets: int, count: int) -> Iterable[Quote]:
    for number in range(count):
        yield msgspec.structs.replace(
            at(number, rng.randrange(1, 9_999), f"KX{rng.randrange(markets)}"),
            yes_bid_size_e2=rng.getrandbits(40),
            yes_ask_size_e2=rng.getrandbits(40),
            volume_e2=rng.getrandbits(40),
        )


def test_memory_is_bounded_and_what_somebody_cares_for_goes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapshot_server.history.store.QUOTES_WAITING", 1_000)
    rng, most = random.Random(1), 200_000
    store = a_store(most)
    store.care_for(["KX7"])
    expected: list[HistoryQuote] = []
    for number, quote in enumerate(random_changes(rng, 100, 30_000)):
        store.put_quotes([quote])
        store.quotes.heard(BEGIN_MS, quote.as_of_ms)
        if quote.ticker == "KX7":
            expected.append(point_of(quote))
        if number % 100 == 0:
            store.bound()
            assert store.size <= most

    cared, other = whole(store, "KX7"), whole(store, "KX8")
    assert cared.quotes == expected
    assert cared.quotes_begin_ms == BEGIN_MS
    assert other.quotes_begin_ms is not None
    assert other.quotes_begin_ms > BEGIN_MS + 10_000
    # One of before, which tells what stood when it begins.
    assert [point.time_ms >= other.quotes_begin_ms for point in other.quotes[:3]] in (
        [False, True, True],
        [True] * 3,
    )
    assert store.quotes.kept_size <= most // KEPT_SHARE


def test_what_is_cared_for_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapshot_server.history.store.QUOTES_WAITING", 500)
    most = 150_000
    store = a_store(most)
    store.care_for([f"KX{number}" for number in range(20)])
    for number, quote in enumerate(random_changes(random.Random(2), 20, 20_000)):
        store.put_quotes([quote])
        store.quotes.heard(BEGIN_MS, quote.as_of_ms)
        if number % 50 == 0:
            store.bound()
            assert store.size <= most
    begin_ms = whole(store, "KX3").quotes_begin_ms
    assert begin_ms is not None
    assert begin_ms > BEGIN_MS
    assert all(point.time_ms >= begin_ms for point in whole(store, "KX3").quotes[1:])


def filled(folder: Path) -> Store:
    store = a_store()
    disk = Disk(folder, "sim")
    disk.load(store)
    for number in range(10):
        for log in (store.quotes, store.trades):
            log.heard(BEGIN_MS, BEGIN_MS + number * 10)
        store.put_quotes([at(number, 1_000 + number)])
        store.put_trades([a_trade(number, trade_id=f"id {number}")])
        if number in (3, 6):
            store.quotes.seal()
            store.trades.seal()
    disk.save(store)
    return store


def reloaded(folder: Path) -> Store:
    store = a_store()
    Disk(folder, "sim").load(store)
    store.remember(BEGIN_MS)
    return store


def test_what_could_not_be_written_takes_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    filled(tmp_path)

    assert [path.name for path in (tmp_path / "history/sim").iterdir() if path.suffix == ".new"] == []


def test_a_restart_forgets_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    before = whole(filled(tmp_path))
    store = reloaded(tmp_path)

    assert whole(store) == before
    store.compare({"KXA-1": at(500, 1_009)})
    store.put_trades([a_trade(9, trade_id="id 9")])
    assert whole(store) == before, "what is as before the restart is no change"
    store.quotes.heard(BEGIN_MS + 400, BEGIN_MS + 500)
    store.put_quotes([at(600, 5_000)])
    assert whole(store).quotes[:-1] == before.quotes
    assert whole(store).quotes_holes == [(BEGIN_MS + 90, BEGIN_MS + 400)]
    store.quotes.seal()
    assert whole(reloaded(tmp_path)).quotes[-1].bid_e4 == 5_000


@pytest.mark.parametrize("harm", ["cut", "bit", "empty", "pipe", "other"])
def test_a_damaged_file_is_said_and_left_and_what_it_held_is_a_hole(tmp_path: Path, harm: str) -> None:
    filled(tmp_path)
    path = tmp_path / "history/sim/quotes-0000000002"
    data = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "bit":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "pipe":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"" if harm == "empty" else b"KBHIST9\n" + data[8:])

    with capture_logs() as logs:
        store = reloaded(tmp_path)

    assert path.exists()
    assert [point.bid_e4 for point in whole(store).quotes] == [
        1_000,
        1_001,
        1_002,
        1_003,
        1_007,
        1_008,
        1_009,
    ]
    assert whole(store).quotes_holes == [(BEGIN_MS + 30, BEGIN_MS + 60)]
    assert len(whole(store).trades) == 10
    assert whole(store).trades_holes == []
    assert [(line["event"], line["file"]) for line in logs] == [("history.damaged", str(path))]


def test_what_cannot_be_written_stays_in_memory(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file in the place of the directory")
    store = filled(tmp_path)
    assert len(whole(store).quotes) == 10


def test_files_go_with_what_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapshot_server.history.store.QUOTES_WAITING", 1_000)
    most = 150_000
    store = a_store(most)
    store.care_for(["KX7"])
    disk = Disk(tmp_path, "sim")
    disk.load(store)
    for number, quote in enumerate(random_changes(random.Random(3), 50, 20_000)):
        store.put_quotes([quote])
        store.quotes.heard(BEGIN_MS, quote.as_of_ms)
        if number % 100 == 0:
            store.bound()
    disk.save(store)
    files = list((tmp_path / "history/sim").iterdir())

    assert sum(path.stat().st_size for path in files) < 1.5 * most
    again = reloaded(tmp_path)
    assert whole(again, "KX7") == whole(store, "KX7")
    assert whole(again, "KX8") == whole(store, "KX8")
