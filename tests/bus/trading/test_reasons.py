"""Every reason has one word, one sentence and one meaning, and nobody spells it out a second time."""

import ast
from pathlib import Path

import pytest

from bus.trading import reasons
from tests.support import ROOT

TRADER = ROOT / "trader"
SPEAKERS = sorted(
    {*(TRADER / "engine").glob("*.py"), *(TRADER / "brokers").glob("*.py")}
    | {TRADER / name for name in ("session.py", "worker.py", "announcer.py")}
)

SAME_WORD = {reasons.STARTING, reasons.GAP}
"""Also words for the state of the feed, which engine and worker read."""


def literals(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("module", SPEAKERS, ids=lambda path: path.stem)
def test_a_reason_is_spelled_in_one_place(module: Path) -> None:
    known = reasons.REFUSALS.keys() | reasons.NOT_DONE.keys() | reasons.ENDS.keys()

    assert (literals(module) & known) - SAME_WORD == set()


def test_every_constant_has_a_sentence() -> None:
    words = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}

    told = reasons.REFUSALS.keys() | reasons.NOT_DONE.keys() | reasons.ENDS.keys()
    others = reasons.GATEWAY.keys() | reasons.EXCHANGE.keys()  # words of theirs, which nobody here says
    assert words - {reasons.RUNNING, reasons.OTHER_EPOCH} == told - others


def test_a_price_that_was_too_thin_and_a_price_that_was_gone_are_two_things() -> None:
    assert reasons.why_refused("no_depth") == "not enough is offered at the price"
    assert reasons.why_ended("nothing_left") == "nothing was left at the price when it arrived"


def test_an_order_of_an_old_journal_that_ended_for_no_depth_found_nothing_left() -> None:
    assert reasons.why_ended("no_depth") == reasons.why_ended("nothing_left")


def test_a_reason_of_a_later_version_is_read_as_it_stands() -> None:
    assert reasons.why_refused("solar_flare") == reasons.why_ended("solar_flare") == "solar flare"
