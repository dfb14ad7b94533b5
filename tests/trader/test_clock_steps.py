"""The wall clock is set, both ways and any number of times, while the trader trades."""

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from markets.opportunities import EventView
from markets.units import DAY_MS, HOUR_MS
from tests.trader.stand import Stand
from tests.trader.world import basket
from trader.engine.outputs import Day, Place, decode_outputs
from trader.engine.replay import replay
from trader.journal.reader import Reader

PER_MINUTE = 9
COMMITS = 2
"""So many after the last step it trades again."""

EARLIEST_MS, LATEST_MS = 946_684_800_000, 4_000_000_000_000
YEAR_MS = 365 * DAY_MS

steps = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-5_000, 5_000),
            st.sampled_from([-1, 1, 999, -1_000, -1_001, 3_600_000, -3_600_000, DAY_MS, -DAY_MS]),
            st.integers(-10 * YEAR_MS, 10 * YEAR_MS),
        ),
        st.booleans(),  # whether a commit comes before the next one
        st.integers(1, 40),
    ),
    max_size=5,
)


def offered(stand: Stand, number: int) -> EventView:
    """A basket that can be had now, of markets that are open for some hours yet."""
    now_ms = stand.clock.now_ms()
    view = basket(number, as_of_ms=now_ms)
    markets = tuple(
        msgspec.structs.replace(
            one,
            market=msgspec.structs.replace(
                one.market, close_ms=now_ms + 10 * HOUR_MS, latest_expiration_ms=now_ms + 10 * HOUR_MS
            ),
        )
        for one in view.markets
    )
    return msgspec.structs.replace(view, markets=markets)


@settings(max_examples=10, deadline=None)
@given(steps=steps)
@example(steps=[(3_600_000, True, 1), (-3_600_000, False, 1)])
@example(steps=[(3_600_000, False, 1), (-3_600_000, True, 1)])
@example(steps=[(10 * YEAR_MS, True, 20), (-1_000, False, 20), (-10 * YEAR_MS, False, 1)])
@example(steps=[(DAY_MS, True, 20), (DAY_MS, True, 20), (-3 * DAY_MS, True, 20)])
@example(steps=[(-1, True, 30)] * 8)
def test_after_the_last_step_it_trades_again_and_at_no_time_beyond_its_rates(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, int]]
) -> None:
    stand = Stand(
        tmp_path_factory.mktemp("steps"), env={"KALSHI_BUS_LIMIT_ORDERS_PER_MINUTE": str(PER_MINUTE)}
    )
    number = 1
    stand.commit(offered(stand, number))
    stand.turns(5)
    for step_ms, commits, turns in steps:
        wall_ms = min(max(stand.clock.now_ms() + step_ms, EARLIEST_MS), LATEST_MS)
        stand.clock.set_wall(wall_ms)
        if commits:
            number += 1
            stand.commit(offered(stand, number))
        stand.turns(turns)
    stand.turns(61, ms=1_000)  # whatever was sent is a minute ago: only the clock could hold it up
    before = len(stand.worker.engine.ledger.lots)
    for _ in range(COMMITS):
        number += 1
        stand.commit(offered(stand, number))
        stand.turns(5)
    assert stand.worker.reasons == ()
    assert len(stand.worker.engine.ledger.lots) >= before + 3

    sent: list[int] = []
    days = 0
    reader = Reader(stand.worker.around.journal_path)
    stand.journal.commit()
    for session in reader.sessions():
        for _, taken, body in reader.inputs(session):
            for output in decode_outputs(body):
                days += isinstance(output, Day)
                if isinstance(output, Place):
                    sent.append(taken.steady_ms)
        assert replay(reader.inputs(session)).differs_at is None
    reader.close()
    for at, steady_ms in enumerate(sent):
        assert sum(steady_ms <= other < steady_ms + 60_000 for other in sent[at:]) <= PER_MINUTE
    assert days <= 2, "a clock that is set begins no day"
    stand.close()
