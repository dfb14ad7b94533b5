"""The exchange as a whole, lived in at random; `make soak exchange` does the same with ever new seeds."""

from pathlib import Path

import pytest

from simulator.universe.templates import Recorded
from tests.simulator.whole import Life, live


@pytest.mark.parametrize("seed", [20, 24])
def test_rest_frames_and_books_agree_whatever_is_asked_through_pauses_settlements_and_restarts(
    recorded: Recorded, tmp_path: Path, seed: int
) -> None:
    assert live(recorded, tmp_path, seed, steps=180) == 180


def test_what_rested_before_a_restart_is_read_as_it_was_until_the_read_lag_is_over(
    recorded: Recorded, tmp_path: Path
) -> None:
    life = Life(recorded, tmp_path, seed=1)
    market = next(m for m in life.exchange.markets.values() if m.status == "active" and m.bid_e2)
    order = {
        "ticker": market.ticker, "side": "bid", "count": "1.00", "price": "0.0100",
        "time_in_force": "good_till_canceled", "self_trade_prevention_type": "maker",
    }  # fmt: skip
    life.ask(1, "POST", "/portfolio/events/orders", order)
    life.restart(1_000, saved=True)
    life.ask(1, "DELETE", "/portfolio/events/orders", None)
    seen = {life.read(1, "/portfolio/orders")["orders"][0]["status"] for _ in range(20)}
    assert "resting" in seen <= {"resting", "canceled"}
