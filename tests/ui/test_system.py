"""What the system page shows of processes, arrivals and logs."""

import json
import os
from pathlib import Path

import pytest

from bus.process.locks import hold_role
from bus.process.supervised import Supervised
from markets.errors import BadRecord
from ui.system import LINES, SAMPLES, Arrivals, LogFilter, log_lines, parse_log_filter, process_rows

MS = 1_000_000
DAY = "2026-11-25T16:00:"


def test_ages_are_of_the_last_minute() -> None:
    arrivals = Arrivals()
    assert arrivals.ages(0).p50_ms is None
    arrivals.add(0, -900 * MS)  # old by the time of the question
    for number in range(100):
        arrivals.add(60_001 * MS, (60_001 - number) * MS)
    found = arrivals.ages(60_001 * MS)
    assert (found.count, found.p50_ms, found.p99_ms) == (100, 50.0, 99.0)
    for _ in range(SAMPLES + 1):
        arrivals.add(60_001 * MS, 60_001 * MS)
    assert arrivals.ages(60_001 * MS).count == SAMPLES


def test_a_process_started_by_hand_is_seen_by_its_place(tmp_path: Path) -> None:
    with hold_role(tmp_path, "trader"):
        rows = {row.name: row for row in process_rows(tmp_path, None)}
    assert (rows["trader"].state, rows["trader"].pid) == ("by hand", os.getpid())
    assert (rows["trader"].descriptors or 0) > 2
    assert (rows["trader"].memory_bytes or 0) > 1_000_000
    assert rows["trader"].uptime_seconds is not None
    assert (rows["ui"].state, rows["ui"].pid, rows["ui"].sign) == ("not running", None, "idle")


def test_what_supervisord_says_is_shown_with_its_trouble(tmp_path: Path) -> None:
    supervised = {
        "publisher": Supervised("FATAL", None, None, 2, 9, "is fatal: no key"),
        "simulator": Supervised("STOPPED", None, None, 0, 0, None),
        "ui": Supervised("RUNNING", os.getpid(), 5.0, 1, 0, None),
    }
    rows = {row.name: row for row in process_rows(tmp_path, supervised)}
    assert [(row.state, row.sign) for row in rows.values()] == [
        ("fatal", "bad"), ("stopped", "idle"), ("running", "good"),
    ]  # fmt: skip
    assert (rows["publisher"].trouble, rows["publisher"].restarts) == ("is fatal: no key", 2)
    assert (rows["ui"].uptime_seconds, rows["ui"].restarts) == (5.0, 1)


def line(second: int, level: str, event: str, **rest: object) -> str:
    return json.dumps({"timestamp": f"{DAY}{second:02d}Z", "level": level, "event": event, **rest})


@pytest.fixture(name="logs")
def _logs(tmp_path: Path) -> Path:
    texts = {
        "publisher": [
            line(1, "info", "sweep.done", ms=5),
            line(3, "warning", "odd", error="why"),
        ],
        "trader": [line(2, "debug", "thought"), line(4, "error", "crashed"), "trader: port taken"],
        "ui": ['{"timestamp": "nonsense"}', "\x00\xff<b>"],
    }
    for name, lines in texts.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return tmp_path


def test_lines_of_all_logs_come_newest_first_and_words_that_are_no_json_count_as_errors(logs: Path) -> None:
    found = log_lines(logs, LogFilter())
    assert [one.event for one in found[:4]] == ["trader: port taken", "crashed", "odd", "sweep.done"]
    assert (found[0].level, found[0].process) == ("error", "trader")
    assert found[3].detail == "ms=5"
    assert {one.level for one in log_lines(logs, LogFilter("error"))} == {"error"}
    assert "thought" in {one.event for one in log_lines(logs, LogFilter("debug"))}


def test_lines_are_filtered_by_process_and_words(logs: Path) -> None:
    assert {one.process for one in log_lines(logs, LogFilter(process="publisher"))} == {"publisher"}
    assert [one.event for one in log_lines(logs, LogFilter(q="SWEEP ms"))] == ["sweep.done"]
    assert log_lines(logs / "nothing", LogFilter()) == []


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    with (tmp_path / "ui.jsonl").open("w") as file:
        for number in range(20_000):
            file.write(line(number % 60, "info", f"event{number}") + "\n")
    found = log_lines(tmp_path, LogFilter())
    assert len(found) == LINES
    assert "event19999" in {one.event for one in found}


@pytest.mark.parametrize("pair", [("level", "loud"), ("process", "init"), ("q", "x" * 101), ("nonsense", "")])
def test_a_wrong_filter_is_named(pair: tuple[str, str]) -> None:
    with pytest.raises(BadRecord) as error:
        parse_log_filter([pair])
    assert error.value.field == pair[0]
    assert parse_log_filter([("level", ""), ("q", "x")]) == LogFilter(q="x")
