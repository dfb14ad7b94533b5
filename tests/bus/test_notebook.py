"""bus.connect, the example that uses it, and the replay for users' tests."""

import json
import os
import random
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bus
from bus.notebook import UnknownTopic
from bus.protocol.answers import Answers
from bus.protocol.messages import encode_map
from bus.tape.file import RecordingWriter
from bus.testing import replay_of
from tests.bus.followed import live as live  # noqa: PLC0414  a fixture
from tests.bus.live import Live
from tests.bus.world import START_MS, Publisher
from tests.support import ROOT, eventually

TICKERS = ("A-1-X", "A-1-Y", "B-1-X")


def test_connection_gives_typed_objects_that_follow_the_feed(live: Live) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        assert connection.replica.wait(lambda r: r.status().live, 30)
        ticker = next(iter(live.publisher.home))
        assert connection.market(ticker).ticker == ticker
        assert connection.quote(ticker).yes_bid_e4 == 4_500
        assert connection.book(ticker) is None
        assert len(connection.quotes()) == len(live.publisher.home)
        live.do(live.publisher.commit)
        eventually(lambda: live.agrees(connection.replica))


def test_connection_follows_a_part_only_if_asked(live: Live) -> None:
    with bus.connect("md.A.", feed=live.feed, snapshots=live.state) as connection:
        assert {ticker[0] for ticker in connection.quotes()} == {"A"}


def test_connection_without_anybody_there_says_so(short_dir: Path) -> None:
    nobody = f"ipc://{short_dir}/nobody"
    with pytest.raises(TimeoutError, match="doctor"):
        bus.connect(feed=nobody, snapshots=nobody, timeout_s=0.1)


def test_data_frame_has_a_row_per_market(live: Live) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        assert connection.replica.wait(lambda r: r.status().live, 30)
        live.do(live.publisher.commit)
        eventually(lambda: live.agrees(connection.replica))
        frame = connection.frame()
        assert set(frame.index) == set(connection.quotes()) == set(live.publisher.home)
        for ticker, quote in connection.quotes().items():
            row = frame.loc[ticker]
            assert (row.yes_bid_e4, row.yes_ask_e4, row.volume_e2) == (
                quote.yes_bid_e4,
                quote.yes_ask_e4,
                quote.volume_e2,
            )
            market = connection.market(ticker)
            assert (row.title, row.series_ticker, row.status) == (
                market.title,
                market.series_ticker,
                "active",
            )


def test_data_frame_keeps_integers_where_some_are_not_known(live: Live) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        quotes = connection.replica.state.quotes
        ticker, quote = next(iter(quotes.items()))
        quotes[ticker] = msgspec.structs.replace(quote, last_price_e4=None, volume_e2=10**15)

        frame = connection.frame()

        pandas = import_module("pandas")
        assert pandas.isna(frame.loc[ticker].last_price_e4)
        assert frame.loc[ticker].volume_e2 == 10**15
        integers = [name for name in frame.columns if name.endswith(("_e4", "_e2", "_ms"))]
        assert len(integers) == 14
        assert all(pandas.api.types.is_integer_dtype(frame[name]) for name in integers)
        quotes.clear()
        empty = connection.frame()
        assert {name: empty.dtypes[name] for name in integers} == {
            name: frame.dtypes[name] for name in integers
        }


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_tables_of_each_library_say_the_same(live: Live, library: str) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        quotes = connection.replica.state.quotes
        ticker, quote = next(iter(quotes.items()))
        quotes[ticker] = msgspec.structs.replace(quote, last_price_e4=None, volume_e2=10**15 + 1)
        rows = rows_of(connection.frame(library), library)
        dollars = rows_of(connection.frame(library, dollars=True), library)
        quotes.clear()
        assert rows_of(connection.frame(library), library) == []

    assert {row["ticker"] for row in rows} == {row["ticker"] for row in dollars} == set(live.publisher.home)
    row = next(row for row in rows if row["ticker"] == ticker)
    assert (row["yes_bid_e4"], row["last_price_e4"], row["volume_e2"]) == (4_500, None, 10**15 + 1)
    assert (row["status"], row["title"]) == ("active", "Will it?")
    row = next(row for row in dollars if row["ticker"] == ticker)
    assert (row["yes_bid_dollars"], row["last_price_dollars"], row["yes_bid_size_contracts"]) == (
        0.45,
        None,
        10.0,
    )
    assert row["as_of_ms"] == quote.as_of_ms
    assert not [name for name in row if name.endswith(("_e4", "_e2"))]


def rows_of(frame: Any, library: str) -> list[dict[str, Any]]:
    if library == "pandas":
        pandas = import_module("pandas")
        rows = frame.reset_index().to_dict("records")
        return [{name: None if pandas.isna(value) else value for name, value in row.items()} for row in rows]
    return list(frame.to_dicts() if library == "polars" else frame.to_pylist())


def test_a_library_that_there_is_not_is_refused_with_the_nearest(live: Live) -> None:
    connection = bus.connect(feed=live.feed, snapshots=live.state)
    with connection, pytest.raises(ValueError, match="got 'panda', expected 'pandas'"):
        connection.frame("panda")


def test_it_waits_until_something_is_so(live: Live) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        ticker = next(iter(live.publisher.home))
        seq = connection.state.seq
        live.do(live.publisher.commit)
        connection.wait_for(lambda there: there.state.seq > seq and there.quote(ticker))
        with pytest.raises(TimeoutError, match=r"not within 0\.05 s: there is no 'NO-SUCH' here .*position"):
            connection.wait_for(lambda there: there.quote("NO-SUCH"), 0.05)
        with pytest.raises(ZeroDivisionError):
            connection.wait_for(lambda _there: 1 / 0)


@pytest.mark.parametrize("given", ["md.AA.", "A", "a.", "md.a"])
def test_a_topic_on_which_nothing_is_said_is_refused_with_the_nearest(live: Live, given: str) -> None:
    with pytest.raises(UnknownTopic, match=rf"topic '{given}': .*Did you mean 'md\.A\.'"):
        bus.connect(given, feed=live.feed, snapshots=live.state)
    with pytest.raises(UnknownTopic, match=r"Market data is on md\.SERIES"):
        bus.connect("md.A.", "quotes of everything", feed=live.feed, snapshots=live.state)


def test_a_topic_that_is_still_to_come_is_followed_if_that_is_meant(live: Live) -> None:
    with bus.connect("md.NEW.", feed=live.feed, snapshots=live.state, missing_ok=True) as connection:
        assert connection.quotes() == {}


def test_a_connection_shows_how_it_stands(live: Live) -> None:
    with bus.connect("md.A.", feed=live.feed, snapshots=live.state) as connection:
        assert connection.replica.wait(lambda r: r.status().live, 30)
        assert re.fullmatch(
            r"<kalshi_bus connection: feed live, age .*, markets 2, books 0, position \d+:\d+, "
            r"topics md\.A\.>",
            repr(connection),
        )
        shown = connection._repr_html_()
        assert "<td style='text-align:left'>md.A.</td>" in shown
    assert repr(connection) == "<kalshi_bus connection: feed closed>"
    connection._topics, connection._closed = ("<script>",), False
    assert "<script>" not in connection._repr_html_()


def test_the_example_notebook_runs(live: Live, short_dir: Path) -> None:
    """Cell by cell, as a notebook does; the last line of a cell is shown."""
    cells = json.loads((ROOT / "examples" / "explore.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code"), "clear them"
    runner = short_dir / "run.py"
    # Nothing moves here, and nobody answers history: what is heard of it is another test's.
    code = [source for source in code if "history_frame" not in source]
    code = [source.replace("timeout_s=15", "timeout_s=0.1") for source in code]
    runner.write_text(CELLS.format(cells=code))
    shown = run_script(live, short_dir, str(runner))
    assert "kalshi_bus connection: feed live" in shown
    assert "yes_bid_dollars" in shown
    assert "Quote(ticker=" in shown


CELLS = """
import ast
names = {{}}
for source in {cells!r}:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        print(repr(value), getattr(value, "_repr_html_", str)())
"""


def run_script(live: Live, folder: Path, *command: str) -> str:
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "KALSHI_BUS_FEED": live.feed,
        "KALSHI_BUS_QUERY": live.state,
        "KALSHI_BUS_RUN_DIR": str(folder / "run"),
    }
    run = subprocess.run(
        [sys.executable, *command],
        env=env, cwd=folder, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_example_runs(live: Live, short_dir: Path) -> None:
    printed = run_script(live, short_dir, str(ROOT / "examples" / "explore.py"), "A")
    assert "2 markets" in printed
    assert "A-1-X" in printed
    assert "yes_bid_e4" in printed, "pandas describes the frame"


def test_what_the_readme_shows_runs(live: Live, short_dir: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- notebook -->\n```python\n(.*?)```\n<!-- /notebook -->", readme, re.DOTALL)
    assert found is not None
    printed = run_script(live, short_dir, "-c", found[1].replace("md.KXNBAGAME.", "md.A."))
    assert "A-1-Y" in printed
    assert "4500" in printed


def test_a_script_that_closes_nothing_ends_and_prints_only_its_own(live: Live, short_dir: Path) -> None:
    script = """
import bus
print(len(bus.connect().quotes()))
"""
    assert run_script(live, short_dir, "-c", script) == f"{len(live.publisher.home)}\n"


def test_a_script_with_a_callback_ends_with_the_callback(live: Live, short_dir: Path) -> None:
    script = """
import threading
import bus
from bus.protocol.state import Changed

def told(update):
    threading.main_thread().join()
    print(update.key)
    found.close()

live = bus.connect()
found = live.on_update(told, "quote")
found.listen([Changed(1, 0, [("quote", ["A-1-X"])])])
"""
    assert run_script(live, short_dir, "-c", script) == "A-1-X\n"


def test_recording_is_replayed_to_a_users_subscriber(short_dir: Path) -> None:
    path = short_dir / "day.mcap"
    publisher = Publisher(START_MS, random.Random(5), TICKERS)
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        answer = Answers(lambda: publisher.writer.state).answer(encode_map({"op": "snapshot"}), 0)
        writer.keyframe(answer, publisher.now_ms * 1_000_000)
        for _ in range(50):
            for frame in publisher.stream() + publisher.commit():
                writer.frame(frame, publisher.now_ms * 1_000_000, 0)
        writer.finish()
    with replay_of(path) as replayed:
        replica = replayed.replica()
        assert replica.state.seq == 0
        replayed.resume()
        replayed.wait_end()
        assert replica.state.digest() == publisher.writer.state.digest()
        assert replica.now_ms() == publisher.now_ms
