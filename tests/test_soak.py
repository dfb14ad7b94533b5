"""A soak goes on where it was left, counts what held, and keeps the seeds that did not."""

from pathlib import Path

import pytest

from tests.soak import targets
from tests.soak.driver import Account, AlreadyRunning, Run, Target, hold, soak
from tests.soak.targets import TARGETS


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "sample.json"


class Sample:
    """A check of a second and ten samples a seed; `bad` seeds fail, `broken` is where Ctrl-C is pressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad: set[int] = set()
        self.broken = 0
        self.asked: list[int] = []
        self.said: list[str] = []
        self.now_s = 0.0

    def check(self, seed: int) -> int:
        self.now_s += 1
        self.asked.append(seed)
        if seed == self.broken:
            raise KeyboardInterrupt
        if seed in self.bad:
            raise ValueError(f"{seed} is bad")
        return 10

    def soak(self, seconds: float) -> bool:
        target = Target("a sample", "samples", self.check)
        run = Run("today", "abc")
        return soak("sample", target, self.path, seconds, run, lambda: self.now_s, self.said.append)


def test_a_run_goes_on_where_the_last_one_ended_and_counts_add_up(path: Path) -> None:
    sample = Sample(path)

    assert sample.soak(3)
    assert sample.soak(2)

    assert sample.asked == [1, 2, 3, 4, 5]
    assert [(run.seeds, run.checked, run.seconds) for run in Account.load(path).runs] == [
        (3, 30, 3),
        (2, 20, 2),
    ]
    assert "50 of 5 seeds in 2 runs and 5 s" in sample.said[-1]


def test_an_interrupted_run_loses_only_the_seed_it_was_at(path: Path) -> None:
    sample = Sample(path)
    sample.broken = 3

    with pytest.raises(KeyboardInterrupt):
        sample.soak(9)
    sample.broken = 0
    assert sample.soak(2)

    assert sample.asked == [1, 2, 3, 3, 4]
    assert Account.load(path).total().seeds == 4


def test_a_seed_that_fails_ends_the_run_and_comes_first_until_it_holds(path: Path) -> None:
    sample = Sample(path)
    sample.bad = {2}

    assert not sample.soak(9)
    assert sample.asked == [1, 2]
    assert "ValueError: 2 is bad" in "".join(sample.said)
    assert sample.said[-1] == "sample: seed 2 FAILED; again with: make soak sample SEED=2"
    assert not sample.soak(9)
    assert sample.asked == [1, 2, 2]

    sample.bad = set()
    assert sample.soak(2)
    assert sample.asked == [1, 2, 2, 2, 3]
    account = Account.load(path)
    assert (account.failed, account.next_seed, account.total().seeds) == ([], 4, 3)


def test_two_runs_of_one_account_are_refused(path: Path) -> None:
    with hold(path), pytest.raises(AlreadyRunning), hold(path):
        pass
    with hold(path):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.long])
def test_every_target_holds_for_a_seed_and_says_how_much(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "EXAMPLES", 5)  # what a seed of these checks has tests of its own
    assert TARGETS[name].check(1) > 0
