"""bus.connect, the example that uses it, and the replay for users' tests."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

import bus
from bus.protocol.answers import Answers
from bus.protocol.messages import encode_map
from bus.tape.file import RecordingWriter
from bus.testing import replay_of
from tests.bus.live import Live
from tests.bus.world import START_MS, Publisher
from tests.support import ROOT, eventually

TICKERS = ("A-1-X", "A-1-Y", "B-1-X")


@pytest.fixture
def live(zmq_context: zmq.Context[Any]) -> Iterator[Live]:
    live = Live(zmq_context)
    yield live
    live.close()


def test_connection_gives_typed_objects_that_follow_the_feed(live: Live) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        assert connection.replica.wait(lambda r: r.status().live, 10)
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
        assert connection.replica.wait(lambda r: r.status().live, 10)
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
