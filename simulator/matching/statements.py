"""What accounts see of the exchange's books, and the books as a whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .holdings import Holder, Holdings
from .kept import Kept
from .orders import Fill, Party
from .positions import Position
from .resting import price_value_e6
from .settlement import Settlement, worth_e6
from .transfers import Transfer

Mark = Callable[[str], int]
"""The value of a YES contract by ticker, price_e4."""

SettlementStatus = Literal["unsettled", "settled", "all"]


@dataclass(slots=True, eq=False)
class Statements:
    """Reads the books and changes nothing except to age what is in the lists."""

    holdings: Holdings

    def cash_e6(self, party: Party, exchange_index: int) -> int:
        """Return a party's cash on a shard, whatever rests."""
        return self.holdings.purse(self.holdings.holders[party], exchange_index).cash_e6

    def balance_e6(self, party: Party, exchange_index: int | None = None) -> int:
        """Return the balance that a party is shown, on a shard or on all of them."""
        holder = self.holdings.holders[party]
        purses = (
            holder.purses.values()
            if exchange_index is None
            else [self.holdings.purse(holder, exchange_index)]
        )
        if self.holdings.switches.balance_reduced_by_resting:
            return sum(max(0, purse.cash_e6 - self.holdings.required_e6(purse)) for purse in purses)
        return sum(purse.cash_e6 for purse in purses)

    def balances_e6(self, party: Party) -> dict[int, int]:
        """Return the balance that a party is shown by shard."""
        return {shard: self.balance_e6(party, shard) for shard in self.holdings.holders[party].purses}

    def balance_ms(self, party: Party) -> int:
        """Return when a party's cash last moved."""
        return max(purse.updated_ms for purse in self.holdings.holders[party].purses.values())

    def portfolio_value_e6(self, party: Party, mark: Mark, exchange_index: int | None = None) -> int:
        """Return what a party's contracts are worth at the marks of their markets."""
        return sum(
            worth_e6(position.count_e2, mark(ticker))
            for ticker, position in self.holdings.holders[party].positions.items()
            if position.count_e2 and exchange_index in (None, position.instrument.exchange_index)
        )

    def resting_value_e6(self, party: Party) -> dict[int, int]:
        """Return price times count of what a party's resting orders would open, by shard, without fees."""
        holder = self.holdings.holders[party]
        values = dict.fromkeys(holder.purses, 0)
        for ticker, market in holder.orders.items():
            held = holder.positions.get(ticker)
            for here in (market.bids, market.asks):
                values[market.instrument.exchange_index] += price_value_e6(
                    here.side, here.orders, held.count_e2 if held else 0
                )
        return values

    def position(self, party: Party, ticker: str) -> Position | None:
        """Return a party's position in a market not yet settled, None if it never traded there."""
        return self.holdings.holders[party].positions.get(ticker)

    def all_positions(self) -> Iterator[Position]:
        """Yield the positions of all parties in markets not yet settled."""
        for holder in self.holdings.holders.values():
            yield from holder.positions.values()

    def positions(
        self, party: Party, status: SettlementStatus = "unsettled", now_ms: int | None = None
    ) -> list[Position]:
        """Return a party's positions in the live list: open ones first, then settled ones, newest first."""
        holder = self.holdings.holders[party]
        if now_ms is not None:
            holder.settled.age(now_ms)
        held = list(holder.positions.values()) if status != "settled" else []
        if status != "unsettled":
            held += holder.settled.newest()
        return held

    def historical_positions(self, party: Party) -> Iterator[Position]:
        """Return a party's positions settled more than 90 days ago, newest first."""
        return self.holdings.holders[party].settled.historical()

    def fills(self, account: int) -> Kept[Fill]:
        """Return an account's fills of all subaccounts."""
        return self.holdings.accounts[account].fills

    def settlements(self, account: int) -> Kept[Settlement]:
        """Return an account's settlements of all subaccounts."""
        return self.holdings.accounts[account].settlements

    def transfers(self, account: int) -> Kept[Transfer]:
        """Return an account's transfers of both routes."""
        return self.holdings.accounts[account].transfers

    def books(self) -> dict[str, object]:
        """Return everything, exactly, in micro-dollars and hundredths of a contract."""
        return {
            "accounts": [
                {
                    "account": party[0],
                    "subaccount": party[1],
                    "netting": holder.netting,
                    "cash_e6": {str(shard): purse.cash_e6 for shard, purse in holder.purses.items()},
                    "required_e6": {
                        str(shard): self.holdings.required_e6(purse) for shard, purse in holder.purses.items()
                    },
                    "returned_e6": {
                        event: returned.returned_e6 for event, returned in holder.returns.items()
                    },
                    "positions": _position_rows(holder),
                }
                for party, holder in self.holdings.holders.items()
            ],
            "crowd": {
                "cash_e6": {str(shard): purse.cash_e6 for shard, purse in self.holdings.crowd.purses.items()},
                "positions": _position_rows(self.holdings.crowd),
            },
            "deposits_e6": self.holdings.deposits_e6,
            "fees_e6": self.holdings.fees_e6,
            "settlement_roundings_e6": self.holdings.rounded_e6,
            "pool_e6": self.holdings.pool_e6,
            "returned_e6": self.holdings.returned_e6,
            "shortfall_e6": self.holdings.shortfall_e6,
            "fills": self.holdings.fill_count,
            "settlements": self.holdings.settlement_count,
            "transfers": self.holdings.transfer_count,
        }


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
