"""What the trader answers on its control socket, and the commands it takes: docs/trader.md in types.

The trader makes these, and whoever asks it reads them with `told`. Money is text of dollars with six
decimals, a price with four, a count with two; times are Unix seconds; None is unknown. Members are only ever
added: one that is not known is passed over, and one added later has a default, so that an older trader is
understood.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from bus.protocol.answers import Refusal
from bus.protocol.messages import Error, convert_map
from markets.errors import DecodeError
from markets.orders import OrderState

from .killswitch import BY_HAND, Killed

MoneyText = Annotated[str, msgspec.Meta(pattern=r"^-?\d{1,15}\.\d{6}$")]
PriceText = Annotated[str, msgspec.Meta(pattern=r"^\d\.\d{4}$")]
CountText = Annotated[str, msgspec.Meta(pattern=r"^\d{1,15}\.\d{2}$")]
UnixTime = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
Side = Literal["yes", "no"]

T = TypeVar("T")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of these."""


# -- status


class FairValuesFileStatus(Shape, frozen=True, kw_only=True):
    """The file of one's own fair values; `errors` are the first of its refused lines."""

    path: str
    values: int
    loaded: UnixTime | None
    errors: tuple[str, ...]


class FairValuesSourceStatus(Shape, frozen=True, kw_only=True):
    """A source of fair values that runs in a process of its own.

    Attributes:
        text: what the settings say of it.
        state: "starting"; "waiting" for live data; "answers"; "fails": it raised an error when last asked;
            "restarting": its process ended, or was ended.
        values: how many of its values hold. answered: when it last gave an answer.
        failures, restarts: since the trader started. errors: what was wrong last.
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
    """A mean over so many events, and its interval; None where there are too few for one."""

    events: int
    mean: float
    low: float | None
    high: float | None


class TrialStatus(Shape, frozen=True, kw_only=True):
    """How a source of fair values stands its trial.

    Attributes:
        accepted: whether it is traded on at full size.
        earned: dollars a contract by the price 1, 10 and 60 minutes later, after spread and fee.
        gain: of its Brier score over the price's, by result. profit: dollars a contract, by result.
        calibration: of each tenth of the stated probability: calls, what was said on average, what came.
        waiting: calls without a result.
    """

    source: str
    accepted: bool
    earned: tuple[TrialFigure, ...]
    gain: TrialFigure
    profit: TrialFigure
    calibration: tuple[tuple[int, float, float], ...]
    waiting: int


class FairValuesStatus(Shape, frozen=True, kw_only=True):
    """Where fair values come from; the consensus has nothing to say of itself."""

    consensus: None = None
    file: FairValuesFileStatus | None
    sources: tuple[FairValuesSourceStatus, ...] = ()
    trials: tuple[TrialStatus, ...] = ()


class ProfitStatus(Shape, frozen=True, kw_only=True):
    """Profit and loss after fees; None while the bid of a position is not known.

    `unrealised` (before fees) and `total` are at bid, `settlement` is the total at settlement: locked lots at
    their floor, the others at what they are expected to pay. `locked` is what locked lots earn for certain,
    unless a match is void. `today` counts from 00:00 UTC, as the limit of the daily loss does.
    """

    realised_dollars: MoneyText
    unrealised_dollars: MoneyText | None
    fees_dollars: MoneyText
    total_dollars: MoneyText | None
    today_dollars: MoneyText | None
    settlement_dollars: MoneyText | None = None
    locked_dollars: MoneyText | None = None


class DailyLossStatus(Shape, frozen=True, kw_only=True):
    """The loss that counts against its limit, below 0 a profit; `latched`: it has reached it.

    `resumed`: somebody has said to trade all the same today, and the loss is counted from there.
    """

    lost_dollars: MoneyText
    latched: bool
    resumed: bool


class ExposureStatus(Shape, frozen=True, kw_only=True):
    """What can be lost by what is held, and what open orders can still cost."""

    positions_dollars: MoneyText
    orders_dollars: MoneyText
    total_dollars: MoneyText


class LimitsStatus(Shape, frozen=True, kw_only=True):
    """The limits that hold."""

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
    """The share of limits that is in use, 0..1 and above."""

    total: float
    daily_loss: float
    open_orders: float
    orders_per_minute: float


class UnevenLeg(Shape, frozen=True, kw_only=True):
    """What a basket wants of a leg, and what it has."""

    ticker: str
    side: Side
    planned_fp: CountText
    got_fp: CountText


class UnevenBasket(Shape, frozen=True, kw_only=True):
    """A basket whose legs are not even and not about to be; `refused`: why not evened out when last tried."""

    trade: int
    strategy: str
    event_ticker: str
    tries: int
    refused: tuple[str, ...]
    legs: tuple[UnevenLeg, ...]


class VoidMarket(Shape, frozen=True, kw_only=True):
    """A market that is held and paid out, and nobody says at what; it is booked in so many seconds."""

    ticker: str
    event_ticker: str
    booked_in_seconds: float


class StrategyStatus(Shape, frozen=True, kw_only=True):
    """How a strategy stands.

    Attributes:
        text: what the settings say of it.
        state: "trades"; "dropped" for the rest of the session, a day at most, since `call` raised `error`; or
            "ended" with the process, since `call` did not return: not loaded until it is allowed.
        slow_calls, slowest_ms: its calls that needed more than 50 ms since the start, and the longest.
    """

    name: str
    text: str
    state: Literal["trades", "dropped", "ended"]
    call: str | None
    error: str | None
    slow_calls: int
    slowest_ms: int | None


class LatencyStatus(Shape, frozen=True, kw_only=True):
    """From hearing of a change to the order on its way, in milliseconds, of the last `count` orders."""

    p50: float | None
    p99: float | None
    count: int


class ScanFailure(Shape, frozen=True, kw_only=True):
    """A part of the scan that raised an error over an event."""

    event_ticker: str
    part: str
    error: str


class RefusedLeg(Shape, frozen=True, kw_only=True):
    """What a refused trade wanted to buy."""

    ticker: str
    side: Side


class RefusedTrade(Shape, frozen=True, kw_only=True):
    """A trade that a strategy wants and risk refuses, for a reason of bus.trading.reasons."""

    strategy: str
    event_ticker: str
    reason: str
    legs: tuple[RefusedLeg, ...] = ()


class KilledStatus(Shape, frozen=True, kw_only=True):
    """Since when trading is killed, and why."""

    at: UnixTime | None
    reason: str

    @classmethod
    def of(cls, killed: Killed | None) -> "KilledStatus | None":
        """Return what the kill switch says in this shape."""
        if killed is None:
            return None
        return cls(at=None if killed.at_ms is None else killed.at_ms / 1000, reason=killed.reason)


class UnknownOrder(Shape, frozen=True, kw_only=True):
    """An order of which nobody can say what became of it; at `deadline` it counts as not placed."""

    number: int
    ticker: str
    reason: str
    deadline: UnixTime | None


class QueuedOrder(Shape, frozen=True, kw_only=True):
    """An order that rests: so many contracts of others are before it at its price, as of then; None: now."""

    number: int
    ahead_fp: CountText
    as_of: UnixTime | None = None


class ShardStatus(Shape, frozen=True, kw_only=True):
    """Cash on a shard of the exchange, and what of it no order holds."""

    exchange_index: int
    cash_dollars: MoneyText
    free_dollars: MoneyText


class AccountStatus(Shape, frozen=True, kw_only=True):
    """The account on the exchange, as last looked at.

    Attributes:
        exchange: which one; a new simulated one is another.
        gateway: how the order gateway stands: starting, answers, silent or other.
        as_of: how new the last look was, by the exchange's word. matched: when it was the journal's last.
        differences: lines on which they differed then. drift: those that stayed: nothing is traded.
        odd_orders: orders that rest here and not there, or there and not here.
        external_dollars: cash that came, less what went, by other ways than trading here.
        foreign_lots: markets in which something is held that was not bought here.
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


class LeftPosition(Shape, frozen=True, kw_only=True):
    """A position, or a part of one, that was not closed, and why: a reason of bus.trading.reasons."""

    ticker: str
    count_fp: CountText
    reason: str


class FlattenStatus(Shape, frozen=True, kw_only=True):
    """The last flattening.

    Attributes:
        number: counts those since the trader started, from 1.
        state: "works"; "flat": it is over, and nothing is held or ordered; or "left": it is over, and `left`
            or `open_orders` stay.
        cancelled, sent: how many orders it asked to end, and how many it sent to sell.
    """

    number: int
    state: Literal["works", "flat", "left"]
    rounds: int
    cancelled: int
    sent: int
    open_orders: int
    left: tuple[LeftPosition, ...]


class TraderStatus(Shape, frozen=True, kw_only=True):
    """How the trader stands: docs/trader.md, `status`.

    A member more is: one here, with a default; its value in trader/report.py; its line in the document's
    example, which a test holds against this; and, if people are to see it, its place on the page.
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
    """The net position in a market, and the trades that built it; `bid`, `value` are of the side held.

    `bid` is the result once it is `determined`, else the last good bid: for `mark_age_seconds` there has been
    none, None while there is one. `floor` is the share of its locked contracts in what their trades surely
    pay, `settlement` what the position is worth at settlement and `expected_from` who says so.
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
    """What a trade has of a market, or had: `bought` contracts, of which it still holds `count`.

    `bid` and `settlement` are what those are worth, `locked_fp` how many of them are locked.
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
    """A trade: what was promised, what is locked, what is hoped for, and what came.

    Attributes:
        kind: of opportunity, the strategy's name where it took none; empty where that is not known.
        source: of the fair value that it rests on, empty where it rests on none.
        slippage_dollars: how much more was paid than was offered when it was decided, None where unknown.
        opened, decided: when it first bought something, and when it was decided to; None where unknown.
        cost_dollars, fees_dollars: of all it bought. got_dollars: what it was paid by sales and settlements.
        promised_dollars: the profit it was expected to make after fees, for the size that was sent.
        floor_dollars: what its locked lots pay at least.
        locked_dollars: the profit that is certain now, None while some of it is not locked.
        bid_dollars, settlement_dollars: its profit at bid and at settlement, None while that is not known.
        settled_dollars: its profit once nothing of it is held, None before.
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
    """An order; `price` is its limit, `reason` why it ended, of an open one why nobody knows its fate."""

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
    """A part of an order that was filled. `fill_id` is the exchange's, if it has one; `maker`: it rested."""

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
    """A market that was held and is settled; `value` is that of YES, `profit` before fees.

    `fee` is what the payout in whole cents leaves of the value. `corrected`: when the exchange said this; it
    had said something else before, and was believed.
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
    """A point of the equity curve: positions and equity at bid, and at settlement."""

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
    """What was earned by those trades that belong together: of one strategy, kind, source, series or day.

    Money is of the day on which it moved; a trade, its promise, and what is still held of it, of the day on
    which it was decided.

    Attributes:
        name: of the strategy, kind, source (empty: no fair value), series, or day (YYYY-MM-DD).
        tried: trades that were sent. trades: those that got something. over: of these, those of which nothing
            is held any more. won: of those, how many earned something.
        expected: what `trades` were to earn after fees. expected_of_over, got_of_over: what those that are
            over were to earn, and what they earned.
        bought: paid for contracts, without fees. fees: paid. slippage: how much more was paid than was
            offered at the moment of the decision; None where a part of it was decided before that was noted.
        realised: profit before fees of what was given up. profit: realised less fees, those of what is held
            included: summed over the rows, the ledger's own.
        open_cost: what is held has cost. locked: what its locked lots earn for certain.
        bid, settlement: `profit` with what is held at its bids, each lot by itself, and at settlement.
        floor: `profit` with what is locked of what is held at its floor, and the rest worth nothing.
        won, lost: what those that are over earned, of those that earned something and of the others.
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
    """Lots held to the end of a tenth of all prices: what was said of a contract on average, what it paid."""

    lots: int
    contracts_fp: CountText
    said: float
    came: float


class CalibrationRow(Shape, frozen=True, kw_only=True):
    """What was said and what came of what was settled. `name`: the source; empty: the price that was paid."""

    name: str
    bins: tuple[CalibrationBin, ...]


class EquityDay(Shape, frozen=True, kw_only=True):
    """Equity of a day of UTC at settlement, where that is unknown at bid, less cash that came otherwise.

    `drawdown` is the largest fall within the day, 0 or below.
    """

    day: str
    first_dollars: MoneyText
    low_dollars: MoneyText
    high_dollars: MoneyText
    last_dollars: MoneyText
    drawdown_dollars: MoneyText


class ReportAnswer(Shape, frozen=True, kw_only=True):
    """To `report`: who has earned what, from `since` to `until` (days of UTC, both included; None: all).

    `marked`: somebody says what is held is worth. Each of the tables adds up to `total`. `calibration` is of
    what was settled in these days; `equity_days` are the newest of them, `drawdown` the largest fall of
    equity in all of them, None while nothing is known.
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
    """What is held in an event, and what can come of it: profit of it all, after cost and fees.

    Attributes:
        payout: when it is expected to be paid out, None where nobody says.
        lots: how many are held. locked: whether its worst case earns something.
        cost_dollars: paid for what is held, fees included.
        worst_dollars, best_dollars: profit in the worst and the best outcome of the event.
        void_dollars: profit at least if it is called off, None where that is not known.
        bid_dollars, settlement_dollars: profit at bid and at settlement, None while that is not known.
        pays_dollars: what it is expected to pay. least_dollars, most_dollars: what it pays in these outcomes.
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
    """To `risks`: what is held by event, what is paid out first first."""

    risks: tuple[RiskRow, ...]


class TradesAnswer(Shape, frozen=True, kw_only=True):
    """To `trades`: the newest first."""

    trades: tuple[TradeRow, ...]


class EquityAnswer(Shape, frozen=True, kw_only=True):
    """To `equity`: the oldest first."""

    points: tuple[EquityPoint, ...]


class CommandAnswer(Shape, frozen=True, kw_only=True):
    """To a command: the state afterwards, and what went wrong all the same, if anything did."""

    state: str
    warning: str | None = None


class TicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="buy"):
    """A purchase as it would be placed now.

    Attributes:
        number: to confirm it with, until `valid_until`.
        best_dollars: the best price now, None where nobody offers.
        fillable_fp: how much would be filled at once.
        cost_dollars, fees_dollars: of that; of an order that rests, of all of it.
        worst_dollars: the most that it can cost, fees included, all of which can be lost.
        payout_dollars: what all of it pays if it is right.
        rest_seconds: how long it rests; None: what is not filled at once is cancelled.
        refused, why: why risk would not let it pass now, as a word and as a sentence; None if it would.
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
    """What selling a position, or a part of it, would do now; prices are of the side held.

    Attributes:
        held_fp, count_fp, left_fp: what is held, what of it would be sold, and what would stay.
        best_dollars: the best bid. price_dollars: nothing is sold for less; None: nothing is sold.
        brings_dollars, fees_dollars: of `count_fp` at the bids of now.
        cost_dollars: what that had cost, its fees included. realised_dollars: the one less the others.
        settlement_dollars: what it is expected to pay in the end, `expected_from` whom; None: not known.
        against_settlement_dollars: what selling it brings more than that.
        refused, why: why it, or what stays of it, would not be sold; None if all of it would.
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
    """An order that has not ended; `rests` of it is not filled, `frees` is what that may still cost."""

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
    """A sale as it would be done now.

    `worst_before` and `worst_after` are the profit of all that is held in its event in the worst outcome, now
    and once it is sold; for the others see TicketRow.
    """

    number: int
    sale: SaleRow
    worst_before_dollars: MoneyText
    worst_after_dollars: MoneyText
    valid_until: UnixTime
    refused: str | None
    why: str | None


class CancelTicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="cancel"):
    """An order that would be cancelled: so many contracts are before it at its price; None: not known."""

    number: int
    order: ShownOrderRow
    ahead_fp: CountText | None
    ahead_as_of: UnixTime | None
    valid_until: UnixTime
    refused: str | None = None
    why: str | None = None


class FlattenTicketRow(Shape, frozen=True, kw_only=True, tag_field="what", tag="flatten"):
    """All that would be cancelled, all that is held, what of it would be sold, and what that adds up to."""

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
        orders: numbers of the orders that were placed; of a cancel, and of the first round of flattening,
            also those that were asked to end.
        refused, why: why it was not done, as a word and as a sentence; None if it was, all or in part.
        left: what is not sold of what was to be.
        flattening: the number of the flattening in the status, of a ticket that flattens; else None.
    """

    state: str
    orders: tuple[int, ...] = ()
    refused: str | None = None
    why: str | None = None
    left: tuple[LeftPosition, ...] = ()
    flattening: int | None = None


# -- commands


class PauseCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="pause"):
    """Trade no more until `resume`, restarts included."""

    reason: str = BY_HAND


class ResumeCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="resume"):
    """Trade again; after a kill and at the daily loss `word` must be bus.trading.killswitch.WORD."""

    word: str = ""


class KillCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="kill"):
    """Trade no more. Whoever asks sets the kill switch himself before."""

    reason: str = BY_HAND


AnyCommand = PauseCommand | ResumeCommand | KillCommand

TickerText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
AskedCount = Annotated[str, msgspec.Meta(pattern=r"^\d{1,9}(\.0{1,2})?$")]
AskedPrice = Annotated[str, msgspec.Meta(pattern=r"^0?\.\d{1,4}$")]
NumberAsked = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class PrepareCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Work out a purchase: whole contracts of `side` at `price` or better. Nothing is placed.

    `rest_seconds`: how long what is not filled at once is to rest; None: it does not.
    """

    what: Literal["buy"] = "buy"
    ticker: TickerText
    side: Side
    count_fp: AskedCount
    price_dollars: AskedPrice
    rest_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None


class PrepareSaleCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Work out a sale of what is held of a market; `count` None: of all of it, `price` None: at the bids."""

    what: Literal["sell"] = "sell"
    ticker: TickerText
    count_fp: AskedCount | None = None
    price_dollars: AskedPrice | None = None


class PrepareCancelCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Say what would be cancelled."""

    what: Literal["cancel"] = "cancel"
    number: NumberAsked


class PrepareFlattenCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="prepare"):
    """Say what flattening would cancel and sell."""

    what: Literal["flatten"] = "flatten"


class ConfirmCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="confirm"):
    """Do what a ticket says; said again, it is the same and nothing more."""

    ticket: NumberAsked


class AdoptCommand(Shape, frozen=True, kw_only=True, tag_field="op", tag="adopt"):
    """Accept drift: `lines` as the status shows them, all of them, and the word ADOPT."""

    lines: Annotated[tuple[str, ...], msgspec.Meta(max_length=1_000)]
    word: Literal["ADOPT"]


AnyPrepareCommand = PrepareCommand | PrepareSaleCommand | PrepareCancelCommand | PrepareFlattenCommand
ByHandCommand = AnyPrepareCommand | ConfirmCommand | AdoptCommand

PREPARES: Final[Mapping[str, type[AnyPrepareCommand]]] = {
    "buy": PrepareCommand,
    "sell": PrepareSaleCommand,
    "cancel": PrepareCancelCommand,
    "flatten": PrepareFlattenCommand,
}
"""What is prepared, by its `what`."""


def told(answer: Mapping[str, object], type_: type[T]) -> T:
    """Return what the trader has answered.

    Raises:
        Refusal: it answered that it cannot, or will not.
        DecodeError: it does not answer as it should; the message names the member.
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
