"""A simulated run: orders go to the exchange's matching, and the ledger equals the exchange's account."""

from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.clock import ManualClock
from bus.scan.membership import scan_limits
from laboratory import figures
from laboratory.feed import ExchangeFeed
from laboratory.fill_model import Pair, Shadowed, at_exchange, error_of, on_paper
from laboratory.matching import ACCOUNT, MatchingBroker
from laboratory.notes import Notes, worth_of
from laboratory.outcome import Outcome, Plan
from laboratory.quiet import quiet
from laboratory.runs import run
from laboratory.simulated import MEMORY, OF_A_DAY, START_MS, Simulated
from laboratory.stand import OURS, STEP_MS, place_of, settings_of
from laboratory.statistics import CUTS, cut, promise
from markets.json.read import decode_market
from markets.orders import (
    Accepted,
    Amended,
    AmendRefused,
    AnyOrderEvent,
    Ended,
    Fill,
    Filled,
    Intent,
    OrderState,
    Sent,
    Settlement,
)
from markets.records import Quote, Status
from markets.units import HOUR_MS, MINUTE_MS
from simulator.floor import lives
from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.floor.history import day_ago
from simulator.floor.model import ACTIVE, DETERMINED, DISPUTED, Market
from simulator.front.render import market_json
from simulator.matching.orders import ASK
from simulator.universe.templates import load
from tests.markets.builders import quote as quote_of
from tests.trader.ledger.builders import intent
from trader.brokers.paper import PaperBroker
from trader.engine.inputs import Present, Tick
from trader.engine.outputs import Amended as AmendBooked
from trader.engine.outputs import Booked, Place
from trader.ledger.ledger import JOINED
from trader.worker import risk_limits

PLAN = Plan(seed=3, hours=0.25, markets=150, code="here", settings={"limit_payout_hours": "8760"})

VOIDS = {"void_rate": 0.3}


@pytest.fixture(name="told", scope="module")
def _told() -> list[float]:
    return []


@pytest.fixture(name="outcome", scope="module")
def _outcome(told: list[float]) -> Outcome:
    return run(PLAN, told.append)


def test_progress_is_told_after_each_step_so_that_a_slow_run_is_not_taken_for_stuck(
    outcome: Outcome, told: list[float]
) -> None:
    steps = (outcome.ended_ms - outcome.began_ms) // STEP_MS
    assert told == [number / steps for number in range(1, steps + 1)]


def test_the_deepest_fall_and_the_most_at_stake_are_of_every_step_not_of_the_points(tmp_path: Path) -> None:
    bench = Simulated(msgspec.structs.replace(PLAN, hours=0.05), tmp_path)
    engine, floors, stakes = bench.stand.worker.engine, [0], [0]

    def look(_part: float) -> None:
        floors.append(engine.worth.least_profit_e6())
        stakes.append(engine.ledger.at_stake_e6())

    with quiet():
        found = bench.run(look)

    def deepest(curve_e6: list[int]) -> int:
        return max(high - low for high, low in zip(accumulate(curve_e6, max), curve_e6, strict=True))

    assert (found.drawdown_e6, found.most_e6) == (deepest(floors), max(stakes))
    assert found.drawdown_e6 > 2 * deepest([0, *(point.floor_e6 for point in found.points)])
    assert found.most_e6 > max(point.stake_e6 for point in found.points)
    (variant,) = figures.report([found], "t", "c").variants
    assert variant.drawdown == {"seed 3": found.drawdown_e6 / 1e6}
    assert variant.most_at_stake == found.most_e6 / 1e6


def test_the_ledger_equals_the_account_and_profits_of_trades_add_up(outcome: Outcome) -> None:
    assert outcome.error == ""
    assert outcome.failures == []
    assert outcome.differs == []
    assert outcome.fills > 5
    last = outcome.points[-1]
    of_trades = sum((one.worth_e6 if one.got_e6 is None else one.got_e6) or 0 for one in outcome.trades)
    assert of_trades == last.floor_e6
    assert sum(one.fees_e6 for one in outcome.trades) == outcome.fees_e6
    assert all(one.kind and one.first for one in outcome.trades if one.got_e6 is not None)


@pytest.mark.parametrize(("seed", "markets"), [(7, 150), (8, 150)])
def test_trades_add_up_to_the_equity_where_trades_hold_both_sides_of_a_market(
    seed: int, markets: int
) -> None:
    settings = {**PLAN.settings, "min_edge": "0.05"}
    found = run(msgspec.structs.replace(PLAN, seed=seed, markets=markets, settings=settings, exchange=VOIDS))
    sums = promise(found.trades)
    assert (sums.profit_e6, sums.fees_e6) == (found.profit_e6, found.fees_e6)
    assert sums.open_e6
    of_kinds = cut(found.trades, CUTS["kind"]).values()
    assert sum(one.profit_e6 for one in of_kinds) == found.profit_e6


def paid(ticker: str, value_e4: int, fee_e6: int = 0) -> Settlement:
    return Settlement(
        ticker=ticker, event_ticker="E", side="yes", count_e2=1, result="", value_e4=value_e4, cost_e6=0,
        payout_e6=0, time_ms=0, fee_e6=fee_e6,
    )  # fmt: skip


def test_what_is_withheld_at_a_settlement_is_borne_by_a_trade_on_the_side_that_was_paid() -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    for trade, side in ((1, "no"), (2, "yes")):
        order = msgspec.structs.replace(intent(trade, "A", side, 5_000, 150), trade=trade)
        notes.placed(order)
        notes.filled(order, Fill(5_000, 150 + trade, 0, 150 + trade, START_MS))
        notes.ended(order)
    withheld = paid("A", 3_300, fee_e6=3_300)
    notes.settled(withheld)
    assert [one.fees_e6 for one in notes.outcome.trades] == [0, 3_300]
    assert (
        sum(one.got_e6 or 0 for one in notes.outcome.trades)
        == (151 * 6_700 + 152 * 3_300) - 303 * 5_000 - 3_300
    )
    notes.taken_back(withheld)
    notes.settled(paid("A", 10_000))
    assert [one.fees_e6 for one in notes.outcome.trades] == [0, 0]
    assert sum(one.got_e6 or 0 for one in notes.outcome.trades) == 152 * 10_000 - 303 * 5_000


def test_what_was_void_and_is_decided_later_is_not_void_any_more() -> None:
    odd: set[str] = set()
    notes = Notes(0, Outcome(plan=PLAN), START_MS, odd.__contains__)
    for number, ticker in ((1, "A"), (2, "B")):
        order = intent(number, ticker, "yes", 5_000, 150)
        notes.placed(msgspec.structs.replace(order, trade=1, event_ticker="E"))
    odd.add("E")
    for ticker in ("A", "B"):
        notes.settled(paid(ticker, 5_000))
    assert notes.outcome.trades[0].odd
    odd.clear()
    notes.taken_back(paid("A", 5_000))
    notes.settled(paid("A", 10_000))
    assert not notes.outcome.trades[0].odd


def quoted(bid_e4: int, ask_e4: int) -> Quote:
    return msgspec.structs.replace(quote_of("A", None, None), yes_bid_e4=bid_e4, yes_ask_e4=ask_e4)


@pytest.mark.parametrize(
    ("bid_e4", "ask_e4", "worth_e4"),
    [(5_000, 5_200, 5_100.0), (0, 100, 50.0), (0, 0, None), (9_900, 10_000, 9_950.0), (0, 10_000, None)],
)
def test_what_nobody_bids_for_may_be_worth_nothing(bid_e4: int, ask_e4: int, worth_e4: float | None) -> None:
    assert worth_of(None, quoted(bid_e4, ask_e4)) == worth_e4
    assert worth_of(None, None) is None


def test_a_markout_of_a_market_that_collapsed_or_was_decided_is_not_left_out() -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    for number, (ticker, side) in enumerate([("UP", "yes"), ("DOWN", "yes"), ("OVER", "no"), ("GONE", "no")]):
        order = intent(number, ticker, side, 5_000, 100)
        notes.placed(order)
        notes.filled(order, Fill(5_000, 100, 0, 100, START_MS))
    notes.values["OVER"] = 0
    notes.now_ms += 10 * MINUTE_MS
    notes.pass_time({"UP": 6_000.0, "DOWN": 50.0}.get)
    assert len(notes.outcome.markouts) == 2 * 4
    more_e4 = [one.more_e4 for one in notes.outcome.markouts if one.minutes == 1]
    assert more_e4 == [1_000.0, -4_950.0, 5_000, None]


@pytest.mark.parametrize(
    ("side", "sold_e2", "came_e4"), [("yes", 0, 0), ("no", 0, 10_000), ("no", 300, None)]
)
def test_a_belief_is_judged_by_what_its_own_side_paid_to_those_who_still_held_it(
    side: str, sold_e2: int, came_e4: int | None
) -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    bought = msgspec.structs.replace(intent(1, "A", side, 2_000, 300), probability=0.8)
    sold = msgspec.structs.replace(intent(2, "A", "yes", 7_000, 300), trade=1, attempt=1)
    for order, got_e2 in ((bought, 300), (sold, sold_e2)):
        notes.placed(order)
        if got_e2:
            notes.filled(order, Fill(order.price_e4, got_e2, 0, got_e2, START_MS))
        notes.ended(order)
    notes.settled(paid("A", 0))
    (found,) = notes.outcome.trades
    assert (found.belief, found.outcome_e4) == (800_000, came_e4)


@pytest.mark.parametrize(
    ("got_e2", "first"),
    [
        ((100, 300), "even"),
        ((50, 150), "even"),
        ((100, 100), "missed"),
        ((0, 300), "missed"),
        ((0, 0), "nothing"),
    ],
)
def test_a_basket_that_wants_less_of_one_leg_misses_none_by_getting_what_it_wants(
    got_e2: tuple[int, int], first: str
) -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    legs = [
        msgspec.structs.replace(intent(at + 1, "AB"[at], "no", 4_000, (100, 300)[at]), trade=1)
        for at in (0, 1)
    ]
    for order in legs:
        notes.placed(order)
    for order, count_e2 in zip(legs, got_e2, strict=True):
        if count_e2:
            notes.filled(order, Fill(4_000, count_e2, 0, count_e2, START_MS))
        notes.ended(order)
    assert notes.outcome.trades[0].first == first


def test_an_order_lives_from_its_decision_which_may_lie_between_two_steps_of_the_clock() -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    order = msgspec.structs.replace(intent(1), created_ms=START_MS)
    notes.now_ms = START_MS + 179
    notes.placed(order)
    notes.now_ms = START_MS + 500
    notes.ended(order)
    notes.end({})
    assert notes.outcome.order_ms == [500]


def test_what_an_amended_order_asks_for_is_what_it_asks_for_now() -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    order = intent(1, "A", "yes", 2_000, 1_000)
    for output in (
        Place(order),
        Booked(1, OrderState.OPEN, "", (Fill(2_000, 600, 0, 600, START_MS),), START_MS),
        AmendBooked(1, 3_000, 1_600, 0, refused=False),
        AmendBooked(1, 3_000, 1_600, 0, refused=True),
        Booked(1, OrderState.CANCELLED, "", (Fill(3_000, 800, 0, 800, START_MS),), START_MS),
    ):
        notes.write(Tick(START_MS, 0), [output])
    assert (notes.outcome.wanted_e2, notes.outcome.got_e2) == (1_600, 1_400)


def test_a_trade_that_others_join_is_no_basket_that_is_evened() -> None:
    notes = Notes(0, Outcome(plan=PLAN), START_MS)
    first, later = (
        msgspec.structs.replace(
            intent(number, "A", count_e2=100), trade=1, time_in_force="gtc", attempt=attempt, edge_e6=80_000
        )
        for number, attempt in ((1, 0), (2, JOINED))
    )
    for order, count_e2 in ((first, 0), (later, 50)):
        notes.placed(order)
        if count_e2:
            notes.filled(order, Fill(5_000, count_e2, 0, count_e2, START_MS))
        notes.ended(order)
    (trade,) = notes.outcome.trades
    assert (trade.first, trade.joined, trade.evened, trade.promised_e6) == ("even", 1, 0, 40_000)
    sold = msgspec.structs.replace(intent(3, "A", "no", 4_000, 50), trade=1, attempt=1)
    notes.placed(sold)
    notes.filled(sold, Fill(4_000, 50, 0, 50, START_MS))
    notes.ended(sold)
    assert (trade.got_e6, trade.evened) == (50 * 1_000, 1)
    notes.placed(msgspec.structs.replace(later, number=4))
    assert trade.got_e6 is None  # it may hold something again


def test_no_book_is_kept_of_a_market_that_is_followed_no_more() -> None:
    clock = ManualClock(START_MS)
    exchange = Exchange(load(None), 400, 2, START_MS, Activity(bursts=False), memory=OF_A_DAY)
    exchange.herald.detailed = False
    feed, left = ExchangeFeed(exchange, clock), 0
    for _ in range(600):
        before = feed.followed
        clock.advance(500)
        feed.advance(clock.now_ms())
        left += len(before - feed.followed)
        assert feed.state.books.keys() <= feed.followed
    assert left


def test_a_sweep_finds_what_was_disputed_which_nobody_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "_DISPUTED_SHARE", 1.0)
    clock = ManualClock(START_MS)
    exchange = Exchange(load(None), 150, 2, START_MS, Activity(bursts=False), memory=OF_A_DAY)
    feed, seen = ExchangeFeed(exchange, clock), list[Status]()
    while len(seen) < 2:
        clock.advance(12_000)  # a sweep
        feed.advance(clock.now_ms())
        decided = [one for one in exchange.markets.values() if one.status in (DETERMINED, DISPUTED)]
        for market in decided:
            assert feed.state.quotes[market.ticker].status == market.status
        if decided and decided[0].status not in seen[-1:]:
            seen.append(feed.state.quotes[decided[0].ticker].status)
    assert Status.DISPUTED in seen


def test_the_same_plan_gives_the_same_outcome(outcome: Outcome) -> None:
    again = run(PLAN)
    again.cpu_s = outcome.cpu_s
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(outcome)


def test_a_different_seed_latency_or_setting_is_a_different_run() -> None:
    changed: list[dict[str, Any]] = [
        {"seed": 4}, {"latency_ms": 250}, {"settings": {}}, {"rivals": False}, {"code": "there"}, {"hours": 1}
    ]  # fmt: skip
    names = {msgspec.structs.replace(PLAN, **one).name for one in changed}
    assert len(names | {PLAN.name}) == len(changed) + 1


def test_a_ledger_that_differs_from_the_account_is_reported(tmp_path: Path) -> None:
    simulated = Simulated(msgspec.structs.replace(PLAN, hours=0.01), tmp_path)
    simulated.exchange.ledger.deposit(ACCOUNT, 0, 1_000_000)
    (line,) = simulated.run().differs
    assert line.startswith("cash: ")


def test_what_the_exchange_keeps_for_its_lists_is_dropped(tmp_path: Path) -> None:
    simulated = Simulated(msgspec.structs.replace(PLAN, hours=0.05), tmp_path)
    outcome = simulated.run()
    account = simulated.exchange.ledger.holdings.accounts[ACCOUNT]

    assert outcome.fills
    assert not outcome.differs
    assert not account.fills.live
    assert all(order.live for order in simulated.exchange.matching.orders[ACCOUNT].values())
    assert not simulated.exchange.matching.archived[ACCOUNT]


def test_a_strategy_that_raises_is_dropped_and_reported_and_the_rest_continue(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from trader.strategies import Quiet\n\n\nclass Bad(Quiet):\n    name = 'bad'\n\n"
        "    def wants(self, event):\n        return True\n\n"
        "    def on_update(self, update):\n        raise ValueError('on day three')\n"
    )
    settings = {**PLAN.settings, "strategies": f"baskets,{mine}:Bad"}
    found = run(msgspec.structs.replace(PLAN, hours=0.05, settings=settings))
    assert found.error == ""
    (line,) = found.failures
    said = "strategy bad was dropped, on_update raised ValueError: on day three (mine.py, line 11)"
    assert line == f"after 0.5 s: {said}"
    assert found.trades


@pytest.mark.parametrize(
    ("trace", "place"),
    [
        (
            f'  File "{OURS}/trader/engine/roster.py", line 3, in x\n  File "/a b/mine.py", line 7, in y\n',
            "mine.py, line 7",
        ),
        (
            f'  File "/a/mine.py", line 7, in y\n  File "{OURS}/markets/units.py", line 9, in z\n',
            "mine.py, line 7",
        ),
        (f'  File "{OURS}/trader/strategies/maker.py", line 5, in y\n', "maker.py, line 5"),
        (f'  File "{OURS}/trader/engine/roster.py", line 3, in x\nNonsense: a list\n', ""),
        ("", ""),
    ],
)
def test_where_a_strategy_failed_is_the_last_line_of_its_own(trace: str, place: str) -> None:
    assert place_of(trace) == (f" ({place})" if place else "")


def test_a_sweep_of_a_market_that_only_moved_equals_decoding_its_json(tmp_path: Path) -> None:
    simulated = Simulated(PLAN, tmp_path)
    state, exchange = simulated.feed.state, simulated.exchange
    for _ in range(24 * 12):
        simulated.step()
    now_ms = exchange.now_ms
    moved = 0
    for ticker, quote in state.quotes.items():
        market = exchange.markets[ticker]
        static, read = decode_market(
            market_json(market, now_ms).encode(),
            series_ticker=market.event.series.ticker,
            as_of_ms=quote.as_of_ms,
            previous=state.markets[ticker],
        )
        if quote.as_of_ms == now_ms:  # an unchanged market was read earlier, including its volume a day ago
            moved += 1
            assert read == quote
            held = msgspec.structs.replace(state.markets[ticker], raw=static.raw)
            assert held == static  # except for the text with the time of the last update
        else:
            assert read.yes_bid_e4 == quote.yes_bid_e4
    assert moved > 5


@pytest.mark.parametrize(
    ("values", "old_ms", "said"),
    [
        (None, 0, "there are no fair values for strategy value: give --set fair_values_file=PATH"),
        ("NOPE", START_MS, "none of the 1 fair values counts: no market is listed that one is of"),
        (
            "",
            START_MS - HOUR_MS,
            "none of the 1 fair values counts: all of listed markets are older than 1 h",
        ),
    ],
)
def test_fair_values_without_effect_are_reported(
    values: str | None, old_ms: int, said: str, tmp_path: Path
) -> None:
    settings = {"strategies": "value"}
    if values is not None:
        ticker = values or next(iter(Exchange(load(None), 60, 3, START_MS, Activity()).markets))
        file = tmp_path / "values.json"
        as_of = datetime.fromtimestamp((START_MS - old_ms) / 1000, UTC).isoformat()
        file.write_text(f'[{{"ticker": "{ticker}", "probability": 0.5, "as_of": "{as_of}"}}]')
        settings["fair_values_file"] = str(file)
    found = run(Plan(seed=3, hours=2 / 60, markets=60, settings=settings))
    assert found.error == ""
    assert [line.partition(": ")[2] for line in found.failures] == [said]


def test_a_run_that_cannot_start_says_why() -> None:
    found = run(msgspec.structs.replace(PLAN, settings={"strategies": "no_such"}))
    assert "KALSHI_BUS_STRATEGIES" in found.error
    assert "\n" not in found.error


def test_within_a_day_what_stood_a_day_ago_needs_no_minutes() -> None:
    activity = Activity(bursts=False)
    one, other = (Exchange(load(None), 100, 5, START_MS, activity, memory=m) for m in (MEMORY, OF_A_DAY))
    for minutes in (20, 60):
        for exchange in (one, other):
            exchange.advance(START_MS + minutes * MINUTE_MS)
        assert one.markets.keys() == other.markets.keys()
        for ticker, market in one.markets.items():
            assert day_ago(market, one.now_ms) == day_ago(other.markets[ticker], other.now_ms)


def test_an_order_asks_the_model_for_more_once_the_exchange_has_amended_it(tmp_path: Path) -> None:
    exchange = Exchange(load(None), 60, 2, START_MS, Activity(bursts=False), memory=OF_A_DAY)
    exchange.ledger.open(ACCOUNT, 1_000_000_000)
    exchange.matching.open(ACCOUNT)
    broker = MatchingBroker(exchange, 500)
    settings = settings_of(PLAN, tmp_path)
    both = Shadowed(broker, PaperBroker(500, risk_limits(settings).leg_age_ms, scan_limits(settings)))
    market = next(one for one in exchange.markets.values() if one.status == ACTIVE and one.ask_e4 > 500)
    order = msgspec.structs.replace(
        intent(1, market.ticker, "yes", 100, 1_000), time_in_force="gtc", valid_until_ms=START_MS + MINUTE_MS
    )
    said: list[AnyOrderEvent] = []

    def pass_to(ms: int) -> int:
        said.extend(both.due(Present(START_MS + ms, ms), lambda _ticker: None, None, 0))
        return both.pairs()[0].wanted_e2

    both.place(order, Present(START_MS, 0))
    pass_to(500)
    both.amend(1, 100, 1_600, Present(START_MS + 500, 500))
    assert pass_to(900) == 1_000
    assert pass_to(1_000) == 1_600
    both.amend(1, 50_000, 9_900, Present(START_MS + 1_000, 1_000))
    assert pass_to(1_500) == 1_600
    assert [type(event) for event in said][-2:] == [Amended, AmendRefused]


def test_the_fill_model_is_compared_with_the_exchange() -> None:
    pairs = list[Pair]()
    for seed in (4, 5):
        plan, told = msgspec.structs.replace(PLAN, seed=seed, hours=0.2, markets=300), list[float]()
        exchange, paper = at_exchange(plan, told.append), on_paper(plan, told.append)
        assert told.count(1.0) == 2
        assert exchange.outcome.failures == paper.failures == []
        assert exchange.outcome.differs == paper.differs == []
        pairs += exchange.pairs
    found = error_of(pairs)
    assert found.orders == len(pairs) > 10
    assert found.same + found.model_more + found.model_less == pytest.approx(1.0)
    # What rivals take while an order is on its way, the paper broker has heard before it arrives.
    assert error_of([pair for pair in pairs if pair.group == "taking"]).same > 0.97
    # From public trades it knows when the queue before a resting order has been filled.
    resting = [pair for pair in pairs if pair.group == "resting"]
    assert len(resting) > 20
    assert error_of(resting).same > 0.95


# -- the broker


class Bench:
    """A broker, an exchange, and what the broker has reported."""

    def __init__(self) -> None:
        self.exchange = Exchange(load(None), 100, 5, 1_790_000_000_000, Activity(rivals=False))
        self.exchange.ledger.open(ACCOUNT, 1_000_000_000)
        self.exchange.matching.open(ACCOUNT)
        self.broker = MatchingBroker(self.exchange, 500)
        self.exchange.matching.listeners.append(self.broker)
        self.steady_ms = 0
        self.told: list[AnyOrderEvent] = []

    @property
    def present(self) -> Present:
        return Present(self.exchange.now_ms, self.steady_ms)

    def pass_ms(self, ms: int) -> None:
        self.steady_ms += ms
        self.exchange.advance(self.exchange.now_ms + ms)
        self.told += self.broker.due(self.present, lambda _ticker: None, None, 0)

    def market(self) -> Market:
        markets = self.exchange.markets.values()
        return next(m for m in markets if m.status == ACTIVE and m.bid_e2 and m.ask_e2 and m.bid_e4 > 1_000)

    def intent(self, number: int, market: Market, price_e4: int, **fields: object) -> Intent:
        own: dict[str, object] = {
            "number": number, "client_order_id": f"order {number}", "trade": number, "strategy": "s",
            "ticker": market.ticker, "event_ticker": market.event_ticker, "series_ticker": "S", "label": "",
            "side": "yes", "price_e4": price_e4, "count_e2": 100, "reserve_e6": 10**8, "fee_type": "",
            "multiplier_e4": 10_000, "created_ms": 0, "valid_until_ms": self.exchange.now_ms + 5_000,
            "epoch": 1, "seq": 1, "edge_e6": 0, "probability": None, **fields,
        }  # fmt: skip
        return Intent(**own)  # type: ignore[arg-type]


def ends(bench: Bench) -> list[tuple[int, OrderState | None]]:
    return [(event.number, event.state) for event in bench.told if isinstance(event, Ended)]


def test_an_order_arrives_after_its_latency_and_takes_what_is_offered() -> None:
    bench = Bench()
    market = bench.market()
    bench.broker.place(bench.intent(1, market, 9_900), bench.present)
    bench.pass_ms(499)
    assert [type(event) for event in bench.told] == [Sent]
    bench.pass_ms(1)
    *_, filled, ended = bench.told
    assert isinstance(filled, Filled)
    assert filled.fill.count_e2 == 100
    assert isinstance(ended, Ended)
    assert ended.state is OrderState.FILLED
    assert bench.exchange.ledger.position_e2((ACCOUNT, 0), market.ticker) == 100


def test_no_is_bought_at_the_price_of_no() -> None:
    bench = Bench()
    market = bench.market()
    bench.broker.place(bench.intent(1, market, 9_900, side="no"), bench.present)
    bench.pass_ms(500)
    (filled,) = [event for event in bench.told if isinstance(event, Filled)]
    assert filled.fill.price_e4 >= 10_000 - market.ask_e4
    assert bench.exchange.ledger.position_e2((ACCOUNT, 0), market.ticker) == -100


def test_a_resting_order_is_amended_partly_filled_and_cancelled() -> None:
    bench = Bench()
    market = bench.market()
    price_e4, matching = market.bid_e4 // 200 * 100, bench.exchange.matching
    bench.broker.place(bench.intent(1, market, price_e4, time_in_force="gtc"), bench.present)
    bench.pass_ms(500)
    assert isinstance(bench.told[-1], Accepted)
    bench.broker.amend(1, price_e4 - 100, 200, bench.present)
    bench.pass_ms(500)
    amended = bench.told[-1]
    assert isinstance(amended, Amended)
    assert (amended.price_e4, amended.count_e2) == (price_e4 - 100, 200)

    order = matching.resting(ACCOUNT)[0]
    matching.take(market, ASK, price_e4 - 100, 10_000_000, bench.exchange.now_ms)
    bench.pass_ms(1)
    got = sum(event.fill.count_e2 for event in bench.told if isinstance(event, Filled))
    assert got == order.filled_e2
    assert all(event.fill.maker for event in bench.told if isinstance(event, Filled))
    bench.broker.cancel(1, bench.present)
    bench.pass_ms(500)
    assert ends(bench) == [(1, OrderState.FILLED if got == 200 else OrderState.CANCELLED)]
    assert not matching.resting(ACCOUNT)


def test_each_order_ends_once_with_its_reason() -> None:
    bench = Bench()
    market = bench.market()
    now_ms = bench.exchange.now_ms
    bench.broker.place(bench.intent(1, market, 100), bench.present)  # nobody sells at a cent
    bench.broker.place(bench.intent(2, market, 9_900, valid_until_ms=now_ms + 499), bench.present)
    gone = bench.intent(3, market, 9_900, ticker="KXGONE")
    bench.broker.place(gone, bench.present)
    rests = bench.intent(4, market, 100, time_in_force="gtc", expires_ms=now_ms + 2_000)
    bench.broker.place(rests, bench.present)
    bench.broker.place(bench.intent(5, market, 9_900, count_e2=10**8), bench.present)
    bench.pass_ms(500)
    bench.pass_ms(3_000)
    states = dict(ends(bench))
    assert states[1] is OrderState.CANCELLED
    assert states[2] is OrderState.EXPIRED
    assert states[3] is OrderState.REJECTED
    assert states[4] is OrderState.EXPIRED
    assert states[5] is OrderState.REJECTED
    assert len(ends(bench)) == 5
    assert bench.broker.next_ms is None


def test_a_cancel_that_comes_too_late_ends_nothing_twice() -> None:
    bench = Bench()
    market = bench.market()
    bench.broker.place(bench.intent(1, market, 9_900), bench.present)
    bench.broker.cancel(1, bench.present)
    bench.pass_ms(500)
    bench.broker.cancel(1, bench.present)
    bench.pass_ms(500)
    assert ends(bench) == [(1, OrderState.FILLED)]
