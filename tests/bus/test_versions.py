"""Readers of the version before, as they were released, read what this version publishes."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.bus.tape.recorded import Live, live
from tests.support import ROOT, child, eventually

__all__ = ["live"]  # a fixture

pytestmark = pytest.mark.slow

VERSIONS = ROOT / "tests/data/versions"

FOLLOWS = """
import random, sys
from bus.clock import SystemClock
from bus.replica import Replica
from bus.sockets import make_context

assert "0.1.0.zip" in __import__("bus").__file__
feed, state = sys.argv[1:]
context = make_context()
replica = Replica(context, feed, state, SystemClock(), random.Random(1))
replica.start()
print("said started", flush=True)
for line in sys.stdin:
    seq = int(line)
    there = replica.wait(lambda r: r.state.epoch and r.state.seq >= seq, 20)
    stats = replica.status().stats
    counts = stats.gaps, stats.digest_mismatches
    print("said", there, replica.state.seq, replica.state.digest(), *counts, flush=True)
replica.stop()
context.term()
"""


def python(*arguments: str, place: Path | None = None) -> AbstractContextManager["subprocess.Popen[str]"]:
    command = [sys.executable, "-P", *arguments]
    env = {**os.environ, "PYTHONPATH": str(place) if place else ""}
    return child(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    """What it says next, its log left out."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith("said "):
            return line.removeprefix("said ").strip()
    return ""


def test_a_replica_of_the_version_before_is_equal_to_a_publisher_of_this_one(live: Live) -> None:
    with python("-c", FOLLOWS, live.feed, live.state, place=VERSIONS / "0.1.0.zip") as old:
        assert old.stdin
        assert said(old) == "started"
        publisher = live.publisher
        for acts in ([publisher.stream] * 50, [publisher.commit], [publisher.stream, publisher.commit] * 20):
            live.do(*acts, publisher.heartbeat)
            state = publisher.writer.state
            old.stdin.write(f"{state.seq}\n")
            old.stdin.flush()
            assert said(old) == f"True {state.seq} {state.digest()} 0 0"
        old.stdin.close()
        assert old.wait(20) == 0


def test_the_ten_lines_of_the_version_before_print_what_is_published(live: Live, short_dir: Path) -> None:
    run = short_dir / ".run"
    run.mkdir()
    # The client of a README has its place in it: the feed of the folder where it is started.
    text = (VERSIONS / "0.1.0-client.py").read_text().replace("ipc://.run/feed.sock", live.feed)
    with python("-c", text) as old:
        heard: list[str] = []

        def hears() -> bool:
            live.do(live.publisher.stream)
            heard.append(str(old.stdout and old.stdout.readline()))
            return "quote" in heard[-1]

        eventually(hears)
        seq, topic, kind, record = heard[-1].split(" ", 3)
        assert (seq.isdigit(), topic.split(".")[0], kind) == (True, "md", "quote")
        assert record.startswith("[")
