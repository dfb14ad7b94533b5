"""Ledger and exchange are equal at every hour, whatever lies between them."""

from pathlib import Path

import pytest

from simulator.universe import templates
from tests.trader.week import Week

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_ledger_and_exchange_are_equal_after_an_hour_of_trading(tmp_path: Path) -> None:
    """A whole week of them: make soak ledger_week."""
    week = Week(templates.load(), tmp_path, seed=3, markets=60, step_ms=2_000)
    try:
        outcome = week.live_on(1)
    finally:
        week.end()
    assert outcome.lines > 10
    assert outcome.fills
    assert outcome.worst_e6 == 0
