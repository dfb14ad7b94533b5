"""Two machines: one with the feed and a forwarder, the other with a key. They are network namespaces."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.clock import SystemClock
from bus.protocol.messages import PublisherHealth
from bus.server import FeedServer
from tests.bus.live import Context, Live
from tests.e2e.namespaces import inside, new_namespace, wire, within
from tests.support import Process, Runner, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CLIENT = """
import json, time, bus
with bus.connect() as connection:
    while True:
        status, state = connection.status(), connection.state
        print(json.dumps([state.epoch, state.seq, state.digest(), status.lost]), flush=True)
        time.sleep(0.1)
"""


class LocalLive(Live):
    """A publisher at the endpoints of a run directory."""

    def __init__(self, context: Context, run_dir: Path) -> None:
        self._run_dir = run_dir
        super().__init__(context, ports=())

    def _bound(self) -> FeedServer:
        # The publisher itself answers snapshots, so no snapshot server is needed.
        feed, query = (f"ipc://{self._run_dir}/{name}.sock" for name in ("feed", "query"))
        return FeedServer(self._context, feed, query, SystemClock(), PublisherHealth)


@pytest.fixture(name="live")
def _live(zmq_context: Context, runner: Runner) -> Iterator[LocalLive]:
    runner.run_dir.mkdir(mode=0o700, exist_ok=True)
    live = LocalLive(zmq_context, runner.run_dir)
    yield live
    live.close()


def keys(runner: Runner, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bus", "keys", *words]
    return subprocess.run(
        command, env=runner.env, cwd=runner.folder, capture_output=True, text=True, timeout=30, check=False
    )


def made(runner: Runner, *words: str) -> str:
    done = keys(runner, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def last(client: Process) -> Any:
    lines = [line for line in client.output().splitlines() if line.startswith("[") and line.endswith("]")]
    return json.loads(lines[-1]) if lines else None


def test_two_machines_and_a_key(runner: Runner, live: LocalLive) -> None:
    here, there = new_namespace(runner), new_namespace(runner)
    address, _ = wire(here, there)
    doors = {
        "KALSHI_BUS_FORWARD_FEED": f"tcp://{address}:5010",
        "KALSHI_BUS_FORWARD_QUERY": f"tcp://{address}:5011",
    }
    elsewhere = {
        "KALSHI_BUS_RUN_DIR": str(runner.folder / "elsewhere"),
        "KALSHI_BUS_DATA_DIR": str(runner.folder / "elsewhere-data"),
        "KALSHI_BUS_FEED": f"tcp://{address}:5010",
        "KALSHI_BUS_QUERY": f"tcp://{address}:5011",
    }

    def at(key: str) -> dict[str, str]:
        return elsewhere | {"KALSHI_BUS_CURVE_KEY": str(runner.folder / f"{key}.key")}

    # Without a key nothing is served or asked.
    refused = inside(runner, here, "-m", "bus", "forward", env=doors)
    assert refused.wait(30) == 2
    assert "nothing is served without CURVE" in refused.output()
    keyless = inside(runner, there, "-m", "bus", "tap", env=elsewhere)
    assert keyless.wait(30) == 2
    assert "reached only with CURVE" in keyless.output()

    assert "colleague.key is made, and colleague is let in" in made(runner, "make", "colleague")
    assert (runner.folder / "colleague.key").stat().st_mode & 0o777 == 0o600
    public = made(runner, "list").split()[1]
    # The other way round: the key is made over there, and only its public half is brought here.
    own = inside(runner, there, "-m", "bus", "keys", "make", "own", "--server", public, env=elsewhere)
    assert own.wait(30) == 0
    assert keys(runner, "allow", "own", own.output().split("'")[1]).returncode == 0

    forwarder = inside(runner, here, "-m", "bus", "forward", env=doors)
    forwarder.wait_event("forward.begins", 30)

    def agrees(client: Process) -> bool:
        state = live.publisher.writer.state
        found = last(client)
        assert client.popen.poll() is None, client.output()
        return bool(found) and found[:3] == [state.epoch, state.seq, state.digest()]

    colleague = inside(runner, there, "-c", CLIENT, env=at("colleague"))
    with_own = inside(runner, there, "-c", CLIENT, env=at("own"))
    for _ in range(10):
        live.do(live.publisher.commit, live.publisher.stream)
    eventually(lambda: agrees(colleague) and agrees(with_own), 30)

    # The wire is cut; what was published meanwhile arrives as one repair.
    subprocess.run(within(here, "ip", "link", "set", "wire0", "down"), check=True)
    eventually(lambda: last(colleague)[3], 10, "the feed is lost")
    for _ in range(10):
        live.do(live.publisher.commit, live.publisher.stream)
    subprocess.run(within(here, "ip", "link", "set", "wire0", "up"), check=True)
    eventually(lambda: agrees(colleague) and agrees(with_own), 30)

    made(runner, "revoke", "colleague")
    forwarder.wait_event("forward.revoked")
    live.do(live.publisher.commit)
    eventually(lambda: agrees(with_own))
    eventually(lambda: last(colleague)[3])
    assert not agrees(colleague)
    assert forwarder.wait_event("curve.refused")["address"] == "10.77.0.2"
    assert "was revoked" in colleague.output()
    assert forwarder.stop(5) == 0
    secret = (runner.folder / "colleague.key").read_text().split('"')[5]
    assert all(secret not in process.output() for process in runner.processes)
