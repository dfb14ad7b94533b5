"""Intents and fills."""

from markets.fees import FeeSchedule
from markets.orders import Fill, Intent, reserve_e6
from tests.trader.world import NOW_MS

FEES = FeeSchedule("quadratic", 10_000)


def intent(
    number: int, ticker: str = "A", side: str = "yes", price_e4: int = 5_000, count_e2: int = 1_000
) -> Intent:
    return Intent(
        number=number, client_order_id=str(number), trade=number, strategy="value", ticker=ticker,
        event_ticker=f"E-{ticker}", series_ticker="S", label="", side=side, price_e4=price_e4,
        count_e2=count_e2,
        reserve_e6=reserve_e6(FEES, price_e4, count_e2, NOW_MS), fee_type="quadratic", multiplier_e4=10_000,
        created_ms=NOW_MS, valid_until_ms=NOW_MS, epoch=1, seq=1, edge_e6=0, probability=None,
    )  # fmt: skip


def fill(price_e4: int, count_e2: int, fee_e6: int = 0) -> Fill:
    return Fill(price_e4, count_e2, fee_e6, count_e2, NOW_MS)
