"""Trade lots, net position and tax lots: three views of the same fills, exact whatever happens."""

import contextlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.orders import Fill, Filled, Intent, Position, Proposal, Wanted
from markets.records import FairValue
from tests.trader.journal.files import opened
from tests.trader.ledger.builders import fill, intent
from tests.trader.world import LIMITS, NOW_MS, SCAN, basket, data, filled, live, over, settled, start, tick
from trader.command import command
from trader.engine.engine import Engine
from trader.engine.inputs import AnyInput, Orders, Values
from trader.engine.outputs import AnyOutput, Place, Settled
from trader.engine.risk import Facts, check
from trader.journal.reader import Reader
from trader.ledger.ledger import Basket, BasketLeg, Ledger, uneven
from trader.ledger.lots import (
    Bought,
    Lot,
    Paid,
    Recorded,
    after_purchase,
    net_positions,
    tax_lots,
    trade_lots,
)

START_E6 = 10**12
ONE_E4 = 10_000
EVENT = basket().event.event_ticker
LEG = basket().markets[0].market.ticker

Purchase = tuple[int, str, int, int]
"""Trade, side, price_e4, count_e2."""


def buy(ledger: Ledger, trade: int, side: str, price_e4: int, count_e2: int, fee_e6: int = 0) -> Bought:
    """An order of a trade in market A, filled whole."""
    number = 1 + max((bought for bought in ledger.open), default=trade * 1_000)
    order = msgspec.structs.replace(intent(number, "A", side, price_e4, count_e2), trade=trade)
    ledger.place(order)
    ledger.fill(number, fill(price_e4, count_e2, fee_e6))
    ledger.end(number)
    ledger.check()
    return Bought(trade, "value", "A", "E-A", side, price_e4, count_e2, fee_e6, NOW_MS)


def lots(ledger: Ledger, ticker: str = "A") -> dict[int, tuple[str, int, int]]:
    return {
        trade: (lot.side, lot.count_e2, lot.cost_e6) for trade, lot in ledger.lots.get(ticker, {}).items()
    }


# -- one case at a time


def test_a_trade_that_buys_the_other_side_sells_its_own_lot_first() -> None:
    ledger = Ledger.new(START_E6)
    buy(ledger, 1, "yes", 4_000, 1_000)
    buy(ledger, 1, "no", 5_000, 600)

    assert lots(ledger) == {1: ("yes", 400, 1_600_000)}
    assert (ledger.realised_e6, ledger.clearing_e6) == (600 * (5_000 - 4_000), 0)

    buy(ledger, 1, "no", 5_000, 1_000)
    assert lots(ledger) == {1: ("no", 600, 3_000_000)}
    assert ledger.realised_e6 == 1_000 * 1_000


def test_a_sale_of_one_trade_leaves_the_lot_of_another_alone() -> None:
    ledger = Ledger.new(START_E6)
    buy(ledger, 1, "yes", 4_000, 1_000)
    buy(ledger, 2, "yes", 6_000, 1_000)
    buy(ledger, 2, "no", 3_000, 1_000)

    assert lots(ledger) == {1: ("yes", 1_000, 4_000_000)}
    assert ledger.realised_e6 == 1_000 * (7_000 - 6_000)
    assert ledger.positions["A"].cost_e6 == 5_000_000  # the exchange's average of both


def test_the_dollar_of_two_trades_against_each_other_stands_in_clearing_until_both_are_settled() -> None:
    ledger = Ledger.new(START_E6)
    buy(ledger, 1, "no", 6_000, 1_000)
    buy(ledger, 2, "yes", 3_000, 1_000)

    assert ledger.cash_e6 == START_E6 - 9_000_000 + 10_000_000
    assert (ledger.clearing_e6, ledger.realised_e6, ledger.positions) == (10_000_000, 0, {})
    assert lots(ledger) == {1: ("no", 1_000, 6_000_000), 2: ("yes", 1_000, 3_000_000)}
    assert ledger.events() == {"E-A"}

    settlement = ledger.settle("A", "yes", ONE_E4, NOW_MS)

    assert settlement is not None
    assert (settlement.count_e2, settlement.payout_e6, settlement.cost_e6) == (0, 0, -1_000_000)
    assert (ledger.clearing_e6, ledger.realised_e6, ledger.lots) == (0, 1_000_000, {})
    assert ledger.settle("A", "yes", ONE_E4, NOW_MS) is None
    ledger.check()


def test_a_sale_out_of_a_pair_is_paid_from_clearing_and_the_exchange_has_the_rest() -> None:
    ledger = Ledger.new(START_E6)
    buy(ledger, 1, "no", 6_000, 1_000)
    buy(ledger, 2, "yes", 3_000, 1_000)
    cash_e6 = ledger.cash_e6
    buy(ledger, 1, "yes", 3_500, 400)

    assert ledger.cash_e6 == cash_e6 - 400 * 3_500  # the exchange had paid the pair before
    assert ledger.clearing_e6 == 6_000_000
    assert ledger.realised_e6 == 400 * (6_500 - 6_000)
    assert ledger.positions["A"].signed_e2 == 400


def test_baskets_that_meet_in_one_market_keep_what_they_have_and_end_with_it() -> None:
    """Both once believed in contracts that had netted away, and stayed so for ever."""
    ledger = Ledger.new(START_E6)
    buy(ledger, 1, "no", 6_000, 1_000)
    buy(ledger, 2, "yes", 3_000, 1_000)

    assert {trade: held.legs[0].got_e2 for trade, held in ledger.baskets.items()} == {1: 1_000, 2: 1_000}
    assert ledger.trades_in("E-A") == {1, 2}
    assert (ledger.held_e2(1, "A", "no"), ledger.held_e2(2, "A", "yes")) == (1_000, 1_000)

    assert ledger.settle("A", "no", 0, NOW_MS) is not None
    assert (ledger.baskets, ledger.events()) == ({}, frozenset())


@pytest.mark.parametrize("value_e4", [0, 3_333, ONE_E4])
def test_profit_of_a_trade_is_its_own_in_whatever_order_the_others_come(value_e4: int) -> None:
    purchases: list[Purchase] = [
        (1, "yes", 4_000, 700), (2, "no", 5_500, 900), (3, "yes", 4_200, 300), (2, "yes", 4_100, 250),
    ]  # fmt: skip
    for order in (purchases, purchases[::-1], purchases[2:] + purchases[:2]):
        ledger = Ledger.new(START_E6)
        record: list[Recorded] = [buy(ledger, *purchase) for purchase in order]
        ledger.settle("A", "scalar", value_e4, NOW_MS)
        record.append(Paid("A", value_e4, NOW_MS))
        profits = Counter[int]()
        for closed in trade_lots(record).closed:
            profits[closed.trade] += closed.realised_e6

        expected = Counter[int]()
        for trade, side, price_e4, count_e2 in purchases:
            worth_e4 = value_e4 if side == "yes" else ONE_E4 - value_e4
            expected[trade] += count_e2 * (worth_e4 - price_e4)
        assert profits == expected
        assert ledger.realised_e6 == sum(expected.values())


def test_parts_take_their_share_rounded_down_and_the_last_part_the_rest() -> None:
    lot = Lot(1, "value", "A", "E-A", "yes", 3, 10_000, 100, NOW_MS)
    parts = []
    left: Lot | None = lot
    for _ in range(3):
        left, sold = after_purchase(left, Bought(1, "value", "A", "E-A", "no", 5_000, 1, 0, NOW_MS))
        assert sold is not None
        parts.append((sold.cost_e6, sold.fees_e6))

    assert left is None
    assert parts == [(3_333, 33), (3_333, 33), (3_334, 34)]


def test_a_fee_is_split_between_what_a_purchase_sells_and_what_it_opens() -> None:
    lot = Lot(1, "value", "A", "E-A", "yes", 100, 400_000, 50, NOW_MS)
    opened, sold = after_purchase(lot, Bought(1, "value", "A", "E-A", "no", 5_000, 300, 100, NOW_MS + 1))

    assert sold is not None
    assert opened is not None
    assert (sold.fees_e6, opened.fees_e6, opened.side, opened.count_e2) == (50 + 33, 67, "no", 200)
    assert (sold.acquired_ms, sold.disposed_ms, sold.how) == (NOW_MS, NOW_MS + 1, "sold")


def test_tax_lots_are_given_up_first_in_first_out_whosever_they_were() -> None:
    def at(day: int, trade: int, side: str, price_e4: int, count_e2: int) -> Bought:
        return Bought(trade, "value", "A", "E-A", side, price_e4, count_e2, 10, day)

    view = tax_lots(
        [
            at(1, 1, "yes", 4_000, 100), at(2, 2, "yes", 6_000, 100), at(3, 2, "no", 3_000, 150),
            Paid("A", ONE_E4, 4),
        ]
    )  # fmt: skip

    assert [
        (lot.acquired_ms, lot.disposed_ms, lot.how, lot.count_e2, lot.realised_e6) for lot in view.closed
    ] == [(1, 3, "sold", 100, 300_000), (2, 3, "sold", 50, 50_000), (2, 4, "settled", 50, 200_000)]
    assert view.held == ()
    assert view.gain_e6 == 550_000 - 30


# -- any fills, any settlement


tickers, sides, counts = (
    st.sampled_from("AAB"),
    st.sampled_from(["yes", "no"]),
    st.sampled_from([20, 40]) | st.integers(1, 60),
)
some = counts | st.just(0)  # the exchange lists fills of nothing, too
orders = st.tuples(st.integers(1, 3), tickers, sides, st.integers(1, 9_999), counts)
better, fees = st.integers(0, 3_000), st.integers(0, 500)
place = st.tuples(st.just("place"), orders)
buy_some = st.tuples(st.just("buy"), orders, some, better, fees)
fill_some = st.tuples(st.just("fill"), st.integers(0, 9), some, better, fees)
end = st.tuples(st.just("end"), st.integers(0, 9))
settle = st.tuples(st.just("settle"), tickers, st.sampled_from([0, ONE_E4]) | st.integers(0, ONE_E4))
correct = st.tuples(st.just("correct"), tickers, st.integers(0, ONE_E4))
steps = st.lists(
    st.sampled_from([place, buy_some, buy_some, buy_some, buy_some, fill_some, end, settle, correct]).flatmap(
        lambda step: step
    ),
    min_size=6,
    max_size=50,
)


class Plain:
    """The account by hand: every hundredth of a contract is a thing of its own. Slow, and of other thoughts.

    Attributes:
        held: market -> trade -> prices of what it holds, and which side that is, in no order.
        line: market -> prices of what the exchange holds, oldest first, and which side that is.
        flows: trade -> what it was paid, less what it paid. There is no such thing as a pair between trades.
    """

    def __init__(self) -> None:
        self.cash_e6 = START_E6
        self.flows: Counter[int] = Counter()
        self.counts: dict[str, dict[int, int]] = defaultdict(dict)
        self.costs: dict[tuple[str, int], Fraction] = {}
        self.line: dict[str, deque[tuple[str, int]]] = defaultdict(deque)
        self.gain_e6 = 0
        self.fees_e6 = 0
        self.realised_e6 = Fraction(0)
        self.sales = 0
        self.paid: dict[str, tuple[int, int, tuple[tuple[str, int], ...], dict[int, int]]] = {}

    def fill(self, trade: int, ticker: str, side: str, price_e4: int, count_e2: int, fee_e6: int) -> None:
        self.cash_e6 -= price_e4 * count_e2 + fee_e6
        self.fees_e6 += fee_e6
        self.flows[trade] -= price_e4 * count_e2
        self._of_trade(trade, ticker, 1 if side == "yes" else -1, price_e4, count_e2)
        line = self.line[ticker]
        for _ in range(count_e2):
            if line and line[0][0] != side:
                _, paid_e4 = line.popleft()
                self.cash_e6 += ONE_E4
                self.gain_e6 += ONE_E4 - paid_e4 - price_e4
            else:
                line.append((side, price_e4))

    def _of_trade(self, trade: int, ticker: str, sign: int, price_e4: int, count_e2: int) -> None:
        """Average cost of the trade's own contracts, as a fraction: nothing is rounded here."""
        has = self.counts[ticker].get(trade, 0)
        cost = self.costs.get((ticker, trade), Fraction(0))
        if has * sign < 0:
            sold = min(abs(has), count_e2)
            part = cost * sold / abs(has)
            self.realised_e6 += (ONE_E4 - price_e4) * sold - part
            self.flows[trade] += ONE_E4 * sold
            cost -= part
            self.sales += 1
            cost += price_e4 * (count_e2 - sold)
        else:
            cost += price_e4 * count_e2
        self.counts[ticker][trade] = has + sign * count_e2
        self.costs[ticker, trade] = cost

    def settle(self, ticker: str, value_e4: int) -> None:
        kept_e6 = self.kept_e6(ticker, value_e4)
        self.paid[ticker] = value_e4, kept_e6, tuple(self.line.get(ticker, ())), self.lots(ticker)
        self.cash_e6 -= kept_e6
        self.fees_e6 += kept_e6
        for side, paid_e4 in self.line.pop(ticker, ()):
            worth_e4 = value_e4 if side == "yes" else ONE_E4 - value_e4
            self.cash_e6 += worth_e4
            self.gain_e6 += worth_e4 - paid_e4
        for trade, signed in self.counts.pop(ticker, {}).items():
            worth_e6 = signed * value_e4 if signed > 0 else -signed * (ONE_E4 - value_e4)
            self.flows[trade] += worth_e6
            self.realised_e6 += worth_e6 - self.costs.pop((ticker, trade))

    def correct(self, ticker: str, value_e4: int) -> None:
        """Take back what was paid for each contract, and pay it as it should have been."""
        before_e4, kept_before_e6, line, counts = self.paid[ticker]
        kept_e6 = _worth_e6(sum(counts.values()), value_e4) % 10_000
        self.paid[ticker] = value_e4, kept_e6, line, counts
        self.cash_e6 -= kept_e6 - kept_before_e6
        self.fees_e6 += kept_e6 - kept_before_e6
        for side, _ in line:
            more_e4 = value_e4 - before_e4 if side == "yes" else before_e4 - value_e4
            self.cash_e6 += more_e4
            self.gain_e6 += more_e4
        for trade, signed in counts.items():
            more_e6 = _worth_e6(signed, value_e4) - _worth_e6(signed, before_e4)
            self.flows[trade] += more_e6
            self.realised_e6 += more_e6

    def kept_e6(self, ticker: str, value_e4: int) -> int:
        """What a payout in whole cents leaves of what the net position is worth."""
        return _worth_e6(sum(self.counts.get(ticker, {}).values()), value_e4) % 10_000

    def lots(self, ticker: str) -> dict[int, int]:
        return {trade: signed for trade, signed in self.counts.get(ticker, {}).items() if signed}


def _worth_e6(signed: int, value_e4: int) -> int:
    return signed * value_e4 if signed > 0 else -signed * (ONE_E4 - value_e4)


class Account:
    """A ledger and the plain account beside it, through the same steps; and the record of them."""

    def __init__(self) -> None:
        self.ledger = Ledger.new(START_E6)
        self.plain = Plain()
        self.record: list[Recorded] = []
        self.placed: set[tuple[int, str]] = set()
        self.number = 0
        self.over: set[str] = set()

    def take(self, step: tuple[Any, ...]) -> None:
        word, *rest = step
        getattr(self, word)(*rest)
        self.agrees()

    def place(self, order: tuple[int, str, str, int, int]) -> None:
        trade, ticker, side, price_e4, count_e2 = order
        if ticker in self.over:
            return
        self.number += 1
        first = (trade, ticker) not in self.placed
        self.placed.add((trade, ticker))
        made = intent(self.number, ticker, side, price_e4, count_e2)
        self.ledger.place(msgspec.structs.replace(made, trade=trade, attempt=0 if first else 1))

    def buy(self, order: tuple[int, str, str, int, int], count_e2: int, better_e4: int, fee_e6: int) -> None:
        """Place an order and fill some of it; it stays open."""
        self.place(order)
        self.fill(-1, count_e2, better_e4, fee_e6)

    def _open(self, which: int) -> Intent | None:
        orders = list(self.ledger.open.values())
        return orders[which % len(orders)] if orders else None

    def fill(self, which: int, count_e2: int, better_e4: int, fee_e6: int) -> None:
        order = self._open(which)
        if order is None:
            return
        progress = self.ledger.filled(order.number)
        count_e2 = min(count_e2, order.count_e2 - progress.count_e2)
        price_e4 = max(1, order.price_e4 - better_e4)
        fee_e6 = min(fee_e6, order.reserve_e6 - progress.paid_e6 - price_e4 * count_e2)
        if fee_e6 < 0:
            return
        part = Fill(price_e4, count_e2, fee_e6, count_e2, NOW_MS, id="" if count_e2 else "listed")
        assert self.ledger.fill(order.number, part) == order
        self.plain.fill(order.trade, order.ticker, order.side, price_e4, count_e2, fee_e6)
        terms = (order.ticker, order.event_ticker, order.side, price_e4, count_e2, fee_e6, NOW_MS)
        self.record.append(Bought(order.trade, order.strategy, *terms))

    def end(self, which: int) -> None:
        order = self._open(which)
        if order is not None:
            assert self.ledger.end(order.number) == order
            assert self.ledger.end(order.number) is None

    def settle(self, ticker: str, value_e4: int) -> None:
        if ticker in self.over:
            return
        for order in [order for order in self.ledger.open.values() if order.ticker == ticker]:
            self.ledger.end(order.number)
        held = self.plain.lots(ticker)
        before_e6, cash_e6 = self.ledger.realised_e6, self.ledger.cash_e6
        settlement = self.ledger.settle(ticker, "scalar", value_e4, NOW_MS)
        self.plain.settle(ticker, value_e4)
        assert (settlement is not None) == bool(held)
        if settlement is not None:
            self.over.add(ticker)
            self.record.append(Paid(ticker, value_e4, NOW_MS, settlement.fee_e6))
            assert settlement.payout_e6 % 10_000 == 0
            assert 0 <= settlement.fee_e6 < 10_000
            signed = settlement.count_e2 if settlement.side == "yes" else -settlement.count_e2
            assert signed == sum(held.values())
            assert settlement.payout_e6 == self.ledger.cash_e6 - cash_e6
            earned_e6 = settlement.payout_e6 + settlement.fee_e6 - settlement.cost_e6
            assert earned_e6 == self.ledger.realised_e6 - before_e6

    def correct(self, ticker: str, value_e4: int) -> None:
        cash_e6 = self.ledger.cash_e6
        pair = self.ledger.correct(ticker, "scalar", value_e4, NOW_MS)
        assert (pair is not None) == (ticker in self.over)
        if pair is None:
            return
        before, now = pair
        self.plain.correct(ticker, value_e4)
        self.record.append(Paid(ticker, value_e4, NOW_MS, now.fee_e6))
        assert self.ledger.cash_e6 - cash_e6 == now.payout_e6 - before.payout_e6
        assert (now.value_e4, now.cost_e6, now.count_e2) == (value_e4, before.cost_e6, before.count_e2)

    def agrees(self) -> None:
        """All views say what the plain account says, and each other's sums."""
        ledger, plain, record = self.ledger, self.plain, self.record
        ledger.check_whole()
        by_trade, by_purchase, net = trade_lots(record), tax_lots(record), net_positions(record)

        assert ledger.cash_e6 == plain.cash_e6
        for ticker in "AB":
            held = plain.lots(ticker)
            mine = {trade: lot.signed_e2 for trade, lot in ledger.lots.get(ticker, {}).items()}
            assert mine == held
            position = ledger.positions.get(ticker)
            signed = 0 if position is None else position.signed_e2
            assert signed == sum(held.values()) == net.get(ticker, 0)
            yes = sum(count for count in held.values() if count > 0)
            no = -sum(count for count in held.values() if count < 0)
            cost_e6 = sum(lot.cost_e6 for lot in ledger.lots.get(ticker, {}).values())
            assert ledger.basis_of_e6(ticker) == cost_e6 - ONE_E4 * min(yes, no)
            reserved_e6 = sum(
                order.reserve_e6 - ledger.filled(order.number).paid_e6
                for order in ledger.open.values()
                if order.ticker == ticker
            )
            assert ledger.at_stake_e6(f"E-{ticker}", ticker=ticker) == reserved_e6 + max(
                0, ledger.basis_of_e6(ticker)
            )
            assert Counter(lot.side for lot in by_purchase.held if lot.ticker == ticker).keys() <= {
                "yes" if signed > 0 else "no"
            }
        assert sorted(by_trade.held, key=repr) == sorted(
            (lot for of_market in ledger.lots.values() for lot in of_market.values()), key=repr
        )
        # The three views of one cash.
        assert ledger.cash_e6 + by_trade.cost_e6 + by_trade.fees_e6 - ledger.clearing_e6 == (
            START_E6 + by_trade.gain_e6
        )
        assert ledger.cash_e6 + by_purchase.cost_e6 + by_purchase.fees_e6 == START_E6 + by_purchase.gain_e6
        assert by_trade.realised_e6 == ledger.realised_e6
        assert sum(closed.realised_e6 for closed in by_purchase.closed) == plain.gain_e6
        for view in (by_trade, by_purchase):
            assert view.fees_e6 + sum(closed.fees_e6 for closed in view.closed) == plain.fees_e6
        # A sale takes its share of the cost rounded down: never more than a micro-dollar from the fraction.
        assert abs(ledger.realised_e6 - plain.realised_e6) <= plain.sales


@given(
    steps,
    st.lists(st.integers(0, ONE_E4), min_size=2, max_size=2),
    st.lists(st.tuples(st.just("correct"), st.sampled_from("AB"), st.integers(0, ONE_E4)), max_size=3),
)
def test_any_fills_any_settlement_and_its_corrections_add_up_in_all_three_views(
    steps: list[tuple[Any, ...]], values: list[int], corrections: list[tuple[Any, ...]]
) -> None:
    account = Account()
    for step in steps:
        account.take(step)
        if len(account.record) == 5:
            decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(account.ledger), type=Ledger)
            assert decoded == account.ledger == account.ledger.copy()
            account.ledger = decoded
    for ticker, value_e4 in zip("AB", values, strict=True):
        account.take(("settle", ticker, value_e4))
    for step in corrections:
        account.take(step)

    ledger, flows = account.ledger, account.plain.flows
    assert (ledger.lots, ledger.positions, ledger.clearing_e6, ledger.lots_cost_e6) == ({}, {}, 0, 0)
    assert not any(leg.got_e2 for held in ledger.baskets.values() for leg in held.legs)
    # All is over: the profit of each trade is what it was paid less what it paid, to the micro-dollar.
    profits = Counter[int]()
    for closed in trade_lots(account.record).closed:
        profits[closed.trade] += closed.realised_e6
    assert {trade: e6 for trade, e6 in profits.items() if e6} == {
        trade: e6 for trade, e6 in flows.items() if e6
    }
    assert ledger.cash_e6 - START_E6 == sum(flows.values()) - account.plain.fees_e6


# -- two trades of the engine in one market


TWO = msgspec.structs.replace(LIMITS, positions_per_event=2)


def opposed(write: Callable[[AnyInput, list[AnyOutput]], None] = lambda _taken, _decided: None) -> Engine:
    """An engine with a basket of NOs, and then a trade of its own in YES of the basket's first leg.

    Args:
        write: takes what an engine takes and decides.
    """
    engine = Engine()

    def step(taken: AnyInput) -> list[Intent]:
        decided = engine.step(taken)
        write(taken, decided)
        return [output.intent for output in decided if isinstance(output, Place)]

    for taken in (start(limits=TWO), live()):
        step(taken)
    for order in step(data(basket())):
        step(filled(order))
    view = engine.views[EVENT]
    wanted = Wanted(LEG, "yes", 4_200, engine.ledger.positions[LEG].count_e2)
    step(Values(NOW_MS, 0, set=(FairValue(LEG, 0.9, "mine", NOW_MS),), removed=()))
    engine.accepted = frozenset(("mine",))
    assert engine.place_trade(Proposal("value", EVENT, (wanted,), 1_000_000, 0.9), view)
    (order,) = engine.ledger.open.values()
    write(tick(), [Place(order)])
    step(filled(order))
    return engine


def test_a_basket_keeps_its_promise_when_another_trade_stands_against_one_of_its_legs() -> None:
    engine, ticker = opposed(), LEG
    ledger = engine.ledger

    assert ticker not in ledger.positions
    assert not any(uneven(held) for held in ledger.baskets.values())
    assert ledger.clearing_e6 == ledger.lots[ticker][1].count_e2 * ONE_E4
    profit_e6 = engine.worth.profit_e6()
    value_e6 = engine.worth.value_e6()
    assert value_e6 is not None
    assert profit_e6 == ledger.cash_e6 + value_e6 - ledger.start_e6

    outputs = engine.step(data(settled(basket(), "HOM"), now_ms=NOW_MS + 1, seq=3))

    settlements = {out.settlement.ticker: out.settlement for out in outputs if isinstance(out, Settled)}
    assert len(settlements) == 3
    assert (settlements[ticker].count_e2, settlements[ticker].payout_e6) == (0, 0)
    assert (ledger.lots, ledger.baskets, ledger.events()) == ({}, {}, frozenset())
    assert ledger.cash_e6 == ledger.start_e6 + ledger.realised_e6 - ledger.fees_e6


def test_an_uneven_basket_is_evened_out_of_its_own_lots_whatever_the_net_position_is() -> None:
    """Trade 1 lacks a leg and sells what the others have too much, though another trade holds YES of it."""
    engine, ticker = opposed(), LEG
    ledger = engine.ledger
    facts = engine._facts()
    view = basket()
    own_e2 = ledger.held_e2(1, ticker, "no")
    assert own_e2 > 0
    held = ledger.baskets[1]
    short = msgspec.structs.replace(held.legs[-1], planned_e2=own_e2 + 100)
    ledger.baskets[1] = msgspec.structs.replace(held, legs=(*held.legs[:-1], short))
    sale = Proposal("no_basket", held.event_ticker, (Wanted(ticker, "yes", 4_200, own_e2),), 1, None, 1)

    tight = msgspec.structs.replace(TWO, market_e6=1, event_e6=1, total_e6=1)
    assert check(sale.legs, sale, view, facts, TWO, SCAN) is None
    too_much = msgspec.structs.replace(sale, legs=(Wanted(ticker, "yes", 4_200, own_e2 + 100),))
    assert check(too_much.legs, too_much, view, facts, TWO, SCAN) == "evens_nothing"
    # A trade of another one's name sells nothing: what it buys is a lot of its own, and counts.
    stranger = msgspec.structs.replace(sale, evens=None, edge_e6=10**9)
    roomy: Facts = msgspec.structs.replace(facts, ledger=ledger)
    limits = msgspec.structs.replace(tight, positions_per_event=9)
    assert check(stranger.legs, stranger, view, roomy, limits, SCAN) == "market_limit"


def test_a_sale_passes_the_limits_on_stakes_but_what_it_leaves_another_trade_alone_with_counts() -> None:
    engine = opposed()
    ledger, view, other = engine.ledger, basket(), basket().markets[1].market.ticker
    own_e2 = ledger.held_e2(1, LEG, "no")
    held = ledger.baskets[1]
    ledger.baskets[1] = msgspec.structs.replace(
        held, legs=tuple(msgspec.structs.replace(leg, planned_e2=2 * own_e2) for leg in held.legs)
    )

    def verdict(ticker: str, **limits: int) -> str | None:
        sale = Proposal("no_basket", EVENT, (Wanted(ticker, "yes", 4_200, own_e2),), 1, None, 1)
        tight = msgspec.structs.replace(TWO, **limits)
        return check(sale.legs, sale, view, engine._facts(), tight, SCAN)

    assert ledger.lots[other].keys() == {1}
    assert verdict(other, market_e6=1, event_e6=1, total_e6=1) is None
    # A NO at 60 cents and a YES at 42 are a pair: 2 cents are at stake, and 42 without the NO.
    assert ledger.lots[LEG].keys() == {1, 2}
    in_market_e6, in_event_e6 = ledger.at_stake_e6(EVENT, ticker=LEG), ledger.at_stake_e6(EVENT)
    rise_e6 = 4_000 * own_e2
    assert (in_market_e6, ledger.rise_by_sale_e6(1, LEG, own_e2)) == (200 * own_e2, rise_e6)
    for name, at_stake_e6, reason in (
        ("market_e6", in_market_e6, "market_limit"),
        ("event_e6", in_event_e6, "event_limit"),
        ("total_e6", ledger.at_stake_e6(), "total_limit"),
    ):
        assert verdict(LEG, **{name: at_stake_e6 + rise_e6}) is None
        assert verdict(LEG, **{name: at_stake_e6 + rise_e6 - 1}) == reason


@given(
    st.lists(st.tuples(st.integers(1, 3), sides, st.integers(1, 9_999), counts), max_size=8),
    st.integers(1, 9_999),
    st.integers(1, 100),
)
def test_a_sale_of_ones_own_lot_raises_the_stake_by_just_what_was_said(
    purchases: list[Purchase], price_e4: int, percent: int
) -> None:
    ledger = Ledger.new(START_E6)
    for purchase in purchases:
        buy(ledger, *purchase)
    for trade, lot in sorted(ledger.lots.get("A", {}).items()):
        sold_e2 = max(1, lot.count_e2 * percent // 100)
        before_e6, said_e6 = ledger.at_stake_e6(), ledger.rise_by_sale_e6(trade, "A", sold_e2)
        if len(ledger.lots["A"]) == 1:
            assert said_e6 <= 0
        buy(ledger, trade, "no" if lot.side == "yes" else "yes", price_e4, sold_e2)
        assert ledger.at_stake_e6() - before_e6 == said_e6


def test_a_journal_of_two_trades_against_each_other_recovers_and_reconciles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = opened(tmp_path, start_e6=1_000_000_000)
    with contextlib.closing(journal):
        engine = opposed(journal.write)
    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(journal.path.parent))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")

    def look() -> str:
        with contextlib.closing(Reader(journal.path)) as reader:
            assert reader.ledger() == engine.ledger
        assert command(["reconcile"]) == 0
        return capsys.readouterr().out

    printed = look()
    assert "clearing: pairs of open lots                            100.000000" in printed
    assert "reconciled to the micro-dollar" in printed

    with contextlib.closing(opened(tmp_path, start_e6=1_000_000_000)) as journal:
        over_ = data(settled(basket(), "HOM"), now_ms=NOW_MS + 1, seq=3)
        journal.write(over_, engine.step(over_))
    assert "clearing: pairs of open lots                              0.000000" in look()
    with contextlib.closing(Reader(journal.path)) as reader:
        rows = {row["ticker"]: (row["count_e2"], row["payout_e6"]) for row in reader.settlements(9, 9)}
    assert rows[LEG] == (0, 0)


def test_a_market_is_settled_once_even_if_a_part_of_an_order_there_is_heard_of_late() -> None:
    engine = Engine()
    for taken in (start(), live()):
        engine.step(taken)
    orders = [output.intent for output in engine.step(data(basket())) if isinstance(output, Place)]
    first, *others = orders
    for order in others:
        engine.step(filled(order))
    part = Fill(first.price_e4, 100, 0, 100, NOW_MS)
    engine.step(Orders(NOW_MS, 0, (Filled(first.number, part),)))

    outputs = engine.step(data(settled(basket(), "HOM"), now_ms=NOW_MS + 1, seq=2))
    assert {output.settlement.ticker for output in outputs if isinstance(output, Settled)} == {
        order.ticker for order in others
    }
    assert engine.ledger.held_e2(first.trade, first.ticker, "no") == 100

    outputs = engine.step(over(first.number, part, reason="nothing_left", now_ms=NOW_MS + 2))
    (late,) = [output.settlement for output in outputs if isinstance(output, Settled)]
    assert (late.ticker, late.count_e2) == (first.ticker, 200)
    assert engine.ledger.events() == set()


def test_a_fill_that_is_heard_of_after_its_market_was_paid_does_not_settle_it_again() -> None:
    engine = Engine()
    for taken in (start(), live()):
        engine.step(taken)
    orders = [output.intent for output in engine.step(data(basket())) if isinstance(output, Place)]
    for order in orders:
        engine.step(filled(order))
    over_ = data(settled(basket(), "HOM"), now_ms=NOW_MS + 1, seq=2)
    assert sum(isinstance(output, Settled) for output in engine.step(over_)) == len(orders)

    first = orders[0]
    late = Fill(first.price_e4, 100, 0, 100, NOW_MS, id="f9")
    engine.step(Orders(NOW_MS + 2, 2, (Filled(first.number, late),), ended=(first,)))
    assert engine.ledger.held_e2(first.trade, first.ticker, "no") == 100

    again = engine.step(msgspec.structs.replace(over_, now_ms=NOW_MS + 3, seq=3))
    assert not [output for output in again if isinstance(output, Settled)]
    engine.ledger.check_whole()


# -- ledgers written down before there were lots


def before_lots(ledger: Ledger) -> bytes:
    """The ledger as the first journals have it: eleven members, the last ones its baskets."""
    members = msgspec.msgpack.decode(msgspec.msgpack.encode(ledger))
    return msgspec.msgpack.encode(members[:11])


def read(positions: list[Position], baskets: dict[int, Basket], realised_e6: int = 0) -> Ledger:
    cost_e6 = sum(position.cost_e6 for position in positions)
    written = Ledger(
        start_e6=START_E6,
        cash_e6=START_E6 - cost_e6 + realised_e6,
        spent_e6=cost_e6,
        netted_e6=realised_e6,
        realised_e6=realised_e6,
        positions={position.ticker: position for position in positions},
        baskets=baskets,
    )
    return msgspec.msgpack.decode(before_lots(written), type=Ledger)


def position(side: str, count_e2: int, cost_e6: int, *trades: int) -> Position:
    return Position("A", "E-A", "S", "", "value", side, count_e2, cost_e6, 70, NOW_MS, trades)


def one_leg(side: str, got_e2: int) -> Basket:
    return Basket("no_basket", "E-A", (BasketLeg("A", side, got_e2, got_e2),))


def test_a_ledger_from_before_lots_that_one_trade_each_holds_is_read_as_if_it_had_them() -> None:
    ledger = Ledger.new(START_E6)
    buy(ledger, 7, "no", 5_999, 1_003, 70)
    decoded = msgspec.msgpack.decode(before_lots(ledger), type=Ledger)

    assert decoded == ledger
    decoded.check_whole()


@pytest.mark.parametrize(
    ("positions", "baskets", "expected"),
    [
        (
            [position("yes", 1_000, 4_000_001, 1, 2)],
            {1: one_leg("yes", 300), 2: one_leg("yes", 700)},
            {1: ("yes", 300, 1_200_000), 2: ("yes", 700, 2_800_001)},
        ),
        (
            [position("yes", 1_000, 4_000_001, 1, 2)],
            {2: one_leg("yes", 700)},
            {2: ("yes", 700, 2_800_000), 1: ("yes", 300, 1_200_001)},
        ),
        ([position("no", 1_000, 4_000_000, 5)], {}, {5: ("no", 1_000, 4_000_000)}),
        (
            [],
            {1: one_leg("no", 1_000), 2: one_leg("yes", 1_000)},
            {1: ("no", 1_000, 5_000_000), 2: ("yes", 1_000, 5_000_000)},
        ),
        (
            [position("no", 400, 2_400_000, 1)],
            {1: one_leg("no", 1_000), 2: one_leg("yes", 600)},
            {1: ("no", 1_000, 5_400_000), 2: ("yes", 600, 3_000_000)},
        ),
        ([], {1: one_leg("no", 1_000)}, {1: ("no", 1_000, 5_000_000), 0: ("yes", 1_000, 5_000_000)}),
    ],
    ids=["two", "one is over", "its basket is over", "netted away", "netted in part", "the other is over"],
)
def test_a_ledger_from_before_lots_is_exact_in_total(
    positions: list[Position], baskets: dict[int, Basket], expected: dict[int, tuple[str, int, int]]
) -> None:
    ledger = read(positions, baskets, realised_e6=123)

    assert lots(ledger) == expected
    ledger.check_whole()
    assert ledger.basis_e6 == sum(one.cost_e6 for one in positions)
    ledger.settle("A", "yes", ONE_E4, NOW_MS)
    ledger.check()
    assert (ledger.lots, ledger.baskets) == ({}, {})
