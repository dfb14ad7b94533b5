"""What the gateway refuses, and why; what orders may cost. Pure.

Everything here is computed from the gateway's own log and from what the exchange lists of the account: what a
trader says about itself, above all its reserve and its fees, counts for nothing.
"""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markets.fees import FeeSchedule
from markets.orders import Intent, reserve_e6
from markets.units import MAX_COUNT_E2, MIN_TIME_MS, format_money

from .account import Account
from .life import Order

PLAIN_FEES: Final = FeeSchedule("quadratic", 10_000)
"""The highest fee rate of any taker, short of a multiplier above 1."""

FUTURE_MS: Final = 5_000
"""An intent dated later than this from now is not one of ours."""

LONGEST_MS: Final = 120_000
"""No intent is valid for longer."""

_NAME: Final = re.compile(r"[A-Za-z0-9._:\-]{1,128}", re.ASCII)
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_\-:+=/]{1,64}", re.ASCII)

KILLED: Final = "killed"
EXPIRED: Final = "expired"
OTHER_EPOCH: Final = "other_epoch"
STALE: Final = "stale"
REPLAY: Final = "replay"
NOT_CONFIRMED: Final = "not_confirmed"
OTHER_ACCOUNT: Final = "other_account"
FENCED: Final = "fenced"
ORDER_LIMIT: Final = "gateway_order_limit"
MARKET_LIMIT: Final = "gateway_market_limit"
TOTAL_LIMIT: Final = "gateway_total_limit"
RATE_LIMIT: Final = "gateway_orders_per_minute"
LEASES: Final = "gateway_leases"
NO_CASH: Final = "no_cash_on_shard"
PAUSED: Final = "exchange_paused"
BAD_INTENT: Final = "bad_intent"
NOT_READY: Final = "not_ready"


def cost_e6(intent: Intent, price_e4: int, count_e2: int) -> int:
    """Return the most that this much of an order can cost with fees, whatever the intent says of them."""
    if count_e2 <= 0:
        return 0
    fees = PLAIN_FEES
    if 10_000 < intent.multiplier_e4 <= 1_000_000:
        fees = FeeSchedule("quadratic", intent.multiplier_e4)
    return reserve_e6(fees, price_e4, count_e2, MIN_TIME_MS if intent.created_ms < 0 else intent.created_ms)


def senseless(intent: Intent, wall_ms: int) -> str | None:
    """Return what is wrong with an intent in itself, None if nothing is."""
    wrong = None
    if intent.number < 1 or intent.number > 2**53:
        wrong = f"number {intent.number}"
    elif not _CLIENT_ID.fullmatch(intent.client_order_id):
        wrong = "client_order_id"
    elif not _NAME.fullmatch(intent.ticker):
        wrong = "ticker"
    elif intent.side not in ("yes", "no"):
        wrong = "side"
    elif not 0 < intent.price_e4 < 10_000:
        wrong = f"price_e4 {intent.price_e4}"
    elif not 0 < intent.count_e2 <= MAX_COUNT_E2:
        wrong = f"count_e2 {intent.count_e2}"
    elif intent.exchange_index is None or not 0 <= intent.exchange_index < 2**31:
        wrong = f"exchange_index {intent.exchange_index}"
    elif intent.created_ms > wall_ms + FUTURE_MS or intent.valid_until_ms > wall_ms + LONGEST_MS:
        wrong = "made in the future"
    elif intent.time_in_force not in ("ioc", "fok", "gtc"):
        wrong = "time_in_force"
    elif intent.expires_ms is not None and intent.time_in_force != "gtc":
        wrong = "expires_ms"
    elif intent.post_only and intent.time_in_force != "gtc":
        wrong = "post_only"
    return None if wrong is None else f"{BAD_INTENT}: {wrong}"


class Rate:
    """Orders of the last minute, by the steady clock."""

    def __init__(self) -> None:
        self._at: deque[int] = deque()

    def note(self, steady_ms: int) -> None:
        """Count one."""
        self._at.append(steady_ms)

    def within(self, steady_ms: int) -> int:
        """Return how many there were."""
        while self._at and self._at[0] <= steady_ms - 60_000:
            self._at.popleft()
        return len(self._at)


@dataclass(frozen=True, slots=True)
class Held:
    """What the account and the orders that have not ended amount to when one more order is judged.

    Attributes:
        opening_e2: contracts of the new order that open rather than close.
    """

    opening_e2: int
    order_e6: int
    market_e6: int
    total_e6: int
    free_e6: int | None


def weigh(intent: Intent, others: Iterable[Order], account: Account | None) -> Held:
    """Return what an order would amount to beside all others.

    An order that closes a position needs neither cash nor room; of several orders in one market, the earlier
    ones close first.
    """
    others = list(others)
    shard = intent.exchange_index or 0
    held_e2 = account.net_e2(intent.ticker) if account is not None else 0
    closable_e2 = max(0, -held_e2 if intent.side == "yes" else held_e2)
    market_e6, total_e6, shard_e6 = 0, 0, 0
    for order in others:
        cost = cost_e6(order.intent, order.dearest_e4, order.most_e2)
        total_e6 += cost
        if (order.intent.exchange_index or 0) == shard:
            shard_e6 += cost
        if order.intent.ticker == intent.ticker:
            market_e6 += cost
            if order.intent.side == intent.side:
                closable_e2 -= order.most_e2
    opening_e2 = max(0, intent.count_e2 - max(0, closable_e2))
    own_e6 = cost_e6(intent, intent.price_e4, opening_e2)
    free_e6 = None
    if account is not None:
        market_e6 += account.exposure_e6(intent.ticker)
        total_e6 += account.total_exposure_e6
        free_e6 = account.cash_e6(shard) - account.foreign_resting_e6(shard) - shard_e6
    return Held(opening_e2, own_e6, market_e6 + own_e6, total_e6 + own_e6, free_e6)


def no_cash(intent: Intent, held: Held, account: Account) -> str | None:
    """Return why a shard's cash does not cover an order, and how much to move; None if it does."""
    if held.free_e6 is None or held.order_e6 == 0 or held.order_e6 <= held.free_e6:
        return None
    shard = intent.exchange_index or 0
    missing_e6 = held.order_e6 - held.free_e6
    # Whole cents, since transfers are in whole cents.
    missing_e6 += -missing_e6 % 10_000
    richest = max(
        (other for other in account.shards if other != shard),
        key=lambda other: account.cash_e6(other) - account.foreign_resting_e6(other),
        default=None,
    )
    move = f"move {format_money(missing_e6)[:-4]} to shard {shard}"
    if richest is not None:
        move += f", shard {richest} has {format_money(max(0, account.cash_e6(richest)))[:-4]}"
    free = format_money(max(0, held.free_e6))[:-4]
    return f"{NO_CASH}: {format_money(held.order_e6)[:-4]} needed, {free} free: {move}"
