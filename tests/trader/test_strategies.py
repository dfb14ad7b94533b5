"""The project's own strategies: what each takes of what is offered."""

from typing import Any

import msgspec
import pytest

from markets.errors import StartupError
from markets.opportunities import candidates
from markets.orders import Proposal
from markets.records import FairValue
from tests.trader.world import NOW_MS, SCAN, basket
from trader.lineup import load_strategy
from trader.strategies import Strategy, Update

VIEW = basket()
TICKER = VIEW.markets[0].market.ticker


def made(text: str) -> Strategy:
    strategy: Strategy = load_strategy(text).make()
    return strategy


def offered(**changes: Any) -> Update:
    """A basket and, of a published value, an outcome below it."""
    value = FairValue(TICKER, 0.9, "mine", NOW_MS)
    found = candidates(VIEW, {TICKER: value}, NOW_MS, SCAN).opportunities
    return Update(VIEW, [msgspec.structs.replace(each, **changes) for each in found], NOW_MS)


def kinds(update: Update, strategy: str) -> list[int]:
    return [len(each.legs) for each in made(strategy).on_update(update) if type(each) is Proposal]


def test_baskets_take_what_rests_on_no_opinion_of_all_kinds_or_those_named() -> None:
    update = offered()
    assert {each.kind for each in update.opportunities} >= {"no_basket", "value"}

    assert kinds(update, "baskets") == [3]
    assert kinds(update, "no_basket") == [3]
    assert kinds(update, "baskets(kinds=['no_basket'])") == [3]
    assert kinds(update, "baskets(kinds=['value'])") == []


def test_what_is_not_tradable_is_not_proposed() -> None:
    assert kinds(offered(reasons=("suspect",)), "baskets") == []


def test_a_kind_that_there_is_not_refuses_the_start() -> None:
    with pytest.raises(StartupError, match=r"kinds: got 'yes', expected some of .*no_basket"):
        made("baskets(kinds=['yes'])")
