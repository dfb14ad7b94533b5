"""docs/trader.md says what the code says."""

import re
from pathlib import Path

import pytest

from bus.process.settings import STRATEGIES
from bus.trading.killswitch import WORD
from tests.support import ROOT
from trader.strategies import ALL

DOCS = (ROOT / "docs" / "trader.md").read_text()


@pytest.mark.parametrize("modules", [["risk.py"], ["brokers/base.py", "brokers/paper.py"]], ids=str)
def test_every_reason_is_explained(modules: list[str]) -> None:
    source = "".join(Path(ROOT / "trader" / module).read_text() for module in modules)
    reasons = set(re.findall(r'(?:yield|return|else|Final =) "([a-z_]+)"', source))

    assert len(reasons) > 5
    assert {reason for reason in reasons if f"`{reason}`" not in DOCS} == set()


def test_settings_name_every_strategy_and_the_docs_the_word() -> None:
    assert set(STRATEGIES) == set(ALL)
    assert WORD in DOCS
