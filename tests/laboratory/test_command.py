"""The command: its arguments, kept results, and error messages."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from bus.clock import ManualClock
from bus.process.locks import private_dir
from laboratory import __main__ as command
from laboratory.__main__ import main
from laboratory.outcome import Outcome, Plan
from laboratory.plans import plans_of
from laboratory.runs import Store, run
from laboratory.sweep import sweep
from tests.support import ROOT, child, eventually, is_over

SHORT = ["run", "--simulate", "1m", "--markets", "60", "--processes", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "give either recordings or --simulate"),
        (["run", "--simulate", "0d"], "--simulate 0d: expected more than 0"),
        (["run", "--simulate", "nan"], "--simulate nan: expected"),
        (["run", "--simulate=-1d"], "--simulate -1d: expected"),
        (["run", "--simulate", "9999d"], "--simulate 9999d: expected"),
        (["run", "--simulate", "1h", "--seeds", "5..1"], "--seeds 5..1: expected"),
        (["run", "--simulate", "1h", "--seeds", "1..99999999"], "--seeds 1..99999999: expected"),
        (["run", "--simulate", "1h", "--set", "min_edge"], "--set min_edge: expected KEY=VALUE"),
        (["run", "--simulate", "1h", "--set", "no_such=1"], "no_such (--set): unknown key"),
        (["run", "--simulate", "1h", "--set", "min_edge=a,b"], "min_edge (--set): got"),
        (["run", "--simulate", "1h", "--strategies", "basket"], "got 'basket', expected any of baskets"),
        (["run", "--simulate", "1h", "--set", "strategies=baskets;baskets(kind='x')"], "did you mean kinds"),
        (["run", "--simulate", "1h", "--exchange", "void=1"], "--exchange void=1: there is no 'void'"),
        (["run", "--simulate", "1h", "--exchange", "void_rate=x"], "expected void_rate=NUMBER"),
        (["run", "--simulate", "1h", "--latency", "nan"], "--latency nan: expected seconds"),
        (["run", "--simulate", "1h", "--markets", "0"], "--markets 0: expected 1 to"),
        (["run", "--simulate", "1h", "--processes", "0"], "--processes 0: expected 1 or more"),
        (["run", "--simulate", "1h", "--walk-forward", "2"], "--walk-forward 2: it chooses among settings"),
        (
            ["run", "--simulate", "1h", "--set", "min_edge=0.1,0.2", "--walk-forward", "-1"],
            "--walk-forward -1: expected 2 or more parts",
        ),
        (
            ["run", "--simulate", "1h", "--set", "min_edge=0.1,0.2", "--walk-forward", "2"],
            "--walk-forward 2: 2 parts need as many seeds or recordings, there are 1",
        ),
        (["run", "/no/such.mcap"], "/no/such.mcap"),
        (["compare", "/no/such", "--out", "/no/out"], "there are no results in it"),
        (["fills"], "give --simulate"),
    ],
)
def test_wrong_arguments_give_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    extra = ["--out", str(tmp_path)] if words[0] == "run" else []
    assert main([*words, *extra]) in (1, 2)
    out, err = capsys.readouterr()
    assert said in err
    assert "kept" not in err  # nothing has been done
    assert err.count("\n") == 1
    assert not out


def test_the_error_of_the_fill_model_is_told_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fills", "--simulate", "6m", "--markets", "150", "--seeds", "3", "--rivals", "yes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("taking ") for line in lines)
    assert any(line.startswith("paper more ") for line in lines)
    assert not any(line.startswith("    ") for line in lines)  # no failures, and no differences


def test_a_sweep_writes_a_report_and_does_only_missing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SHORT, "--set", "min_edge=0.01,0.02", "--out", str(tmp_path)]
    assert main([*words, "--seeds", "1"]) == 0
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(kept) == 2
    assert main([*words, "--seeds", "1..2", "--walk-forward", "2"]) == 0
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(now) == 4
    assert kept.items() <= now.items()
    figures = json.loads((tmp_path / "report.json").read_text())
    assert [variant["runs"] for variant in figures["variants"]] == [2, 2]
    assert len(figures["walk_forward"]) == 1
    assert figures["walk_forward"][0]["judged_on"] == ["seed 2"]
    assert len(figures["notes"]) == 1  # minutes are not a day
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert main(["compare", str(tmp_path), "--out", str(tmp_path / "both")]) == 0
    assert (tmp_path / "both" / "report.html").exists()


def test_where_too_few_runs_succeeded_for_a_walk_forward_the_report_says_so_and_has_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def do(plans: Sequence[Plan], *_: object) -> list[Outcome]:
        bad = plans[-1].settings
        return [Outcome(plan=plan, error="killed" if plan.settings == bad else "") for plan in plans]

    monkeypatch.setattr(command, "_do", do)
    words = ["--set", "min_edge=0.01,0.02", "--seeds", "1..2", "--walk-forward", "2", "--out", str(tmp_path)]
    (tmp_path / "runs").mkdir()
    assert main([*SHORT, *words]) == 1
    why = "There is no walk-forward: of the runs that succeeded, 2 parts need as many seeds"
    assert why in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert why in page
    assert page.count("A run failed:") == 2


def test_a_comparison_says_what_it_leaves_out_and_that_runs_failed_and_overwrites_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, out = Store(tmp_path / "one"), Store(tmp_path / "other"), str(tmp_path / "out")
    one.put(Outcome(plan=Plan(seed=1, code="a"), ended_ms=86_400_000))
    other.put(Outcome(plan=Plan(seed=1, code="b"), ended_ms=86_400_000))
    folders = [str(tmp_path / "one"), str(tmp_path / "other")]
    assert main(["compare", *folders, "--out", f"{tmp_path}/x/../one"]) == 2
    assert "its own report would be lost" in capsys.readouterr().err
    assert not (tmp_path / "one" / "report.html").exists()
    assert main(["compare", *folders, "--out", out]) == 0
    for seed in range(2, 7):
        one.put(Outcome(plan=Plan(seed=seed, code="a"), ended_ms=86_400_000))
    assert main(["compare", *folders, "--out", out]) == 0
    assert "seeds 1..6;" in (tmp_path / "out" / "report.html").read_text()
    other.put(Outcome(plan=Plan(seed=2, code="b"), error="killed"))
    assert main(["compare", *folders, "--out", out]) == 1
    (one.folder / "cut.run").write_bytes(b"\x00")
    capsys.readouterr()
    assert main(["compare", folders[0], "--out", out]) == 1
    said = f"Left out, as it cannot be read or is of another version: {one.folder / 'cut.run'}"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "out" / "report.html").read_text()


def test_what_a_strategy_says_is_one_line_and_colours_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from trader.strategies import Quiet\n\n\nclass Mine(Quiet):\n    name = 'mine'\n"
        "    def on_timer(self, now_ms):\n        raise ValueError('a\\nb\\x1b[31m\\udcff')\n"
    )
    monkeypatch.setattr(
        command, "_do", lambda plans, *_: [run(plans[0]), Outcome(plan=plans[1], error="c\nd\x1b")]
    )
    words = ["--strategies", f"{mine}:Mine", "--seeds", "1..2", "--out", str(tmp_path / "out")]
    assert main([*SHORT, *words]) == 1
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert [line for line in out.splitlines() if r"ValueError: a\nb\x1b[31m" in line]
    assert r"    seed 2: c\nd\x1b" in out.splitlines()
    assert "c\\nd" in (tmp_path / "out" / "report.html").read_text()
    mine.write_text(mine.read_text().replace("on_timer", "on_start"))
    assert main([*SHORT, *words]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert r"ValueError: a\nb\x1b[31m" in err


def test_without_a_folder_each_command_keeps_its_own_report_and_no_run_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[int]()

    def do(plans: Sequence[Plan], store: Store, _processes: int) -> list[Outcome]:
        kept = [store.get(plan) for plan in plans]
        for plan in (plan for plan, outcome in zip(plans, kept, strict=True) if outcome is None):
            done.append(plan.seed)
            store.put(Outcome(plan=plan, ended_ms=86_400_000))
        return [outcome for plan in plans if (outcome := store.get(plan)) is not None]

    monkeypatch.setattr(command, "_do", do)
    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(tmp_path / "data"))
    for words in (["1"], ["1..2"], ["1", "--latencies"], ["2,1"]):
        assert main([*SHORT, "--seeds", *words]) == 0
    pages = [path.read_text() for path in (tmp_path / "data" / "laboratory").glob("*/report.html")]
    assert len(pages) == 3
    assert sorted(done) == [1, 1, 1, 2]  # one for each latency, and seed 2


def test_results_in_a_new_data_directory_leave_it_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / ".data"
    Store(data_dir / "laboratory" / "mine")
    assert private_dir(data_dir) == data_dir  # which every process refuses if others can enter it


def test_an_unreadable_result_is_ignored(tmp_path: Path) -> None:
    plan, store = Plan(seed=1, hours=0.01, markets=60), Store(tmp_path)
    store.put(run(plan))
    (path,) = (tmp_path / "runs").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    assert store.get(plan) is None
    assert store.all() == []


def test_a_failing_run_does_not_affect_others(tmp_path: Path) -> None:
    good, bad = Plan(seed=1, hours=0.01, markets=60), Plan(recording=str(tmp_path / "none"))
    found = [outcome for _, outcome in sweep([bad, good], Store(tmp_path), 2) if outcome is not None]
    errors = {outcome.plan.name: outcome.error for outcome in found}
    assert errors[good.name] == ""
    assert errors[bad.name]
    again = [outcome for _, outcome in sweep([bad, good], Store(tmp_path), 2) if outcome is not None]
    assert len(again) == 2  # the failed one is retried


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from laboratory.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_gives_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    store, kept = Store(tmp_path), Plan(seed=9, hours=0.01, markets=60)
    store.put(run(kept))
    words = [*SHORT, "--seeds", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Finished runs are kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert kept in [outcome.plan for outcome in store.all()]


def test_ctrl_c_keeps_finished_runs(tmp_path: Path) -> None:
    words = [*SHORT, "--processes", "1", "--simulate", "2m", "--seeds", "1..500", "--out", str(tmp_path)]
    line = [sys.executable, "-m", "laboratory", *words]
    with child(line, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        eventually(lambda: len(list((tmp_path / "runs").glob("*.run"))) >= 1, 60)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "finished runs are kept" in err
    assert "Traceback" not in err
    assert Store(tmp_path).all()


def test_ctrl_c_while_the_runs_begin_ends_all_quietly(tmp_path: Path) -> None:
    words = [*SHORT, "--processes", "2", "--simulate", "30d", "--seeds", "1..500", "--out", str(tmp_path)]
    line = [sys.executable, "-m", "laboratory", *words]
    with child(line, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        eventually(lambda: len(working(process.pid)) == 2, 60)
        left = working(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert all(map(is_over, left))


def test_a_laboratory_that_is_killed_leaves_no_run_behind(tmp_path: Path) -> None:
    words = [*SHORT, "--processes", "2", "--simulate", "30d", "--seeds", "1..2", "--out", str(tmp_path)]
    line = [sys.executable, "-m", "laboratory", *words]
    with child(line, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: len(working(process.pid)) == 2, 60)
        left = working(process.pid)
        process.kill()
    eventually(lambda: all(map(is_over, left)), 30)


ENDS = """
import os, sys, time
from trader.strategies.strategy import Quiet

class Ends(Quiet):
    name = "ends"

    def on_start(self, now_ms):
        print("a strategy says hello")
        os.write(1, b"hello")
        {deed}
"""


class Leaping(ManualClock):
    """A clock that moves on by so much whenever it is read."""

    leaps_ms = 0

    def monotonic_ns(self) -> int:
        self.advance(self.leaps_ms)
        return super().monotonic_ns()


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("os.kill(os.getpid(), 9)", "its process ended with SIGKILL"),
        ("os._exit(3)", "its process ended with code 3"),
        ("time.sleep(600)", "no progress for 300 s: does a strategy never return?"),
    ],
)
def test_a_process_that_ends_or_never_returns_costs_one_run(
    deed: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_strategy = tmp_path / "ends.py"
    bad_strategy.write_text(ENDS.format(deed=deed))
    bad = Plan(seed=1, hours=0.01, markets=60, settings={"strategies": f"{bad_strategy}:Ends"})
    good = [Plan(seed=seed, hours=0.01, markets=60) for seed in (1, 2, 3)]
    store, clock, errors = Store(tmp_path), Leaping(), dict[str, str]()
    temporary = Path(tempfile.mkdtemp(prefix="kb-"))  # the path of a run's files must not be long
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        for _, outcome in sweep([good[0], bad, *good[1:]], store, 2, clock):
            if not errors:
                clock.advance(3_600_000)  # the machine was asleep, and so were the processes
            if outcome is not None:
                errors[outcome.plan.name] = outcome.error
                if said.startswith("no progress") and all(plan.name in errors for plan in good):
                    clock.leaps_ms = 101_000
    assert errors == {bad.name: said, **{plan.name: "" for plan in good}}
    assert all(store.get(plan) is not None for plan in good)
    temporary.rmdir()  # nothing is left in it, not even what the ended one had made
    assert "hello" not in capfd.readouterr().out


def test_a_process_that_begins_after_an_edit_of_the_project_does_no_run_under_the_old_name(
    tmp_path: Path,
) -> None:
    plan = Plan(hours=0.01, markets=60, code="before the edit")
    (outcome,) = [outcome for _, outcome in sweep([plan], Store(tmp_path), 1) if outcome is not None]
    assert outcome.error == "the project's code has changed since the run was planned"
    assert Store(tmp_path).get(plan) is None


SHARES = """
import beside
from trader.strategies.strategy import Quiet

class Shares(Quiet):
    name = "shares"

    def wants(self, event):
        beside.ASKED.append(1)
        raise ValueError(f"{beside.WHO}, asked {len(beside.ASKED)}")
"""


def test_what_one_run_leaves_behind_in_modules_beside_its_strategy_is_in_no_other(tmp_path: Path) -> None:
    words = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shares.py").write_text(SHARES)
        (tmp_path / name / "beside.py").write_text(f"WHO, ASKED = {name!r}, []\n")
        words.append(f"{tmp_path / name / 'shares.py'}:Shares")
    asked = [*SHORT, "--seeds", "1..2", "--set", f"strategies={';'.join(words)}"]
    first, again, other, _ = plans_of(command.parser().parse_args(asked))
    done = [one for _, one in sweep([first, again, other], Store(tmp_path), 1) if one is not None]
    assert [outcome.error for outcome in done] == [""] * 3
    found = [outcome.failures[0] for outcome in done]
    assert [line.partition("ValueError: ")[2].partition(" (")[0] for line in found] == [
        "one, asked 1",
        "one, asked 1",
        "other, asked 1",
    ]


def test_a_comparison_lists_variants_by_size(tmp_path: Path) -> None:
    for ms, edge in ((1_000, "0.005"), (500, "0.005"), (1_000, "0.01"), (500, "0.1"), (500, "0.01")):
        plan = Plan(seed=7, latency_ms=ms, settings={"min_edge": edge})
        Store(tmp_path / "a").put(Outcome(plan=plan, ended_ms=86_400_000))
    assert main(["compare", str(tmp_path / "a"), "--out", str(tmp_path / "out")]) == 0
    names = [one["name"] for one in json.loads((tmp_path / "out" / "report.json").read_bytes())["variants"]]
    assert names == [
        "min_edge 0.005, latency 500 ms",
        "min_edge 0.005, latency 1000 ms",
        "min_edge 0.01, latency 500 ms",
        "min_edge 0.01, latency 1000 ms",
        "min_edge 0.1, latency 500 ms",
    ]


def test_two_results_of_the_same_run_that_differ_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, orders in (("a", 1), ("b", 2), ("c", 2)):
        outcome = Outcome(plan=Plan(seed=7), ended_ms=86_400_000, orders=orders, cpu_s=orders / 10)
        outcome.lacks = [f"/somewhere/{name}.mcap: it ends early"]  # says where the recording was
        Store(tmp_path / name).put(outcome)
    words = ["compare", *(str(tmp_path / name) for name in "bc"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main(["compare", str(tmp_path / "a"), *words[1:]]) == 1
    said = capsys.readouterr().out
    assert f"Differs from the same run of another folder, which is shown: seed 7 of {tmp_path / 'b'}." in said


def working(pid: int) -> list[int]:
    """Return the child processes in which runs are under way."""
    found = []
    for one in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # others, such as git, end meanwhile
            if "spawn_main" in " ".join(one.cmdline()):
                found.append(one.pid)
    return found
