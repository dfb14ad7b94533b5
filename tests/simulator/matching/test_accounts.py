"""Random lives of several accounts, against a slow reference: to the micro-dollar, at every step."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.matching.ledger import Ledger
from simulator.matching.orders import ASK, BID, Order, OrderSwitches, Party, Side
from simulator.matching.transfers import Transfer
from simulator.persistence import graph
from tests.simulator.matching.accounts_by_hand import (
    Account,
    Moved,
    Settled,
    Step,
    Switched,
    Terms,
    Traded,
    account_of,
)
from tests.simulator.matching.trades import NOW_MS, Market, an_order

MARKETS = (
    Market("A", "X", exclusive=True),
    Market("B", "X", exclusive=True, fee_type="quadratic_with_maker_fees"),
    Market("C", "X", exclusive=True, fee_multiplier_e4=0),
    Market("D", "Y", fee_multiplier_e4=5_000),
    Market("E", "Z", exchange_index=1, exclusive=True, fee_type="quadratic_with_combo_maker_fees"),
    Market("F", "Z", exchange_index=1, exclusive=True, fee_multiplier_e4=20_000),
)
PARTIES: tuple[Party, ...] = ((1, 0), (1, 1), (2, 0))
POCKETS = [(subaccount, shard) for subaccount in (0, 1) for shard in (0, 1)]
FIRST_E6 = 8_000_000


def dollars(money_e6: int) -> Decimal:
    return Decimal(money_e6) / 10**6


def terms(market: Market) -> Terms:
    return Terms(
        name=market.ticker,
        event=market.event_ticker,
        shard=market.exchange_index,
        exclusive=market.exclusive,
        fee_type=market.fee_type,
        multiplier=Decimal(market.fee_multiplier_e4) / 10**4,
    )


@dataclass
class Floor:
    """An exchange in a few lines: it matches price before time, and writes down steps."""

    switches: OrderSwitches
    steps: list[Step] = field(default_factory=list)
    resting: list[Order] = field(default_factory=list)
    open: list[Market] = field(default_factory=lambda: list(MARKETS))
    fees_e6: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = count(1)
        self.ledger = Ledger(self.switches, (0, 1))
        for account in (1, 2):
            self.ledger.open(account, FIRST_E6)
            for shard in (0, 1):
                self.steps.append(Moved(None, ((account, 0), shard), dollars(FIRST_E6)))
        assert self.ledger.create_subaccount(1) == 1
        self.netting = {party for party in PARTIES if self.switches.collateral_return}

    def market(self, index: int) -> Market | None:
        return self.open[index % len(self.open)] if self.open else None

    def book(
        self, order: Order | None, market: Market, side: Side, price_e4: int, count_e2: int, taker: bool
    ) -> None:
        party = None
        number = 0
        if order is None:
            self.ledger.crowd(market, side, price_e4, count_e2)
        else:
            fill = self.ledger.book(order, f"t{next(self.numbers)}", price_e4, count_e2, taker, NOW_MS)
            self.fees_e6.append(fill.fee_e6)
            party, number = order.party, order.number
        price, contracts = Decimal(price_e4) / 10**4, Decimal(count_e2) / 100
        self.steps.append(Traded(party, number, terms(market), side == BID, price, contracts, taker))

    def end(self, order: Order) -> None:
        self.resting.remove(order)
        self.ledger.drop(order)
        order.remaining_e2 = 0

    def cross(
        self,
        taker: Order | None,
        market: Market,
        side: Side,
        limit_e4: int,
        count_e2: int,
        crowd: list[tuple[int, int]],
    ) -> int:
        """Match against users' orders and the crowd's levels, the best price first; return what is left."""
        sign = 1 if side == BID else -1
        met: list[tuple[int, int, Order | None, int]] = [
            (sign * o.price_e4, o.number, o, o.remaining_e2)
            for o in self.resting
            if o.instrument is market and o.side != side and (taker is None or o.party[0] != taker.party[0])
        ]
        if taker is not None:
            met += [(sign * price_e4, 0, None, size_e2) for price_e4, size_e2 in crowd]
        parties = {taker.party} if taker is not None else set()
        for ranked_e4, _, maker, size_e2 in sorted(met, key=lambda entry: entry[:2]):
            price_e4 = sign * ranked_e4
            if not count_e2 or ranked_e4 > sign * limit_e4:
                break
            size_e2 = min(size_e2, count_e2)
            if taker is not None:
                if not self.ledger.pays(taker, price_e4, size_e2):
                    count_e2 = 0
                    break
                taker.remaining_e2 -= size_e2
            if maker is not None:
                parties.add(maker.party)
                maker.remaining_e2 -= size_e2
                if maker.remaining_e2:
                    self.ledger.touch(maker)
                else:
                    self.end(maker)
            self.book(taker, market, side, price_e4, size_e2, True)
            self.book(maker, market, ASK if side == BID else BID, price_e4, size_e2, False)
            count_e2 -= size_e2
        for party in parties:
            self.margin(party, market.exchange_index)
        return count_e2

    def margin(self, party: Party, shard: int) -> None:
        for order in self.ledger.unpayable(party, shard):
            self.end(order)
        assert not self.ledger.unpayable(party, shard)

    def order(self, party: Party, market: Market, side: Side, price_e4: int, count_e2: int) -> Order:
        return an_order(next(self.numbers), party, market, side, price_e4, count_e2)

    # -- what may happen

    def place(
        self, party: int, market: int, side: Side, price_e4: int, count_e2: int, crowd: list[tuple[int, int]]
    ) -> None:
        where = self.market(market)
        if where is None:
            return
        order = self.order(PARTIES[party], where, side, price_e4, count_e2)
        own = any(
            o.instrument is where
            and o.side != side
            and o.party[0] == order.party[0]
            and (o.price_e4 <= price_e4 if side == BID else o.price_e4 >= price_e4)
            for o in self.resting
        )
        if own or not self.ledger.admit(order):
            return
        left_e2 = self.cross(order, where, side, price_e4, count_e2, crowd)
        if left_e2:
            self.resting.append(order)
            self.ledger.add(order)
            if left_e2 == count_e2:  # admitted and nothing has happened: so it can be paid
                assert not self.ledger.unpayable(order.party, where.exchange_index)
            self.margin(order.party, where.exchange_index)

    def stake(self, party: int, market: int, side: Side, price_e4: int, sizes: list[int]) -> None:
        """Place the largest order that is admitted, into levels of these sizes at its very price."""
        where = self.market(market)
        if where is not None:
            low, high = 0, 4_000
            while low < high:
                middle = (low + high + 1) // 2
                order = self.order(PARTIES[party], where, side, price_e4, middle)
                low, high = (middle, high) if self.ledger.admit(order) else (low, middle - 1)
            if low:
                self.place(party, market, side, price_e4, low, [(price_e4, size_e2) for size_e2 in sizes])

    def hit(self, market: int, side: Side, limit_e4: int, count_e2: int) -> None:
        where = self.market(market)
        if where is not None:
            self.cross(None, where, side, limit_e4, count_e2, [])

    def cancel(self, index: int) -> None:
        if self.resting:
            self.end(self.resting[index % len(self.resting)])

    def amend(self, index: int, price_e4: int, count_e2: int) -> None:
        """Change price and count, if it meets nobody at the new price."""
        if not self.resting:
            return
        order = self.resting[index % len(self.resting)]
        met = (o for o in self.resting if o.instrument is order.instrument and o.side != order.side)
        if any(o.price_e4 <= price_e4 if order.side == BID else o.price_e4 >= price_e4 for o in met):
            return
        before_e4 = order.price_e4
        order.price_e4 = price_e4
        if not self.ledger.admit(order, count_e2):
            order.price_e4 = before_e4
            return
        order.remaining_e2 = count_e2
        self.ledger.touch(order)
        assert not self.ledger.unpayable(order.party, order.instrument.exchange_index)

    def move(self, account: int, source: int, destination: int, amount_e6: int) -> None:
        here, there = POCKETS[source], POCKETS[destination]
        moved = self.ledger.transfer(
            account,
            "shards",
            here,
            there,
            amount_e6,
            transfer_id=str(next(self.numbers)),
            client_transfer_id=None,
            time_ms=NOW_MS,
        )
        if isinstance(moved, Transfer):
            pockets = [((account, subaccount), shard) for subaccount, shard in (here, there)]
            self.steps.append(Moved(pockets[0], pockets[1], dollars(amount_e6)))
            self.margin(*pockets[0])

    def switch(self, party: int, enabled: bool) -> None:
        if self.ledger.netting(PARTIES[party]) is not enabled and self.ledger.set_netting(
            PARTIES[party], enabled, NOW_MS
        ):
            self.steps.append(Switched(PARTIES[party], enabled))
            for shard in (0, 1):
                self.margin(PARTIES[party], shard)

    def settle(self, market: int, value_e4: int) -> None:
        where = self.market(market)
        if where is None:
            return
        for order in [order for order in self.resting if order.instrument is where]:
            self.end(order)
        self.open.remove(where)
        self.ledger.settle(where, value_e4, NOW_MS)
        self.steps.append(Settled(terms(where), Decimal(value_e4) / 10**4))
        for party in PARTIES:
            self.margin(party, where.exchange_index)

    # -- what must hold

    def agree(self) -> None:
        self.ledger.audit()
        grid = Decimal("0.0001") if self.switches.member == "direct" else Decimal("0.01")
        expected = account_of(self.steps, grid, self.switches.settle_whole_cents, self.netting)
        shown = self.ledger.statements
        assert [dollars(fee_e6) for fee_e6 in self.fees_e6] == expected.net_fees
        for party in PARTIES:
            for shard in (0, 1):
                assert dollars(shown.cash_e6(party, shard)) == expected.cash.get((party, shard), 0)
            for held in shown.positions(party, "all"):
                there = expected.held[party, held.instrument.ticker]
                assert Decimal(held.count_e2) / 100 == there.yes - there.no
                assert (dollars(held.cost_e6), dollars(held.realized_e6)) == (there.cost, there.realized)
                assert (dollars(held.fees_e6), dollars(held.traded_e6)) == (there.fees, there.traded)
                assert Decimal(held.traded_e2) / 100 == there.shares
        self.compare_totals(expected)

    def compare_totals(self, expected: Account) -> None:
        held = self.ledger.holdings
        crowd = sum((cash for (holder, _), cash in expected.cash.items() if holder is None), Decimal(0))
        assert dollars(sum(purse.cash_e6 for purse in held.crowd.purses.values())) == crowd
        assert dollars(held.fees_e6) == expected.fees
        assert dollars(held.rounded_e6) == expected.rounded
        assert dollars(held.returned_e6) == sum(expected.returned.values(), Decimal(0))
        assert dollars(held.shortfall_e6) == expected.shortfall


Action = tuple[object, ...]


def life(rng: Random, steps: int) -> Iterator[Action]:
    """What happens to an exchange: mostly orders, and now and then everything else."""

    def price() -> int:
        return rng.choice([rng.randint(1, 99) * 100, rng.randint(1, 9_999)])

    def size() -> int:
        return rng.choice([rng.randint(1, 12) * 100, rng.randint(1, 1_500), rng.randint(1, 20)])

    def side() -> Side:
        return rng.choice([BID, ASK, ASK])

    def market() -> int:
        return rng.choice([0, 0, 0, 1, 1, 2, 3, 4, 5])

    for _ in range(steps):
        match rng.choices(KINDS, WEIGHTS)[0]:
            case "place":
                levels = [(price(), size()) for _ in range(rng.choice([0, 0, 0, 2, 6]))]
                yield "place", rng.randint(0, 2), market(), side(), price(), size(), levels
            case "stake":
                sizes = [
                    rng.choice([rng.randint(1, 30), rng.randint(1, 300)]) for _ in range(rng.randint(0, 40))
                ]
                yield "stake", rng.randint(0, 2), market(), side(), price(), sizes
            case "hit":
                yield "hit", market(), side(), price(), size()
            case "cancel":
                yield "cancel", rng.randint(0, 20)
            case "amend":
                yield "amend", rng.randint(0, 20), price(), size()
            case "move":
                pockets = rng.randint(0, 3), rng.randint(0, 3)
                yield "move", rng.choice([1, 1, 2]), *pockets, rng.randint(1, FIRST_E6)
            case "switch":
                yield "switch", rng.randint(0, 2), rng.random() < 0.7
            case "settle":
                yield "settle", market(), rng.choice([0, 0, 10_000, 5_000, 3_333, 6_667, 1])


KINDS = ("place", "stake", "hit", "cancel", "amend", "move", "switch", "settle")
WEIGHTS = (20, 4, 8, 1, 2, 2, 0.7, 0.7)

switches = st.builds(
    OrderSwitches,
    resting_value=st.sampled_from(["sum", "max"]),
    member=st.sampled_from(["direct", "intermediary"]),
    collateral_return=st.booleans(),
    settle_whole_cents=st.booleans(),
)


def live(rules: OrderSwitches, seed: int, steps: int, every: int) -> Floor:
    """Let an exchange live; the books are audited at every step, and compared at every so many."""
    floor = Floor(rules)
    for number, (name, *arguments) in enumerate(life(Random(seed), steps), 1):
        getattr(floor, str(name))(*arguments)
        if number % every and number != steps:
            floor.ledger.audit()
        else:
            floor.agree()
    return floor


def live_long(seed: int) -> int:
    """Let some exchanges live longer, under rules of a seed; return how many steps (`make soak`)."""
    rng = Random(seed)
    for _ in range(10):
        rules = OrderSwitches(
            resting_value=rng.choice(["sum", "max"]),
            member=rng.choice(["direct", "intermediary"]),
            collateral_return=rng.random() < 0.6,
            settle_whole_cents=rng.random() < 0.5,
        )
        live(rules, rng.getrandbits(32), steps=100, every=10)
    return 1_000


@given(switches, st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_books_agree_with_the_reference_and_no_cash_is_ever_negative(rules: OrderSwitches, seed: int) -> None:
    live(rules, seed, steps=60, every=5)


@given(switches, st.integers(0, 2**32))
@settings(deadline=None, max_examples=15)
def test_they_agree_after_every_single_step(rules: OrderSwitches, seed: int) -> None:
    live(rules, seed, steps=40, every=1)


def test_books_that_were_saved_and_loaded_go_on_as_the_same() -> None:
    rules = OrderSwitches(collateral_return=True)
    actions = list(life(Random(5), 120))
    floor, twin = Floor(rules), Floor(rules)
    for name, *arguments in actions[:80]:
        getattr(floor, str(name))(*arguments)
        getattr(twin, str(name))(*arguments)
    saved = graph.save([twin.ledger, twin.resting, twin.open], [MARKETS], lambda _value, _name: False)
    twin.ledger, twin.resting, twin.open = graph.load(saved, [MARKETS])
    assert twin.resting
    for name, *arguments in actions[80:]:
        getattr(floor, str(name))(*arguments)
        getattr(twin, str(name))(*arguments)
        twin.ledger.audit()
        assert twin.ledger.statements.books() == floor.ledger.statements.books()
