"""What an account reads, and moves: its balance, orders, fills, positions, settlements, cash."""

from collections.abc import Iterable, Iterator
from typing import Any, Final
from uuid import UUID

from markets.units import format_count, format_money, format_time
from simulator.front import cursors
from simulator.front.api import Call, Routes, integer, limit
from simulator.front.bodies import Body, invalid_parameters
from simulator.front.portfolio import (
    event_position_body,
    fill_body,
    order_body,
    position_body,
    settlement_body,
    user_id,
)
from simulator.front.render import dumps
from simulator.front.wire import ApiError, Response, bad_request, error, not_found, ok
from simulator.matching.orders import Fill, Order, Party, Refusal
from simulator.matching.positions import Position, by_event
from simulator.matching.settlement import Settlement
from simulator.matching.statements import SettlementStatus
from simulator.matching.transfers import Pocket, Transfer
from simulator.matching.transfers import Route as TransferRoute

routes = Routes()

TICKERS_MAX: Final = 100
EVENTS_MAX: Final = 10
_STATUSES: Final = ("resting", "canceled", "executed")
_SETTLEMENT: Final[dict[str, SettlementStatus]] = {
    "unsettled": "unsettled",
    "settled": "settled",
    "all": "all",
}
_CENT_E6: Final = 10_000
_CENTICENT_E6: Final = 100


def _user(call: Call) -> str:
    return user_id(call.api.exchange_id, call.account)


def _moment(call: Call) -> int:
    return call.api.reads.moment(call.account, call.api.exchange.now_ms)


def _party(call: Call) -> Party:
    """Return whose money is meant: the primary subaccount unless one is named; 400 for an unknown one."""
    party = (call.account, integer(call.request, "subaccount") or 0)
    if not call.api.exchange.ledger.knows(party):
        raise invalid_parameters("subaccount does not exist")
    return party


def _listed(call: Call, name: str, most: int) -> frozenset[str] | None:
    text = call.request.get(name)
    if text is None:
        return None
    found = frozenset(text.split(","))
    if len(found) > most:
        raise bad_request(f"at most {most} values of {name}")
    return found


class _Filter:
    """The filters shared by lists of what happened; None lets everything through."""

    def __init__(self, call: Call) -> None:
        self.tickers = _listed(call, "ticker", TICKERS_MAX)
        self.events = _listed(call, "event_ticker", EVENTS_MAX)
        self.low, self.high = integer(call.request, "min_ts"), integer(call.request, "max_ts")
        self.subaccount = integer(call.request, "subaccount")
        self.shard = integer(call.request, "exchange_index")

    def keeps(self, what: Order | Fill | Settlement, time_ms: int) -> bool:
        """Whether an order, fill or settlement of that time is asked for."""
        order = what.order if isinstance(what, Fill) else what
        instrument = order.instrument
        return (
            (self.tickers is None or instrument.ticker in self.tickers)
            and (self.events is None or instrument.event_ticker in self.events)
            and (self.low is None or time_ms >= self.low * 1000)
            and (self.high is None or time_ms <= self.high * 1000 + 999)
            and self.subaccount in (None, order.party[1])
            and self.shard in (None, instrument.exchange_index)
        )


def _page(
    call: Call, operation: str, found: Iterable[tuple[int, str, Any]], highest: int = 1000
) -> tuple[list[Any], str]:
    """Return one page of (position, key, thing), descending by position, and the next page's cursor."""
    size = limit(call.request, operation, 0, highest, 100)
    cursor = call.request.get("cursor")
    after = cursors.decode(cursor) if cursor else None
    page: list[Any] = []
    last = (0, "")
    for number, key, thing in found:
        if after is not None and (number, key) >= after:
            continue
        if len(page) == size:
            return page, cursors.encode(*last)
        page.append(thing)
        last = (number, key)
    return page, ""


# Orders ----------------------------------------------------------------------------------------------


@routes.get("/portfolio/orders", private=True)
def get_orders(call: Call) -> Response:
    exchange, wanted = call.api.exchange, _Filter(call)
    status = call.request.get("status")
    if status is not None and status not in _STATUSES:
        raise bad_request("invalid status filter")
    newest = reversed(exchange.matching.orders[call.account].values())
    found = (
        (order.number, "", order)
        for order in call.api.reads.orders(call.account, newest, _moment(call))
        if wanted.keeps(order, order.created_ms) and status in (None, order.status)
    )
    page, cursor = _page(call, "GetOrders", found)
    return ok(dumps({"cursor": cursor, "orders": [order_body(order, _user(call)) for order in page]}))


@routes.get("/historical/orders", private=True)
def get_historical_orders(call: Call) -> Response:
    wanted = _Filter(call)
    found = (
        (order.number, "", order)
        for order in reversed(call.api.exchange.matching.archived[call.account])
        if wanted.keeps(order, order.created_ms)
    )
    page, cursor = _page(call, "GetHistoricalOrders", found)
    return ok(dumps({"cursor": cursor, "orders": [order_body(order, _user(call)) for order in page]}))


@routes.get("/portfolio/orders/queue_positions", private=True)
def get_order_queue_positions(call: Call) -> Response:
    party = _party(call)
    tickers = _listed(call, "market_tickers", TICKERS_MAX)
    event = call.request.get("event_ticker")
    if tickers is None and event is None:
        raise bad_request("market_tickers or event_ticker is required")
    matching = call.api.exchange.matching
    positions = [
        {
            "market_ticker": order.ticker,
            "order_id": order.order_id,
            "queue_position_fp": format_count(matching.ahead_e2(order)),
        }
        for order in matching.resting(call.account)
        if order.party == party
        and (tickers is None or order.ticker in tickers)
        and event in (None, order.instrument.event_ticker)
    ]
    return ok(dumps({"queue_positions": positions}))


@routes.get("/portfolio/orders/{order_id}", private=True)
def get_order(call: Call) -> Response:
    order = call.api.exchange.matching.find(call.account, call.args["order_id"])
    shown = call.api.reads.orders(call.account, [order] if order is not None else [], _moment(call))
    for found in shown:
        return ok(dumps({"order": order_body(found, _user(call))}))
    raise not_found()


@routes.get("/portfolio/orders/{order_id}/queue_position", private=True)
def get_order_queue_position(call: Call) -> Response:
    matching = call.api.exchange.matching
    order = matching.find(call.account, call.args["order_id"])
    if order is None or not order.live:
        raise not_found()
    return ok(dumps({"queue_position_fp": format_count(matching.ahead_e2(order))}))


@routes.get("/portfolio/summary/total_resting_order_value", private=True)
def get_total_resting_order_value(call: Call) -> Response:
    ledger = call.api.exchange.ledger
    values: dict[int, int] = {}
    for subaccount in ledger.subaccounts(call.account):
        for shard, value_e6 in ledger.statements.resting_value_e6((call.account, subaccount)).items():
            values[shard] = values.get(shard, 0) + value_e6
    return ok(
        dumps(
            {
                "resting_order_value_breakdown": _by_shard(values),
                "total_resting_order_value": sum(values.values()) // _CENT_E6,
            }
        )
    )


# Fills, positions, settlements -----------------------------------------------------------------------


def _fills(call: Call, operation: str, newest: Iterator[Fill]) -> Response:
    wanted, order_id = _Filter(call), call.request.get("order_id")
    found = (
        (fill.number, "", fill)
        for fill in newest
        if order_id in (None, fill.order.order_id) and wanted.keeps(fill, fill.time_ms)
    )
    page, cursor = _page(call, operation, found)
    return ok(dumps({"cursor": cursor, "fills": [fill_body(fill) for fill in page]}))


@routes.get("/portfolio/fills", private=True)
def get_fills(call: Call) -> Response:
    newest = call.api.exchange.ledger.statements.fills(call.account).newest()
    return _fills(call, "GetFills", call.api.reads.fills(newest, _moment(call)))


@routes.get("/historical/fills", private=True)
def get_historical_fills(call: Call) -> Response:
    old = call.api.exchange.ledger.statements.fills(call.account).historical()
    return _fills(call, "GetHistoricalFills", old)


def _positions(call: Call, operation: str, positions: Iterable[Position]) -> Response:
    tickers, events = _listed(call, "ticker", TICKERS_MAX), _listed(call, "event_ticker", EVENTS_MAX)
    shard = integer(call.request, "exchange_index")
    counted = _listed(call, "count_filter", 2)
    if counted is not None and not counted <= {"position", "total_traded"}:
        raise bad_request("invalid count_filter")
    kept = [
        position
        for position in positions
        if (tickers is None or position.instrument.ticker in tickers)
        and (events is None or position.instrument.event_ticker in events)
        and shard in (None, position.instrument.exchange_index)
        and (counted is None or "position" not in counted or position.count_e2)
        and (counted is None or "total_traded" not in counted or position.traded_e6)
    ]
    # Not by time: a position that changes during paging would be on no page.
    kept.sort(key=lambda position: position.instrument.ticker, reverse=True)
    found = ((0, position.instrument.ticker, position) for position in kept)
    page, cursor = _page(call, operation, found)
    events_held = by_event(page)
    return ok(
        dumps(
            {
                "cursor": cursor,
                "event_positions": [event_position_body(position) for position in events_held],
                "market_positions": [position_body(position) for position in page],
            }
        )
    )


@routes.get("/portfolio/positions", private=True)
def get_positions(call: Call) -> Response:
    word = call.request.get("settlement_status") or "unsettled"
    if word not in _SETTLEMENT:
        raise bad_request("invalid settlement_status")
    party, exchange = _party(call), call.api.exchange
    status = _SETTLEMENT[word]
    held = exchange.ledger.statements.positions(party, status, exchange.now_ms)
    return _positions(call, "GetPositions", call.api.reads.positions(party, held, status, _moment(call)))


@routes.get("/historical/positions", private=True)
def get_historical_positions(call: Call) -> Response:
    old = call.api.exchange.ledger.statements.historical_positions(_party(call))
    return _positions(call, "GetHistoricalPositions", old)


@routes.get("/portfolio/settlements", private=True)
def get_settlements(call: Call) -> Response:
    wanted = _Filter(call)
    newest = call.api.exchange.ledger.statements.settlements(call.account).newest()
    found = (
        (settlement.number, "", settlement)
        for settlement in call.api.reads.settlements(newest, _moment(call))
        if wanted.keeps(settlement, settlement.time_ms)
    )
    page, cursor = _page(call, "GetSettlements", found)
    return ok(dumps({"cursor": cursor, "settlements": [settlement_body(one) for one in page]}))


# Cash ------------------------------------------------------------------------------------------------


def _cash(money_e6: int) -> str:
    """Return an amount as balances were recorded: with 4 decimals, unless it has more."""
    return format_money(money_e6).removesuffix("00")


def _by_shard(values: dict[int, int]) -> list[dict[str, Any]]:
    return [
        {"balance": _cash(value_e6), "exchange_index": shard} for shard, value_e6 in sorted(values.items())
    ]


@routes.get("/portfolio/balance", private=True)
def get_balance(call: Call) -> Response:
    exchange, party = call.api.exchange, _party(call)
    shard = integer(call.request, "exchange_index")
    if shard is not None and shard not in exchange.halts.shards:
        raise invalid_parameters("exchange_index does not exist")
    ledger = exchange.ledger
    balance_e6 = ledger.statements.balance_e6(party, shard)
    value_e6 = ledger.statements.portfolio_value_e6(party, exchange.mark_e4, shard)
    return ok(
        dumps(
            {
                "balance": balance_e6 // _CENT_E6,
                "balance_breakdown": _by_shard(ledger.statements.balances_e6(party)),
                "balance_dollars": _cash(balance_e6),
                "portfolio_value": value_e6 // _CENT_E6,
                "updated_ts": ledger.statements.balance_ms(party) // 1000,
            }
        )
    )


@routes.get("/portfolio/deposits", private=True)
def get_deposits(_call: Call) -> Response:
    return ok('{"cursor":"","deposits":[]}')


@routes.get("/portfolio/withdrawals", private=True)
def get_withdrawals(_call: Call) -> Response:
    return ok('{"cursor":"","withdrawals":[]}')


@routes.post("/portfolio/subaccounts", private=True)
def create_subaccount(call: Call) -> Response:
    number = call.api.exchange.ledger.create_subaccount(call.account)
    if number is None:
        raise invalid_parameters("no more than 63 subaccounts")
    return Response(201, dumps({"subaccount_number": number}).encode())


@routes.get("/portfolio/subaccounts/balances", private=True)
def get_subaccount_balances(call: Call) -> Response:
    ledger = call.api.exchange.ledger
    rows = [
        {
            "balance": format_money(balance_e6),
            "exchange_index": shard,
            "subaccount_number": number,
            "updated_ts": ledger.statements.balance_ms((call.account, number)) // 1000,
        }
        for number in ledger.subaccounts(call.account)
        for shard, balance_e6 in ledger.statements.balances_e6((call.account, number)).items()
    ]
    return ok(dumps({"subaccount_balances": rows}))


@routes.get("/portfolio/subaccounts/netting", private=True)
def get_subaccount_netting(call: Call) -> Response:
    exchange = call.api.exchange
    rows = [
        {
            "enabled": exchange.ledger.netting((call.account, number)),
            "exchange_index": shard,
            "subaccount_number": number,
        }
        for number in exchange.ledger.subaccounts(call.account)
        for shard in sorted(exchange.halts.shards)
    ]
    return ok(dumps({"netting_configs": rows}))


@routes.put("/portfolio/subaccounts/netting", private=True)
def update_subaccount_netting(call: Call) -> Response:
    body = Body.of(call.request.body, "UpdateSubaccountNettingRequest")
    number = body.integer("subaccount_number", 0, 63)
    exchange = call.api.exchange
    party = (call.account, number if number is not None else -1)
    if not exchange.ledger.knows(party):
        raise invalid_parameters("subaccount does not exist")
    if not exchange.ledger.set_netting(party, body.boolean("enabled"), exchange.now_ms):
        raise ApiError(error(400, "insufficient_balance", "Insufficient balance"))
    for shard in sorted(exchange.halts.shards):
        exchange.matching.pay(party, shard, exchange.now_ms)
    return Response(200, b"")


def _transfer(
    call: Call, route: TransferRoute, source: Pocket, destination: Pocket, amount_e6: int, own: str | None
) -> Transfer:
    exchange = call.api.exchange
    moved = exchange.ledger.transfer(
        call.account,
        route,
        source,
        destination,
        amount_e6,
        transfer_id=exchange.matching.new_id(),
        client_transfer_id=own,
        time_ms=exchange.now_ms,
    )
    if isinstance(moved, Refusal):
        raise ApiError(error(moved.status, moved.code, moved.message, moved.details))
    for subaccount, shard in (source, destination):
        exchange.matching.pay((call.account, subaccount), shard, exchange.now_ms)
    return moved


def _own_id(body: Body) -> str | None:
    text = body.text("client_transfer_id")
    if text is not None:
        try:
            UUID(text)
        except ValueError:
            raise invalid_parameters("client_transfer_id must be a UUID") from None
    return text


@routes.post("/portfolio/subaccounts/transfer", private=True)
def apply_subaccount_transfer(call: Call) -> Response:
    body = Body.of(call.request.body, "ApplySubaccountTransferRequest")
    own = _own_id(body)
    if own is None:
        raise invalid_parameters("client_transfer_id is required")
    source, destination = body.integer("from_subaccount", 0, 63), body.integer("to_subaccount", 0, 63)
    amount = body.integer("amount_cents", 1, 2**53)
    if source is None or destination is None or amount is None:
        raise invalid_parameters("from_subaccount, to_subaccount and amount_cents are required")
    shard = body.integer("exchange_index", 0, 2**31 - 1) or 0
    _transfer(call, "subaccounts", (source, shard), (destination, shard), amount * _CENT_E6, own)
    return ok("{}")


@routes.get("/portfolio/subaccounts/transfers", private=True)
def get_subaccount_transfers(call: Call) -> Response:
    found = (
        (transfer.number, "", transfer)
        for transfer in call.api.exchange.ledger.statements.transfers(call.account).newest()
        if transfer.route == "subaccounts"
    )
    page, cursor = _page(call, "GetSubaccountTransfers", found)
    rows = [
        {
            "amount_cents": transfer.amount_e6 // _CENT_E6,
            "created_ts": transfer.time_ms // 1000,
            "exchange_index": transfer.source[1],
            "from_subaccount": transfer.source[0],
            "to_subaccount": transfer.destination[0],
            "transfer_id": transfer.transfer_id,
        }
        for transfer in page
    ]
    return ok(dumps({"cursor": cursor, "transfers": rows}))


@routes.post("/portfolio/intra_exchange_instance_transfer", private=True)
def intra_exchange_instance_transfer(call: Call) -> Response:
    body = Body.of(call.request.body, "IntraExchangeInstanceTransferRequest")
    for name in ("source", "destination"):
        if body.choice(name, ("event_contract", "margined")) != "event_contract":
            raise invalid_parameters(f"{name}: this exchange has event contracts only")
    amount = body.integer("amount", 1, 2**53)
    if amount is None:
        raise invalid_parameters("amount is required")

    def pocket(end: str) -> Pocket:
        subaccount, shard = f"{end}_subaccount", f"{end}_exchange_shard"
        return body.integer(subaccount, 0, 63) or 0, body.integer(shard, 0, 2**31 - 1) or 0

    source, destination = pocket("source"), pocket("destination")
    moved = _transfer(call, "shards", source, destination, amount * _CENTICENT_E6, _own_id(body))
    return ok(dumps({"transfer_id": moved.transfer_id}))


def _transfer_body(transfer: Transfer) -> dict[str, Any]:
    return {
        "amount": format_money(transfer.amount_e6),
        "created_ts": transfer.time_ms // 1000,
        "destination": "event_contract",
        "destination_exchange_shard": transfer.destination[1],
        "source": "event_contract",
        "source_exchange_shard": transfer.source[1],
        "status": "complete" if transfer.complete else "pending",
        "transfer_id": transfer.transfer_id,
    }


def _shard_transfers(call: Call) -> Iterator[Transfer]:
    newest = call.api.exchange.ledger.statements.transfers(call.account).newest()
    return (transfer for transfer in newest if transfer.route == "shards")


@routes.get("/portfolio/intra_exchange_instance_transfers", private=True)
def get_intra_exchange_instance_transfers(call: Call) -> Response:
    found = ((transfer.number, "", transfer) for transfer in _shard_transfers(call))
    page, cursor = _page(call, "GetIntraExchangeInstanceTransfers", found, 500)
    rows = {"transfers": [_transfer_body(transfer) for transfer in page]}
    return ok(dumps({"cursor": cursor, **rows} if cursor else rows))


@routes.get("/portfolio/intra_exchange_instance_transfers/{transfer_id}", private=True)
def get_intra_exchange_instance_transfer(call: Call) -> Response:
    for transfer in _shard_transfers(call):
        if transfer.transfer_id == call.args["transfer_id"]:
            return ok(dumps({"transfer": _transfer_body(transfer)}))
    raise not_found()


# The account -----------------------------------------------------------------------------------------


@routes.get("/exchange/user_data_timestamp")
def get_user_data_timestamp(call: Call) -> Response:
    moment = _moment(call) if call.account else call.api.exchange.now_ms
    return ok(dumps({"as_of_time": format_time(moment)}))
