"""What the exchange lists about the account, read and put together. Pure."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from bus.trading.gateway import ListedOrder, ListedPosition, ListedSettlement, Movement, ShardCash
from markets.errors import BadRecord
from markets.units import CENT_E6, parse_time_ms

from . import replies
from .replies import SeenFill, SeenOrder, bounded, count_e2, money_e6, text, time_ms, whole, whole_of
from .requests import yes_price_e4

LISTS: Final = (
    "balance", "netting", "positions", "resting", "settlements", "transfers", "deposits", "withdrawals",
)  # fmt: skip
"""What a listing of the account asks for, in this order, after the time stamp."""

VITAL: Final = frozenset({"balance", "positions", "resting"})
"""Without these nothing is known about the account."""

KEYS: Final = {
    "positions": "market_positions",
    "resting": "orders",
    "settlements": "settlements",
    "transfers": "transfers",
    "deposits": "deposits",
    "withdrawals": "withdrawals",
}
"""List -> the member that holds its elements."""

_NAMES: Final = {
    "positions": "ticker",
    "resting": "order_id",
    "settlements": "ticker",
    "transfers": "transfer_id",
}
"""List -> the member that names an element, `id` otherwise."""

EVENTS: Final = "event_contract"
"""The exchange instance that all this is about; a transfer from or to another one brings or takes cash."""

NAME_MOST: Final = 60


@dataclass(slots=True)
class Listing:
    """One listing of the account, complete or under way.

    Attributes:
        ours: whether a resting order may be one of ours.
        trouble: why something is missing, "" if nothing is.
    """

    asked_ms: int
    steady_ms: int
    since_ms: int
    requests: int
    ours: Callable[[SeenOrder], bool] = lambda _seen: True
    subaccount: int = 0
    as_of_ms: int = 0
    cash_e6: dict[int, int] = field(default_factory=dict)
    positions: list[ListedPosition] = field(default_factory=list)
    resting: list[SeenOrder] = field(default_factory=list)
    settlements: list[ListedSettlement] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    netting: bool | None = None
    missing: list[str] = field(default_factory=list)
    trouble: str = ""

    def read(self, what: str, body: bytes) -> str:
        """Take one page of one list; return the next page's cursor, "" at the end.

        Raises:
            BadRecord: it cannot be read; the field says which element, and what of it.
        """
        if what == "balance":
            self.cash_e6 = _balances(replies.members(body))
            return ""
        if what == "netting":
            self.netting = _netting(replies.members(body), self.subaccount)
            return ""
        found, cursor = replies.page(body, KEYS[what])
        for at, one in enumerate(found):
            try:
                self._take(what, one)
            except BadRecord as error:
                name = one.get(_NAMES.get(what, "id")) if isinstance(one, dict) else None
                shown = repr(name[:NAME_MOST]) if isinstance(name, str) else at
                raise error.within(f"{KEYS[what]}[{shown}]") from None
        return cursor

    def _take(self, what: str, one: Any) -> None:
        if what == "positions":
            self.positions.append(_position(one))
        elif what == "resting":
            self.resting.append(self._order(one))
        elif what == "settlements":
            self.settlements.append(_settlement(one))
        else:
            self.movements += _movements(what, one)

    def _order(self, one: Any) -> SeenOrder:
        """Return a resting order; of one that is not ours, it is enough to know what it may cost."""
        try:
            return replies.order(one)
        except BadRecord as error:
            seen = replies.costing(one)
            if self.ours(seen):
                raise error from None
            return seen


@dataclass(slots=True)
class Account:
    """What is known about the account now: the last complete listing, and the fills since.

    Attributes:
        foreign: its resting orders that no journal knows.
    """

    listing: Listing
    foreign: list[SeenOrder]
    total_exposure_e6: int = 0
    _net_e2: dict[str, int] = field(init=False)
    _exposure_e6: dict[str, int] = field(init=False)
    _cash_e6: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        held = self.listing.positions
        self._cash_e6 = dict(self.listing.cash_e6)
        self._net_e2 = {position.ticker: position.signed_e2 for position in held}
        self._exposure_e6 = {position.ticker: abs(position.exposure_e6) for position in held}
        self.total_exposure_e6 = sum(self._exposure_e6.values())

    @classmethod
    def of(cls, listing: Listing, since: Iterable[SeenFill], foreign: list[SeenOrder]) -> "Account":
        """Return the account as of a listing, with the fills since."""
        account = cls(listing, foreign)
        for fill in since:
            account.filled(fill)
        return account

    def filled(self, seen: SeenFill) -> None:
        """Take a fill that a listing may not contain: what it opened costs, what it closed gives nothing."""
        if seen.fill.time_ms <= self.listing.as_of_ms:
            return
        before_e2 = self._net_e2.get(seen.ticker, 0)
        sign = 1 if seen.side == "yes" else -1
        self._net_e2[seen.ticker] = before_e2 + sign * seen.fill.count_e2
        opening_e2 = min(seen.fill.count_e2, max(0, seen.fill.count_e2 + sign * before_e2))
        cost_e6 = seen.fill.price_e4 * opening_e2 + seen.fill.fee_e6
        self._exposure_e6[seen.ticker] = self._exposure_e6.get(seen.ticker, 0) + cost_e6
        self.total_exposure_e6 += cost_e6
        self._cash_e6[seen.shard] = self._cash_e6.get(seen.shard, 0) - cost_e6

    @property
    def shards(self) -> list[int]:
        """Shards on which there is cash."""
        return sorted(self._cash_e6)

    def cash_e6(self, shard: int) -> int:
        """Return a shard's cash."""
        return self._cash_e6.get(shard, 0)

    def net_e2(self, ticker: str) -> int:
        """Return what is held of a market, YES positive."""
        return self._net_e2.get(ticker, 0)

    def exposure_e6(self, ticker: str) -> int:
        """Return the cost of what is held of a market."""
        return self._exposure_e6.get(ticker, 0)

    def foreign_resting_e6(self, shard: int) -> int:
        """Return what foreign orders resting on a shard may cost."""
        return sum(
            yes_price_e4(order.side, order.price_e4) * order.remaining_e2
            for order in self.foreign
            if order.shard == shard
        )


class Recent:
    """Recent fills, for what a listing has not yet seen."""

    def __init__(self) -> None:
        self._fills: deque[SeenFill] = deque(maxlen=10_000)

    def note(self, seen: SeenFill) -> None:
        """Take one."""
        self._fills.append(seen)

    def after(self, as_of_ms: int) -> list[SeenFill]:
        """Return those that are later, and forget much older ones."""
        while self._fills and self._fills[0].fill.time_ms < as_of_ms - 600_000:
            self._fills.popleft()
        return [seen for seen in self._fills if seen.fill.time_ms > as_of_ms]


def shards(account: Account, own_e6: dict[int, int]) -> tuple[ShardCash, ...]:
    """Return cash by shard; `own_e6` is what our own orders there may still cost."""
    rows = []
    for shard in account.shards:
        held_e6 = own_e6.get(shard, 0) + account.foreign_resting_e6(shard)
        cash_e6 = account.listing.cash_e6.get(shard, 0)
        free_e6 = min(cash_e6, account.cash_e6(shard)) - held_e6
        rows.append(ShardCash(exchange_index=shard, cash_e6=cash_e6, held_e6=held_e6, free_e6=free_e6))
    return tuple(rows)


def listed_order(seen: SeenOrder, number: int | None) -> ListedOrder:
    """Return a resting order in the form of an answer; its price is that of its side."""
    return ListedOrder(
        order_id=seen.order_id,
        client_order_id=seen.client_order_id,
        ticker=seen.ticker,
        exchange_index=seen.shard,
        side=seen.side,
        price_e4=yes_price_e4(seen.side, seen.price_e4),
        left_e2=seen.remaining_e2,
        expires_ms=seen.expires_ms,
        number=number,
    )


def event_of(ticker: str) -> str:
    """Derive a market's event from its ticker, if nothing else says it."""
    return ticker.rpartition("-")[0] or ticker


def _balances(found: dict[str, Any]) -> dict[int, int]:
    rows = found.get("balance_breakdown")
    if not isinstance(rows, list) or not rows:
        return {0: money_e6(found, "balance_dollars")}
    balances: dict[int, int] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise BadRecord("balance_breakdown", row, "an object")
        balances[whole_of(row, "exchange_index")] = money_e6(row, "balance")
    return balances


def _netting(found: dict[str, Any], subaccount: int) -> bool | None:
    rows = found.get("netting_configs")
    for row in rows if isinstance(rows, list) else ():
        if (
            isinstance(row, dict)
            and row.get("subaccount_number") == subaccount
            and isinstance(row.get("enabled"), bool)
        ):
            return bool(row["enabled"])
    return None


def _position(one: Any) -> ListedPosition:
    found = _object(one, "position")
    ticker = text(found, "ticker")
    said = {
        "fees_e6": _said_e6(found, "fees_paid_dollars"),
        "realised_e6": _said_e6(found, "realized_pnl_dollars"),
    }
    return ListedPosition(
        ticker=ticker,
        event_ticker=event_of(ticker),
        exchange_index=whole_of(found, "exchange_index"),
        signed_e2=count_e2(found, "position_fp", signed=True),
        exposure_e6=money_e6(found, "market_exposure_dollars"),
        fees_e6=said["fees_e6"] or 0,
        realised_e6=said["realised_e6"] or 0,
        unknown=tuple(name for name, amount_e6 in said.items() if amount_e6 is None),
    )


def _settlement(one: Any) -> ListedSettlement:
    found = _object(one, "settlement")
    ticker, event, value = text(found, "ticker"), found.get("event_ticker"), whole(found.get("value"))
    return ListedSettlement(
        ticker=ticker,
        event_ticker=event if isinstance(event, str) and event else event_of(ticker),
        exchange_index=whole_of(found, "exchange_index"),
        result=text(found, "market_result"),
        yes_e2=count_e2(found, "yes_count_fp"),
        no_e2=count_e2(found, "no_count_fp"),
        revenue_e6=_cents_e6(whole_of(found, "revenue"), "revenue"),
        fee_e6=money_e6(found, "fee_cost"),
        time_ms=parse_time_ms(found.get("settled_time"), "settled_time"),
        value_e4=None if value is None else bounded(value * 100, "value"),
    )


def _movements(what: str, one: Any) -> list[Movement]:
    found = _object(one, what.removesuffix("s"))
    if what == "transfers":
        if found.get("status") == "pending":
            return []
        amount_e6 = money_e6(found, "amount")
        made_ms = time_ms(whole_of(found, "created_ts"), "created_ts")
        ends = [
            (end, sign, kind)
            for end, sign, kind in (("source", -1, "withdrawal"), ("destination", 1, "deposit"))
            if (found.get(end) or EVENTS) == EVENTS
        ]
        return [
            Movement(
                id=text(found, "transfer_id"),
                kind="transfer" if len(ends) == 2 else kind,
                exchange_index=whole_of(found, f"{end}_exchange_shard"),
                amount_e6=sign * amount_e6,
                time_ms=made_ms,
            )
            for end, sign, kind in ends
        ]
    kind = what.removesuffix("s")
    if found.get("status") not in (None, "applied", "complete", "completed"):
        return []
    name = "amount_cents" if "amount_cents" in found else "amount"
    if isinstance(found.get(name), str):
        amount_e6 = money_e6(found, name)
    elif (cents := whole(found.get(name))) is not None:
        amount_e6 = _cents_e6(cents, name)
    else:
        raise BadRecord(name, found.get(name), "an amount")
    fee = found.get("fee_cents", 0)
    fee_e6 = _cents_e6(fee, "fee_cents") if isinstance(fee, int) else 0
    time = found.get("finalized_ts") or found.get("created_ts") or 0
    return [
        Movement(
            id=str(found.get("id", found.get(f"{kind}_id", ""))),
            kind=kind,
            exchange_index=0,
            amount_e6=amount_e6 - fee_e6 if kind == "deposit" else -amount_e6 - fee_e6,
            time_ms=time_ms(time, "created_ts")
            if isinstance(time, int)
            else parse_time_ms(time, "created_ts"),
        )
    ]


def _said_e6(found: dict[str, Any], name: str) -> int | None:
    """Return an amount on which nothing depends; None if it cannot be read."""
    try:
        return money_e6(found, name)
    except BadRecord:
        return None


def _cents_e6(cents: int, name: str) -> int:
    return bounded(cents * CENT_E6, name)


def _object(one: Any, field_name: str) -> dict[str, Any]:
    if not isinstance(one, dict):
        raise BadRecord(field_name, one, "an object")
    return one
