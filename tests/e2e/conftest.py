"""The stack as real processes, as a user runs it."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support import Process, Runner, eventually

START_S = 30.0


class Stack:
    """Simulator, publisher, snapshot server and dashboard with a run directory and ports of their own."""

    def __init__(
        self, runner: Runner, poll_interval_s: float = 1, stale_after_s: float = 4, markets: int = 150
    ) -> None:
        self.runner = runner
        self.markets = markets
        runner.env |= {
            "KALSHI_BUS_POLL_INTERVAL_S": str(poll_interval_s),
            "KALSHI_BUS_STALE_AFTER_S": str(stale_after_s),
            "KALSHI_BUS_SIM_MARKETS": str(markets),
        }
        self.processes: dict[str, Process] = {}

    def start(self, *names: str) -> None:
        """Start processes by name, in this order."""
        for name in names:
            arguments: tuple[str, ...] = ()
            if name == "simulator":
                arguments = (
                    "--port",
                    str(self.runner.sim_port),
                    "--markets",
                    str(self.markets),
                    "--seed",
                    "1",
                )
                arguments += ("--keys", str(self.runner.run_dir))
            self.processes[name] = self.runner.start(name, *arguments)

    def start_all(self) -> None:
        self.start("simulator", "publisher", "snapshot_server", "ui")
        self.wait_health("ok", START_S)
        eventually(
            lambda: self.opportunities().get("total_analyzed", 0) > 0, START_S, "the dashboard analyses"
        )

    @property
    def snapshot_url(self) -> str:
        return f"http://127.0.0.1:{self.runner.snapshot_port}"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.runner.ui_port}"

    @property
    def key_path(self) -> Path:
        return self.runner.run_dir / "sim_private_key.pem"

    def health(self) -> dict[str, Any]:
        health: dict[str, Any] = get(f"{self.snapshot_url}/health")[1]
        return health

    def opportunities(self) -> dict[str, Any]:
        found: dict[str, Any] = get(f"{self.ui_url}/api/opportunities")[1]
        return found

    def simulator_requests(self) -> int:
        requests: int = get(f"http://127.0.0.1:{self.runner.sim_port}/sim/stats")[1]["requests_total"]
        return requests

    def sweeps(self) -> list[dict[str, Any]]:
        """The publisher's `FETCHING FROM KALSHI` events so far."""
        return self.processes["publisher"].events("FETCHING FROM KALSHI")

    def wait_health(self, status: str, timeout_s: float) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            for name, process in self.processes.items():
                if process.popen.poll() not in (None, 0, -9, -15):
                    raise AssertionError(f"{name} ended:\n{process.output()[-4000:]}")
            health = self.health()
            return health if health.get("status") == status else None

        return eventually(reached, timeout_s, f"/health says {status}") or {}


def get(url: str, timeout_s: float = 5) -> tuple[int, Any]:
    """GET and decode JSON (or text); (0, {}) while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            status, kind, body = reply.status, reply.headers.get_content_type(), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            status, kind, body = error.code, error.headers.get_content_type(), error.read()
    except OSError:
        return 0, {}
    return status, json.loads(body) if kind == "application/json" else body.decode()


@pytest.fixture
def stack(runner: Runner) -> Stack:
    return Stack(runner)
