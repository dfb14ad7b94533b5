"""The ledger: cash, lots, the net position, open orders; exact to the micro-dollar. Pure.

Its lots are those of `lots.py`: what each trade holds of each market. Beside them it keeps the net position
that the exchange shows: the signed sum of a market's lots, and its average cost. A YES lot of one trade and a
NO lot of another make pairs: the exchange has paid their dollar, which is in cash, and the clearing account
holds it against the two lots until one is sold or the market settles. What is sold or settled out of such a
pair is paid from there; only the rest comes from the exchange. So each trade's profit is that of its own
purchases, whatever the others did, and in whatever order.

Every micro-dollar comes in once and goes out once, so at any time::

    cash                       = start + external - spent - fees + payouts + netted
    cash + lots - clearing     = start + external + realised - fees   (lots at cost)
    lots of YES - lots of NO   = the net position                 (each market, in contracts)
    pairs x $1                 = clearing                         (each market)

`check` verifies all four after each step, for the markets that have changed; `check_whole` for all markets,
now and then; `kalshi-bus trader reconcile` against the journal's rows.

At stake is what can be lost: in a market, the cost of its lots less what clearing holds for them, which is
exactly what is gone if the net position becomes worthless. It is never negative: a gain that pairs have
locked in one market does not make room in another. Everything that an open order can still cost is at stake,
even if it would sell something.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Final, NamedTuple

import msgspec

from bus.trading.gateway import ForeignFill
from markets.errors import KalshiBusError
from markets.orders import Fill, Intent, Position, Settlement
from markets.units import CENT_E6, COUNT_ONE_E2, DAY_MS, PRICE_ONE_E4

from .lots import (
    FOREIGN,
    Bought,
    Lot,
    Paid,
    after_purchase,
    bought,
    clearing_e6,
    settled,
    split_foreign,
)


class LedgerError(KalshiBusError):
    """The ledger does not add up, or a fill contradicts its order: stop trading, look at the journal."""


class BasketLeg(msgspec.Struct, frozen=True, array_like=True):
    """One leg of a trade: what was first ordered, and what its own lot has now."""

    ticker: str
    side: str
    planned_e2: int
    got_e2: int = 0


CLOSED_BY_HAND: Final = 100
"""`attempt` of an order with which a person sells part of a trade. A basket with that many tries is left
alone: it is as uneven as somebody wanted it to be."""


JOINED: Final = CLOSED_BY_HAND + 1
"""`attempt` of an order that joins a trade of its strategy: the orders that it quotes are not a basket."""


class Basket(msgspec.Struct, frozen=True, array_like=True):
    """The legs of one trade, and how many attempts were made to even them out."""

    strategy: str
    event_ticker: str
    legs: tuple[BasketLeg, ...] = ()
    tries: int = 0


def missing_e2(basket: Basket) -> list[int]:
    """Return for each leg how many whole contracts it lacks to the fullest ones, within its plan."""
    level_e2 = max([one.got_e2 for one in basket.legs], default=0)
    return [whole_e2(min(one.planned_e2, level_e2) - one.got_e2) for one in basket.legs]


def uneven(basket: Basket) -> bool:
    """Whether a leg lacks what others have."""
    alike = len({one.got_e2 for one in basket.legs}) < 2  # as mostly
    return not alike and any(missing_e2(basket))


def whole_e2(count_e2: int) -> int:
    """Return how many whole contracts these are, none if they are negative."""
    return max(0, count_e2) // COUNT_ONE_E2 * COUNT_ONE_E2


class PaidLeg(msgspec.Struct, frozen=True, array_like=True):
    """A lot that was paid out at `value_e4` of its own side, while its trade holds others in that event.

    `event_ticker` is empty in ledgers from before it existed.
    """

    ticker: str
    side: str
    count_e2: int
    cost_e6: int
    value_e4: int
    event_ticker: str = ""


CORRECTABLE_MS: Final = 7 * DAY_MS
"""How long after a settlement was booked the exchange may still correct it."""


class PaidOut(msgspec.Struct, frozen=True, array_like=True):
    """A market's settlement as last reported, its net position then, and the lots that were paid."""

    settlement: Settlement
    position: Position | None
    lots: tuple[Lot, ...]


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What an open order has filled so far: contracts, and their cost with fees."""

    count_e2: int = 0
    paid_e6: int = 0


NO_PROGRESS: Final = Progress()


class Stake(NamedTuple):
    """What the lots of a market, or an open order, put at stake, and whose they are."""

    ticker: str
    stake_e6: int
    trades: tuple[int, ...]


class Sums(NamedTuple):
    """The cost of a market's lots, and the dollars paid for pairs of them."""

    cost_e6: int
    clearing_e6: int

    @property
    def basis_e6(self) -> int:
        """The money still bound in the market; negative if pairs have paid more than all lots cost."""
        return self.cost_e6 - self.clearing_e6


NOTHING: Final = Sums(0, 0)
_NO_TRADES: Final = frozenset[int]()


def sums_of(lots: Collection[Lot]) -> Sums:
    """Return the sums of a market's lots."""
    if len(lots) == 1:  # as mostly: no pairs
        return Sums(next(iter(lots)).cost_e6, 0)
    return Sums(sum([lot.cost_e6 for lot in lots]), clearing_e6(lots))


class Stakes:
    """Sums over lots and open orders, updated as these change, so that no decision adds up the whole account.

    Attributes:
        at_stake_e6: for the lots of all markets.
        markets: the sums of each market with lots.
        in_event: event -> ticker of a market or number of an order -> its stake.
        changed: markets whose lots have changed since they were last checked against the sums.
        touched: events whose lots have changed since they were last valued.
        of_strategy: strategy -> what its lots have cost.
    """

    # Looks at an event ask for its trades, and whether it stirs, far more often than its stakes and baskets
    # change: whatever changes them calls `forget`.

    def __init__(self) -> None:
        self.cost_e6 = self.clearing_e6 = self.at_stake_e6 = self.reserved_e6 = 0
        self.orders_of: Counter[int] = Counter()
        self.of_strategy: Counter[str] = Counter()
        self.markets: dict[str, Sums] = {}
        self.in_event: dict[str, dict[str | int, Stake]] = {}
        self.changed: set[str] = set()
        self.touched: set[str] = set()
        self._events: frozenset[str] | None = None
        self._trades: dict[str, frozenset[int]] = {}
        self.stirs: dict[str, bool] = {}
        self._lots: dict[str, tuple[Lot, ...]] = {}

    def put_lots(self, event_ticker: str, ticker: str, lots: Iterable[Lot]) -> None:
        """Count a market's lots, in place of those it had."""
        self.changed.add(ticker)
        self.touched.add(event_ticker)
        lots = tuple(lots)
        for lot in self._lots.pop(ticker, ()):
            self.of_strategy[lot.strategy] -= lot.cost_e6
        before = self.markets.pop(ticker, NOTHING)
        self._take(event_ticker, ticker)
        after = NOTHING
        if lots:
            after = sums_of(lots)
            self.markets[ticker], self._lots[ticker] = after, lots
            for lot in lots:
                self.of_strategy[lot.strategy] += lot.cost_e6
            trades = tuple(lot.trade for lot in lots)
            self._put(event_ticker, ticker, Stake(ticker, max(0, after.basis_e6), trades))
        self.cost_e6 += after.cost_e6 - before.cost_e6
        self.clearing_e6 += after.clearing_e6 - before.clearing_e6
        self.at_stake_e6 += max(0, after.basis_e6) - max(0, before.basis_e6)

    def put_order(self, intent: Intent, left_e6: int) -> None:
        """Count an order that can still cost `left_e6`."""
        self.drop_order(intent)
        self.reserved_e6 += left_e6
        self.orders_of[intent.trade] += 1
        self._put(intent.event_ticker, intent.number, Stake(intent.ticker, left_e6, (intent.trade,)))

    def drop_order(self, intent: Intent) -> None:
        """Stop counting an order, if it was counted."""
        stake = self._take(intent.event_ticker, intent.number)
        if stake is None:
            return
        self.reserved_e6 -= stake.stake_e6
        self.orders_of[intent.trade] -= 1
        if not self.orders_of[intent.trade]:
            del self.orders_of[intent.trade]

    @property
    def events(self) -> frozenset[str]:
        """The events with a stake: the same object until one comes or goes."""
        if self._events is None:
            self._events = frozenset(self.in_event)
        return self._events

    def trades(self, event_ticker: str) -> frozenset[int]:
        """Return the trades with a stake in an event."""
        stakes = self.in_event.get(event_ticker)
        if stakes is None:
            return _NO_TRADES
        trades = self._trades.get(event_ticker)
        if trades is None:
            trades = frozenset([trade for stake in stakes.values() for trade in stake.trades])
            self._trades[event_ticker] = trades
        return trades

    def forget(self, event_ticker: str) -> None:
        """Forget what was worked out of an event's stakes and baskets."""
        self._trades.pop(event_ticker, None)
        self.stirs.pop(event_ticker, None)

    def _put(self, event_ticker: str, key: str | int, stake: Stake) -> None:
        self.forget(event_ticker)
        stakes = self.in_event.get(event_ticker)
        if stakes is None:
            self._events = None
            stakes = self.in_event[event_ticker] = {}
        stakes[key] = stake

    def _take(self, event_ticker: str, key: str | int) -> Stake | None:
        self.forget(event_ticker)
        stakes = self.in_event.get(event_ticker, {})
        stake = stakes.pop(key, None)
        if stake is not None and not stakes:
            self._events = None
            del self.in_event[event_ticker]
        return stake


class Ledger(msgspec.Struct, array_like=True, dict=True):
    """The whole state of the account, as it travels in a start input.

    Attributes:
        start_e6: cash at the journal's beginning.
        spent_e6: cost of all fills, without fees.
        fees_e6: of fills, plus what settlements withheld to pay whole cents.
        payouts_e6: what settled markets were worth, including what was withheld.
        netted_e6: what was paid for pairs of YES and NO.
        realised_e6: profit of all lots that were sold or settled, before fees.
        positions: the net position by ticker; none if the lots cancel out. Its cost is the exchange's: the
            average of what was bought on that side since it was last 0, without fees; a purchase of the other
            side removes its share. It is for display: profit and stakes follow from the lots.
        open: orders that have not ended, by number.
        settled: when each market that was held settled.
        baskets: by trade, from its orders until one of its markets settles or it holds nothing any more.
        progress: of open orders that are partly filled, by number.
        lots: ticker -> trade -> what it holds; trade FOREIGN has what is not ours.
        external_e6: cash that came in, less what went out, without a fill or a settlement.
        amending: orders with a pending change of price or count -> as they were.
        paid: trade -> its lots that were paid out, as long as it holds others in their event. Only trade
            FOREIGN has lots in several.
        recent: markets whose settlement may still be corrected.
    """

    start_e6: int
    cash_e6: int = 0
    spent_e6: int = 0
    fees_e6: int = 0
    payouts_e6: int = 0
    netted_e6: int = 0
    realised_e6: int = 0
    positions: dict[str, Position] = {}
    open: dict[int, Intent] = {}
    settled: dict[str, int] = {}
    baskets: dict[int, Basket] = {}
    progress: dict[int, Progress] = {}
    lots: dict[str, dict[int, Lot]] = {}
    external_e6: int = 0
    amending: dict[int, Intent] = {}
    paid: dict[int, tuple[PaidLeg, ...]] = {}
    recent: dict[str, PaidOut] = {}

    def __post_init__(self) -> None:
        """Convert a ledger stored before lots existed; no other has positions without lots."""
        if not self.lots and (
            self.positions or any(leg.got_e2 for basket in self.baskets.values() for leg in basket.legs)
        ):
            self.lots = lots_from_before(self.positions, self.baskets)

    @classmethod
    def new(cls, start_e6: int) -> "Ledger":
        """Return the ledger of an account with this much cash and nothing else."""
        return cls(start_e6=start_e6, cash_e6=start_e6)

    def copy(self) -> "Ledger":
        """Return a copy that changes independently."""
        return msgspec.structs.replace(
            self,
            positions=dict(self.positions),
            open=dict(self.open),
            settled=dict(self.settled),
            baskets=dict(self.baskets),
            progress=dict(self.progress),
            lots={ticker: dict(lots) for ticker, lots in self.lots.items()},
            amending=dict(self.amending),
            paid=dict(self.paid),
            recent=dict(self.recent),
        )

    @cached_property
    def stakes(self) -> Stakes:
        """Sums over lots and open orders. Whatever changes those must change these too."""
        stakes = Stakes()
        for ticker, lots in self.lots.items():
            stakes.put_lots(_event(lots), ticker, lots.values())
        for intent in self.open.values():
            stakes.put_order(intent, self.left_e6(intent))
        return stakes

    @cached_property
    def lacking(self) -> set[int]:
        """The trades whose baskets are `uneven`. What changes a basket (`_put_basket`) changes this too."""
        return {trade for trade, basket in self.baskets.items() if uneven(basket)}

    # -- reading

    @property
    def lots_cost_e6(self) -> int:
        """Cost of all lots, without fees."""
        return self.stakes.cost_e6

    @property
    def clearing_e6(self) -> int:
        """Dollars in cash that were paid for pairs of open lots."""
        return self.stakes.clearing_e6

    @property
    def basis_e6(self) -> int:
        """The money bound in all markets: the cost of the lots less what clearing holds for them."""
        return self.stakes.cost_e6 - self.stakes.clearing_e6

    def basis_of_e6(self, ticker: str) -> int:
        """Return the money bound in a market."""
        return self.stakes.markets.get(ticker, NOTHING).basis_e6

    def held_e2(self, trade: int, ticker: str, side: str) -> int:
        """Return how many contracts of a side a trade itself holds."""
        lot = self.lots.get(ticker, {}).get(trade)
        return lot.count_e2 if lot is not None and lot.side == side else 0

    @property
    def reserved_e6(self) -> int:
        """The most that all open orders can still cost."""
        return self.stakes.reserved_e6

    @property
    def free_e6(self) -> int:
        """Cash that no open order reserves."""
        return self.cash_e6 - self.reserved_e6

    def at_stake_e6(self, event_ticker: str | None = None, *, ticker: str | None = None) -> int:
        """Return what lots and orders can lose: in total, in an event, or in a market of it."""
        if event_ticker is None:
            assert ticker is None, "a market is looked up in its event"
            return self.stakes.at_stake_e6 + self.stakes.reserved_e6
        stakes = self.stakes.in_event.get(event_ticker)
        if stakes is None:  # the usual case
            return 0
        return sum([stake.stake_e6 for stake in stakes.values() if ticker is None or stake.ticker == ticker])

    def rise_by_sale_e6(self, trade: int, ticker: str, count_e2: int) -> int:
        """Return how the stake in a market rises if a trade sells `count_e2` of its own lot there.

        Usually it falls, and this is negative. It rises only if another trade's lot offsets the one sold,
        because a pair is then broken up.
        """
        lots = dict(self.lots[ticker])
        lot = lots.pop(trade)
        if count_e2 < lot.count_e2:
            cost_e6 = lot.cost_e6 - lot.cost_e6 * count_e2 // lot.count_e2
            lots[trade] = msgspec.structs.replace(lot, count_e2=lot.count_e2 - count_e2, cost_e6=cost_e6)
        return max(0, sums_of(lots.values()).basis_e6) - max(0, self.basis_of_e6(ticker))

    def lots_in(self, event_ticker: str) -> list[Lot]:
        """Return the lots of an event, by market."""
        stakes = self.stakes.in_event.get(event_ticker, {})
        return [lot for key in stakes if isinstance(key, str) for lot in self.lots[key].values()]

    def trades_in(self, event_ticker: str) -> frozenset[int]:
        """Return the trades that are open in an event: those with a lot or an open order."""
        return self.stakes.trades(event_ticker)

    def stirs(self, event_ticker: str) -> bool:
        """Whether any trade in an event has an order, no basket, or one that lacks something."""
        stirs = self.stakes.stirs.get(event_ticker)
        if stirs is None:
            trades = self.trades_in(event_ticker)
            stirs = not (
                self.lacking.isdisjoint(trades)
                and self.stakes.orders_of.keys().isdisjoint(trades)
                and self.baskets.keys() >= trades
            )
            if trades:
                self.stakes.stirs[event_ticker] = stirs
        return stirs

    def events(self) -> frozenset[str]:
        """Return the events with a lot or an open order: the same object until one comes or goes."""
        return self.stakes.events

    @cached_property
    def recent_events(self) -> frozenset[str]:
        """The events of markets whose settlement may still be corrected."""
        return frozenset(paid.settlement.event_ticker for paid in self.recent.values())

    def ordered(self, trade: int) -> bool:
        """Whether an order of this trade has not ended."""
        return trade in self.stakes.orders_of

    def filled(self, number: int) -> Progress:
        """Return what an open order has filled so far."""
        return self.progress.get(number, NO_PROGRESS)

    def left_e6(self, intent: Intent) -> int:
        """Return the most that an open order can still cost."""
        filled = self.progress.get(intent.number)
        return intent.reserve_e6 if filled is None else max(0, intent.reserve_e6 - filled.paid_e6)

    # -- changing

    def place(self, intent: Intent) -> None:
        """Reserve what an order may cost."""
        self.open[intent.number] = intent
        self.stakes.put_order(intent, intent.reserve_e6)
        basket = self.baskets.get(intent.trade)
        if basket is None:
            if intent.attempt >= CLOSED_BY_HAND:
                return  # one of its markets has settled: what is sold here is not in a basket any more
            basket = Basket(intent.strategy, intent.event_ticker)
        if intent.attempt:
            basket = msgspec.structs.replace(basket, tries=max(basket.tries, intent.attempt))
        else:
            leg = self._with_lot(BasketLeg(intent.ticker, intent.side, intent.count_e2), intent.trade)
            basket = msgspec.structs.replace(basket, legs=(*basket.legs, leg))
        self._put_basket(intent.trade, basket)

    def beyond(self, number: int, fill: Fill, *, may_be_empty: bool = True) -> str | None:
        """Return why an open order does not allow a fill, None if it does.

        Args:
            may_be_empty: allow one of no contracts if the exchange lists it.
        """
        intent, before = self.open[number], self.filled(number)
        count_e2 = before.count_e2 + fill.count_e2
        paid_e6 = before.paid_e6 + fill.cost_e6 + fill.fee_e6
        empty = may_be_empty and fill.count_e2 == 0 and bool(fill.id)  # its fee is due
        fits = fill.count_e2 > 0 and 0 < fill.price_e4 <= intent.price_e4
        if fill.fee_e6 < 0 or not (fits or empty):
            return f"order {number}: a fill beyond its limit of {intent.price_e4}: {fill}"
        if count_e2 > intent.count_e2 or paid_e6 > intent.reserve_e6:
            return f"order {number}: filled {count_e2} for {paid_e6}, more than it allows"
        return None

    def fill(self, number: int, fill: Fill) -> Intent | None:
        """Book a fill of an order that has not ended; None, and nothing is booked, if it has.

        A fill with the exchange's own id has happened, whatever the order allows: it is booked.

        Raises:
            LedgerError: the fill is not what the order allows.
        """
        intent = self.open.get(number)
        if intent is None:
            return None
        if not fill.id and (beyond := self.beyond(number, fill)) is not None:
            raise LedgerError(beyond)
        before = self.filled(number)
        paid_e6 = before.paid_e6 + fill.cost_e6 + fill.fee_e6
        self.progress[number] = Progress(before.count_e2 + fill.count_e2, paid_e6)
        self.stakes.put_order(intent, max(0, intent.reserve_e6 - paid_e6))
        self._buy(intent, bought(intent, fill))
        self._count(intent)
        return intent

    def fill_late(self, intent: Intent, fill: Fill) -> None:
        """Book a fill of an order that has ended: the money has moved, whatever was reported before."""
        self._buy(intent, bought(intent, fill))
        self._count(intent)

    def fill_foreign(self, foreign: ForeignFill, *, by_event: bool = True) -> tuple[tuple[int, int], ...]:
        """Book a fill of an order that is not ours; return how many contracts of which trades it closed.

        That part of those trades' lots is closed, and nobody opens it again.

        Args:
            by_event: forget what was `paid` in an event once nothing is held there; otherwise, as before
                rules 3, what was paid to the trade anywhere.
        """
        closed = []
        for part in split_foreign(self.lots.get(foreign.ticker, {}).values(), foreign_bought(foreign)):
            self._buy(foreign, part, by_event=by_event)
            if part.trade != FOREIGN:
                closed.append((part.trade, part.count_e2))
                self._drop_basket(part.trade)
        return tuple(closed)

    def adopt(self, amount_e6: int) -> None:
        """Book cash that came in, or if negative went out, other than by our trading."""
        self.external_e6 += amount_e6
        self.cash_e6 += amount_e6

    def ask_amend(self, number: int, price_e4: int, count_e2: int, reserve_e6: int) -> bool:
        """Reserve what an open order may cost, before or after a change; return whether it is open."""
        intent = self.open.get(number)
        if intent is None:
            return False
        self.amending.setdefault(number, intent)
        self._put(
            intent,
            max(intent.price_e4, price_e4),
            max(intent.count_e2, count_e2),
            max(intent.reserve_e6, reserve_e6),
        )
        return True

    def end_amend(self, number: int, price_e4: int, count_e2: int, reserve_e6: int) -> bool:
        """Reserve what an open order may cost as it is now; return whether it is open."""
        intent = self.open.get(number)
        if intent is None:
            return False
        self.amending.pop(number, None)
        self._put(intent, price_e4, count_e2, reserve_e6)
        return True

    def _put(self, intent: Intent, price_e4: int, count_e2: int, reserve_e6: int) -> None:
        intent = msgspec.structs.replace(intent, price_e4=price_e4, count_e2=count_e2, reserve_e6=reserve_e6)
        self.open[intent.number] = intent
        self.stakes.put_order(intent, self.left_e6(intent))

    def end(self, number: int) -> Intent | None:
        """Free what an order still reserves; return the order, None if it had ended before."""
        intent = self.open.pop(number, None)
        if intent is None:
            return None
        self.progress.pop(number, None)
        self.amending.pop(number, None)
        self.stakes.drop_order(intent)
        basket = self.baskets.get(intent.trade)
        if (
            basket is not None
            and not self.ordered(intent.trade)
            and not any(leg.got_e2 for leg in basket.legs)
        ):
            self._drop_basket(intent.trade)
        return intent

    def _put_basket(self, trade: int, basket: Basket) -> None:
        self.baskets[trade] = basket
        self.stakes.forget(basket.event_ticker)
        (self.lacking.add if uneven(basket) else self.lacking.discard)(trade)

    def _drop_basket(self, trade: int) -> None:
        basket = self.baskets.pop(trade, None)
        if basket is not None:
            self.stakes.forget(basket.event_ticker)
            self.lacking.discard(trade)

    def _count(self, intent: Intent) -> None:
        """Note in the trade's basket what it now has of this market."""
        basket = self.baskets.get(intent.trade)
        if basket is None:
            return  # one of its markets has settled: nothing is evened out any more
        legs = tuple(
            self._with_lot(leg, intent.trade) if leg.ticker == intent.ticker else leg for leg in basket.legs
        )
        self._put_basket(intent.trade, msgspec.structs.replace(basket, legs=legs))

    def _with_lot(self, leg: BasketLeg, trade: int) -> BasketLeg:
        """Return a leg with what the trade's own lot has, negative if that is on the other side."""
        lot = self.lots.get(leg.ticker, {}).get(trade)
        got_e2 = 0 if lot is None else lot.count_e2 if lot.side == leg.side else -lot.count_e2
        return leg if got_e2 == leg.got_e2 else msgspec.structs.replace(leg, got_e2=got_e2)

    def rehome(self, ticker: str, event_ticker: str) -> bool:
        """Assign the lots of a market to this event; return whether they belonged to another.

        For a fill that is not ours, the market's event was only guessed from its ticker.
        """
        lots = self.lots.get(ticker)
        if lots is None or (before := _event(lots)) == event_ticker:
            return False
        self.stakes.put_lots(before, ticker, ())
        for trade, lot in lots.items():
            lots[trade] = msgspec.structs.replace(lot, event_ticker=event_ticker)
        self.stakes.put_lots(event_ticker, ticker, lots.values())
        position = self.positions.get(ticker)
        if position is not None:
            self.positions[ticker] = msgspec.structs.replace(position, event_ticker=event_ticker)
        for trade in lots.keys() & self.paid.keys():
            if not self._holds(trade, before):  # then the event of what was paid was the same guess
                self.paid[trade] = tuple(
                    msgspec.structs.replace(leg, event_ticker=event_ticker)
                    if leg.event_ticker == before
                    else leg
                    for leg in self.paid[trade]
                )
        return True

    def _buy(self, order: Intent | ForeignFill, made: Bought, *, by_event: bool = True) -> None:
        if isinstance(order, Intent):
            self.rehome(made.ticker, made.event_ticker)
        elif held := self.lots.get(made.ticker):
            made = msgspec.structs.replace(made, event_ticker=_event(held))
        cost_e6 = made.price_e4 * made.count_e2
        self.spent_e6 += cost_e6
        self.fees_e6 += made.fee_e6
        self.cash_e6 -= cost_e6 + made.fee_e6
        lots = self.lots.setdefault(made.ticker, {})
        lot, sold = after_purchase(lots.pop(made.trade, None), made)
        if lot is not None:
            lots[made.trade] = lot
        if sold is not None:
            self.realised_e6 += sold.realised_e6
        if not lots:
            del self.lots[made.ticker]
        self.stakes.put_lots(made.event_ticker, made.ticker, lots.values())
        if lot is None and made.trade in self.paid and not self._holds(made.trade, made.event_ticker):
            self._forget_paid(made.trade, made.event_ticker, by_event=by_event)
        self._net(order, made)

    def _holds(self, trade: int, event_ticker: str) -> bool:
        return any(lot.trade == trade for lot in self.lots_in(event_ticker))

    def _net(self, order: Intent | ForeignFill, made: Bought) -> None:
        """Keep the net position as the exchange does, which pays a dollar for each pair at once."""
        if not made.count_e2:
            return
        held = self.positions.pop(made.ticker, None)
        count_e2 = made.count_e2
        if held is not None and held.side != made.side:
            pairs_e2 = min(held.count_e2, count_e2)
            self.netted_e6 += pairs_e2 * PRICE_ONE_E4
            self.cash_e6 += pairs_e2 * PRICE_ONE_E4
            count_e2 -= pairs_e2
            left_e2 = held.count_e2 - pairs_e2
            if left_e2:
                cost_e6 = held.cost_e6 - held.cost_e6 * pairs_e2 // held.count_e2
                held = msgspec.structs.replace(held, count_e2=left_e2, cost_e6=cost_e6)
                self.positions[made.ticker] = held
                return
            held = None
        if not count_e2:
            return
        if held is None:
            held = Position(
                ticker=made.ticker,
                event_ticker=made.event_ticker,
                series_ticker=order.series_ticker if isinstance(order, Intent) else "",
                label=order.label if isinstance(order, Intent) else "",
                strategy=made.strategy,
                side=made.side,
                count_e2=0,
                cost_e6=0,
                fees_e6=0,
                opened_ms=made.time_ms,
                trades=(),
            )
        self.positions[made.ticker] = msgspec.structs.replace(
            held,
            count_e2=held.count_e2 + count_e2,
            cost_e6=held.cost_e6 + made.price_e4 * count_e2,
            fees_e6=held.fees_e6 + made.fee_e6,
            trades=held.trades if made.trade in held.trades else (*held.trades, made.trade),
        )

    def settle(
        self,
        ticker: str,
        result: str,
        value_e4: int,
        time_ms: int,
        *,
        whole_cents: bool = True,
        paid_e6: int | None = None,
        by_event: bool = True,
    ) -> Settlement | None:
        """Pay out all lots of a market at `value_e4` of YES; None without any, so nothing is paid twice.

        The exchange pays for the net position, which may be 0; the market's clearing pays the rest.

        Args:
            whole_cents: pay whole cents only, and book the rest of the value as a fee.
            paid_e6: what the exchange says it paid; it counts if it equals the value apart from rounding.
            by_event: see `fill_foreign`.

        Raises:
            LedgerError: the two do not add up to what the lots get.
        """
        lots = self.lots.get(ticker)
        if lots is None:
            return None
        event_ticker, sums = _event(lots), self.stakes.markets[ticker]
        for trade in self.trades_in(event_ticker):
            basket = self.baskets.get(trade)
            if basket is not None and any(leg.ticker == ticker for leg in basket.legs):
                self._drop_basket(trade)
        position = self.positions.pop(ticker, None)
        payout_e6, fee_e6 = _payout(position, value_e4, whole_cents=whole_cents, paid_e6=paid_e6)
        closed = settled(lots.values(), Paid(ticker, value_e4, time_ms, fee_e6))
        got_e6 = sum(part.proceeds_e6 for part in closed)
        if got_e6 != payout_e6 + sums.clearing_e6:
            raise LedgerError(
                f"{ticker}: its lots get {got_e6}, of which the exchange pays {payout_e6}"
                f" and {sums.clearing_e6} is in clearing"
            )
        del self.lots[ticker]
        self.stakes.put_lots(event_ticker, ticker, ())
        self._note_paid(lots, value_e4, by_event=by_event)
        self.payouts_e6 += payout_e6
        self.fees_e6 += fee_e6
        self.cash_e6 += payout_e6 - fee_e6
        self.realised_e6 += sum(part.realised_e6 for part in closed)
        self.settled[ticker] = time_ms
        settlement = Settlement(
            ticker=ticker,
            event_ticker=event_ticker,
            side="yes" if position is None else position.side,
            count_e2=0 if position is None else position.count_e2,
            result=result,
            value_e4=value_e4,
            cost_e6=sums.basis_e6,
            payout_e6=payout_e6 - fee_e6,
            time_ms=time_ms,
            fee_e6=fee_e6,
        )
        self._remember(PaidOut(settlement, position, tuple(lots.values())), time_ms)
        return settlement

    def correct(
        self,
        ticker: str,
        result: str,
        value_e4: int,
        time_ms: int,
        *,
        whole_cents: bool = True,
        paid_e6: int | None = None,
    ) -> tuple[Settlement, Settlement] | None:
        """Correct a settlement; return it as it was and as it is now. None: it was too long ago.

        The old payment is taken back and the new one made, for the same lots.

        Args:
            value_e4, whole_cents, paid_e6: as for `settle`.
        """
        paid = self.recent.get(ticker)
        if paid is None or self.settled[ticker] < time_ms - CORRECTABLE_MS:
            return None
        before = paid.settlement
        payout_e6, fee_e6 = _payout(paid.position, value_e4, whole_cents=whole_cents, paid_e6=paid_e6)
        more_e6 = payout_e6 - before.payout_e6 - before.fee_e6
        now = msgspec.structs.replace(
            before,
            result=result,
            value_e4=value_e4,
            payout_e6=payout_e6 - fee_e6,
            time_ms=time_ms,
            fee_e6=fee_e6,
        )
        self.payouts_e6 += more_e6
        self.realised_e6 += more_e6
        self.fees_e6 += fee_e6 - before.fee_e6
        self.cash_e6 += now.payout_e6 - before.payout_e6
        for trade, legs in self.paid.items():
            if any(leg.ticker == ticker for leg in legs):
                self.paid[trade] = tuple(
                    msgspec.structs.replace(leg, value_e4=_own_e4(leg.side, value_e4))
                    if leg.ticker == ticker
                    else leg
                    for leg in legs
                )
                self.stakes.touched.add(before.event_ticker)
        self._remember(msgspec.structs.replace(paid, settlement=now), time_ms)
        return before, now

    def _remember(self, paid: PaidOut, time_ms: int) -> None:
        """Remember a settlement for corrections, and forget those paid too long ago."""
        self.recent[paid.settlement.ticker] = paid
        for ticker in list(self.recent):
            if self.settled[ticker] < time_ms - CORRECTABLE_MS:
                del self.recent[ticker]
        vars(self).pop("recent_events", None)

    def _note_paid(self, lots: dict[int, Lot], value_e4: int, *, by_event: bool) -> None:
        """Note the paid lots of trades that hold more: their other lots must pay the rest of the promise."""
        event_ticker = _event(lots)
        holding = {lot.trade for lot in self.lots_in(event_ticker)}
        for trade, lot in lots.items():
            if trade not in holding:
                self._forget_paid(trade, event_ticker, by_event=by_event)
                continue
            own_e4 = _own_e4(lot.side, value_e4)
            leg = PaidLeg(lot.ticker, lot.side, lot.count_e2, lot.cost_e6, own_e4, event_ticker)
            self.paid[trade] = (*self.paid.get(trade, ()), leg)

    def _forget_paid(self, trade: int, event_ticker: str, *, by_event: bool) -> None:
        """Forget what was paid to a trade in an event in which it holds nothing more."""
        legs = self.paid.pop(trade, ())
        elsewhere = tuple([leg for leg in legs if leg.event_ticker != event_ticker]) if by_event else ()
        if elsewhere:
            self.paid[trade] = elsewhere

    def check(self) -> None:
        """Check the sums against each other, and against the markets that have changed since the last time.

        Raises:
            LedgerError: they differ; the message has both, in micro-dollars.
        """
        began_e6 = self.start_e6 + self.external_e6
        flows_e6 = began_e6 - self.spent_e6 - self.fees_e6 + self.payouts_e6 + self.netted_e6
        if self.cash_e6 != flows_e6:
            raise LedgerError(f"cash is {self.cash_e6}, fills, fees and settlements make it {flows_e6}")
        stakes = self.stakes
        held_e6 = self.cash_e6 + stakes.cost_e6 - stakes.clearing_e6
        earned_e6 = began_e6 + self.realised_e6 - self.fees_e6
        if held_e6 != earned_e6:
            raise LedgerError(
                f"cash and lots less clearing are {held_e6}, start and profit make them {earned_e6}"
            )
        reserved_e6 = sum(map(self.left_e6, self.open.values())) if self.open else 0
        if stakes.reserved_e6 != reserved_e6:
            raise LedgerError(f"{stakes.reserved_e6} is reserved for orders that hold {reserved_e6}")
        while stakes.changed:
            ticker = stakes.changed.pop()
            self._check_market(ticker)
            for trade in self.lots.get(ticker, ()):
                self._check_basket(trade)

    def _check_market(self, ticker: str) -> None:
        lots, position = self.lots.get(ticker, {}), self.positions.get(ticker)
        sums, kept = sums_of(lots.values()), self.stakes.markets.get(ticker, NOTHING)
        if sums != kept:
            raise LedgerError(f"{ticker}: its lots make {sums}, the sums kept are {kept}")
        signed_e2 = sum([lot.signed_e2 for lot in lots.values()])
        net_e2 = 0 if position is None else position.signed_e2
        if signed_e2 != net_e2:
            raise LedgerError(f"{ticker}: its lots are {signed_e2} contracts, the position is {net_e2}")

    def _check_basket(self, trade: int) -> None:
        basket = self.baskets.get(trade)
        for leg in () if basket is None else basket.legs:
            if self._with_lot(leg, trade) is not leg:
                raise LedgerError(f"trade {trade}: its basket says {leg}, its lots say otherwise")

    def check_whole(self) -> None:
        """Check every market, every basket and every sum. To be done now and then.

        Raises:
            LedgerError: something differs.
        """
        self.check()
        for ticker in self.lots.keys() | self.positions.keys() | self.stakes.markets.keys():
            self._check_market(ticker)
        for trade in self.baskets:
            self._check_basket(trade)
        lacking = {trade for trade, basket in self.baskets.items() if uneven(basket)}
        if self.lacking != lacking:
            raise LedgerError(f"baskets {lacking} lack something, those kept as such are {self.lacking}")
        bought_e6 = cleared_e6 = staked_e6 = 0
        for sums in self.stakes.markets.values():
            bought_e6 += sums.cost_e6
            cleared_e6 += sums.clearing_e6
            staked_e6 += max(0, sums.basis_e6)
        found = bought_e6, cleared_e6, staked_e6
        kept = (self.stakes.cost_e6, self.stakes.clearing_e6, self.stakes.at_stake_e6)
        if found != kept:
            raise LedgerError(f"cost, clearing and stake of all lots are {found}, the sums kept are {kept}")
        strategies = Counter[str]()
        for lots in self.lots.values():
            for lot in lots.values():
                strategies[lot.strategy] += lot.cost_e6
        if strategies != self.stakes.of_strategy:  # without a difference between 0 and none
            raise LedgerError(
                f"the lots of strategies cost {strategies}, the sums kept are {self.stakes.of_strategy}"
            )


def _payout(
    position: Position | None, value_e4: int, *, whole_cents: bool, paid_e6: int | None
) -> tuple[int, int]:
    """Return what a net position is worth at settlement, and how much of that is withheld."""
    payout_e6 = 0 if position is None else position.value_e6(value_e4)
    fee_e6 = payout_e6 % CENT_E6 if whole_cents else 0
    rounding_e6 = CENT_E6 + (0 if position is None else position.count_e2)
    if paid_e6 is not None and 0 <= payout_e6 - paid_e6 <= rounding_e6:
        fee_e6 = payout_e6 - paid_e6
    return payout_e6, fee_e6


def _own_e4(side: str, value_e4: int) -> int:
    """Return what a side is worth if YES is worth `value_e4`."""
    return value_e4 if side == "yes" else PRICE_ONE_E4 - value_e4


def foreign_bought(foreign: ForeignFill) -> Bought:
    """Return a fill that is not ours in the form of the record, with trade FOREIGN."""
    fill = foreign.fill
    return Bought(
        trade=FOREIGN,
        strategy="",
        ticker=foreign.ticker,
        event_ticker=foreign.event_ticker,
        side=foreign.side,
        price_e4=fill.price_e4,
        count_e2=fill.count_e2,
        fee_e6=fill.fee_e6,
        time_ms=fill.time_ms,
    )


def _event(lots: dict[int, Lot]) -> str:
    return next(iter(lots.values())).event_ticker


def lots_from_before(positions: dict[str, Position], baskets: dict[int, Basket]) -> dict[str, dict[int, Lot]]:
    """Return the lots of a ledger stored when there were only net positions.

    Contracts are those of the baskets; what the position has beyond them belongs to its other trade, or to
    trade 0 if none is named. Costs are exact in total: lots on the position's side share its cost. If a
    basket holds the other side, the profit of the pairs was booked when they were made, so both together cost
    their dollar, half each.
    """
    signed: dict[str, dict[int, int]] = {ticker: {} for ticker in positions}
    for trade, basket in baskets.items():
        for leg in basket.legs:
            if leg.got_e2:
                signed.setdefault(leg.ticker, {})[trade] = leg.got_e2 if leg.side == "yes" else -leg.got_e2
    events = {leg.ticker: basket.event_ticker for basket in baskets.values() for leg in basket.legs}
    lots: dict[str, dict[int, Lot]] = {}
    for ticker, of_trade in signed.items():
        position = positions.get(ticker)
        rest_e2 = (0 if position is None else position.signed_e2) - sum(of_trade.values())
        if rest_e2:
            trades = () if position is None else position.trades
            of_trade[next((trade for trade in trades if trade not in baskets), 0)] = rest_e2
        side = "yes" if position is None else position.side
        made = {}
        for trade, signed_e2 in of_trade.items():
            basket_of = baskets.get(trade)
            made[trade] = Lot(
                trade=trade,
                strategy=basket_of.strategy if basket_of else position.strategy if position else "",
                ticker=ticker,
                event_ticker=position.event_ticker if position else events[ticker],
                side="yes" if signed_e2 > 0 else "no",
                count_e2=abs(signed_e2),
                cost_e6=0,
                fees_e6=0,
                opened_ms=position.opened_ms if position else 0,
            )
        pairs_e6 = clearing_e6(made.values())
        left_e2 = sum(lot.count_e2 for lot in made.values() if lot.side == side)
        left_e6 = (0 if position is None else position.cost_e6) + pairs_e6 // 2
        fees_e6 = 0 if position is None else position.fees_e6
        for trade, lot in made.items():
            if lot.side != side:
                made[trade] = msgspec.structs.replace(lot, cost_e6=lot.count_e2 * PRICE_ONE_E4 // 2)
                continue
            cost_e6, fee_e6 = left_e6 * lot.count_e2 // left_e2, fees_e6 * lot.count_e2 // left_e2
            made[trade] = msgspec.structs.replace(lot, cost_e6=cost_e6, fees_e6=fee_e6)
            left_e2, left_e6, fees_e6 = left_e2 - lot.count_e2, left_e6 - cost_e6, fees_e6 - fee_e6
        lots[ticker] = made
    return {ticker: made for ticker, made in lots.items() if made}
