"""Whose each micro-dollar is: whatever the money is added up by, it is the ledger's own profit."""

import contextlib
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.protocol.answers import Answers
from bus.protocol.messages import decode_map, encode_map
from bus.trading.killswitch import KillSwitch
from bus.trading.shapes import ReportAnswer, ReportRow, told
from markets.orders import Fill, Intent
from markets.records import FairValue
from tests.trader.ledger.builders import intent
from tests.trader.saying import said
from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, basket, settled
from trader.attribution import CUTS, Account, account_of, slippage_e6
from trader.command import command
from trader.control import Control
from trader.engine.worth import LotWorth
from trader.journal.reader import Reader
from trader.ledger.ledger import Ledger
from trader.ledger.lots import Bought, Fresh, Got, Paid, Recorded, bought
from trader.manual import ManualCommands
from trader.trades import trade_rows

HOUR_MS = 3_600_000
WHOSE = (
    ("baskets", "ladder", ""),
    ("baskets", "no_basket", ""),
    ("value", "value", "polls"),
    ("mine", "mine", ""),
)
SERIES = ("S", "T")
ADD_UP = [
    *(f"{name}_dollars" for name in ("profit", "bought", "fees", "realised", "slippage", "open_cost")),
    *(f"{name}_dollars" for name in ("expected", "expected_of_over", "got_of_over")),
    *("tried", "trades", "over", "won"),
]


def sums_of(report: ReportAnswer, member: str) -> dict[str, Decimal]:
    tables = {name: getattr(report, name) for name in CUTS}
    return {
        name: sum((Decimal(getattr(row, member)) for row in table), Decimal(0))
        for name, table in tables.items()
    }


class Books:
    """A ledger, the record beside it, and the orders of four trades, each of another strategy or kind."""

    def __init__(self) -> None:
        self.ledger = Ledger.new(10**12)
        self.record: list[Recorded] = []
        self.orders: list[tuple[Intent, Fill | None]] = []
        self.now_ms = NOW_MS
        self.over: set[str] = set()

    def take(self, step: tuple[Any, ...]) -> None:
        hours, word, *rest = step
        self.now_ms += hours * HOUR_MS
        getattr(self, word)(*rest)

    def buy(self, trade: int, ticker: str, side: str, price_e4: int, count_e2: int, fee_e6: int) -> None:
        if ticker in self.over:
            return
        strategy, kind, source = WHOSE[trade % len(WHOSE)]
        order = msgspec.structs.replace(
            intent(len(self.orders) + 1, ticker, side, price_e4, count_e2),
            trade=trade,
            strategy=strategy,
            kind=kind,
            source=source,
            series_ticker=SERIES[trade % 2],
            created_ms=self.now_ms,
            reserve_e6=10**9,
            edge_e6=trade * 1_000,
            attempt=int(any(before.trade == trade for before, _ in self.orders)),
            shown_e6=price_e4 * count_e2 - 1_000,
        )
        self.ledger.place(order)
        fill = Fill(price_e4, count_e2, fee_e6, count_e2, self.now_ms) if count_e2 % 7 else None
        if fill is not None:
            self.ledger.fill(order.number, fill)
            self.record.append(bought(order, fill))
        self.ledger.end(order.number)
        self.orders.append((order, fill))

    def settle(self, ticker: str, value_e4: int) -> None:
        settlement = self.ledger.settle(ticker, "scalar", value_e4, self.now_ms)
        if settlement is not None:
            self.over.add(ticker)
            self.record.append(Paid(ticker, value_e4, self.now_ms, settlement.fee_e6))

    def account(self) -> Account:
        return account_of(self.fresh())

    def fresh(self, order: int = 0, entry: int = 0) -> Fresh:
        """What came since so many orders and entries of the record."""
        orders = self.orders[order:]
        got = [Got(intent, fill.count_e2, fill.cost_e6) for intent, fill in orders if fill is not None]
        return Fresh([intent for intent, _ in orders], got, self.record[entry:])


hours = st.integers(0, 30)
buys = st.tuples(
    hours, st.just("buy"), st.integers(1, 6), st.sampled_from("ABC"), st.sampled_from(["yes", "no"]),
    st.integers(1, 9_999), st.integers(1, 900), st.integers(0, 9_999),
)  # fmt: skip
settles = st.tuples(hours, st.just("settle"), st.sampled_from("ABC"), st.integers(0, 10_000))


@given(st.lists(st.one_of(buys, buys, settles), max_size=25), st.integers(0, 40), st.integers(0, 40))
def test_whatever_it_is_cut_by_it_adds_up_to_the_ledgers_own_profit(
    steps: list[tuple[Any, ...]], first: int, days: int
) -> None:
    books = Books()
    for step in steps:
        books.take(step)
    ledger, account = books.ledger, books.account()

    report = account.report()

    profit = Decimal(ledger.realised_e6 - ledger.fees_e6) / 10**6
    assert Decimal(report.total.profit_dollars) == profit
    for member in ADD_UP:
        whole = Decimal(getattr(report.total, member))
        assert sums_of(report, member) == dict.fromkeys(CUTS, whole)
    assert Decimal(report.total.bought_dollars) == Decimal(ledger.spent_e6) / 10**6
    assert Decimal(report.total.fees_dollars) == Decimal(ledger.fees_e6) / 10**6
    assert Decimal(report.total.open_cost_dollars) == Decimal(ledger.lots_cost_e6) / 10**6
    # Periods that follow each other add up to all of it.
    begin = date(2027, 1, 15)
    split = date.fromordinal(begin.toordinal() + first)
    before, after = (
        account.report(None, None, split),
        account.report(None, date.fromordinal(split.toordinal() + 1), None),
    )
    both = Decimal(before.total.profit_dollars) + Decimal(after.total.profit_dollars)
    assert both == profit
    assert before.total.tried + after.total.tried == report.total.tried


@given(st.lists(st.one_of(buys, buys, settles), max_size=25), st.integers(1, 5))
def test_read_in_pieces_as_it_grows_it_is_the_same_account(steps: list[tuple[Any, ...]], piece: int) -> None:
    books, grown = Books(), Account()
    orders = entries = 0
    for number, step in enumerate(steps):
        books.take(step)
        if number % piece == 0:
            grown.take(books.fresh(orders, entries))
            orders, entries = len(books.orders), len(books.record)
    grown.take(books.fresh(orders, entries))
    whole = books.account()

    assert grown.report() == whole.report()
    assert trade_rows(grown, {}, 100, 10**9) == trade_rows(whole, {}, 100, 10**9)
    won_lost = [Decimal(whole.report().total.won_dollars), Decimal(whole.report().total.lost_dollars)]
    assert sum(won_lost) == Decimal(whole.report().total.got_of_over_dollars)


def test_an_order_that_gets_more_slips_more_and_no_part_of_it_twice() -> None:
    order = msgspec.structs.replace(intent(1, price_e4=5_000, count_e2=1_000), shown_e6=4_800_000)
    account = account_of(Fresh([order], [Got(order, 500, 2_450_000)]))
    account.take(Fresh(got=[Got(order, 1_000, 4_890_000, 500, 2_450_000)]))

    assert account.report().total.slippage_dollars == "0.090000"


def test_what_was_paid_and_what_was_believed_are_held_against_what_came() -> None:
    books = Books()
    books.buy(2, "A", "yes", 4_000, 1_000, 0)
    order, fill = books.orders[0]
    books.orders[0] = msgspec.structs.replace(order, probability=0.55), fill
    books.buy(4, "B", "no", 9_500, 300, 0)
    books.buy(1, "C", "yes", 4_500, 1_000, 0)
    for ticker, value_e4 in (("A", 10_000), ("B", 10_000), ("C", 0)):
        books.settle(ticker, value_e4)

    paid, polls = books.account().report().calibration

    assert (paid.name, polls.name) == ("", "polls")
    assert [(one.lots, one.contracts_fp, one.said, one.came) for one in paid.bins] == [
        (2, "20.00", 0.425, 0.5),
        (1, "3.00", 0.95, 0.0),
    ]
    assert [(one.lots, one.contracts_fp, one.said, one.came) for one in polls.bins] == [
        (1, "10.00", 0.55, 1.0)
    ]


def test_a_year_of_trades_is_added_up_once_and_told_by_days() -> None:
    account = Account()
    for day in range(400):
        orders: list[Intent] = []
        got: list[Got] = []
        record: list[Recorded] = []
        for number in range(day * 3 + 1, day * 3 + 4):
            now_ms = NOW_MS + day * 24 * HOUR_MS
            ticker = f"KXA-{number}-M"
            order = intent(number, ticker, "yes", 4_000, 100)
            order = msgspec.structs.replace(order, trade=number, created_ms=now_ms, kind="no_basket")
            fill = Fill(4_000, 100, 0, 100, now_ms)
            orders.append(order)
            got.append(Got(order, 100, fill.cost_e6))
            record += [bought(order, fill), Paid(ticker, 10_000, now_ms)]
        account.take(Fresh(orders, got, record))

    report = account.report()

    assert (len(report.by_day), report.total.trades, report.total.over) == (400, 1_200, 1_200)
    assert len(account.report(since=date(2027, 1, 15), until=date(2027, 1, 16)).by_day) == 2
    assert account.newest(2, 1_000)[0][0] == 999


def test_what_a_trade_that_is_over_got_is_the_cash_that_moved() -> None:
    books = Books()
    books.buy(2, "A", "yes", 4_000, 1_000, 12_345)
    books.buy(2, "A", "no", 5_500, 400, 6_789)  # sells two fifths of it
    cash_e6 = books.ledger.cash_e6
    books.now_ms += 24 * HOUR_MS
    books.settle("A", 3_333)

    (row,) = books.account().report().by_strategy

    assert (row.name, row.tried, row.trades, row.over, row.won) == ("value", 1, 1, 1, 0)
    assert (row.expected_dollars, row.expected_of_over_dollars) == ("0.002000", "0.002000")
    assert Decimal(row.got_of_over_dollars) == Decimal(books.ledger.cash_e6 - 10**12) / 10**6
    days = {row.name: row for row in books.account().report().by_day}
    assert list(days) == ["2027-01-15", "2027-01-16"]
    paid = Decimal(days["2027-01-16"].profit_dollars) + Decimal(4_000 * 600) / 10**6
    assert paid == Decimal(books.ledger.cash_e6 - cash_e6) / 10**6


def test_a_fill_of_nothing_costs_its_fee_and_is_nothing_that_a_trade_got() -> None:
    order, other = intent(1), msgspec.structs.replace(intent(2, "B"), trade=1)
    empty, whole = Fill(5_000, 0, 30, 0, NOW_MS), Fill(5_000, 1_000, 0, 0, NOW_MS)
    none = [Got(order, 0, 0), Got(other, 0, 0)]
    account = account_of(Fresh([order, other], none, [bought(order, empty), bought(other, empty)]))

    total = account.report().total
    assert (total.tried, total.trades, total.over, total.lost_dollars) == (1, 0, 0, "0.000000")
    assert (total.fees_dollars, total.profit_dollars) == ("0.000060", "-0.000060")
    assert not account.newest(1, 10)

    account.take(Fresh(got=[Got(order, 1_000, 5_000_000, 0, 0)], record=[bought(order, whole)]))
    account.take(Fresh(record=[Paid("A", 10_000, NOW_MS)]))
    total = account.report().total
    assert (total.trades, total.over, total.won, total.got_of_over_dollars) == (1, 1, 1, "4.999940")
    (row,) = trade_rows(account, {}, 1, 10)
    assert [(leg.ticker, leg.bought_fp) for leg in row.legs] == [("A", "10.00")]


def test_slippage_is_what_was_paid_above_what_was_shown_for_the_part_that_was_had() -> None:
    order = msgspec.structs.replace(intent(1, price_e4=5_000, count_e2=1_000), shown_e6=4_800_000)
    assert slippage_e6(order, 500, 2_450_000) == 50_000
    assert slippage_e6(order, 0, 0) == 0
    assert slippage_e6(msgspec.structs.replace(order, shown_e6=None), 500, 2_450_000) is None


def test_what_is_not_ours_is_foreign_and_in_no_count_of_trades() -> None:
    purchase = Bought(0, "", "KXA-E-M", "KXA-E", "yes", 4_000, 100, 5, NOW_MS)
    report = account_of(Fresh(record=[purchase, Paid("KXA-E-M", 10_000, NOW_MS)])).report()
    (row,) = report.by_strategy
    assert (row.name, row.tried, row.trades, row.profit_dollars) == ("foreign", 0, 0, "0.599995")
    assert [row.name for row in report.by_series] == ["KXA"]


def test_what_is_held_is_unknown_while_nobody_says_what_it_is_worth() -> None:
    books = Books()
    books.buy(2, "A", "yes", 4_000, 1_000, 0)
    (lot,) = books.ledger.lots["A"].values()
    account = books.account()

    report = account.report()
    assert not report.marked
    assert (report.total.bid_dollars, report.total.settlement_dollars) == (None, None)

    worth = LotWorth(lot, 3_900_000, 4_500_000, 0, 0, ("polls",))
    total = account.report({2: [worth]}).total
    assert (total.bid_dollars, total.settlement_dollars) == ("-0.100000", "0.500000")
    # Of a lot that has grown since, nothing is said of what it is worth.
    grown = msgspec.structs.replace(worth, lot=msgspec.structs.replace(lot, count_e2=900))
    assert account.report({2: [grown]}).total.bid_dollars is None


# -- a trader's own


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path, env={"KALSHI_BUS_STRATEGIES": "value,baskets"})
    yield made
    made.close()


def asked(stand: Stand, **question: Any) -> dict[str, Any]:
    """What the control socket answers."""
    path = stand.worker.around.journal_path
    control = Control(ManualCommands(lambda: None), KillSwitch(path.parent), lambda: Reader(path))
    control.report = said(stand)
    answers = Answers(lambda: None)
    control.add_to(answers)
    (frame,) = answers.answer(encode_map({"op": "report", "id": 1, **question}), 0)
    control.close()
    return decode_map(frame, dict[str, Any])


def row_of(rows: tuple[ReportRow, ...], name: str) -> ReportRow:
    return next(row for row in rows if row.name == name)


def test_a_basket_is_its_kinds_from_the_order_to_the_settlement(stand: Stand) -> None:
    stand.commit(basket())
    stand.turns(6)
    report = told(asked(stand), ReportAnswer)
    pnl = said(stand).status.pnl

    assert report.marked
    (row,) = report.by_kind
    assert (row.name, row.tried, row.over) == ("no_basket", 1, 0)
    assert [row.name for row in report.by_strategy] == ["baskets"]
    assert [row.name for row in report.by_source] == [""]
    assert row.slippage_dollars == "0.000000"
    assert (row.locked_dollars, row.settlement_dollars) == (pnl.locked_dollars, pnl.settlement_dollars)
    assert row.bid_dollars == pnl.total_dollars
    assert Decimal(row.expected_dollars) > 0

    stand.commit(settled(basket(), "HOM"))
    stand.turns(6)
    (row,) = told(asked(stand, since="2027-01-15", until="2027-01-15"), ReportAnswer).by_kind
    assert (row.over, row.won) == (1, 1)
    assert row.got_of_over_dollars == row.profit_dollars == said(stand).status.pnl.total_dollars
    for none in ({"since": "2027-01-16"}, {"until": "2027-01-14"}):
        assert told(asked(stand, **none), ReportAnswer).by_kind == ()


def test_a_journal_is_read_on_as_it_grows(stand: Stand) -> None:
    with contextlib.closing(Reader(stand.worker.around.journal_path)) as reader:
        tail, account = reader.tail(), Account()
        for view in (basket(), settled(basket(), "HOM")):
            stand.commit(view)
            for _ in range(6):
                stand.turns(1)
                stand.journal.commit()
                account.take(tail.read())
        whole = account_of(reader.tail().read())

        assert account.report() == whole.report()
        assert account.report().total.over == 1
        assert trade_rows(account, {}, 10, 10**9) == trade_rows(whole, {}, 10, 10**9)
        assert tail.read() == Fresh([], [], [])


def test_a_trade_on_a_fair_value_names_its_source(stand: Stand) -> None:
    value = FairValue(basket().markets[0].market.ticker, 0.9, "polls", NOW_MS, 0.0)
    stand.worker.session.values([value], [], stand.worker._present())
    while stand.worker.session.pending:
        stand.worker.session.look(stand.worker._present())
    stand.commit(basket(bid_e4=2_000))
    stand.turns(6)
    with contextlib.closing(Reader(stand.worker.around.journal_path)) as reader:
        account = account_of(reader.tail().read())
    row = row_of(account.report().by_source, "polls")
    assert (row.tried, row.trades) == (1, 1)
    assert [row.name for row in account.report().by_kind] == ["value"]


@pytest.mark.parametrize("day", ["yesterday", 3, "0001-01-01", "2026-02-30", ["2026-01-01"]])
def test_what_is_no_day_is_refused_in_a_sentence(stand: Stand, day: object) -> None:
    stand.turns(2)
    error = asked(stand, since=day)["error"]
    assert error["code"] == "bad_request"
    assert error["message"].startswith("since: got ")


def test_without_a_trader_the_command_reads_the_journal_and_values_nothing(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.commit(basket())
    stand.turns(6)
    stand.journal.commit()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trader.command.TIMEOUT_MS", 50)
    for name, folder in (("DATA_DIR", "data"), ("RUN_DIR", "run")):
        monkeypatch.setenv(f"KALSHI_BUS_{name}", str(tmp_path / folder))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")

    capsys.readouterr()
    assert command(["report", "--json"]) == 0
    printed = capsys.readouterr()
    report = msgspec.json.decode(printed.out, type=ReportAnswer)
    assert "no trader runs here" in printed.err
    assert (report.marked, report.total.settlement_dollars, report.total.tried) == (False, None, 1)
    assert json.loads(printed.out)["by_kind"][0]["name"] == "no_basket"

    for words in (["pause"], ["confirm", "1"]):
        assert command(words) == 1
        assert "does a trader run here?" in capsys.readouterr().err

    assert command(["report", "--since", "2027-01-15"]) == 0
    text = capsys.readouterr().out
    assert "no_basket" in text
    assert "Its present worth is unknown" in text
    assert command(["report", "--since", "tomorrow"]) == 2
    assert "since: got 'tomorrow', expected a day" in capsys.readouterr().err
    assert command(["report", "--since", "2027-01-15", "--until", "2027-01-14"]) == 2
    assert "until: got '2027-01-14', expected 2027-01-15 or later" in capsys.readouterr().err
