"""The exchange's account against the ledger: what agrees, what is late, what nobody can explain. Pure.

From each look at the account, settlements and cash movements are booked first. What then differs, at a moment
when nothing is on its way, is looked at again, because lists lag and are not all of one moment. Only what
persists is drift.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Final, Literal

import msgspec

from bus.trading.gateway import AccountAnswer, ForeignFill, ListedSettlement
from markets.orders import Fill, OrderState, Position
from markets.units import CENT_E6, PRICE_ONE_E4, format_count, format_money
from trader.ledger.ledger import Ledger

from .standing import Standing

LOOKS: Final = 3
LAG_MS: Final = 5_000
"""A difference in this many quiet looks, with this time from the first to the last, is more than lag."""

ASKED_LONG_AGO_MS: Final = 60_000
"""After this long a request is over, whatever the exchange's clock says."""

_ON_ITS_WAY: Final = (OrderState.INTENDED, OrderState.SENT, OrderState.UNKNOWN)


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """A line on which ledger and exchange differ: micro-dollars, or hundredths of contracts."""

    what: str
    ours: int
    theirs: int
    unit: Literal["money", "contracts"]

    def __str__(self) -> str:
        """Return the line as text for people; journals contain it."""
        shown = format_money if self.unit == "money" else format_count
        return f"{self.what}: the journal has {shown(self.ours)}, the exchange {shown(self.theirs)}"


def returned_e6(ledger: Ledger, exclusive: Container[str]) -> int:
    """Return how much collateral return gives back for what is held, if the account has it.

    At most one market of an exclusive event resolves YES, so all NO counts except the largest surely pay.
    """
    counts: dict[str, list[int]] = {}
    for position in ledger.positions.values():
        if position.side == "no" and position.event_ticker in exclusive:
            counts.setdefault(position.event_ticker, []).append(position.count_e2)
    return sum((sum(held) - max(held)) * PRICE_ONE_E4 for held in counts.values())


def cash_line(listed: AccountAnswer, ledger: Ledger, exclusive: Container[str]) -> Difference:
    """Return both sides' cash.

    Nothing says whether a listed balance already excludes what resting orders hold, so either is accepted.
    With collateral return the balance includes what was given back.
    """
    theirs_e6 = sum(shard.cash_e6 for shard in listed.shards)
    ours_e6 = ledger.cash_e6 + (returned_e6(ledger, exclusive) if listed.netting else 0)
    if theirs_e6 + sum(shard.held_e6 for shard in listed.shards) == ours_e6:
        theirs_e6 = ours_e6
    return Difference("cash of the account", ours_e6, theirs_e6, "money")


def differences(
    listed: AccountAnswer, ledger: Ledger, exclusive: Container[str] = frozenset()
) -> list[Difference]:
    """Return each line on which cash and net positions differ.

    Args:
        exclusive: events of which at most one market resolves YES.
    """
    found = []
    if "shards" not in listed.missing:
        cash = cash_line(listed, ledger, exclusive)
        if cash.ours != cash.theirs:
            found.append(cash)
    if "positions" not in listed.missing:
        theirs = {position.ticker: position.signed_e2 for position in listed.positions if position.signed_e2}
        ours = {ticker: position.signed_e2 for ticker, position in ledger.positions.items()}
        for ticker in sorted(theirs.keys() | ours.keys()):
            pair = ours.get(ticker, 0), theirs.get(ticker, 0)
            if pair[0] != pair[1]:
                found.append(Difference(f"position in {ticker}", *pair, "contracts"))
    return found


def settled_e4(listed: ListedSettlement, position: Position | None, seen_e4: int | None) -> tuple[str, int]:
    """Return result and value of YES of a market that was paid out: the first value that fits the payment.

    The list has the value in whole cents; the market itself may have it exactly.

    Args:
        position: what is held. seen_e4: the market's own value, None if it has none.
    """
    if listed.result in ("yes", "no"):
        return listed.result, PRICE_ONE_E4 if listed.result == "yes" else 0
    result = listed.result if listed.result == "scalar" else "void"
    if position is None:
        return result, next((e4 for e4 in (seen_e4, listed.value_e4) if e4 is not None), PRICE_ONE_E4 // 2)
    for value_e4 in (seen_e4, listed.value_e4):
        if value_e4 is not None and 0 <= position.value_e6(value_e4) - listed.revenue_e6 <= CENT_E6:
            return result, value_e4
    each_e4 = min(PRICE_ONE_E4, max(0, -(-listed.revenue_e6 // position.count_e2)))
    return result, each_e4 if position.side == "yes" else PRICE_ONE_E4 - each_e4


def odd_orders(listed: AccountAnswer, ledger: Ledger, standing: Standing) -> Iterator[str]:
    """Yield a line for each order of ours that rests and should not, or should and does not."""
    if "orders" in listed.missing:
        return
    rest = {order.number for order in listed.orders if order.number is not None}
    for number in sorted(rest - ledger.open.keys()):
        yield f"order {number} has ended in the journal and rests on the exchange"
    for number in sorted(ledger.open):
        state = standing.state(number, ledger.filled(number).count_e2)
        if number not in rest and state in (OrderState.RESTING, OrderState.PARTIAL):
            yield f"order {number} rests in the journal and not on the exchange"


class Reconciliation:
    """What the looks at an account have shown.

    Attributes:
        reconciled: whether ledger and exchange have agreed since the start.
        differing: the lines on which they differed at the last quiet look.
        drift: those that persisted, as long as they do: nothing is traded.
        odd_orders: see `odd_orders`; those found at both of the last two quiet looks.
        matched_ms: when both last agreed, None before.
        as_of_ms: how new the last look was, by the exchange's word.
        netting: see AccountAnswer.
        cash_e6: the cash on each shard.
        rounded_e6: what payouts in whole cents withheld from settlements booked since both last agreed.
    """

    def __init__(self) -> None:
        self.reconciled = False
        self.differing: tuple[str, ...] = ()
        self.drift: tuple[str, ...] = ()
        self.odd_orders: tuple[str, ...] = ()
        self.matched_ms: int | None = None
        self.as_of_ms = 0
        self.netting: bool | None = None
        self.rounded_e6 = 0
        self._looks = 0
        self._since_ms = 0
        self._odd: frozenset[str] = frozenset()
        self._requested: tuple[int, int] | None = None
        self._looked: tuple[AccountAnswer, Container[str]] | None = None
        self.cash_e6: dict[int, int] = {}
        self._others_e6: dict[int, int] = {}

    def request(self, now_ms: int, steady_ms: int) -> None:
        """Note that a request goes to the exchange now."""
        self._requested = now_ms, steady_ms

    def quiet(
        self, listed: AccountAnswer, ledger: Ledger, standing: Standing, heard: int, steady_ms: int
    ) -> bool:
        """Whether nothing was on its way when the account was listed, and everything reported is booked."""
        if listed.in_flight or listed.missing or listed.last_event != heard:
            return False
        if self._requested is not None:
            asked_ms, at_ms = self._requested
            if listed.as_of_ms <= asked_ms and steady_ms - at_ms < ASKED_LONG_AGO_MS:
                return False
        open_ = ledger.open
        return not any(standing.state(n, ledger.filled(n).count_e2) in _ON_ITS_WAY for n in open_)

    def look(
        self,
        listed: AccountAnswer,
        ledger: Ledger,
        standing: Standing,
        now_ms: int,
        steady_ms: int,
        exclusive: Container[str] = frozenset(),
    ) -> None:
        """Compare what was listed at a quiet moment, after settlements and movements were booked."""
        self.as_of_ms, self.netting = listed.as_of_ms, listed.netting
        self._looked = listed, exclusive
        odd = frozenset(odd_orders(listed, ledger, standing))
        self.odd_orders, self._odd = tuple(sorted(odd & self._odd)), odd
        self.differing = tuple(map(str, differences(listed, ledger, exclusive)))
        if not self.differing:
            self.reconciled, self.drift, self._looks, self.matched_ms = True, (), 0, now_ms
            self.rounded_e6 = 0
            return
        if not self._looks:
            self._since_ms = steady_ms
        self._looks += 1
        if self._looks >= LOOKS and steady_ms - self._since_ms >= LAG_MS:
            self.drift = self.differing

    # -- drift that a person accepts

    def still_drifts(self, ledger: Ledger) -> bool:
        """Whether the ledger still differs as it did when the drift was found."""
        return (
            self._looked is not None
            and tuple(map(str, differences(self._looked[0], ledger, self._looked[1]))) == self.drift
        )

    def unexplained(self, ledger: Ledger, now_ms: int) -> Iterator[ForeignFill]:
        """Yield the fills that turn the ledger's positions into those of the last look.

        Contracts that close ours are booked at their cost, new ones at the exchange's average; the prices
        really paid show in the account's cash.
        """
        assert self._looked is not None
        listed = self._looked[0]
        theirs = {position.ticker: position for position in listed.positions}
        name = f"adopted:{listed.as_of_ms}"
        for ticker in sorted(theirs.keys() | ledger.positions.keys()):
            there, ours = theirs.get(ticker), ledger.positions.get(ticker)
            before_e2 = 0 if ours is None else ours.signed_e2
            more_e2 = (0 if there is None else there.signed_e2) - before_e2
            if not more_e2:
                continue
            if ours is not None and before_e2 * more_e2 < 0:
                price_e4 = PRICE_ONE_E4 - ours.cost_e6 // ours.count_e2
            else:
                assert there is not None
                price_e4 = abs(there.exposure_e6) // max(1, abs(there.signed_e2))
            fill = Fill(min(max(price_e4, 0), PRICE_ONE_E4), abs(more_e2), 0, 0, now_ms, f"{name}:{ticker}")
            event_ticker = there.event_ticker if there is not None else ours.event_ticker if ours else ""
            shard = 0 if there is None else there.exchange_index
            yield ForeignFill(name, ticker, event_ticker, shard, "yes" if more_e2 > 0 else "no", fill)

    def unexplained_cash(self, ledger: Ledger) -> tuple[str, str, int, int] | None:
        """Return id, kind, shard and amount of what the ledger's cash lacks to that of the last look.

        None if they agree.
        """
        assert self._looked is not None
        listed, exclusive = self._looked
        cash = cash_line(listed, ledger, exclusive)
        if "shards" in listed.missing or cash.ours == cash.theirs:
            return None
        return f"adopted:{listed.as_of_ms}", "adopted", 0, cash.theirs - cash.ours

    def adopted(self) -> None:
        """Note that the drift has been booked."""
        self.differing = self.drift = ()
        self.reconciled, self._looks, self.rounded_e6 = True, 0, 0

    # -- cash by shard

    def list_cash(self, listed: AccountAnswer) -> None:
        """Take the cash on each shard, and how much of it orders that are not ours need."""
        self.cash_e6 = {shard.exchange_index: shard.cash_e6 for shard in listed.shards}
        self._others_e6 = {}
        for order in listed.orders:
            if order.number is None:
                held_e6 = self._others_e6.get(order.exchange_index, 0)
                self._others_e6[order.exchange_index] = held_e6 + order.price_e4 * order.left_e2

    def move_cash(self, exchange_index: int | None, amount_e6: int) -> None:
        """Note that cash came to a shard, or left it."""
        shard = exchange_index or 0
        if shard in self.cash_e6:
            self.cash_e6[shard] += amount_e6

    def free_e6(self, ledger: Ledger) -> Mapping[int, int]:
        """Return each shard's cash that no order needs, neither ours nor anybody else's."""
        free = {shard: cash - self._others_e6.get(shard, 0) for shard, cash in self.cash_e6.items()}
        for number, intent in ledger.open.items():
            shard = intent.exchange_index or 0
            if shard in free:
                free[shard] -= max(0, intent.reserve_e6 - ledger.filled(number).paid_e6)
        return free


def new_movements(listed: AccountAnswer, adopted: Container[str]) -> Iterator[tuple[str, str, int, int]]:
    """Yield id, kind, shard and amount of cash that came or went and is not booked yet.

    A transfer between shards does not change the account's cash.
    """
    for movement in listed.movements:
        if movement.kind != "transfer" and movement.id not in adopted:
            yield movement.id, movement.kind, movement.exchange_index, movement.amount_e6
