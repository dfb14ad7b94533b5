"""What an account reads about itself: the truth, a few hundred milliseconds late.

The portfolio's reads lag behind the matching engine (a cancelled order was still shown resting 360 ms later).
The changes of the last minute are kept, and a read undoes those later than its moment. That moment never goes
back, and `GET /exchange/user_data_timestamp` states it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from random import Random
from typing import Final

from simulator.floor.exchange import Exchange
from simulator.matching.orders import Fill, Instrument, Order, Party
from simulator.matching.positions import Position
from simulator.matching.settlement import Settlement
from simulator.matching.statements import SettlementStatus

KEPT_MS: Final = 60_000
"""The most that a read may lag, whatever is set."""


@dataclass(frozen=True, slots=True)
class _Change:
    """At `time_ms` an order or position changed; `before` is what it was, None if it did not exist."""

    time_ms: int
    account: int
    shard: int
    key: int | tuple[Party, str]
    before: Order | Position | None


class Reads:
    """Listens to the engine, and answers as of a moment shortly before.

    Args:
        seed: that of how late reads are.

    """

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self._stale_until_ms: dict[int, int] = {}
        self._shard_stands: dict[int, tuple[int, int]] = {}
        self._exchange = exchange
        self._rng = Random(f"{seed}:reads")
        self._changes: deque[_Change] = deque()
        # Earlier changes are unknown: no read is of an earlier moment.
        self._since_ms = exchange.now_ms - 1
        self._resting = {order.number: copy(order) for order in exchange.matching.all_resting()}
        self._positions = {
            (position.party, position.instrument.ticker): copy(position)
            for position in exchange.ledger.statements.all_positions()
        }
        self._as_of_ms: dict[int, int] = {}

    # -- listening

    def order_changed(self, order: Order, time_ms: int) -> None:
        """See PrivateListener."""
        before = self._resting.pop(order.number, None)  # not keyed by its id, which an amend may change
        self._note(time_ms, order.party[0], order.instrument, order.number, before)
        if order.live:
            self._resting[order.number] = copy(order)

    def filled(self, fill: Fill) -> None:
        """See PrivateListener. Fills never change: they are read by their time."""

    def position_changed(self, party: Party, instrument: Instrument, time_ms: int) -> None:
        """See PrivateListener."""
        key = (party, instrument.ticker)
        self._note(time_ms, party[0], instrument, key, self._positions.pop(key, None))
        position = self._exchange.ledger.statements.position(party, instrument.ticker)
        if position is not None:
            self._positions[key] = copy(position)

    def group_changed(self, party: Party, group_id: str, what: str, time_ms: int) -> None:
        """See PrivateListener."""

    def _note(
        self,
        time_ms: int,
        account: int,
        instrument: Instrument,
        key: int | tuple[Party, str],
        before: Order | Position | None,
    ) -> None:
        self._changes.append(_Change(time_ms, account, instrument.exchange_index, key, before))
        while self._changes[0].time_ms < time_ms - KEPT_MS:
            self._changes.popleft()

    # -- reading

    def stand_still(self, account: int, now_ms: int, for_ms: int) -> None:
        """For a while, hide what happens from now on from an account's reads (a fault)."""
        self._as_of_ms[account] = max(self._as_of_ms.get(account, self._since_ms), now_ms - 1)
        self._stale_until_ms[account] = now_ms + min(for_ms, KEPT_MS)

    def shard_stands(self, shard: int, now_ms: int, for_ms: int) -> None:
        """For a while, hide what happens on one shard from now on from all reads (a fault)."""
        self._shard_stands[shard] = (now_ms - 1, now_ms + min(for_ms, KEPT_MS))

    def moment(self, account: int, now_ms: int) -> int:
        """Return the moment that an account reads now."""
        before_ms = self._as_of_ms.get(account, self._since_ms)
        if now_ms < self._stale_until_ms.get(account, 0):
            late_ms = now_ms - before_ms
        else:
            late_ms = self._rng.randint(0, self._exchange.switches.read_lag_ms)
        moment = max(before_ms, now_ms - min(late_ms, KEPT_MS))
        self._as_of_ms[account] = moment
        return moment

    def shown_until_ms(self, shard: int, as_of_ms: int) -> int:
        """Return the moment at which a shard is read by a read as of `as_of_ms`."""
        since_ms, until_ms = self._shard_stands.get(shard, (0, 0))
        return min(as_of_ms, since_ms) if self._exchange.now_ms < until_ms else as_of_ms

    def fills(self, fills: Iterable[Fill], as_of_ms: int) -> Iterator[Fill]:
        """Yield an account's fills that existed at that moment."""
        for fill in fills:
            if fill.time_ms <= self.shown_until_ms(fill.order.instrument.exchange_index, as_of_ms):
                yield fill

    def orders(self, account: int, orders: Iterable[Order], as_of_ms: int) -> Iterator[Order]:
        """Yield an account's orders as they were, leaving out those that did not exist yet."""
        seen = self._before(account, as_of_ms)
        for order in orders:
            if order.number in seen:
                before = seen[order.number]
                if isinstance(before, Order):
                    yield before
            elif order.created_ms <= self.shown_until_ms(order.instrument.exchange_index, as_of_ms):
                yield order

    def settlements(self, settlements: Iterable[Settlement], as_of_ms: int) -> Iterator[Settlement]:
        """Yield an account's settlements that existed at that moment."""
        for settlement in settlements:
            if settlement.time_ms <= self.shown_until_ms(settlement.instrument.exchange_index, as_of_ms):
                yield settlement

    def positions(
        self, party: Party, positions: Iterable[Position], status: SettlementStatus, as_of_ms: int
    ) -> Iterator[Position]:
        """Yield a party's positions as they were, leaving out those that did not exist yet.

        Args:
            party: whose.
            positions: those that have this status now.
            status: the status wanted: one settled since then counts as not yet settled.
            as_of_ms: the moment.
        """
        seen = self._before(party[0], as_of_ms)
        for position in positions:
            before = seen.pop((party, position.instrument.ticker), position)
            if isinstance(before, Position) and (status != "settled" or before.settled_ms is not None):
                yield before
        if status == "unsettled":
            for before in seen.values():
                if isinstance(before, Position) and before.party == party:
                    yield before

    def _before(self, account: int, as_of_ms: int) -> dict[object, Order | Position | None]:
        earliest_ms = min(
            (self.shown_until_ms(shard, as_of_ms) for shard in self._shard_stands), default=as_of_ms
        )
        found: dict[object, Order | Position | None] = {}
        for change in reversed(self._changes):
            if change.time_ms <= earliest_ms:
                break
            if change.account == account and change.time_ms > self.shown_until_ms(change.shard, as_of_ms):
                found[change.key] = change.before
        return found
