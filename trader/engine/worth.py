"""What positions are worth at bid, at settlement and for the daily loss; days and the equity curve. Pure.

There are three figures for the same lots, each exact:

* *at bid*: the net positions at the best bid, which is what selling them now would bring. While nobody bids
  the last good bid stands (marks.py).
* *at settlement*: locked lots at their floor (locks.py), the others at their expected payout.
* *for the daily loss*: locked lots at their floor, the others at the last good bid or the current one,
  whichever is lower, and lower still the longer nobody bids. Unlocked pairs of lots are worth their dollar.

Sessions with rules before 2 know only the first, and take an empty book for a bid of 0.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from markets.book import NO, YES
from markets.opportunities import EventView, Failure, ScanLimits, event_values, least_payout_e6
from markets.opportunities.legs import top
from markets.orders import Position
from markets.records import Event, FairValue, Market, Status
from markets.units import MONEY_ONE_E6, PRICE_ONE_E4, opposite
from trader.ledger.ledger import Ledger, PaidLeg
from trader.ledger.lots import Lot

from .inputs import RULES
from .locks import Leg, Part, Split, split
from .marks import NOTHING_AFTER_MS, KeptMark, Marks, settlement_e4
from .outputs import DailyLoss, Day, Equity

DAY_MS: Final = 86_400_000
EQUITY_EVERY_MS: Final = 60_000

FLOOR: Final = "floor"
RESULT: Final = "result"
MIDDLE: Final = "mid"
LAST_MIDDLE: Final = "last_mid"
LAST_BID: Final = "last_bid"
COST: Final = "cost"
"""Where an expected value comes from, unless it is a fair value, whose source has its own name."""


class Expected(NamedTuple):
    """The expected payout of a contract, in micro-dollars, and who says so."""

    each_e6: int
    source: str


class LotWorth(msgspec.Struct, frozen=True):
    """What a trade's contracts of one market are worth.

    Attributes:
        bid_e6: at bid, None while a bid is unknown. If trades hold both sides of a market, the larger side
            counts at its bid and the other at the rest of a dollar, so that all lots together are worth what
            the net position and the pairs are. settlement_e6: at settlement.
        locked_e2, floor_e6: how many of them are locked, and their share of the floor.
        sources: where `settlement_e6` comes from.
    """

    lot: Lot
    bid_e6: int | None
    settlement_e6: int
    locked_e2: int
    floor_e6: int
    sources: tuple[str, ...]


class _Held(msgspec.Struct):
    """The lots of an event as they were last valued.

    Attributes:
        splits: trade -> its lots, divided. key: what that follows from.
        free: of each trade that has such, what is not locked. loose: what of it is not paired either.
        pairs_e6: the dollars of unlocked pairs. floor_e6: the least that locked lots pay.
        locked: whether that is all, so that nothing depends on what anybody bids.
        failures: kinds that raised an error over it.
        least_e6: what everything is worth for the daily loss. next_ms: when time alone changes that.
    """

    key: tuple[tuple[Lot, ...], tuple[PaidLeg, ...], Event | None, tuple[Market, ...]]
    splits: dict[int, Split]
    free: list[tuple[Part, ...]]
    loose: list[list[Part]]
    pairs_e6: int
    floor_e6: int
    locked: bool
    failures: list[Failure]
    least_e6: int = 0
    next_ms: int | None = None

    def is_of(self, view: EventView) -> bool:
        """Whether these are the event and the markets that it follows from."""
        _, _, event, markets = self.key
        if event is not view.event or len(markets) != len(view.markets):
            return False
        for market, seen in zip(markets, view.markets, strict=True):
            if market is not seen.market and market != seen.market:
                return False
        return True


class Worth:
    """Values a ledger by what was last seen of its markets.

    Days follow the steady clock, from the wall clock's time when the session began: so setting the wall clock
    neither begins a day, with room for another day's loss, nor delays one for years.

    Args:
        day: days since 1970 of the last `Day`.
        offset_ms: from the steady clock to the wall clock when the session began; None in an old session,
            whose days follow the wall clock.
        rules: see inputs.RULES.
        fair_values: the published ones, kept current by the caller; any older than `scan` allows are ignored.
        base_e6: the profit from which the daily loss is counted, if not the one with which the day began.
        latched: whether the daily loss has reached its limit.
        marks: what earlier sessions saw of the markets held.
        now_ms, paced_ms: the present.

    Attributes:
        day_start_e6: the profit with which that day began.
        latched: see above; it holds until the next day, or until somebody says to resume.
    """

    def __init__(
        self,
        ledger: Ledger,
        day: int = 0,
        day_start_e6: int = 0,
        offset_ms: int | None = None,
        *,
        rules: int = RULES,
        fair_values: Mapping[str, FairValue] | None = None,
        scan: ScanLimits | None = None,
        base_e6: int | None = None,
        latched: bool = False,
        marks: Iterable[KeptMark] = (),
        now_ms: int = 0,
        paced_ms: int = 0,
    ) -> None:
        self.day_start_e6 = day_start_e6
        self.latched = latched
        self._base_e6 = base_e6
        self._ledger = ledger
        self._day = day
        self._offset_ms = offset_ms
        self._by_bid = rules < 2
        self._by_event = rules >= 3
        self._fair_values: Mapping[str, FairValue] = {} if fair_values is None else fair_values
        self._fair_value_age_ms = (scan or ScanLimits()).max_fair_value_age_ms
        self._bids: dict[str, tuple[str, int]] = {}
        self._marks = Marks()
        if not self._by_bid:
            self._marks.restore(marks, now_ms, paced_ms)
        self._views: dict[str, EventView] = {}
        self._consensus: dict[str, tuple[EventView, Mapping[str, FairValue]]] = {}
        self._held: dict[str, _Held] = {}
        self._least_e6 = 0
        self._next_ms: int | None = None
        self._began_ms = self._paced_ms = paced_ms
        self._unseen = set() if self._by_bid else {lot.event_ticker for lot in self._lots()}
        self._equity_ms: int | None = None
        self._equity_known = False

    def _lots(self) -> Iterator[Lot]:
        for lots in self._ledger.lots.values():
            yield from lots.values()

    # -- what is seen

    def mark(self, view: EventView, paced_ms: int = 0, failures: list[Failure] | None = None) -> None:
        """Take the bids and results of the markets held in an event.

        Args:
            failures: collects the errors of kinds that raise when asked what the legs of a trade pay.
        """
        if self._by_bid:
            self._mark_by_bid(view)
            return
        event_ticker, ledger = view.event.event_ticker, self._ledger
        self._pass(paced_ms)
        stakes = ledger.stakes.in_event.get(event_ticker)
        if self._unseen:
            self._unseen.discard(event_ticker)
        if stakes is None:
            self._views.pop(event_ticker, None)
            return
        seen, moved = self._marks.look(view.markets, ledger.lots, self._paced_ms)
        if not seen >= stakes.keys():  # mostly, each market is seen and there is no order
            for held in stakes:
                if held not in seen and isinstance(held, str):  # it has left the list: nobody bids
                    moved = True
                    for side in (YES, NO):
                        self._marks.vanish(held, side, self._paced_ms)
        self._views[event_ticker] = view
        known, touched = self._held.get(event_ticker), event_ticker in ledger.stakes.touched
        if touched and failures is None:
            return  # `_refresh` values it, once for all that is booked together
        if known is None or touched or not known.is_of(view):
            self._value(event_ticker)
            known = self._held.get(event_ticker)
        elif moved and known.loose:  # the lots are divided as before
            self._weigh(event_ticker, known)
        if failures is not None and known is not None and known.failures:
            failures += known.failures

    def _mark_by_bid(self, view: EventView) -> None:
        for seen in view.markets:
            position = self._ledger.positions.get(seen.market.ticker)
            if position is None:
                continue
            settled_e4 = settlement_e4(seen.market)
            if settled_e4 is not None:
                value_e4 = settled_e4 if position.side == YES else opposite(settled_e4)
                self._bids[position.ticker] = position.side, value_e4
            elif seen.quote.status is Status.ACTIVE:
                bid = top(seen).bid(position.side)
                self._bids[position.ticker] = position.side, bid[0] if bid else 0

    @property
    def mark_changes(self) -> int:
        """How often a bid or a result came or went."""
        return self._marks.changes

    def kept_marks(self, now_ms: int, paced_ms: int) -> tuple[KeptMark, ...]:
        """Return the marks of the markets held, for the next session."""
        return self._marks.kept(self._ledger.lots, now_ms, paced_ms)

    def forget(self, ticker: str) -> None:
        """Forget the bid of a market that has been paid out."""
        self._bids.pop(ticker, None)

    def _pass(self, paced_ms: int) -> None:
        if paced_ms > self._paced_ms:
            self._paced_ms = paced_ms

    # -- at bid

    def bid_e4(self, position: Position) -> int | None:
        """Return what a contract of a position is worth at bid; None while unknown."""
        if not self._by_bid:
            return self._marks.price_e4(position.ticker, position.side)
        side, bid_e4 = self._bids.get(position.ticker, ("", 0))
        return bid_e4 if side == position.side else None  # it says nothing about the other side

    def age_ms(self, position: Position) -> int | None:
        """Return how long nobody has bid for a position, None while somebody does."""
        return self._marks.age_ms(position.ticker, position.side, self._paced_ms)

    def determined(self, position: Position) -> bool:
        """Whether the result is known, which then is the mark."""
        return self._marks.result_e4(position.ticker, position.side) is not None

    def value_e6(self) -> int | None:
        """Return what all positions are worth at bid, None while one of them is unknown."""
        total_e6, by_bid, price_e4 = 0, self._by_bid, self._marks.price_e4
        for position in self._ledger.positions.values():
            # As `bid_e4` says: it is asked of all that is held whenever money moves.
            bid_e4 = self.bid_e4(position) if by_bid else price_e4(position.ticker, position.side)
            if bid_e4 is None:
                return None
            total_e6 += bid_e4 * position.count_e2
        return total_e6

    def profit_e6(self) -> int:
        """Return realised and unrealised profit after fees, at bid.

        A position without a known bid counts at its cost basis; pairs are worth their dollar.
        """
        ledger = self._ledger
        value_e6 = 0
        for position in ledger.positions.values():
            bid_e4 = self.bid_e4(position)
            value_e6 += ledger.basis_of_e6(position.ticker) if bid_e4 is None else bid_e4 * position.count_e2
        return ledger.realised_e6 + value_e6 - ledger.basis_e6 - ledger.fees_e6

    # -- at settlement

    def settlement_e6(self, now_ms: int) -> int:
        """Return what all positions are worth at settlement; the payment for pairs is cash already."""
        self._refresh()
        worth_e6 = 0
        for event_ticker, held in self._held.items():
            worth_e6 += held.floor_e6
            for free in held.free:
                worth_e6 += sum(self._free_e6(event_ticker, free, now_ms)[0])
        return worth_e6 - self._ledger.clearing_e6

    def _free_e6(self, event_ticker: str, free: Sequence[Part], now_ms: int) -> tuple[list[int], list[str]]:
        """Return what each of a trade's free parts is worth at settlement, and who says so."""
        expected = [self._expected(event_ticker, part, now_ms) for part in free]
        worth_e6 = [each.each_e6 * part.count_e2 // 100 for each, part in zip(expected, free, strict=True)]
        sources = [each.source for each in expected]
        # Unlocked parts have a floor too: three NO that cost too much still pay two dollars.
        least_e6 = self._promised_e6(event_ticker, free)
        if least_e6 > sum(worth_e6):
            worth_e6 = _shared(least_e6, [part.cost_e6 for part in free])
            sources = [FLOOR] * len(sources)
        return worth_e6, sources

    def lots(self, event_ticker: str, now_ms: int) -> list[LotWorth]:
        """Return what each lot in an event is worth, by trade."""
        self._refresh()
        held = self._held.get(event_ticker)
        if held is None:
            return []
        found: list[LotWorth] = []
        offset = self._offset(event_ticker)
        for trade, parted in held.splits.items():
            worth_e6, sources = self._free_e6(event_ticker, parted.free, now_ms)
            for lot in self._lots_of(trade, event_ticker):
                locked = [part for part in parted.locked if part.ticker == lot.ticker]
                free = [at for at, part in enumerate(parted.free) if part.ticker == lot.ticker]
                price_e4 = self._marks.price_e4(lot.ticker, offset.get((lot.ticker, lot.side), lot.side))
                if price_e4 is not None and (lot.ticker, lot.side) in offset:
                    price_e4 = PRICE_ONE_E4 - price_e4
                floor_e6 = sum(part.value_e6 for part in locked)
                said = [FLOOR] * bool(locked) + [sources[at] for at in free]
                found.append(
                    LotWorth(
                        lot=lot,
                        bid_e6=None if price_e4 is None else price_e4 * lot.count_e2,
                        settlement_e6=floor_e6 + sum(worth_e6[at] for at in free),
                        locked_e2=sum(part.count_e2 for part in locked),
                        floor_e6=floor_e6,
                        sources=tuple(dict.fromkeys(said)),
                    )
                )
        return found

    def least(self, event_ticker: str) -> dict[tuple[int, str], int]:
        """Return what each lot in an event counts for the daily loss, in micro-dollars, by trade and market.

        Over all events these add up to what everything held counts in `least_profit_e6`. Of an unlocked pair
        the side of which more is held counts at its bid, the other at the rest of the dollar, as in `lots`.
        """
        self._refresh()
        held = self._held.get(event_ticker)
        if held is None:
            return {}
        each = Counter[tuple[int, str]]()
        left, _ = unpaired({trade: parted.free for trade, parted in held.splits.items()})
        offset = self._offset(event_ticker) if held.pairs_e6 else {}
        for trade, parted in held.splits.items():
            for part in parted.locked:
                each[trade, part.ticker] += part.value_e6
            for part, least_e6 in zip(left[trade], self._loose_e6(event_ticker, left[trade]), strict=True):
                each[trade, part.ticker] += least_e6 - part.count_e2 * self._pair_e4(part, offset)
            for part in parted.free:  # what of it is not loose is paired
                each[trade, part.ticker] += part.count_e2 * self._pair_e4(part, offset)
        return dict(each)

    def locked(self, event_ticker: str) -> bool:
        """Whether something is held in an event and all of it is locked, whatever anybody bids."""
        held = self._held.get(event_ticker)
        return held is not None and held.locked and event_ticker not in self._ledger.stakes.touched

    def events(self) -> list[str]:
        """Return the events with lots."""
        self._refresh()
        return sorted(self._held)

    def _loose_e6(self, event_ticker: str, parts: Sequence[Part]) -> list[int]:
        """Return what each of a trade's loose parts counts for the daily loss."""
        each_e6 = [
            self._marks.least_e6(part.ticker, part.side, part.count_e2, part.cost_e6, self._paced_ms)
            for part in parts
        ]
        promised_e6 = self._promised_e6(event_ticker, parts)
        return each_e6 if sum(each_e6) >= promised_e6 else _shared(promised_e6, [p.cost_e6 for p in parts])

    def _pair_e4(self, part: Part, offset: Mapping[tuple[str, str], str]) -> int:
        """Return the share of a contract in the dollar of its pair; half of it before any bid was seen."""
        larger = offset.get((part.ticker, part.side))
        price_e4 = self._marks.price_e4(part.ticker, larger or part.side)
        price_e4 = PRICE_ONE_E4 // 2 if price_e4 is None else price_e4
        return opposite(price_e4) if larger else price_e4

    def _offset(self, event_ticker: str) -> dict[tuple[str, str], str]:
        """Return, of markets held on both sides, the smaller side: it is not sold, being all in pairs."""
        counts: dict[str, dict[str, int]] = {}
        for lot in self._ledger.lots_in(event_ticker):
            sides = counts.setdefault(lot.ticker, {YES: 0, NO: 0})
            sides[lot.side] += lot.count_e2
        less = {
            ticker: NO if sides[NO] <= sides[YES] else YES
            for ticker, sides in counts.items()
            if all(sides.values())
        }
        return {(ticker, side): YES if side == NO else NO for ticker, side in less.items()}

    def _lots_of(self, trade: int, event_ticker: str) -> list[Lot]:
        return [lot for lot in self._ledger.lots_in(event_ticker) if lot.trade == trade]

    def _expected(self, event_ticker: str, part: Part, now_ms: int) -> Expected:
        """Return the expected payout of a free contract, by the best information about its market."""
        ticker, side = part.ticker, part.side
        result_e4 = self._marks.result_e4(ticker, side)
        if result_e4 is not None:
            return Expected(result_e4 * 100, RESULT)
        value = self._fair_values.get(ticker)
        if value is None or now_ms - value.as_of_ms > self._fair_value_age_ms:
            value = self._consensus_of(event_ticker).get(ticker)
        if value is not None:
            yes_e6 = round(value.probability * MONEY_ONE_E6)
            return Expected(yes_e6 if side == YES else MONEY_ONE_E6 - yes_e6, value.source)
        middle = self._marks.middle_e6(ticker)
        if middle is not None:
            yes_e6, stands = middle
            source = MIDDLE if stands else LAST_MIDDLE
            return Expected(yes_e6 if side == YES else MONEY_ONE_E6 - yes_e6, source)
        price_e4 = self._marks.price_e4(ticker, side)
        if price_e4 is not None:
            return Expected(price_e4 * 100, LAST_BID)
        return Expected(part.cost_e6 * 100 // part.count_e2, COST)

    def _consensus_of(self, event_ticker: str) -> Mapping[str, FairValue]:
        view = self._views.get(event_ticker)
        if view is None:
            return {}
        known = self._consensus.get(event_ticker)
        if known is None or known[0] is not view:
            values: Mapping[str, FairValue] = {}
            try:
                values = event_values(view)
            except Exception:  # noqa: BLE001, the scan of the same event reports it
                values = {}
            known = self._consensus[event_ticker] = view, values
        return known[1]

    def _promised_e6(self, event_ticker: str, parts: Iterable[Part]) -> int:
        """Return the least that a trade's free contracts pay together."""
        count_of: dict[tuple[str, str], int] = {}
        for part in parts:
            known = self._marks.result_e4(part.ticker, part.side) is not None
            if not known:
                count_of[part.ticker, part.side] = count_of.get((part.ticker, part.side), 0) + part.count_e2
        view = self._views.get(event_ticker)
        if view is None or len(count_of) < 2:
            return 0
        legs = [(ticker, side, count_e2) for (ticker, side), count_e2 in count_of.items()]
        return max(0, least_payout_e6(view, legs, []) or 0)

    # -- for the daily loss

    def least_profit_e6(self) -> int:
        """Return realised and unrealised profit after fees, as it counts towards the daily loss."""
        if self._by_bid:
            return self.profit_e6()
        ledger, stakes = self._ledger, self._ledger.stakes
        if stakes.touched or self._next_ms is not None:
            self._refresh()
        return ledger.realised_e6 + self._least_e6 - stakes.cost_e6 - ledger.fees_e6

    def today_e6(self) -> int:
        """Return the profit since the day began, as it counts towards the daily loss."""
        return self.least_profit_e6() - self.day_start_e6

    def lost_today_e6(self) -> int:
        """Return the loss that counts against the limit; negative for a profit."""
        base_e6 = self.day_start_e6 if self._base_e6 is None else self._base_e6
        return base_e6 - self.least_profit_e6()

    def whole(self) -> bool:
        """Whether everything held has been seen since the session began, or waited for long enough."""
        return not self._unseen or self._paced_ms - self._began_ms >= NOTHING_AFTER_MS

    @property
    def resumed(self) -> bool:
        """Whether the loss is counted from later than the day's beginning, since somebody said to resume."""
        return self._base_e6 is not None

    def latch(self, limit_e6: int) -> list[DailyLoss]:
        """Return the output that the daily loss has reached its limit, if it has just done so."""
        if self._by_bid or self.latched or not self.whole() or self.lost_today_e6() < limit_e6:
            return []
        self.latched = True
        return [self._daily_loss()]

    def release(self) -> list[DailyLoss]:
        """Start counting the loss from here, if it had reached its limit."""
        if not self.latched:
            return []
        self.latched, self._base_e6 = False, self.least_profit_e6()
        return [self._daily_loss()]

    def _daily_loss(self) -> DailyLoss:
        base_e6 = self.day_start_e6 if self._base_e6 is None else self._base_e6
        return DailyLoss(self._day, base_e6, self.latched)

    def _refresh(self) -> None:
        """Revalue what has changed: lots through bookings, marks through time."""
        touched = self._ledger.stakes.touched
        if touched:
            for event_ticker in sorted(touched):
                self._value(event_ticker)
            self._next_ms = min((held.next_ms for held in self._held.values() if held.next_ms), default=None)
        if self._next_ms is not None and self._paced_ms >= self._next_ms:
            for event_ticker, held in list(self._held.items()):
                if held.next_ms is not None and self._paced_ms >= held.next_ms:
                    self._value(event_ticker)
            self._next_ms = min((held.next_ms for held in self._held.values() if held.next_ms), default=None)

    def _value(self, event_ticker: str) -> None:
        self._ledger.stakes.touched.discard(event_ticker)
        before = self._held.get(event_ticker)
        lots = self._ledger.lots_in(event_ticker)
        if not lots:
            self._views.pop(event_ticker, None)
            self._consensus.pop(event_ticker, None)
            self._unseen.discard(event_ticker)
            if before is not None:
                self._least_e6 -= before.least_e6
                del self._held[event_ticker]
                self._marks.keep(self._ledger.lots)
            return
        held = self._parted(event_ticker, lots, before)
        if before is not None and held is not before:
            self._least_e6 -= before.least_e6
        self._held[event_ticker] = held
        self._weigh(event_ticker, held)

    def _weigh(self, event_ticker: str, held: _Held) -> None:
        """Work out what an event's lots are worth for the daily loss, by the marks as they are now."""
        self._least_e6 -= held.least_e6
        held.least_e6, held.next_ms = held.pairs_e6 + held.floor_e6, None
        for parts in held.loose:
            held.least_e6 += sum(self._loose_e6(event_ticker, parts))
            for part in parts:
                due_ms = self._marks.next_ms(part.ticker, part.side, self._paced_ms)
                if due_ms is not None and (held.next_ms is None or due_ms < held.next_ms):
                    held.next_ms = due_ms
        self._least_e6 += held.least_e6
        if held.next_ms is not None and (self._next_ms is None or held.next_ms < self._next_ms):
            self._next_ms = held.next_ms

    def _parted(self, event_ticker: str, lots: list[Lot], before: _Held | None) -> _Held:
        """Return an event's lots, divided; the earlier result if nothing that it depends on has changed."""
        view = self._views.get(event_ticker)
        trades = sorted({lot.trade for lot in lots})
        paid_of = {trade: self._paid(trade, event_ticker) for trade in trades}
        paid = tuple(leg for legs in paid_of.values() for leg in legs)
        markets = () if view is None else _markets_of(view)
        key = (tuple(lots), paid, None if view is None else view.event, markets)
        if before is not None and before.key == key:
            before.key = key  # of these very objects, which `is_of` recognises at once
            return before
        failures: list[Failure] = []
        known = {market.ticker for market in markets}

        def promise(legs: Iterable[tuple[str, str, int]]) -> int | None:
            legs = list(legs)
            if view is None or any(ticker not in known for ticker, *_ in legs):
                return None
            return least_payout_e6(view, legs, failures)

        splits: dict[int, Split] = {}
        for trade in trades:
            legs = [self._leg(lot) for lot in lots if lot.trade == trade]
            legs += [
                Leg(leg.ticker, leg.side, leg.count_e2, leg.cost_e6, leg.value_e4, paid=True)
                for leg in paid_of[trade]
            ]
            splits[trade] = split(sorted(legs, key=lambda leg: leg.ticker), promise)
        left, pairs_e6 = unpaired({trade: parted.free for trade, parted in splits.items()})
        free = [parted.free for parted in splits.values() if parted.free]
        loose = [parts for parts in left.values() if parts]
        floor_e6 = sum(parted.floor_e6 for parted in splits.values())
        locked = not loose and not pairs_e6
        return _Held(key, splits, free, loose, pairs_e6, floor_e6, locked, failures)

    def _paid(self, trade: int, event_ticker: str) -> Sequence[PaidLeg]:
        """Return a trade's lots in an event that were paid out, and before rules 3 those anywhere."""
        legs = self._ledger.paid.get(trade, ())
        if not self._by_event:
            return legs
        return [leg for leg in legs if leg.event_ticker == event_ticker]

    def _leg(self, lot: Lot) -> Leg:
        value_e4 = self._marks.result_e4(lot.ticker, lot.side)
        return Leg(lot.ticker, lot.side, lot.count_e2, lot.cost_e6, value_e4)

    # -- days and points

    def points(self, now_ms: int, paced_ms: int, *, money_moved: bool) -> list[Day | DailyLoss | Equity]:
        """Return the day that begins now, if one does, and a point of the equity curve, if one is due.

        A day earlier than the last one means that the clock was ahead: it continues with the loss so far. A
        day begins once everything held has been seen, since only then its starting profit is known.
        """
        points: list[Day | DailyLoss | Equity] = []
        self._pass(paced_ms)
        day = (paced_ms + (self._offset_ms or 0)) // DAY_MS
        later = day > self._day
        if day != self._day and (self.whole() if later else self._offset_ms is not None):
            if later:
                self.day_start_e6 = self.least_profit_e6()
                self.latched, self._base_e6 = False, None
            self._day = day
            points.append(Day(day, self.day_start_e6))
            if self.latched or self._base_e6 is not None:
                points.append(self._daily_loss())
        due = self._equity_ms is None or not 0 <= now_ms - self._equity_ms < EQUITY_EVERY_MS
        # After a restart no bid is known at first: the curve continues as soon as all are.
        if money_moved or due or (not self._equity_known and self.value_e6() is not None):
            ledger, value_e6 = self._ledger, self.value_e6()
            self._equity_ms, self._equity_known = now_ms, value_e6 is not None
            settlement_e6 = None if self._by_bid or not self.whole() else self.settlement_e6(now_ms)
            points.append(
                Equity(now_ms, ledger.cash_e6, value_e6, ledger.realised_e6, ledger.fees_e6, settlement_e6)
            )
        return points


def _markets_of(view: EventView) -> tuple[Market, ...]:
    return tuple([seen.market for seen in view.markets])


def unpaired(free: Mapping[int, Iterable[Part]]) -> tuple[dict[int, list[Part]], int]:
    """Return each trade's free contracts without pairs of YES and NO, and the dollars of those pairs."""
    counts: dict[str, dict[str, int]] = {}
    for parts in free.values():
        for part in parts:
            of_side = counts.setdefault(part.ticker, {YES: 0, NO: 0})
            of_side[part.side] += part.count_e2
    pairs = {ticker: min(of_side.values()) for ticker, of_side in counts.items()}
    paired = {(ticker, side): pairs[ticker] for ticker in pairs for side in (YES, NO)}
    left: dict[int, list[Part]] = {}
    for trade, parts in free.items():
        kept = left.setdefault(trade, [])
        for part in parts:
            out_e2 = min(part.count_e2, paired[part.ticker, part.side])
            paired[part.ticker, part.side] -= out_e2
            rest_e2 = part.count_e2 - out_e2
            if rest_e2:
                cost_e6 = part.cost_e6 * rest_e2 // part.count_e2
                kept.append(Part(part.ticker, part.side, rest_e2, cost_e6))
    return left, sum(pairs.values()) * PRICE_ONE_E4


def _shared(total_e6: int, weights: list[int]) -> list[int]:
    """Divide a total by weight; the last share takes what rounding leaves."""
    whole = max(1, sum(weights))
    shares = [total_e6 * weight // whole for weight in weights[:-1]]
    return [*shares, total_e6 - sum(shares)]
