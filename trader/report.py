"""The trader's status and rows, in the shapes of its answers (bus/trading/shapes.py, docs/trader.md)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from bus.process.logs import redact
from bus.protocol.state import State
from bus.trading.shapes import (
    AccountStatus,
    DailyLossStatus,
    EquityPoint,
    ExposureStatus,
    FairValuesFileStatus,
    FairValuesSourceStatus,
    FairValuesStatus,
    FillRow,
    FlattenStatus,
    KilledStatus,
    LatencyStatus,
    LimitsStatus,
    LimitsUse,
    OrderRow,
    PositionRow,
    ProfitStatus,
    QueuedOrder,
    RefusedLeg,
    RefusedTrade,
    ScanFailure,
    SettlementRow,
    ShardStatus,
    Side,
    StrategyStatus,
    TraderStatus,
    TrialFigure,
    TrialStatus,
    UnevenBasket,
    UnevenLeg,
    UnknownOrder,
    VoidMarket,
)
from markets.book import NO, YES
from markets.opportunities import EventView
from markets.orders import Intent, OrderState, Position
from markets.records import Status
from markets.units import PRICE_ONE_E4, format_count, format_money, format_price
from trader.engine.engine import Engine
from trader.engine.payouts import VOID_MS
from trader.engine.worth import LotWorth
from trader.fair_values.trial import Mean, Trials
from trader.ledger.ledger import CLOSED_BY_HAND, Ledger
from trader.ledger.lots import FOREIGN, clearing_e6

from .attribution import locked_e6
from .tickets import left_position
from .worker import ValuesProvider, Worker

MAX_REFUSED_SHOWN: Final = 200
MAX_FAILURES_SHOWN: Final = 20
MAX_ERRORS_SHOWN: Final = 20
HOUR_MS: Final = 3_600_000

_decode_intent: Final = msgspec.msgpack.Decoder(Intent).decode


class Report(msgspec.Struct, frozen=True):
    """Status and positions of one moment.

    `worths`: what the lots of each trade are worth. `views`: the events with positions.
    """

    status: TraderStatus
    positions: tuple[PositionRow, ...]
    worths: Mapping[int, Sequence[LotWorth]] = {}
    views: Mapping[str, EventView | None] = {}


def report(worker: Worker, now_ms: int, epoch: int, seq: int) -> Report:
    """Return the present status and positions; to be called in the engine's thread.

    Args:
        epoch, seq: the replica's position.
    """
    worker.owner.check()
    engine, ledger, limits = worker.engine, worker.engine.ledger, worker.limits
    announcer = worker.announcer
    worth = engine.worth
    lots = [lot for event_ticker in worth.events() for lot in worth.lots(event_ticker, now_ms)]
    positions = tuple(position_row(engine, position, now_ms, lots) for position in _by_cost(engine))
    profit_e6, value_e6 = worth.profit_e6(), worth.value_e6()
    settlement_e6 = sum(lot.settlement_e6 for lot in lots) - ledger.clearing_e6 if worth.whole() else None
    stake_e6, lost_e6 = ledger.at_stake_e6(), worth.lost_today_e6()
    known, complete_ms = value_e6 is not None, engine.conditions.complete_ms
    p50_ms, p99_ms = announcer.latencies.percentiles_ms(50, 99)
    failures = [failure for failures in worker.failed.values() for failure in failures]
    status = TraderStatus(
        state=worker.state,
        reasons=worker.reasons,
        mode=worker.settings.mode,
        env=worker.settings.env,
        account=worker.around.account,
        now=now_ms / 1000,
        started=worker.started_ms / 1000,
        uptime_seconds=max(0, now_ms - worker.started_ms) / 1000,
        epoch=epoch,
        seq=seq,
        data_age_seconds=None if complete_ms is None else max(0, now_ms - complete_ms) / 1000,
        feed=engine.conditions.feed,
        strategies=tuple(maker.name for maker in worker.around.lineup.makers.values()),
        fair_values=_fair_values(worker),
        pnl=ProfitStatus(
            realised_dollars=format_money(ledger.realised_e6),
            unrealised_dollars=_money(None if value_e6 is None else value_e6 - ledger.basis_e6),
            fees_dollars=format_money(ledger.fees_e6),
            total_dollars=_money(profit_e6 if known else None),
            today_dollars=_money(worth.today_e6() if worth.whole() else None),
            settlement_dollars=_money(_profit_e6(ledger, settlement_e6)),
            locked_dollars=_money(sum(map(locked_e6, lots)) if worth.whole() else None),
        ),
        cash_dollars=format_money(ledger.cash_e6),
        starting_cash_dollars=format_money(ledger.start_e6),
        equity_dollars=_money(None if value_e6 is None else ledger.cash_e6 + value_e6),
        clearing_dollars=format_money(ledger.clearing_e6),
        exposure=ExposureStatus(
            positions_dollars=format_money(stake_e6 - ledger.reserved_e6),
            orders_dollars=format_money(ledger.reserved_e6),
            total_dollars=format_money(stake_e6),
        ),
        limits=_limits(worker),
        use=LimitsUse(
            total=_share(stake_e6, limits.total_e6),
            daily_loss=_share(max(0, lost_e6), limits.daily_loss_e6),
            open_orders=_share(len(ledger.open), limits.open_orders),
            orders_per_minute=_share(engine.throttle.last_minute(engine.paced_ms), limits.orders_per_minute),
        ),
        positions=len(positions),
        open_orders=len(ledger.open),
        unknown_orders=len(engine.standing.unknown),
        uneven=tuple(_uneven(engine)),
        orders=announcer.counts["orders"],
        fills=announcer.counts["fills"],
        settlements=announcer.counts["settlements"],
        decisions=worker.session.rescan.scanned,
        decisions_per_second=round(worker.session.scans.per_second, 2),
        backlog=worker.around.follows.backlog,
        latency_ms=LatencyStatus(p50=p50_ms, p99=p99_ms, count=len(announcer.latencies)),
        failed=len(worker.failed),
        failures=tuple(
            ScanFailure(event_ticker=failure.event_ticker, part=failure.part, error=failure.error)
            for failure in failures[:MAX_FAILURES_SHOWN]
        ),
        refusals=dict(engine.refusals.counts),
        refused=tuple(_refused(engine, worker.session.state)),
        reconciled=worker.reconciled,
        journal=str(worker.around.journal_path),
        killed=KilledStatus.of(worker.around.kill_switch.read()),
        error=worker.error,
        strategy_states=tuple(_strategies(worker)),
        voids=tuple(_voids(engine)),
        settlement_equity_dollars=_money(None if settlement_e6 is None else ledger.cash_e6 + settlement_e6),
        daily_loss=DailyLossStatus(
            lost_dollars=format_money(lost_e6), latched=worth.latched, resumed=worth.resumed
        ),
        unknown=tuple(_unknown(engine)),
        exchange_account=_account(worker),
        flatten=_flatten(worker),
        queues=tuple(
            QueuedOrder(
                number=number,
                ahead_fp=format_count(place.ahead_e2),
                as_of=_seconds(place.as_of_ms),
            )
            for number, place in sorted(worker.session.broker.queued.items())
        ),
    )
    worths: dict[int, list[LotWorth]] = {}
    for lot in lots:
        worths.setdefault(lot.lot.trade, []).append(lot)
    views = {lot.lot.event_ticker: engine.views.get(lot.lot.event_ticker) for lot in lots}
    return Report(status, positions, worths, views)


def _profit_e6(ledger: Ledger, value_e6: int | None) -> int | None:
    return None if value_e6 is None else ledger.realised_e6 + value_e6 - ledger.basis_e6 - ledger.fees_e6


def _unknown(engine: Engine) -> Iterator[UnknownOrder]:
    standing = engine.standing
    for number, reason in standing.unknown.items():
        intent = engine.ledger.open.get(number)
        if intent is not None:
            deadline = _seconds(standing.until_ms.get(number))
            yield UnknownOrder(number=number, ticker=intent.ticker, reason=reason, deadline=deadline)


def _account(worker: Worker) -> AccountStatus | None:
    engine, around = worker.engine, worker.around
    books, ledger = engine.books, engine.ledger
    if around.gateway is None:
        return None
    free_e6 = books.free_e6(ledger)
    return AccountStatus(
        exchange=around.exchange,
        gateway=engine.conditions.gateway or "starting",
        as_of=_seconds(books.as_of_ms or None),
        matched=_seconds(books.matched_ms),
        differences=books.differing,
        drift=books.drift,
        odd_orders=books.odd_orders,
        external_dollars=format_money(ledger.external_e6),
        foreign_lots=sum(FOREIGN in lots for lots in ledger.lots.values()),
        shards=tuple(
            ShardStatus(
                exchange_index=shard,
                cash_dollars=format_money(cash_e6),
                free_dollars=format_money(free_e6[shard]),
            )
            for shard, cash_e6 in sorted(books.cash_e6.items())
        ),
        comparing_since=None if books.reconciled else _seconds(worker.gateway_answers_ms),
    )


def _fair_values(worker: Worker) -> FairValuesStatus:
    file = worker.around.values_file
    return FairValuesStatus(
        file=None
        if file is None
        else FairValuesFileStatus(
            path=str(file.path),
            values=len(file.loaded.values),
            loaded=_seconds(file.loaded_ms),
            errors=tuple(file.loaded.errors[:MAX_ERRORS_SHOWN]),
        ),
        sources=tuple(map(_source, worker.around.sources)),
        trials=() if worker.around.judge is None else tuple(_trials(worker.around.judge.trials)),
    )


def _trials(trials: Trials) -> Iterator[TrialStatus]:
    for source in sorted(trials.records):
        verdict = trials.verdict(source)
        yield TrialStatus(
            source=source,
            accepted=verdict.accepted,
            earned=tuple(map(_figure, verdict.earned)),
            gain=_figure(verdict.gain),
            profit=_figure(verdict.profit),
            calibration=verdict.calibration,
            waiting=verdict.waiting,
        )


def _figure(mean: Mean) -> TrialFigure:
    return TrialFigure(events=mean.count, mean=mean.mean, low=mean.low, high=mean.high)


def _source(source: ValuesProvider) -> FairValuesSourceStatus:
    state = source.state
    return FairValuesSourceStatus(
        name=state.name,
        text=redact(source.text),
        state=state.word,
        values=len(state.values),
        answered=_seconds(state.answered_ms),
        failures=state.failures,
        restarts=state.restarts,
        errors=tuple(map(redact, state.errors[:MAX_ERRORS_SHOWN])),
    )


def _strategies(worker: Worker) -> Iterator[StrategyStatus]:
    lineup, dropped, slow = worker.around.lineup, worker.engine.roster.dropped, worker.around.minder.slow
    for text, maker in lineup.makers.items():
        failed, slowly = dropped.get(maker.name), slow.get(maker.name)
        yield StrategyStatus(
            name=maker.name,
            text=text,
            state="trades" if failed is None else "dropped",
            call=None if failed is None else failed.call,
            error=None if failed is None else failed.error,
            slow_calls=0 if slowly is None else slowly.count,
            slowest_ms=None if slowly is None else slowly.longest_ms,
        )
    for ended in lineup.left_out:
        yield StrategyStatus(
            name=ended.strategy,
            text=ended.label,
            state="ended",
            call=ended.call,
            error=ended.reason,
            slow_calls=0,
            slowest_ms=None,
        )


def _limits(worker: Worker) -> LimitsStatus:
    limits = worker.limits
    return LimitsStatus(
        order_dollars=format_money(limits.order_e6),
        market_dollars=format_money(limits.market_e6),
        event_dollars=format_money(limits.event_e6),
        total_dollars=format_money(limits.total_e6),
        daily_loss_dollars=format_money(limits.daily_loss_e6),
        min_edge_dollars=format_money(limits.min_edge_e6),
        open_orders=limits.open_orders,
        orders_per_minute=limits.orders_per_minute,
        price_collar_dollars=format_price(min(limits.price_collar_e4, PRICE_ONE_E4)),
        leg_age_seconds=limits.leg_age_ms / 1000,
        positions_per_event=limits.positions_per_event,
        payout_hours=limits.payout_ms / HOUR_MS,
        in_play=worker.engine.scan.in_play,
        match_dollars=format_money(limits.match_e6),
        series_dollars=format_money(limits.series_e6),
        day_dollars=format_money(limits.day_e6),
        shard_dollars=format_money(limits.shard_e6),
        strategy_dollars=format_money(limits.strategy_e6),
        daily_return_percent=limits.daily_return_ppm / 10_000,
    )


def _refused(engine: Engine, state: State | None) -> Iterator[RefusedTrade]:
    """Return the newest of the trades that are refused now; those of the event last looked at come last."""
    events = {} if state is None else state.events
    stand = [
        refusal
        for event_ticker, refusals in engine.refusals.stand.items()
        if event_ticker in events
        for refusal in refusals
    ]
    for refusal in stand[-MAX_REFUSED_SHOWN:]:
        proposal = refusal.proposal
        yield RefusedTrade(
            strategy=proposal.strategy,
            event_ticker=proposal.event_ticker,
            reason=refusal.reason,
            legs=tuple(RefusedLeg(ticker=leg.ticker, side=_side(leg.side)) for leg in proposal.legs),
        )


def _uneven(engine: Engine) -> Iterator[UnevenBasket]:
    works = {intent.trade for intent in engine.ledger.open.values() if intent.time_in_force != "gtc"}
    for trade, basket in engine.ledger.baskets.items():
        by_hand = basket.tries >= CLOSED_BY_HAND
        if by_hand or trade in works or trade not in engine.ledger.lacking:
            continue
        yield UnevenBasket(
            trade=trade,
            strategy=basket.strategy,
            event_ticker=basket.event_ticker,
            tries=basket.tries,
            refused=engine.refusals.not_evened.get(trade, ()),
            legs=tuple(
                UnevenLeg(
                    ticker=leg.ticker,
                    side=_side(leg.side),
                    planned_fp=format_count(leg.planned_e2),
                    got_fp=format_count(leg.got_e2),
                )
                for leg in basket.legs
            ),
        )


def _voids(engine: Engine) -> Iterator[VoidMarket]:
    for ticker, since_ms in engine.payouts.voids.items():
        lots = engine.ledger.lots.get(ticker)
        if lots is not None:
            left_ms = max(0, since_ms + VOID_MS - engine.paced_ms)
            event_ticker = next(iter(lots.values())).event_ticker
            yield VoidMarket(ticker=ticker, event_ticker=event_ticker, booked_in_seconds=left_ms / 1000)


def _flatten(worker: Worker) -> FlattenStatus | None:
    now = worker.flattening
    if now is None:
        return None
    return FlattenStatus(
        number=now.number,
        state="works" if now.ended_ms is None else "flat" if now.flat else "left",
        rounds=now.rounds,
        cancelled=now.cancels,
        sent=now.sales,
        open_orders=now.open,
        left=tuple(map(left_position, now.left)),
    )


def position_row(
    engine: Engine, position: Position, now_ms: int, lots: Sequence[LotWorth] = ()
) -> PositionRow:
    """Return one position as a row; `bid` and `value` are of the side held. `lots`: those of all markets."""
    worths = [one for one in lots if one.lot.ticker == position.ticker]
    pairs_e6 = clearing_e6([one.lot for one in worths])  # paid, and in cash
    locked_e2 = sum(one.locked_e2 for one in worths)
    age_ms = engine.worth.age_ms(position)
    view: EventView | None = engine.views.get(position.event_ticker)
    markets = view.markets if view is not None else ()
    seen = next((market for market in markets if market.market.ticker == position.ticker), None)
    bid_e4 = engine.worth.bid_e4(position)
    value_e6 = None if bid_e4 is None else bid_e4 * position.count_e2
    as_of_ms = None if seen is None else max(seen.quote_as_of_ms, seen.book_as_of_ms or 0)
    return PositionRow(
        ticker=position.ticker,
        event_ticker=position.event_ticker,
        series_ticker=position.series_ticker,
        title=view.event.title if view else None,
        label=position.label,
        side=_side(position.side),
        count_fp=format_count(position.count_e2),
        cost_dollars=format_money(position.cost_e6),
        average_price_dollars=format_price(round(position.cost_e6 / position.count_e2)),
        fees_dollars=format_money(position.fees_e6),
        bid_dollars=None if bid_e4 is None else format_price(bid_e4),
        value_dollars=_money(value_e6),
        unrealised_dollars=_money(None if value_e6 is None else value_e6 - position.cost_e6),
        as_of=_seconds(as_of_ms),
        # A market that no longer trades cannot grow stale.
        stale=seen is None
        or as_of_ms is None
        or (seen.quote.status is Status.ACTIVE and now_ms - as_of_ms > engine.limits.leg_age_ms),
        strategy=position.strategy,
        opened=position.opened_ms / 1000,
        status=None if seen is None else str(seen.quote.status),
        close_time=_seconds(seen.market.close_ms if seen else None),
        start_time=_seconds(view.timing.start_ms if view else None),
        trades=position.trades,
        mark_age_seconds=None if age_ms is None else age_ms / 1000,
        determined=engine.worth.determined(position),
        locked_fp=format_count(locked_e2),
        floor_dollars=format_money(sum(one.floor_e6 for one in worths)) if locked_e2 else None,
        settlement_dollars=_money(
            sum(one.settlement_e6 for one in worths) - pairs_e6 if worths and engine.worth.whole() else None
        ),
        expected_from=tuple(dict.fromkeys(source for one in worths for source in one.sources)),
    )


def order_row(row: Mapping[str, Any]) -> OrderRow:
    """Return one order from its row in the journal."""
    intent, created_ms, ended_ms = _decode_intent(row["intent"]), row["created_ms"], row["ended_ms"]
    return OrderRow(
        number=row["number"],
        client_order_id=row["client_order_id"],
        trade=row["trade"],
        strategy=row["strategy"],
        ticker=row["ticker"],
        event_ticker=row["event_ticker"],
        label=intent.label,
        side=_side(row["side"]),
        price_dollars=format_price(row["price_e4"]),
        count_fp=format_count(row["count_e2"]),
        filled_fp=format_count(row["filled_e2"] or 0),
        cost_dollars=format_money(row["cost_e6"] or 0),
        fees_dollars=format_money(row["fees_e6"] or 0),
        status=_state_of(row),
        reason=row["reason"],
        created=created_ms / 1000,
        ended=_seconds(ended_ms),
        latency_ms=None if ended_ms is None else ended_ms - created_ms,
        basis=(intent.epoch, intent.seq),
        edge_dollars=format_money(intent.edge_e6),
        probability=intent.probability,
        attempt=intent.attempt,
    )


def _state_of(row: Mapping[str, Any]) -> OrderState:
    """Return the state of an order; older journals use two other words."""
    state = OrderState(row["status"])
    if state is OrderState.OPEN:
        return OrderState.SENT
    if state is OrderState.PARTIAL and row["ended_ms"] is not None:
        return OrderState.CANCELLED
    return state


def fill_row(row: Mapping[str, Any]) -> FillRow:
    """Return one fill from its row in the journal."""
    return FillRow(
        id=row["id"],
        order=row["number"],
        ticker=row["ticker"],
        event_ticker=row["event_ticker"],
        side=_side(row["side"]),
        price_dollars=format_price(row["price_e4"]),
        count_fp=format_count(row["count_e2"]),
        cost_dollars=format_money(row["cost_e6"]),
        fee_dollars=format_money(row["fee_e6"]),
        time=row["time_ms"] / 1000,
        fill_id=row.get("fill_id", ""),
        maker=bool(row.get("maker", 0)),
    )


def settlement_row(row: Mapping[str, Any]) -> SettlementRow:
    """Return one settlement from its row in the journal."""
    return SettlementRow(
        id=row["id"],
        ticker=row["ticker"],
        event_ticker=row["event_ticker"],
        side=_side(row["side"]),
        count_fp=format_count(row["count_e2"]),
        result=row["result"],
        value_dollars=format_price(row["value_e4"]),
        cost_dollars=format_money(row["cost_e6"]),
        payout_dollars=format_money(row["payout_e6"]),
        profit_dollars=format_money(row["payout_e6"] + row["fee_e6"] - row["cost_e6"]),
        time=row["time_ms"] / 1000,
        fee_dollars=format_money(row["fee_e6"]),
        corrected=_seconds(row["corrected_ms"]),
    )


def equity_point(row: Mapping[str, Any]) -> EquityPoint:
    """Return one point of the equity curve from its row in the journal."""
    cash_e6, positions_e6 = row["cash_e6"], row["positions_e6"]
    return EquityPoint(
        time=row["time_ms"] / 1000,
        cash_dollars=format_money(cash_e6),
        positions_dollars=_money(positions_e6),
        equity_dollars=_money(None if positions_e6 is None else cash_e6 + positions_e6),
        realised_dollars=format_money(row["realised_e6"]),
        fees_dollars=format_money(row["fees_e6"]),
        settlement_dollars=_money(row["settlement_e6"]),
        settlement_equity_dollars=_money(
            None if row["settlement_e6"] is None else cash_e6 + row["settlement_e6"]
        ),
    )


def _by_cost(engine: Engine) -> Sequence[Position]:
    positions = engine.ledger.positions.values()
    return sorted(positions, key=lambda position: (-position.cost_e6, position.ticker))


def _side(side: str) -> Side:
    return YES if side == YES else NO


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)


def _seconds(time_ms: int | None) -> float | None:
    return None if time_ms is None else time_ms / 1000


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
