"""Wording and bounds of answers to agents."""

import json

import msgspec
import pytest

from agent_server import words
from bus.health import Health, health_of
from bus.protocol.join import ReplicaStatus, Stats
from bus.protocol.messages import CycleEnd
from bus.protocol.state import State

NOW_MS = 1_790_000_000_000


def health(age_ms: int, *, lost: bool = False, live: bool = True, source: str = "live") -> Health:
    state = State(NOW_MS)
    complete_ms = NOW_MS - age_ms
    state.cycle = CycleEnd(
        1, 0, 0, 0, True, complete_ms, complete_ms, as_of_ms=complete_ms, complete_ms=complete_ms
    )
    status = ReplicaStatus(NOW_MS, 7, live, "live", lost, age_ms, (), source, Stats())
    return health_of(state, status, None, NOW_MS, 30_000)


def test_the_age_comes_first_with_warnings_if_stale_a_replay_or_lost() -> None:
    assert words.data_words(health(3_200), NOW_MS) == "data is 3.2 s old"
    stale = words.data_words(health(45_000, lost=True), NOW_MS)
    assert stale.startswith("STALE, do not rely on it: data is 45.0 s old; more than 30 s is stale")
    assert "nothing is heard from the publisher" in stale
    played = words.data_words(health(1_000, source="replay"), NOW_MS)
    assert played.startswith("REPLAY of a recording, at 2026-")
    assert "this is not the present; data is 1.0 s old there" in played
    assert "not the latest" in words.data_words(health(0, live=False), NOW_MS)


def test_before_any_data_no_age_is_given() -> None:
    status = ReplicaStatus(0, 0, False, "joining", False, None, (), "live", Stats())
    assert words.data_words(health_of(None, status, None, NOW_MS, 30_000), NOW_MS) == "there is no data yet"
    unknown = msgspec.structs.replace(health(0), age_ms=None, stale=True)
    assert "of unknown age" in words.data_words(unknown, NOW_MS)


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (-5, "0.0 s"),
        (3_240, "3.2 s"),
        (14 * 60_000, "14 min"),
        (5 * 3_600_000, "5 h"),
        (3 * 86_400_000, "3 d"),
    ],
)
def test_ages_are_written_as_people_say_them(ms: int, said: str) -> None:
    assert words.age_words(ms) == said


def test_text_from_the_exchange_is_one_bounded_line_without_invisible_characters() -> None:
    assert words.text("a\x00b\u202ec\n d") == "a b c d"
    assert words.text(None) == words.text(7) == ""
    assert len(words.text("x" * 10_000)) <= words.TITLE_MAX
    assert words.text("x" * 10_000).endswith("(cut here)")


def test_an_overlong_answer_loses_rows_and_says_how_many() -> None:
    rows = [{"title": "y" * 500, "number": number} for number in range(200)]
    told = words.encoded({"data": "fresh", "rows": rows, "few": [1, 2]})
    assert len(told.encode()) <= words.MAX_BYTES
    answer = json.loads(told)
    assert answer["rows"] == rows[: len(answer["rows"])]
    assert len(answer["rows"]) + answer["left_out"] == 200
    assert answer["few"] == [1, 2]
    assert "error" in json.loads(words.encoded({"text": "z" * 100_000}))
