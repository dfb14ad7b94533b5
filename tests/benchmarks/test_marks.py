"""In a simulated market, no page ever shows less than the locked profit."""

from pathlib import Path

from benchmarks.trading import Plan, Stand, run
from trader.engine.worth import LotWorth


def test_the_page_never_shows_less_than_the_locked_profit() -> None:
    found = run(Plan(seed=1, hours=0.3, markets=150, rivals=False))

    assert found.looks == 216
    assert len(found.trades) >= 1
    assert (found.dips_bid, found.dips_locked, found.failures) == (0, 0, [])


def test_a_page_that_shows_bids_only_is_noticed(tmp_path: Path) -> None:
    class AtBid(Stand):
        def shown_of_lot_e6(self, lot: LotWorth) -> int:
            return lot.bid_e6 or 0

    assert AtBid(Plan(seed=1, hours=0.5, markets=150, rivals=False), tmp_path).run(0.1).dips_locked > 0
