"""Several opinions as one: weights, the price among them, and what is missing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.records import FairValue, Quote, Status
from tests.trader.world import NOW_MS, quote_of
from trader.fair_values import Estimate
from trader.fair_values.host import load
from trader.fair_values.mixture import Mixture, middle, pooled


def value(probability: float, margin: float = 0.0, as_of_ms: int = NOW_MS) -> FairValue:
    return FairValue("T", probability, "file", as_of_ms, margin)


def mixed(
    *opinions: dict[str, FairValue], market: float = 0.0, quotes: dict[str, Quote] | None = None
) -> dict[str, Estimate]:
    weights = tuple(float(at) for at in range(1, len(opinions) + 1))
    params = Mixture.Params(paths=("a.csv",) * len(opinions), weights=weights, market=market)
    return Mixture(params).mix(opinions, quotes or {}, NOW_MS)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1_000)), min_size=1, max_size=6))
def test_a_pool_lies_among_those_in_it(said: list[tuple[float, float]]) -> None:
    found = pooled(said)
    sure = [min(0.999, max(0.001, probability)) for probability, _ in said]
    assert min(sure) - 1e-9 <= found <= max(sure) + 1e-9


def test_who_agrees_is_left_alone_and_who_weighs_more_counts_more() -> None:
    assert mixed({"T": value(0.7)}, {"T": value(0.7)})["T"].probability == pytest.approx(0.7)
    assert mixed({"T": value(0.2)}, {"T": value(0.8)})["T"].probability > 0.5


def test_the_price_counts_by_its_weight_where_both_sides_are_there() -> None:
    quotes = {"T": quote_of("T", (4_000, 100), (4_200, 100))}
    with_price = mixed({"T": value(0.7, 0.1)}, market=3.0, quotes=quotes)["T"]
    assert 0.41 < with_price.probability < 0.5
    assert with_price.margin == pytest.approx(0.025)  # a quarter of the opinion's
    for odd in (
        {},
        {"T": quote_of("T", None, (4_200, 100))},
        {"T": quote_of("T", (4_000, 100), None)},
        {"T": quote_of("T", (4_000, 100), (4_200, 100), Status.CLOSED)},
        {"T": quote_of("T", (4_300, 100), (4_200, 100))},
    ):
        assert middle(odd.get("T")) is None
        assert mixed({"T": value(0.7)}, market=3.0, quotes=odd)["T"].probability == pytest.approx(0.7)


def test_it_is_as_old_as_the_oldest_and_never_of_the_future() -> None:
    old = mixed({"T": value(0.7, as_of_ms=NOW_MS - 5)}, {"T": value(0.7)})["T"]
    assert old.as_of_ms == NOW_MS - 5
    assert mixed({"T": value(0.7, as_of_ms=NOW_MS + 5)})["T"].as_of_ms == NOW_MS


def test_a_market_of_which_only_some_have_an_opinion_has_a_value_of_theirs() -> None:
    found = mixed({"T": value(0.7)}, {"U": value(0.3)})
    assert {ticker: round(one.probability, 6) for ticker, one in found.items()} == {"T": 0.7, "U": 0.3}


@pytest.mark.parametrize(
    ("paths", "weights", "market"),
    [
        ((), (), 0.0),
        (("a.csv",), (), 0.0),
        (("a.txt",), (1.0,), 0.0),
        (("a.csv",), (0.0,), 0.0),
        (("a.csv",), (float("nan"),), 0.0),
        (("a.csv",), (1.0,), -1.0),
    ],
)
def test_a_parameter_out_of_range_is_refused(
    paths: tuple[str, ...], weights: tuple[float, ...], market: float
) -> None:
    with pytest.raises(ValueError, match=r"weights|paths"):
        Mixture.Params(paths=paths, weights=weights, market=market)


def test_it_is_made_of_what_the_settings_say(tmp_path: Path) -> None:
    text = "mixture(paths=['a.csv', 'b.json'], weights=[1, 0.5], market=2.0)"
    made, name, _, _ = load(text, tmp_path)
    assert isinstance(made, Mixture)
    assert name == "mixture"
    assert (made.params.paths, made.params.weights, made.params.market) == (("a.csv", "b.json"), (1, 0.5), 2)
