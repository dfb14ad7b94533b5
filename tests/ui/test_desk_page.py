"""What the pages make of what the trader said."""

from typing import Any

import pytest

from ui.desk import Desk
from ui.desk_page import own

MARKET = "KXMLSGAME-26AUG19VANHOU-VAN"


def order(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "number": 7,
        "ticker": MARKET,
        "side": "yes",
        "price_dollars": "0.4100",
        "status": status,
    } | changes


def fill(**changes: Any) -> dict[str, Any]:
    return {"order": 7, "ticker": MARKET, "side": "yes", "price_dollars": "0.4100"} | changes


@pytest.mark.parametrize("ended", ["filled", "partial", "cancelled", "rejected"])
def test_only_an_open_order_bids_on_the_ladder(ended: str) -> None:
    assert own(Desk(orders=[order("open")]), MARKET).levels == {4_100: "bids YES here"}
    assert own(Desk(orders=[order("open", side="no")]), MARKET).levels == {5_900: "bids NO here"}
    assert own(Desk(orders=[order(ended)]), MARKET).levels == {}


def test_an_order_that_ended_with_a_part_marks_where_it_bought() -> None:
    assert own(Desk(orders=[order("partial")], fills=[fill()]), MARKET).levels == {4_100: "bought YES here"}


def test_an_open_order_that_has_a_part_marks_what_it_still_bids() -> None:
    desk = Desk(orders=[order("open")], fills=[fill(price_dollars="0.4000")])

    assert own(desk, MARKET).levels == {4_000: "bought YES here", 4_100: "bids YES here"}
