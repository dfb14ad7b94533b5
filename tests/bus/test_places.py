"""A place that is taken: one clear line and exit code 2, at once; what is there goes on undisturbed."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus.process.locks import hold_role
from tests.bus.tape.recorded import Live, a_day, following, record_a_day
from tests.bus.world import START_MS, Publisher
from tests.support import Process, Runner

pytestmark = pytest.mark.e2e

Context = zmq.Context[Any]


@pytest.fixture
def live(zmq_context: Context, short_dir: Path) -> Iterator[Live]:
    live = Live(zmq_context, short_dir, Publisher(START_MS, random.Random(7), ("A-1-X", "B-1-X")))
    yield live
    live.close()


def assert_refused(process: Process, *words: str) -> None:
    assert process.wait(30) == 2
    said = [line for line in process.output().splitlines() if not line.startswith("{")]
    assert len(said) == 1, process.output()
    for word in words:
        assert word in said[0]


@pytest.mark.parametrize(
    ("process", "name", "of"),
    [
        ("publisher", "feed", "feed"),
        ("publisher", "state", "feed"),
        ("snapshot_server", "query", "state"),
        ("trader", "trader_events", "feed"),
    ],
)
def test_ipc_endpoint_of_another_is_refused_and_its_subscribers_stay(
    zmq_context: Context, live: Live, runner: Runner, process: str, name: str, of: str
) -> None:
    """Another run directory, so that no lock is in the way: ZeroMQ would bind without a word."""
    taken = getattr(live, of)
    with following(zmq_context, live.feed, live.state) as replica:
        assert replica.wait(lambda r: r.status().live, 30)
        second = runner.start(process, env={f"KALSHI_BUS_{name.upper()}": taken})
        assert_refused(second, f"{name}: {taken} is in use", f"KALSHI_BUS_{name.upper()}")
        live.do(live.publisher.commit)
        seq = live.publisher.writer.state.seq
        assert replica.wait(lambda r: r.state.seq == seq, 30)
        with following(zmq_context, live.feed, live.state) as late:
            assert late.wait(lambda r: r.status().live and r.state.epoch == START_MS, 30)
        assert replica.status().stats.gaps == 0


def test_tcp_port_of_a_stranger_is_refused(runner: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        feed = f"tcp://127.0.0.1:{stranger.getsockname()[1]}"
        assert_refused(runner.start("publisher", env={"KALSHI_BUS_FEED": feed}), feed, "KALSHI_BUS_FEED")


def test_file_at_an_ipc_path_is_refused_and_kept(runner: Runner) -> None:
    runner.run_dir.mkdir(mode=0o700)
    path = runner.run_dir / "feed.sock"
    path.write_text("precious")
    assert_refused(runner.start("publisher"), str(path), "is not a socket", "KALSHI_BUS_FEED")
    assert path.read_text() == "precious"


def test_replay_is_refused_while_a_publisher_is_up_and_publishes_nothing(
    zmq_context: Context, live: Live, runner: Runner, short_dir: Path
) -> None:
    path = short_dir / "day.mcap"
    record_a_day(zmq_context, live, path)
    runner.run_dir.mkdir(mode=0o700)
    with hold_role(runner.run_dir, "publisher"):
        assert_refused(runner.start("bus", "replay", str(path)), "publisher already running")
    a_day(live, 3)
    endpoints = {"KALSHI_BUS_FEED": live.feed, "KALSHI_BUS_STATE": live.state}
    assert_refused(runner.start("bus", "replay", str(path), env=endpoints), live.feed, "is in use")


def test_what_cannot_be_recorded_into_or_played_is_refused(
    live: Live, runner: Runner, short_dir: Path
) -> None:
    path = short_dir / "day.mcap"
    path.write_bytes(b"precious")
    started = [
        (runner.start("bus", *arguments), words)
        for arguments, words in (
            (("record", str(path)), (str(path), "exists")),
            (("record", str(short_dir / "no" / "where.mcap")), ("No such file",)),
            (("replay", str(path)), (str(path), "not a recording")),
            (("control", "pause"), ("is a replay running?",)),
        )
    ]
    for process, words in started:
        assert_refused(process, *words)
    assert path.read_bytes() == b"precious"
