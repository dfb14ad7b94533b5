"""The cache gives what a scan of everything would."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bus.protocol.messages import market_topic
from bus.protocol.state import State
from bus.protocol.writer import Change
from bus.scan.rescan import Batch
from bus.scan.scans import Scan, Scans
from markets.opportunities import ScanLimits
from markets.records import Book, Remove, Suspect
from tests.bus.scan.changes import batch_with
from tests.ui.stage import (
    DULL,
    HOUR_MS,
    MATCH,
    PAIR,
    cycle_end,
    event,
    fill,
    market,
    milestone,
    quote,
    series,
    series_of,
    world,
)

NOW_MS = 1_800_000_000_000
LIMITS = ScanLimits()
TICKERS = (f"{MATCH}-VAN", f"{MATCH}-HOU", f"{MATCH}-TIE", f"{PAIR}-NOP", f"{PAIR}-CHI", f"{DULL}-T50")


def start(limits: ScanLimits = LIMITS) -> tuple[State, Scans]:
    state = State(1)
    fill(state, world(NOW_MS, fillers=2))
    with state.lock:
        state.end_cycle(cycle_end(NOW_MS, 1))
    scans = Scans(limits)
    scans.advance(state.frozen(), Batch(whole=True), NOW_MS)
    return state, scans


def whole(state: State, now_ms: int) -> Scan:
    return Scans(LIMITS).advance(state.frozen(), Batch(whole=True), now_ms)


def by_kind(scan: Scan) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for one in scan.opportunities:
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
    return kinds


def test_the_stage_has_both_baskets_to_find() -> None:
    _, scans = start()

    assert scans.latest.tradable >= 2
    assert set(by_kind(scans.latest)) == {"no_basket", "yes_basket"}
    assert scans.latest.failed == 0


prices = st.integers(1, 98).map(lambda cents: cents * 100)
tickers = st.sampled_from(TICKERS)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    ticker = draw(tickers)
    topic = market_topic(series_of(ticker))
    kind = draw(
        st.sampled_from(
            ["quote", "quote", "book", "suspect", "market", "remove", "event", "series", "milestone", "gone"]
        )
    )
    bid = draw(prices)
    as_of_ms = NOW_MS + draw(st.integers(-40_000, 40_000))
    match kind:
        case "quote":
            ask = draw(
                st.one_of(st.none(), st.integers(bid // 100 + 1, 99).map(lambda cents: (cents * 100, 900)))
            )
            return topic, kind, [quote(ticker, (bid, draw(st.integers(0, 5_000))), ask, as_of_ms)]
        case "book":
            return topic, kind, [Book(ticker, as_of_ms, ((bid, 5_000),), ((10_000 - bid - 100, 700),))]
        case "suspect":
            return topic, kind, [Suspect(ticker, draw(st.sampled_from([None, NOW_MS])), "gap")]
        case "market":
            home = draw(st.sampled_from([MATCH, PAIR, DULL, "KXNEW-1"]))
            moved = market(home, "X", "Moved", NOW_MS, close_ms=NOW_MS + draw(st.integers(-1, 90)) * HOUR_MS)
            return topic, kind, [msgspec.structs.replace(moved, ticker=ticker)]
        case "remove":
            return topic, kind, [Remove("market", ticker)]
        case "event":
            exclusive = draw(st.booleans())
            home = draw(st.sampled_from([MATCH, PAIR, DULL, "KXNEW-1"]))
            return "ref.", kind, [event(home, f"Renamed {bid}", mutually_exclusive=exclusive)]
        case "series":
            return "ref.", kind, [series(draw(st.sampled_from(["KXMLSGAME", "KXNBAGAME"])), bid)]
        case "milestone":
            id_, home = draw(st.sampled_from(["m1", "m2"])), draw(st.sampled_from([MATCH, PAIR]))
            return "ref.", kind, [milestone(id_, home, NOW_MS + draw(st.integers(-5, 40)) * HOUR_MS)]
        case _:
            what = draw(st.sampled_from([("event", PAIR), ("milestone", "m1"), ("event", MATCH)]))
            return "ref.", "remove", [Remove(*what)]


@given(
    st.lists(st.tuples(st.lists(changes(), max_size=4), st.booleans(), st.integers(0, 20_000)), max_size=6)
)
def test_any_history_gives_the_list_of_a_scan_of_everything(
    history: list[tuple[list[Change], bool, int]],
) -> None:
    state, scans = start()
    now_ms = NOW_MS
    for some, commit, later_ms in history:
        now_ms += later_ms
        records = fill(state, some)
        if commit:
            unconfirmed = (TICKERS[0],)
            with state.lock:
                state.end_cycle(cycle_end(now_ms, 2, unconfirmed=unconfirmed))
        scan = scans.advance(state.frozen(), batch_with(tuple(records), commit), now_ms)

        fresh = whole(state, now_ms)
        assert scan.opportunities == fresh.opportunities
        assert (scan.tradable, scan.reasons, scan.failed) == (fresh.tradable, fresh.reasons, 0)


def test_a_commit_without_a_change_can_make_the_quote_the_newer_and_so_a_candidate() -> None:
    state, scans = start()
    book = Book(TICKERS[0], NOW_MS + 1, ((500, 5_000),), ())
    records = fill(state, [(market_topic("KXMLSGAME"), "book", [book])])
    scan = scans.advance(state.frozen(), batch_with(tuple(records)), NOW_MS + 1)
    assert "no_basket" not in by_kind(scan)

    with state.lock:
        state.end_cycle(cycle_end(NOW_MS + 2, 2))
    scan = scans.advance(state.frozen(), Batch(commit=True), NOW_MS + 2)

    assert by_kind(scan)["no_basket"] == 1
    assert scan.opportunities == whole(state, NOW_MS + 2).opportunities


def test_a_commit_can_make_a_candidate_of_a_match_in_whose_other_event_alone_there_is_a_book() -> None:
    state, scans = start()
    spread = "KXMLSSPREAD-26AUG19VANHOU"
    more = market(
        spread, "VAN1", "Vancouver wins by over 1.5 goals", NOW_MS, strike_type="greater", floor_strike=1.5
    )
    both = milestone("m1", MATCH, NOW_MS + 26 * HOUR_MS)
    poor = Book(more.ticker, NOW_MS + 1, ((2_000, 5_000),), ((7_000, 5_000),))
    topic, own = market_topic(series_of(spread)), market_topic(series_of(MATCH))
    records = fill(
        state,
        [
            ("ref.", "series", [series(series_of(spread), 0)]),
            ("ref.", "event", [event(spread, "Spread", mutually_exclusive=False)]),
            ("ref.", "milestone", [msgspec.structs.replace(both, related_event_tickers=(spread,))]),
            (topic, "market", [more]),
            (topic, "quote", [quote(more.ticker, (5_000, 9_000), (5_200, 9_000), NOW_MS)]),
            (topic, "book", [poor]),
            (own, "remove", [Remove("book", TICKERS[0])]),
            *((own, "quote", [quote(one, (3_000, 9_000), (3_400, 9_000), NOW_MS)]) for one in TICKERS[:3]),
        ],
    )
    scan = scans.advance(state.frozen(), batch_with(tuple(records)), NOW_MS + 1)
    assert set(by_kind(scan)) == {"yes_basket"}

    with state.lock:
        state.end_cycle(cycle_end(NOW_MS + 2, 2))  # the quote counts again: a winner by two goals is dear
    scan = scans.advance(state.frozen(), Batch(commit=True), NOW_MS + 2)

    assert by_kind(scan)["implication"] == 1
    assert scan.opportunities == whole(state, NOW_MS + 2).opportunities


def test_an_event_that_is_removed_offers_nothing_though_its_markets_are_still_there() -> None:
    state, scans = start()
    goals = "KXMLSTOTAL-26AUG19VANHOU"
    topic = market_topic(series_of(goals))
    strikes: dict[str, Any] = {"title": "How many goals?", "strike_type": "greater"}
    fewer, more = (
        market(goals, f"T{n}", f"over {n}.5 goals", NOW_MS, floor_strike=n + 0.5, raw=b"{}", **strikes)
        for n in (1, 2)
    )
    some: list[Change] = [
        ("ref.", "series", [series(series_of(goals), 0)]),
        ("ref.", "event", [event(goals, "Goals", mutually_exclusive=False)]),
        (topic, "market", [fewer, more]),
        (topic, "quote", [quote(fewer.ticker, (3_000, 9_000), (3_200, 9_000), NOW_MS)]),
        (topic, "quote", [quote(more.ticker, (5_000, 9_000), (5_200, 9_000), NOW_MS)]),
    ]
    added = fill(state, some)
    scan = scans.advance(state.frozen(), batch_with(added), NOW_MS)
    assert by_kind(scan)["ladder"] == 1

    removed = fill(state, [("ref.", "remove", [Remove("event", goals)])])
    scan = scans.advance(state.frozen(), batch_with(removed), NOW_MS + 1)

    assert more.ticker in state.quotes
    assert "ladder" not in by_kind(scan)
    assert scan.opportunities == whole(state, NOW_MS + 1).opportunities


def test_time_alone_turns_the_tradable_into_the_stale() -> None:
    state, scans = start()
    late_ms = NOW_MS + LIMITS.max_leg_age_ms + 1

    scan = scans.advance(state.frozen(), Batch(), late_ms)

    assert scan.tradable == 0
    assert scan.reasons["stale_leg"] == len(scan.opportunities) > 0


def test_the_version_moves_only_when_something_looks_different() -> None:
    state, scans = start()
    version = scans.latest.version

    assert scans.advance(state.frozen(), Batch(), NOW_MS + 1_000).version == version

    records = fill(
        state, [(market_topic("KXNBAGAME"), "quote", [quote(TICKERS[3], (4_400, 9), None, NOW_MS)])]
    )
    assert scans.advance(state.frozen(), batch_with(tuple(records)), NOW_MS + 1_000).version == version + 1


def test_an_event_that_cannot_be_scanned_is_counted_and_the_rest_stays() -> None:
    state, scans = start()
    broken = msgspec.structs.replace(state.markets[TICKERS[0]], price_ranges=((0, 10_000, 0),))
    records = fill(state, [(market_topic("KXMLSGAME"), "market", [broken])])

    scan = scans.advance(state.frozen(), batch_with(tuple(records)), NOW_MS)
    assert scan.failed == 1
    assert {one.part for one in scan.failures} == {"no_basket"}
    assert {one.event_ticker for one in scan.opportunities} == {PAIR}

    mended = msgspec.structs.replace(broken, price_ranges=((0, 10_000, 100),))
    records = fill(state, [(market_topic("KXMLSGAME"), "market", [mended])])
    assert scans.advance(state.frozen(), batch_with(tuple(records)), NOW_MS).failed == 0
