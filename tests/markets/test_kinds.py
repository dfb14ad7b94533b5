"""What holds of every kind of opportunity, and what one that raises costs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities import (
    KINDS,
    EventView,
    Failure,
    Kind,
    Leg,
    Opportunity,
    ScanLimits,
    candidates,
    explain,
    least_payout_e6,
    may_matter,
    worth_of_books_e4,
)
from markets.records import Event, FairValue, Quote
from tests.markets.builders import NOW_MS, PLAIN, event, row
from tests.support import ROOT
from ui.pages.columns import PIN_MAX

LIMITS = ScanLimits()
EXTENDING = ROOT / "docs" / "extending.md"
NAMES = ("VAN", "HOU", "Tie")
ANY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def leg(ticker: str, side: str = "yes", label: str = "") -> Leg:
    return Leg(ticker, side, 4_000, 100, 400_000, 0, NOW_MS, label)


class Ladder(Kind):
    """A kind of several trades an event, each of two outcomes, one YES and one NO."""

    name = "ladder"
    title = "Ladder"

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        return []


class Broken(Ladder):
    """Raises whatever it is asked."""

    name = "broken"

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        raise ZeroDivisionError("find")

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        raise KeyError("may_matter")

    def worth_of_books_e4(self, event: Event, quotes: Sequence[Quote]) -> int | None:
        raise RecursionError("worth")

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        raise ValueError("payout")


@st.composite
def views(draw: st.DrawFn) -> EventView:
    bids = [draw(st.integers(1, 98)) * 100 for _ in NAMES]
    asks = [draw(st.integers(bid // 100 + 1, 99)) * 100 for bid in bids]
    rows = (row(name, (bid, 500), (ask, 500)) for name, bid, ask in zip(NAMES, bids, asks, strict=True))
    return event(*rows, series=PLAIN, exclusive=draw(st.booleans()))


beliefs = st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1), max_size=3)


@given(views(), beliefs)
def test_candidates_have_keys_of_their_own_and_come_only_where_a_kind_said_so(
    view: EventView, beliefs: dict[str, float]
) -> None:
    tickers = {name: seen.market.ticker for name, seen in zip(NAMES, view.markets, strict=True)}
    values = {tickers[n]: FairValue(tickers[n], belief, "file", NOW_MS) for n, belief in beliefs.items()}

    found = candidates(view, values, NOW_MS, LIMITS)

    assert found.failures == []
    keys = [one.key for one in found.opportunities]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= PIN_MAX and "," not in key for key in keys)
    kinds = {one.kind for one in found.opportunities}
    assert all(KINDS[name].may_matter(view.event, valued=bool(values)) for name in kinds)


@ANY_KIND
def test_a_kind_has_words_for_its_trades(kind: Kind) -> None:
    assert kind.title
    assert KINDS[kind.name] is kind
    line = kind.headline([leg("E-A", "no"), leg("E-B", "no")])
    assert (line.act, line.of, line.side) == ("Buy NO", "on 2 outcomes", "no")


def test_a_headline_says_what_is_bought() -> None:
    ladder = Ladder()
    two = ladder.headline([leg("E-T50", "yes", "Above 50"), leg("E-T60", "no", "Above 60")])
    many = ladder.headline([leg(f"E-T{n}", "yes" if n else "no") for n in range(4)])

    assert (two.act, two.of, two.side) == ("Buy", "YES Above 50, NO Above 60", "")
    assert (many.act, many.of) == ("Buy", "4 outcomes, YES and NO")


def test_what_locks_a_profit_says_why_what_it_costs_and_what_is_left() -> None:
    bids = (("VAN", 4_500), ("HOU", 4_000), ("Tie", 2_500))
    view = event(*(row(name, (bid, 100_00), (bid + 100, 100_00)) for name, bid in bids))
    (basket,) = candidates(view, {}, NOW_MS, LIMITS).opportunities

    assert explain(basket).startswith("At most one of these 3 can win. 3 NO cost $1.90, at least 2 pay $1: ")
    assert "a set after fees, whatever happens" in explain(basket)
    fewer = (msgspec.structs.replace(basket.legs[0], count_e2=50_00), *basket.legs[1:])
    assert "together and pay at least" in explain(msgspec.structs.replace(basket, legs=fewer))
    poor = msgspec.structs.replace(basket, floor_e6=(basket.capital_e6 or 0) - 1_000_000)
    assert explain(poor).endswith(": −1¢ a set after fees, so nothing is left.")  # noqa: RUF001
    void = msgspec.structs.replace(basket, floor_void_e6=(basket.capital_e6 or 0) - 2_700_000)
    assert explain(void).endswith("whatever happens; if it is called off, −$2.70 at worst in total.")  # noqa: RUF001
    assert "not known" in explain(msgspec.structs.replace(basket, capital_e6=None))


def test_a_value_says_what_it_is_believed_to_be_worth_and_that_all_can_be_lost() -> None:
    view = event(row("VAN", (8_000, 100_00), (8_300, 100_00)))
    ticker = view.markets[0].market.ticker
    fair = {ticker: FairValue(ticker, 0.885, "polls", NOW_MS, 0.035)}
    (value,) = candidates(view, fair, NOW_MS, LIMITS).opportunities

    said = explain(value)
    assert said.startswith("YES is believed to be worth 88.5¢, give or take 3.5¢; it costs 83¢ and ")
    assert said.endswith(" expected a contract, and all can be lost.")


def test_a_kind_that_cannot_explain_itself_takes_nothing_from_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = event(row("VAN", (8_000, 100_00), (8_300, 100_00)))
    ticker = view.markets[0].market.ticker
    fair = {ticker: FairValue(ticker, 0.9, "polls", NOW_MS)}
    (value,) = candidates(view, fair, NOW_MS, LIMITS).opportunities

    assert explain(msgspec.structs.replace(value, legs=())) == ""
    assert explain(msgspec.structs.replace(value, kind="of a newer build")) == ""
    monkeypatch.setitem(KINDS, "value", Ladder())
    assert explain(value).startswith("It costs $83.00 and ")


def test_two_ladders_of_one_event_have_two_keys() -> None:
    first = (leg("E-T50", "yes"), leg("E-T60", "no"))
    second = (leg("E-T50", "yes"), leg("E-T70", "no"))

    assert Ladder().key("E", first) == "ladder:E:T50:yes~T60:no"
    assert Ladder().key("E", first) != Ladder().key("E", second)


def test_the_keys_of_old_pins_stay() -> None:
    legs = (leg("E-A", "no"), leg("E-B", "no"))

    assert KINDS["no_basket"].key("E", legs) == "no_basket:E"
    assert KINDS["value"].key("E", legs[:1]) == "value:E-A:no"


def test_a_kind_that_raises_hides_no_other_kind_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rich = event(
        *(
            row(name, (bid, 100_00), (bid + 100, 100_00))
            for name, bid in zip(NAMES, (4_500, 4_000, 2_500), strict=True)
        )
    )
    alone = candidates(rich, {}, NOW_MS, LIMITS)
    monkeypatch.setitem(KINDS, "broken", Broken())

    found = candidates(rich, {}, NOW_MS, LIMITS)

    assert found.opportunities == alone.opportunities != []
    (failure,) = found.failures
    assert (failure.event_ticker, failure.part) == (rich.event.event_ticker, "broken")
    assert failure.error == "ZeroDivisionError: find"
    assert "in find" in failure.trace


def test_an_event_in_which_a_market_cannot_be_judged_keeps_what_needs_only_the_others() -> None:
    # A market without a grid: what compares prices with it divides by nothing.
    odd = row("VAN", (4_500, 500), (4_600, 500), price_ranges=((0, 10_000, 0),))
    view = event(odd, row("HOU", (4_000, 500), (4_100, 500)))
    value = FairValue(view.markets[1].market.ticker, 0.9, "file", NOW_MS)

    found = candidates(view, {value.ticker: value}, NOW_MS, LIMITS)

    assert [failure.part for failure in found.failures] == []
    assert [one.legs[0].ticker for one in found.opportunities] == [value.ticker]


def test_whatever_a_kind_is_asked_its_error_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    view = event(row("VAN", (6_000, 500), (6_100, 500)), row("HOU", (4_500, 500), (4_600, 500)))
    loose = event(*view.markets, exclusive=False)
    quotes = [seen.quote for seen in view.markets]
    legs = [("A", "no", 300), ("B", "no", 200)]
    monkeypatch.setitem(KINDS, "broken", Broken())
    failures: list[Failure] = []

    single = msgspec.structs.replace(loose.event, market_tickers="A")
    assert not may_matter(single, failures, valued=False)
    assert worth_of_books_e4(view.event, quotes, failures) == 500
    assert least_payout_e6(view, legs, failures) == 2_000_000
    assert [failure.error.split(":")[0] for failure in failures] == [
        "KeyError",
        "RecursionError",
        "ValueError",
    ]


@pytest.mark.parametrize(
    "kind",
    [KINDS["no_basket"], KINDS["yes_basket"], KINDS["value"]],
    ids=["no_basket", "yes_basket", "value"],
)
def test_without_exclusivity_outcomes_promise_nothing_to_a_basket_or_a_value(kind: Kind) -> None:
    view = event(row("VAN", (6_000, 500), None), row("HOU", (4_500, 500), None), exclusive=False)

    assert kind.worth_of_books_e4(view.event, [seen.quote for seen in view.markets]) is None
    assert kind.least_payout_e6(view, [("A", "no", 300), ("B", "no", 200)]) is None
    assert not kind.may_matter(view.event, valued=False)
    assert kind.may_matter(view.event, valued=True) == (kind.name == "value")


def test_yes_legs_promise_nothing() -> None:
    view = event(row("VAN", (6_000, 500), None), row("HOU", (4_500, 500), None))

    assert KINDS["no_basket"].least_payout_e6(view, [("A", "no", 300), ("B", "yes", 200)]) is None


def test_the_kind_of_the_documentation_finds_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?class Thresholds.*?)```", EXTENDING.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    kind: Kind = names["Thresholds"]()
    monkeypatch.setitem(KINDS, kind.name, kind)
    view = event(
        *(
            row(f"T{strike}", (bid, 500), (ask, 500), strike_type="greater", floor_strike=float(strike))
            for strike, bid, ask in ((70, 3_500, 3_600), (50, 3_000, 3_100), (60, 4_000, 4_200))
        ),
        exclusive=False,
    )

    found = candidates(view, {}, NOW_MS, LIMITS)

    assert found.failures == []
    ours = [one for one in found.opportunities if one.kind == kind.name]
    assert {one.key: one.gross_edge_e6 for one in ours} == {
        "thresholds:KXMLSGAME-26AUG19VANHOU:T50:yes~T60:no": 5 * 90_000,
        "thresholds:KXMLSGAME-26AUG19VANHOU:T50:yes~T70:no": 5 * 40_000,
    }
    assert kind.headline(ours[0].legs).of == "YES T50, NO T60"
    assert may_matter(view.event, [], valued=False)
