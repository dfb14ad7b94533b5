"""Trials of sources: what is a call, what it is held against, who is accepted."""

from random import Random

import msgspec
import pytest

from trader.fair_values.trial import CALLS_KEPT, EVENTS_LEAST, LEVEL, MARKOUTS_MS, Price, Trials, student_t

FEE = 0.01


def price(mid: float, event: str = "E", half: float = 0.01) -> Price:
    return Price(event, mid - half, mid + half, FEE)


def test_only_a_disagreement_beyond_spread_and_fee_is_a_call_and_once_while_it_stands() -> None:
    trials = Trials()
    for said in (0.50, 0.519, 0.53, 0.54, 0.519, 0.53, 0.47):
        trials.say("mine", "T", said, price(0.50), 0)

    calls = trials.records["mine"].calls["E"]
    assert [call.probability for call in calls] == [0.53, 0.53, 0.47]
    assert calls[0].edge == pytest.approx(0.01)


@pytest.mark.parametrize(("bid", "ask"), [(None, 0.5), (0.5, None), (0.6, 0.5)])
def test_nothing_is_called_where_a_side_is_missing_or_the_prices_are_crossed(
    bid: float | None, ask: float | None
) -> None:
    trials = Trials()
    trials.say("mine", "T", 0.99, Price("E", bid, ask, FEE), 0)

    assert trials.records == {}


def test_a_call_is_held_against_the_price_of_later_and_against_the_result() -> None:
    trials = Trials()
    trials.say("mine", "T", 0.60, price(0.50), 0)
    trials.look({"T": 0.52}, MARKOUTS_MS[0])
    trials.look({"T": 0.58}, MARKOUTS_MS[1] + 5)
    trials.look({"T": 0.40}, MARKOUTS_MS[1] + 10)  # it has been looked at by then
    trials.settle("T", 1.0)

    found = trials.verdict("mine")
    assert [round(mean.mean, 6) for mean in found.earned] == [0.0, 0.06, 0.0]
    assert [mean.count for mean in found.earned] == [1, 1, 0]
    assert found.gain.mean == pytest.approx(0.25 - 0.16)
    assert found.profit.mean == pytest.approx(0.5 - 0.02)
    assert found.calibration[6] == (1, 0.60, 1.0)
    assert trials.waiting() == set()


def test_markets_of_one_event_are_one_observation_and_wait_for_each_other() -> None:
    trials = Trials()
    for ticker in ("A", "B"):
        trials.say("mine", ticker, 0.60, price(0.50), 0)
    trials.settle("A", 1.0)
    assert trials.verdict("mine").gain.count == 0
    trials.settle("B", 0.0)

    assert trials.verdict("mine").gain.count == 1


def planted(error: float, noise: float, seed: int) -> Trials:
    """Prices are off by 5 cents in half of the events; a source says the truth, or the price, and errs."""
    rng, trials = Random(seed), Trials()
    for number in range(400):
        event, truth = f"E{number}", rng.uniform(0.2, 0.8)
        mid = truth + rng.choice([0.0, 0.0, 0.05, -0.05])
        about = truth if noise == 0 else mid
        trials.say(
            "mine", event, min(1.0, max(0.0, about + rng.gauss(0, error + noise))), price(mid, event), 0
        )
        trials.look({event: truth + rng.gauss(0, 0.02)}, MARKOUTS_MS[1])
        trials.settle(event, float(rng.random() < truth))
    return trials


def test_who_knows_something_is_accepted_and_who_adds_noise_to_the_price_is_not() -> None:
    knows = [planted(0.02, 0.0, seed).accepted() for seed in range(20)]
    guesses = [planted(0.0, 0.05, seed).accepted() for seed in range(20)]

    assert sum(map(bool, knows)) == 20
    assert sum(map(bool, guesses)) == 0


def test_too_few_events_decide_nothing() -> None:
    trials = Trials()
    for number in range(EVENTS_LEAST - 1):
        trials.say("mine", f"T{number}", 0.9, price(0.5, f"E{number}"), 0)
        trials.look({f"T{number}": 0.9}, MARKOUTS_MS[1])
        trials.settle(f"T{number}", 1.0)

    assert trials.accepted() == frozenset()


def test_results_that_contradict_the_later_price_refuse_a_source() -> None:
    trials = Trials()
    for number in range(200):
        trials.say("mine", f"T{number}", 0.9, price(0.6, f"E{number}"), 0)
        trials.look({f"T{number}": 0.75 + 0.001 * (number % 7)}, MARKOUTS_MS[1])
        trials.settle(f"T{number}", float(number % 2))

    assert trials.verdict("mine").earned[1].low is not None
    assert trials.accepted() == frozenset()


def test_what_is_kept_is_bounded_and_comes_back_from_its_bytes() -> None:
    trials = Trials()
    for number in range(CALLS_KEPT + 50):
        trials.say("mine", f"T{number}", 0.9, price(0.5, f"E{number}"), 0)
    assert len(trials.waiting()) == CALLS_KEPT
    assert "E0" not in trials.records["mine"].calls

    again = msgspec.msgpack.decode(msgspec.msgpack.encode(trials), type=Trials)
    assert again == trials
    assert again.verdict("mine").waiting == CALLS_KEPT


def test_the_quantile_is_that_of_student() -> None:
    # Tables: t(0.995) of 30 and of 120 degrees of freedom.
    assert LEVEL == 0.99
    assert student_t(30) == pytest.approx(2.750, abs=1e-3)
    assert student_t(120) == pytest.approx(2.617, abs=1e-3)
