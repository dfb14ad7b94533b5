"""Orders that have not ended: what rests is cancelled once, what is unknown is so until it is heard of."""

import msgspec
import pytest

from markets.orders import Intent
from tests.trader.ledger.builders import intent
from tests.trader.world import NOW_MS
from trader.engine.standing import Standing


def resting(number: int, expires_ms: int | None = None) -> Intent:
    return msgspec.structs.replace(intent(number), time_in_force="gtc", expires_ms=expires_ms)


def standing(*orders: Intent) -> Standing:
    made = Standing()
    for order in orders:
        made.add(order)
    return made


def test_only_what_rests_is_cancelled_and_only_once() -> None:
    orders = standing(intent(1), resting(2), resting(3, NOW_MS))

    assert list(orders.to_cancel(NOW_MS - 1, killed=False)) == []
    assert list(orders.to_cancel(NOW_MS, killed=False)) == [(3, "expired")]
    assert list(orders.to_cancel(NOW_MS, killed=True)) == [(2, "killed")]
    assert list(orders.to_cancel(NOW_MS + 1, killed=True)) == []


def test_what_has_ended_is_not_cancelled() -> None:
    orders = standing(resting(1))
    orders.end(1)

    assert list(orders.to_cancel(NOW_MS, killed=True)) == []


def test_an_order_is_unknown_until_something_is_heard_of_it() -> None:
    orders = standing(resting(1), resting(2))
    orders.lose(1, "no_answer")
    orders.lose(2, "no_answer")
    orders.accept(1)
    assert orders.unknown == {2: "no_answer"}
    orders.end(2)
    assert orders.unknown == {}


@pytest.mark.parametrize("accepted", [True, False])
def test_an_end_says_whether_the_exchange_ever_had_it(accepted: bool) -> None:
    orders = standing(resting(1))
    if accepted:
        orders.accept(1)

    assert orders.end(1) is accepted
    assert orders.end(1) is False


def test_who_asks_again_cancels_again_what_still_rests() -> None:
    orders = standing(resting(1), resting(2))
    assert len(list(orders.to_cancel(NOW_MS, killed=True))) == 2
    orders.end(1)

    orders.ask_again()

    assert list(orders.to_cancel(NOW_MS, killed=True)) == [(2, "killed")]
