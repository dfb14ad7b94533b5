"""Loading what is somebody's own: whatever is wrong with it is one error that says where and what."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bus.clock import ManualClock
from bus.trading.ended import EndedStrategies, EndedStrategy
from markets.errors import StartupError
from trader.lineup import Lineup, line_up, load_strategy
from trader.minder import Minder
from trader.strategies import BUILT_IN

BUILT_INS = ", ".join(sorted(BUILT_IN))
MINE = """
from trader.extensions.params import Parameters
from trader.strategies import Quiet


class Mine(Quiet):
    name = "mine"

    class Params(Parameters, frozen=True, kw_only=True):
        max_spread_e4: int = 300
        names: tuple[str, ...] = ()

        def __post_init__(self):
            if self.max_spread_e4 < 0:
                raise ValueError("max_spread_e4: expected 0 or more")
"""


def lined_up(folder: Path, *texts: str) -> Lineup:
    clock = ManualClock()
    return line_up(texts, folder, EndedStrategies(folder / "data"), Minder(clock), clock.now_ms())


def refusal(folder: Path, *texts: str) -> str:
    with pytest.raises(StartupError) as caught:
        lined_up(folder, *texts)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("KALSHI_BUS_STRATEGIES: ")
    return line


def written(folder: Path, source: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(source)
    return path


def test_a_strategy_of_ones_own_is_loaded_with_its_parameters(tmp_path: Path) -> None:
    path = written(tmp_path, MINE)

    lineup = lined_up(tmp_path, "value", "mine.py:Mine(max_spread_e4=7, names=['A'])")

    assert [maker.name for maker in lineup.makers.values()] == ["value", "mine"]
    text = list(lineup.makers)[1]
    assert text == f"{path}:Mine(max_spread_e4=7, names=['A'])"
    made: Any = lineup.load(text).make()
    assert (made.params.max_spread_e4, made.params.names) == (7, ("A",))
    assert lineup.load(text).make() is not made
    again: Any = load_strategy(text).make()
    assert again.params.max_spread_e4 == 7


def test_what_is_not_the_projects_own_counts_in_what_names_the_build(tmp_path: Path) -> None:
    assert lined_up(tmp_path, "value").build("abc") == "abc"
    path = written(tmp_path, MINE)
    before = lined_up(tmp_path, "value", f"{path}:Mine").build("abc")
    written(tmp_path, MINE + "\n# changed\n")

    after = lined_up(tmp_path, "value", f"{path}:Mine").build("abc")

    assert before != after
    assert before.startswith("abc+mine=")
    assert after.startswith("abc+mine=")


def test_it_may_import_its_neighbours_but_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    written(tmp_path, "NAME = 'neighbour'\n", "a_neighbour_of_mine.py")
    written(tmp_path, "raise RuntimeError('hidden')\n", "colorsys.py")
    source = MINE.replace('name = "mine"', "name = NAME")
    path = written(tmp_path, f"import colorsys\nfrom a_neighbour_of_mine import NAME\n{source}")

    assert [maker.name for maker in lined_up(tmp_path, f"{path}:Mine").makers.values()] == ["neighbour"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no_baskt", f"expected any of {BUILT_INS}, or /path/file.py:Class, did you mean no_basket?"),
        ("no_basket(min_edge_e6=1)", "no_basket: unknown parameter 'min_edge_e6': it takes none"),
        ("value(sise='fixed')", "did you mean size?: it takes size: Literal['depth', 'fixed', "),
        ("none.py:Mine", "none.py: cannot be read: No such file or directory"),
        (".hidden.py:Mine", ".hidden.py: not a file"),
        ("mine.py:Mien", "mine.py: no class 'Mien': it has Mine, did you mean Mine?"),
        ("mine.py:os", "mine.py:os: is 'module', expected the class of a strategy"),
        ("mine.py:Mine(max_spread=1)",
         "unknown parameter 'max_spread', did you mean max_spread_e4?: it takes max_spread_e4: int = "),
        ("mine.py:Mine(max_spread_e4='x')",
         "Expected `int`, got `str` - at `$.max_spread_e4`: it takes max_spread_e4"),
        ("mine.py:Mine(max_spread_e4=True)", "Expected `int`, got `bool`"),
        ("mine.py:Mine(max_spread_e4=-1)", "max_spread_e4: expected 0 or more: it takes max_spread_e4"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    written(tmp_path, f"import os\n{MINE}")
    (tmp_path / ".hidden.py").mkdir()

    assert says in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n\ndef f(:\n", "mine.py:3: invalid syntax: 'def f(:', expected Python"),
        ("\n\nimport nobody_has_this\n",
         "mine.py:3: cannot be imported: ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\n\nf()\n", "mine.py:2: cannot be imported: ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", "mine.py:2: cannot be imported: SystemExit: 0"),
        ("x = '\0'\n", "mine.py"),
        ("", "mine.py: no class 'Mine': it has no class"),
        ("Mine = 7\n", "mine.py:Mine: is 'int', expected the class of a strategy"),
        ("class Mine:\n    name = 'mine'\n    def on_start(self, now_ms): ...\n",
         "mine.py:1: not a strategy: it lacks on_update, on_fill, on_timer"),
        (MINE.replace('name = "mine"', "name = 7"), "name: got 7, expected 1 to 60 letters"),
        (MINE.replace('name = "mine"', "name = 'manual'"),
         "name: got 'manual', which means a person's own orders: take another"),
        (MINE.replace('name = "mine"', "name = 'a b'"), "name: got 'a b', expected 1 to 60 letters"),
        (MINE.replace("    class Params", "    Params = 3\n\n    class Other"),
         "Params: got 3, expected a frozen msgspec.Struct"),
        (f"{MINE}\n    def __init__(self, params):\n        raise OSError('no such thing')\n",
         "its constructor raised OSError: no such thing"),
        (f"{MINE}\n    def __init__(self):\n        pass\n", "its constructor raised TypeError"),
        (f"{MINE}\n    def on_start(self, now_ms):\n        self.nothing\n",
         "mine.py:18: on_start raised AttributeError: 'Mine' object has no attribute 'nothing'"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said_with_its_line(tmp_path: Path, source: str, says: str) -> None:
    path = written(tmp_path, source)

    assert says in refusal(tmp_path, f"{path}:Mine")


def test_a_file_that_nobody_may_read_or_that_is_none_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")

    assert "pipe.py: not a file" in refusal(tmp_path, "pipe.py:Mine")


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    written(tmp_path, MINE)

    said = refusal(tmp_path, "mine.py:Mine", "mine.py:Mine(max_spread_e4=1)")

    assert "both named 'mine', expected one" in said
    assert "both named 'value'" in refusal(tmp_path, "value", "value")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers strategies."""
    folder = tmp_path / "site"
    info = folder / "ours-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "ours_of_a_test.py").write_text(MINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[kalshi_bus.strategies]\nspread = ours_of_a_test:Mine\nbroken = ours_of_a_test:Nobody\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "ours_of_a_test", raising=False)
    return folder


def test_an_installed_strategy_is_found_by_its_name(tmp_path: Path, package: Path) -> None:
    lineup = lined_up(tmp_path, "spread(max_spread_e4=9)")

    assert list(lineup.makers) == ["spread(max_spread_e4=9)"]
    assert lineup.build("abc").startswith("abc+mine=")
    assert f"expected any of {', '.join(sorted([*BUILT_IN, 'broken', 'spread']))}," in refusal(
        tmp_path, "spreed"
    )
    assert "entry point broken = ours_of_a_test:Nobody: cannot be imported" in refusal(tmp_path, "broken")


def test_a_strategy_that_was_ended_is_left_out_whatever_its_arguments(tmp_path: Path) -> None:
    path = written(tmp_path, f"{MINE}\nraise RuntimeError('not even imported')\n")
    held = EndedStrategies(tmp_path / "data")
    held.add(EndedStrategy(f"{path}:Mine", "mine", "on_update", 7))

    lineup = lined_up(tmp_path, "value", f"{path}:Mine(max_spread_e4=4)")

    assert [maker.name for maker in lineup.makers.values()] == ["value"]
    assert [ended.strategy for ended in lineup.left_out] == ["mine"]
    held.allow("mine")
    assert "not even imported" in refusal(tmp_path, f"{path}:Mine")
