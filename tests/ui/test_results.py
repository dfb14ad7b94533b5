"""The results page: profits and possible outcomes, whatever the trader answers; and its files."""

import csv
import io
import re
from typing import Any

import msgspec
import pytest

from bus.protocol.answers import Refusal
from bus.trading.shapes import (
    CalibrationBin,
    CalibrationRow,
    EquityDay,
    ReportAnswer,
    ReportRow,
    RiskRow,
    RisksAnswer,
    Shape,
)
from markets.errors import BadRecord
from tests.bus.trading.samples import EVENT, a_trade
from tests.ui.desks import FULL, NoSuchMember
from tests.ui.joined import joined, shown
from tests.ui.stage import NASTY
from ui.desk import Absent, Desk
from ui.pages.results import Period, before, calendar, parse_choice, presets, profit_factor, win_rate

NOON_MS = 1_796_385_600_000  # 2026-12-04 12:00 UTC


def a_row(name: str, profit: str = "0.000000", **changes: Any) -> ReportRow:
    money = ("expected", "expected_of_over", "got_of_over", "bought", "fees", "slippage", "realised")
    held = ("open_cost", "locked", "bid")
    fields: dict[str, Any] = dict.fromkeys((f"{one}_dollars" for one in (*money, *held)), "0.000000")
    fields |= {"tried": 3, "trades": 2, "over": 2, "won": 1, "settlement_dollars": profit}
    return ReportRow(name=name, profit_dollars=profit, **(fields | changes))


def a_report(**changes: Any) -> ReportAnswer:
    rows = (a_row("baskets", "7.250000", won_dollars="9.000000", lost_dollars="-1.750000"),)
    fields: dict[str, Any] = {
        "since": None,
        "until": None,
        "marked": True,
        "total": msgspec.structs.replace(rows[0], name="total", floor_dollars="-3.000000"),
        "by_strategy": rows,
        "by_kind": (a_row(NASTY, "1.000000"), a_row("no_basket", "6.250000")),
        "by_source": (a_row("", "7.250000"),),
        "by_series": rows,
        "by_day": (
            a_row("2026-12-01", "9.000000"),
            a_row("2026-12-02", "-4.000000", settlement_dollars="2.500000"),  # fees of locked positions
            a_row("2026-12-03", "-1.750000", settlement_dollars=None),
        ),
        "calibration": (
            CalibrationRow(
                name="", bins=(CalibrationBin(lots=4, contracts_fp="12.00", said=0.42, came=0.5),)
            ),
            CalibrationRow(
                name=NASTY, bins=(CalibrationBin(lots=1, contracts_fp="1.00", said=0.9, came=0.0),)
            ),
        ),
        "equity_days": (
            EquityDay(
                day="2026-12-01",
                first_dollars="1.000000",
                low_dollars="1.000000",
                high_dollars="2.000000",
                last_dollars="1.500000",
                drawdown_dollars="-0.500000",
            ),
        ),
        "drawdown_dollars": "-4.200000",
    }
    return ReportAnswer(**(fields | changes))


def a_risk(event: str, **changes: Any) -> RiskRow:
    fields: dict[str, Any] = {
        "series_ticker": "KXMLSGAME",
        "title": "Vancouver vs Houston",
        "start": None,
        "payout": 1_796_400_000.0,
        "lots": 3,
        "trades": (7,),
        "strategies": ("baskets",),
        "locked": True,
        "cost_dollars": "18.150000",
        "worst_dollars": "1.850000",
        "best_dollars": "2.850000",
        "void_dollars": "-2.700000",
        "bid_dollars": None,
        "settlement_dollars": "1.900000",
        "pays_dollars": "20.050000",
        "least_dollars": "20.000000",
        "most_dollars": "21.000000",
    }
    return RiskRow(event_ticker=event, **(fields | changes))


class Link:
    """A trader that gives this report, or raises this error, whatever days are asked for."""

    def __init__(self, desk: Desk, report: ReportAnswer | Exception, *risks: RiskRow) -> None:
        self.desk = desk
        self.asked: list[tuple[str | None, str | None]] = []
        self._report = report
        self._risks = risks

    def report(self, since: str | None, until: str | None) -> ReportAnswer:
        self.asked.append((since, until))
        if isinstance(self._report, Exception):
            raise self._report
        return self._report

    def risks(self) -> RisksAnswer:
        return RisksAnswer(risks=self._risks)

    def rows(self, name: str) -> list[Shape]:
        assert name == "trades"
        return [a_trade(settled_dollars="1.490000"), a_trade(trade=2, strategy="=evil()")]


OVER = a_trade(trade=3, settled_dollars="1.490000", ended=1_790_000_500.0, promised_dollars="2.000000")
DESK = msgspec.structs.replace(FULL, trades=[OVER])


def client_of(link: Link) -> Any:
    service, replica = joined()
    client: Any = shown(service, replica, link.desk)
    service.trader = link  # type: ignore[assignment]
    client.application.jinja_env.undefined = NoSuchMember
    return client


def said(client: Any, path: str = "/results") -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split()).replace(" ,", ",")


def test_the_page_shows_profits_and_possible_outcomes() -> None:
    text = said(client_of(Link(DESK, a_report(), a_risk(EVENT), a_risk("E2", payout=None, title=None))))

    assert "Profit at settlement +$7.25" in text
    assert "At floor −$3.00" in text  # noqa: RUF001
    assert "Won 50 % of 2" in text
    assert "Profit factor 5.14" in text
    assert "Largest drawdown −$4.20" in text  # noqa: RUF001
    assert "2 events, with the worst and best outcome of each" in text
    assert "Vancouver vs Houston locked 3 legs, trade 7, baskets" in text
    assert "cost $36.30, expected to pay $40.10, worst +$3.70, best +$5.70" in text
    assert "1 +$9.00" in text
    assert "2 +$2.50" in text
    assert "3 −$1.75" in text  # noqa: RUF001
    assert "no fair value" in text
    assert "42.0 % 50.0 % 4 12" in text
    assert "+$2.00 +$1.49 −$0.51" in text  # noqa: RUF001 - expected, got, difference
    assert "before" not in text.split("Profit")[0]


def test_two_periods_are_shown_side_by_side() -> None:
    link = Link(DESK, a_report())
    text = said(
        client_of(link),
        "/results?since=2026-12-01&until=2026-12-03&than_since=2026-11-28&than_until=2026-11-30",
    )

    assert link.asked == [("2026-12-01", "2026-12-03"), ("2026-11-28", "2026-11-30")]
    assert "compared with 2026-11-28 to 2026-11-30" in text
    assert "Won 50 % of 2 50 % of 2" in text


def test_names_from_outside_never_become_markup() -> None:
    client = client_of(Link(DESK, a_report(), a_risk("E", title=NASTY, strategies=(NASTY,))))

    assert "<script>alert(1)" not in client.get("/results").text
    assert said(client).count("alert(1)") >= 4


def test_an_empty_account_has_a_page() -> None:
    nothing = a_row("total", tried=0, trades=0, over=0, won=0)
    tables: dict[str, Any] = {f"by_{name}": () for name in ("strategy", "kind", "source", "series", "day")}
    report = a_report(total=nothing, calibration=(), drawdown_dollars=None, marked=False, **tables)
    text = said(client_of(Link(msgspec.structs.replace(DESK, trades=()), report)))

    assert "Won – Profit factor" in text  # noqa: RUF001
    assert "The value of open positions is not known yet" in text
    for empty in (
        "Nothing is held.",
        "Nothing was traded",
        "No closed trades yet.",
        "No position was held to settlement",
    ):
        assert empty in text


@pytest.mark.parametrize("error", [Absent("the trader has not answered"), Refusal("busy", "too many wait")])
def test_without_a_trader_the_page_says_so_and_a_file_is_refused(error: Exception) -> None:
    client = client_of(Link(Desk(), error))

    assert f"No results available {error}" in said(client)
    answer = client.get("/results/day.csv")
    assert (answer.status_code, str(error) in answer.text) == (
        503 if isinstance(error, Absent) else 409,
        True,
    )


def rows_of(client: Any, name: str) -> list[dict[str, str]]:
    answer = client.get(f"/results/{name}.csv?since=2026-12-01")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_every_table_has_a_file_in_which_no_cell_starts_a_formula() -> None:
    link = Link(DESK, a_report(by_kind=(a_row("=evil()"),)), a_risk(EVENT))
    client = client_of(link)

    assert [row["name"] for row in rows_of(client, "day")] == ["2026-12-01", "2026-12-02", "2026-12-03"]
    assert rows_of(client, "strategy")[0]["profit_dollars"] == "7.250000"
    assert rows_of(client, "kind")[0]["name"] == "'=evil()"
    assert rows_of(client, "equity")[0]["drawdown_dollars"] == "-0.500000"
    assert rows_of(client, "risks")[0]["payout"] == "2026-12-04T16:00:00Z"
    trades = rows_of(client, "trades")
    assert [row["strategy"] for row in trades] == ["no_basket", "'=evil()"]
    assert link.asked[0] == ("2026-12-01", None)
    assert client.get("/results/nonsense.csv").status_code == 404


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("since=yesterday", "since"),
        ("since=2026-02-30", "since"),
        ("until=0001-01-01", "until"),
        ("than_since=20261201", "than_since"),
        ("since=2026-12-02&until=2026-12-01", "until"),
        ("than_since=2026-12-02&than_until=2026-12-01", "than_until"),
        ("since=2026-12-01&since=2026-12-01", "since"),
        ("when=now", "when"),
    ],
)
def test_a_wrong_day_is_named(query: str, parameter: str) -> None:
    pairs = [tuple(pair.split("=")) for pair in query.split("&")]
    with pytest.raises(BadRecord) as error:
        parse_choice(pairs)  # type: ignore[arg-type]
    assert error.value.field == parameter
    assert client_of(Link(DESK, a_report())).get(f"/results?{query}").status_code == 400


def test_the_period_before_has_the_same_number_of_days() -> None:
    week = presets(NOON_MS)["7 days"]

    assert week.words == "2026-11-28 to 2026-12-04"
    earlier = before(week)
    assert earlier is not None
    assert earlier.words == "2026-11-21 to 2026-11-27"
    assert before(Period()) is None
    assert before(Period(week.since, None)) is None
    assert presets(NOON_MS)["today"].words == "2026-12-04"
    assert parse_choice([("since", ""), ("until", "")]).period == Period()


def test_the_calendar_shows_the_newest_weeks_and_counts_earlier_days() -> None:
    days = [a_row(f"{year}-06-{day:02d}", f"{day}.000000") for year in (2024, 2026) for day in range(1, 11)]
    weeks, older = calendar(days)

    assert older == 10
    cells = [cell for week in weeks for cell in week if cell is not None]
    assert len(cells) == (27 - 1) * 7 + 3  # the last week ends on a Wednesday
    assert {cell.tone for cell in cells if cell.row} == {"up-1", "up-2", "up-3", "up-4"}
    assert all(len(week) == 7 for week in weeks)
    assert calendar([]) == ([], 0)
    (week,), _ = calendar([a_row("2026-06-03", "0.000000")])
    assert [cell and cell.tone for cell in week] == [None, None, "", None, None, None, None]
    assert [str(cell.monday) for cell in week if cell is not None] == ["2026-06-01"]


def test_rates_of_nothing_are_unknown() -> None:
    assert win_rate(a_row("x", over=0)) is None
    assert profit_factor(a_row("x")) is None
    assert profit_factor(a_row("x", won_dollars="3.000000", lost_dollars="-2.000000")) == 1.5
