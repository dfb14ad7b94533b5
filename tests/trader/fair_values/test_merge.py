"""Several sources for one market: the first that has a value holds."""

from markets.records import FairValue
from trader.fair_values.merge import difference, merged


def value(ticker: str, source: str, probability: float = 0.5) -> FairValue:
    return FairValue(ticker, probability, source, 7)


def test_of_a_market_the_first_holds_and_when_it_is_gone_the_next() -> None:
    first = {"A": value("A", "first")}
    second = {"A": value("A", "second"), "B": value("B", "second")}

    assert merged([first, second]) == {"A": value("A", "first"), "B": value("B", "second")}
    assert merged([{}, second]) == second
    assert merged([]) == {}


def test_what_differs_is_told_and_what_is_gone() -> None:
    before = {"A": value("A", "x"), "B": value("B", "x"), "C": value("C", "x")}
    after = {"A": value("A", "x"), "B": value("B", "x", 0.6), "D": value("D", "x")}

    assert difference(before, after) == ((value("B", "x", 0.6), value("D", "x")), ("C",))
