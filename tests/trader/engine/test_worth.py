"""What is held is worth: at bid, at settlement, and for the daily loss."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.trading.gateway import ForeignFill
from markets.opportunities import EventView, MarketView
from markets.orders import Fill
from markets.records import FairValue, Level, Status
from markets.units import HOUR_MS
from tests.trader.ledger.builders import intent
from tests.trader.world import NOW_MS, basket, data, event_of, leg, start, view_of
from tests.trader.world import settled as settled_view
from trader.engine.engine import Engine
from trader.engine.inputs import RULES, Orders
from trader.engine.worth import Worth
from trader.ledger.ledger import Ledger

EVENT = event_of()
NAMES = ("HOM", "AWY", "TIE")
BID: Level = (4_000, 500)
ASK: Level = (4_200, 500)


def ticker_of(name: str) -> str:
    return f"{EVENT.event_ticker}-{name}"


def match(**legs: tuple[Level | None, Level | None]) -> EventView:
    """The match, each leg bid at 40 and asked at 42 cents unless it is said otherwise."""
    return view_of(EVENT, *(leg(EVENT, name, *legs.get(name, (BID, ASK))) for name in NAMES))


def without_books(status: Status = Status.ACTIVE) -> EventView:
    return view_of(EVENT, *(leg(EVENT, name, None, None, status=status) for name in NAMES))


KNOWN = {seen.market.ticker: seen.market for seen in match().markets}


class Holding:
    """A ledger and what it is worth."""

    def __init__(self, **changes: Any) -> None:
        self.ledger = Ledger.new(1_000_000_000)
        self.values: dict[str, FairValue] = {}
        self.worth = Worth(self.ledger, fair_values=self.values, **changes)
        self.number = 0

    def buy(self, name: str, side: str, price_e4: int, count_e2: int, trade: int = 1) -> None:
        self.number += 1
        order = msgspec.structs.replace(
            intent(self.number, ticker_of(name), side, price_e4, count_e2),
            event_ticker=EVENT.event_ticker,
            trade=trade,
        )
        self.ledger.place(order)
        self.ledger.fill(self.number, Fill(price_e4, count_e2, 0, count_e2, NOW_MS))
        self.ledger.end(self.number)

    def buy_basket(self, count_e2: int = 1_000, trade: int = 1) -> None:
        """Three NO at 0.60: they cost 1.80 and pay 2."""
        for name in NAMES:
            self.buy(name, "no", 6_000, count_e2, trade)

    def profits(self) -> tuple[int, int, int]:
        """At bid, at settlement, for the daily loss."""
        ledger, worth = self.ledger, self.worth
        settlement_e6 = ledger.cash_e6 + worth.settlement_e6(NOW_MS) - ledger.start_e6
        return worth.profit_e6(), settlement_e6, worth.least_profit_e6()


def test_by_the_rules_of_before_a_bid_for_one_side_says_nothing_of_the_other() -> None:
    held = Holding(rules=1)
    held.buy("HOM", "yes", 4_200, 100)
    held.worth.mark(match())
    assert held.worth.value_e6() == 4_000 * 100

    held.buy("HOM", "no", 6_000, 300, trade=2)
    held.worth.mark(without_books(Status.CLOSED))
    assert held.worth.value_e6() is None

    held.worth.mark(without_books())
    assert held.worth.value_e6() == 0
    assert held.worth.least_profit_e6() == held.worth.profit_e6()


def test_both_sides_of_a_market_are_marked_at_once() -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 100)
    held.worth.mark(match())
    held.buy("HOM", "no", 6_000, 300, trade=2)

    held.worth.mark(without_books(Status.CLOSED))

    assert held.worth.value_e6() == (10_000 - 4_200) * 200


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.CLOSED, Status.INACTIVE])
def test_an_empty_book_is_no_price_of_zero(status: Status) -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 100)
    held.worth.mark(match())
    before = held.profits()

    held.worth.mark(without_books(status), 1_000)

    assert held.profits()[0] == before[0]
    assert held.profits()[2] == before[2]
    position = held.ledger.positions[ticker_of("HOM")]
    assert held.worth.bid_e4(position) == 4_000
    assert held.worth.age_ms(position) == 0
    held.worth.mark(without_books(status), 61_000)
    assert held.worth.age_ms(position) == 60_000
    held.worth.mark(match(), 62_000)
    assert held.worth.age_ms(position) is None


@pytest.mark.parametrize(("asked_e4", "counted_e4"), [(500, 500), (4_200, 4_000)])
def test_a_last_bid_counts_no_more_than_others_ask_since_even_once_nobody_asks(
    asked_e4: int, counted_e4: int
) -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 100)
    held.worth.mark(match())
    position = held.ledger.positions[ticker_of("HOM")]

    held.worth.mark(match(HOM=(None, (asked_e4, 10_000))), 1_000)
    held.worth.mark(without_books(Status.CLOSED), 2_000)

    assert held.worth.bid_e4(position) == counted_e4
    assert held.worth.age_ms(position) == 1_000
    assert held.worth.least_profit_e6() == (counted_e4 - 4_200) * 100
    held.worth.mark(match(), 3_000)
    assert held.worth.bid_e4(position) == 4_000


def test_an_ask_in_doubt_lowers_no_mark() -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 100)
    held.worth.mark(match())

    suspect = match(HOM=(None, (500, 10_000)))
    markets = tuple(
        msgspec.structs.replace(seen, suspect=True) if seen.market.ticker == ticker_of("HOM") else seen
        for seen in suspect.markets
    )
    held.worth.mark(msgspec.structs.replace(suspect, markets=markets), 1_000)

    assert held.worth.bid_e4(held.ledger.positions[ticker_of("HOM")]) == 4_000


def test_a_market_that_leaves_the_list_has_no_bid() -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 100)
    held.worth.mark(match())

    held.worth.mark(view_of(EVENT, leg(EVENT, "AWY", BID, ASK)), 5_000)
    held.worth.points(NOW_MS, 5_000 + 600_000, money_moved=False)

    assert held.worth.bid_e4(held.ledger.positions[ticker_of("HOM")]) == 4_000
    assert held.worth.least_profit_e6() == -4_200 * 100


@pytest.mark.parametrize(
    ("after_ms", "counted_e6"),
    [(0, 680_000), (119_999, 680_000), (120_000, 340_000), (599_999, 340_000), (600_000, 0), (10**9, 0)],
)
def test_a_single_position_without_a_bid_counts_less_the_longer(after_ms: int, counted_e6: int) -> None:
    held = Holding()
    held.buy("HOM", "yes", 7_000, 100)
    held.worth.mark(match(HOM=((6_800, 500), None)), 1_000)
    held.worth.mark(match(HOM=(None, None)), 2_000)

    held.worth.points(NOW_MS, 2_000 + after_ms, money_moved=False)  # time alone

    assert held.worth.least_profit_e6() == counted_e6 - 700_000
    assert held.worth.profit_e6() == 680_000 - 700_000  # for display the last good bid stands


def test_the_clock_of_a_lost_bid_begins_anew_with_each_bid() -> None:
    held = Holding()
    held.buy("HOM", "yes", 7_000, 100)
    for paced_ms, bid in ((0, (6_800, 500)), (1_000, None), (100_000, (6_800, 500)), (110_000, None)):
        held.worth.mark(match(HOM=(bid, None)), paced_ms)

    held.worth.points(NOW_MS, 229_999, money_moved=False)
    assert held.worth.least_profit_e6() == -20_000
    held.worth.points(NOW_MS, 230_000, money_moved=False)
    assert held.worth.least_profit_e6() == -360_000


def test_a_fall_counts_with_the_first_update_that_shows_it() -> None:
    held = Holding()
    held.buy("HOM", "yes", 6_800, 1_000)
    held.worth.mark(match(HOM=((6_800, 500), (7_000, 500))), 1_000)
    assert held.profits() == (
        0,
        0,
        0,
    )  # three that add up to 1.51: none is expected to be worth more than its bid

    held.worth.mark(match(HOM=((500, 500), (700, 500))), 1_001)

    assert held.profits()[0] == held.profits()[2] == (500 - 6_800) * 1_000


def doubtful(bid: Level, *, suspect: bool) -> EventView:
    ask = (7_500, 500) if suspect else (bid[0] - 100, 500)  # the other is crossed
    one: MarketView = leg(EVENT, "HOM", bid, ask, suspect=suspect)
    return view_of(EVENT, one, *match().markets[1:])


@pytest.mark.parametrize("suspect", [True, False])
def test_a_bid_in_doubt_is_no_mark_but_counts_for_the_daily_loss_where_it_is_less(suspect: bool) -> None:
    held = Holding()
    held.buy("HOM", "yes", 6_800, 100)
    held.worth.mark(match(HOM=((6_800, 500), (7_000, 500))))

    held.worth.mark(doubtful((7_200, 500), suspect=suspect), 1_000)
    assert (held.worth.profit_e6(), held.worth.least_profit_e6()) == (0, 0)
    held.worth.mark(doubtful((500, 500), suspect=suspect), 2_000)
    assert (held.worth.profit_e6(), held.worth.least_profit_e6()) == (0, -630_000)


def test_before_a_bid_was_seen_a_position_counts_at_its_cost() -> None:
    held = Holding()
    held.buy("HOM", "yes", 7_000, 100)
    assert held.worth.value_e6() is None
    assert held.worth.least_profit_e6() == 0

    held.worth.mark(without_books(), 1_000)
    held.worth.points(NOW_MS, 121_000, money_moved=False)

    assert held.worth.value_e6() is None
    assert held.worth.least_profit_e6() == -350_000


def test_a_result_counts_as_soon_as_it_is_determined() -> None:
    held = Holding()
    held.buy("HOM", "yes", 7_000, 100)
    held.worth.mark(without_books(Status.CLOSED))

    held.worth.mark(settled_view(match(), "HOM", Status.DETERMINED), 700_000)
    assert held.profits() == (300_000, 300_000, 300_000)
    held.worth.mark(settled_view(match(), "AWY", Status.AMENDED), 701_000)
    assert held.profits() == (-700_000, -700_000, -700_000)
    held.worth.mark(settled_view(match(), "", Status.DETERMINED, HOM=2_500), 702_000)
    assert held.profits() == (-450_000, -450_000, -450_000)


def test_a_basket_counts_at_its_floor_whatever_is_bid() -> None:
    held = Holding()
    held.buy_basket()
    held.worth.mark(match())
    assert held.profits() == (-3 * 200 * 1_000, 2_000_000, 2_000_000)  # bid 0.58 each, paid 0.60, floor 2

    for paced_ms, view in ((1_000, without_books()), (900_000, without_books(Status.CLOSED))):
        held.worth.mark(view, paced_ms)
        assert held.profits()[1:] == (2_000_000, 2_000_000)


@pytest.mark.parametrize("winner", [*NAMES, ""])
def test_while_one_leg_after_the_other_is_paid_a_basket_never_falls_below_its_floor(winner: str) -> None:
    for order in (NAMES, NAMES[::-1]):
        held = Holding()
        held.buy_basket()
        legs = {name: leg(EVENT, name, BID, ASK) for name in NAMES}
        held.worth.mark(view_of(EVENT, *legs.values()))
        over = {one.market.ticker: one for one in settled_view(match(), winner).markets}
        for at, name in enumerate(order):
            legs[name] = over[ticker_of(name)]
            held.worth.mark(view_of(EVENT, *legs.values()), at)
            assert held.profits()[1] >= 2_000_000
            assert held.profits()[2] >= 2_000_000
            held.ledger.settle(ticker_of(name), "yes", 10_000 if name == winner else 0, NOW_MS)
            assert held.profits()[1] >= 2_000_000
            assert held.profits()[2] >= 2_000_000
        assert held.profits() == ((2_000_000,) * 3 if winner else (12_000_000,) * 3)
        assert not held.ledger.paid


def test_what_a_basket_was_paid_is_known_after_a_restart() -> None:
    held = Holding()
    held.buy_basket()
    held.worth.mark(match())
    held.ledger.settle(ticker_of("TIE"), "yes", 10_000, NOW_MS)

    wire = msgspec.msgpack.encode(held.ledger)
    again = Holding()
    again.ledger = msgspec.msgpack.decode(wire, type=Ledger)
    again.worth = Worth(again.ledger)
    again.worth.mark(match())

    assert again.profits()[1:] == (2_000_000, 2_000_000)


def by_hand(number: int, *names: str) -> Orders:
    """Somebody buys ten NO at 45 cents of each of these, on the trader's account."""
    event_ticker = event_of(number).event_ticker
    made = [Fill(4_500, 1_000, 0, 0, NOW_MS, f"{number}-{name}") for name in names]
    told = [
        ForeignFill("x", f"{event_ticker}-{name}", event_ticker, 0, "no", fill)
        for name, fill in zip(names, made, strict=True)
    ]
    return Orders(NOW_MS, 0, (), foreign=tuple(told))


def moved(number: int, **over: int) -> EventView:
    """A match whose close has moved, and where these pay; a market that has been paid shows nothing."""
    event = event_of(number)
    view = view_of(event, *(leg(event, name, BID, ASK, close_ms=NOW_MS + len(over)) for name in NAMES))
    paid = settled_view(view, "", Status.FINALIZED, **over).markets
    markets = zip(NAMES, view.markets, paid, strict=True)
    return view_of(event, *(then if name in over else now for name, now, then in markets))


@pytest.mark.parametrize("rules", [2, RULES])
@pytest.mark.parametrize("last", [{"HOM": 0}, {"HOM": 0, "AWY": 0}])
def test_what_others_bought_in_one_event_has_its_floor_whatever_is_paid_in_another(
    last: dict[str, int], rules: int
) -> None:
    engine = Engine()
    for taken in (start(rules=rules), by_hand(1, "HOM", "AWY"), by_hand(2, "HOM", "AWY")):
        engine.step(taken)
    first = event_of(1).event_ticker

    engine.step(data(basket(1), basket(2)))
    assert engine.worth.locked(first)
    engine.step(data(moved(2, **last), seq=2))
    engine.step(data(moved(1), seq=3))

    assert engine.worth.locked(first) == (rules == RULES or len(last) == 2)


@pytest.mark.parametrize("rules", [2, RULES])
def test_what_others_were_paid_in_an_event_counts_until_nothing_is_held_in_it(rules: int) -> None:
    engine = Engine()
    for taken in (start(rules=rules), by_hand(1, "HOM", "AWY"), by_hand(2, "HOM")):
        engine.step(taken)
    first = event_of(1).event_ticker
    engine.step(data(basket(1), basket(2)))
    engine.step(data(moved(1, HOM=10_000), seq=2))
    assert engine.worth.locked(first)

    engine.step(data(moved(2, HOM=0), seq=3))
    engine.step(data(moved(1, HOM=10_000, TIE=0), seq=4))

    assert engine.worth.locked(first) == (rules == RULES)
    engine.step(data(moved(1, HOM=10_000, AWY=0), seq=5))
    assert not engine.ledger.paid


def test_a_void_takes_the_floor_away() -> None:
    held = Holding()
    held.buy_basket()
    view = settled_view(match(), "", Status.DETERMINED, HOM=4_000, AWY=4_000, TIE=4_000)

    held.worth.mark(view)

    assert held.profits() == (0, 0, 0)


def test_of_an_uneven_basket_the_rest_counts_as_single_positions() -> None:
    held = Holding()
    for name, count_e2 in (("HOM", 1_000), ("AWY", 1_000), ("TIE", 400)):
        held.buy(name, "no", 6_000, count_e2)
    held.worth.mark(match())
    cost_e6, rest_e2 = 6_000 * 2_400, 600

    assert held.worth.least_profit_e6() == 400 * 20_000 + 2 * rest_e2 * 5_800 - cost_e6

    # Emptied, the two legs still pay a dollar together: that is no less with time.
    held.worth.mark(without_books(), 1_000)
    held.worth.points(NOW_MS, 700_000, money_moved=False)
    assert held.worth.least_profit_e6() == 400 * 20_000 + rest_e2 * 10_000 - cost_e6


def test_pairs_of_two_trades_are_worth_their_dollar_with_and_without_bids() -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 300, trade=1)
    held.buy("HOM", "no", 6_000, 200, trade=2)
    held.worth.mark(match())
    spent_e6 = 4_200 * 300 + 6_000 * 200

    assert held.worth.least_profit_e6() == 200 * 10_000 + 100 * 4_000 - spent_e6
    assert held.worth.least_profit_e6() == held.worth.profit_e6()
    held.worth.mark(without_books(), 1_000)
    held.worth.points(NOW_MS, 700_000, money_moved=False)
    assert held.worth.least_profit_e6() == 200 * 10_000 - spent_e6


@pytest.mark.parametrize("counts", [(300, 200), (200, 300), (250, 250)])
def test_at_bid_the_lots_of_pairs_add_up_to_what_everything_would_bring(counts: tuple[int, int]) -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, counts[0], trade=1)
    held.buy("HOM", "no", 6_000, counts[1], trade=2)
    held.buy("AWY", "no", 6_000, 100, trade=2)
    held.worth.mark(match())

    lots = held.worth.lots(EVENT.event_ticker, NOW_MS)

    assert sum((one.bid_e6 or 0) - one.lot.cost_e6 for one in lots) == held.worth.profit_e6()


@pytest.mark.parametrize("counts", [(300, 200), (200, 300), (250, 250)])
@pytest.mark.parametrize("after_ms", [0, 300_000, 700_000])
def test_for_the_daily_loss_the_lots_add_up_to_what_everything_counts(
    counts: tuple[int, int], after_ms: int
) -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, counts[0], trade=1)
    for name, count_e2 in (("HOM", 700), ("AWY", 700), ("TIE", 400)):
        held.buy(name, "no", 6_000, count_e2, trade=2)
    held.buy("HOM", "no", 6_000, counts[1], trade=3)
    held.worth.mark(match())
    if after_ms:
        held.worth.mark(without_books(), 1_000)
        held.worth.points(NOW_MS, 1_000 + after_ms, money_moved=False)

    least = held.worth.least(EVENT.event_ticker)

    assert sum(least.values()) - held.ledger.stakes.cost_e6 == held.worth.least_profit_e6()
    assert {trade for trade, _ in least} == {1, 2, 3}


def test_an_expected_value_says_where_it_is_from() -> None:
    held = Holding()
    held.buy("HOM", "yes", 4_200, 100)

    def said() -> tuple[int, tuple[str, ...]]:
        (one,) = held.worth.lots(EVENT.event_ticker, NOW_MS)
        return one.settlement_e6, one.sources

    assert said() == (420_000, ("cost",))
    held.worth.mark(view_of(EVENT, leg(EVENT, "HOM", BID, None)))  # alone it has no consensus
    assert said() == (400_000, ("last_bid",))
    held.worth.mark(view_of(EVENT, leg(EVENT, "HOM", BID, ASK)))
    assert said() == (410_000, ("mid",))
    held.worth.mark(match())  # three of 41 cents are worth a third each, but nobody's own bid is passed over
    assert said() == (400_000, ("consensus",))
    held.worth.mark(view_of(EVENT, leg(EVENT, "HOM", None, None)))
    assert said() == (410_000, ("last_mid",))
    fair = (3_000, 1), (3_400, 1)
    held.worth.mark(match(HOM=(None, None), AWY=fair, TIE=fair))
    assert said() == (360_000, ("consensus",))
    held.values[ticker_of("HOM")] = FairValue(ticker_of("HOM"), 0.45, "mine", NOW_MS - HOUR_MS, 0.0)
    assert said() == (450_000, ("mine",))
    held.values[ticker_of("HOM")] = FairValue(ticker_of("HOM"), 0.45, "mine", NOW_MS - HOUR_MS - 1, 0.0)
    assert said() == (360_000, ("consensus",))
    held.worth.mark(settled_view(match(), "HOM", Status.DETERMINED))
    assert said() == (1_000_000, ("result",))


def test_each_lot_of_a_basket_has_its_share_of_the_floor() -> None:
    held = Holding()
    held.buy_basket()
    held.worth.mark(match())

    lots = held.worth.lots(EVENT.event_ticker, NOW_MS)

    assert [one.sources for one in lots] == [("floor",)] * 3
    assert [one.locked_e2 for one in lots] == [1_000] * 3
    assert sum(one.floor_e6 for one in lots) == 20_000_000
    assert all(one.settlement_e6 > one.lot.cost_e6 for one in lots)  # no leg of it shows a loss


def test_a_day_begins_once_all_that_is_held_was_seen() -> None:
    held = Holding()
    held.buy_basket()
    worth = Worth(held.ledger, day=20_000, offset_ms=20_001 * 86_400_000, paced_ms=5)
    assert not worth.whole()
    assert [type(one).__name__ for one in worth.points(NOW_MS, 5, money_moved=False)] == ["Equity"]

    worth.mark(match(), 1_000)

    assert worth.whole()
    points = worth.points(NOW_MS, 1_000, money_moved=False)
    assert [type(one).__name__ for one in points] == ["Day", "Equity"]
    assert worth.day_start_e6 == 2_000_000


def test_what_is_never_seen_holds_nothing_up_for_more_than_ten_minutes() -> None:
    held = Holding()
    held.buy_basket()
    worth = Worth(held.ledger, paced_ms=1_000)

    worth.points(NOW_MS, 600_999, money_moved=False)
    assert not worth.whole()
    worth.points(NOW_MS, 601_000, money_moved=False)
    assert worth.whole()


def test_the_limit_is_latched_and_counts_anew_after_a_release() -> None:
    held = Holding()
    held.buy("HOM", "yes", 6_800, 1_000)
    held.worth.mark(match(HOM=((6_800, 500), None)))
    limit_e6 = 6_300_000
    assert held.worth.latch(limit_e6) == []
    held.worth.mark(match(HOM=((501, 500), None)), 1)
    assert held.worth.latch(limit_e6) == []  # a micro-dollar before it

    held.worth.mark(match(HOM=((500, 500), None)), 2)
    (latched,) = held.worth.latch(limit_e6)
    assert (latched.latched, latched.base_e6) == (True, 0)
    held.worth.mark(match(HOM=((6_800, 500), None)), 3)
    assert held.worth.latched  # though the bid is back
    assert held.worth.latch(limit_e6) == []

    (released,) = held.worth.release()
    assert (released.latched, released.base_e6) == (False, 0)
    assert held.worth.release() == []
    held.worth.mark(match(HOM=((500, 500), None)), 4)
    assert held.worth.latch(limit_e6)


PRICES = st.sampled_from([None, (3_000, 500), (4_000, 500), (4_100, 500)])
SHOWN = st.tuples(
    st.tuples(PRICES, st.sampled_from([None, (4_200, 500), (3_900, 500)])),
    st.sampled_from([Status.ACTIVE, Status.CLOSED]),
    st.booleans(),
    st.sampled_from(["look", "buy", "gone", "result"]),
    st.integers(0, 400_000),
)


@given(st.lists(SHOWN, max_size=12))
@settings(max_examples=60)
def test_what_shows_the_same_again_is_worth_what_a_new_look_makes_it(shown: list[Any]) -> None:
    quick, anew, now_ms = Holding(), Holding(), 0
    for held in (quick, anew):
        held.buy_basket()
        held.buy("AWY", "yes", 4_200, 300, trade=2)
    for number, ((bid, ask), status, suspect, what, wait_ms) in enumerate(shown):
        now_ms += wait_ms
        view = match(HOM=(bid, ask))
        markets = [
            msgspec.structs.replace(
                seen,
                market=KNOWN[seen.market.ticker],
                quote=msgspec.structs.replace(seen.quote, status=status),
                quote_as_of_ms=NOW_MS + now_ms,
                suspect=suspect,
            )
            for seen in view.markets
        ]
        if what == "gone":
            markets = markets[1:]
        elif what == "result":
            decided = msgspec.structs.replace(markets[0].market, result="no")
            markets[0] = msgspec.structs.replace(markets[0], market=decided)
        others = [
            msgspec.structs.replace(seen, market=msgspec.structs.replace(seen.market)) for seen in markets
        ]
        if what == "buy":
            for held in (quick, anew):
                held.buy("HOM", "no", 6_000, 100, trade=3 + number)
        quick.worth.mark(msgspec.structs.replace(view, markets=tuple(markets)), now_ms)
        anew.worth.mark(msgspec.structs.replace(view, markets=tuple(others)), now_ms)

        assert quick.profits() == anew.profits()
        assert quick.worth.kept_marks(NOW_MS, now_ms) == anew.worth.kept_marks(NOW_MS, now_ms)
        assert quick.worth.lots(EVENT.event_ticker, NOW_MS) == anew.worth.lots(EVENT.event_ticker, NOW_MS)
        assert quick.worth.mark_changes == anew.worth.mark_changes
        assert quick.worth.locked(EVENT.event_ticker) == anew.worth.locked(EVENT.event_ticker)
