"""A strategy that raises or returns nonsense is dropped by name, and everything else trades on."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from markets.orders import CancelWanted, Fill, Intent, Proposal, Wanted
from markets.records import Event
from tests.trader.engine.makers import placed
from tests.trader.world import NOW_MS, basket, data, event_of, filled, live, settled, start, tick
from trader.engine.engine import Engine
from trader.engine.inputs import RULES, AnyInput
from trader.engine.outputs import AnyOutput, Dropped, Place, Refused, Settled, encode_outputs
from trader.engine.roster import BuiltIn, DroppedStrategy, Roster
from trader.strategies import NoBasket, Quiet, StrategyMaker, Update, proposal


class Odd(NoBasket):
    """Trades like `no_basket` until it does something odd in one of its calls."""

    name = "odd"
    call: str
    deed: Callable[[], Any]
    made = 0

    def __init__(self) -> None:
        super().__init__()
        self.do("its constructor")

    def do(self, call: str) -> Any:
        return self.deed() if call == self.call else None

    def on_start(self, now_ms: int) -> None:
        self.do("on_start")

    def on_update(self, update: Update) -> Sequence[Proposal]:
        odd = self.do("on_update")
        mine = [msgspec.structs.replace(one, strategy=self.name) for one in super().on_update(update)]
        return mine if odd is None else odd

    def on_fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        self.do("on_fill")

    def on_timer(self, now_ms: int) -> Any:
        return self.do("on_timer")


class Maker(msgspec.Struct, frozen=True):
    name: str
    class_: Callable[[], Any]

    def make(self) -> Any:
        return self.class_()


def odd_at(call_: str, deed_: Callable[[], Any]) -> Callable[[str], StrategyMaker]:
    class Here(Odd):
        call = call_
        deed = staticmethod(deed_)

    return lambda text: Maker("odd", Here) if text == "odd" else BuiltIn(text)


def raises(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


def recurse() -> None:
    recurse()


def history() -> list[AnyInput]:
    """Two events to trade in, whose orders fill; the first is paid out."""
    inputs: list[AnyInput] = [start(strategies=("odd", "no_basket")), live(), tick()]
    inputs += [data(basket(1)), data(basket(2), seq=2), tick(NOW_MS + 1_000)]
    return inputs


def play(load: Callable[[str], StrategyMaker]) -> tuple[Engine, list[AnyInput], list[list[AnyOutput]]]:
    engine, inputs = Engine(load), history()
    outputs = [engine.step(taken) for taken in inputs]
    for intent in placed([output for decided in outputs for output in decided]):
        inputs.append(filled(intent, NOW_MS + 1_000))
        outputs.append(engine.step(inputs[-1]))
    for number in (1, 2):
        view = settled(basket(number), "HOM")
        inputs.append(data(view, now_ms=NOW_MS + 2_000, seq=2 + number))
        outputs.append(engine.step(inputs[-1]))
    return engine, inputs, outputs


def flat(outputs: list[list[AnyOutput]], kind: type[Any]) -> list[Any]:
    return [output for decided in outputs for output in decided if isinstance(output, kind)]


CALLS = ("its constructor", "on_start", "on_update", "on_fill", "on_timer")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("deed", "error"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (recurse, "RecursionError"),
        (raises(MemoryError()), "MemoryError"),
        (lambda: sys.exit(0), "SystemExit"),
        (raises(GeneratorExit()), "GeneratorExit"),
    ],
)
def test_what_raises_is_dropped_and_everything_else_trades_on(
    call: str, deed: Callable[[], Any], error: str
) -> None:
    engine, inputs, outputs = play(odd_at(call, deed))

    (dropped,) = flat(outputs, Dropped)
    assert (dropped.strategy, dropped.call, dropped.error) == ("odd", call, error)
    assert engine.roster.dropped["odd"].error.startswith(error)
    (news,) = engine.roster.take_news()
    assert "Traceback" in news.trace or error in news.trace
    assert engine.roster.take_news() == []
    assert list(engine.roster.active) == ["no_basket"]
    # Both events are traded, by whoever is left, and what is held is settled.
    assert {output.intent.event_ticker for output in flat(outputs, Place)} == {
        event_of(number).event_ticker for number in (1, 2)
    }
    assert len(flat(outputs, Settled)) == 6
    assert engine.ledger.positions == {}
    again = Engine(odd_at(call, deed))
    assert [encode_outputs(again.step(taken)) for taken in inputs] == list(map(encode_outputs, outputs))


def test_positions_of_a_dropped_strategy_are_settled() -> None:
    """HOUSE D2 said: a strategy that raises ends the trader."""
    engine, _, outputs = play(odd_at("on_fill", lambda: 1 / 0))

    strategies = [output.intent.strategy for output in flat(outputs, Place)]
    assert strategies == ["odd"] * 6
    assert engine.roster.dropped["odd"].call == "on_fill"
    assert engine.ledger.positions == {}


def a_proposal(**changes: Any) -> Proposal:
    fields: dict[str, Any] = {
        "strategy": "odd",
        "event_ticker": event_of(1).event_ticker,
        "legs": (Wanted(f"{event_of(1).event_ticker}-HOM", "no", 6_000, 100),),
        "edge_e6": 1,
        "probability": None,
    }
    return Proposal(**{**fields, **changes})


def a_leg(**changes: Any) -> Proposal:
    (leg,) = a_proposal().legs
    return a_proposal(legs=(msgspec.structs.replace(leg, **changes),))


class Likewise(int):
    pass


class Alike(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "returned",
    [
        7,
        "text",
        {"a": 1},
        iter(()),
        [None],
        [{"strategy": "odd"}],
        [a_proposal()] * 1_001,
        [a_proposal(strategy="no_basket")],
        [a_proposal(event_ticker=event_of(2).event_ticker)],
        [a_proposal(legs=[Wanted("A", "no", 6_000, 100)])],
        [a_proposal(legs=None)],
        [a_proposal(legs=("A",))],
        [a_proposal(edge_e6=float("nan"))],
        [a_proposal(edge_e6=1.5)],
        [a_proposal(edge_e6=True)],
        [a_proposal(edge_e6=2**120)],
        [a_proposal(probability=float("nan"))],
        [a_proposal(probability=1.5)],
        [a_proposal(probability="0.5")],
        [a_proposal(evens=1)],
        [a_proposal(time_in_force="soon")],
        [a_proposal(time_in_force=[])],
        [a_proposal(time_in_force=Alike("ioc"))],
        [a_proposal(strategy=Alike("odd"))],
        [a_proposal(event_ticker=Alike(event_of(1).event_ticker))],
        [a_proposal(kind="k\udcff")],
        [a_proposal(expires_ms=1.0)],
        [a_leg(ticker=7)],
        [a_leg(ticker="T\ud800")],
        [a_leg(ticker="T" * 201)],
        [a_leg(side="maybe")],
        [a_leg(side=["no"])],
        [a_leg(price_e4=0.6)],
        [a_leg(price_e4=float("inf"))],
        [a_leg(price_e4=Likewise(6_000))],
        [a_leg(count_e2=None)],
        [a_leg(count_e2=-(2**120))],
    ],
)
def test_what_returns_nonsense_is_dropped(returned: object) -> None:
    engine, _, outputs = play(odd_at("on_update", lambda: returned))

    (dropped,) = flat(outputs, Dropped)
    assert (dropped.call, dropped.error) == ("on_update", "trader.engine.roster.Nonsense")
    assert "expected" in engine.roster.dropped["odd"].error
    assert {output.intent.strategy for output in flat(outputs, Place)} == {"no_basket"}


@pytest.mark.parametrize(
    "returned",
    [
        a_proposal(edge_e6=2**70),
        a_proposal(expires_ms=2**54, time_in_force="gtc"),
        a_leg(price_e4=2**63),
        a_leg(count_e2=2**63),
        a_leg(count_e2=-(2**53)),
        a_leg(count_e2=2**53 // 10_000 + 1),
    ],
)
def test_a_number_beyond_anything_real_costs_that_trade_alone(returned: Proposal) -> None:
    engine = Engine(odd_at("on_update", lambda: [returned]))
    engine.step(start(strategies=("odd", "no_basket")))
    engine.step(live())
    outputs = engine.step(data(basket(1)))

    assert not engine.roster.dropped
    assert Refused("odd", event_of(1).event_ticker, "unreal") in outputs
    assert {output.intent.strategy for output in outputs if isinstance(output, Place)} == {"no_basket"}


def test_one_odd_quote_costs_no_built_in_strategy_more_than_its_event() -> None:
    """A size as no exchange has it, in a basket that would pay: the baskets beside it are traded."""
    engine = Engine()
    engine.step(start(strategies=("no_basket", "value")))
    engine.step(live())
    outputs = engine.step(data(basket(1, size_e2=2**62), basket(2)))

    assert not engine.roster.dropped
    assert {out.intent.event_ticker for out in outputs if isinstance(out, Place)} == {
        event_of(2).event_ticker
    }


def test_what_is_only_unwise_risk_refuses() -> None:
    engine = Engine(odd_at("on_update", lambda: [a_leg(price_e4=0), a_leg(ticker="UNKNOWN")]))
    engine.step(start(strategies=("odd",)))
    engine.step(live())

    assert placed(engine.step(data(basket(1)))) == []
    assert engine.roster.dropped == {}
    assert sum(engine.refusals.counts.values()) == 2


def test_a_person_who_ends_the_process_is_no_mistake_of_a_strategy() -> None:
    with pytest.raises(KeyboardInterrupt):
        play(odd_at("on_update", raises(KeyboardInterrupt())))


def test_nobody_can_change_what_others_are_told() -> None:
    class Greedy(Quiet):
        name = "odd"

        def on_update(self, update: Update) -> Sequence[Proposal]:
            update.opportunities.clear()  # type: ignore[attr-defined]
            return []

    engine, _, outputs = play(lambda text: Maker("odd", Greedy) if text == "odd" else BuiltIn(text))

    assert engine.roster.dropped["odd"].error.startswith("AttributeError")
    assert len(flat(outputs, Place)) == 6


class Worst(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Noted(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError


class Leaving(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Worst(), "Worst"),
        (Noted(), "Noted"),
        (Leaving(), "Leaving"),
        (SyntaxError("x", ("file", 2, 3, 4)), "SyntaxError"),  # type: ignore[arg-type]
        (ValueError("\udcff"), "ValueError: \ufffd"),
        (type("Evil", (Exception,), {"__qualname__": "Ev\udcffl"})(), "Ev\ufffdl"),
        (ValueError("x" * 1_000_000), "ValueError: x"),
    ],
    ids=["raises", "notes", "leaves", "syntax", "half", "name", "long"],
)
def test_an_error_that_cannot_be_shown_is_noted_all_the_same(error: Exception, says: str) -> None:
    engine, _, outputs = play(odd_at("on_timer", raises(error)))

    (dropped,) = engine.roster.take_news()
    assert says in dropped.error
    assert len(dropped.trace) <= 10_000
    assert msgspec.json.encode(dropped)
    assert list(map(encode_outputs, outputs))


@pytest.mark.parametrize(("rules", "drops"), [(3, False), (RULES, True)])
def test_a_text_that_is_too_long_drops_its_strategy_unless_the_session_is_of_before(
    rules: int, drops: bool
) -> None:
    def returned() -> list[Proposal]:
        return [a_leg(ticker="T" * 201)]

    engine = Engine(odd_at("on_update", returned))
    for taken in (start(strategies=("odd",), rules=rules), live(), data(basket())):
        engine.step(taken)

    assert bool(engine.roster.dropped) == drops


@pytest.mark.parametrize("event_ticker", ["E\ud800", "E" * 201, Alike("E"), None])
@pytest.mark.parametrize("of", [a_proposal, lambda **said: CancelWanted("odd", number=1, **said)])
def test_what_a_timer_wants_of_no_event_is_nonsense(of: Callable[..., Any], event_ticker: Any) -> None:
    engine, _, outputs = play(odd_at("on_timer", lambda: [of(event_ticker=event_ticker)]))

    assert engine.roster.dropped["odd"].call == "on_timer"
    assert list(map(encode_outputs, outputs))


def test_only_a_class_that_says_it_itself_is_told_of_nothing_that_is_not_tradable() -> None:
    class Below(NoBasket):
        name = "below"

    roster = Roster(lambda text: Maker("below", Below) if text == "below" else BuiltIn(text))
    roster.start(["baskets", "value", "maker", "no_basket"], NOW_MS)
    assert not roster.curious

    roster.start(["below"], NOW_MS)
    assert roster.curious == {"below"}
    roster.drop(DroppedStrategy("below", "on_update", "LookupError", ""))
    assert not roster.curious


# -- what a strategy asks for


class Asking(Quiet):
    """Asks for events of one title, and buys nothing."""

    name = "asking"

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def wants(self, event: Event) -> bool:
        if event.title == "Match 3":
            raise LookupError(event.title)
        return event.title == "Match 2"

    def on_update(self, update: Update) -> Sequence[Proposal]:
        self.told.append(update.view.event.title)
        return [proposal(self.name, found) for found in update.opportunities if found.tradable][:0]


def test_who_fails_when_asked_is_not_asked_again_and_dropped_by_an_input() -> None:
    roster = Roster(lambda _text: Maker("asking", Asking))
    roster.start(["asking"], NOW_MS)
    assert roster.wanting
    assert [roster.wants(event_of(number)) for number in (1, 2)] == [False, True]
    assert roster.take_faults() == []

    assert not roster.wants(event_of(3))
    assert not roster.wants(event_of(2))

    (fault,) = roster.take_faults()
    assert (fault.strategy, fault.call) == ("asking", "wants")
    assert list(roster.active) == ["asking"]
    roster.drop(msgspec.structs.replace(fault, trace=""))
    assert list(roster.active) == []
    assert [output.error for output in roster.take_outputs()] == ["LookupError"]
    (news,) = roster.take_news()
    assert "Match 3" in news.trace


def test_without_anybody_who_asks_nobody_is_asked() -> None:
    roster = Roster()
    roster.start(["no_basket", "value"], NOW_MS)

    assert not roster.wanting


def test_a_timer_set_on_the_strategy_itself_is_heard() -> None:
    heard: list[int] = []

    def make() -> Quiet:
        made = Quiet()
        made.on_timer = heard.append  # type: ignore[method-assign, assignment]
        return made

    roster = Roster(lambda text: Maker(text, make))
    roster.start(["own"], NOW_MS)
    roster.timer(NOW_MS + 1)
    assert heard == [NOW_MS + 1]


class Late(Quiet):
    """Sets its timer when it is started, and raises when it is called."""

    name = "late"

    def on_start(self, now_ms: int) -> None:
        self.on_timer = self.fail  # type: ignore[method-assign]

    def fail(self, now_ms: int) -> None:
        raise LookupError


@pytest.mark.parametrize(("rules", "dropped"), [(2, []), (3, ["late"])])
def test_a_timer_set_in_on_start_is_heard_unless_the_session_is_of_before(
    rules: int, dropped: list[str]
) -> None:
    engine = Engine(lambda _text: Maker("late", Late))
    for taken in (start(strategies=("late",), rules=rules), tick(NOW_MS + 1_000)):
        engine.step(taken)

    assert list(engine.roster.dropped) == dropped
