"""What the trader says arrives as it was said, and what is not as it should be is named."""

from typing import Any

import msgspec
import pytest

from bus.protocol.answers import Refusal
from bus.protocol.messages import decode_map, encode_map
from bus.trading.killswitch import Killed
from bus.trading.shapes import (
    CommandAnswer,
    EquityAnswer,
    FairValuesFileStatus,
    FairValuesStatus,
    FillsAnswer,
    KilledStatus,
    OrdersAnswer,
    PositionsAnswer,
    ScanFailure,
    SettlementsAnswer,
    Shape,
    TraderStatus,
    UnevenBasket,
    UnevenLeg,
    told,
)
from markets.errors import DecodeError
from markets.orders import OrderState
from tests.bus.trading.samples import a_fill, a_point, a_position, a_settlement, a_status, an_order

FULL = a_status(
    fair_values=FairValuesStatus(
        file=FairValuesFileStatus(path="/x.csv", values=2, loaded=None, errors=("line 3: no",))
    ),
    uneven=(
        UnevenBasket(
            trade=1,
            strategy="no_basket",
            event_ticker="E",
            tries=4,
            refused=("order_limit",),
            legs=(UnevenLeg(ticker="E-A", side="no", planned_fp="5.00", got_fp="0.00"),),
        ),
    ),
    failures=(ScanFailure(event_ticker="E", part="view", error="ValueError: no"),),
    refusals={"cash": 3},
    killed=KilledStatus(at=None, reason="no access"),
)

SAID: list[Shape] = [
    FULL,
    PositionsAnswer(positions=(a_position(), a_position(side="no", title=None, bid_dollars=None))),
    OrdersAnswer(orders=tuple(an_order(status=state) for state in OrderState)),
    FillsAnswer(fills=(a_fill(),)),
    SettlementsAnswer(settlements=(a_settlement(count_fp="0.00", profit_dollars="-0.000001"),)),
    EquityAnswer(points=(a_point(), a_point(equity_dollars=None, positions_dollars=None))),
    CommandAnswer(state="killed", warning="its reason may be lost"),
]


def over_the_wire(said: Shape, **changes: Any) -> dict[str, Any]:
    sent = encode_map({"ok": True, "id": 1, **msgspec.structs.asdict(said), **changes})
    answer: dict[str, Any] = decode_map(sent, dict[str, Any])
    return answer


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
def test_what_is_said_is_told(said: Shape) -> None:
    assert told(over_the_wire(said), type(said)) == said


def test_members_of_a_later_trader_are_passed_over() -> None:
    assert told(over_the_wire(FULL, moon_phase=0.5), TraderStatus) == FULL


def test_a_member_added_since_may_be_missing() -> None:
    assert told({"ok": True, "state": "running"}, CommandAnswer) == CommandAnswer(state="running")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("positions", "many"),
        ("cash_dollars", "9876.54"),
        ("cash_dollars", 9876.54),
        ("cash_dollars", "=cmd|x"),
        ("equity_dollars", "1" * 16 + ".000000"),
        ("now", float("nan")),
        ("now", float("inf")),
        ("now", -1.0),
        ("started", 1e15),
        ("limits", None),
        ("reasons", "stale"),
        ("refusals", {"cash": "often"}),
        ("killed", {"at": 0.0}),
    ],
)
def test_what_is_not_as_it_should_be_is_named(member: str, value: object) -> None:
    with pytest.raises(DecodeError, match=rf"^TraderStatus: .*{member}"):
        told(over_the_wire(FULL, **{member: value}), TraderStatus)


@pytest.mark.parametrize(
    "change", [{"status": "abandoned"}, {"side": "maybe"}, {"basis": [1]}, {"number": True}]
)
def test_a_row_that_is_not_as_it_should_be_is_named(change: dict[str, Any]) -> None:
    rows = [msgspec.to_builtins(an_order()), msgspec.to_builtins(an_order()) | change]

    with pytest.raises(DecodeError, match=rf"^OrdersAnswer: .*\$\.orders\[1\]\.{next(iter(change))}"):
        told({"ok": True, "orders": rows}, OrdersAnswer)


def test_a_refusal_is_raised_as_one() -> None:
    error = {"code": "not_ready", "message": "the trader is starting", "retry_ms": 250}

    with pytest.raises(Refusal, match="the trader is starting") as raised:
        told({"ok": False, "id": 1, "error": error}, TraderStatus)
    assert (raised.value.code, raised.value.retry_ms) == ("not_ready", 250)


@pytest.mark.parametrize("answer", [{}, {"ok": 1}, {"ok": None}, {"ok": False}, {"ok": False, "error": "no"}])
def test_an_answer_that_is_neither_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="TraderStatus"):
        told(answer, TraderStatus)


def test_a_kill_whose_time_nobody_can_read_has_none() -> None:
    assert KilledStatus.of(None) is None
    assert KilledStatus.of(Killed(1_500, "x")) == KilledStatus(at=1.5, reason="x")
    assert KilledStatus.of(Killed(None, "x")) == KilledStatus(at=None, reason="x")
