"""What a run is: a plan alone decides it, equal plans are one, and wrong arguments are refused."""

import os
import signal
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import msgspec
import pytest

from bus.tape.file import segment_path
from laboratory import inputs, loading
from laboratory.__main__ import main, parser
from laboratory.fill_model import at_exchange, on_paper
from laboratory.inputs import OURS, is_own
from laboratory.outcome import Plan, names
from laboratory.plans import UsageError, plans_of
from laboratory.processes import Task
from laboratory.runs import Store, run
from laboratory.stand import settings_of
from markets.errors import KalshiBusError
from tests.bus.tape.planted import Recorded, a_recording
from tests.support import ROOT, eventually, is_over

DAY = ROOT / "tests" / "data" / "formats" / "v1" / "stack" / "recording.mcap"
MINE = "from trader.strategies import Quiet\n\n\nclass Mine(Quiet):\n    name = 'mine'\n"


def plans(*words: str) -> list[Plan]:
    return plans_of(parser().parse_args(["run", *words]))


def simulated(*words: str) -> list[Plan]:
    return plans("--simulate", "1m", *words)


def test_a_changed_strategy_or_module_beside_it_is_another_run(tmp_path: Path) -> None:
    mine, beside = tmp_path / "mine.py", tmp_path / "plans_beside.py"
    mine.write_text(
        MINE + "\n    def on_timer(self, now_ms):\n        import plans_beside\n        return []\n"
    )
    beside.write_text("x = 1\n")
    (tmp_path / "unrelated.py").write_text("y = 1\n")
    words = ("--strategies", f"{mine}:Mine")
    (first,) = simulated(*words)
    assert [*first.files] == [str(mine), str(beside)]
    assert first.runs_own_code
    (tmp_path / "unrelated.py").write_text("y = 2\n")
    assert simulated(*words) == [first]
    beside.write_text("x = 2\n")
    (second,) = simulated(*words)
    mine.write_text(MINE)
    (third,) = simulated(*words)
    assert len({first.name, second.name, third.name}) == 3
    assert len({*names([first, second, third]).values()}) == 3


def test_a_module_that_is_found_elsewhere_first_belongs_to_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, elsewhere = tmp_path / "mine.py", tmp_path / "elsewhere"
    mine.write_text(f"import plans_twice\n{MINE}")
    elsewhere.mkdir()
    for folder in (tmp_path, elsewhere):
        (folder / "plans_twice.py").write_text(f"x = {folder.name!r}\n")
    (first,) = simulated("--strategies", f"{mine}:Mine")
    monkeypatch.syspath_prepend(elsewhere)  # as PYTHONPATH does
    (second,) = simulated("--strategies", f"{mine}:Mine")
    assert [*first.files] == [str(mine), str(tmp_path / "plans_twice.py")]
    assert [*second.files] == [str(elsewhere / "plans_twice.py"), str(mine)]


def test_a_module_that_no_import_statement_names_spoils_the_run(tmp_path: Path) -> None:
    mine, hidden = tmp_path / "mine.py", tmp_path / "plans_hidden.py"
    deed = 'importlib.import_module("plans_hidden")'
    mine.write_text(f"import importlib\n{MINE}\n    def on_timer(self, now_ms):\n        {deed}\n")
    hidden.write_text("x = 1\n")
    (plan,) = simulated("--strategies", f"{mine}:Mine", "--markets", "60")
    assert run(plan).error == f"{hidden} was imported otherwise than by an import statement"


def test_a_module_that_is_imported_by_name_as_the_strategy_begins_belongs_to_the_run(tmp_path: Path) -> None:
    mine, link, hidden = tmp_path / "mine.py", tmp_path / "link.py", tmp_path / "plans_named.py"
    mine.write_text(f'import importlib\nimportlib.import_module("plans_named")\n{MINE}')
    hidden.write_text("x = 1\n")
    link.symlink_to(mine)
    (plan,) = simulated("--strategies", f"{link}:Mine", "--markets", "60")
    assert [*plan.files] == [str(link), str(hidden)]
    assert run(plan).error == ""


def test_a_folder_in_the_checkout_is_ours_only_if_the_project_has_it() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= OURS
    assert not is_own(ROOT / "trader" / "session.py")
    assert is_own(ROOT / "mine" / "__init__.py")
    assert not is_own(Path(msgspec.__file__))
    assert not is_own(Path(os.__file__))


def test_compiled_modules_and_what_an_import_hook_finds_belong_to_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, package, hooked = tmp_path / "mine.py", tmp_path / "plans_compiled", tmp_path / "elsewhere.py"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / f"fast{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    hooked.write_text("x = 1\n")
    mine.write_text(f"import plans_compiled, plans_hooked\n{MINE}")

    class Hook:
        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
            return spec_from_file_location(name, hooked) if name == "plans_hooked" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Hook])
    (plan,) = simulated("--strategies", f"{mine}:Mine", "--markets", "60")
    assert [Path(path).name for path in plan.files] == [
        "elsewhere.py",
        "mine.py",
        "__init__.py",
        f"fast{EXTENSION_SUFFIXES[0]}",
    ]
    assert run(plan).error == ""


def test_a_module_that_many_files_import_is_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, asked = tmp_path / "plans_many", list[str]()
    package.mkdir()
    for number in range(20):
        (package / f"m{number}.py").write_text("import plans_absent\nfrom plans_many import m1\n")
    (package / "mine.py").write_text("from plans_many import m0\n")

    class Hook:
        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
            asked.append(name)
            return None

    monkeypatch.setattr(sys, "meta_path", [Hook, *sys.meta_path])
    monkeypatch.syspath_prepend(tmp_path)
    assert len(inputs._with_imports([package / "mine.py"])) == 21
    assert sorted(asked) == ["plans_absent", "plans_many"]


def test_packages_beside_a_strategy_belong_to_it(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    for name in ("plans_package", "plans_space", "unrelated", "trader"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "deep.py").write_text("x = 1\n")
    (tmp_path / "plans_package" / "__init__.py").write_text("from . import deep\nimport plans_space.deep\n")
    mine.write_text(f"from plans_package import deep\n{MINE}")
    (plan,) = simulated("--strategies", f"{mine}:Mine")
    assert [str(Path(path).relative_to(tmp_path)) for path in plan.files] == [
        "mine.py",
        "plans_package/__init__.py",
        "plans_package/deep.py",
        "plans_space/deep.py",
    ]


def test_the_files_of_an_installed_strategy_are_its_whole_package_and_what_of_one_s_own_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, package, beside = (
        tmp_path / "ours-1.dist-info",
        tmp_path / "plans_installed",
        tmp_path / "beside.py",
    )
    info.mkdir()
    package.mkdir()
    beside.write_text("import plans_deeper\n")
    (tmp_path / "plans_deeper.py").write_text("x = 1\n")
    (package / "__init__.py").write_text("")
    (package / "unused.py").write_text("")
    (package / "mine.py").write_text(f"import beside\n{MINE}")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kalshi_bus.strategies]\nmine = plans_installed.mine:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    (plan,) = simulated("--strategies", "mine", "--markets", "60")
    assert [str(Path(path).relative_to(tmp_path)) for path in plan.files] == [
        "beside.py",
        "plans_deeper.py",
        "plans_installed/__init__.py",
        "plans_installed/mine.py",
        "plans_installed/unused.py",
    ]
    assert run(plan).error == ""


def test_changed_fair_values_are_another_run(tmp_path: Path) -> None:
    values = tmp_path / "values.csv"
    values.write_text("ticker,probability\nA,0.5\n")
    words = ("--set", f"fair_values_file={values}")
    (first,) = simulated(*words)
    assert simulated(*words) == [first]
    values.write_text("ticker,probability\nA,0.6\n")
    (second,) = simulated(*words)
    os.utime(values, (1_700_000_000, 1_700_000_000))  # a value without a time is as old as its file
    (third,) = simulated(*words)
    assert len({first.name, second.name, third.name}) == 3
    assert not first.runs_own_code


def test_a_file_that_changes_during_a_run_spoils_it(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    (plan,) = simulated("--strategies", f"{mine}:Mine", "--markets", "60")
    assert run(plan).error == ""
    mine.write_text(MINE + "\n")
    assert run(plan).error == f"{mine} was changed while the run went on: run over a copy of it"


@pytest.mark.parametrize("task", [at_exchange, on_paper])
def test_a_file_that_changes_while_the_fill_model_is_measured_spoils_that(
    task: Task, short_dir: Path
) -> None:
    mine = short_dir / "mine.py"
    deed = "Path(__file__).write_text(Path(__file__).read_text() + '#')"
    mine.write_text(f"from pathlib import Path\n{MINE}\n    def on_timer(self, now_ms):\n        {deed}\n")
    (plan,) = simulated("--strategies", f"{mine}:Mine", "--markets", "60")
    with pytest.raises(KalshiBusError, match="was changed while the run went on"):
        task(plan, lambda _done: None, short_dir)


def test_a_recording_that_grows_during_a_run_is_reported(tmp_path: Path) -> None:
    growing = tmp_path / "growing.mcap"
    growing.write_bytes(DAY.read_bytes())
    (plan,) = plans(str(growing))
    assert run(plan).error == ""
    growing.write_bytes(DAY.read_bytes() + b" ")
    assert "has changed since the run was planned: run over a copy of it" in run(plan).error


def test_what_a_strategy_prints_is_not_among_the_results(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(f"print('I am imported')\n{MINE}")
    simulated("--strategies", f"{mine}:Mine")
    assert capfd.readouterr() == ("", "I am imported\n")


def test_a_trait_of_the_exchange_that_is_as_usual_makes_no_other_run() -> None:
    usual = [f"--exchange={trait}" for trait in ("bursts=0", "void_rate=0.010")]
    assert simulated(*usual) == simulated()
    (plan,) = simulated("--exchange", "bursts=1", "--exchange", "pace=0")
    assert plan.exchange == {"bursts": 1.0, "pace": 0.0}


def test_neither_environment_nor_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = simulated(), settings_of(Plan(), tmp_path)
    (tmp_path / "kalshi-bus.toml").write_text('min_edge = "5"\n')
    monkeypatch.setenv("KALSHI_BUS_STRATEGIES", "maker")
    monkeypatch.chdir(tmp_path)
    assert (simulated(), settings_of(Plan(), tmp_path)) == before


def test_a_plan_decides_where_a_run_keeps_its_files_and_how_late_orders_are(tmp_path: Path) -> None:
    settings = settings_of(Plan(settings={"data_dir": "/x", "mode": "live"}, latency_ms=7), tmp_path)
    assert (settings.data_dir, settings.mode, settings.paper_latency_ms) == (tmp_path / "data", "paper", 7)


def test_equal_runs_are_done_once(tmp_path: Path) -> None:
    twin = tmp_path / "twin.mcap"
    twin.write_bytes(DAY.read_bytes())
    assert len(simulated("--set", "min_edge=0.05,0.050, 5e-2")) == 1
    assert len(simulated("--set", "min_edge=0.05,0.05,0.1", "--seeds", "1..2,2")) == 4
    assert len(simulated("--latency", "0", "--latencies")) == 1
    assert len(simulated("--set", "strategies=baskets; baskets ()")) == 1
    assert simulated("--set", "limit_payout_hours=24.0") == simulated("--set", "limit_payout_hours=24")
    assert [plan.recording for plan in plans(str(DAY), str(twin), str(DAY))] == [str(DAY)]


def test_what_means_the_same_is_one_run_and_is_called_as_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    mine, values = tmp_path / "sub" / "mine.py", tmp_path / "sub" / "values.csv"
    mine.write_text(
        "from trader.extensions.params import Parameters\n"
        f"{MINE}\n    class Params(Parameters):\n        a: int = 1\n        b: list[int] = []\n"
    )
    values.write_text("ticker,probability\nA,0.5\n")

    def named(*words: str) -> list[str]:
        return [plan.name for plan in simulated(*words)]

    assert named() == named("--set", "min_edge=0.05") == named("--strategies", "baskets(size='depth')")
    assert len(named("--set", "min_edge=0.05,0.06")) == 2
    assert (
        len(
            named("--set", "strategies=baskets(size='fixed', contracts=5);baskets(contracts=5, size='fixed')")
        )
        == 1
    )
    plain = named("--strategies", f"{mine}:Mine(a=2)")
    for path in (tmp_path / "sub" / ".." / "sub" / "mine.py", tmp_path / "link" / "mine.py"):
        assert named("--strategies", f"{path}:Mine(b=[], a=2)") == plain
    assert named("--strategies", f"{mine}:Mine(b=[1], a=2)") != plain
    through = tmp_path / "link" / "values.csv"
    assert named("--set", f"fair_values_file={values}") == named("--set", f"fair_values_file={through}")
    asked = simulated("--set", "min_edge=0.05,0.06")
    assert list(names(asked).values()) == ["min_edge 0.05", "min_edge 0.06"]
    assert list(names([*simulated(), asked[1]]).values()) == ["min_edge default", "min_edge 0.06"]


def test_the_order_and_the_place_of_recordings_decide_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other"
    a_recording(other)
    one, two = plans(str(DAY), str(other))
    assert [plan.name for plan in plans(str(other), str(DAY))] == [two.name, one.name]
    store = Store(tmp_path)
    store.put(run(one))
    elsewhere = tmp_path / "elsewhere.mcap"
    elsewhere.write_bytes(DAY.read_bytes())
    (moved,) = plans(str(elsewhere))
    again = store.get(moved)
    assert again is not None
    assert again.plan.recording == str(elsewhere)


def test_a_result_of_another_shape_does_not_match(tmp_path: Path) -> None:
    plan, store = Plan(seed=1, hours=0.01, markets=60), Store(tmp_path)
    store.put(run(plan))
    (path,) = (tmp_path / "runs").iterdir()
    body = msgspec.msgpack.decode(path.read_bytes())
    del body["plan"]["files"]
    body["plan"]["settings"] = {"KALSHI_BUS_MIN_EDGE": "0.1"}
    path.write_bytes(msgspec.msgpack.encode(body))
    assert store.get(plan) is None
    assert store.all() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--simulate", ""], "--simulate : expected more than 0"),
        (["--simulate", "1h", "--exchange", "rivals=0"], "--exchange rivals=0: use --rivals"),
        (["--simulate", "1h", "--exchange", "void_rate=5"], "expected void_rate=NUMBER, a number, 0 to 1"),
        (["--simulate", "1h", "--exchange", "pace=inf"], "expected pace=NUMBER, a number, 0 to 100"),
        (["--simulate", "1h", "--exchange", "pace=nan"], "expected pace=NUMBER, a number, 0 to 100"),
        (["--simulate", "1h", "--exchange", "mispricings=7"], "expected mispricings=NUMBER, 0 or 1"),
        (["--simulate", "1h", "--exchange", "bursts=1", "--exchange", "bursts=0"], "expected bursts once"),
        (["--simulate", "1h", "--seeds", "1.."], "--seeds 1..: expected such as"),
        (["--simulate", "1h", "--seeds", "99999999999999999999999"], "each at most 9223372036854775807"),
        (["--simulate", "1h", "--seeds", "9999999999999999999"], "each at most 9223372036854775807"),
        (["--simulate", "1h", "--latency", "61"], "--latency 61: expected seconds, 0 to 60"),
        (["--simulate", "1h", "--latency", "31", "--latencies"], "expected seconds, 0 to 30, as --latencies"),
        (["--simulate", "1h", "--latency", "0.001", "--latencies"], "expected 0.002 or more"),
        (["--simulate", "1h", "--latency", "0.0004"], "--latency 0.0004: expected seconds of whole millis"),
        (["--simulate", "1h", "--set", "mode=live"], "--set mode=live: a run does not read mode"),
        (["--simulate", "1h", "--set", "data_dir=/x"], "a run does not read data_dir: use --out"),
        (["--simulate", "1h", "--set", "paper_latency_ms=5"], "paper_latency_ms: use --latency"),
        (["--simulate", "1h", "--set", "fair_values=elo"], "use fair_values_file"),
        (["--simulate", "1h", "--set", "min_edge=0.01,"], "--set min_edge=0.01,: expected KEY=VALUE"),
        (["--simulate", "1h", "--set", "min_edge=1", "--set", "min_edge=2"], "min_edge is given twice"),
        (["--simulate", "1h", "--set", "fair_values_file=/no/such.csv"], "such.csv: cannot be read"),
        (["--simulate", "1h", "--strategies", ","], "--strategies ,: expected a name or"),
        (["/dev/zero"], "/dev/zero: is a device, expected a recording"),
        (["/no/such.mcap"], "/no/such.mcap: No such file or directory, expected a recording"),
        (["--simulate", "1h", "--strategies", "baskets("], "--strategies baskets(: expected a name or"),
        (["--simulate", "1h", "--title", "\U0001f600\udcff"], "\\udcff': expected text in UTF-8"),
        ([str(DAY), "--seeds", "1"], "--seeds: only a simulated exchange has that"),
        ([str(DAY), "--rivals", "yes"], "--rivals: only a simulated exchange has that"),
        ([str(DAY), "--markets", "5"], "--markets: only a simulated exchange has that"),
        ([str(DAY), "--exchange", "pace=1"], "--exchange: only a simulated exchange has that"),
        (["\udcff.mcap"], "'\\udcff.mcap': expected text in UTF-8"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", *words, "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert not out


@pytest.mark.parametrize("what", ["empty", "garbage", "folder", "pipe", "segment", "cut", "order"])
def test_what_is_no_recording_is_refused_before_anything_is_written(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, folder, report = tmp_path / "bad.mcap", tmp_path / "folder", tmp_path / "report.html"
    report.write_text("an earlier one")
    folder.mkdir()
    if what in ("empty", "garbage", "cut"):
        bad.write_bytes({"empty": b"", "garbage": b"\0" * 400, "cut": DAY.read_bytes()[:300]}[what])
    elif what == "pipe":
        os.mkfifo(bad)
    elif what == "segment":
        (folder / "00000001.mcap").write_bytes(DAY.read_bytes())
        os.mkfifo(folder / "00000002.mcap")
    elif what == "order":
        for number in (1, 2):
            (folder / f"0000000{number}.mcap").write_bytes(DAY.read_bytes())
    path = bad if bad.exists() else folder
    assert main(["run", str(path), "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"laboratory: {path}")
    assert err.count("\n") == 1
    assert report.read_text() == "an earlier one"


def test_a_folder_is_known_by_its_segments_whatever_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "00000001.mcap").write_bytes(DAY.read_bytes())
    (tmp_path / "notes.mcap").write_text("mine")
    (plan,) = plans(str(tmp_path), str(DAY))
    assert plan.recording == str(tmp_path)


@pytest.mark.parametrize("call", ["__init__(self, params)", "on_start(self, now_ms)"])
def test_a_strategy_that_cannot_be_made_or_started_is_refused_at_once(call: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(f"{MINE}\n    def {call}:\n        raise ValueError('no luck')\n")
    with pytest.raises(UsageError, match=r"--strategies: .*mine\.py:8: .* raised ValueError: no luck"):
        simulated("--strategies", f"{mine}:Mine")


def test_a_strategy_that_never_returns_and_holds_the_interpreter_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    body = "re.match(r'(a+)+$', 'a' * 60 + 'b')"
    mine.write_text(f"import re\n{MINE}\n    def on_start(self, now_ms):\n        {body}\n")
    with pytest.raises(UsageError, match=r"^--strategies: mine: on_start did not return within 2 s$"):
        simulated("--strategies", f"{mine}:Mine")


def test_a_default_that_never_returns_does_not_hang_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_BETWEEN_MS", 1_000)
    mine = tmp_path / "mine.py"
    default = "msgspec.field(default_factory=lambda: time.sleep(600))"
    mine.write_text(
        "import msgspec, time\nfrom trader.extensions.params import Parameters\n"
        f"{MINE}\n    class Params(Parameters):\n        a: list[int] = {default}\n"
    )
    with pytest.raises(
        UsageError, match=r"^--strategies: mine: what follows on_start did not return within 1 s$"
    ):
        simulated("--strategies", f"{mine}:Mine(a=[2])")


def test_a_strategy_that_ends_the_process_that_loads_it_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(f"import os\nos._exit(0)\n{MINE}")
    with pytest.raises(UsageError, match=r"mine\.py:Mine: its import ended the process, expected that it"):
        simulated("--strategies", f"{mine}:Mine")


def test_what_a_strategy_does_where_it_is_loaded_is_not_felt_here(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    (tmp_path / "plans_felt.py").write_text("")
    mine.write_text(
        "import os, plans_felt, signal, subprocess, sys, threading, time\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "os.environ['KALSHI_BUS_DATA_DIR'] = 'elsewhere'\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.setrecursionlimit(500)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        f"{MINE}\n    def on_start(self, now_ms):\n"
        "        begun = subprocess.Popen(['sleep', '600'])\n"
        f"        open({str(tmp_path / 'begun')!r}, 'w').write(str(begun.pid))\n"
    )

    def felt() -> tuple[object, ...]:
        handler = signal.getsignal(signal.SIGINT)
        known = sorted(sys.modules), sys.path[:], dict(os.environ)
        return Path.cwd(), handler, sys.getrecursionlimit(), threading.active_count(), known

    before = felt()
    (plan,) = simulated("--strategies", f"{mine}:Mine")
    assert [Path(path).name for path in plan.files] == ["mine.py", "plans_felt.py"]
    assert felt() == before
    begun = int((tmp_path / "begun").read_text())
    eventually(lambda: is_over(begun))


def test_refused_fair_values_are_reported(tmp_path: Path) -> None:
    values = tmp_path / "values.csv"
    values.write_text("ticker,probability\nA,0.5\nB,7\n")
    (plan,) = simulated("--set", f"fair_values_file={values}", "--markets", "60")
    assert any("values.csv line 3 (B): " in line for line in run(plan).failures)


def test_recordings_of_the_same_time_are_not_two_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = Recorded(tmp_path / "day")
    for _ in range(2):
        recorded.segment()
        recorded.publisher.now_ms += 60_000
        recorded.beat()
    recorded.folder.close()
    first, second = (segment_path(tmp_path / "day", number) for number in (1, 2))
    assert len(plans(str(first), str(second))) == 2
    for words in ([tmp_path / "day", first], [second, tmp_path / "day"]):
        with pytest.raises(UsageError, match=r"1 min 1 s of the same time are in .* not two samples"):
            plans(*map(str, words))
    for number, path in enumerate((first, tmp_path / "day", second)):
        (plan,) = plans(str(path))
        Store(tmp_path / str(number)).put(run(plan))
    folders = [str(tmp_path / str(number)) for number in range(3)]
    assert main(["compare", *folders, "--out", str(tmp_path / "report")]) == 0
    made = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes())
    assert (made["variants"][0]["runs"], len(made["variants"][0]["cases"])) == (2, 2)
    assert "so it is no other sample" in capsys.readouterr().out


def test_a_segment_that_was_cut_off_holds_no_time_after_it(tmp_path: Path) -> None:
    recorded, between = Recorded(tmp_path / "day"), tmp_path / "between.mcap"
    for _ in range(3):
        recorded.segment()
        recorded.publisher.now_ms += 60_000
        recorded.beat()
    recorded.folder.close()
    cut = segment_path(tmp_path / "day", 1)
    cut.write_bytes(cut.read_bytes()[:-50])
    segment_path(tmp_path / "day", 2).rename(between)
    segment_path(tmp_path / "day", 4).touch()  # begun in vain
    assert len(plans(str(tmp_path / "day"), str(between))) == 2


def test_equal_recordings_are_compared_once_and_others_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    a_recording(other)
    for number, path in enumerate((DAY, other, DAY)):
        (plan,) = plans(str(path))
        Store(tmp_path / str(number)).put(run(plan))
    folders = [str(tmp_path / str(number)) for number in range(3)]
    assert main(["compare", *folders, "--out", str(tmp_path / "report")]) == 0
    (made,) = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes())["variants"]
    assert (made["runs"], len(made["cases"])) == (2, 2)
