"""Why a trade was refused, why nothing is traded, why an order got no more: each word once, and its sentence.

Journals keep the words for ever: none is ever renamed or given another meaning. `NO_DEPTH` had two meanings
until `NOTHING_LEFT` was split off: as an order's end it means the latter. Where risk refuses something that
the scanner would not have offered, it uses the scanner's word.
"""

from collections.abc import Mapping
from typing import Final

from markets.opportunities import reasons as scanned

RUNNING: Final = "running"
"""The state of a trader that trades; any other is one of `HALTS`."""

KILLED: Final = "killed"
HALTED: Final = "halted"
PAUSED: Final = "paused"
STARTING: Final = "starting"
GAP: Final = "gap"
STALE: Final = "stale"
CLOSED: Final = "closed"
STATUS_UNKNOWN: Final = "exchange_unknown"
DRIFT: Final = "drift"
OTHER_ACCOUNT: Final = "other_account"
DAILY_LOSS: Final = "daily_loss"
NO_GATEWAY: Final = "no_gateway"
RECONCILING: Final = "reconciling"

HALTS: Final = {
    KILLED: "trading is killed",
    HALTED: "the journal cannot be written or does not add up",
    DRIFT: "the exchange's account and the journal differ, and nothing explains it: kalshi-bus trader adopt",
    OTHER_ACCOUNT: "the order gateway belongs to another account or exchange",
    PAUSED: "trading is paused",
    DAILY_LOSS: "the daily loss has reached its limit",
    NO_GATEWAY: "the order gateway does not answer",
    RECONCILING: "the exchange's account has not been compared with the journal yet",
    STARTING: "there is no data yet",
    GAP: "the feed is lost or being repaired",
    STALE: "the data is too old, or the process stood still",
    CLOSED: "the exchange is closed",
    STATUS_UNKNOWN: "it is unknown whether the exchange trades",
}
"""Why nothing is traded at all, worst first."""

CROSSED_BOOK: Final = scanned.CROSSED_BOOK
FAIR_VALUE_STALE: Final = scanned.FAIR_VALUE_STALE
FEE_UNKNOWN: Final = scanned.FEE_UNKNOWN
MATCH_STARTED: Final = scanned.MATCH_STARTED
NO_DEPTH: Final = scanned.NO_DEPTH
NOT_ACTIVE: Final = scanned.NOT_ACTIVE
OFF_GRID: Final = scanned.OFF_GRID
STALE_LEG: Final = scanned.STALE_LEG
SUSPECT: Final = scanned.SUSPECT
TOO_CLOSE_TO_START: Final = scanned.TOO_CLOSE_TO_START
VOID_RISK: Final = scanned.VOID_RISK

ONE_POSITION_PER_EVENT: Final = "one_position_per_event"
POSITIONS_PER_EVENT: Final = "positions_per_event"
RETRY_LATER: Final = "retry_later"
OPEN_ORDERS: Final = "open_orders"
ORDERS_PER_MINUTE: Final = "orders_per_minute"
WRONG_EVENT: Final = "wrong_event"
DEGRADED: Final = "degraded"
PAYOUT_TOO_LATE: Final = "payout_too_late"
NO_ROOM: Final = "no_room"
EVENS_NOTHING: Final = "evens_nothing"
MIN_EDGE: Final = "min_edge"
MIN_RETURN: Final = "min_return"
LEG_RISK: Final = "leg_risk"
UNEVEN_LIMIT: Final = "uneven_limit"
NO_FAIR_VALUE: Final = "no_fair_value"
NOT_HELD: Final = "not_held"
NOT_OWN_ORDER: Final = "not_own_order"
NOT_RESTING: Final = "not_resting"
NOT_OWN_TRADE: Final = "not_own_trade"
NO_MIDDLE: Final = "no_middle"
SAME_MARKET_TWICE: Final = "same_market_twice"
MARKET_UNKNOWN: Final = "market_unknown"
SETTLED: Final = "settled"
EXCHANGE_CLOSED: Final = "exchange_closed"
PRICE_FROM_THE_FUTURE: Final = "price_from_the_future"
SEEN_BEFORE_A_GAP: Final = "seen_before_a_gap"
BAD_SIZE: Final = "bad_size"
UNREAL: Final = "unreal"
PRICE_COLLAR: Final = "price_collar"
ORDER_LIMIT: Final = "order_limit"
MARKET_LIMIT: Final = "market_limit"
EVENT_LIMIT: Final = "event_limit"
TOTAL_LIMIT: Final = "total_limit"
MATCH_LIMIT: Final = "match_limit"
SERIES_LIMIT: Final = "series_limit"
DAY_LIMIT: Final = "day_limit"
SHARD_LIMIT: Final = "shard_limit"
STRATEGY_LIMIT: Final = "strategy_limit"
CASH: Final = "cash"
CASH_ON_SHARD: Final = "cash_on_shard"
ERROR: Final = "error"

REFUSALS: Final = {
    **HALTS,
    ONE_POSITION_PER_EVENT: "there is already a position in the event",
    POSITIONS_PER_EVENT: "the event has as many trades as it may have",
    RETRY_LATER: "an order there got nothing a moment ago, or is still open",
    OPEN_ORDERS: "too many orders are open",
    ORDERS_PER_MINUTE: "too many orders within a minute",
    WRONG_EVENT: "the trade and the data belong to different events",
    DEGRADED: "the data of this series is in doubt",
    FEE_UNKNOWN: "the fees of this event are not known",
    MATCH_STARTED: "the match has started",
    TOO_CLOSE_TO_START: "the match starts soon, and may begin early",
    VOID_RISK: "if it is called off it may pay back less than it costs, which the settings do not allow",
    PAYOUT_TOO_LATE: "it pays out later than the limit allows, or at an unknown time",
    NO_ROOM: "the limits leave no room for the smallest size",
    EVENS_NOTHING: "it asks for more than it takes to even the basket out",
    MIN_EDGE: "the size that fits earns less than the minimum, allowing for a missed leg",
    NOT_HELD: "it sells more than the strategy's own trade holds there",
    UNEVEN_LIMIT: "too much is at stake in baskets that lack a leg: they are evened out first",
    LEG_RISK: "legs are missed so often that misses twice as costly would eat up the profit",
    MIN_RETURN: "it earns less per day on the money it ties up than the minimum",
    NOT_OWN_ORDER: "the strategy has no open order with that number",
    NOT_RESTING: "the order does not rest, so it cannot be changed or cancelled",
    NOT_OWN_TRADE: "the trade that it should join is not one of the strategy's in this event",
    NO_MIDDLE: "others do not bid and ask, so nothing says what a quote is worth",
    NO_FAIR_VALUE: "it relies on an opinion, and no fair value of the market is published",
    FAIR_VALUE_STALE: "the fair value is too old",
    SAME_MARKET_TWICE: "two legs are in the same market",
    MARKET_UNKNOWN: "the market is not known",
    SETTLED: "the market has been settled",
    EXCHANGE_CLOSED: "the market's part of the exchange does not trade",
    NOT_ACTIVE: "the market does not trade now",
    SUSPECT: "the data of the market is in doubt until a new book arrives",
    CROSSED_BOOK: "the book is crossed: its data cannot be right",
    STALE_LEG: "the price of a leg is too old",
    PRICE_FROM_THE_FUTURE: "the price claims to be from the future",
    SEEN_BEFORE_A_GAP: "the price was seen before a gap in time",
    UNREAL: "a price, size or amount is beyond anything real: the data cannot be right",
    BAD_SIZE: "the side is neither yes nor no, or the size is not a number of whole contracts",
    OFF_GRID: "the price is not on the market's grid",
    NO_DEPTH: "not enough is offered at the price",
    PRICE_COLLAR: "too far from the price that was seen",
    ORDER_LIMIT: "above the limit for one order",
    MARKET_LIMIT: "above the limit for one market",
    EVENT_LIMIT: "above the limit for one event",
    TOTAL_LIMIT: "above the limit in total",
    MATCH_LIMIT: "above the limit for one match",
    SERIES_LIMIT: "above the limit for one series",
    DAY_LIMIT: "above the limit for payouts on one day",
    SHARD_LIMIT: "above the limit for one shard of the exchange",
    STRATEGY_LIMIT: "above the limit for one strategy",
    CASH: "not enough cash",
    CASH_ON_SHARD: "not enough cash on the market's shard: kalshi-bus trader cash says what to move",
    ERROR: "an error prevented a decision; the log has it",
}
"""Why a trade was refused before anything was sent."""

TICKET_UNKNOWN: Final = "ticket_unknown"
TICKET_EXPIRED: Final = "ticket_expired"
PRICE_MOVED: Final = "price_moved"
SIZE_MOVED: Final = "size_moved"
OTHER_EPOCH: Final = "other_epoch"
MORE_THAN_HELD: Final = "more_than_held"
ORDER_UNKNOWN: Final = "order_unknown"
ORDER_ENDED: Final = "order_ended"
NOTHING_HELD: Final = "nothing_held"
NO_DRIFT: Final = "no_drift"
DRIFT_CHANGED: Final = "drift_changed"

NOT_DONE: Final = {
    TICKET_UNKNOWN: "there is no such ticket, or the trader has restarted since: prepare it again",
    TICKET_EXPIRED: "the ticket is older than 60 s: prepare it again",
    PRICE_MOVED: "the best price is worse than the limit, or than the one shown",
    SIZE_MOVED: "holdings or orders have changed since it was shown: prepare it again",
    OTHER_EPOCH: "it was decided on data from before the publisher restarted",
    MORE_THAN_HELD: "more is to be sold than is held",
    ORDER_UNKNOWN: "there is no order with that number",
    ORDER_ENDED: "the order has ended",
    NOTHING_HELD: "nothing is held there",
    NO_DRIFT: "journal and account do not differ: there is nothing to adopt",
    DRIFT_CHANGED: "the differences have changed since they were shown: look again",
}
"""Why what a person asked for was not done, in addition to REFUSALS."""

COMPLETE: Final = "complete"
NOTHING_LEFT: Final = "nothing_left"
CANCELLED: Final = "cancelled"
EXPIRED: Final = "expired"
RESTARTED: Final = "restarted"
WOULD_TAKE: Final = "would_take"

GATEWAY: Final = {
    "not_sent": "it has not left this machine",
    "not_placed": "it never reached the exchange",
    OTHER_EPOCH: NOT_DONE[OTHER_EPOCH],
    "replay": "the feed is a replay: nothing leaves",
    "not_confirmed": "the typed confirmation for real orders is missing",
    "fenced": "the watchdog or another order gateway has taken over",
    "not_ready": "the order gateway had not listed the account yet",
    "bad_intent": "a number, a name or a time in it makes no sense",
    "key_may_not_trade": "the API key may not trade: make one with the scope write at Kalshi",
    "gateway_order_limit": "above the order gateway's own limit for one order",
    "gateway_market_limit": "above the order gateway's own limit for one market",
    "gateway_total_limit": "above the order gateway's own limit in total",
    "gateway_orders_per_minute": "above the order gateway's own limit on orders per minute",
    "gateway_leases": "more orders rest than the write budget can keep alive",
    "no_cash_on_shard": "the market's shard lacks the cash",
    "exchange_paused": "the exchange, or the market's part of it, does not trade",
}
"""Why the order gateway sent nothing, or what became of the order there."""

EXCHANGE: Final = {
    "insufficient_balance": "the exchange says that there is not enough cash",
    "available_balance_too_low": "the exchange says that there is not enough cash",
    "trading_is_paused": "the exchange has paused trading",
    "exchange_is_paused": "the exchange is paused",
    "market_inactive": "the exchange says that the market does not trade",
    "market_closed": "the exchange says that the market is closed",
    "fill_or_kill_insufficient_resting_volume": "not all of it could be had at once",
    "forbidden": "the exchange does not allow this key to do it",
}
"""Why the exchange refused an order; the keys are its own words."""

ENDS: Final = {
    COMPLETE: "filled completely",
    NOTHING_LEFT: "nothing was left at the price when it arrived",
    CANCELLED: "cancelled",
    EXPIRED: "it expired",
    RESTARTED: "the trader restarted before it arrived",
    WOULD_TAKE: "it may only rest, and would have taken something at once",
    MARKET_UNKNOWN: REFUSALS[MARKET_UNKNOWN],
    NOT_ACTIVE: REFUSALS[NOT_ACTIVE],
    SUSPECT: REFUSALS[SUSPECT],
    **HALTS,
    **GATEWAY,
    **EXCHANGE,
}
"""Why an order got no more than it did."""

UNFILLED: Final = frozenset({NOTHING_LEFT, NO_DEPTH})
"""Ends of an order that arrived and found too little; the second is in journals older than the first."""


def why_refused(reason: str) -> str:
    """Return why a trade was refused, or anything else was not done, as a sentence without its full stop."""
    return _told(reason, REFUSALS | NOT_DONE)


def why_ended(reason: str) -> str:
    """Return why an order got no more than it did, as a sentence without its full stop."""
    return _told(NOTHING_LEFT if reason in UNFILLED else reason, ENDS)


def _told(reason: str, sentences: Mapping[str, str]) -> str:
    """Return a reason's sentence, followed by a colon and its details, if any."""
    word, _, details = reason.partition(": ")
    sentence = sentences.get(word)
    if sentence is None:
        return _plain(reason)
    return f"{sentence}: {details}" if details else sentence


def _plain(reason: str) -> str:
    """Return an unknown reason as text: it is from a later version, or in an exchange's words."""
    return reason.replace("_", " ")
