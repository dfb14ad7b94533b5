"""Which books are fetched: whole events, by value, a fair share to the rest; demand adds no request."""

from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from markets.json.read import decode_market
from markets.opportunities import KINDS, worth_of_books_e4
from markets.opportunities.kinds.no_basket import NoBasketKind
from markets.records import Event, Quote
from markets.units import HOUR_MS
from publisher.books.billing import BOOKS_PER_REQUEST
from publisher.books.planner import URL_BUDGET, Planner, Tradable, value_of
from tests.publisher.exchange import market

NOW_MS = 1_790_000_000_000
EXCLUSIVE = Event("E", "S", "t", "", "c", True, None, None, None, 0, b"{}")


def tradable(
    ticker: str,
    event_ticker: str = "E",
    *,
    exclusive: bool = False,
    start_ms: int | None = None,
    **members: Any,
) -> Tradable:
    raw = msgspec.json.encode(market(ticker, event_ticker, **members))
    static, quote = decode_market(raw, series_ticker="S", as_of_ms=NOW_MS)
    return Tradable(static, quote, EXCLUSIVE if exclusive else None, start_ms)


def chosen(plan: list[list[str]]) -> list[str]:
    return [ticker for batch in plan for ticker in batch]


def test_value_rises_with_tightness_liquidity_and_nearness() -> None:
    plain = value_of(tradable("A", bid=30, ask=60), NOW_MS)

    assert value_of(tradable("A", bid=44, ask=45), NOW_MS) > plain
    assert value_of(tradable("A", bid=30, ask=60, volume_24h_fp="90000.00"), NOW_MS) > plain
    assert value_of(tradable("A", bid=30, ask=60, start_ms=NOW_MS + HOUR_MS), NOW_MS) > plain
    assert value_of(tradable("A", bid=30, ask=60, yes_bid_size_fp="0.00"), NOW_MS) < plain


def test_what_bids_promise_counts_only_sides_that_exist() -> None:
    quotes = [tradable(t, bid=bid, ask=60).quote for t, bid in (("A", 40), ("B", 35), ("C", 30))]
    gone = tradable("C", bid=30, ask=60, yes_bid_size_fp="0.00").quote

    assert worth_of_books_e4(EXCLUSIVE, quotes, []) == 500
    assert worth_of_books_e4(EXCLUSIVE, quotes[:2], []) == 0
    assert worth_of_books_e4(EXCLUSIVE, [*quotes[:2], gone], []) == 0


def test_what_asks_promise_is_believed_only_as_far_as_no_outcome_seems_to_be_missing() -> None:
    asked = [tradable(t, bid=10, ask=ask).quote for t, ask in (("A", 40), ("B", 35), ("C", 20))]
    gone = tradable("C", bid=10, ask=20, yes_ask_size_fp="0.00").quote

    assert worth_of_books_e4(EXCLUSIVE, asked, []) == 500
    assert worth_of_books_e4(EXCLUSIVE, asked[:2], []) == 0
    assert worth_of_books_e4(EXCLUSIVE, [*asked[:2], gone], []) == 0


class Mute(NoBasketKind):
    """Raises when it is asked what books are worth."""

    def worth_of_books_e4(self, event: Event, quotes: Sequence[Quote]) -> int | None:
        raise ArithmeticError("mute")


def test_a_kind_that_raises_costs_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    legs = [tradable(f"E-{n}", exclusive=True) for n in range(3)]
    planner = Planner(10)
    before = planner.plan(legs, NOW_MS)
    assert planner.failures == []
    monkeypatch.setitem(KINDS, "no_basket", Mute())

    assert planner.plan(legs, NOW_MS) == before  # another kind compares them, too
    assert [(failure.part, failure.event_ticker) for failure in planner.failures] == [("no_basket", "E")]


def test_exclusive_event_is_fetched_whole_in_one_request() -> None:
    singles = [tradable(f"X{n}", f"X{n}", volume_24h_fp="1000000.00") for n in range(250)]
    legs = [tradable(f"E-{n}", exclusive=True, volume_24h_fp="9000000.00") for n in range(60)]

    plan = Planner(300).plan([*singles, *legs], NOW_MS)

    (batch,) = [batch for batch in plan if "E-0" in batch]
    assert {f"E-{n}" for n in range(60)} <= set(batch)


def test_wished_market_comes_with_its_event_until_it_is_forgotten() -> None:
    planner = Planner(10)
    legs = [tradable(f"E-{n}", exclusive=True, bid=1, ask=99) for n in range(3)]
    crowd = [tradable(f"X{n:03}", f"X{n}", volume_24h_fp="1000000.00") for n in range(200)]
    planner.wish(["E-1"], 60, NOW_MS)

    assert {"E-0", "E-1", "E-2"} <= set(chosen(planner.plan(crowd + legs, NOW_MS + 59_000)))
    assert not {"E-0", "E-1", "E-2"} & set(chosen(planner.plan(crowd + legs, NOW_MS + 61_000))[:9])


def test_wishing_adds_no_request() -> None:
    crowd = [tradable(f"X{n:03}", f"X{n}") for n in range(400)]
    quiet, busy = Planner(250), Planner(250)
    busy.wish([f"X{n:03}" for n in range(400)], 3600, NOW_MS)

    assert [len(batch) for batch in quiet.plan(crowd, NOW_MS)] == [len(b) for b in busy.plan(crowd, NOW_MS)]


def test_low_value_markets_get_their_turn() -> None:
    planner = Planner(20)
    best = [tradable(f"A{n:02}", f"A{n}", volume_24h_fp="1000000.00") for n in range(30)]
    rest = [tradable(f"Z{n:02}", f"Z{n}", bid=1, ask=99) for n in range(10)]
    seen: set[str] = set()
    for cycle in range(30):
        now_ms = NOW_MS + cycle * 12_000
        tickers = chosen(planner.plan(best + rest, now_ms))
        planner.fetched(tickers, now_ms)
        assert {f"A{n:02}" for n in range(18)} <= set(tickers)
        seen.update(tickers)

    assert seen == {t.market.ticker for t in best + rest}


@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(1, 150)), max_size=300),
    st.integers(0, 350),
    st.integers(0, 4),
)
def test_plan_keeps_every_bound(rows: list[tuple[int, bool, int]], limit: int, calls: int) -> None:
    shown = [
        TEMPLATE._replace(
            market=msgspec.structs.replace(
                TEMPLATE.market, ticker=f"M{i}-{'x' * size}", event_ticker=f"E{e}"
            ),
            event=EXCLUSIVE if exclusive else None,
        )
        for i, (e, exclusive, size) in enumerate(rows)
    ]

    plan = Planner(limit).plan(shown, NOW_MS, calls)

    tickers = chosen(plan)
    assert len(tickers) == len(set(tickers)) <= limit
    assert len(plan) <= calls
    assert all(0 < len(batch) <= BOOKS_PER_REQUEST for batch in plan)
    assert all(sum(len(t) + 9 for t in batch) <= URL_BUDGET for batch in plan)


def plainly(
    shown: Sequence[Tradable], wished: Sequence[str], fetched: dict[str, int], limit: int, now_ms: int
) -> list[list[str]]:
    """Return the plan by its definition: nothing is kept from plan to plan, nothing is worked out once."""
    events: dict[str, list[Tradable]] = {}
    for one in shown:
        events.setdefault(one.market.event_ticker, []).append(one)
    units: list[tuple[float, list[str]]] = []
    for members in events.values():
        event, together_e4 = members[0].event, None
        if event is not None and 1 < len(members) <= BOOKS_PER_REQUEST:
            together_e4 = worth_of_books_e4(event, [member.quote for member in members], [])
        if together_e4 is None:
            units += [(value_of(one, now_ms), [one.market.ticker]) for one in members]
        else:
            most = max(value_of(one, now_ms) for one in members)
            units.append((most + together_e4 / 25, sorted(one.market.ticker for one in members)))
    units = [(value + 1_000 * any(t in wished for t in tickers), tickers) for value, tickers in units]
    units.sort(key=lambda unit: (-unit[0], unit[1]))
    batches: list[list[str]] = [[] for _ in range(-(-limit // BOOKS_PER_REQUEST))]

    def add(tickers: list[str], leave: int) -> bool:
        if sum(map(len, batches)) + len(tickers) > limit - leave:
            return False
        for batch in batches:
            characters = sum(len(ticker) + 9 for ticker in batch + tickers)
            if len(batch) + len(tickers) <= BOOKS_PER_REQUEST and characters <= URL_BUDGET:
                batch += tickers
                return True
        return False

    rest = [tickers for _, tickers in units if not add(tickers, int(limit * 0.1))]
    for tickers in sorted(rest, key=lambda tickers: min(fetched.get(ticker, 0) for ticker in tickers)):
        add(tickers, 0)
    return [batch for batch in batches if batch]


TEMPLATE = tradable("A")

MEMBERS = st.tuples(
    st.integers(0, 12), st.booleans(), st.sampled_from((None, 0, 1, 50)), st.sampled_from((None, 0, 3, 90))
)
"""An event, whether it is exclusive, hours until its close, hours until its start."""

QUOTES = st.tuples(st.integers(0, 12_000), st.integers(1, 60), st.integers(0, 1))


@given(st.lists(MEMBERS, min_size=1, max_size=60), st.integers(0, 40), st.data())
def test_plans_are_those_of_their_definition(
    rows: list[tuple[int, bool, int | None, int | None]], limit: int, data: st.DataObject
) -> None:
    planner, fetched = Planner(limit), dict[str, int]()
    quotes = [TEMPLATE.quote] * len(rows)
    for turn in range(4):
        now_ms = NOW_MS + turn * 48_000
        for index in data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)):
            volume_e2, bid, size = data.draw(QUOTES)
            moved = {"volume_24h_e2": volume_e2, "yes_bid_e4": bid * 100, "yes_bid_size_e2": size}
            quotes[index] = msgspec.structs.replace(quotes[index], **moved)
        shown = [
            Tradable(
                msgspec.structs.replace(
                    TEMPLATE.market,
                    ticker=f"M{index}",
                    event_ticker=f"E{event}",
                    close_ms=None if closes is None else NOW_MS + closes * HOUR_MS,
                ),
                quotes[index],
                EXCLUSIVE if exclusive else None,
                None if starts is None else NOW_MS + starts * HOUR_MS,
            )
            for index, (event, exclusive, closes, starts) in enumerate(rows)
        ]
        wished = data.draw(st.lists(st.sampled_from([one.market.ticker for one in shown]), max_size=2))
        planner.wish(wished, 1, now_ms)

        plan = planner.plan(shown, now_ms)

        assert plan == plainly(shown, wished, fetched, limit, now_ms)
        planner.fetched(chosen(plan), now_ms)
        fetched.update(dict.fromkeys(chosen(plan), now_ms))
