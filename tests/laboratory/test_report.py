"""A report is one self-contained page, and its files have the same figures."""

import csv
import json
import re
from pathlib import Path

import msgspec
import pytest

from laboratory import charts, figures, report
from laboratory.outcome import Outcome, Plan, common, names, span
from laboratory.statistics import estimate, walk_forward
from markets.units import HOUR_MS
from tests.bus.trading.disk import full_disk
from tests.laboratory.outcomes import DAY_MS, outcome, trade


def made() -> figures.Report:
    odd = trade(2, strategy="<script>alert(1)</script>", got_e6=None, worth_e6=-50_000, first="missed")
    runs = [outcome(seed, [seed * 1_000_000], [trade(), odd]) for seed in (1, 2, 3)]
    runs[0].failures.append("after 1.0 h: strategy <b>mine</b> dropped in on_update: ValueError")
    runs[1].differs.append("cash: 1.000000 here, 2.000000 at the exchange")
    other = [outcome(seed, [0], min_edge="0.02") for seed in (1, 2, 3)]
    other[2].error = "its process ended"
    return figures.report([*runs, *other], "A & B", "python -m laboratory run")


def test_the_page_is_self_contained_and_escapes_everything() -> None:
    page = report.html(made())
    assert "<script" not in page
    assert "http" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "strategy &lt;b&gt;mine" in page
    assert "A &amp; B" in page
    assert "Our ledger and the exchange differ" in page
    assert "its process ended" in page
    assert "prefers-color-scheme: dark" in page


def test_the_figures_are_those_of_the_runs() -> None:
    first, second = made().variants
    assert (first.runs, second.runs) == (3, 2)
    assert first.a_day.mean == pytest.approx(2.0)
    assert first.bid_a_day.mean == pytest.approx(1.0)
    assert first.cases == {"seed 1": 1.0, "seed 2": 2.0, "seed 3": 3.0}
    assert first.fill_rate == pytest.approx(0.75)
    assert first.order_ms == (700, 700)
    assert first.refused == {"min_edge": 9}
    assert first.cuts["strategy"]["baskets"].got_e6 == 3_000_000
    assert made().against_first[second.name].mean == pytest.approx(-1.5)


def test_a_variant_is_named_by_what_differs_and_the_rest_is_given_once() -> None:
    plan = Plan(hours=24, code="a", settings={"min_edge": "0.01"})
    other = msgspec.structs.replace(plan, latency_ms=250, seed=7)
    plain = msgspec.structs.replace(plan, settings={}, rivals=False)
    assert list(names([plan, other, plain]).values()) == [
        "min_edge 0.01, rivals, latency 500 ms",
        "min_edge 0.01, rivals, latency 250 ms",
        "min_edge default, no rivals, latency 500 ms",
    ]
    assert common([plan, other, plain]) == ["simulated", "markets 1500", "1 d", "code a"]
    assert list(names([plan, msgspec.structs.replace(plan, seed=2)]).values()) == ["all runs"]


def test_a_recording_has_no_defaults_of_what_only_a_simulated_exchange_has() -> None:
    plan = Plan(hours=1.5, exchange={"void_rate": 0.05}, rivals=False)
    over = Plan(recording="a.mcap", digest="aa", settings={"min_edge": "0.02"})
    assert list(names([plan, over]).values()) == [
        "min_edge default, simulated, void_rate 0.05, no rivals, markets 1500, 1 h 30 min",
        "min_edge 0.02, recorded",
    ]
    assert list(names([over, msgspec.structs.replace(over, settings={})]).values()) == [
        "min_edge 0.02",
        "min_edge default",
    ]


def test_two_versions_of_the_code_are_compared_and_not_pooled() -> None:
    old = [outcome(seed, [1_000_000]) for seed in (1, 2)]
    new = [outcome(seed, [3_000_000]) for seed in (1, 2)]
    for one in new:
        one.plan = msgspec.structs.replace(one.plan, code="there")
    whole = figures.report([*old, *new], "t", "c")
    assert [(variant.name, variant.runs) for variant in whole.variants] == [
        ("code here", 2),
        ("code there", 2),
    ]
    assert whole.code == ["here", "there"]
    assert "<code>here, there</code>" in report.html(whole)
    assert whole.against_first["code there"].mean == pytest.approx(2.0)


def recorded(path: str, digest: str, seed: int, profit_e6: int) -> Outcome:
    one = outcome(seed, [profit_e6])
    one.plan = msgspec.structs.replace(one.plan, recording=path, digest=digest, hours=0)
    return one


def test_recordings_are_told_apart_by_what_is_in_them_whatever_their_place_in_a_list() -> None:
    one, other = recorded("a.mcap", "aa" * 16, 1, 1_000_000), recorded("b.mcap", "bb" * 16, 1, 3_000_000)
    again = recorded("copy.mcap", "aa" * 16, 2, 1_000_000)
    whole = figures.report([one, other, again], "t", "c")
    (found,) = whole.variants
    assert found.cases == {f"recording {'a' * 12}": 1.0, f"recording {'b' * 12}": 3.0}
    assert (found.runs, found.a_day.count, len(found.days)) == (2, 2, 2)
    page = report.html(whole)
    assert all(
        text in page for text in ("a.mcap", "b.mcap", "aa" * 16, "bb" * 16, "mean over recordings; each dot")
    )
    assert "seed" not in page.split("<body>")[1].split("What this cannot show")[0]


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (["seed 1", "seed 2", "seed 3", "seed 7"], "seeds 1..3, 7"),
        (["seed 4"], "seed 4"),
        (["recording a", "recording b"], "recording a, recording b"),
        ([], ""),
    ],
)
def test_cases_are_said_shortly(cases: list[str], said: str) -> None:
    assert report.spoken(cases) == said


@pytest.mark.parametrize(
    ("days", "said"),
    [(1 / 1440, "1 min"), (0.5, "12 h"), (7.1, "7 d 2 h"), (0, "0 s"), (3_599.6 / 86_400, "1 h")],
)
def test_a_length_of_time_is_said_in_its_two_largest_units(days: float, said: str) -> None:
    assert span(days) == said


def test_the_files_have_the_same_figures(tmp_path: Path) -> None:
    runs = [outcome(seed, [1_000_000, 3_000_000], [trade(), trade(2)]) for seed in (1, 2)]
    whole = figures.report(runs, "t", "c")
    page = report.write(whole, runs, tmp_path)
    assert page.read_text().startswith("<!doctype html>")
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["variants"][0]["a_day"]["mean"] == pytest.approx(1.5)
    with (tmp_path / "trades.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["got_e6"]) for row in rows) == 4_000_000
    with (tmp_path / "equity.csv").open(newline="") as file:
        assert [row["floor_e6"] for row in csv.DictReader(file)] == ["1000000", "3000000"] * 2


def test_no_cell_of_a_table_starts_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    odd = "-mine"
    run = outcome(1, [-2_000_000], [trade(strategy=odd, kind='=1+1,"x"\n', series="@a", got_e6=-2_000_000)])
    report.write(figures.report([run], "t", "c"), [run], tmp_path)
    with (tmp_path / "trades.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[name] for name in ("strategy", "kind", "series", "got_e6")] == [
        "'-mine",
        """'=1+1,"x"\n""",
        "'@a",
        "-2000000",
    ]


@pytest.mark.parametrize(
    ("dollars", "said"),
    [
        (-0.0049, "$0.00"),
        (-0.0051, "-$0.01"),
        (-1234.5, "-$1,234.50"),
        (0.0, "$0.00"),
        (1e7, "$10,000,000.00"),
    ],
)
def test_what_rounds_to_nothing_has_no_sign(dollars: float, said: str) -> None:
    assert report.cents(dollars) == said


def test_a_day_that_was_not_whole_says_how_much_of_it_there_was() -> None:
    def days(*ends_ms: int) -> list[str]:
        runs = [outcome(seed, [1_000_000, 3_000_000]) for seed in range(len(ends_ms))]
        for run, ended_ms in zip(runs, ends_ms, strict=True):
            run.points[-1] = msgspec.structs.replace(run.points[-1], at_ms=ended_ms)
        return re.findall(r"<title>(day [^:]*): \$", report.html(figures.report(runs, "t", "c")))

    assert days(2 * DAY_MS) == ["day 1", "day 2"]
    assert days(DAY_MS + HOUR_MS // 3) == ["day 1", "day 2, 20 min"]
    assert days(DAY_MS + 3 * HOUR_MS, 2 * DAY_MS) == ["day 1", "day 2, in part"]


def test_a_mean_over_recordings_goes_on_to_the_end_of_the_shortest_whenever_their_points_are() -> None:
    one = figures.Curve("recording a", [(0.1, 1.0, 0.0, 0.0), (0.3, 3.0, 0.0, 0.0)])
    other = figures.Curve(
        "recording b", [(0.2, 5.0, 0.0, 0.0), (0.25, 7.0, 0.0, 0.0), (9.0, 100.0, 0.0, 0.0)]
    )
    assert figures.mean_curve([one, other]) == [(0.1, 0.5), (0.2, 3.0), (0.25, 4.0), (0.3, 5.0)]
    assert figures.mean_curve([other, other]) == [(hours, floor) for hours, floor, *_ in other.points]
    assert figures.mean_curve([]) == figures.mean_curve([one, figures.Curve("recording c", [])]) == []


@pytest.mark.parametrize(("variants", "reminds"), [(2, False), (3, True)])
def test_the_best_of_several_is_said_to_be_flattered_unless_the_report_says_by_how_much(
    variants: int, reminds: bool
) -> None:
    runs = [outcome(seed, [seed], min_edge=str(edge)) for edge in range(variants) for seed in (1, 2)]
    assert ("flattered by being the best" in report.html(figures.report(runs, "t", "c"))) is reminds
    assert "flattered by being the best" not in report.html(
        figures.report(runs, "t", "c", walk_forward(runs, 2))
    )


def test_a_comparison_says_over_how_many_runs_it_is_where_these_are_not_all() -> None:
    one = [outcome(seed, [seed * 1_000_000]) for seed in (1, 2, 3)]
    other = [outcome(seed, [seed * 2_000_000], min_edge="0.02") for seed in (2, 3, 4)]
    page = report.html(figures.report([*one, *other], "t", "c"))
    assert "$2.50" in page
    assert page.count("of 2 in common") == 1
    assert "in common</span>" not in report.html(figures.report([*one[1:], *other[:2]], "t", "c"))


def test_a_report_that_cannot_be_written_leaves_the_earlier_one_whole_and_names_the_file(
    tmp_path: Path,
) -> None:
    runs = [outcome(1, [1_000_000], [trade()])]
    report.write(figures.report(runs, "first", "c"), runs, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(), pytest.raises(OSError, match=r"report\.html"):
        report.write(figures.report(runs, "second", "c"), runs, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(before) == 4


def test_a_variant_whose_runs_all_failed_has_no_figures() -> None:
    run = outcome(1, [], min_edge="0.01")
    run.error = "no such strategy"
    alone = report.html(figures.report([run], "t", "c"))
    both = report.html(figures.report([run, outcome(1, [2_000_000], min_edge="0.02")], "t", "c"))
    for page in (alone, both):
        assert "no such strategy" in page
        assert "no run succeeded" in page
        assert "Equity at floor" not in page.split("<h2>min_edge 0.02")[0]
    assert "$0.00" not in alone
    kept = msgspec.json.decode(msgspec.json.encode(figures.report([run], "t", "c")))
    assert kept["variants"][0]["a_day"] == {"mean": None, "half": None, "count": 0}
    assert both.count('class="mean"') == 1


def test_runs_that_failed_are_among_those_asked_for() -> None:
    page = report.html(made())
    assert "5 of 6 runs succeeded" in page
    assert "<td>3</td>" in page
    assert "<td>2 of 3</td>" in page
    assert "1 run, 1 d in all" in report.html(figures.report([outcome(1, [0])], "t", "c"))


def test_the_labels_of_a_chart_have_room_for_a_loss_of_tens_of_thousands() -> None:
    chart = charts.lines("t", [("thin", [(0.0, -60_000.0), (24.0, 10_000.0)])])
    labels = re.findall(r'class="y" x="(\d+)"[^>]*>([^<]*)', chart)
    assert "-$60,000" in {label for _, label in labels}
    assert all(int(right) > 0.6 * 15 * len(label) for right, label in labels)  # 15 px, and 0.6 of it wide


def test_a_long_name_takes_several_lines_of_the_chart() -> None:
    long = "strategies " + "; ".join(f"baskets(kinds=['kind_{at}'])" for at in range(7)) + "x" * 100
    chart = charts.dots("t", [(long, [1.0], estimate([1.0])), ("short", [2.0], estimate([2.0]))])
    names_ = re.findall(r'class="name" x="\d+" y="(\d+)">([^<]*)', chart)
    assert len(names_) == charts.NAME_LINES + 1
    assert all(len(line) <= charts.NAME_CHARS + 30 for _, line in names_)  # an escaped quote is longer
    downs = [int(down) for down, _ in names_]
    assert downs == sorted(set(downs))
    assert len(chart) < 20_000
    (height,) = re.findall(r'viewBox="0 0 720 (\d+)"', chart)
    assert int(height) > downs[-1] + charts.BOTTOM


def test_runs_shorter_than_a_day_come_with_a_warning() -> None:
    short = outcome(1, [1_000_000])
    short.ended_ms //= 12
    assert figures.report([outcome(2, [1_000_000])], "t", "c").notes == []
    (note,) = figures.report([short, outcome(2, [1_000_000])], "t", "c").notes
    assert "lasts 2 h: profits per day are extrapolated" in note


def test_seeds_and_recordings_are_each_called_what_they_are_and_no_trades_make_no_tables() -> None:
    page = report.html(figures.report([recorded("a.mcap", "aa", 1, 0), outcome(1, [0], [trade()])], "t", "c"))
    played, simulated = page.split("<h2>recorded")[1].split("<h2>simulated")
    assert "the mean over recordings and seeds" in page
    assert "Profit by day, mean over recordings" in played
    assert "Profit by day, mean over seeds" in simulated
    assert "No trades." in played
    assert ("by strategy" in played, "by strategy" in simulated) == (False, True)


def test_trades_whose_orders_are_still_working_are_counted() -> None:
    found = figures.report([outcome(1, [0], [trade(), trade(2, first="", cost_e6=0, got_e6=None)])], "t", "c")
    assert found.variants[0].promise.working == 1
    assert "the first orders of 1 are still working" in report.html(found)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (-3.2, 9.1), (0.0, 1e9), (-1e-3, 2e-3), (-5e6, -1.0), (0.0, 1.0)]
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float) -> None:
    ticks = charts.nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 14
    assert ticks == sorted(ticks)
