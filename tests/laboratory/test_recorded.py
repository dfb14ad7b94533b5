"""A run over a recording: recorded time, the paper broker, and notes on what the recording lacks."""

import random
from pathlib import Path

import msgspec
import pytest

from bus.protocol.messages import PublisherHealth
from bus.tape.file import PROFILE, segment_path
from laboratory import figures, report
from laboratory.inputs import digest_of
from laboratory.outcome import Outcome, Plan
from laboratory.recorded import Recorded
from laboratory.runs import run
from markets.orders import Fill
from markets.units import HOUR_MS, MINUTE_MS
from tests.bus.tape.planted import TICKERS, a_recording
from tests.bus.tape.planted import Recorded as Written
from tests.bus.world import Publisher
from tests.support import ROOT
from tests.trader.ledger.builders import intent

DAY = ROOT / "tests" / "data" / "formats" / "v1" / "stack" / "recording.mcap"
BUYS = '''
from markets.orders import Proposal, Wanted
from trader.strategies import Quiet


class Any(Quiet):
    """Buys the cheapest set of an exclusive event, whatever it costs."""

    name = "any"

    def wants(self, event):
        return True

    def on_update(self, update):
        for found in update.opportunities:
            wanted = tuple(Wanted(leg.ticker, leg.side, leg.price_e4, 100) for leg in found.legs)
            return [Proposal(self.name, update.view.event.event_ticker, wanted, 1_000_000, None)]
        return []
'''


def plan(tmp_path: Path) -> Plan:
    mine = tmp_path / "mine.py"
    mine.write_text(BUYS)
    settings = {
        "strategies": f"{mine}:Any",
        "min_edge": "0",
        "limit_payout_hours": "8760",
    }
    return Plan(recording=str(DAY), settings=settings)


def test_a_recording_is_played_in_its_own_time_and_gives_the_same_outcome_again(tmp_path: Path) -> None:
    told = list[float]()
    first, again = run(plan(tmp_path), told.append), run(plan(tmp_path))
    assert first.error == ""
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 50  # each time when something was heard
    assert 60_000 < first.ended_ms - first.began_ms < 120_000
    assert first.refused or first.orders
    again.cpu_s = first.cpu_s
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(first)


def test_a_markout_is_taken_when_it_is_due_not_when_the_equity_is_next_recorded(tmp_path: Path) -> None:
    bench = Recorded(plan(tmp_path), tmp_path)
    notes = bench._notes
    notes.now_ms += 10_000
    order = intent(9_999)
    notes.placed(order)
    notes.filled(order, Fill(5_000, 100, 0, 100, notes.now_ms))
    assert bench.run().markouts


def test_a_folder_of_segments_works_as_a_recording(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    (folder / "00000001.mcap").write_bytes(DAY.read_bytes())
    found = run(msgspec.structs.replace(plan(tmp_path), recording=str(folder)))
    assert (found.error, found.orders) == ("", run(plan(tmp_path)).orders)
    assert digest_of(folder) == digest_of(DAY)


def test_a_part_can_be_played(tmp_path: Path) -> None:
    found = run(msgspec.structs.replace(plan(tmp_path), hours=30 / 3600))
    assert 25_000 < found.ended_ms - found.began_ms <= 30_000


def test_an_invalid_or_truncated_recording_is_reported(tmp_path: Path) -> None:
    whole = DAY.read_bytes()
    path = tmp_path / "x.mcap"
    for body, words in (
        (b"", "not a recording"),
        (b"\x00" * 400, "not a recording"),
        (whole[:300], "no keyframe"),
        (
            whole.replace(f"{PROFILE}1".encode(), f"{PROFILE}9".encode(), 1),
            "recorded in format 9, this build reads",
        ),
    ):
        path.write_bytes(body)
        found = run(Plan(recording=str(path)))
        assert words in found.error, found.error
        assert "\n" not in found.error
    path.write_bytes(whole[: len(whole) * 3 // 4])
    cut = run(Plan(recording=str(path)))
    assert cut.error == ""
    assert any("ends early" in line for line in cut.lacks)
    assert run(Plan(recording=str(tmp_path / "none"))).error


def day_of(path: Path) -> Outcome:
    return run(Plan(recording=str(path)))


def test_a_whole_recording_is_said_to_be_proven_and_lacks_nothing(short_dir: Path) -> None:
    a_recording(short_dir / "day")
    found = day_of(short_dir / "day")
    assert (found.error, found.gap_ms, found.lacks) == ("", 0, [])
    assert found.check.startswith("proven up to number")


def test_a_recorder_or_publisher_that_began_anew_leaves_a_gap_that_is_no_time_earned_over(
    short_dir: Path,
) -> None:
    recorded = Written(short_dir / "day")
    recorded.segment()
    later_ms = recorded.publisher.now_ms + 16 * HOUR_MS
    recorded.publisher = Publisher(later_ms, random.Random(8), TICKERS)
    recorded.publisher.now_ms = later_ms
    recorded.segment()
    recorded.folder.close()
    found = day_of(short_dir / "day")
    assert found.gap_ms == 16 * HOUR_MS
    assert 0 < found.days * 24 < 0.01
    (line,) = found.lacks
    assert line.startswith("1 gap, 16 h of 16 h 2 s in all, the longest 16 h: ")
    (note, of_gap) = figures.report([found], "t", "c").notes
    assert "lasts 1 s" not in note
    assert of_gap.startswith(f"Recording {short_dir}/day: 1 gap, 16 h")


@pytest.mark.parametrize("gap_ms", [16 * HOUR_MS, 45 * MINUTE_MS])
def test_what_a_contract_was_worth_in_a_gap_is_not_known(gap_ms: int, short_dir: Path) -> None:
    recorded = Written(short_dir / "day")
    recorded.segment()
    later_ms = recorded.publisher.now_ms + gap_ms
    recorded.publisher = Publisher(later_ms, random.Random(8), TICKERS)
    recorded.publisher.now_ms = later_ms
    recorded.segment()
    recorded.publisher.now_ms += HOUR_MS
    recorded.segment()
    recorded.folder.close()
    bench = Recorded(Plan(recording=str(short_dir / "day")), short_dir)
    order = intent(1, TICKERS[0])
    bench._notes.placed(order)
    bench._notes.filled(order, Fill(5_000, 100, 0, 100, bench._notes.now_ms))
    found = bench.run().markouts
    assert [(one.minutes, one.more_e4) for one in found] == [(1, None), (10, None), (60, None)]


def test_silence_is_a_gap_too_and_what_the_publisher_missed_is_said(short_dir: Path) -> None:
    recorded = Written(short_dir / "day")
    recorded.segment()
    recorded.publisher.now_ms += 20_000
    recorded.health = PublisherHealth(sweep="failed")
    recorded.segment()
    recorded.folder.close()
    found = day_of(short_dir / "day")
    assert 20_000 <= found.gap_ms < 21_000
    assert [line.partition(",")[0] for line in found.lacks] == ["1 gap", "1 time"]
    assert "its publisher may have missed something at the exchange" in found.lacks[1]


def test_segments_in_a_wrong_order_fail_and_a_missing_one_is_said(short_dir: Path) -> None:
    recorded = Written(short_dir / "day")
    for _ in range(3):
        recorded.segment()
        recorded.publisher.now_ms += 120_000
    recorded.folder.close()
    first, second, third = (segment_path(short_dir / "day", number) for number in (1, 2, 3))
    second.rename(short_dir / "away")
    found = day_of(short_dir / "day")
    assert found.error == ""
    assert "verify says: wrong: segment 2, byte 0: segment 2 is missing" in found.lacks
    assert found.check in report.html(figures.report([found], "t", "c"))
    first.rename(second)
    third.rename(first)
    found = day_of(short_dir / "day")
    assert "its time goes back by 4 min 2 s, so its segments are not in order" in found.error
