"""A simulator that restarts goes on as the same exchange."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from simulator.floor.exchange import Exchange
from simulator.options import SimulatorOptions, parse
from simulator.universe import templates
from simulator.universe.origin import CATCH_UP, FILE, start_ms

NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture(name="options")
def _options(tmp_path: Path) -> SimulatorOptions:
    return parse(["--keys", str(tmp_path), "--markets", "200", "--seed", "4"])


def test_same_options_soon_after_continue_the_same_exchange(options: SimulatorOptions) -> None:
    assert start_ms(options, NOW_MS) == NOW_MS
    assert start_ms(options, NOW_MS + HOUR_MS) == NOW_MS
    assert start_ms(options, NOW_MS + 2 * HOUR_MS) == NOW_MS


@pytest.mark.parametrize("change", [{"seed": 5}, {"markets": 300}])
def test_other_options_begin_another_exchange(options: SimulatorOptions, change: dict[str, Any]) -> None:
    start_ms(options, NOW_MS)
    other = dataclasses.replace(options, **change)
    assert start_ms(other, NOW_MS + 1) == NOW_MS + 1
    assert start_ms(options, NOW_MS + 2) == NOW_MS + 2


def test_too_long_ago_or_in_the_future_begins_anew(options: SimulatorOptions) -> None:
    start_ms(options, NOW_MS)
    later_ms = NOW_MS + CATCH_UP // options.markets + 1
    assert start_ms(options, later_ms) == later_ms
    assert start_ms(options, later_ms - 1) == later_ms - 1


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"start_ms": "x"}', "\x00\xff"])
def test_damaged_note_begins_anew(options: SimulatorOptions, content: str) -> None:
    (options.keys / FILE).write_text(content)
    assert start_ms(options, NOW_MS) == NOW_MS
    assert start_ms(options, NOW_MS + 1) == NOW_MS


@pytest.mark.slow
def test_made_up_in_one_step_it_has_the_same_markets_and_results() -> None:
    recorded = templates.load()
    lived, resumed = (Exchange(recorded, 200, 4, NOW_MS) for _ in range(2))
    for ms in range(0, HOUR_MS, 60_000):
        lived.advance(NOW_MS + ms)
    lived.advance(NOW_MS + HOUR_MS)
    resumed.advance(NOW_MS + HOUR_MS)
    assert sorted(lived.markets) == sorted(resumed.markets)
    results = [[(t, m.status, m.result) for t, m in sorted(x.markets.items())] for x in (lived, resumed)]
    assert results[0] == results[1]
