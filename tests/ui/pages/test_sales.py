"""What a person is told before a position is sold: what it brings, what it costs, what stays."""

import msgspec
import pytest

from markets.opportunities import ScanLimits
from markets.records import Status
from tests.bus.trading.samples import a_position, a_status
from tests.ui.stage import MATCH, PAIR, fill, quote
from tests.ui.test_service import StillReplica, joined
from ui.pages.sales import Sale, flattening, in_words, sale_of

MARKET = f"{MATCH}-VAN"
COLLAR = 1_000


def held(**changes: str) -> object:
    fields = {"ticker": MARKET, "count_fp": "100.00", "cost_dollars": "42.000000", "fees_dollars": "0.500000"}
    return a_position(**(fields | {"side": "yes", "label": "Vancouver"} | changes))


@pytest.fixture
def replica() -> StillReplica:
    return joined()[1]


def sale(replica: StillReplica, collar_e4: int = COLLAR, **changes: str) -> Sale:
    row = held(**changes)
    return sale_of(replica.state, row, collar_e4, ScanLimits(), replica.now_ms())  # type: ignore[arg-type]


def test_it_is_sold_to_whoever_bids_best_and_all_fees_are_counted(replica: StillReplica) -> None:
    found = sale(replica)  # 500 are bid for at 40 cents, in a series without fees

    assert found == Sale(100_00, 0, 4_000, 40_000_000, 0, -2_500_000)
    text = in_words(found, held(), a_status())  # type: ignore[arg-type]
    assert text == (
        "Sells 100 YES of Vancouver at 40¢ or better: brings $40.00 less $0.00 in fees, which makes"
        " −$2.50 after all fees."  # noqa: RUF001
    )


def test_what_nobody_bids_for_within_the_collar_stays(replica: StillReplica) -> None:
    found = sale(replica, collar_e4=0, count_fp="620.50", cost_dollars="200.000000")

    assert (found.count_e2, found.left_e2, found.price_e4) == (500_00, 120_50, 4_000)
    assert "120.5 stay" in in_words(found, held(), None)  # type: ignore[arg-type]
    deeper = sale(replica, count_fp="620.50")
    assert (deeper.count_e2, deeper.price_e4) == (620_00, 3_900)


def test_a_no_is_sold_to_who_asks_for_yes(replica: StillReplica) -> None:
    found = sale(replica, side="no", count_fp="10.00", cost_dollars="5.700000", fees_dollars="0.000000")

    assert (found.price_e4, found.brings_e6, found.profit_e6) == (5_800, 5_800_000, 100_000)


def test_where_nobody_bids_nothing_is_sold_and_that_is_said(replica: StillReplica) -> None:
    empty = quote(f"{PAIR}-NOP", None, (4_400, 10_000), replica.now_ms(), status=Status.ACTIVE)
    fill(replica.state, [("md.KXNBAGAME.", "quote", [empty])])

    for ticker in (f"{PAIR}-NOP", "GONE"):
        found = sale(replica, ticker=ticker)
        assert found == Sale(0, 100_00)
        assert in_words(found, held(), None).startswith("Nobody bids for 100 YES")  # type: ignore[arg-type]
    assert sale(replica, count_fp="0.50") == Sale(0, 50)


def test_while_trading_is_killed_it_is_said_that_it_may_be_refused(replica: StillReplica) -> None:
    killed = a_status(state="killed")

    assert in_words(sale(replica), held(), killed).endswith(  # type: ignore[arg-type]
        "Now trading is killed: the trader may refuse it."
    )


def test_flattening_says_what_all_of_it_brings_and_what_stays(replica: StillReplica) -> None:
    row = held()
    sales = [(row, sale(replica)), (row, Sale(0, 50))]

    text = flattening(sales, msgspec.structs.replace(a_status(), open_orders=1))  # type: ignore[arg-type]

    assert text.startswith(
        "Pauses trading, cancels 1 order and sells 2 positions to whoever bids: brings $40.00"
    )
    assert text.endswith("Of 1 something stays, as nobody bids for it.")
