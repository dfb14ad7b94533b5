"""Pages for a trader with something of everything; a misnamed member is an error."""

import re
from typing import Any

import msgspec
import pytest

from bus.trading.killswitch import WORD
from bus.trading.shapes import (
    FlattenStatus,
    KilledStatus,
    LeftPosition,
    QueuedOrder,
    RefusedLeg,
    RefusedTrade,
    UnknownOrder,
)
from markets.orders import OrderState
from tests.bus.trading.samples import (
    EVENT,
    MARKET,
    a_status,
    an_order,
)
from tests.ui.desks import FULL, STATUS, NoSuchMember
from tests.ui.joined import joined, shown
from tests.ui.stage import PAIR
from ui.desk import Desk


def pages(desk: Desk) -> dict[str, str]:
    service, replica = joined()
    client: Any = shown(service, replica, desk)
    client.application.jinja_env.undefined = NoSuchMember
    found = {}
    for path in ("/trader", "/trader?orders=-status&positions=title", f"/m/{MARKET}", f"/e/{EVENT}", "/"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        found[path] = answer.text
    return found


def test_a_locked_basket_shows_what_it_pays_and_an_old_mark_its_age() -> None:
    trader = pages(FULL)["/trader"]

    rows = {row.split('"')[0]: row for row in trader.split('data-key="trade-')[1:]}
    assert ">locked<" in rows["1"]
    assert ">open<" in rows["2"]
    assert "Floor" in trader
    assert "by the result" in trader
    assert re.search(r">old 1\S* ?m", trader)
    assert "by the result, fair value from polls" in trader
    for heading in ("Profit at settlement", "Profit at bid", "Locked in", "Promised"):
        assert heading in trader


def test_a_trade_shows_its_kind_and_source_and_a_corrected_settlement_says_so() -> None:
    said = words(FULL)

    assert "2, value, tidy, polls:" in said
    assert "NO basket 3 legs, trade 1, no_basket: NO VAN 10, NO HOU 10, NO TIE 10 Leg Holds" in said
    assert said.count("yes corrected") == 1


def words(desk: Desk) -> str:
    """The text of the trader's page, without markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", pages(desk)["/trader"]).split())


def test_pages_show_what_the_trader_reports() -> None:
    found = pages(FULL)
    trader, market = found["/trader"], found[f"/m/{MARKET}"]

    assert "ValueError: &lt;no&gt;" in trader
    uneven = "Not evened out now: above the limit for one order, or not enough is offered at the price."
    assert uneven in trader
    assert "Fair values: polls answers (7 values), news fails (1 value)." in trader
    assert "fair.csv line 3 (&lt;X&gt;): probability. 3 of its values are in use." in trader
    assert "<code>news</code> raised an error: ValueError: &lt;odd&gt;. 2 failures so far; 1 of its" in trader
    assert "<code>raises</code> is dropped for the rest of this session" in trader
    assert "on_update failed (ValueError: &lt;odd&gt;)" in trader
    assert "<code>hangs</code> is not loaded: on_timer did not return." in trader
    assert "kalshi-bus trader allow hangs" in trader
    assert "<code>crawls</code> took longer than 50 ms to decide 2 times, 70 ms at most." in trader
    assert 'data-strategy="value"' not in trader
    assert "In pairs" in trader
    assert "1 open order: what became of it is not known." in trader
    assert "trades 3, 5" in trader
    assert "Strategies: value, no_basket." in trader
    assert trader.count("its fate is not known: timeout") == 3  # working orders, its row and its timeline
    assert (
        trader.count("nothing was left at the price when it arrived") == 4
    )  # for the old word and the new one
    assert market.count("its fate is not known: timeout; what it may still cost is reserved") == 1
    assert 'title="not enough cash"' in found["/"]


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_opportunities_explain_themselves_and_fold_away_what_risk_refuses() -> None:
    said = text_of(pages(FULL)["/"])

    assert "Exactly one of these 2 wins. A set costs 94¢ and pays $1 at least: 6¢ a set after fees" in said
    shown, folded = said.split("1 event held or refused by risk: not enough cash (1)")
    assert "New Orleans vs Chicago" in shown
    assert "At most one of these 3 can win. 3 NO cost $1.95, at least 2 pay $1: 5¢ a set" in folded
    assert "At most one of these 3 can win." not in shown


def test_the_page_says_so_if_everything_is_folded_away() -> None:
    rest = RefusedTrade(
        strategy="mine",
        event_ticker=PAIR,
        reason="no_room",
        legs=tuple(RefusedLeg(ticker=f"{PAIR}-{name}", side="yes") for name in ("NOP", "CHI")),
    )
    status = msgspec.structs.replace(STATUS, refused=(*STATUS.refused, rest))
    said = text_of(pages(msgspec.structs.replace(FULL, status=status))["/"])

    assert "Nothing new worth trading now Everything in 2 events is already held or refused by risk." in said
    assert "2 events held or refused by risk:" in said


@pytest.mark.parametrize(
    ("desk", "words"),
    [
        (Desk(), "The trader is not running"),
        (Desk(answers=True), "The trader is starting"),
        (Desk(problem="OrdersAnswer: no"), "The trader gives a faulty answer"),
        (Desk(killed=KilledStatus(at=None, reason="x")), f"kalshi-bus trader resume {WORD}"),
        (Desk(status=STATUS), "The trader does not answer. This is what it last reported."),
        (Desk(status=STATUS, problem="OrdersAnswer: no"), "gives a faulty answer. This is what it last"),
        (Desk(status=STATUS, problem="OrdersAnswer: no"), "OrdersAnswer: no"),
    ],
)
def test_the_page_says_so_if_the_trader_answers_nothing_or_nonsense(desk: Desk, words: str) -> None:
    assert words in pages(desk)["/trader"]


def test_the_page_gets_the_release_word_from_the_server() -> None:
    assert f'data-word="{WORD}"' in pages(Desk())["/trader"]


def test_working_orders_have_their_own_table_with_state_age_and_details() -> None:
    orders = [
        an_order(number=5, status=OrderState.RESTING),
        an_order(number=4, status=OrderState.PARTIAL, filled_fp="4.00"),
        an_order(number=3, status=OrderState.UNKNOWN, reason="timeout"),
        an_order(number=2, status=OrderState.FILLED, reason="complete", ended=1_790_000_000.0),
        an_order(number=1, strategy="manual", attempt=100, side="no", price_dollars="0.6000"),
    ]
    unknown = UnknownOrder(number=3, ticker=MARKET, reason="timeout", deadline=1_790_000_040.0)
    queued = QueuedOrder(number=5, ahead_fp="120.00", as_of=1_789_999_997.0)
    status = a_status(unknown_orders=1, unknown=(unknown,), queues=(queued,))
    page = words(msgspec.structs.replace(FULL, status=status, orders=orders))

    assert "Working orders 4" in page
    assert re.search(
        r"0 of 12 12 41¢ 120 3 s ago resting [\w ]+ resting in the book, nothing filled Cancel", page
    )
    assert re.search(
        r"4 of 12 8 41¢ not known partial [\w ]+ partly filled, the rest is resting in the book Cancel", page
    )
    # Also in the table of all orders.
    assert page.count("its fate is not known: timeout; counts as not placed in") == 2
    assert re.search(r"12 4 8 resting 41¢ [\S]+ partial", page)
    assert "sells 12 YES at 40¢ or better" in page


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("works", "Flattening, round 3: 1 order open, 1 position left."),
        ("left", "The last flattening was not complete; 1 order stayed open."),
    ],
)
def test_a_flattening_shows_its_progress_and_what_is_left(state: Any, said: str) -> None:
    left = LeftPosition(ticker=MARKET, count_fp="10.00", reason="no_depth")
    flatten = FlattenStatus(number=1, state=state, rounds=3, cancelled=1, sent=1, open_orders=1, left=(left,))
    page = words(msgspec.structs.replace(FULL, status=a_status(flatten=flatten)))

    assert said in page
    assert ("10 not sold, not enough is offered at the price" in page) is (state == "left")
