"""The trials of sources beside a running trader: what markets show, what is kept on disk."""

from pathlib import Path

from bus.protocol.state import State
from bus.protocol.writer import Writer
from markets.records import FairValue
from tests.trader.world import NOW_MS, SERIES, event_of, leg
from trader.fair_values.judge import ROUND_MS, SAVE_MS, Judge, price_of

EVENT = event_of()
AWAY = leg(EVENT, "AWY", (4_000, 10_000), (4_200, 10_000))
TICKER = AWAY.market.ticker
SAYS = [{TICKER: FairValue(TICKER, 0.60, "mine", NOW_MS)}]


def state_of(result: str = "") -> State:
    writer = Writer(NOW_MS)
    seen = leg(EVENT, "AWY", (4_000, 10_000), (4_200, 10_000), result=result)
    topic = f"md.{EVENT.series_ticker}."
    writer.load(
        [
            ("ref.", "series", [SERIES]),
            ("ref.", "event", [EVENT]),
            (topic, "market", [seen.market]),
            (topic, "quote", [seen.quote]),
        ]
    )
    return writer.state


def test_a_source_is_held_against_what_a_market_shows_and_then_against_its_result() -> None:
    judge, state = Judge(None), state_of()
    judge.look(lambda: state, SAYS, NOW_MS, 1)
    assert judge.trials.waiting() == {TICKER}

    judge.look(lambda: state_of("yes"), SAYS, NOW_MS, 2)
    assert judge.trials.waiting() == {TICKER}, "a round has its time"
    judge.look(lambda: state_of("yes"), SAYS, NOW_MS, 1 + ROUND_MS)
    assert judge.trials.verdict("mine").gain.count == 1


def test_what_shows_no_price_or_has_no_known_fee_is_not_called() -> None:
    state = state_of()
    assert price_of(state, TICKER, NOW_MS) is not None
    assert price_of(state, "NO-SUCH", NOW_MS) is None
    assert price_of(Writer(NOW_MS).state, TICKER, NOW_MS) is None


def test_trials_outlive_the_process_and_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path, state = tmp_path / "mine.trials", state_of()
    judge = Judge(path)
    judge.look(lambda: state, SAYS, NOW_MS, SAVE_MS)
    assert Judge(path).trials == judge.trials

    path.write_bytes(b"\xffnothing")
    assert Judge(path).trials.records == {}
    assert (tmp_path / "mine.trials.unread").read_bytes() == b"\xffnothing"


def test_a_directory_that_is_gone_costs_what_is_kept_and_nothing_else(tmp_path: Path) -> None:
    state = state_of()
    judge = Judge(tmp_path / "gone" / "mine.trials")
    judge.look(lambda: state, SAYS, NOW_MS, SAVE_MS)

    assert judge.trials.waiting() == {TICKER}
