"""The exchange's own books: whose cash, contracts and fees, and which orders can be paid.

Every dollar is in one place: in a party's cash, in the pool that holds one dollar for each pair of YES and NO
contracts, or among the fees. What collateral return gave back of the pool's dollars is owed to it. The crowd
is a party too, with cash without end, so that everything adds up (`check`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from .fees import DIRECT_GRID_E6, INTERMEDIARY_GRID_E6, net_fee_e6, priced, trade_fee_e6
from .kept import LIVE_MS, Kept
from .orders import BID, Fill, Instrument, Order, OrderSwitches, Party, Refusal, Side
from .positions import EventPosition, Position, by_event
from .refusals import INSUFFICIENT, invalid_parameters
from .resting import (
    MarketOrders,
    Resting,
    SideOfMarket,
    closing_e2,
    resting,
    value_e6,
    value_with_return_e6,
)
from .returns import Returned
from .settlement import HALF_E4, ONE_E4, Settlement, payout_e6, result_of, worth_e6
from .transfers import Remembered, Route, Transfer, steps

CROWD: Final[Party] = (0, 0)
MAX_SUBACCOUNT: Final = 63

Mark = Callable[[str], int]
"""Value of a YES contract by ticker, price_e4."""

SettlementStatus = Literal["unsettled", "settled", "all"]


class LedgerError(Exception):
    """The books do not add up."""


@dataclass(slots=True, eq=False)
class Purse:
    """A party's cash on one shard.

    Attributes:
        value_sum_e6, value_max_e6: value of its resting orders there, added up over all of them, or over the
            larger side of each market.
    """

    cash_e6: int = 0
    value_sum_e6: int = 0
    value_max_e6: int = 0
    updated_ms: int = 0


@dataclass(slots=True, eq=False)
class Holder:
    """A subaccount: its cash by shard, positions and resting orders by ticker, returns by event.

    Attributes:
        netting: whether collateral return is on.
        tickers: markets with resting orders by event.
        settled: positions that were settled, until they are old.
    """

    party: Party
    netting: bool
    purses: dict[int, Purse] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    settled: Kept[Position] = field(default_factory=Kept)
    orders: dict[str, MarketOrders] = field(default_factory=dict)
    tickers: dict[str, dict[str, None]] = field(default_factory=dict)
    returns: dict[str, Returned] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Account:
    """What belongs to an account as a whole."""

    holders: dict[int, Holder] = field(default_factory=dict)
    fills: Kept[Fill] = field(default_factory=Kept)
    settlements: Kept[Settlement] = field(default_factory=Kept)
    transfers: Kept[Transfer] = field(default_factory=Kept)
    remembered: Remembered = field(default_factory=Remembered)


@dataclass(slots=True, eq=False)
class Ledger:
    """Cash, positions, fees and the value of resting orders of all accounts.

    Whoever matches orders calls `admit` before an order may rest or trade, `pays` before each fill of an
    incoming order, `book` and `crowd` for the two sides of a fill, `add`, `touch` and `drop` as orders rest,
    change and end, and cancels what `unpayable` names after each incoming order, transfer and settlement.
    """

    switches: OrderSwitches
    shards: Sequence[int]
    _accounts: dict[int, Account] = field(init=False, default_factory=dict)
    _holders: dict[Party, Holder] = field(init=False, default_factory=dict)
    _crowd: Holder = field(init=False, default_factory=lambda: Holder(CROWD, netting=False))
    _by_ticker: dict[str, dict[Party, Position]] = field(init=False, default_factory=dict)
    _resting: dict[int, Resting] = field(init=False, default_factory=dict)
    _pool_e6: int = field(init=False, default=0)
    _fees_e6: int = field(init=False, default=0)
    _rounded_e6: int = field(init=False, default=0)
    _returned_e6: int = field(init=False, default=0)
    _deposits_e6: int = field(init=False, default=0)
    _shortfall_e6: int = field(init=False, default=0)
    _fills: int = field(init=False, default=0)
    _settlements: int = field(init=False, default=0)
    _transfers: int = field(init=False, default=0)

    # -- accounts

    def open(self, account: int, cash_e6: int) -> None:
        """Open an account with `cash_e6` on every shard, in subaccount 0.

        Raises:
            ValueError: it is open, or counts from 0, which is the crowd.
        """
        if account in self._accounts or account < 1:
            raise ValueError(f"account {account} cannot be opened")
        self._accounts[account] = Account()
        self._open_holder((account, 0))
        for shard in self.shards:
            self.deposit(account, shard, cash_e6)

    def deposit(self, account: int, exchange_index: int, amount_e6: int, time_ms: int = 0) -> None:
        """Bring cash in from outside, into subaccount 0."""
        purse = self._holders[account, 0].purses[exchange_index]
        purse.cash_e6 += amount_e6
        purse.updated_ms = max(purse.updated_ms, time_ms)
        self._deposits_e6 += amount_e6

    def create_subaccount(self, account: int) -> int | None:
        """Open the next subaccount; return its number, or None if there are 63."""
        number = len(self._accounts[account].holders)
        if number > MAX_SUBACCOUNT:
            return None
        self._open_holder((account, number))
        return number

    def subaccounts(self, account: int) -> list[int]:
        """Return the numbers of an account's subaccounts, 0 first."""
        return list(self._accounts[account].holders)

    def knows(self, party: Party) -> bool:
        """Tell whether there is such a subaccount."""
        return party in self._holders

    def netting(self, party: Party) -> bool:
        """Tell whether collateral return is on."""
        return self._holders[party].netting

    def set_netting(self, party: Party, enabled: bool, time_ms: int) -> bool:
        """Switch collateral return; False, and nothing changed, if what was returned cannot be paid back."""
        holder = self._holders[party]
        if holder.netting == enabled:
            return True
        returns: dict[str, Returned] = {}
        if enabled:
            for ticker, position in holder.positions.items():
                instrument = position.instrument
                if instrument.exclusive and position.count_e2 < 0:
                    event = instrument.event_ticker
                    returned = returns.setdefault(event, Returned(instrument.exchange_index))
                    returned.hold(ticker, -position.count_e2)
        owed: dict[int, int] = {}
        for returned in holder.returns.values():
            owed[returned.exchange_index] = owed.get(returned.exchange_index, 0) + returned.returned_e6
        if any(self._purse(holder, shard).cash_e6 < owed_e6 for shard, owed_e6 in owed.items()):
            return False
        for of_event, sign in ((holder.returns, -1), (returns, 1)):
            for returned in of_event.values():
                purse = self._purse(holder, returned.exchange_index)
                purse.cash_e6 += sign * returned.returned_e6
                purse.updated_ms = time_ms
                self._returned_e6 += sign * returned.returned_e6
        holder.netting, holder.returns = enabled, returns
        self._revalue_all(holder)
        return True

    # -- orders

    def priced(self, instrument: Instrument) -> bool:
        """Tell whether orders in a market have a fee; where not, none may be opened."""
        return priced(instrument)

    def admit(self, order: Order, remaining_e2: int | None = None) -> bool:
        """Tell whether its party can pay an order beside what rests, the order's fee as a taker included.

        Args:
            order: not among the resting ones; or one of them with a new price, which then counts once.
            remaining_e2: its contracts, if not those that it has left.
        """
        holder = self._holders.get(order.party)
        if holder is None:
            return False
        instrument, side = order.instrument, order.side
        purse = self._purse(holder, instrument.exchange_index)
        count_e2 = order.remaining_e2 if remaining_e2 is None else remaining_e2
        entry = resting(order, count_e2, not order.post_only, self._grid_e6)
        market = holder.orders.get(instrument.ticker)
        here = market.of(side) if market else SideOfMarket(side)
        old = self._resting.get(order.number)
        held = holder.positions.get(instrument.ticker)
        if (held is None or not closing_e2(side, held.count_e2)) and not (
            holder.netting and instrument.exclusive
        ):
            now_e6 = here.opening_e6 + entry.opening_e6 - (old.opening_e6 if old else 0)
        else:
            tried = SideOfMarket(side, list(here.orders))
            if old is not None:
                tried.take(old)
            tried.put(entry)
            now_e6 = self._value_e6(holder, instrument, tried)
        if self.switches.resting_value == "sum":
            return purse.value_sum_e6 - here.value_e6 + now_e6 <= purse.cash_e6
        there_e6 = 0
        if market:
            there_e6 = (market.asks if side == BID else market.bids).value_e6
        value = purse.value_max_e6 - max(here.value_e6, there_e6) + max(now_e6, there_e6)
        return value <= purse.cash_e6

    def add(self, order: Order) -> None:
        """Take an order that rests from now on."""
        holder, instrument = self._holders[order.party], order.instrument
        market = holder.orders.get(instrument.ticker)
        if market is None:
            market = holder.orders[instrument.ticker] = MarketOrders(instrument)
            holder.tickers.setdefault(instrument.event_ticker, {})[instrument.ticker] = None
        entry = resting(order, order.remaining_e2, False, self._grid_e6)
        self._resting[order.number] = entry
        market.of(order.side).put(entry)
        self._revalue(holder, market)

    def drop(self, order: Order) -> None:
        """Let an order go that rests no more."""
        entry = self._resting.pop(order.number, None)
        if entry is None:
            return
        holder, instrument = self._holders[order.party], order.instrument
        market = holder.orders[instrument.ticker]
        market.of(order.side).take(entry)
        self._revalue(holder, market)
        if not market.bids.orders and not market.asks.orders:
            del holder.orders[instrument.ticker]
            tickers = holder.tickers[instrument.event_ticker]
            del tickers[instrument.ticker]
            if not tickers:
                del holder.tickers[instrument.event_ticker]

    def touch(self, order: Order) -> None:
        """Take the new price or remaining count of a resting order. Its number is still the same."""
        old = self._resting[order.number]
        holder = self._holders[order.party]
        market = holder.orders[order.instrument.ticker]
        here = market.of(order.side)
        here.take(old)
        entry = self._resting[order.number] = resting(order, order.remaining_e2, False, self._grid_e6)
        here.put(entry)
        self._revalue(holder, market)

    def repriced(self) -> None:
        """Value all resting orders again: a switch, or the fees of an event, have changed."""
        for holder in self._holders.values():
            for market in holder.orders.values():
                for here in (market.bids, market.asks):
                    entries = [resting(old.order, old.count_e2, False, self._grid_e6) for old in here.orders]
                    here.orders, here.opening_e6 = [], 0
                    for entry in entries:
                        self._resting[entry.order.number] = entry
                        here.put(entry)
            self._revalue_all(holder)

    def reducible_e2(self, order: Order) -> int:
        """Return how many contracts of an order's side would only reduce the position."""
        return closing_e2(order.side, self.position_e2(order.party, order.ticker))

    def unpayable(self, party: Party, exchange_index: int) -> list[Order]:
        """Return the resting orders that can no longer be paid, the newest first: those to cancel."""
        holder = self._holders[party]
        purse = self._purse(holder, exchange_index)
        if self._required_e6(purse) <= purse.cash_e6:
            return []
        cancelled: dict[int, Order] = {}
        entries = [
            entry
            for market in holder.orders.values()
            if market.instrument.exchange_index == exchange_index
            for here in (market.bids, market.asks)
            for entry in here.orders
        ]
        entries.sort(key=lambda entry: entry.order.number, reverse=True)
        # Where only the larger side counts, an order of the smaller one goes only if nothing else helps.
        for by_sum in (False, True):
            for entry in entries:
                if self._required_e6(purse) <= purse.cash_e6:
                    break
                if entry.order.number not in cancelled and self._relieves(holder, purse, entry, by_sum):
                    cancelled[entry.order.number] = entry.order
        for order in cancelled.values():  # until they are dropped they rest
            market = holder.orders[order.ticker]
            market.of(order.side).put(self._resting[order.number])
            self._revalue(holder, market)
        return [cancelled[number] for number in sorted(cancelled, reverse=True)]

    # -- fills

    def pays(self, order: Order, price_e4: int, count_e2: int) -> bool:
        """Tell whether the cash of an incoming order's party covers one more fill.

        Many fills of one order may cost more in roundings than one fill of all of it, which `admit` asks for.
        """
        holder, instrument = self._holders[order.party], order.instrument
        cash_e6 = self._purse(holder, instrument.exchange_index).cash_e6
        if (
            cash_e6 >= 3 * count_e2 * ONE_E4
        ):  # the plain case: cost, fee and collateral are a dollar each at most
            return True
        fee_e6 = trade_fee_e6(instrument, price_e4, count_e2, is_taker=True)
        fee_e6, _ = net_fee_e6(
            fee_e6, order.side, price_e4, count_e2, order.fee_accumulator_e6, self._grid_e6
        )
        held = holder.positions.get(instrument.ticker)
        position_e2 = held.count_e2 if held else 0
        closed_e2 = min(count_e2, closing_e2(order.side, position_e2))
        unit_e4 = price_e4 if order.side == BID else ONE_E4 - price_e4
        cash_e6 += closed_e2 * ONE_E4 - count_e2 * unit_e4 - fee_e6
        if holder.netting and instrument.exclusive:
            after_e2 = position_e2 + (count_e2 if order.side == BID else -count_e2)
            returned = holder.returns.get(instrument.event_ticker) or Returned(instrument.exchange_index)
            others = returned.others(instrument.ticker)
            cash_e6 += returned.returned_if_e6(others, max(0, -after_e2)) - returned.returned_e6
        return cash_e6 >= 0

    def book(
        self, order: Order, trade_id: str, price_e4: int, count_e2: int, is_taker: bool, time_ms: int
    ) -> Fill:
        """Take one fill of an order: cash, position and fees move, and the order's costs and fees.

        What the order has left to fill is for the caller to change (then `touch` or `drop`).
        """
        instrument, side = order.instrument, order.side
        holder = self._holders[order.party]
        purse = self._purse(holder, instrument.exchange_index)
        position = self._position(holder, instrument)
        fee_e6 = trade_fee_e6(instrument, price_e4, count_e2, is_taker)
        fee_e6, order.fee_accumulator_e6 = net_fee_e6(
            fee_e6, side, price_e4, count_e2, order.fee_accumulator_e6, self._grid_e6
        )
        cost_e6 = (price_e4 if side == BID else ONE_E4 - price_e4) * count_e2
        if is_taker:
            order.taker_cost_e6 += cost_e6
            order.taker_fees_e6 += fee_e6
        else:
            order.maker_cost_e6 += cost_e6
            order.maker_fees_e6 += fee_e6
        revenue_e6 = position.trade(side, price_e4, count_e2)
        position.fees_e6 += fee_e6
        position.updated_ms = purse.updated_ms = time_ms
        purse.cash_e6 += revenue_e6 - fee_e6
        self._pool_e6 -= revenue_e6
        self._fees_e6 += fee_e6
        if holder.netting and instrument.exclusive:
            self._return(holder, purse, position)
        elif (market := holder.orders.get(instrument.ticker)) is not None:
            self._revalue(holder, market)
        self._fills += 1
        fill = Fill(
            trade_id=trade_id,
            order=order,
            side=side,
            price_e4=price_e4,
            count_e2=count_e2,
            is_taker=is_taker,
            fee_e6=fee_e6,
            position_e2=position.count_e2,
            time_ms=time_ms,
            number=self._fills,
        )
        self._accounts[order.party[0]].fills.add(fill)
        return fill

    def crowd(self, instrument: Instrument, side: Side, price_e4: int, count_e2: int) -> None:
        """Take the crowd's side of a fill: `side` is what the crowd does. It pays no fees."""
        revenue_e6 = self._position(self._crowd, instrument).trade(side, price_e4, count_e2)
        self._purse(self._crowd, instrument.exchange_index).cash_e6 += revenue_e6
        self._pool_e6 -= revenue_e6

    # -- settlement

    def settle(self, instrument: Instrument, value_e4: int | None, time_ms: int) -> list[Settlement]:
        """Pay out a market; return what that is for each party but the crowd. Its orders have ended before.

        Args:
            instrument: the market.
            value_e4: what YES is worth; None for a void of which nothing better is known, half a dollar.
            time_ms: when.
        """
        value_e4 = HALF_E4 if value_e4 is None else value_e4
        settlements = []
        for party, position in self._by_ticker.pop(instrument.ticker, {}).items():
            holder = self._crowd if party == CROWD else self._holders[party]
            del holder.positions[instrument.ticker]
            gross_e6 = worth_e6(position.count_e2, value_e4)
            self._pool_e6 -= gross_e6
            purse = self._purse(holder, instrument.exchange_index)
            if party == CROWD:
                purse.cash_e6 += gross_e6
                continue
            paid_e6 = payout_e6(position.count_e2, value_e4, self.switches.settle_whole_cents)
            purse.cash_e6 += paid_e6
            self._rounded_e6 += gross_e6 - paid_e6
            if position.count_e2:
                settlements.append(self._settlement(position, value_e4, paid_e6, gross_e6, time_ms))
                purse.updated_ms = time_ms
            position.realized_e6 += gross_e6 - position.cost_e6
            position.fees_e6 += gross_e6 - paid_e6
            position.count_e2 = position.cost_e6 = 0
            position.updated_ms = position.settled_ms = time_ms
            holder.settled.add(position)
            if (market := holder.orders.get(instrument.ticker)) is not None:
                self._revalue(holder, market)
        if instrument.exclusive:
            self._settle_returns(instrument, value_e4)
        for settlement in settlements:
            self._accounts[settlement.party[0]].settlements.add(settlement)
        return settlements

    # -- transfers

    def transfer(
        self,
        account: int,
        route: Route,
        source: tuple[int, int],
        destination: tuple[int, int],
        amount_e6: int,
        *,
        transfer_id: str,
        client_transfer_id: str | None,
        time_ms: int,
        at_most_steps: int = 3,
    ) -> Transfer | Refusal:
        """Move cash between (subaccount, shard) and another; the same `client_transfer_id` moves it once.

        Orders that rest where it was may have become unpayable.

        Args:
            account: whose.
            route: the operation that was called; ids are known to one operation.
            source: where it is.
            destination: where it shall be.
            amount_e6: how much.
            transfer_id: the exchange's id of a new transfer.
            client_transfer_id: the client's own id.
            time_ms: when.
            at_most_steps: after so many of up to three movements it fails; those made stay.
        """
        books = self._accounts[account]
        known = books.remembered.get(route, client_transfer_id)
        if known is not None:
            return known
        for subaccount, shard in (source, destination):
            if subaccount not in books.holders:
                return invalid_parameters(f"subaccount {subaccount} does not exist")
            if shard not in self.shards:
                return invalid_parameters(f"exchange index {shard} does not exist")
        if amount_e6 <= 0:
            return invalid_parameters("amount must be positive")
        if source == destination:
            return invalid_parameters("source and destination are the same")
        if books.holders[source[0]].purses[source[1]].cash_e6 < amount_e6:
            return INSUFFICIENT
        way = steps(source, destination)
        for here, there in way[:at_most_steps]:
            for (subaccount, shard), moved_e6 in ((here, -amount_e6), (there, amount_e6)):
                purse = books.holders[subaccount].purses[shard]
                purse.cash_e6 += moved_e6
                purse.updated_ms = time_ms
        self._transfers += 1
        transfer = Transfer(
            transfer_id=transfer_id,
            client_transfer_id=client_transfer_id,
            account=account,
            route=route,
            source=source,
            destination=destination,
            amount_e6=amount_e6,
            time_ms=time_ms,
            number=self._transfers,
            complete=len(way) <= at_most_steps,
        )
        books.transfers.add(transfer)
        books.remembered.add(transfer)
        return transfer

    # -- what is shown

    def position_e2(self, party: Party, ticker: str) -> int:
        """Return a party's contracts in a market, YES positive."""
        held = self._holders[party].positions.get(ticker)
        return held.count_e2 if held else 0

    def position(self, party: Party, ticker: str) -> Position | None:
        """Return a party's position in a market that is not settled, None if it never traded there."""
        return self._holders[party].positions.get(ticker)

    def cash_e6(self, party: Party, exchange_index: int) -> int:
        """Return a party's cash on a shard, whatever rests."""
        return self._purse(self._holders[party], exchange_index).cash_e6

    def balance_e6(self, party: Party, exchange_index: int | None = None) -> int:
        """Return the balance that a party is shown, on a shard or on all of them."""
        holder = self._holders[party]
        purses = holder.purses.values() if exchange_index is None else [self._purse(holder, exchange_index)]
        if self.switches.balance_reduced_by_resting:
            return sum(max(0, purse.cash_e6 - self._required_e6(purse)) for purse in purses)
        return sum(purse.cash_e6 for purse in purses)

    def balances_e6(self, party: Party) -> dict[int, int]:
        """Return the balance that a party is shown by shard."""
        return {shard: self.balance_e6(party, shard) for shard in self._holders[party].purses}

    def balance_ms(self, party: Party) -> int:
        """Return when a party's cash moved last."""
        return max(purse.updated_ms for purse in self._holders[party].purses.values())

    def portfolio_value_e6(self, party: Party, mark: Mark, exchange_index: int | None = None) -> int:
        """Return what a party's contracts are worth at the marks of their markets."""
        return sum(
            worth_e6(position.count_e2, mark(ticker))
            for ticker, position in self._holders[party].positions.items()
            if position.count_e2 and exchange_index in (None, position.instrument.exchange_index)
        )

    def resting_value_e6(self, party: Party) -> dict[int, int]:
        """Return the value of a party's resting orders by shard, as admission counts it."""
        return {shard: self._required_e6(purse) for shard, purse in self._holders[party].purses.items()}

    def positions(
        self, party: Party, status: SettlementStatus = "unsettled", now_ms: int | None = None
    ) -> list[Position]:
        """Return a party's positions of the live list, open ones first, the settled ones newest first."""
        holder = self._holders[party]
        if now_ms is not None:
            holder.settled.age(now_ms)
        held = list(holder.positions.values()) if status != "settled" else []
        if status != "unsettled":
            held += holder.settled.newest()
        return held

    def historical_positions(self, party: Party) -> Iterator[Position]:
        """Return a party's positions that were settled longer than two weeks ago, the newest first."""
        return self._holders[party].settled.historical()

    def event_positions(self, positions: Iterable[Position]) -> list[EventPosition]:
        """Add positions up by event."""
        return by_event(positions)

    def fills(self, account: int) -> Kept[Fill]:
        """Return an account's fills of all subaccounts."""
        return self._accounts[account].fills

    def settlements(self, account: int) -> Kept[Settlement]:
        """Return an account's settlements of all subaccounts."""
        return self._accounts[account].settlements

    def transfers(self, account: int) -> Kept[Transfer]:
        """Return an account's transfers of both routes."""
        return self._accounts[account].transfers

    def age(self, now_ms: int) -> None:
        """Let what is older than two weeks go from the live lists into the historical ones."""
        for account in self._accounts.values():
            account.fills.age(now_ms)
            account.settlements.age(now_ms)
            account.transfers.age(now_ms)
            for holder in account.holders.values():
                holder.settled.age(now_ms)

    @staticmethod
    def cutoff_ms(now_ms: int) -> int:
        """Return the time before which fills and settlements are historical."""
        return now_ms - LIVE_MS

    def books(self) -> dict[str, object]:
        """Return all of it, exact, in micro-dollars and hundredths of a contract."""
        return {
            "accounts": [
                {
                    "account": party[0],
                    "subaccount": party[1],
                    "netting": holder.netting,
                    "cash_e6": {str(shard): purse.cash_e6 for shard, purse in holder.purses.items()},
                    "resting_value_e6": {
                        str(shard): self._required_e6(purse) for shard, purse in holder.purses.items()
                    },
                    "returned_e6": {
                        event: returned.returned_e6 for event, returned in holder.returns.items()
                    },
                    "positions": _position_rows(holder),
                }
                for party, holder in self._holders.items()
            ],
            "crowd": {
                "cash_e6": {str(shard): purse.cash_e6 for shard, purse in self._crowd.purses.items()},
                "positions": _position_rows(self._crowd),
            },
            "deposits_e6": self._deposits_e6,
            "fees_e6": self._fees_e6,
            "settlement_roundings_e6": self._rounded_e6,
            "pool_e6": self._pool_e6,
            "returned_e6": self._returned_e6,
            "shortfall_e6": self._shortfall_e6,
            "fills": self._fills,
            "settlements": self._settlements,
            "transfers": self._transfers,
        }

    def check(self) -> None:
        """Assert that no cash came or went: users, crowd, fees and pool are deposits and what was returned.

        Raises:
            LedgerError: they are not, or somebody's cash is negative.
        """
        users_e6 = 0
        for party, holder in self._holders.items():
            for shard, purse in holder.purses.items():
                if purse.cash_e6 < 0:
                    raise LedgerError(f"cash of {party} on shard {shard} is {purse.cash_e6}")
                users_e6 += purse.cash_e6
        crowd_e6 = sum(purse.cash_e6 for purse in self._crowd.purses.values())
        there_e6 = users_e6 + crowd_e6 + self._fees_e6 + self._rounded_e6 + self._pool_e6
        brought_e6 = self._deposits_e6 + self._returned_e6 + self._shortfall_e6
        if there_e6 != brought_e6:
            raise LedgerError(f"{there_e6} micro-dollars are there, {brought_e6} were brought in")

    def audit(self) -> None:
        """`check`, and that pool, returns and values of orders are what positions and orders make them.

        Raises:
            LedgerError: something is not.
        """
        self.check()
        pairs_e2 = 0
        for ticker, held in self._by_ticker.items():
            if sum(position.count_e2 for position in held.values()):
                raise LedgerError(f"YES and NO of {ticker} differ")
            pairs_e2 += sum(max(0, position.count_e2) for position in held.values())
        if pairs_e2 * ONE_E4 != self._pool_e6:
            raise LedgerError(f"the pool has {self._pool_e6} for {pairs_e2} hundredths of a pair")
        returned_e6 = 0
        for holder in self._holders.values():
            returned_e6 += sum(returned.returned_e6 for returned in holder.returns.values())
            for shard, purse in holder.purses.items():
                values = [
                    [self._value_e6(holder, market.instrument, here) for here in (market.bids, market.asks)]
                    for market in holder.orders.values()
                    if market.instrument.exchange_index == shard
                ]
                if purse.value_sum_e6 != sum(map(sum, values)) or purse.value_max_e6 != sum(map(max, values)):
                    raise LedgerError(f"value of the orders of {holder.party} on shard {shard}")
        if returned_e6 != self._returned_e6:
            raise LedgerError(f"{returned_e6} were returned, {self._returned_e6} are booked")

    # -- inside

    @property
    def _grid_e6(self) -> int:
        return DIRECT_GRID_E6 if self.switches.member == "direct" else INTERMEDIARY_GRID_E6

    def _open_holder(self, party: Party) -> None:
        purses = {shard: Purse() for shard in self.shards}
        holder = Holder(party, netting=self.switches.collateral_return, purses=purses)
        self._holders[party] = self._accounts[party[0]].holders[party[1]] = holder

    @staticmethod
    def _purse(holder: Holder, shard: int) -> Purse:
        purse = holder.purses.get(shard)
        if purse is None:  # a shard that was not there when the account was opened
            purse = holder.purses[shard] = Purse()
        return purse

    def _position(self, holder: Holder, instrument: Instrument) -> Position:
        ticker = instrument.ticker
        position = holder.positions.get(ticker)
        if position is None:
            position = holder.positions[ticker] = Position(holder.party, instrument)
            self._by_ticker.setdefault(ticker, {})[holder.party] = position
        return position

    def _required_e6(self, purse: Purse) -> int:
        return purse.value_sum_e6 if self.switches.resting_value == "sum" else purse.value_max_e6

    def _value_e6(self, holder: Holder, instrument: Instrument, here: SideOfMarket) -> int:
        if not here.orders:
            return 0
        held = holder.positions.get(instrument.ticker)
        position_e2 = held.count_e2 if held else 0
        if holder.netting and instrument.exclusive:
            returned = holder.returns.get(instrument.event_ticker) or Returned(instrument.exchange_index)
            return value_with_return_e6(
                here.side, here.orders, position_e2, returned, instrument.ticker, self._grid_e6
            )
        if not closing_e2(here.side, position_e2):
            return here.opening_e6
        return value_e6(here.side, here.orders, position_e2, self._grid_e6)

    def _revalue(self, holder: Holder, market: MarketOrders) -> None:
        purse = self._purse(holder, market.instrument.exchange_index)
        bids, asks = market.bids, market.asks
        bids_e6 = self._value_e6(holder, market.instrument, bids)
        asks_e6 = self._value_e6(holder, market.instrument, asks)
        purse.value_sum_e6 += bids_e6 + asks_e6 - bids.value_e6 - asks.value_e6
        purse.value_max_e6 += max(bids_e6, asks_e6) - max(bids.value_e6, asks.value_e6)
        bids.value_e6, asks.value_e6 = bids_e6, asks_e6

    def _relieves(self, holder: Holder, purse: Purse, entry: Resting, by_sum: bool) -> bool:
        """Take an order out if the value of what rests falls by that; one that only closes stays."""
        market = holder.orders[entry.order.ticker]
        here = market.of(entry.order.side)
        before_e6 = purse.value_sum_e6 if by_sum else self._required_e6(purse)
        here.take(entry)
        self._revalue(holder, market)
        if (purse.value_sum_e6 if by_sum else self._required_e6(purse)) < before_e6:
            return True
        here.put(entry)
        self._revalue(holder, market)
        return False

    def _revalue_event(self, holder: Holder, event_ticker: str) -> None:
        for ticker in holder.tickers.get(event_ticker, ()):
            self._revalue(holder, holder.orders[ticker])

    def _revalue_all(self, holder: Holder) -> None:
        for market in holder.orders.values():
            self._revalue(holder, market)

    def _return(self, holder: Holder, purse: Purse, position: Position) -> None:
        """Return collateral, or take it back, after a fill."""
        event, no_e2 = position.instrument.event_ticker, max(0, -position.count_e2)
        returned = holder.returns.get(event)
        if returned is None:
            if no_e2:
                returned = holder.returns[event] = Returned(position.instrument.exchange_index)
            else:
                self._revalue_event(holder, event)
                return
        change_e6 = returned.hold(position.instrument.ticker, no_e2)
        purse.cash_e6 += change_e6
        self._returned_e6 += change_e6
        if not returned.counts_e2:
            del holder.returns[event]
        self._revalue_event(holder, event)

    def _settlement(
        self, position: Position, value_e4: int, paid_e6: int, gross_e6: int, time_ms: int
    ) -> Settlement:
        self._settlements += 1
        yes = position.count_e2 > 0
        return Settlement(
            party=position.party,
            instrument=position.instrument,
            result=result_of(value_e4),
            value_e4=value_e4,
            yes_e2=position.count_e2 if yes else 0,
            yes_cost_e6=position.cost_e6 if yes else 0,
            no_e2=0 if yes else -position.count_e2,
            no_cost_e6=0 if yes else position.cost_e6,
            revenue_e6=paid_e6,
            fee_e6=position.fees_e6 + gross_e6 - paid_e6,
            time_ms=time_ms,
            number=self._settlements,
        )

    def _settle_returns(self, instrument: Instrument, value_e4: int) -> None:
        """Take back what a settlement no longer covers, from the payout that has just been made.

        It always covers that, but where an exclusive event was settled at more than one dollar in all, or
        by the fraction of a cent that a payout was rounded: what is missing is the exchange's loss.
        """
        event = instrument.event_ticker
        for holder in self._holders.values():
            returned = holder.returns.get(event)
            if returned is None:
                continue
            change_e6 = returned.settle(instrument.ticker, value_e4)
            purse = self._purse(holder, instrument.exchange_index)
            purse.cash_e6 += change_e6
            self._returned_e6 += change_e6
            if purse.cash_e6 < 0:
                self._shortfall_e6 -= purse.cash_e6
                purse.cash_e6 = 0
            if not returned.counts_e2:
                del holder.returns[event]
            self._revalue_event(holder, event)


def _position_rows(holder: Holder) -> dict[str, dict[str, int]]:
    return {
        ticker: {
            "position_e2": position.count_e2,
            "cost_e6": position.cost_e6,
            "realized_e6": position.realized_e6,
            "fees_e6": position.fees_e6,
        }
        for ticker, position in holder.positions.items()
    }
