"""What selling a position would bring, by the book as it is now: what a person sees before confirming it."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from bus.protocol.state import Records
from bus.scan.membership import market_view
from bus.trading.reasons import HALTS
from bus.trading.shapes import PositionRow, TraderStatus
from markets.book import NO, YES, fills
from markets.fees import fee_schedule
from markets.opportunities import ScanLimits
from markets.opportunities.legs import ladder, leg
from markets.units import COUNT_ONE_E2, opposite

from . import display


class Sale(msgspec.Struct, frozen=True):
    """What is sold now, what of it comes, and what stays.

    Attributes:
        price_e4: the lowest price of the side held that it is sold at, None where nobody bids.
        brings_e6: without fees. fees_e6: None where they are not known.
        profit_e6: after all fees, of the part that is sold; None where a fee is not known.
    """

    count_e2: int
    left_e2: int
    price_e4: int | None = None
    brings_e6: int = 0
    fees_e6: int | None = 0
    profit_e6: int | None = 0


def sale_of(state: Records, row: PositionRow, collar_e4: int, limits: ScanLimits, now_ms: int) -> Sale:
    """Return what selling whole contracts of a position within the price collar brings now."""
    held_e2 = _exact(row.count_fp, 2)
    view = market_view(state, row.ticker)
    wanted_e2 = held_e2 // COUNT_ONE_E2 * COUNT_ONE_E2
    if view is None or not wanted_e2:
        return Sale(0, held_e2)
    other = NO if row.side == YES else YES  # selling is buying the other outcome
    asks = ladder(view, other, limits)
    near = [level for level in asks.levels if level[0] <= asks.levels[0][0] + collar_e4]
    taken = fills(near, wanted_e2)
    count_e2 = sum(size_e2 for _, size_e2 in taken) // COUNT_ONE_E2 * COUNT_ONE_E2
    taken = fills(near, count_e2)
    if not taken:
        return Sale(0, held_e2)
    event = state.events.get(view.market.event_ticker)
    series = state.series.get(view.market.series_ticker or "")
    fees = None if event is None else fee_schedule(event, series)
    bought = leg(view, other, taken, asks.as_of_ms, fees, now_ms)
    brings_e6 = count_e2 * 10_000 - bought.cost_e6
    paid_e6 = (_exact(row.cost_dollars, 6) + _exact(row.fees_dollars, 6)) * count_e2 // held_e2
    profit_e6 = None if bought.fee_e6 is None else brings_e6 - bought.fee_e6 - paid_e6
    return Sale(count_e2, held_e2 - count_e2, opposite(bought.price_e4), brings_e6, bought.fee_e6, profit_e6)


def in_words(sale: Sale, row: PositionRow, status: TraderStatus | None) -> str:
    """Return a sale as a person is asked about it."""
    what = f"{display.count(sale.count_e2 or sale.left_e2)} {row.side.upper()} of {row.label or row.ticker}"
    if sale.price_e4 is None:
        return f"Nobody bids for {what} now: nothing would be sold. {_halted(status)}".strip()
    fees = "fees that are not known" if sale.fees_e6 is None else f"{display.money(sale.fees_e6)} in fees"
    stays = f" {display.count(sale.left_e2)} stay: nobody bids for them near that." if sale.left_e2 else ""
    return (
        f"Sells {what} at {display.price(sale.price_e4)} or better: brings {display.money(sale.brings_e6)}"
        f" less {fees}, which makes {display.money(sale.profit_e6, sign=True)} after all fees.{stays}"
        f" {_halted(status)}"
    ).strip()


def flattening(sales: Sequence[tuple[PositionRow, Sale]], status: TraderStatus | None) -> str:
    """Return what selling everything would bring, as a person is asked about it."""
    orders = 0 if status is None else status.open_orders
    brings_e6 = sum(sale.brings_e6 for _, sale in sales)
    fees_e6 = sum(sale.fees_e6 or 0 for _, sale in sales)
    profit_e6 = sum(sale.profit_e6 or 0 for _, sale in sales)
    stay = sum(1 for _, sale in sales if sale.left_e2)
    text = (
        f"Pauses trading, cancels {orders} {'order' if orders == 1 else 'orders'} and sells {len(sales)}"
        f" {'position' if len(sales) == 1 else 'positions'} to whoever bids: brings"
        f" {display.money(brings_e6)} less {display.money(fees_e6)} in fees, which makes"
        f" {display.money(profit_e6, sign=True)} after all fees."
    )
    return f"{text} Of {stay} something stays, as nobody bids for it." if stay else text


def _halted(status: TraderStatus | None) -> str:
    if status is None or status.state not in HALTS:
        return ""
    return f"Now {HALTS[status.state]}: the trader may refuse it."


def _exact(text: str, places: int) -> int:
    return int(Decimal(text).scaleb(places))
