"""Which alerts are sent: each one once, when it begins, even over restarts."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.judging import CLEAR_MS, GONE_MS, HOLDS_MOST, START_MS, Memory, clean, judge
from alerts.seen import Edge, Seen, TraderSeen, Up
from bus.alerting import (
    AnyRule,
    DriftRule,
    EdgeRule,
    FillRule,
    LimitRule,
    PriceRule,
    ProcessRule,
    RefusedRule,
    SettledRule,
    StaleRule,
)
from bus.trading.shapes import SettlementRow, UnknownOrder
from markets.orders import OrderState
from tests.alerts.world import NOW_MS, TICKER, a_health, a_moment, at_bid
from tests.bus.trading.samples import a_fill, a_status, an_order

ABOVE = PriceRule(number=1, ticker=TICKER, at_dollars="0.6000")


class Watch:
    """Judges rules at successive moments, 10 s apart."""

    def __init__(self, *rules: AnyRule) -> None:
        self.rules = rules
        self.memory = Memory()
        self.now_ms = NOW_MS
        self.holds: tuple[str, ...] = ()
        self.problem: str | None = None

    def see(self, later_ms: int = 10_000, **changes: Any) -> list[str]:
        self.now_ms += later_ms
        return self.judge(a_moment(self.now_ms, **changes))

    def judge(self, seen: Seen) -> list[str]:
        verdict = judge(self.rules, seen, self.memory)
        self.holds, self.problem = verdict.rules[self.rules[0].number]
        return [alert.text for alert in verdict.alerts]

    def bid(self, *bids_e4: int) -> list[str]:
        return [text for bid_e4 in bids_e4 for text in self.see(quotes=at_bid(bid_e4))]

    def restart(self) -> None:
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)


def trader(**changes: Any) -> TraderSeen:
    return msgspec.structs.replace(TraderSeen(answers=True, status=a_status()), **changes)


def test_a_price_crossing_is_alerted_once() -> None:
    watch = Watch(ABOVE)
    assert watch.bid(5_900) == []
    assert watch.bid(6_000, 6_100, 6_000) == [f"{TICKER} (Will Vancouver win?): bid of YES is 60c, above 60c"]
    assert len(watch.holds) == 1
    watch.restart()
    assert watch.bid(6_200) == []


def test_a_price_already_beyond_when_the_rule_is_made_has_not_crossed() -> None:
    watch = Watch(ABOVE)
    assert watch.bid(7_000, 8_000) == []
    assert len(watch.bid(5_900, 7_000)) == 1


def test_flickering_at_the_mark_is_alerted_once() -> None:
    watch = Watch(ABOVE)
    assert len(watch.bid(5_900, 6_000, *[5_950, 6_000] * 30)) == 1, "not back by a cent"
    assert watch.bid(5_900) == []
    assert watch.bid(6_000) == [], "back for less than a minute"
    assert watch.bid(*[5_900] * (CLEAR_MS // 10_000 + 1)) == []
    assert len(watch.bid(6_000)) == 1


@pytest.mark.parametrize(
    ("crosses", "at", "before_e4", "beyond_e4"),
    [("above", "0.0500", 100, 600), ("below", "0.9900", 9_990, 9_800), ("below", "0.9500", 9_900, 9_000)],
)
def test_a_margin_beyond_0_or_a_dollar_does_not_silence_a_rule(
    crosses: Literal["above", "below"], at: str, before_e4: int, beyond_e4: int
) -> None:
    rule = PriceRule(number=1, ticker=TICKER, crosses=crosses, at_dollars=at, back_dollars="0.1000")
    watch = Watch(rule)
    assert len(watch.bid(before_e4, beyond_e4)) == 1
    assert watch.bid(*[before_e4] * (CLEAR_MS // 10_000 + 1)) == []
    assert watch.holds == ()
    assert len(watch.bid(beyond_e4)) == 1


def test_without_a_margin_a_price_that_stays_at_its_mark_is_alerted_once() -> None:
    watch = Watch(msgspec.structs.replace(ABOVE, back_dollars="0.0000"))
    assert len(watch.bid(5_900, *[6_000] * 30)) == 1
    assert watch.bid(*[5_999] * (CLEAR_MS // 10_000 + 1)) == []
    assert len(watch.bid(6_000)) == 1


def test_a_falling_price_is_alerted_and_an_empty_side_is_not_a_price() -> None:
    watch = Watch(PriceRule(number=1, ticker=TICKER, of="ask", crosses="below", at_dollars="0.3000"))
    empty = {"yes_ask_size_e2": 0, "yes_ask_e4": 0}
    assert watch.bid(5_000) == []
    assert watch.see(quotes=at_bid(100, **empty)) == []
    assert watch.problem == "no offers"
    assert len(watch.bid(2_700)) == 1


def test_a_gone_market_is_alerted_once_by_name() -> None:
    watch = Watch(ABOVE)
    assert watch.bid(5_000) == []
    assert watch.see(quotes={}, whole=False) == []
    assert watch.see(quotes={}) == []
    assert watch.problem == f"there is no market {TICKER}"
    assert watch.see(GONE_MS, quotes={}) == [f"{TICKER}: this market no longer exists"]
    watch.restart()
    assert watch.see(GONE_MS, quotes={}) == []


def test_time_without_data_does_not_count_towards_a_market_s_absence() -> None:
    watch = Watch(ABOVE)
    assert watch.bid(5_000) == []
    assert watch.see(quotes={}) == []
    watch.restart()
    assert watch.see(10 * GONE_MS, quotes={}, whole=False) == []
    assert watch.holds == ()
    assert watch.see(quotes={}) == [], "the count starts again"
    assert len(watch.see(GONE_MS, quotes={})) == 1
    assert watch.see(CLEAR_MS, quotes={}, whole=False) == []
    assert watch.see(CLEAR_MS, quotes={}, whole=False) == []
    assert watch.see(quotes={}) == []
    assert watch.see(GONE_MS, quotes={}) == [], "it was alerted already: a time without data does not end it"


def test_conditions_beyond_the_limit_wait_and_nothing_is_sent_twice() -> None:
    watch = Watch(EdgeRule(number=1, least_dollars="1.000000"))
    more = HOLDS_MOST + 100
    edges = tuple(Edge(f"E{number}", "KXS", 2_000_000, f"edge {number}") for number in range(more))
    assert len(watch.see(edges=edges)) == HOLDS_MOST
    assert watch.problem is not None
    assert f"{HOLDS_MOST} conditions hold" in watch.problem
    assert watch.see(edges=edges) == []
    assert watch.see(edges=edges[100:]) == []
    assert watch.see(CLEAR_MS, edges=edges[100:]) == [], "the first hundred are over now"
    told = watch.see(edges=edges[100:])
    assert told == [f"edge {number}" for number in range(HOLDS_MOST, more)], "what was left out"
    assert watch.problem is None


def test_a_changed_rule_starts_over_and_one_that_is_off_sends_nothing() -> None:
    watch = Watch(ABOVE)
    assert len(watch.bid(5_000, 6_000)) == 1
    watch.rules = (msgspec.structs.replace(ABOVE, at_dollars="0.5500"),)
    assert watch.bid(6_000) == []
    watch.rules = (msgspec.structs.replace(ABOVE, on=False),)
    assert watch.bid(5_000, 6_000) == []
    watch.rules = (msgspec.structs.replace(ABOVE, note="sell it", urgent=True),)
    assert watch.bid(5_000, 6_000)[0].endswith(" (sell it)")


def edge(event: str, dollars: float) -> Edge:
    return Edge(event, event.split("-", maxsplit=1)[0], round(dollars * 1e6), f"{event} earns {dollars:g}")


def test_edges_are_alerted_once_per_event_and_again_after_they_were_gone() -> None:
    watch = Watch(EdgeRule(number=1, least_dollars="2.000000"))

    def see(*edges: Edge, later_ms: int = 10_000) -> list[str]:
        return watch.see(later_ms, edges=edges)

    assert see(edge("A-1", 3), edge("A-1", 2.5), edge("B-1", 1.9)) == ["A-1 earns 3"]
    assert see(edge("A-1", 2.5), edge("B-1", 2)) == ["B-1 earns 2"]
    assert see(edge("A-1", 1.8), edge("B-1", 1.8)) == [], "less than a fifth below it"
    assert see() == []
    assert see(edge("A-1", 3)) == [], "gone for a moment"
    assert see() == []
    assert see(later_ms=CLEAR_MS) == []
    assert see(edge("A-1", 3)) == ["A-1 earns 3"]
    assert watch.see(edges=(edge("C-1", 9),), health=a_health(stale=True)) == []
    assert watch.problem is not None


def test_edges_of_one_series() -> None:
    watch = Watch(EdgeRule(number=1, least_dollars="2.000000", series="B"))
    assert watch.see(edges=(edge("A-1", 3), edge("B-1", 2))) == ["B-1 earns 2"]


def test_fills_settlements_and_refusals_are_alerted_once_each_and_old_ones_never() -> None:
    watch = Watch(FillRule(number=1), SettledRule(number=2), RefusedRule(number=3))
    settled = SettlementRow(
        id=7, ticker=TICKER, event_ticker="E", side="yes", count_fp="10.00", result="yes",
        value_dollars="1.0000", cost_dollars="4.000000", payout_dollars="10.000000",
        profit_dollars="6.000000", time=1.0,
    )  # fmt: skip
    rejected = an_order(number=5, status=OrderState.REJECTED, reason="insufficient_balance")
    old = trader(fills=(a_fill(id=1),), orders=(an_order(number=4, status=OrderState.REJECTED),))
    assert watch.see(trader=old) == []
    new = trader(
        fills=(a_fill(id=3), a_fill(id=2), a_fill(id=1)),
        settlements=(settled,),
        orders=(rejected, *old.orders),
    )
    told = watch.see(trader=new)
    assert [text.split(":")[0] for text in told] == ["Filled", "Filled", "Settled", "Refused"]
    assert "profit before fees $+6.00" in told[2]
    watch.restart()
    assert watch.see(trader=new) == []
    assert watch.see(trader=trader(answers=False)) == []
    assert watch.problem == "the trader does not answer"
    late = trader(fills=(a_fill(id=4), *new.fills), orders=new.orders, settlements=new.settlements)
    assert len(watch.see(trader=late)) == 1, "what happened while the trader was silent"
    other = trader(status=a_status(journal="another"), fills=(a_fill(id=9),))
    assert watch.see(trader=other) == [], "another journal counts from its present end"


def test_an_unknown_order_is_a_condition_until_its_fate_is_known() -> None:
    watch = Watch(RefusedRule(number=1, ends=True))
    unknown = UnknownOrder(number=8, ticker=TICKER, reason="no_answer", deadline=None)
    (told,) = watch.see(trader=trader(status=a_status(unknown=(unknown,))))
    assert told == f"Unknown: what became of order 8 in {TICKER} is not known: no answer"
    assert watch.see() == []
    assert watch.see(CLEAR_MS) == [f"Over: {told}"]


def test_limits_are_alerted_when_near_and_again_after_there_was_room() -> None:
    watch = Watch(LimitRule(number=1, percent=80))

    def used(share: float) -> list[str]:
        status = a_status()
        use = msgspec.structs.replace(status.use, total=share)
        return watch.see(CLEAR_MS, trader=trader(status=msgspec.structs.replace(status, use=use)))

    assert used(0.79) == []
    assert used(0.80) == ["80 % of the limit in use: total at stake"]
    assert used(0.95) == used(0.75) == used(0.81) == []
    assert used(0.5) == used(0.5) == []
    assert len(used(5.0)) == 1


def test_old_data_a_lost_feed_a_halted_trader_and_missing_data_are_alerted() -> None:
    watch = Watch(StaleRule(number=1, ends=True))
    assert watch.see() == []
    assert watch.see(health=a_health(stale=True, age_ms=31_000)) == ["The data is 31 s old"]
    assert watch.see(health=a_health(stale=True, age_ms=None, feed="lost")) == [
        "Nothing is heard from the publisher"
    ]
    assert watch.see() == []
    assert watch.see(CLEAR_MS) == [
        "Over: The data is of unknown age", "Over: Nothing is heard from the publisher"
    ]  # fmt: skip
    halted = a_status(state="halted", reasons=("halted",), error="disk full")
    assert watch.see(trader=trader(status=halted)) == [
        "The trader is not trading: the journal cannot be written or does not add up (disk full)"
    ]
    assert Watch(StaleRule(number=1)).see(trader=trader(status=a_status(state="paused"))) == []
    nothing = Watch(StaleRule(number=1))
    assert nothing.see(health=a_health(epoch=0), up_ms=START_MS - 1) == []
    assert nothing.see(health=a_health(epoch=0), up_ms=START_MS) == ["There is no data at all"]


def test_processes_that_are_down_or_were_restarted_are_alerted() -> None:
    watch = Watch(ProcessRule(number=1))
    assert watch.see(
        processes={"trader": Up("does not stay up, 3 tries so far: x", 0), "ui": Up(None, 4)}
    ) == ["The trader process does not stay up, 3 tries so far: x"]
    assert watch.see(processes={"trader": Up(None, 1), "ui": Up(None, 5)}) == [
        "The ui process ended by itself and was restarted"
    ]
    watch.restart()
    assert watch.see(processes={"trader": Up(None, 1), "ui": Up(None, 5)}) == []
    assert watch.see(processes=None) == []
    assert watch.problem == "the state of the processes is not known"
    assert watch.see(processes={"ui": Up(None, 0)}) == [], "another supervisord counts from 0"


def test_drift_is_alerted_once_for_good() -> None:
    watch = Watch(DriftRule(number=1))
    drift = {"GET /events x unknown": "GET /events: x: unknown"}
    assert watch.see(drift=drift) == ["Not as documented: GET /events: x: unknown"]
    assert watch.see(drift={}) == []
    assert watch.holds == ()
    assert watch.see(CLEAR_MS, drift=drift) == []


def test_texts_from_outside_become_one_plain_line() -> None:
    assert clean("@everyone\n\u202ebuy\x00 now") == "(at)everyone  buy  now"
    assert len(clean("x" * 10_000)) == 300


def test_the_oldest_drift_no_longer_seen_gives_way_to_new_drift() -> None:
    watch = Watch(DriftRule(number=1))
    watch.see(drift={f"{number}": "x" for number in range(3 * HOLDS_MOST)})
    assert len(watch.memory.rules[1].held) == HOLDS_MOST
    assert watch.see(drift={"new": "x"}) == ["Not as documented: x"]
    assert len(watch.memory.rules[1].held) == HOLDS_MOST


@given(st.lists(st.sampled_from([4_000, 5_900, 5_950, 6_000, 9_000]), max_size=60))
def test_whatever_prices_do_an_alert_needs_a_crossing(bids: Sequence[int]) -> None:
    watch = Watch(ABOVE)
    told_at = []
    for at, bid_e4 in enumerate(bids):
        if watch.bid(bid_e4):
            told_at.append(at)
    for before, after in zip([-1, *told_at], told_at, strict=False):
        assert bids[after] >= 6_000
        assert any(bid_e4 < 6_000 for bid_e4 in bids[before + 1 : after])
        assert before < 0 or after - before > CLEAR_MS // 10_000


@pytest.mark.parametrize("number", range(2))
def test_a_removed_rule_is_forgotten(number: int) -> None:
    watch = Watch(ABOVE, FillRule(number=2))
    watch.bid(5_000)
    gone = watch.rules[number].number
    watch.rules = tuple(rule for rule in watch.rules if rule.number != gone)
    watch.bid(5_000)
    assert gone not in watch.memory.rules
