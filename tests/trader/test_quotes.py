"""Strategies whose orders rest: placed, changed and taken back, by the rules of what is one's own."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from markets.opportunities import EventView
from markets.orders import (
    Accepted,
    Amended,
    AmendRefused,
    AmendWanted,
    AnyOrderEvent,
    AnyWanted,
    CancelWanted,
    Ended,
    Fill,
    Filled,
    Intent,
    OrderState,
    Proposal,
    Wanted,
)
from markets.records import FairValue
from tests.trader.engine.makers import Maker
from tests.trader.world import LIMITS, NOW_MS, START_MS, data, event_of, leg, live, start, tick, view_of
from trader.engine.engine import Engine
from trader.engine.inputs import Command, Feed, Orders, Values
from trader.engine.outputs import Amend, Cancel, Dropped, Place, Refused
from trader.strategies import Quiet, Update

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"
NAME = "no_basket"


def view(bid_e4: int = 4_000, ask_e4: int = 4_400, **changes: Any) -> EventView:
    """A market with this bid and ask of YES, 100 contracts each; the middle is 42."""
    return view_of(EVENT, leg(EVENT, "HOM", (bid_e4, 10_000), (ask_e4, 10_000), **changes))


def quote(side: str = "yes", price_e4: int = 4_000, count_e2: int = 1_000, **changes: Any) -> Proposal:
    fields = {"time_in_force": "gtc", "expires_ms": NOW_MS + 600_000, "post_only": True, **changes}
    wanted = Wanted(fields.pop("ticker", TICKER), side, price_e4, count_e2)
    return Proposal(NAME, EVENT.event_ticker, (wanted,), 0, None, **fields)


class Scripted(Quiet):
    """Wants what the test says, and takes down what it was told."""

    name = NAME

    def __init__(self) -> None:
        super().__init__()
        self.script: Sequence[AnyWanted] = ()
        self.told: list[Update] = []

    def on_update(self, update: Update) -> Sequence[AnyWanted]:
        self.told.append(update)
        return self.script

    def on_timer(self, now_ms: int) -> Sequence[AnyWanted]:
        return self.script


class Bench:
    """An engine, a strategy, and a broker whose part the test plays."""

    def __init__(self, **changes: Any) -> None:
        self.strategy = Scripted()
        self.engine = Engine(lambda _text: Maker(self.strategy))
        self.seq = 0
        self.engine.step(start(limits=msgspec.structs.replace(LIMITS, **changes)))
        self.engine.step(live())

    def want(self, *wanted: AnyWanted, seen: EventView | None = None) -> list[Any]:
        self.seq += 1
        self.strategy.script = wanted
        outputs = self.engine.step(data(view() if seen is None else seen, seq=self.seq))
        self.strategy.script = ()
        self.engine.ledger.check_whole()
        return outputs

    def place(self, *wanted: Proposal) -> list[Intent]:
        placed = [output.intent for output in self.want(*wanted) if isinstance(output, Place)]
        self.say(*(Accepted(intent.number) for intent in placed))
        return placed

    def say(self, *events: AnyOrderEvent) -> list[Any]:
        outputs = self.engine.step(Orders(NOW_MS, 0, events))
        self.engine.ledger.check_whole()
        return outputs

    def fill(self, intent: Intent, count_e2: int) -> None:
        self.say(Filled(intent.number, Fill(intent.price_e4, count_e2, 0, count_e2, NOW_MS, maker=True)))


def refusals(outputs: Sequence[object]) -> list[str]:
    return [output.reason for output in outputs if isinstance(output, Refused)]


def cancels(outputs: Sequence[object]) -> list[tuple[int, str]]:
    return [(output.number, output.reason) for output in outputs if isinstance(output, Cancel)]


def test_an_order_rests_is_changed_and_taken_back_and_the_strategy_sees_how_far_that_is() -> None:
    bench = Bench()
    (intent,) = bench.place(quote())
    assert (intent.time_in_force, intent.post_only, intent.edge_e6) == ("gtc", True, 200_000)

    change = AmendWanted(NAME, EVENT.event_ticker, intent.number, 4_100, 2_000)
    (amend,) = [output for output in bench.want(change) if isinstance(output, Amend)]
    assert (amend.number, amend.price_e4, amend.count_e2) == (intent.number, 4_100, 2_000)
    assert refusals(bench.want(change)) == ["retry_later"]
    assert bench.strategy.told[-1].asked == {intent.number}
    bench.say(Amended(intent.number, 4_100, 2_000))
    bench.fill(msgspec.structs.replace(intent, price_e4=4_100), 300)
    bench.want()
    told = bench.strategy.told[-1]
    assert [(order.price_e4, order.count_e2) for order in told.orders] == [(4_100, 2_000)]
    assert (told.filled, told.asked) == ({intent.number: 300}, frozenset())

    back = CancelWanted(NAME, EVENT.event_ticker, intent.number)
    assert cancels(bench.want(back)) == [(intent.number, "cancelled")]
    assert cancels(bench.want(back)) == []  # it is on its way
    bench.want(change)
    assert bench.engine.refusals.counts["retry_later"] == 2
    bench.say(Ended(intent.number, "cancelled", OrderState.CANCELLED))
    assert refusals(bench.want(back)) == ["not_own_order"]
    assert bench.engine.ledger.reserved_e6 == 0


def test_a_change_that_is_refused_leaves_the_order_as_it_was() -> None:
    bench = Bench()
    (intent,) = bench.place(quote())
    held_e6 = bench.engine.ledger.reserved_e6

    bench.want(AmendWanted(NAME, EVENT.event_ticker, intent.number, 4_100, 2_000))
    assert bench.engine.ledger.reserved_e6 > held_e6
    bench.say(AmendRefused(intent.number, "would_take"))
    assert bench.engine.ledger.reserved_e6 == held_e6
    assert bench.engine.ledger.open[intent.number].price_e4 == 4_000


def test_a_quote_that_is_taken_back_lets_the_event_be_quoted_again_at_once() -> None:
    bench = Bench()
    (intent,) = bench.place(quote())
    bench.say(Ended(intent.number, "cancelled", OrderState.CANCELLED))

    assert len(bench.place(quote())) == 1


def test_as_time_passes_orders_are_taken_back_also_while_nothing_is_traded() -> None:
    bench = Bench()
    (bid,) = bench.place(quote())
    bench.fill(bid, 1_000)
    bench.say(Ended(bid.number, "complete"))
    (ask,) = bench.place(quote("no", 5_600, evens=bid.trade, exits=True))
    bench.engine.step(Command(NOW_MS, 0, op="pause", reason="x"))

    bench.strategy.script = [
        CancelWanted(NAME, EVENT.event_ticker, ask.number),
        AmendWanted(NAME, EVENT.event_ticker, ask.number, 5_700, 1_000),
        quote(),
    ]
    outputs = bench.engine.step(tick(NOW_MS + 1_000))
    assert cancels(outputs) == [(ask.number, "cancelled")]
    assert not [output for output in outputs if isinstance(output, Place | Amend)]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (quote(ticker="KXNONE-1"), "market_unknown"),
        (quote(count_e2=-1_000), "bad_size"),
        (quote(count_e2=0), "bad_size"),
        (quote(price_e4=4_050), "off_grid"),
        (quote(price_e4=4_300), "min_edge"),
        (quote("no", 5_900), "min_edge"),
        (quote(joins=99), "not_own_trade"),
        (quote("no", 5_500, evens=1, exits=True), "not_held"),
        (CancelWanted(NAME, EVENT.event_ticker, 99), "not_own_order"),
        (CancelWanted(NAME, EVENT.event_ticker, -1), "not_own_order"),
        (AmendWanted(NAME, EVENT.event_ticker, 99, 4_000, 1_000), "not_own_order"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_it_cannot_have_is_refused_in_one_word(wanted: AnyWanted, reason: str) -> None:
    bench = Bench(min_edge_e6=10_000)

    outputs = bench.want(wanted)
    assert refusals(outputs) == [reason]
    assert not [output for output in outputs if isinstance(output, Place | Cancel | Amend)]


@pytest.mark.parametrize(
    ("price_e4", "count_e2", "reason"),
    [
        (4_000, 300, "bad_size"),
        (4_000, -1, "bad_size"),
        (4_000, 1_050, "bad_size"),
        (4_050, 1_000, "off_grid"),
        (0, 1_000, "off_grid"),
        (4_300, 1_000, "min_edge"),
        (5_500, 1_000, "price_collar"),
        (4_000, 100_000, "order_limit"),
        (10**20, 1_000, "unreal"),
    ],
)
def test_a_change_that_must_not_be_is_refused(price_e4: int, count_e2: int, reason: str) -> None:
    bench = Bench()
    (intent,) = bench.place(quote())
    bench.fill(intent, 300)

    outputs = bench.want(AmendWanted(NAME, EVENT.event_ticker, intent.number, price_e4, count_e2))
    assert refusals(outputs) == [reason]
    assert bench.engine.ledger.amending == {}


def test_the_orders_of_others_and_those_that_do_not_rest_are_left_alone() -> None:
    bench = Bench()
    (quoted,) = bench.place(quote())
    other = msgspec.structs.replace(bench.engine.ledger.open[quoted.number], strategy="value")
    bench.engine.ledger.open[quoted.number] = other
    assert refusals(bench.want(CancelWanted(NAME, EVENT.event_ticker, quoted.number))) == ["not_own_order"]

    at_once = msgspec.structs.replace(other, strategy=NAME, time_in_force="ioc")
    bench.engine.ledger.open[quoted.number] = at_once
    assert refusals(bench.want(CancelWanted(NAME, EVENT.event_ticker, quoted.number))) == ["not_resting"]


def test_changes_count_as_orders_of_the_minute() -> None:
    bench = Bench(orders_per_minute=2)
    (intent,) = bench.place(quote())
    bench.want(AmendWanted(NAME, EVENT.event_ticker, intent.number, 4_100, 1_000))
    bench.say(Amended(intent.number, 4_100, 1_000))

    again = AmendWanted(NAME, EVENT.event_ticker, intent.number, 4_000, 1_000)
    assert refusals(bench.want(again)) == ["orders_per_minute"]


@pytest.mark.parametrize(
    ("halt", "word"),
    [
        (Feed(NOW_MS, 0, word="gap", degraded=()), "gap"),
        (Command(NOW_MS, 0, op="pause", reason="x"), "paused"),
        (Command(NOW_MS, 0, op="kill", reason="x"), "killed"),
        (tick(NOW_MS + 30_001), "stale"),
    ],
    ids=["gap", "pause", "kill", "stale"],
)
def test_quotes_are_pulled_as_soon_as_nothing_is_traded(halt: Any, word: str) -> None:
    bench = Bench()
    (intent,) = bench.place(quote())

    assert cancels(bench.engine.step(halt)) == [(intent.number, word)]
    assert cancels(bench.engine.step(tick(NOW_MS + 31_000))) == []


def test_a_quote_that_only_sells_what_is_held_stays_in_a_pause_and_goes_in_doubt() -> None:
    bench = Bench(positions_per_event=1)
    (bid,) = bench.place(quote())
    bench.fill(bid, 1_000)
    bench.say(Ended(bid.number, "complete"))
    (ask,) = bench.place(quote("no", 5_600, evens=bid.trade, exits=True))

    assert cancels(bench.engine.step(Command(NOW_MS, 0, op="pause", reason="x"))) == []
    assert cancels(bench.engine.step(Feed(NOW_MS, 0, word="lost", degraded=()))) == [(ask.number, "gap")]


def test_quotes_of_both_sides_are_one_trade_that_nets_and_is_never_evened_out() -> None:
    bench = Bench(positions_per_event=1)
    (bid,) = bench.place(quote())
    (ask,) = bench.place(quote("no", 5_600, joins=bid.trade))
    assert ask.trade == bid.trade

    bench.fill(bid, 1_000)
    bench.say(Ended(bid.number, "complete"))
    bench.fill(ask, 600)
    ledger = bench.engine.ledger
    assert ledger.lots[TICKER][bid.trade].count_e2 == 400
    assert ledger.realised_e6 == 600 * 400  # 40 against 44 cents
    assert [output for output in bench.want() if isinstance(output, Place)] == []

    # Beside what rests and buys, what is held may be sold; beside what sells it already, it may not.
    assert refusals(bench.want(quote("no", 5_500, 400, evens=bid.trade, exits=True))) == ["retry_later"]
    bench.say(Ended(ask.number, "cancelled", OrderState.CANCELLED))
    (more,) = bench.place(quote(joins=bid.trade))
    (sale,) = bench.place(quote("no", 5_500, 400, evens=bid.trade, exits=True))
    assert {more.trade, sale.trade} == {bid.trade}
    raised = AmendWanted(NAME, EVENT.event_ticker, sale.number, 5_500, 500)
    assert refusals(bench.want(raised)) == ["not_held"]


def test_a_quote_rests_no_longer_than_until_the_start() -> None:
    (intent,) = Bench().place(quote(expires_ms=None))

    assert intent.expires_ms == START_MS


def test_the_middle_is_that_of_others_and_an_accepted_value_comes_before_it() -> None:
    bench = Bench()
    (intent,) = bench.place(quote(price_e4=4_100))
    # At an exchange the own order is in the book: what shows no more than it counts as its own.
    alone = view_of(EVENT, leg(EVENT, "HOM", book=([(3_000, 5_000), (4_100, 1_000)], [(5_600, 10_000)])))
    assert refusals(bench.want(quote(price_e4=4_000, joins=intent.trade), seen=alone)) == ["min_edge"]

    bench.engine.step(Values(NOW_MS, 0, (FairValue(TICKER, 0.38, "mine", NOW_MS),), ()))
    assert len(bench.place(quote(price_e4=4_000, joins=intent.trade))) == 1
    bench.engine.accepted = frozenset(("mine",))
    assert refusals(bench.want(quote(price_e4=4_000, joins=intent.trade))) == ["min_edge"]
    assert len(bench.place(quote("no", 6_000, joins=intent.trade))) == 1


def test_where_others_do_not_bid_and_ask_nothing_is_quoted() -> None:
    empty = view_of(EVENT, leg(EVENT, "HOM", (4_000, 1_000), None))

    assert refusals(Bench().want(quote(), seen=empty)) == ["no_middle"]


@pytest.mark.parametrize(
    "nonsense",
    [
        CancelWanted("value", EVENT.event_ticker, 1),
        CancelWanted(NAME, "KXOTHER-1", 1),
        CancelWanted(NAME, EVENT.event_ticker, "1"),  # type: ignore[arg-type]
        AmendWanted(NAME, EVENT.event_ticker, 1, 4_000.0, 1_000),  # type: ignore[arg-type]
        quote(post_only=1),
        quote(time_in_force="ioc"),
        quote(joins="1"),
        quote(joins=1, evens=1, exits=True),
    ],
    ids=str,
)
def test_what_makes_no_sense_costs_the_strategy_its_place(nonsense: Any) -> None:
    assert [output.call for output in Bench().want(nonsense) if isinstance(output, Dropped)] == ["on_update"]
