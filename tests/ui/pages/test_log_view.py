"""The newest lines of the logs, whatever they contain."""

import json
from pathlib import Path

import pytest

from markets.errors import BadRecord
from ui.pages.log_view import LINES, LogFilter, log_lines, parse_log_filter

DAY = "2026-11-25T16:00:"


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


def test_lines_of_all_logs_come_newest_first_and_text_that_is_not_json_counts_as_an_error(logs: Path) -> None:
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


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
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
