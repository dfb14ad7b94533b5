"""docs/trader.md says what the code says."""

import re
from pathlib import Path

import pytest

from bus.process.settings import STRATEGIES
from bus.trading.killswitch import WORD
from tests.support import ROOT
from trader.strategies import ALL

DOCS = (ROOT / "docs" / "trader.md").read_text()


@pytest.mark.parametrize("module", ["trader/risk.py", "trader/brokers/paper.py"])
def test_every_reason_is_explained(module: str) -> None:
    source = Path(ROOT / module).read_text()
    reasons = set(re.findall(r'(?:yield|return|else|Final =) "([a-z_]+)"', source))

    assert len(reasons) > 5
    assert {reason for reason in reasons if f"`{reason}`" not in DOCS} == set()


def test_settings_name_every_strategy_and_the_docs_the_word() -> None:
    assert set(STRATEGIES) == set(ALL)
    assert WORD in DOCS
