"""Why a trade was refused, why nothing is traded, why an order got no more: each word once, and its sentence.

Journals keep the words for ever: none is ever renamed or given another meaning. `NO_DEPTH` had two until
`NOTHING_LEFT` was split off: as an order's end it means the latter. Where risk refuses what the scanner would
not have offered, it uses the scanner's word.
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
    DRIFT: "the exchange's account and the journal differ, and nothing explains it (trader adopt)",
    OTHER_ACCOUNT: "the order gateway is that of another account or exchange",
    PAUSED: "trading is paused",
    DAILY_LOSS: "the loss of the day has reached its limit",
    NO_GATEWAY: "the order gateway does not answer",
    RECONCILING: "the exchange's account has not been compared with the journal yet",
    STARTING: "there is no data yet",
    GAP: "the feed is being repaired or lost",
    STALE: "the data is too old, or the process stood still",
    CLOSED: "the exchange is closed",
    STATUS_UNKNOWN: "whether the exchange trades is not known",
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
    ONE_POSITION_PER_EVENT: "the event is held already",
    POSITIONS_PER_EVENT: "the event has all the positions it may have",
    RETRY_LATER: "an order there got nothing a moment ago, or is still open",
    OPEN_ORDERS: "too many orders are open",
    ORDERS_PER_MINUTE: "too many orders in a minute",
    WRONG_EVENT: "the trade and what was seen are of different events",
    DEGRADED: "the data of this series is in doubt",
    FEE_UNKNOWN: "the fees of this event are not known",
    MATCH_STARTED: "the match has started",
    TOO_CLOSE_TO_START: "the match starts soon, and may begin early",
    VOID_RISK: "if it is called off it may pay back less than it costs, and that is not to be risked",
    PAYOUT_TOO_LATE: "it pays out later than the limit allows, or nobody knows when",
    NO_ROOM: "the limits leave no room for the smallest size",
    EVENS_NOTHING: "it asks for more than evens the basket out",
    MIN_EDGE: "the size that fits earns less than asked for, a missed leg considered",
    NOT_HELD: "it sells more than the strategy's own trade holds there",
    UNEVEN_LIMIT: "too much is at stake in baskets that lack a leg: they are evened out first",
    LEG_RISK: "a leg is missed so often that twice as many misses would cost all that it earns",
    MIN_RETURN: "it earns less a day on what it ties up than asked for",
    NOT_OWN_ORDER: "there is no open order of that number that is the strategy's own",
    NOT_RESTING: "the order does not rest: nothing of it can be changed or taken back",
    NOT_OWN_TRADE: "the trade that it is to belong to is none of the strategy's own in this event",
    NO_MIDDLE: "others do not bid and ask, so nothing says what a quote is worth",
    NO_FAIR_VALUE: "it rests on an opinion, and no fair value of the market is published",
    FAIR_VALUE_STALE: "the fair value is too old",
    SAME_MARKET_TWICE: "two legs are in the same market",
    MARKET_UNKNOWN: "the market is not known",
    SETTLED: "the market has been settled",
    EXCHANGE_CLOSED: "the part of the exchange that the market is on does not trade",
    NOT_ACTIVE: "the market does not trade now",
    SUSPECT: "the data of the market is in doubt until a new book arrives",
    CROSSED_BOOK: "the book is crossed: its data cannot be right",
    STALE_LEG: "the price of a leg is too old",
    PRICE_FROM_THE_FUTURE: "the price claims to be of the future",
    SEEN_BEFORE_A_GAP: "the price was seen before a gap in time",
    UNREAL: "a price, size or amount is beyond anything real: the data cannot be right",
    BAD_SIZE: "the side is neither yes nor no, or the size no number of whole contracts",
    OFF_GRID: "the price cannot be ordered on the market's grid",
    NO_DEPTH: "not enough is offered at the price",
    PRICE_COLLAR: "too far from the price that was seen",
    ORDER_LIMIT: "above the limit of an order",
    MARKET_LIMIT: "above the limit of a market",
    EVENT_LIMIT: "above the limit of an event",
    TOTAL_LIMIT: "above the limit of all together",
    MATCH_LIMIT: "above the limit of all events of a match",
    SERIES_LIMIT: "above the limit of a series",
    DAY_LIMIT: "above the limit of what pays out on one day",
    SHARD_LIMIT: "above the limit of a shard of the exchange",
    STRATEGY_LIMIT: "above the limit of a strategy",
    CASH: "not enough cash",
    CASH_ON_SHARD: "not enough cash on the market's shard; trader cash says what to move",
    ERROR: "an error kept it from being judged; the log has it",
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
    PRICE_MOVED: "the price is beyond the one that was shown",
    SIZE_MOVED: "what is held or ordered is not any more what was shown: prepare it again",
    OTHER_EPOCH: "it was decided on data from before the publisher began anew",
    MORE_THAN_HELD: "more is to be sold than is held",
    ORDER_UNKNOWN: "there is no order of that number",
    ORDER_ENDED: "the order has ended",
    NOTHING_HELD: "nothing is held there",
    NO_DRIFT: "journal and account do not differ: there is nothing to adopt",
    DRIFT_CHANGED: "what differs is not any more what was shown: look again",
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
    "not_placed": "it never came to the exchange",
    OTHER_EPOCH: NOT_DONE[OTHER_EPOCH],
    "replay": "the feed is a replay: nothing leaves",
    "not_confirmed": "the typed confirmation for real orders is missing",
    "fenced": "the watchdog or another order gateway has taken over",
    "not_ready": "the order gateway had not listed the account yet",
    "bad_intent": "a number, a name or a time in it makes no sense",
    "key_may_not_trade": "the API key may not trade: make one with the scope write at Kalshi",
    "gateway_order_limit": "above the order gateway's own limit of an order",
    "gateway_market_limit": "above the order gateway's own limit of a market",
    "gateway_total_limit": "above the order gateway's own limit of all together",
    "gateway_orders_per_minute": "above the order gateway's own limit of orders a minute",
    "gateway_leases": "more orders rest than can be kept alive by the write budget",
    "no_cash_on_shard": "the market's shard has not the cash",
    "exchange_paused": "the exchange, or the part of it that the market is on, does not trade",
}
"""Why the order gateway sent nothing, or what became of it there."""

EXCHANGE: Final = {
    "insufficient_balance": "the exchange says that the cash is not there",
    "trading_is_paused": "the exchange has paused trading",
    "exchange_is_paused": "the exchange is paused",
    "market_inactive": "the exchange says that the market does not trade",
    "market_closed": "the exchange says that the market is closed",
    "fill_or_kill_insufficient_resting_volume": "not all of it could be had at once",
    "forbidden": "the exchange does not allow it to this key",
}
"""Why the exchange refused it, in its own words."""

ENDS: Final = {
    COMPLETE: "filled completely",
    NOTHING_LEFT: "nothing was left at the price when it arrived",
    CANCELLED: "taken back",
    EXPIRED: "its time was over",
    RESTARTED: "the trader restarted before it arrived",
    WOULD_TAKE: "it was to rest only, and would have taken something at once",
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
    """Return a reason's sentence, with its details after a colon."""
    word, _, details = reason.partition(": ")
    sentence = sentences.get(word)
    if sentence is None:
        return _plain(reason)
    return f"{sentence}: {details}" if details else sentence


def _plain(reason: str) -> str:
    """A reason from a later version, or in an exchange's words."""
    return reason.replace("_", " ")
