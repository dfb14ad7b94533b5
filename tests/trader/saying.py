"""What a report says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trader.stand import Stand
from trader.report import Report, report


def said(stand: Stand) -> Report:
    return report(stand.worker, stand.clock.now_ms(), 1, 1)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path, env={"KALSHI_BUS_STRATEGIES": "value,no_basket"})
    yield made
    made.close()
