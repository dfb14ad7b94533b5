"""docs/trader.md says what the code says."""

import json
import re

import msgspec

from bus.trading import reasons
from bus.trading.killswitch import WORD
from bus.trading.shapes import (
    EquityPoint,
    FillRow,
    OrderRow,
    PositionRow,
    SettlementRow,
    TradeLeg,
    TradeRow,
    TraderStatus,
    told,
)
from tests.trader.docs import DOCS


def table(heading: str) -> dict[str, str]:
    """The first two columns of the table whose first heading is this."""
    rows = DOCS[DOCS.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return {name.strip(" `"): text.strip() for _, name, text, *_ in (row.split("|") for row in rows)}


def test_every_reason_is_explained_as_it_is_on_the_page() -> None:
    assert table("a trade is refused") == reasons.REFUSALS
    assert table("an order ends") == reasons.ENDS
    assert table("what a person asked for is not done") == reasons.NOT_DONE


def test_the_status_that_is_shown_is_one() -> None:
    text = DOCS[DOCS.index("### `status`") :].split("```json\n")[1].split("```")[0]

    shown = json.loads(text)

    status = told({"ok": True, **shown}, TraderStatus)
    assert json.loads(msgspec.json.encode(status)) == shown  # no member is missing or unknown, at any depth


def test_every_member_of_a_row_is_listed() -> None:
    rows = {
        "position": PositionRow,
        "order": OrderRow,
        "fill": FillRow,
        "settlement": SettlementRow,
        "trade": TradeRow,
        "leg of a trade": TradeLeg,
        "point": EquityPoint,
    }

    assert {name: tuple(re.findall(r"`(\w+)`", members)) for name, members in table("row").items()} == {
        name: row.__struct_fields__ for name, row in rows.items()
    }


def test_the_docs_say_the_word() -> None:
    assert WORD in DOCS
