"""A gateway broker that is driven step by step."""

from collections.abc import Sequence

import msgspec
import pytest

from markets.orders import Proposal
from tests.trader.brokers.fake_gateway import FakeGateway
from tests.trader.stand import Stand
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.strategies import NoBasket, Update


class Patient(NoBasket):
    """Wants its baskets at orders that rest."""

    def on_update(self, update: Update) -> Sequence[Proposal]:
        wanted = super().on_update(update)
        return [msgspec.structs.replace(one, time_in_force="gtc") for one in wanted]


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


def check(stand: Stand, gateway: FakeGateway) -> None:
    """Hold ledger, rows, log and exchange against one another."""
    ledger = stand.worker.engine.ledger
    ledger.check_whole()
    stand.journal.commit()
    reader = Reader(stand.worker.around.journal_path)
    try:
        assert reader.ledger() == ledger
        assert replay(reader.inputs(max(reader.sessions()))).differs_at is None
    finally:
        reader.close()
    assert ledger.cash_e6 == sum(gateway.cash_e6.values())
    held = {ticker: position.signed_e2 for ticker, position in ledger.positions.items()}
    assert held == {ticker: signed for ticker, signed in gateway.positions.items() if signed}
