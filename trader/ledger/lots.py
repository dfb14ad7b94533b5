"""Lots: views of an account's record, that is, of its fills and the values at which markets settled. Pure.

The same contracts can be seen in three ways, and each adds up to the same cash:

* *trade lots*: what each trade holds. When a trade buys the other outcome, it first sells its own lot, as far
  as that goes; it never touches the lot of another trade.
* *the net position*, as the exchange keeps it: per market the signed sum of the lots, with NO negative. A
  contract bought against it makes a pair, which pays its dollar at once. If two trades hold opposite sides,
  that dollar is in cash while both lots are still open; the clearing account holds it against them until one
  of them is sold or the market settles.
* *tax lots*: every purchase is its own lot; what the exchange closes is taken from the oldest.

Amounts are integers, and rounding loses nothing: a part that leaves a lot takes its share of cost and fees,
rounded down, and the rest of the lot keeps the remainder, so the last part takes it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from markets.orders import Fill, Intent
from markets.units import PRICE_ONE_E4, opposite

Way = Literal["sold", "settled", "corrected"]
"""How contracts were closed: by buying the other outcome, or because the market settled. `corrected` is not a
contract, but what a changed result pays more, or less, for contracts that had settled before."""


class Bought(msgspec.Struct, frozen=True):
    """One fill, with the relevant facts of its order."""

    trade: int
    strategy: str
    ticker: str
    event_ticker: str
    side: str
    price_e4: int
    count_e2: int
    fee_e6: int
    time_ms: int


def bought(intent: Intent, fill: Fill) -> Bought:
    """Return an order's fill in the form of the record."""
    return Bought(
        trade=intent.trade,
        strategy=intent.strategy,
        ticker=intent.ticker,
        event_ticker=intent.event_ticker,
        side=intent.side,
        price_e4=fill.price_e4,
        count_e2=fill.count_e2,
        fee_e6=fill.fee_e6,
        time_ms=fill.time_ms,
    )


class Paid(msgspec.Struct, frozen=True):
    """A market settled: one YES is worth `value_e4`. `fee_e6`: what was withheld to pay whole cents.

    Another one for the same market corrects the earlier one: these are then the total amounts.
    """

    ticker: str
    value_e4: int
    time_ms: int
    fee_e6: int = 0


Recorded = Bought | Paid


class Got(msgspec.Struct, frozen=True):
    """What an order has filled, and what it had filled at the last look; cost without fees."""

    intent: Intent
    filled_e2: int
    cost_e6: int
    before_e2: int = 0
    cost_before_e6: int = 0


class Fresh(msgspec.Struct, frozen=True):
    """What was added to an account since it was last read, each oldest first.

    Attributes:
        orders: new orders. got: orders with new fills, each once. record: fills and settlements.
    """

    orders: Sequence[Intent] = ()
    got: Sequence[Got] = ()
    record: Sequence[Recorded] = ()


FOREIGN: Final = 0
"""The trade to which foreign contracts belong: bought by hand, by another program, or before the journal."""


class Lot(msgspec.Struct, frozen=True, array_like=True):
    """One trade's contracts of one market. `cost_e6` excludes fees; `fees_e6` are those of buying."""

    trade: int
    strategy: str
    ticker: str
    event_ticker: str
    side: str
    count_e2: int
    cost_e6: int
    fees_e6: int
    opened_ms: int

    @property
    def signed_e2(self) -> int:
        """Contracts as the exchange adds them up, with NO negative."""
        return self.count_e2 if self.side == "yes" else -self.count_e2


class Closed(msgspec.Struct, frozen=True):
    """A lot, or part of one, that was closed. `fees_e6` are those of buying and of selling it."""

    trade: int
    ticker: str
    side: str
    count_e2: int
    cost_e6: int
    proceeds_e6: int
    fees_e6: int
    acquired_ms: int
    disposed_ms: int
    how: Way

    @property
    def realised_e6(self) -> int:
        """Profit before fees."""
        return self.proceeds_e6 - self.cost_e6

    @property
    def gain_e6(self) -> int:
        """Profit after fees."""
        return self.proceeds_e6 - self.cost_e6 - self.fees_e6


def after_purchase(lot: Lot | None, purchase: Bought) -> tuple[Lot | None, Closed | None]:
    """Return what a trade holds of a market after a purchase, and what the purchase sold.

    A purchase of nothing has a fee all the same: that of what is held, or else of nothing sold.

    Args:
        lot: what the trade held before.
    """
    closed = None
    count_e2, fee_e6 = purchase.count_e2, purchase.fee_e6
    if not count_e2:
        if lot is not None:
            return msgspec.structs.replace(lot, fees_e6=lot.fees_e6 + fee_e6), None
        return None, _nothing(purchase)
    if lot is not None and lot.side != purchase.side:
        sold_e2 = min(lot.count_e2, count_e2)
        lot, closed, fee_e6 = _sell(lot, sold_e2, purchase, count_e2, fee_e6)
        count_e2 -= sold_e2
    if not count_e2:
        return lot, closed
    cost_e6 = purchase.price_e4 * count_e2
    if lot is None:
        opened_ms = purchase.time_ms
        lot = Lot(
            trade=purchase.trade,
            strategy=purchase.strategy,
            ticker=purchase.ticker,
            event_ticker=purchase.event_ticker,
            side=purchase.side,
            count_e2=count_e2,
            cost_e6=cost_e6,
            fees_e6=fee_e6,
            opened_ms=opened_ms,
        )
        return lot, closed
    more = msgspec.structs.replace(
        lot,
        count_e2=lot.count_e2 + count_e2,
        cost_e6=lot.cost_e6 + cost_e6,
        fees_e6=lot.fees_e6 + fee_e6,
    )
    return more, closed


def _nothing(purchase: Bought) -> Closed:
    """Return what a purchase of nothing closes: nothing, at its fee."""
    return Closed(
        trade=purchase.trade,
        ticker=purchase.ticker,
        side=purchase.side,
        count_e2=0,
        cost_e6=0,
        proceeds_e6=0,
        fees_e6=purchase.fee_e6,
        acquired_ms=purchase.time_ms,
        disposed_ms=purchase.time_ms,
        how="sold",
    )


def split_foreign(lots: Iterable[Lot], purchase: Bought) -> list[Bought]:
    """Divide a purchase that is not ours among the lots that it closes, and what is left of it.

    At the exchange it nets whatever the account holds of the other outcome. Foreign lots are closed first,
    then those of our trades, the oldest first: what was sold of them is gone, whoever sold it. A purchase of
    nothing stays itself.

    Args:
        lots: those of the market. purchase: of trade FOREIGN.
    """
    other = sorted(
        (lot for lot in lots if lot.side != purchase.side),
        key=lambda lot: (lot.trade != FOREIGN, lot.opened_ms, lot.trade),
    )
    if not purchase.count_e2:
        return [purchase]
    parts: list[tuple[int, str, int]] = []
    left_e2 = purchase.count_e2
    for lot in other:
        if count_e2 := min(lot.count_e2, left_e2):
            parts.append((lot.trade, lot.strategy, count_e2))
            left_e2 -= count_e2
    if left_e2:
        parts.append((FOREIGN, purchase.strategy, left_e2))
    made: list[Bought] = []
    left_e2, fee_e6 = purchase.count_e2, purchase.fee_e6
    for trade, strategy, count_e2 in parts:
        part_e6 = fee_e6 * count_e2 // left_e2
        made.append(
            msgspec.structs.replace(
                purchase, trade=trade, strategy=strategy, count_e2=count_e2, fee_e6=part_e6
            )
        )
        left_e2, fee_e6 = left_e2 - count_e2, fee_e6 - part_e6
    return made


def _sell(
    lot: Lot, sold_e2: int, purchase: Bought, count_e2: int, fee_e6: int
) -> tuple[Lot | None, Closed, int]:
    """Return the rest of the lot, what was sold of it, and the rest of the purchase's fee."""
    cost_e6 = lot.cost_e6 * sold_e2 // lot.count_e2
    opening_e6 = lot.fees_e6 * sold_e2 // lot.count_e2
    closing_e6 = fee_e6 * sold_e2 // count_e2
    closed = Closed(
        trade=lot.trade,
        ticker=lot.ticker,
        side=lot.side,
        count_e2=sold_e2,
        cost_e6=cost_e6,
        proceeds_e6=opposite(purchase.price_e4) * sold_e2,
        fees_e6=opening_e6 + closing_e6,
        acquired_ms=lot.opened_ms,
        disposed_ms=purchase.time_ms,
        how="sold",
    )
    if sold_e2 == lot.count_e2:
        return None, closed, fee_e6 - closing_e6
    left = msgspec.structs.replace(
        lot,
        count_e2=lot.count_e2 - sold_e2,
        cost_e6=lot.cost_e6 - cost_e6,
        fees_e6=lot.fees_e6 - opening_e6,
    )
    return left, closed, fee_e6 - closing_e6


def settled(lots: Iterable[Lot], paid: Paid) -> list[Closed]:
    """Return the closed lots of a market that settles.

    The settlement's fee belongs to the net position: the first lot on its side bears it.
    """
    lots = tuple(lots)
    side = "yes" if sum(lot.signed_e2 for lot in lots) > 0 else "no"
    bears = next((lot for lot in lots if lot.side == side), None)
    closed = []
    for lot in lots:
        value_e4 = paid.value_e4 if lot.side == "yes" else opposite(paid.value_e4)
        closed.append(
            Closed(
                trade=lot.trade,
                ticker=lot.ticker,
                side=lot.side,
                count_e2=lot.count_e2,
                cost_e6=lot.cost_e6,
                proceeds_e6=value_e4 * lot.count_e2,
                fees_e6=lot.fees_e6 + (paid.fee_e6 if lot is bears else 0),
                acquired_ms=lot.opened_ms,
                disposed_ms=paid.time_ms,
                how="settled",
            )
        )
    return closed


def corrected(lots: Iterable[Lot], before: Paid, now: Paid) -> list[Closed]:
    """Return what a changed result of a settled market changes for the lots that it had paid."""
    lots = tuple(lots)
    changes = []
    for was, is_ in zip(settled(lots, before), settled(lots, now), strict=True):
        proceeds_e6, fees_e6 = is_.proceeds_e6 - was.proceeds_e6, is_.fees_e6 - was.fees_e6
        if proceeds_e6 or fees_e6:
            changes.append(
                msgspec.structs.replace(
                    is_, count_e2=0, cost_e6=0, proceeds_e6=proceeds_e6, fees_e6=fees_e6, how="corrected"
                )
            )
    return changes


class Settling:
    """Remembers, while a record is read, which lots settled markets paid: a second payment corrects."""

    def __init__(self) -> None:
        self._paid: dict[str, tuple[tuple[Lot, ...], Paid]] = {}

    def pay(self, lots: Iterable[Lot], paid: Paid) -> list[Closed]:
        """Return what a settlement, or the correction of one, does to its lots."""
        before = self._paid.get(paid.ticker)
        lots = tuple(lots)
        if before is not None and not lots:
            self._paid[paid.ticker] = before[0], paid
            return corrected(before[0], before[1], paid)
        self._paid[paid.ticker] = lots, paid
        return settled(lots, paid)

    def lots(self, ticker: str) -> tuple[Lot, ...]:
        """Return the lots for which a market was last paid."""
        return self._paid[ticker][0]


def clearing_e6(lots: Iterable[Lot]) -> int:
    """Return the dollars that were paid for pairs of a market's lots: its part of the clearing account."""
    yes_e2 = no_e2 = 0
    for lot in lots:
        if lot.side == "yes":
            yes_e2 += lot.count_e2
        else:
            no_e2 += lot.count_e2
    return min(yes_e2, no_e2) * PRICE_ONE_E4


class Lots(msgspec.Struct, frozen=True):
    """One view of the record: what is held and what was closed, oldest first."""

    held: tuple[Lot, ...]
    closed: tuple[Closed, ...]

    @property
    def cost_e6(self) -> int:
        """Cost of what is held, without fees."""
        return sum(lot.cost_e6 for lot in self.held)

    @property
    def fees_e6(self) -> int:
        """Fees paid for what is held."""
        return sum(lot.fees_e6 for lot in self.held)

    @property
    def realised_e6(self) -> int:
        """Profit of what was closed, before fees."""
        return sum(closed.realised_e6 for closed in self.closed)

    @property
    def gain_e6(self) -> int:
        """Profit of what was closed, after fees."""
        return sum(closed.gain_e6 for closed in self.closed)


def trade_lots(record: Iterable[Recorded]) -> Lots:
    """Return the record by trade: one lot for everything that a trade holds of a market."""
    held: dict[str, dict[int, Lot]] = {}
    closed: list[Closed] = []
    settling = Settling()
    for entry in record:
        if isinstance(entry, Paid):
            closed += settling.pay(held.pop(entry.ticker, {}).values(), entry)
            continue
        lots = held.setdefault(entry.ticker, {})
        lot, sold = after_purchase(lots.pop(entry.trade, None), entry)
        if sold is not None:
            closed.append(sold)
        if lot is not None:
            lots[entry.trade] = lot
    return Lots(tuple(lot for lots in held.values() for lot in lots.values()), tuple(closed))


def tax_lots(record: Iterable[Recorded]) -> Lots:
    """Return the record by purchase: each fill is a lot, and what is closed is taken from the oldest.

    Trades play no part here: the account is one taxpayer.
    """
    held: dict[str, deque[Lot]] = {}
    closed: list[Closed] = []
    settling = Settling()
    for entry in record:
        if isinstance(entry, Paid):
            closed += settling.pay(held.pop(entry.ticker, ()), entry)
            continue
        if not entry.count_e2:
            closed.append(_nothing(entry))
            continue
        lots = held.setdefault(entry.ticker, deque())
        while lots and lots[0].side != entry.side and entry.count_e2:
            oldest = lots.popleft()
            sold_e2 = min(oldest.count_e2, entry.count_e2)
            left, sold, fee_e6 = _sell(oldest, sold_e2, entry, entry.count_e2, entry.fee_e6)
            closed.append(sold)
            if left is not None:
                lots.appendleft(left)
            entry = msgspec.structs.replace(entry, count_e2=entry.count_e2 - sold_e2, fee_e6=fee_e6)
        opened = after_purchase(None, entry)[0] if entry.count_e2 else None
        if opened is not None:
            lots.append(opened)
    return Lots(tuple(lot for lots in held.values() for lot in lots), tuple(closed))


def net_positions(record: Iterable[Recorded]) -> dict[str, int]:
    """Return the exchange's view of what is held, by market: contracts of YES, negative for NO; never 0."""
    held: dict[str, int] = {}
    for entry in record:
        if isinstance(entry, Paid):
            held.pop(entry.ticker, None)
        else:
            signed_e2 = entry.count_e2 if entry.side == "yes" else -entry.count_e2
            held[entry.ticker] = held.get(entry.ticker, 0) + signed_e2
    return {ticker: signed_e2 for ticker, signed_e2 in held.items() if signed_e2}
