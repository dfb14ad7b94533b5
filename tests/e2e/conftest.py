"""The stack as real processes, as a user runs it."""

import contextlib
import http.client
import itertools
import json
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pytest
import requests

from bus.ask import ask
from bus.sockets import make_context
from markets.errors import KalshiBusError
from tests.support import Process, Runner, eventually

START_S = 30.0
JOURNAL = "trader-paper-sim-paper.sqlite"


class Stack:
    """The processes with a run directory, a data directory and ports of their own."""

    def __init__(
        self, runner: Runner, poll_interval_s: float = 1, stale_after_s: float = 4, markets: int = 150
    ) -> None:
        self.runner = runner
        self.markets = markets
        runner.env |= {
            "KALSHI_BUS_POLL_INTERVAL_S": str(poll_interval_s),
            "KALSHI_BUS_STALE_AFTER_S": str(stale_after_s),
            "KALSHI_BUS_SIM_MARKETS": str(markets),
            "KALSHI_BUS_LIMIT_PAYOUT_HOURS": "100000",  # with so few markets, few are settled within a day
            "KALSHI_BUS_LIMIT_POSITIONS_PER_EVENT": "1",  # so that trading an event twice is an error
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

    def send_rivals_away(self) -> None:
        """Stop rivals from taking mispricings: on a busy machine they are quicker than the trader."""
        url = f"http://127.0.0.1:{self.runner.sim_port}/sim/faults"
        requests.post(url, json={"settings": {"rivals": False}}, timeout=5).raise_for_status()

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

    def ui_status(self) -> dict[str, Any]:
        """The dashboard's status; empty while it does not answer."""
        status: dict[str, Any] = get(f"{self.ui_url}/api/status")[1]
        return status

    def ask(self, socket: str, op: str, **parameters: Any) -> dict[str, Any]:
        """Ask `state`, `query` or `trader_control`; empty while it cannot answer."""
        context = make_context()
        try:
            answer = ask(
                context, f"ipc://{self.runner.run_dir}/{socket}.sock", {"op": op, "id": 1, **parameters}
            )
            return answer if answer["ok"] else {}
        except KalshiBusError:
            return {}
        finally:
            context.term()

    def trader(self) -> dict[str, Any]:
        """The trader's status; empty while it does not answer."""
        return self.ask("trader_control", "status")

    def trader_command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run ``python -m trader words`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "trader", *words],
            env=self.runner.env,
            cwd=self.runner.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def journal(self) -> "Journal":
        """The content of the trader's journal now."""
        return Journal(self.runner.folder / "data" / JOURNAL)

    def working(self) -> bool:
        """Whether all is well: fresh data, one epoch everywhere, and a trader that may trade."""
        health, status, trader = self.health(), self.ui_status(), self.trader()
        return (
            (health.get("status"), health.get("feed"), health.get("degraded")) == ("ok", "live", [])
            and (status.get("stale"), status.get("feed"), status.get("degraded")) == (False, "live", [])
            and trader.get("state") == "running"
            and health["epoch"] == status["epoch"] == trader["epoch"]
            and self.opportunities().get("total_analyzed", 0) > 0
        )

    def wait_working(self, timeout_s: float = START_S, what: str = "everything works") -> None:
        try:
            eventually(self.working, timeout_s, what)
        except AssertionError:
            print(self.health(), self.ui_status(), self.trader(), sep="\n")
            raise

    def wait_digests_agree(self) -> None:
        """Wait until publisher and snapshot server are at one position, with equal digests."""

        def compared() -> bool:
            ours, theirs = self.ask("query", "digest"), self.ask("state", "digest")
            if not ours or not theirs or (ours["epoch"], ours["seq"]) != (theirs["epoch"], theirs["seq"]):
                return False
            assert ours["digest"] == theirs["digest"]
            return True

        eventually(compared, START_S, "both are at one position")

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


class Journal:
    """The rows of a trader's journal."""

    def __init__(self, path: Path) -> None:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            self.orders = {
                row[0]: row[1:]
                for row in db.execute(
                    "SELECT number, client_order_id, trade, event_ticker, ticker, side, price_e4, count_e2,"
                    " status FROM orders"
                )
            }
            self.fills = db.execute(
                "SELECT id, number, ticker, side, price_e4, count_e2, cost_e6, fee_e6 FROM fills ORDER BY id"
            ).fetchall()
            self.settled = {row[0] for row in db.execute("SELECT ticker FROM settlements")}

    def held(self) -> Counter[tuple[str, str]]:
        """Contracts bought, in hundredths, by (ticker, side), without what has been settled."""
        held: Counter[tuple[str, str]] = Counter()
        for _, _, ticker, side, _, count_e2, _, _ in self.fills:
            if ticker not in self.settled:
                held[ticker, side] += count_e2
        return held

    def assert_continues(self, before: "Journal") -> None:
        """Fail if anything in `before` was lost, changed or repeated."""
        assert self.fills[: len(before.fills)] == before.fills
        for number, order in before.orders.items():
            assert self.orders[number][:-1] == order[:-1]
            assert order[-1] in {"intended", "sent", "partial", self.orders[number][-1]}
        by_event: dict[str, set[int]] = {}
        for _, number, ticker, *_ in self.fills:
            _, trade, event_ticker, *_ = self.orders[number]
            if ticker not in self.settled:
                by_event.setdefault(event_ticker, set()).add(trade)
        assert [trades for trades in by_event.values() if len(trades) > 1] == [], "an event was traded twice"
        for (ticker, side), count_e2 in before.held().items():
            assert ticker in self.settled or self.held()[ticker, side] >= count_e2


class Hammer:
    """Clients that request the same pages without a pause, while inside `with`."""

    def __init__(self, urls: list[str], clients: int = 4) -> None:
        self.statuses: Counter[int] = Counter()
        """Answers by HTTP status; 0 counts failed attempts to connect."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(urls, n)) for n in range(clients)]

    def _run(self, urls: list[str], first: int) -> None:
        for url in itertools.islice(itertools.cycle(urls), first, None):
            status = get(url)[0]
            self.statuses[status] += 1
            if self._stop.wait(0 if status else 0.05):
                return

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def get(url: str, timeout_s: float = 5) -> tuple[int, Any]:
    """GET and decode JSON (or text); (0, {}) while nothing listens."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            status, kind, body = reply.status, reply.headers.get_content_type(), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            status, kind, body = error.code, error.headers.get_content_type(), error.read()
    except (OSError, http.client.HTTPException):  # killed in the middle of its answer
        return 0, {}
    return status, json.loads(body) if kind == "application/json" else body.decode()


@pytest.fixture
def stack(runner: Runner) -> Stack:
    return Stack(runner)
