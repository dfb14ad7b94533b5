"""The exchange's accounts once more, slowly: plain Decimal dollars, everything from the beginning each time.

Written from the published rules, without a look at the code that it checks, and sharing nothing with it.
"""

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

MICRO = Decimal("0.000001")
CENT = Decimal("0.01")
ZERO = Decimal(0)

Holder = tuple[int, int]
MAKER_RATES = {
    "quadratic": Decimal(0),
    "quadratic_with_maker_fees": Decimal("0.0175"),
    "quadratic_with_combo_maker_fees": Decimal("0.035"),
}


@dataclass(frozen=True)
class Terms:
    """What must be known of a market."""

    name: str
    event: str
    shard: int
    exclusive: bool
    fee_type: str
    multiplier: Decimal


@dataclass(frozen=True)
class Traded:
    """One side of a fill. `holder` None is the crowd."""

    holder: Holder | None
    order: int
    terms: Terms
    buys_yes: bool
    price: Decimal
    count: Decimal
    taker: bool


@dataclass(frozen=True)
class Settled:
    """A market was settled."""

    terms: Terms
    value: Decimal


@dataclass(frozen=True)
class Moved:
    """Cash came to a place; from outside, if `source` is None."""

    source: tuple[Holder, int] | None
    destination: tuple[Holder, int]
    amount: Decimal


@dataclass(frozen=True)
class Switched:
    """Collateral return was switched for a holder."""

    holder: Holder
    on: bool


Step = Traded | Settled | Moved | Switched


@dataclass
class Held:
    """Contracts in one market: of YES and of NO, one of which is none, and what they cost on average."""

    yes: Decimal = ZERO
    no: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    traded: Decimal = ZERO
    shares: Decimal = ZERO


@dataclass
class Account:
    """All that came of a list of steps."""

    grid: Decimal
    whole_cents: bool
    cash: dict[tuple[Holder | None, int], Decimal] = field(default_factory=dict)
    held: dict[tuple[Holder | None, str], Held] = field(default_factory=dict)
    fees: Decimal = ZERO
    rounded: Decimal = ZERO
    shortfall: Decimal = ZERO
    net_fees: list[Decimal] = field(default_factory=list)
    accumulators: dict[int, Decimal] = field(default_factory=dict)
    returned: dict[tuple[Holder, str], Decimal] = field(default_factory=dict)
    settled_values: dict[tuple[Holder, str], Decimal] = field(default_factory=dict)
    carried: dict[tuple[Holder, str], Decimal] = field(default_factory=dict)
    netting: set[Holder] = field(default_factory=set)
    terms: dict[str, Terms] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        match step:
            case Moved():
                if step.source is not None:
                    self.pay(*step.source, -step.amount)
                self.pay(*step.destination, step.amount)
            case Traded():
                self.trade(step)
            case Settled():
                self.settle(step)
            case Switched():
                self.switch(step)

    def pay(self, holder: Holder | None, shard: int, amount: Decimal) -> None:
        self.cash[holder, shard] = self.cash.get((holder, shard), ZERO) + amount

    def of(self, holder: Holder | None, terms: Terms) -> Held:
        self.terms[terms.name] = terms
        return self.held.setdefault((holder, terms.name), Held())

    def trade(self, step: Traded) -> None:
        held, outcome_price = self.of(step.holder, step.terms), step.price
        if not step.buys_yes:
            outcome_price = 1 - step.price
        mine, other = ("yes", "no") if step.buys_yes else ("no", "yes")
        # Bought contracts first pair up with the other outcome's: each pair is a dollar.
        pairs = min(step.count, getattr(held, other))
        rest = step.count - pairs
        if pairs:
            share = (held.cost * pairs / getattr(held, other)).quantize(MICRO, ROUND_FLOOR)
            held.realized += pairs * (1 - outcome_price) - share
            held.cost -= share
        held.cost += rest * outcome_price
        setattr(held, other, getattr(held, other) - pairs)
        setattr(held, mine, getattr(held, mine) + rest)
        held.traded += outcome_price * step.count
        held.shares += step.count
        self.pay(step.holder, step.terms.shard, pairs - outcome_price * step.count)
        if step.holder is None:
            return
        fee = self.fee(step)
        held.fees += fee
        self.fees += fee
        self.net_fees.append(fee)
        self.pay(step.holder, step.terms.shard, -fee)
        if step.holder in self.netting and step.terms.exclusive:
            self.give_back(step.holder, step.terms.event)

    def fee(self, step: Traded) -> Decimal:
        """Contract fees, points 1 to 5."""
        rate = Decimal("0.07") if step.taker else MAKER_RATES[step.terms.fee_type]
        model = rate * step.terms.multiplier * step.count * step.price * (1 - step.price)
        trade_fee = model.quantize(MICRO, ROUND_CEILING)
        revenue = -step.price * step.count if step.buys_yes else step.price * step.count
        aligned = ((revenue - trade_fee) / self.grid).to_integral_value(ROUND_FLOOR) * self.grid
        rounding_fee = (revenue - trade_fee) - aligned
        accumulated = self.accumulators.get(step.order, ZERO) + rounding_fee
        rebate = ZERO
        while accumulated - rebate >= self.grid and trade_fee + rounding_fee - rebate >= self.grid:
            rebate += self.grid
        self.accumulators[step.order] = accumulated - rebate
        return trade_fee + rounding_fee - rebate

    def settle(self, step: Settled) -> None:
        for (holder, name), held in sorted(self.held.items(), key=str):
            if name != step.terms.name:
                continue
            worth = held.yes * step.value + held.no * (1 - step.value)
            paid = worth
            if self.whole_cents and holder is not None:
                paid = worth.quantize(CENT, ROUND_FLOOR)
            self.pay(holder, step.terms.shard, paid)
            self.rounded += worth - paid
            held.fees += worth - paid
            held.realized += worth - held.cost
            held.yes = held.no = held.cost = ZERO
        if not step.terms.exclusive:
            return
        for holder, event in list(self.returned):
            if event == step.terms.event:
                key = holder, event
                self.settled_values[key] = min(Decimal(1), self.settled_values.get(key, ZERO) + step.value)
                sure = min(self.returned[key], self.sure(holder, event))
                self.pay(holder, step.terms.shard, sure - self.returned[key])
                self.returned[key] = sure
                self.carried[key] = sure - self.sure_before_settlements(holder, event)
                if self.cash[holder, step.terms.shard] < 0:
                    self.shortfall -= self.cash[holder, step.terms.shard]
                    self.cash[holder, step.terms.shard] = ZERO
                self.forget(key)

    # -- collateral return

    def counts(self, holder: Holder, event: str) -> list[Decimal]:
        return [
            held.no
            for (whose, name), held in self.held.items()
            if whose == holder and held.no and self.terms[name].event == event and self.terms[name].exclusive
        ]

    def sure(self, holder: Holder, event: str) -> Decimal:
        """What the NO contracts pay in the worst case: what YES may still be worth goes to one market."""
        counts = self.counts(holder, event)
        left = 1 - self.settled_values.get((holder, event), ZERO)
        return min((sum(counts, ZERO) - left * count for count in counts), default=ZERO)

    def sure_before_settlements(self, holder: Holder, event: str) -> Decimal:
        return sum(sorted(self.counts(holder, event))[:-1], ZERO)

    def give_back(self, holder: Holder, event: str) -> None:
        key = holder, event
        wanted = self.sure_before_settlements(holder, event) + self.carried.get(key, ZERO)
        wanted = min(wanted, self.sure(holder, event))
        shard = next(terms.shard for terms in self.terms.values() if terms.event == event)
        self.pay(holder, shard, wanted - self.returned.get(key, ZERO))
        self.returned[key] = wanted
        self.forget(key)

    def forget(self, key: tuple[Holder, str]) -> None:
        if not self.counts(*key):
            for of_event in (self.returned, self.carried, self.settled_values):
                of_event.pop(key, None)

    def switch(self, step: Switched) -> None:
        if step.on:
            self.netting.add(step.holder)
            events = {terms.event for terms in self.terms.values() if terms.exclusive}
            for event in events:
                if self.counts(step.holder, event):
                    self.give_back(step.holder, event)
            return
        self.netting.discard(step.holder)
        for holder, event in list(self.returned):
            if holder == step.holder:
                shard = next(terms.shard for terms in self.terms.values() if terms.event == event)
                self.pay(holder, shard, -self.returned[holder, event])
                for of_event in (self.returned, self.carried, self.settled_values):
                    of_event.pop((holder, event), None)


def account_of(steps: list[Step], grid: Decimal, whole_cents: bool, netting: set[Holder]) -> Account:
    """Compute everything from the beginning."""
    account = Account(grid, whole_cents, netting=set(netting))
    for step in steps:
        account.take(step)
    return account
