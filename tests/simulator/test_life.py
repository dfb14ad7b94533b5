"""An exchange lives on with a user: nothing is lost, nothing grows, and what is likely comes often."""

from simulator.universe import templates
from simulator.universe.templates import Recorded
from tests.simulator.life import HOUR_STEPS, Fifth, Life, calibration, live


def six_hours(seed: int) -> int:
    """Let two users trade for six hours at a small exchange; return how many steps that were."""
    return live(Life(templates.load(), 200, seed, accounts=2), 6)


def test_no_micro_dollar_comes_or_goes_in_hours_of_trading(recorded: Recorded) -> None:
    life = Life(recorded, 80, 3, accounts=2)
    assert live(life, 2.5) == 2.5 * HOUR_STEPS
    did = life.seen.did
    assert min(did["placed"], did["amended"], did["decreased"], did["cancelled"]) > 10
    held = life.exchange.ledger.holdings
    assert held.settlement_count > 3
    assert held.fees_e6 > 0
    for market in life.exchange.markets.values():
        assert max(market.held_e2) <= market.open_interest_e2 <= market.volume_e2


def test_what_came_is_told_by_kind_and_fifth() -> None:
    fifths: dict[tuple[str, int], Fifth] = {}
    for value in (1.0, 0.0, 1.0, 1.0):
        fifths.setdefault(("match", 2), Fifth()).add(0.5, value)
    assert calibration(fifths)[2:] == ["| match | 4 | 2.0 | 3.0 | +1.0 | -, -, +1.0, -, - |"]
