"""kalshi-bus info, export, tap: what they say of a recording and of the feed."""

import csv
import io
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec
import polars as pl
import pytest
import zmq

from bus.__main__ import _main
from bus.process.settings import Settings
from bus.protocol.messages import decode, schema
from bus.tape.file import Recording
from bus.tape.moments import Moments
from bus.tape.tape import messages
from bus.tools.commands import lines
from markets.records import Candles, Event, Trade
from tests.bus.protocol.examples import the_messages
from tests.bus.tape.recorded import Live, a_day, record_a_day, recording
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

    (segment,) = day.iterdir()
    segment.write_bytes(segment.read_bytes()[:-4_000])
    told = run("info", str(day))
    assert told.code == 1
    assert "good up to byte" in json.loads(told.out)["problem"]


def test_export_is_the_state_and_every_change_a_table_per_kind(
    live: Live, run: Run, day: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for arguments, word in ((("--kind", "hologram"), "hologram"), (("--format", "parquet"), "pip install")):
        refused = run("export", str(day), str(short_dir / "no"), *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert word in refused.err


def test_duckdb_and_polars_read_what_is_exported_in_either_format(
    zmq_context: Context, live: Live, run: Run, short_dir: Path
) -> None:
    path = short_dir / "day.mcap"
    live.do(lambda: live.publisher._streamed("ref.", "event", ODD))
    record_a_day(zmq_context, live, path)
    for format_ in ("csv", "parquet"):
        told = run("export", str(path), str(short_dir / format_), "--format", format_, "--step", "1")
        assert told.code == 0, told.err
    names = sorted(table.stem for table in (short_dir / "csv").iterdir())
    assert names == sorted(table.stem for table in (short_dir / "parquet").iterdir())
    assert {"book", "event", "market", "quote"} <= set(names)
    for name in names:
        with (short_dir / "csv" / f"{name}.csv").open(newline="") as file:
            columns, *rows = csv.reader(file)
        for format_ in ("csv", "parquet"):
            table = str(short_dir / format_ / f"{name}.{format_}")
            (count,) = duckdb.sql(f"select count(*) from '{table}'").fetchall()[0]
            frame = pl.read_csv(table) if format_ == "csv" else pl.read_parquet(table)
            assert (count, frame.height, frame.columns) == (len(rows), len(rows), columns), table
    table = str(short_dir / "parquet" / "quote.parquet")
    last = duckdb.sql(f"select ticker, arg_max(yes_bid_e4, seq) from '{table}' group by ticker")
    with (short_dir / "csv" / "quote.csv").open(newline="") as file:
        assert dict(last.fetchall()) == {
            row["ticker"]: int(row["yes_bid_e4"])
            for row in sorted(csv.DictReader(file), key=lambda row: int(row["seq"]))
        }
    types = dict(pl.read_parquet_schema(table))
    assert (types["published_time"], types["yes_bid_e4"]) == (pl.Datetime("ms", "UTC"), pl.Int64())
    events = pl.read_parquet(short_dir / "parquet" / "event.parquet")
    assert ODD.title in events["title"].to_list()


ODD = Event("E", "A", 'a "quote", a\nline, \u20ac and \u0000', "", "", True, None, None, None, 0, b"{}")


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


CANDLE = {
    "end_period_ts": 1_790_000_400,
    "yes_bid": dict.fromkeys(("open_dollars", "high_dollars", "low_dollars", "close_dollars"), "0.4500"),
    "yes_ask": dict.fromkeys(("open_dollars", "high_dollars", "low_dollars", "close_dollars"), "0.4700"),
    "price": {"open_dollars": None},
    "volume_fp": "12.50",
}


def test_candles_are_rows_and_no_table_has_a_column_twice(
    zmq_context: Context, live: Live, run: Run, short_dir: Path
) -> None:
    path = short_dir / "day.mcap"
    raw = json.dumps([CANDLE, {"end_period_ts": None, "yes_bid": 7}]).encode()
    candles = Candles("A-1-X", START_MS, 3_600, raw), Candles("A-1-Y", START_MS, 3_600, b"{}")
    live.do(lambda: live.publisher._streamed("md.A.", "candles", candles[0]))
    live.do(lambda: live.publisher._streamed("md.A.", "candles", candles[1]))
    trade = Trade("t", "A-1-X", 4_500, 100, "yes", START_MS + 7)
    live.do(lambda: live.publisher._streamed("md.A.", "trade", trade))
    record_a_day(zmq_context, live, path)
    assert run("export", str(path), str(short_dir)).code == 0

    for table in short_dir.glob("*.csv"):
        header, *rows = csv.reader(io.StringIO(table.read_text()))
        assert len({*header}) == len(header)
        assert not [name for name in header if name.endswith("_ms")], "times are written as such"
        assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", row[0]) for row in rows)
    with (short_dir / "candles.csv").open(newline="") as file:
        candle, odd, unread = csv.DictReader(file)
    assert candle["end_time"] == "2026-09-21T14:20:00Z"
    assert (candle["yes_bid_close_e4"], candle["yes_ask_low_e4"]) == ("4500", "4700")
    assert (candle["price_open_e4"], candle["volume_e2"], candle["open_interest_e2"]) == ("", "1250", "")
    assert {odd["end_time"], unread["end_time"], odd["yes_bid_open_e4"]} == {""}
    assert (odd["ticker"], unread["ticker"]) == ("A-1-X", "A-1-Y")


def test_a_mistyped_market_or_file_is_said(run: Run, day: Path, short_dir: Path) -> None:
    told = run("export", str(day), str(short_dir / "tables"), "--market", "NO-1")
    assert (told.code, told.out, told.err) == (1, "", f"{day}: nothing that was asked for is in it\n")
    told = run("info", str(short_dir / "no"))
    assert (told.code, told.err) == (2, f"info: {short_dir / 'no'}: No such file or directory\n")


def test_a_publisher_that_is_no_replay_cannot_be_told_what_to_play(
    run: Run, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALSHI_BUS_STATE", live.state)
    assert run("control", "pause") == (
        2,
        "",
        f"control: {live.state}: a publisher answers there that is no replay\n",
    )


def test_a_part_of_a_recording_is_exported_with_books_at_a_step_and_results(
    live: Live, zmq_context: zmq.Context[Any], run: Run, short_dir: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    path, publisher = short_dir / "day", live.publisher
    with recording(zmq_context, live, path) as recorder:
        for _ in range(20):
            publisher.now_ms += 400
            a_day(live, 3)
        settled = msgspec.structs.replace(
            publisher.writer.state.markets[next(iter(publisher.writer.state.markets))],
            result="yes",
            settlement_value_e4=10_000,
        )
        live.do(lambda: publisher._streamed(publisher.topic(settled.ticker), "market", settled))
        trade = Trade("t", settled.ticker, 4_500, 100, "yes", START_MS + 7)
        live.do(lambda: publisher._streamed(publisher.topic(settled.ticker), "trade", trade))
        live.do(publisher.heartbeat)
        eventually(lambda: recorder._replica.state.seq == publisher.writer.state.seq)
    recorded = [one for _, one in messages(Recording(path))]
    times = [one.published_ns // 1_000_000 for one in recorded]
    begin_ms, end_ms = times[len(times) // 3], times[2 * len(times) // 3]
    tables = short_dir / "tables"
    span = ("--from", str(begin_ms), "--to", str(end_ms))
    told = run("export", str(path), str(tables), *span, "--step", "1")
    assert told.code == 0, told.err

    state = Moments(Recording(path)).at(begin_ms * 1_000_000).state
    quotes = pandas.read_csv(tables / "quote.csv")
    first = quotes[quotes["seq"] == state.seq]
    assert dict(zip(first["ticker"], first["yes_bid_e4"], strict=True)) == {
        ticker: quote.yes_bid_e4 for ticker, quote in state.quotes.items()
    }
    expected = [
        one.seq
        for one in recorded
        if one.kind == "quote" and one.seq > state.seq and one.published_ns <= end_ms * 1_000_000
        for _ in one.records
    ]
    assert quotes[quotes["seq"] > state.seq]["seq"].tolist() == expected
    books = pandas.read_csv(tables / "book_at.csv")
    moments = Moments(Recording(path))
    for time, rows in books.groupby("time"):
        then = moments.at(int(pandas.Timestamp(time).timestamp() * 1_000) * 1_000_000).state
        levels = {(row.ticker, row.side, row.price_e4, row.count_e2) for row in rows.itertuples()}
        assert levels == {
            (book.ticker, side, price_e4, count_e2)
            for book in then.books.values()
            for side, found in (("yes", book.yes), ("no", book.no))
            for price_e4, count_e2 in found
        }
        best = rows[(rows["side"] == "yes") & (rows["level"] == 0)]
        assert all(then.books[row.ticker].yes[-1][0] == row.price_e4 for row in best.itertuples())

    one = run("export", str(path), str(short_dir / "one"), "--market", settled.ticker)
    assert one.code == 0
    for table in (short_dir / "one").glob("*.csv"):
        frame = pandas.read_csv(table)
        if "ticker" in frame and table.stem != "series":
            assert set(frame["ticker"]) == {settled.ticker}, table
    result = pandas.read_csv(short_dir / "one" / "result.csv")
    assert result[["ticker", "result", "settlement_value_e4"]].values.tolist() == [
        [settled.ticker, "yes", 10_000]
    ]
    assert pandas.read_csv(short_dir / "one" / "trade.csv")["trade_id"].tolist() == ["t"]
    assert settled.series_ticker in set(pandas.read_csv(short_dir / "one" / "series.csv")["ticker"])
    late = run("export", str(path), str(short_dir / "late"), "--from", "2100-01-01")
    assert (late.code, "from: 2100-01-01" in late.err) == (2, True)


@pytest.mark.parametrize("command", ["record", "forward"])
def test_a_process_has_the_name_of_its_program_in_logs_too(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = (Path(__file__).resolve().parents[3] / "supervisord.conf").read_text()
    program = re.search(rf"\[program:(\w+)]\ncommand=.* -m bus {command}\n", conf)
    assert program is not None
    names: dict[str, int] = {}
    monkeypatch.setattr("bus.__main__.main", lambda process, _run, **_options: names.setdefault(process, 0))
    assert _main([command]) == 0
    assert [*names] == [program[1]]


@pytest.mark.e2e
def test_tap_says_that_the_feed_is_silent_or_only_what_was_asked_for(live: Live, runner: Runner) -> None:
    runner.env |= {"KALSHI_BUS_FEED": live.feed}
    wrong = runner.start("bus", "tap", "md.NOBODY.")
    deaf = runner.start("bus", "tap", env={"KALSHI_BUS_FEED": f"ipc://{runner.folder}/nobody"})

    eventually(lambda: "nothing on 'md.NOBODY.' yet, though the feed is alive" in wrong.output(), 6)
    eventually(lambda: "nothing is heard on ipc://" in deaf.output(), 6)

    assert (wrong.stop(), deaf.stop()) == (0, 0)
    assert wrong.output().count("\n") == deaf.output().count("\n") == 1


@pytest.mark.e2e
def test_to_record_nothing_leaves_no_file_and_says_so(runner: Runner) -> None:
    path = runner.folder / "day.mcap"
    record = runner.start("bus", "record", str(path))
    eventually(lambda: "nothing is heard on ipc://" in record.output(), 8)
    assert record.stop() == 1
    assert "nothing was heard on ipc://" in record.output()
    assert not path.exists()


@pytest.mark.e2e
def test_record_shows_on_a_terminal_how_it_goes(live: Live, runner: Runner) -> None:
    runner.env |= {"KALSHI_BUS_FEED": live.feed, "KALSHI_BUS_QUERY": live.state}
    path = runner.folder / "day.mcap"
    record = runner.start_command(
        ["script", "-qec", f"{sys.executable} -m bus record {path}", "/dev/null"], {"SHELL": "/bin/sh"}
    )
    eventually(lambda: re.search(r"[1-9]\d* messages, \d+\.\d MB, .* kB/s, Ctrl-C ends it", record.output()))
    record.stop()
    assert path.exists()


@pytest.mark.e2e
@pytest.mark.parametrize("command", ["-m bus info DAY", "-m bus --help", "-m bus config", "-m trader --help"])
def test_who_reads_no_further_ends_a_command_quietly(runner: Runner, day: Path, command: str) -> None:
    words = command.replace("DAY", str(day))
    piped = runner.start_command(["sh", "-c", f"{sys.executable} {words} | true; echo $?"])
    assert piped.wait(30) == 0
    assert piped.output() == "0\n"


def test_settings_are_told_with_where_they_came_from_and_without_secrets(
    run: Run, monkeypatch: pytest.MonkeyPatch, short_dir: Path
) -> None:
    (short_dir / "kalshi-bus.toml").write_text("ui_port = 6001\nsnapshot_port = 6002\n")
    monkeypatch.chdir(short_dir)
    monkeypatch.setenv("KALSHI_BUS_UI_PORT", "7001")
    monkeypatch.setenv("KALSHI_API_KEY_ID", "CANARY-0f8fad5b")
    monkeypatch.setenv("KALSHI_BUS_FAIR_VALUES", "odds.py:Odds(token='CANARY', n=3)")
    # Accepted, for they might be a file and a strategy, and yet what nobody may read in a forum.
    key_id, line = (
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "upbXtNaBxuVav7ymGcxftGF05n0kwIveOgLMf2AJRqZ6QrdhHVh2y",
    )
    monkeypatch.setenv("KALSHI_PRIVATE_KEY_PATH", key_id)
    monkeypatch.setenv("KALSHI_BUS_STRATEGIES", f"value,{line}")

    told = run("config")

    assert told.code == 0, told.err
    rows = {row.split()[0]: " ".join(row.split()[1:]) for row in told.out.splitlines()}
    assert rows["ui_port"] == "7001 KALSHI_BUS_UI_PORT (environment)"
    assert rows["snapshot_port"] == "6002 snapshot_port (kalshi-bus.toml)"
    assert rows["sim_port"] == "5003 default"
    assert rows["api_key_id"] == "(15 characters, hidden) KALSHI_API_KEY_ID (environment)"
    assert rows["fair_values"].startswith("odds.py:Odds(token=[redacted], n=3) KALSHI")
    assert rows["strategies"].startswith("value,(a line of a key, 53 characters, hidden) KALSHI")
    assert not {found for found in ("CANARY", key_id, line) if found in told.out}
    assert {*rows} == {*Settings.model_fields}


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
