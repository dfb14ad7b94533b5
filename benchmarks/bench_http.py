"""HTTP of the snapshot server under full load: 5,000 streamed quotes a second and a commit of 5 % every 2 s.

"Commits of all" is the same with commits of every market, each as soon as the previous one is through.

References in the same run: nginx, if installed, serving the same bytes from a file, and the design that this
replaced, Flask turning dicts into JSON on every request. Neither has a feed to follow meanwhile.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.support import ROOT, free_ports

from .http_load import CONNECTIONS, Load, generator, measure, paced

SIZES: Final = tuple(map(int, os.environ.get("BENCH_SIZES", "1500,20000,130000").split(",")))
WHOLE_S: Final = 0.7
"""Time between two commits of all; more markets take longer."""

WHOLE_MAX: Final = 1_500
"""Nothing here can answer with more markets at once a hundred times a second."""

NAIVE_MAX: Final = 20_000
"""The naive design cannot answer with more markets in the available time."""

PACE: Final = 100.0
"""Requests per second of the paced rows: those of hundreds of tools with one every few seconds."""

SECONDS: Final = float(os.environ.get("BENCH_SECONDS", "1"))


def main() -> None:
    """Measure and print."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    print(__doc__)
    print(f"load by {generator()}, {CONNECTIONS} connections, {SECONDS:g} s each")
    if nginx is None:
        print("nginx is not installed: that reference is left out")
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="kb-") as name:
            _measure_size(size, Path(name), nginx)


def _measure_size(size: int, folder: Path, nginx: str | None) -> None:
    port, nginx_port, naive_port = free_ports(3)
    run_dir = folder / "run"
    run_dir.mkdir(mode=0o700)
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "KALSHI_BUS_RUN_DIR": str(run_dir),
        "KALSHI_BUS_DATA_DIR": str(folder / "data"),
        "KALSHI_BUS_SNAPSHOT_PORT": str(port),
        "KALSHI_BUS_LOG_LEVEL": "warning",
    }
    with contextlib.ExitStack() as stack:
        feeder = stack.enter_context(
            _process(["-m", "benchmarks.feeder", str(run_dir), str(size), "universe"], folder, env)
        )
        stack.enter_context(_process(["-m", "snapshot_server"], folder, env))
        _wait(port, "/health")
        bodies = _save(port, folder)
        idle = measure(port, "/health", SECONDS)
        feeder.send_signal(signal.SIGUSR1)
        time.sleep(1)
        ours = {
            "/health": measure(port, "/health", SECONDS),
            "one market": measure(port, bodies["one market"], SECONDS),
            "450 markets": measure(port, "/markets?limit=450", SECONDS),
            "1,000 markets": measure(port, "/markets?limit=1000", SECONDS),
            "/markets": measure(port, "/markets", SECONDS),
            "/markets gzip": measure(port, "/markets", SECONDS, "gzip"),
            "/markets zstd": measure(port, "/markets", SECONDS, "zstd"),
        }
        alone = measure(port, "/markets", 2 * SECONDS, connections=1)
        calm = {
            name: path
            for name, path in (
                ("/health", "/health"),
                ("one market", bodies["one market"]),
                ("450 markets", "/markets?limit=450"),
                ("/markets", "/markets"),
            )
            if name != "/markets" or size <= WHOLE_MAX
        }
        pace = {name: paced(port, path, 5 * SECONDS, PACE) for name, path in calm.items()}
        tickers = _tickers(folder, round(5 * SECONDS * PACE))
        for name, path in (
            ("each time another market", "/markets?tickers="),
            ("the same as Kalshi answers", "/trade-api/v2/markets/"),
        ):
            pace[name] = paced(port, [path + ticker for ticker in tickers], 5 * SECONDS, PACE)
        beside: dict[str, Load] = {}
        if nginx is not None:
            with _nginx(nginx, nginx_port, folder):
                _wait(nginx_port, "/health")
                beside = {name: paced(nginx_port, "/" + _file_of(name), 5 * SECONDS, PACE) for name in calm}
                crowded = measure(nginx_port, "/" + _file_of("450 markets"), SECONDS)
        with _again(lambda: feeder.send_signal(signal.SIGUSR2), WHOLE_S):
            committed = {
                name: measure(port, path, 3 * SECONDS)
                for name, path in (
                    ("/health", "/health"),
                    ("one market", bodies["one market"]),
                    ("450 markets", "/markets?limit=450"),
                )
            }
    theirs: dict[str, Load] = {}
    if nginx is not None:
        with _nginx(nginx, nginx_port, folder):
            _wait(nginx_port, "/health")
            theirs = {name: measure(nginx_port, "/" + _file_of(name), SECONDS) for name in ours}
    naive: dict[str, Load] = {}
    if size <= NAIVE_MAX:
        arguments = ["-m", "benchmarks.naive", str(naive_port), str(folder / "www/markets")]
        with _process(arguments, folder, env):
            _wait(naive_port, "/health")
            naive["/health"] = measure(naive_port, "/health", SECONDS)
            naive["/markets"] = measure(naive_port, "/markets", SECONDS if size < 10_000 else 4 * SECONDS)

    print(f"\n{size:,} markets; /health with the publisher idle: {_cells(idle)}")
    print(f"/markets, one connection: {_cells(alone)}")
    for name, load in pace.items():
        same = f"; nginx beside the same feed {_cells(beside[name])}" if name in beside else ""
        print(f"{name}, {PACE:g} a second, from when due: {_cells(load)}{same}")
    if beside:
        print(f"nginx beside the same feed, 450 markets flat out: {_cells(crowded)}")
    for name, load in committed.items():
        ratio = f"; p99 {load.p99_ms / idle.p99_ms:.1f} x idle" if name == "/health" else ""
        print(f"{name}, commits of all besides: {_cells(load)}{ratio}")
    heads = "".join(f"{head:^30}" for head in ("ours: 1/s, p50, p99 ms", "nginx", "flask.jsonify"))
    print(f"{'':14}{'body':>10}{'':4}{heads}  ours/nginx")
    for name, load in ours.items():
        reference = theirs.get(name)
        ratio = f"{load.rps / reference.rps:.2f}" if reference is not None and reference.rps else "-"
        length = (folder / "www" / _file_of(name)).stat().st_size
        cells = _cells(load) + _cells(reference) + _cells(naive.get(name))
        print(f"{name:14}{length:>10,}{'':4}{cells}  {ratio:>6}", flush=True)


@contextlib.contextmanager
def _again(action: Callable[[], None], every_s: float) -> Iterator[None]:
    """Repeat something in the background."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            action()
            stop.wait(every_s)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _cells(load: Load | None) -> str:
    return (
        f"{load.rps:>12,.0f}{load.p50_ms:>9.2f}{load.p99_ms:>9.2f}"
        if load is not None
        else f"{'-':>12}{'':18}"
    )


def _file_of(name: str) -> str:
    return name.replace("/", "").replace(" ", "-").replace(",", "")


def _save(port: int, folder: Path) -> dict[str, str]:
    """Save the files for nginx; return the path of the answer with one market."""
    www = folder / "www"
    www.mkdir()
    for name, encoding in (("/markets", "identity"), ("/markets gzip", "gzip"), ("/markets zstd", "zstd")):
        (www / _file_of(name)).write_bytes(_get(port, "/markets", encoding))
    (www / "health").write_bytes(_get(port, "/health"))
    for count in (450, 1_000):
        (www / _file_of(f"{count:,} markets")).write_bytes(_get(port, f"/markets?limit={count}"))
    first = (www / "markets").read_bytes().split(b'"ticker":"', 1)[1].split(b'"', 1)[0].decode()
    one = f"/markets?tickers={first}"
    (www / "one-market").write_bytes(_get(port, one))
    for path in (folder, www):
        path.chmod(0o755)  # nginx's worker is another user
    return {"one market": one}


def _tickers(folder: Path, count: int) -> list[str]:
    """Return tickers of as many markets, spread over all of them, no two the same while there are enough."""
    found = re.findall(rb'"ticker":"([^"]+)"', (folder / "www/markets").read_bytes())
    return [found[number * 7919 % len(found)].decode() for number in range(count)]


def _get(port: int, path: str, encoding: str = "identity") -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept-Encoding": encoding})
    with urllib.request.urlopen(request, timeout=60) as response:
        body: bytes = response.read()
        return body


def _wait(port: int, path: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            _get(port, path)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def _process(arguments: list[str], folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _nginx(binary: str, port: int, folder: Path) -> Iterator[None]:
    """Run nginx with one worker, without logs, on its own configuration."""
    paths = " ".join(
        f"{kind}_temp_path {folder}/nginx-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;"
        "events { worker_connections 256; }"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; {paths}"
        f"default_type application/json; server {{ listen 127.0.0.1:{port}; root {folder}/www; }} }}"
    )
    process = subprocess.Popen([binary, "-c", str(config), "-e", str(folder / "nginx.log")])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
