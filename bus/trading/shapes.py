"""What the trader answers on its control socket, and the commands it takes: docs/trader.md in types.

The trader makes these, and whoever asks it reads them with `told`. Money is dollars as text with six
decimals, a price has four, a count two; times are Unix seconds; None means unknown. Members are only ever
added: readers ignore unknown ones, and later ones have defaults, so that an older trader is understood.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from bus.protocol.answers import Refusal
from bus.protocol.messages import Error, convert_map
from markets.errors import DecodeError
from markets.orders import OrderState

from .killswitch import BY_HAND, Killed

MoneyText = Annotated[
    str,
    msgspec.Meta(pattern=r"^-?\d{1,15}\.\d{6}$", description="dollars with six decimals, such as 1.500000"),
]
PriceText = Annotated[
    str, msgspec.Meta(pattern=r"^\d\.\d{4}$", description="dollars with four decimals, such as 0.4300")
]
CountText = Annotated[str, msgspec.Meta(pattern=r"^\d{1,15}\.\d{2}$")]
UnixTime = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
Side = Literal["yes", "no"]

T = TypeVar("T")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of these."""


# -- status


class FairValuesFileStatus(Shape, frozen=True, kw_only=True):
    """The user's file of fair values; `errors` are the first of its refused lines."""

    path: str
    values: int
    loaded: UnixTime | None
    errors: tuple[str, ...]


class FairValuesSourceStatus(Shape, frozen=True, kw_only=True):
    """A source of fair values, which runs in its own process.

    Attributes:
        text: its text in the settings.
        state: "starting"; "waiting" for live data; "answers"; "fails": it raised an error when last asked;
            "restarting": its process ended, or was ended.
        values: how many of its values are in effect. answered: when it last answered.
        failures, restarts: since the trader started. errors: the latest problems.
    """

    name: str
    text: str
    state: Literal["starting", "waiting", "answers", "fails", "restarting"]
    values: int
    answered: UnixTime | None
    failures: int
    restarts: int
    errors: tuple[str, ...]


class TrialFigure(Shape, frozen=True, kw_only=True):
    """A mean over a number of events, and its interval; None if there are too few events for one."""

    events: int
    mean: float
    low: float | None
    high: float | None


class TrialStatus(Shape, frozen=True, kw_only=True):
    """How a source of fair values does in its trial.

    Attributes:
        accepted: whether it is traded on at full size.
        earned: dollars per contract at the price 1, 10 and 60 minutes later, after spread and fee.
        gain: of its Brier score over the price's, by result. profit: dollars per contract, by result.
        calibration: for each tenth of the stated probabilities: calls, their mean, and the mean result.
        waiting: calls without a result yet.
    """

    source: str
    accepted: bool
    earned: tuple[TrialFigure, ...]
    gain: TrialFigure
    profit: TrialFigure
    calibration: tuple[tuple[int, float, float], ...]
    waiting: int


class FairValuesStatus(Shape, frozen=True, kw_only=True):
    """Where fair values come from; the consensus has nothing to report."""

    consensus: None = None
    file: FairValuesFileStatus | None
    sources: tuple[FairValuesSourceStatus, ...] = ()
    trials: tuple[TrialStatus, ...] = ()


class ProfitStatus(Shape, frozen=True, kw_only=True):
    """Profit and loss after fees; None while a position's bid is unknown.

    `unrealised` (before fees) and `total` are at bid; `settlement` is the total at settlement, with locked
    lots at their floor and the others at their expected payout. `locked` is what locked lots earn for
    certain, unless a match is void. `today` counts from 00:00 UTC, as the limit on the daily loss does.
    """

    realised_dollars: MoneyText
    unrealised_dollars: MoneyText | None
    fees_dollars: MoneyText
    total_dollars: MoneyText | None
    today_dollars: MoneyText | None
    settlement_dollars: MoneyText | None = None
    locked_dollars: MoneyText | None = None


class DailyLossStatus(Shape, frozen=True, kw_only=True):
    """The loss that counts against its limit, negative for a profit; `latched`: it has reached the limit.

    `resumed`: somebody decided to go on trading today, and the loss is counted from that moment.
    """

    lost_dollars: MoneyText
    latched: bool
    resumed: bool


class ExposureStatus(Shape, frozen=True, kw_only=True):
    """What held positions can lose, and what open orders can still cost."""

    positions_dollars: MoneyText
    orders_dollars: MoneyText
    total_dollars: MoneyText


class LimitsStatus(Shape, frozen=True, kw_only=True):
    """The limits in effect."""

    order_dollars: MoneyText
    market_dollars: MoneyText
    event_dollars: MoneyText
    total_dollars: MoneyText
    daily_loss_dollars: MoneyText
    min_edge_dollars: MoneyText
    open_orders: int
    orders_per_minute: int
    price_collar_dollars: PriceText
    leg_age_seconds: float
    positions_per_event: int
    payout_hours: float
    in_play: bool
    match_dollars: MoneyText
    series_dollars: MoneyText
    day_dollars: MoneyText
    shard_dollars: MoneyText
    strategy_dollars: MoneyText
    daily_return_percent: float


class LimitsUse(Shape, frozen=True, kw_only=True):
    """How much of each limit is used: 1 is all of it, and more is possible."""

    total: float
    daily_loss: float
    open_orders: float
    orders_per_minute: float


class UnevenLeg(Shape, frozen=True, kw_only=True):
    """How much a basket wants of a leg, and how much it has."""

    ticker: str
    side: Side
    planned_fp: CountText
    got_fp: CountText


class UnevenBasket(Shape, frozen=True, kw_only=True):
    """A basket with uneven legs and no orders to even them out; `refused`: why the last try was refused."""

    trade: int
    strategy: str
    event_ticker: str
    tries: int
    refused: tuple[str, ...]
    legs: tuple[UnevenLeg, ...]


class VoidMarket(Shape, frozen=True, kw_only=True):
    """A held market that has been paid out without a known value; when it will be booked all the same."""

    ticker: str
    event_ticker: str
    booked_in_seconds: float


class StrategyStatus(Shape, frozen=True, kw_only=True):
    """The state of a strategy.

    Attributes:
        text: its text in the settings.
        state: "trades"; "dropped" for the rest of the session, a day at most, because `call` raised `error`;
            or "ended" with the process, because `call` did not return: not loaded until it is allowed.
        slow_calls, slowest_ms: how many calls took more than 50 ms since the start, and the longest.
    """

    name: str
    text: str
    state: Literal["trades", "dropped", "ended"]
    call: str | None
    error: str | None
    slow_calls: int
    slowest_ms: int | None


class LatencyStatus(Shape, frozen=True, kw_only=True):
    """From hearing of a change until the order is on its way, in ms, for the last `count` orders."""

    p50: float | None
    p99: float | None
    count: int


class ScanFailure(Shape, frozen=True, kw_only=True):
    """A part of the scan that raised an error over an event."""

    event_ticker: str
    part: str
    error: str


class RefusedLeg(Shape, frozen=True, kw_only=True):
    """Something that a refused trade wanted to buy."""

    ticker: str
    side: Side


class RefusedTrade(Shape, frozen=True, kw_only=True):
    """A trade that a strategy wants and risk refuses, for a reason from bus.trading.reasons."""

    strategy: str
    event_ticker: str
    reason: str
    legs: tuple[RefusedLeg, ...] = ()


class KilledStatus(Shape, frozen=True, kw_only=True):
    """When trading was killed, and why."""

    at: UnixTime | None
    reason: str

    @classmethod
    def of(cls, killed: Killed | None) -> "KilledStatus | None":
        """Return the kill switch's state in this shape, None if it is not set."""
        if killed is None:
            return None
        return cls(at=None if killed.at_ms is None else killed.at_ms / 1000, reason=killed.reason)


class UnknownOrder(Shape, frozen=True, kw_only=True):
    """An order whose fate is unknown; at `deadline` it counts as not placed."""

    number: int
    ticker: str
    reason: str
    deadline: UnixTime | None


class QueuedOrder(Shape, frozen=True, kw_only=True):
    """A resting order and how many contracts of others are ahead of it at its price; `as_of` None: now."""

    number: int
    ahead_fp: CountText
    as_of: UnixTime | None = None


class ShardStatus(Shape, frozen=True, kw_only=True):
    """Cash on a shard of the exchange, and how much of it no order needs."""

    exchange_index: int
    cash_dollars: MoneyText
    free_dollars: MoneyText


class AccountStatus(Shape, frozen=True, kw_only=True):
    """The account at the exchange, as last looked at.

    Attributes:
        exchange: which one; a new simulated exchange counts as another one.
        gateway: state of the order gateway: starting, answers, silent or other.
        as_of: how new the last look was, by the exchange's word. matched: when it last equalled the journal.
        differences: the lines on which they differed then. drift: those that persisted; nothing is traded.
        odd_orders: orders that rest here and not there, or there and not here.
        external_dollars: cash that came in, less what went out, other than by trading here.
        foreign_lots: markets with holdings that were not bought here.
        comparing_since: since when it has been compared without being equal once; None if it was.
    """

    exchange: str
    gateway: str
    as_of: UnixTime | None
    matched: UnixTime | None
    differences: tuple[str, ...]
    drift: tuple[str, ...]
    odd_orders: tuple[str, ...]
    external_dollars: MoneyText
    foreign_lots: int
    shards: tuple[ShardStatus, ...]
    comparing_since: UnixTime | None = None


class LeftPosition(Shape, frozen=True, kw_only=True):
    """A position, or part of one, that was not closed, and why: a reason from bus.trading.reasons."""

    ticker: str
    count_fp: CountText
    reason: str


class FlattenStatus(Shape, frozen=True, kw_only=True):
    """The last flattening.

    Attributes:
        number: counts flattenings since the trader started, from 1.
        state: "works"; "flat": it is over, and nothing is held or ordered; or "left": it is over, and `left`
            or `open_orders` remain.
        cancelled, sent: how many orders it asked to cancel, and how many orders to sell it sent.
    """

    number: int
    state: Literal["works", "flat", "left"]
    rounds: int
    cancelled: int
    sent: int
    open_orders: int
    left: tuple[LeftPosition, ...]


class TraderStatus(Shape, frozen=True, kw_only=True):
    """The trader's status: docs/trader.md, `status`.

    To add a member: add it here, with a default; its value in trader/report.py; its line in the document's
    example, which a test compares with this; and, if people should see it, its place on the page.
    """

    state: str
    reasons: tuple[str, ...]
    mode: str
    env: str
    account: str
    now: UnixTime
    started: UnixTime
    uptime_seconds: float
    epoch: int
    seq: int
    data_age_seconds: float | None
    feed: str
    strategies: tuple[str, ...]
    fair_values: FairValuesStatus
    pnl: ProfitStatus
    cash_dollars: MoneyText
    starting_cash_dollars: MoneyText
    equity_dollars: MoneyText | None
    clearing_dollars: MoneyText | None = None
    exposure: ExposureStatus
    limits: LimitsStatus
    use: LimitsUse
    positions: int
    open_orders: int
    uneven: tuple[UnevenBasket, ...]
    orders: int
    fills: int
    settlements: int
    decisions: int
    decisions_per_second: float
    backlog: int
    latency_ms: LatencyStatus
    failed: int
    failures: tuple[ScanFailure, ...]
    refusals: dict[str, int]
    refused: tuple[RefusedTrade, ...]
    reconciled: bool
    journal: str
    killed: KilledStatus | None
    error: str | None
    unknown_orders: int = 0
    strategy_states: tuple[StrategyStatus, ...] = ()
    voids: tuple[VoidMarket, ...] = ()
    unknown: tuple[UnknownOrder, ...] = ()
    exchange_account: AccountStatus | None = None
    flatten: FlattenStatus | None = None
    settlement_equity_dollars: MoneyText | None = None
    daily_loss: DailyLossStatus | None = None
    queues: tuple[QueuedOrder, ...] = ()


# -- rows


class PositionRow(Shape, frozen=True, kw_only=True):
    """The net position in a market, and the trades that built it; `bid` and `value` are of the side held.

    `bid` is the result once that is `determined`, else the last good bid. `mark_age_seconds` is how long
    there has been no bid, None while there is one. `floor` is its locked contracts' share of what their
    trades pay at least, `settlement` what the position is worth at settlement, `expected_from` who says so.
    """

    ticker: str
    event_ticker: str
    series_ticker: str
    title: str | None
    label: str
    side: Side
    count_fp: CountText
    cost_dollars: MoneyText
    average_price_dollars: PriceText
    fees_dollars: MoneyText
    bid_dollars: PriceText | None
    value_dollars: MoneyText | None
    unrealised_dollars: MoneyText | None
    as_of: UnixTime | None
    stale: bool
    strategy: str
    opened: UnixTime
    status: str | None
    close_time: UnixTime | None
    start_time: UnixTime | None
    trades: tuple[int, ...] = ()
    mark_age_seconds: float | None = None
    determined: bool = False
    locked_fp: CountText = "0.00"
    floor_dollars: MoneyText | None = None
    settlement_dollars: MoneyText | None = None
    expected_from: tuple[str, ...] = ()


class TradeLeg(Shape, frozen=True, kw_only=True):
    """A trade's part in a market: it bought `bought` contracts and still holds `count` of them.

    `bid` and `settlement` are what the held ones are worth, `locked_fp` how many of them are locked.
    """

    ticker: str
    label: str
    side: Side
    bought_fp: CountText
    count_fp: CountText
    cost_dollars: MoneyText
    locked_fp: CountText = "0.00"
    bid_dollars: MoneyText | None = None
    settlement_dollars: MoneyText | None = None
    expected_from: tuple[str, ...] = ()


class TradeRow(Shape, frozen=True, kw_only=True):
    """A trade: what it promised, what is locked, what it may still earn, and what it earned.

    Attributes:
        kind: the kind of opportunity, the strategy's name if it took none, empty if unknown.
        source: of the fair value that it relies on, empty if it relies on none.
        slippage_dollars: how much more was paid than was offered at the decision, None if unknown.
        opened, decided: when it first bought something, and when that was decided; None if unknown.
        cost_dollars, fees_dollars: of all it bought. got_dollars: its proceeds from sales and settlements.
        promised_dollars: the profit it was expected to make after fees, for the size that was sent.
        floor_dollars: the least that its locked lots pay.
        locked_dollars: the profit that is certain now, None while some of it is not locked.
        bid_dollars, settlement_dollars: its profit at bid and at settlement, None while unknown.
        settled_dollars: its profit once nothing of it is held any more, None before.
    """

    trade: int
    strategy: str
    kind: str
    event_ticker: str
    opened: UnixTime
    ended: UnixTime | None
    legs: tuple[TradeLeg, ...]
    cost_dollars: MoneyText
    fees_dollars: MoneyText
    got_dollars: MoneyText
    promised_dollars: MoneyText | None
    floor_dollars: MoneyText | None
    locked_dollars: MoneyText | None
    bid_dollars: MoneyText | None
    settlement_dollars: MoneyText | None
    settled_dollars: MoneyText | None
    source: str = ""
    slippage_dollars: MoneyText | None = None
    decided: UnixTime | None = None
    series_ticker: str = ""


class OrderRow(Shape, frozen=True, kw_only=True):
    """An order; `price` is its limit, `reason` why it ended, or, while open, why its fate is unknown."""

    number: int
    client_order_id: str
    trade: int
    strategy: str
    ticker: str
    event_ticker: str
    label: str
    side: Side
    price_dollars: PriceText
    count_fp: CountText
    filled_fp: CountText
    cost_dollars: MoneyText
    fees_dollars: MoneyText
    status: OrderState
    reason: str | None
    created: UnixTime
    ended: UnixTime | None
    latency_ms: int | None
    basis: tuple[int, int]
    edge_dollars: MoneyText
    probability: float | None
    attempt: int


class FillRow(Shape, frozen=True, kw_only=True):
    """A filled part of an order. `fill_id` is the exchange's, if it has one; `maker`: the order rested."""

    id: int
    order: int
    ticker: str
    event_ticker: str
    side: Side
    price_dollars: PriceText
    count_fp: CountText
    cost_dollars: MoneyText
    fee_dollars: MoneyText
    time: UnixTime
    fill_id: str = ""
    maker: bool = False


class SettlementRow(Shape, frozen=True, kw_only=True):
    """The settlement of a held market; `value` is that of YES, `profit` is before fees.

    `fee` is what a payout in whole cents withholds of the value. `corrected`: when the exchange corrected an
    earlier result, which had been booked.
    """

    id: int
    ticker: str
    event_ticker: str
    side: Side
    count_fp: CountText
    result: Literal["yes", "no", "scalar", "void"]
    value_dollars: PriceText
    cost_dollars: MoneyText
    payout_dollars: MoneyText
    profit_dollars: MoneyText
    time: UnixTime
    fee_dollars: MoneyText = "0.000000"
    corrected: UnixTime | None = None


class EquityPoint(Shape, frozen=True, kw_only=True):
    """A point of the equity curve: positions and equity, at bid and at settlement."""

    time: UnixTime
    cash_dollars: MoneyText
    positions_dollars: MoneyText | None
    equity_dollars: MoneyText | None
    realised_dollars: MoneyText
    fees_dollars: MoneyText
    settlement_dollars: MoneyText | None = None
    settlement_equity_dollars: MoneyText | None = None


# -- the report


class ReportRow(Shape, frozen=True, kw_only=True):
    """What a group of trades earned: those of one strategy, kind, source, series or day.

    Money belongs to the day on which it moved. A trade, its promise and its open lots belong to the day on
    which the trade was decided.

    Attributes:
        name: of the strategy, kind, source (empty: no fair value), series, or day (YYYY-MM-DD).
        tried: trades that were sent. trades: those with fills. over: of these, those that hold nothing any
            more. won: of those, how many made a profit.
        expected: what `trades` were expected to earn after fees. expected_of_over, got_of_over: the expected
            and actual earnings of those that are over.
        bought: paid for contracts, without fees. fees: paid. slippage: how much more was paid than was
            offered at the decision; None if part of it was decided before that was recorded.
        realised: profit before fees of what was sold or settled. profit: realised less all fees, including
            those of open lots; its sum over the rows is the ledger's own.
        open_cost: the cost of what is held. locked: what its locked lots earn for certain.
        bid, settlement: `profit` plus what is held, each lot valued at its bid, and at settlement.
        floor: `profit` plus what is held, with locked lots at their floor and the rest worth nothing.
        won, lost: what trades that are over earned: those with a profit, and the others.
    """

    name: str
    tried: int
    trades: int
    over: int
    won: int
    expected_dollars: MoneyText
    expected_of_over_dollars: MoneyText
    got_of_over_dollars: MoneyText
    bought_dollars: MoneyText
    fees_dollars: MoneyText
    slippage_dollars: MoneyText | None
    realised_dollars: MoneyText
    profit_dollars: MoneyText
    open_cost_dollars: MoneyText
    locked_dollars: MoneyText | None
    bid_dollars: MoneyText | None
    settlement_dollars: MoneyText | None
    floor_dollars: MoneyText | None = None
    won_dollars: MoneyText = "0.000000"
    lost_dollars: MoneyText = "0.000000"


class CalibrationBin(Shape, frozen=True, kw_only=True):
    """Lots of one tenth of all prices, held to the end: a contract's mean stated value, and what it paid."""

    lots: int
    contracts_fp: CountText
    said: float
    came: float


class CalibrationRow(Shape, frozen=True, kw_only=True):
    """Stated values and results of what has settled. `name`: the source; empty: the price that was paid."""

    name: str
    bins: tuple[CalibrationBin, ...]


class EquityDay(Shape, frozen=True, kw_only=True):
    """Equity of a UTC day at settlement (at bid if that is unknown), without cash from outside.

    `drawdown` is the largest fall within the day, 0 or negative.
    """

    day: str
    first_dollars: MoneyText
    low_dollars: MoneyText
    high_dollars: MoneyText
    last_dollars: MoneyText
    drawdown_dollars: MoneyText


class ReportAnswer(Shape, frozen=True, kw_only=True):
    """To `report`: who has earned what, from `since` to `until` (UTC days, both included; None: all).

    `marked`: the worth of what is held is known. Each of the tables adds up to `total`. `calibration` covers
    what settled in these days; `equity_days` are the newest of them, `drawdown` the largest fall of equity in
    all of them, None while nothing is known.
    """

    since: str | None
    until: str | None
    marked: bool
    total: ReportRow
    by_strategy: tuple[ReportRow, ...]
    by_kind: tuple[ReportRow, ...]
    by_source: tuple[ReportRow, ...]
    by_series: tuple[ReportRow, ...]
    by_day: tuple[ReportRow, ...]
    calibration: tuple[CalibrationRow, ...] = ()
    equity_days: tuple[EquityDay, ...] = ()
    drawdown_dollars: MoneyText | None = None


class RiskRow(Shape, frozen=True, kw_only=True):
    """What is held in an event, and what can come of it: its whole profit, after cost and fees.

    Attributes:
        payout: when it is expected to pay out, None if unknown.
        lots: how many are held. locked: whether even its worst case makes a profit.
        cost_dollars: paid for what is held, including fees.
        worst_dollars, best_dollars: profit in the worst and the best outcome of the event.
        void_dollars: the least profit if it is called off, None if unknown.
        bid_dollars, settlement_dollars: profit at bid and at settlement, None while unknown.
        pays_dollars: the expected payout. least_dollars, most_dollars: the payout in worst and best outcome.
    """

    event_ticker: str
    series_ticker: str
    title: str | None
    start: UnixTime | None
    payout: UnixTime | None
    lots: int
    trades: tuple[int, ...]
    strategies: tuple[str, ...]
    locked: bool
    cost_dollars: MoneyText
    worst_dollars: MoneyText
    best_dollars: MoneyText
    void_dollars: MoneyText | None
    bid_dollars: MoneyText | None
    settlement_dollars: MoneyText | None
    pays_dollars: MoneyText | None
    least_dollars: MoneyText
    most_dollars: MoneyText


# -- answers


class PositionsAnswer(Shape, frozen=True, kw_only=True):
    """To `positions`: the open ones, largest cost first."""

    positions: tuple[PositionRow, ...]


class OrdersAnswer(Shape, frozen=True, kw_only=True):
    """To `orders`: the newest first."""

    orders: tuple[OrderRow, ...]


class FillsAnswer(Shape, frozen=True, kw_only=True):
    """To `fills`: the newest first."""

    fills: tuple[FillRow, ...]


class SettlementsAnswer(Shape, frozen=True, kw_only=True):
    """To `settlements`: the newest first."""

    settlements: tuple[SettlementRow, ...]


class RisksAnswer(Shape, frozen=True, kw_only=True):
    """To `risks`: what is held, by event, the earliest payout first."""

    risks: tuple[RiskRow, ...]


class TradesAnswer(Shape, frozen=True, kw_only=True):
    """To `trades`: the newest first."""

    trades: tuple[TradeRow, ...]


class EquityAnswer(Shape, frozen=True, kw_only=True):
    """To `equity`: the oldest first."""

    points: tuple[EquityPoint, ...]


class CommandAnswer(Shape, frozen=True, kw_only=True):
    """To a command: the state afterwards, and what went wrong nevertheless, if anything."""

    state: str
    warning: str | None = None


class TicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="buy"):
    """A purchase as it would be placed now.

    Attributes:
        number: for confirming it, until `valid_until`.
        best_dollars: the best price now, None if nobody offers.
        fillable_fp: how much would be filled at once.
        cost_dollars, fees_dollars: of that part; for an order that rests, of the whole order.
        worst_dollars: the most that it can cost, including fees, all of which can be lost.
        payout_dollars: what the whole order pays if it is right.
        rest_seconds: how long it rests; None: what is not filled at once is cancelled.
        refused, why: why risk would refuse it now, as a word and as a sentence; None if it would not.
    """

    number: int
    ticker: str
    event_ticker: str
    label: str
    side: Side
    count_fp: CountText
    price_dollars: PriceText
    best_dollars: PriceText | None
    fillable_fp: CountText
    cost_dollars: MoneyText
    fees_dollars: MoneyText
    worst_dollars: MoneyText
    payout_dollars: MoneyText
    rest_seconds: int | None
    valid_until: UnixTime
    refused: str | None
    why: str | None


class SaleRow(Shape, frozen=True, kw_only=True):
    """What selling a position, or part of it, would do now; prices are of the side held.

    Attributes:
        held_fp, count_fp, left_fp: how much is held, how much of it would be sold, how much would stay.
        best_dollars: the best bid. price_dollars: the least price of the sale; None: nothing is sold.
        brings_dollars, fees_dollars: proceeds and fees of `count_fp` at the current bids.
        cost_dollars: what those had cost, including fees. realised_dollars: proceeds less fees and cost.
        settlement_dollars: their expected payout, according to `expected_from`; None: unknown.
        against_settlement_dollars: how much more than that the sale brings.
        refused, why: why it, or the rest of it, would not be sold; None if all of it would.
    """

    ticker: str
    event_ticker: str
    label: str
    side: Side
    held_fp: CountText
    count_fp: CountText
    left_fp: CountText
    best_dollars: PriceText | None
    price_dollars: PriceText | None
    brings_dollars: MoneyText
    fees_dollars: MoneyText
    cost_dollars: MoneyText
    realised_dollars: MoneyText
    settlement_dollars: MoneyText | None
    against_settlement_dollars: MoneyText | None
    expected_from: tuple[str, ...]
    refused: str | None
    why: str | None


class ShownOrderRow(Shape, frozen=True, kw_only=True):
    """An order that has not ended; `rests` is the unfilled part, `frees` what that part may still cost."""

    number: int
    ticker: str
    event_ticker: str
    label: str
    side: Side
    price_dollars: PriceText
    count_fp: CountText
    filled_fp: CountText
    rests_fp: CountText
    frees_dollars: MoneyText


class SaleTicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="sell"):
    """A sale as it would be carried out now.

    `worst_before` and `worst_after` are the profit of everything held in its event in the worst outcome, now
    and after the sale; for the others see TicketRow.
    """

    number: int
    sale: SaleRow
    worst_before_dollars: MoneyText
    worst_after_dollars: MoneyText
    valid_until: UnixTime
    refused: str | None
    why: str | None


class CancelTicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="cancel"):
    """An order that would be cancelled; `ahead_fp` contracts are ahead of it at its price, None: unknown."""

    number: int
    order: ShownOrderRow
    ahead_fp: CountText | None
    ahead_as_of: UnixTime | None
    valid_until: UnixTime
    refused: str | None = None
    why: str | None = None


class FlattenTicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="flatten"):
    """Everything that would be cancelled, everything held and how much would be sold, and the totals.

    `refused`, `why`: why risk would let nothing be sold now. It can be confirmed all the same: trading is
    paused, orders are cancelled, and selling is tried again for a while.
    """

    number: int
    orders: tuple[ShownOrderRow, ...]
    sales: tuple[SaleRow, ...]
    brings_dollars: MoneyText
    fees_dollars: MoneyText
    realised_dollars: MoneyText
    against_settlement_dollars: MoneyText | None
    worst_before_dollars: MoneyText
    worst_after_dollars: MoneyText
    valid_until: UnixTime
    refused: str | None = None
    why: str | None = None


AnyTicketRow = TicketRow | SaleTicketRow | CancelTicketRow | FlattenTicketRow


class TicketAnswer(Shape, frozen=True, kw_only=True):
    """To `prepare`."""

    state: str
    ticket: AnyTicketRow


class ByHandAnswer(Shape, frozen=True, kw_only=True):
    """To `confirm` and `adopt`.

    Attributes:
        orders: numbers of the orders that were placed; for a cancel, and for the first round of flattening,
            also of those that were asked to end.
        refused, why: why it was not done, as a word and as a sentence; None if it was, at least in part.
        left: what should have been sold and was not.
        flattening: for a ticket that flattens, the number of the flattening in the status; else None.
    """

    state: str
    orders: tuple[int, ...] = ()
    refused: str | None = None
    why: str | None = None
    left: tuple[LeftPosition, ...] = ()
    flattening: int | None = None


# -- commands


class PauseCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="pause"):
    """Stop trading until `resume`, even after a restart."""

    reason: str = BY_HAND


class ResumeCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="resume"):
    """Trade again; after a kill or the daily loss, `word` must be bus.trading.killswitch.WORD."""

    word: str = ""


class KillCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="kill"):
    """Stop trading. Whoever asks must have set the kill switch first."""

    reason: str = BY_HAND


AnyCommand = PauseCommand | ResumeCommand | KillCommand

TickerText = Annotated[
    str, msgspec.Meta(min_length=1, max_length=200, description="a ticker, 1 to 200 characters")
]
AskedCount = Annotated[
    str, msgspec.Meta(pattern=r"^\d{1,9}(\.0{1,2})?$", description="whole contracts as text, such as 10")
]
AskedPrice = Annotated[
    str,
    msgspec.Meta(pattern=r"^0?\.\d{1,4}$", description="dollars below 1 as text, such as 0.43"),
]
NumberAsked = Annotated[int, msgspec.Meta(ge=0, le=2**53, description="a whole number from 0 to 2^53")]
SecondsAsked = Annotated[int, msgspec.Meta(ge=1, le=86_400, description="whole seconds, 1 to 86400")]


class PrepareCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Work out a purchase: whole contracts of `side` at `price` or better. Nothing is placed.

    `rest_seconds`: how long the part not filled at once may rest; None: it is cancelled.
    """

    what: Literal["buy"] = "buy"
    ticker: TickerText
    side: Side
    count_fp: AskedCount
    price_dollars: AskedPrice
    rest_seconds: SecondsAsked | None = None


class PrepareSaleCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Work out a sale of a position; `count` None: all of it, `price` None: at the bids."""

    what: Literal["sell"] = "sell"
    ticker: TickerText
    count_fp: AskedCount | None = None
    price_dollars: AskedPrice | None = None


class PrepareCancelCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Say what cancelling an order would do."""

    what: Literal["cancel"] = "cancel"
    number: NumberAsked


class PrepareFlattenCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Say what flattening would cancel and sell."""

    what: Literal["flatten"] = "flatten"


class ConfirmCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="confirm"):
    """Do what a ticket says; repeating it does nothing more."""

    ticket: NumberAsked


class AdoptCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="adopt"):
    """Accept drift: all `lines` as the status shows them, and the word ADOPT."""

    lines: Annotated[
        tuple[str, ...],
        msgspec.Meta(max_length=1_000, description="the lines of drift as the status shows them, in a list"),
    ]
    word: Literal["ADOPT"]


AnyPrepareCommand = PrepareCommand | PrepareSaleCommand | PrepareCancelCommand | PrepareFlattenCommand
ByHandCommand = AnyPrepareCommand | ConfirmCommand | AdoptCommand

PREPARES: Final[Mapping[str, type[AnyPrepareCommand]]] = {
    "buy": PrepareCommand,
    "sell": PrepareSaleCommand,
    "cancel": PrepareCancelCommand,
    "flatten": PrepareFlattenCommand,
}
"""The command to prepare something, by its `what`."""


def told(answer: Mapping[str, object], type_: type[T]) -> T:
    """Return the trader's answer.

    Raises:
        Refusal: the trader answered that it cannot, or will not.
        DecodeError: the answer does not have this shape; the message names the member.
    """
    ok = answer.get("ok")
    if ok is False:
        try:
            error = convert_map(answer.get("error"), Error)
        except DecodeError as problem:
            raise DecodeError(f"{type_.__name__}: {problem}") from None
        raise Refusal(error.code, error.message, error.retry_ms)
    if ok is not True:
        raise DecodeError(f"{type_.__name__}: got ok {ok!r:.50}, expected true or false")
    return convert_map(answer, type_)
