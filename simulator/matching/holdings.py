"""Who holds what: accounts, their subaccounts with cash by shard, and the exchange itself."""

from dataclasses import dataclass, field
from typing import Final

from .fees import DIRECT_GRID_E6, INTERMEDIARY_GRID_E6
from .kept import Kept
from .orders import Fill, Instrument, OrderSwitches, Party
from .positions import Position
from .resting import MarketOrders
from .returns import Returned
from .settlement import Settlement
from .transfers import Remembered, Transfer

CROWD: Final[Party] = (0, 0)


@dataclass(slots=True, eq=False)
class Purse:
    """A party's cash on one shard.

    Attributes:
        value_sum_e6, value_max_e6: value of its resting orders there, summed over all of them, or over the
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
        settled: settled positions, until they are old.
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
class Holdings:
    """Everything that is held.

    Attributes:
        crowd: the crowd as a party: unlimited cash, and the other side of what users hold together.
        by_ticker: positions of all parties, including the crowd, in markets not yet settled.
        pool_e6: a dollar for each pair of YES and NO contracts.
        fees_e6: net fees of all fills.
        rounded_e6: what settlements rounded off.
        returned_e6: what collateral return gave back and may take back.
        deposits_e6: cash that users brought in.
        shortfall_e6: what the exchange lost by settling exclusive events at more than a dollar in total.
    """

    switches: OrderSwitches
    shards: tuple[int, ...]
    accounts: dict[int, Account] = field(default_factory=dict)
    holders: dict[Party, Holder] = field(default_factory=dict)
    crowd: Holder = field(default_factory=lambda: Holder(CROWD, netting=False))
    by_ticker: dict[str, dict[Party, Position]] = field(default_factory=dict)
    pool_e6: int = 0
    fees_e6: int = 0
    rounded_e6: int = 0
    returned_e6: int = 0
    deposits_e6: int = 0
    shortfall_e6: int = 0
    fill_count: int = 0
    settlement_count: int = 0
    transfer_count: int = 0

    @property
    def grid_e6(self) -> int:
        """The step in which balances move."""
        return DIRECT_GRID_E6 if self.switches.member == "direct" else INTERMEDIARY_GRID_E6

    def open(self, party: Party) -> None:
        """Open a subaccount without cash."""
        purses = {shard: Purse() for shard in self.shards}
        holder = Holder(party, netting=self.switches.collateral_return, purses=purses)
        self.holders[party] = self.accounts[party[0]].holders[party[1]] = holder

    @staticmethod
    def purse(holder: Holder, shard: int) -> Purse:
        """Return a holder's cash on a shard."""
        purse = holder.purses.get(shard)
        if purse is None:  # a shard that did not exist when the account was opened
            purse = holder.purses[shard] = Purse()
        return purse

    def position(self, holder: Holder, instrument: Instrument) -> Position:
        """Return a holder's position in a market, opened if there is none."""
        ticker = instrument.ticker
        position = holder.positions.get(ticker)
        if position is None:
            position = holder.positions[ticker] = Position(holder.party, instrument)
            self.by_ticker.setdefault(ticker, {})[holder.party] = position
        return position

    def required_e6(self, purse: Purse) -> int:
        """Return the value of the orders resting against a purse."""
        return purse.value_sum_e6 if self.switches.resting_value == "sum" else purse.value_max_e6
