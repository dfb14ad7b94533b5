"""Numbers and ids of orders: of one journal, and the same for ever."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from tests.trader.world import JOURNAL_ID
from trader.engine.numbering import Numbering


def test_orders_and_trades_are_counted_apart_from_where_the_journal_ends() -> None:
    numbering = Numbering(JOURNAL_ID, next_order=41, next_trade=7)

    assert [numbering.order()[0], numbering.trade(), numbering.order()[0], numbering.trade()] == [
        41,
        7,
        42,
        8,
    ]


def test_an_order_has_the_same_id_whenever_it_is_numbered_and_another_in_another_journal() -> None:
    other = JOURNAL_ID[:-1] + "2"
    ids = [Numbering(journal, 3).order()[1] for journal in (JOURNAL_ID, JOURNAL_ID, other)]

    assert ids[0] == ids[1] != ids[2]


@given(journal=st.uuids(), number=st.integers(1, 10**9))
def test_an_order_has_the_id_that_uuid5_gives(journal: uuid.UUID, number: int) -> None:
    assert Numbering(str(journal), number).order()[1] == str(uuid.uuid5(journal, str(number)))
