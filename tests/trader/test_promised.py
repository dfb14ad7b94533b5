"""What a trade was expected to earn counts for what its orders got."""

import msgspec

from markets.orders import Intent
from tests.trader.ledger.builders import intent
from trader.attribution import account_of
from trader.ledger.ledger import JOINED
from trader.ledger.lots import Fresh, Got
from trader.promised import Promised


def order(number: int, edge_e6: int, **fields: object) -> Intent:
    made = msgspec.structs.replace(intent(number, f"M{number}"), trade=1, edge_e6=edge_e6)
    return msgspec.structs.replace(made, **fields)


def test_a_basket_counts_whole_whatever_leg_is_missed() -> None:
    legs, promised = [order(1, 700_000), order(2, 700_000)], Promised()
    for leg in legs:
        promised.placed(leg)
    assert promised.e6 == 0
    promised.filled(legs[1], 0, 1)
    assert promised.e6 == 700_000
    evens = order(3, 999_999, attempt=1)
    promised.placed(evens)
    promised.filled(evens, 0, 1_000)
    assert promised.e6 == 700_000


def test_an_order_that_is_a_trade_by_itself_counts_in_the_share_that_was_filled() -> None:
    one, promised = order(1, 700_000), Promised()
    promised.placed(one)
    promised.filled(one, 0, 100)
    assert promised.e6 == 70_000
    promised.filled(one, 100, 1_000)
    assert promised.e6 == 700_000


def test_contracts_added_to_an_order_count_like_those_that_it_was_placed_for() -> None:
    first = order(1, 500_000, time_in_force="gtc")
    later, promised = order(2, 300_000, time_in_force="gtc", attempt=JOINED), Promised()
    for quote in (first, later):
        promised.placed(quote)
        promised.filled(quote, 0, 1_500)  # placed for 1,000
    assert promised.e6 == 750_000 + 450_000


def test_quotes_count_in_the_share_that_was_filled_whichever_joined_first() -> None:
    first = order(1, 500_000, time_in_force="gtc")
    later = [order(number, 300_000, time_in_force="gtc", attempt=JOINED) for number in (2, 3)]
    promised = Promised()
    for quote in (first, *later):
        promised.placed(quote)
    promised.filled(later[0], 0, 333)
    promised.filled(later[0], 333, 1_000)
    promised.filled(later[1], 0, 500)
    assert promised.e6 == 450_000
    promised.filled(first, 0, 100)
    assert promised.e6 == 500_000


def test_the_report_counts_the_same() -> None:
    quotes = [order(1, 500_000, time_in_force="gtc"), order(2, 300_000, time_in_force="gtc", attempt=JOINED)]
    account = account_of(Fresh(quotes, [Got(quotes[1], 500, 2_500_000)]))
    assert account.trades[1].promised.e6 == 150_000
    account.take(Fresh(got=[Got(quotes[1], 1_000, 5_000_000, 500, 2_500_000)]))
    assert account.trades[1].promised.e6 == 300_000
