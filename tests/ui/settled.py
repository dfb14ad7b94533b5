"""A market that was held and has been paid out."""

from bus.trading.shapes import SettlementRow

SETTLED = SettlementRow(
    id=1, ticker="KXMLSGAME-26AUG12VANHOU-VAN", event_ticker="KXMLSGAME-26AUG12VANHOU", side="yes",
    count_fp="20.00", result="yes", value_dollars="1.0000", cost_dollars="8.400000",
    payout_dollars="20.000000", profit_dollars="11.600000", time=1_796_300_000.0,
)  # fmt: skip
