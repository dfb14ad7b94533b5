"""The cost of the dashboard for its machine and its users, with a publisher at the simulator's pace.

Paint: from the click until the first content of a page is on the screen, the median of 5 in a fresh browser.
Search: the server's time over 300 consecutive searches. Tab: `/trader` with 100 orders, one of them new every
two seconds, and 40 moving positions: the bytes sent to it, and the processor use of its main thread. Tabs:
the dashboard's process with ten open pages (`/trader`, `/`, a market, an event and `/explore` in turn).
Crowd: 200 event streams and pages without a screen, while `/health` of the snapshot server and the
dashboard's own status are requested. All of it, including the browser, runs on this machine.
BENCH_PARTS=paint,search,tab,tabs,crowd selects parts.
"""

import asyncio
import gzip
import http.client
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from tests.chromium import launched
from tests.support import Runner, eventually

SIZES: Final = tuple(map(int, os.environ.get("BENCH_SIZES", "20000,130000").split(",")))
TAB_S: Final = float(os.environ.get("BENCH_TAB_S", "30"))
PACE: Final = {20_000: 160.0, 130_000: 1_040.0}
"""Number of markets -> changes per second of a simulated exchange."""

SEARCHES: Final = (
    "bitcoin", "new yo", "will", "boston win", "kxbtc", "trump 2028", "temperature 50", "zzz", "a", "up",
    "bitcon", "bostn",
)  # fmt: skip
OTHERS: Final = {
    "/system": "/system",
    "/search": "/search?q=will",
    "/explore": "/explore",
    "spreads": "/explore?show=spreads&category=Sports",
}
CROWD: Final = 200
PARTS: Final = os.environ.get("BENCH_PARTS", "paint,search,tab,tabs,crowd").split(",")


def main() -> None:
    """Measure and print."""
    print(__doc__)
    for size in SIZES:
        with _world(size) as runner, launched() as browser:
            _measure(size, runner, browser)


@contextmanager
def _world(size: int) -> Iterator[Runner]:
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner = Runner(folder)
    runner.run_dir.mkdir(mode=0o700)
    try:
        runner.start("benchmarks.desk_world", str(runner.run_dir), str(size), str(PACE.get(size, 100.0)))
        runner.start("snapshot_server")
        runner.start("ui")
        eventually(lambda: _markets(runner) > size * 0.9, timeout_s=300, what="the dashboard has all markets")
        eventually(lambda: _get(runner.snapshot_port, "/health")[0] == 200, timeout_s=60, what="/health")
        eventually(lambda: _indexed(runner), timeout_s=120, what="the markets are in order")
        time.sleep(5)
        yield runner
    finally:
        for process in runner.processes:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(size: int, runner: Runner, browser: Browser) -> None:
    origin = f"http://127.0.0.1:{runner.ui_port}"
    ui = runner.processes[2].popen.pid
    found = json.loads(_get(runner.ui_port, "/api/search?q=will&limit=20")[1])["results"]
    market = next(one["url"] for one in found if one["kind"] == "market")
    event = f"/e/{next(one['event_ticker'] for one in found)}"
    print(f"\n{size:,} markets, {PACE.get(size, 100.0):g} changes a second; load {os.getloadavg()[0]:.1f}")
    if "paint" in PARTS:
        for name, path in {
            "/": "/",
            "/trader": "/trader",
            "market": market,
            "event": event,
            **OTHERS,
        }.items():
            print(f"  first paint {name:<10}{_paint(browser, origin + path):>6.0f} ms", flush=True)
    if "search" in PARTS:
        words = (SEARCHES[number % len(SEARCHES)].replace(" ", "+") for number in range(300))
        p50, p99 = _percentiles([_timed(runner.ui_port, f"/api/search?limit=10&q={text}") for text in words])
        print(f"  search at the server: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms", flush=True)
    if "tab" in PARTS:
        print(f"  dashboard's process, no tab: {_share(ui, 8.0):.1f} % of a core", flush=True)
        bytes_s, busy, rest = _tab(browser, origin + "/trader")
        print(
            f"  /trader for {TAB_S:g} s: {bytes_s / 1e3:.1f} kB/s, tab {busy:.1f} % of a core; {rest}",
            flush=True,
        )
    if "tabs" in PARTS:
        _ten_tabs(browser, origin, ui, ("/trader", "/", market, event, "/explore"))
    if "crowd" in PARTS:
        alone = _health(runner)
        crowd = asyncio.run(_crowd(runner, ("/trader", "/", market, event)))
        print(f"  /health alone: p50 {alone[0]:.1f}, p99 {alone[1]:.1f} ms")
        print(f"  {CROWD} tabs: /health p50 {crowd[0]:.1f}, p99 {crowd[1]:.1f} ms;", end="")
        print(f" status p50 {crowd[2]:.1f}, p99 {crowd[3]:.1f} ms;", end="")
        print(f" {crowd[4]:.0f} pages/s, {crowd[5] / 1e3:.0f} kB/s, dashboard {crowd[6]:.0f} % of a core")


def _ten_tabs(browser: Browser, origin: str, ui: int, paths: tuple[str, ...]) -> None:
    pages: list[Page] = []
    try:
        for number in range(10):
            pages.append(browser.new_context().new_page())
            pages[-1].goto(origin + paths[number % len(paths)])
        time.sleep(3)
        share = _share(ui, 15.0)
        print(f"  dashboard's process, 10 tabs: {share:.1f} % of a core, {_resident_mb(ui)} MB", flush=True)
    finally:
        for page in pages:
            page.context.close()


def _paint(browser: Browser, url: str) -> float:
    times: list[float] = []
    for _ in range(5):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        times.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        context.close()
    return statistics.median(times)


def _tab(browser: Browser, url: str) -> tuple[float, float, str]:
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Performance.enable")
    received = 0

    def note(event: Any) -> None:
        nonlocal received
        received += event.get("encodedDataLength") or 0

    session.on("Network.dataReceived", note)

    def metrics() -> dict[str, float]:
        return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}

    page.goto(url)
    page.wait_for_timeout(8_000)
    before, received, began = metrics(), 0, time.monotonic()
    half = before
    page.wait_for_timeout(TAB_S * 500)
    half = metrics()
    page.wait_for_timeout(TAB_S * 500)
    after, took = metrics(), time.monotonic() - began
    context.close()
    heap = ", ".join(f"{one['JSHeapUsedSize'] / 1e6:.1f}" for one in (before, half, after))
    nodes = ", ".join(f"{one['Nodes']:.0f}" for one in (before, half, after))
    busy = (after["TaskDuration"] - before["TaskDuration"]) / took * 100
    return received / took, busy, f"{heap} MB, nodes {nodes}"


async def _crowd(runner: Runner, paths: tuple[str, ...]) -> tuple[float, ...]:
    ui, until, sent, pages = runner.processes[2].popen.pid, time.monotonic() + 15, 0, 0
    cpu = _cpu_s(ui)

    async def request(
        path: str, headers: str = ""
    ) -> tuple[dict[str, str], asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.ui_port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n{headers}\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        return dict(line.lower().split(": ", 1) for line in head[1:] if line), reader, writer

    async def tab(number: int) -> None:
        nonlocal sent, pages
        path, have = paths[number % len(paths)], ""
        listen = "?page=trader" if path == "/trader" else ""
        await asyncio.sleep(number * 0.01)
        _, stream, stream_writer = await request(f"/events{listen}")
        while time.monotonic() < until:
            # A page that is refused a stream polls every 15 s.
            try:
                async with asyncio.timeout(max(0.1, min(15.0, until - time.monotonic()))):
                    if not await stream.read(65_536):
                        await asyncio.sleep(15)
            except TimeoutError:
                continue
            await asyncio.sleep(0.5)
            headers, reader, writer = await request(
                path, f"X-Kalshi-Bus-Have: {have}\r\nConnection: close\r\n"
            )
            body = await reader.read()
            have = headers.get("x-kalshi-bus-page", "")
            sent, pages = sent + len(body), pages + 1
            writer.close()
        stream_writer.close()

    tabs = [asyncio.ensure_future(tab(number)) for number in range(CROWD)]
    await asyncio.sleep(4)
    health, status = [], []
    while time.monotonic() < until - 0.5:
        health.append(await asyncio.to_thread(_timed, runner.snapshot_port, "/health"))
        status.append(await asyncio.to_thread(_timed, runner.ui_port, "/api/status"))
        await asyncio.sleep(0.05)
    await asyncio.gather(*tabs, return_exceptions=True)
    ends = [time_s * 1e3 for times in (health, status) for time_s in _percentiles(times)]
    return (*ends, pages / 15, sent / 15, (_cpu_s(ui) - cpu) / 15 * 100)


def _health(runner: Runner) -> tuple[float, float]:
    times = []
    for _ in range(200):
        times.append(_timed(runner.snapshot_port, "/health"))
        time.sleep(0.02)
    p50, p99 = _percentiles(times)
    return p50 * 1e3, p99 * 1e3


def _percentiles(times: list[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, gzip.decompress(body) if answer.getheader(
            "Content-Encoding"
        ) == "gzip" else body
    except OSError:
        return 0, b"{}"
    finally:
        connection.close()


def _timed(port: int, path: str) -> float:
    began = time.monotonic()
    _get(port, path)
    return time.monotonic() - began


def _markets(runner: Runner) -> int:
    markets: int = json.loads(_get(runner.ui_port, "/api/status")[1]).get("markets", 0)
    return markets


def _indexed(runner: Runner) -> bool:
    ready: bool = json.loads(_get(runner.ui_port, "/api/search?q=will")[1]).get("ready", False)
    return ready


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _share(pid: int, seconds: float) -> float:
    before = _cpu_s(pid)
    time.sleep(seconds)
    return (_cpu_s(pid) - before) / seconds * 100


def _resident_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000
