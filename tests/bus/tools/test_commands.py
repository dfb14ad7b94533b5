"""python -m bus info, export, tap: what they say of a recording and of the feed."""

import csv
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zmq

from bus.__main__ import _main
from bus.protocol.messages import decode, schema
from bus.tape.file import Recording
from bus.tape.tape import messages
from bus.tools.commands import lines
from markets.records import Event
from tests.bus.protocol.test_messages import the_messages
from tests.bus.tape.test_file import Live, record_a_day
from tests.bus.world import START_MS, Publisher
from tests.support import Runner, eventually

Context = zmq.Context[Any]


@pytest.fixture
def live(zmq_context: Context, short_dir: Path) -> Iterator[Live]:
    live = Live(zmq_context, short_dir, Publisher(START_MS, random.Random(7), ("A-1-X", "A-1-Y", "B-1-X")))
    yield live
    live.close()


@pytest.fixture
def day(zmq_context: Context, live: Live, short_dir: Path) -> Path:
    path = short_dir / "day.mcap"
    record_a_day(zmq_context, live, path)
    return path


class Told(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> "Run":
    """Run ``python -m bus`` with these arguments, here."""

    def run(*arguments: str) -> Told:
        capsys.readouterr()
        code = _main(list(arguments))
        return Told(code, *capsys.readouterr())

    return run


Run = Callable[..., Told]


def test_every_kind_of_record_is_printed_with_its_fields() -> None:
    for kind, frame in the_messages().items():
        for line in lines(*decode(frame)):
            printed = json.loads(line)
            fields = schema()["kinds"].get(kind) or schema()[kind]
            assert printed["kind"] == kind
            assert set(printed) >= set(fields), kind


def test_info_counts_what_is_in_it_and_says_where_a_damaged_one_ends(run: Run, day: Path) -> None:
    told = run("info", str(day))
    assert told.code == 0, told.err
    info = json.loads(told.out)
    recorded = [envelope for _, envelope in messages(Recording(day))]
    assert info["messages"] == len(recorded) >= 40
    assert sum(info["records"].values()) == sum(len(one.records) for one in recorded)
    assert (info["epochs"], info["keyframes"], info["problem"]) == ([START_MS], 1, None)
    assert info["end"].startswith("2026-09-")

    day.write_bytes(day.read_bytes()[:-2_000])
    told = run("info", str(day))
    assert told.code == 1
    assert "good up to byte" in json.loads(told.out)["problem"]


def test_export_is_the_state_and_every_change_a_table_per_kind(
    live: Live, run: Run, day: Path, short_dir: Path
) -> None:
    folder = short_dir / "tables"
    told = run("export", str(day), str(folder))
    assert told.code == 0, told.err
    with (folder / "quote.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    recorded = [one for _, one in messages(Recording(day)) if one.kind == "quote"]
    assert [int(row["seq"]) for row in rows if row["seq"] != "0"] == [
        one.seq for one in recorded for _ in one.records
    ]
    assert len([row for row in rows if row["seq"] == "0"]) == 3, "the state it begins with"
    last = {row["ticker"]: row for row in rows}
    for ticker, quote in live.publisher.writer.state.quotes.items():
        assert int(last[ticker]["yes_bid_e4"]) == quote.yes_bid_e4
        assert int(last[ticker]["volume_e2"]) == quote.volume_e2
    assert "raw" not in (folder / "market.csv").read_text().splitlines()[0]

    one = run("export", str(day), str(short_dir / "one"), "--kind", "book")
    assert one.code == 0
    assert [path.name for path in (short_dir / "one").iterdir()] == ["book.csv"]
    for arguments, word in ((("--kind", "hologram"), "hologram"), (("--format", "parquet"), "pip install")):
        refused = run("export", str(day), str(short_dir / "no"), *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert word in refused.err


def test_exported_text_is_no_formula(zmq_context: Context, live: Live, run: Run, short_dir: Path) -> None:
    path = short_dir / "day.mcap"
    evil = Event("E", "A", '=HYPERLINK("http://evil")', "\n=1+1", "-1", True, None, None, None, 0, b"{}")
    live.do(lambda: live.publisher._streamed("ref.", "event", evil))
    record_a_day(zmq_context, live, path)
    assert run("export", str(path), str(short_dir), "--kind", "event").code == 0
    with (short_dir / "event.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["event_ticker"] == "E")
    assert (row["title"], row["sub_title"]) == ('\'=HYPERLINK("http://evil")', "'\n=1+1")
    assert row["category"] == "-1", "a number stays one"


@pytest.mark.e2e
def test_tap_prints_a_line_a_record_of_what_is_asked_for(live: Live, runner: Runner) -> None:
    runner.env |= {"KALSHI_BUS_FEED": live.feed}
    tap = runner.start("bus", "tap", "md.A.", "hb.")
    eventually(lambda: '"kind": "heartbeat"' in tap.output())
    live.do(live.publisher.commit, live.publisher.commit)
    eventually(lambda: '"kind": "quote"' in tap.output())
    assert tap.stop() == 0
    for line in tap.output().splitlines():
        told = json.loads(line)
        assert told["topic"] in ("md.A.", "hb.")
        assert told["epoch"] == START_MS
        if told["kind"] == "quote":
            assert told["ticker"] in ("A-1-X", "A-1-Y")
            assert isinstance(told["yes_bid_e4"], int)


@pytest.mark.e2e
def test_tap_ends_quietly_when_its_reader_goes(live: Live, runner: Runner) -> None:
    runner.env |= {"KALSHI_BUS_FEED": live.feed}
    piped = runner.start_command(["sh", "-c", f"{sys.executable} -m bus tap hb. | head -n 2"])
    assert piped.wait(30) == 0
    lines = piped.output().splitlines()
    assert len(lines) == 2, piped.output()
    assert all(json.loads(line)["kind"] == "heartbeat" for line in lines)
