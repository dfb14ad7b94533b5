"""The exchange's own books: cash, contracts and fees by owner, and which orders can be paid for.

Every dollar is in one place: in a party's cash, in the pool that holds one dollar for each pair of YES and NO
contracts, or among the fees. What collateral return paid out of the pool's dollars is owed to the pool. The
crowd is a party too, with unlimited cash, so that everything adds up (`check`).
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Final

from .admission import Admission
from .fees import net_fee_e6, priced, trade_fee_e6
from .holdings import CROWD, Account, Holder, Holdings, Purse
from .orders import BID, Fill, Instrument, Order, OrderSwitches, Party, Refusal, Side
from .positions import Position
from .refusals import INSUFFICIENT, invalid_parameters
from .resting import closing_e2
from .returns import Returned
from .settlement import HALF_E4, ONE_E4, Settlement, payout_e6, result_of, worth_e6
from .statements import Statements
from .transfers import Route, Transfer, steps

MAX_SUBACCOUNT: Final = 63


class LedgerError(Exception):
    """The books do not add up."""


@dataclass(slots=True, eq=False)
class Ledger:
    """Cash, positions, fees and the value of resting orders of all accounts.

    The matcher calls `admit` before an order may rest or trade, `pays` before each fill of an incoming order,
    `book` and `crowd` for the two sides of a fill, `add`, `touch` and `drop` as orders rest, change and end,
    and cancels what `unpayable` names after each incoming order, transfer and settlement.
    """

    switches: InitVar[OrderSwitches]
    shards: InitVar[Sequence[int]]
    holdings: Holdings = field(init=False)
    admission: Admission = field(init=False)
    statements: Statements = field(init=False)

    def __post_init__(self, switches: OrderSwitches, shards: Sequence[int]) -> None:
        self.holdings = Holdings(switches, tuple(shards))
        self.admission = Admission(self.holdings)
        self.statements = Statements(self.holdings)

    # -- accounts

    def open(self, account: int, cash_e6: int) -> None:
        """Open an account with `cash_e6` on every shard, in subaccount 0.

        Raises:
            ValueError: it is already open, or is 0, which is the crowd.
        """
        if account in self.holdings.accounts or account < 1:
            raise ValueError(f"account {account} cannot be opened")
        self.holdings.accounts[account] = Account()
        self.holdings.open((account, 0))
        for shard in self.holdings.shards:
            self.deposit(account, shard, cash_e6)

    def deposit(self, account: int, exchange_index: int, amount_e6: int, time_ms: int = 0) -> None:
        """Bring cash in from outside, into subaccount 0."""
        purse = self.holdings.holders[account, 0].purses[exchange_index]
        purse.cash_e6 += amount_e6
        purse.updated_ms = max(purse.updated_ms, time_ms)
        self.holdings.deposits_e6 += amount_e6

    def create_subaccount(self, account: int) -> int | None:
        """Open the next subaccount; return its number, None if there are 63."""
        number = len(self.holdings.accounts[account].holders)
        if number > MAX_SUBACCOUNT:
            return None
        self.holdings.open((account, number))
        return number

    def subaccounts(self, account: int) -> list[int]:
        """Return the numbers of an account's subaccounts, 0 first."""
        return list(self.holdings.accounts[account].holders)

    def knows(self, party: Party) -> bool:
        """Tell whether there is such a subaccount."""
        return party in self.holdings.holders

    def netting(self, party: Party) -> bool:
        """Tell whether collateral return is on."""
        return self.holdings.holders[party].netting

    def set_netting(self, party: Party, enabled: bool, time_ms: int) -> bool:
        """Switch collateral return; False, without change, if what was returned cannot be paid back."""
        holder = self.holdings.holders[party]
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
        if any(self.holdings.purse(holder, shard).cash_e6 < owed_e6 for shard, owed_e6 in owed.items()):
            return False
        for of_event, sign in ((holder.returns, -1), (returns, 1)):
            for returned in of_event.values():
                purse = self.holdings.purse(holder, returned.exchange_index)
                purse.cash_e6 += sign * returned.returned_e6
                purse.updated_ms = time_ms
                self.holdings.returned_e6 += sign * returned.returned_e6
        holder.netting, holder.returns = enabled, returns
        self.admission.revalue_all(holder)
        return True

    # -- orders

    def priced(self, instrument: Instrument) -> bool:
        """Tell whether orders in a market have a known fee; if not, none may be opened."""
        return priced(instrument)

    def reducible_e2(self, order: Order) -> int:
        """Return how many contracts on an order's side would only reduce the position."""
        return closing_e2(order.side, self.position_e2(order.party, order.ticker))

    def admit(self, order: Order, remaining_e2: int | None = None) -> bool:
        """Tell whether its party can pay for an order beside what rests; see `Admission.admit`."""
        return self.admission.admit(order, remaining_e2)

    def pays(self, order: Order, price_e4: int, count_e2: int) -> bool:
        """Tell whether the cash of an incoming order's party covers one more fill; see `Admission.pays`."""
        return self.admission.pays(order, price_e4, count_e2)

    def add(self, order: Order) -> None:
        """Add an order that rests from now on."""
        self.admission.add(order)

    def drop(self, order: Order) -> None:
        """Remove an order that no longer rests."""
        self.admission.drop(order)

    def touch(self, order: Order) -> None:
        """Note the new price or remaining count of a resting order, whose number stays the same."""
        self.admission.touch(order)

    def unpayable(self, party: Party, exchange_index: int) -> list[Order]:
        """Return the resting orders that can no longer be paid for, newest first: those to cancel."""
        return self.admission.unpayable(party, exchange_index)

    def repriced(self) -> None:
        """Revalue all resting orders: a switch, or the fees of an event, have changed."""
        self.admission.repriced()

    # -- fills

    def position_e2(self, party: Party, ticker: str) -> int:
        """Return a party's contracts in a market, YES positive."""
        held = self.holdings.holders[party].positions.get(ticker)
        return held.count_e2 if held else 0

    def users_e2(self, ticker: str) -> tuple[int, int]:
        """Return how many contracts of YES, and of NO, all users hold in a market."""
        held = self.holdings.by_ticker.get(ticker, {})
        counts = [position.count_e2 for party, position in held.items() if party != CROWD]
        return sum(count for count in counts if count > 0), -sum(count for count in counts if count < 0)

    def book(
        self, order: Order, trade_id: str, price_e4: int, count_e2: int, is_taker: bool, time_ms: int
    ) -> Fill:
        """Book one fill of an order: cash, position and fees, and the order's own costs and fees.

        The caller changes what the order has left to fill (then `touch` or `drop`).
        """
        instrument, side = order.instrument, order.side
        held = self.holdings
        holder = held.holders[order.party]
        purse = held.purse(holder, instrument.exchange_index)
        position = held.position(holder, instrument)
        fee_e6 = trade_fee_e6(instrument, price_e4, count_e2, is_taker)
        fee_e6, order.fee_accumulator_e6 = net_fee_e6(
            fee_e6, side, price_e4, count_e2, order.fee_accumulator_e6, held.grid_e6
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
        held.pool_e6 -= revenue_e6
        held.fees_e6 += fee_e6
        if holder.netting and instrument.exclusive:
            self._return(holder, purse, position)
        elif (market := holder.orders.get(instrument.ticker)) is not None:
            self.admission.revalue(holder, market)
        held.fill_count += 1
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
            number=held.fill_count,
        )
        held.accounts[order.party[0]].fills.add(fill)
        return fill

    def crowd(self, instrument: Instrument, side: Side, price_e4: int, count_e2: int) -> None:
        """Book the crowd's side of a fill: `side` is what the crowd does. It pays no fees."""
        held = self.holdings
        revenue_e6 = held.position(held.crowd, instrument).trade(side, price_e4, count_e2)
        held.purse(held.crowd, instrument.exchange_index).cash_e6 += revenue_e6
        held.pool_e6 -= revenue_e6

    # -- settlement

    def settle(self, instrument: Instrument, value_e4: int | None, time_ms: int) -> list[Settlement]:
        """Pay out a market; return the settlements of all parties but the crowd. Its orders have ended.

        Args:
            instrument: the market.
            value_e4: what YES is worth; None for a void about which nothing better is known: half a dollar.
            time_ms: when.
        """
        value_e4 = HALF_E4 if value_e4 is None else value_e4
        settlements = []
        for party, position in self.holdings.by_ticker.pop(instrument.ticker, {}).items():
            holder = self.holdings.crowd if party == CROWD else self.holdings.holders[party]
            del holder.positions[instrument.ticker]
            gross_e6 = worth_e6(position.count_e2, value_e4)
            self.holdings.pool_e6 -= gross_e6
            purse = self.holdings.purse(holder, instrument.exchange_index)
            if party == CROWD:
                purse.cash_e6 += gross_e6
                continue
            paid_e6 = payout_e6(position.count_e2, value_e4, self.holdings.switches.settle_whole_cents)
            purse.cash_e6 += paid_e6
            self.holdings.rounded_e6 += gross_e6 - paid_e6
            if position.count_e2:
                settlements.append(self._settlement(position, value_e4, paid_e6, gross_e6, time_ms))
                purse.updated_ms = time_ms
            position.realized_e6 += gross_e6 - position.cost_e6
            position.fees_e6 += gross_e6 - paid_e6
            position.count_e2 = position.cost_e6 = 0
            position.updated_ms = position.settled_ms = time_ms
            holder.settled.add(position)
            if (market := holder.orders.get(instrument.ticker)) is not None:
                self.admission.revalue(holder, market)
        if instrument.exclusive:
            self._settle_returns(instrument, value_e4)
        for settlement in settlements:
            self.holdings.accounts[settlement.party[0]].settlements.add(settlement)
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
        """Move cash from one (subaccount, shard) to another, once per `client_transfer_id`.

        Orders resting where it was may have become unpayable.

        Args:
            account: whose.
            route: the operation called; ids are known to one operation only.
            source: where the cash is.
            destination: where it is to go.
            amount_e6: how much.
            transfer_id: the exchange's id of a new transfer.
            client_transfer_id: the client's own id.
            time_ms: when.
            at_most_steps: it fails after this many of up to three movements; those made stay.
        """
        books = self.holdings.accounts[account]
        known = books.remembered.get(route, client_transfer_id)
        if known is not None:
            return known
        for subaccount, shard in (source, destination):
            if subaccount not in books.holders:
                return invalid_parameters(f"subaccount {subaccount} does not exist")
            if shard not in self.holdings.shards:
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
        self.holdings.transfer_count += 1
        transfer = Transfer(
            transfer_id=transfer_id,
            client_transfer_id=client_transfer_id,
            account=account,
            route=route,
            source=source,
            destination=destination,
            amount_e6=amount_e6,
            time_ms=time_ms,
            number=self.holdings.transfer_count,
            complete=len(way) <= at_most_steps,
        )
        books.transfers.add(transfer)
        books.remembered.add(transfer)
        return transfer

    # -- the whole

    def age(self, now_ms: int) -> None:
        """Move what is older than 90 days from the live lists into the historical ones."""
        for account in self.holdings.accounts.values():
            account.fills.age(now_ms)
            account.settlements.age(now_ms)
            account.transfers.age(now_ms)
            for holder in account.holders.values():
                holder.settled.age(now_ms)

    def check(self) -> None:
        """Assert that no cash came or went: users, crowd, fees and pool equal deposits and returns.

        Raises:
            LedgerError: they are not, or somebody's cash is negative.
        """
        users_e6 = 0
        for party, holder in self.holdings.holders.items():
            for shard, purse in holder.purses.items():
                if purse.cash_e6 < 0:
                    raise LedgerError(f"cash of {party} on shard {shard} is {purse.cash_e6}")
                users_e6 += purse.cash_e6
        crowd_e6 = sum(purse.cash_e6 for purse in self.holdings.crowd.purses.values())
        there_e6 = (
            users_e6 + crowd_e6 + self.holdings.fees_e6 + self.holdings.rounded_e6 + self.holdings.pool_e6
        )
        brought_e6 = self.holdings.deposits_e6 + self.holdings.returned_e6 + self.holdings.shortfall_e6
        if there_e6 != brought_e6:
            raise LedgerError(f"{there_e6} micro-dollars are there, {brought_e6} were brought in")

    def audit(self) -> None:
        """As `check`, and also that pool, returns and order values follow from positions and orders.

        Raises:
            LedgerError: something does not.
        """
        self.check()
        pairs_e2 = 0
        for ticker, held in self.holdings.by_ticker.items():
            if sum(position.count_e2 for position in held.values()):
                raise LedgerError(f"YES and NO of {ticker} differ")
            pairs_e2 += sum(max(0, position.count_e2) for position in held.values())
        if pairs_e2 * ONE_E4 != self.holdings.pool_e6:
            raise LedgerError(f"the pool has {self.holdings.pool_e6} for {pairs_e2} hundredths of a pair")
        returned_e6 = 0
        for holder in self.holdings.holders.values():
            returned_e6 += sum(returned.returned_e6 for returned in holder.returns.values())
            for shard, purse in holder.purses.items():
                values = [
                    [
                        self.admission.value_e6(holder, market.instrument, here)
                        for here in (market.bids, market.asks)
                    ]
                    for market in holder.orders.values()
                    if market.instrument.exchange_index == shard
                ]
                if purse.value_sum_e6 != sum(map(sum, values)) or purse.value_max_e6 != sum(map(max, values)):
                    raise LedgerError(f"value of the orders of {holder.party} on shard {shard}")
        if returned_e6 != self.holdings.returned_e6:
            raise LedgerError(f"{returned_e6} were returned, {self.holdings.returned_e6} are booked")

    # -- inside

    def _return(self, holder: Holder, purse: Purse, position: Position) -> None:
        """Return or take back collateral after a fill."""
        ticker, event = position.instrument.ticker, position.instrument.event_ticker
        no_e2 = max(0, -position.count_e2)
        returned = holder.returns.get(event)
        if no_e2 == (returned.counts_e2.get(ticker, 0) if returned else 0):  # only YES has moved
            if (market := holder.orders.get(ticker)) is not None:
                self.admission.revalue(holder, market)
            return
        if returned is None:
            returned = holder.returns[event] = Returned(position.instrument.exchange_index)
        change_e6 = returned.hold(ticker, no_e2)
        purse.cash_e6 += change_e6
        self.holdings.returned_e6 += change_e6
        if not returned.counts_e2:
            del holder.returns[event]
        self.admission.revalue_event(holder, event)

    def _settlement(
        self, position: Position, value_e4: int, paid_e6: int, gross_e6: int, time_ms: int
    ) -> Settlement:
        self.holdings.settlement_count += 1
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
            number=self.holdings.settlement_count,
        )

    def _settle_returns(self, instrument: Instrument, value_e4: int) -> None:
        """Take back what a settlement no longer covers, from the payout that has just been made.

        The payout always covers that, except when an exclusive event was settled at more than one dollar in
        total, or for the fraction of a cent that a payout was rounded by: what is missing is the exchange's
        loss.
        """
        event = instrument.event_ticker
        for holder in self.holdings.holders.values():
            returned = holder.returns.get(event)
            if returned is None:
                continue
            change_e6 = returned.settle(instrument.ticker, value_e4)
            purse = self.holdings.purse(holder, instrument.exchange_index)
            purse.cash_e6 += change_e6
            self.holdings.returned_e6 += change_e6
            if purse.cash_e6 < 0:
                self.holdings.shortfall_e6 -= purse.cash_e6
                purse.cash_e6 = 0
            if not returned.counts_e2:
                del holder.returns[event]
            self.admission.revalue_event(holder, event)
