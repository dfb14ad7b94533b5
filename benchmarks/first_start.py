"""``python -m benchmarks.first_start``: how long until a user is told why a first start cannot succeed.

For each cause, everything is started as by `make run`, against an exchange with that fault. Measured is the
time from the start of the command until `/health`, the page and the terminal name the cause, and what
`bus doctor` says then. ``--screenshots FOLDER`` keeps a picture of each page and a copy of each terminal.

Not part of `make bench`, since it takes long.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.chromium import launched
from tests.publisher.exchange import BASE, Answer, FakeExchange, event, market, on
from tests.support import ROOT, Process, Runner

GIVE_UP_S: Final = 60.0
KEY_ID: Final = "11111111-2222-4333-8444-555555555555"
_PAGE: Final = (
    b"<!DOCTYPE HTML><html><head><title>ERROR: The request could not be satisfied</title></head></html>"
)
_HTML: Final = (("Content-Type", "text/html"),)


class Case(NamedTuple):
    """A first start, and how to recognise that its cause was reported.

    Attributes:
        answer: the answer to every request; None to answer as an exchange would.
        url: that of the exchange, if it is not the fake one.
        environ: additional settings.
        said: a word of the cause, in `/health`.
    """

    name: str
    said: str
    answer: Answer | None = None
    url: Callable[[], str] | None = None
    environ: Mapping[str, str] = MappingProxyType({})
    ahead_s: float = 0.0
    stall_s: float = 0.0


def _refused(code: str, details: str = "") -> Answer:
    return Answer(401, json.dumps({"error": {"code": code, "message": "no", "details": details}}).encode())


def _unused() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}{BASE}"


CASES: Final = (
    Case(
        "key unknown there (of another environment)",
        "NOT_FOUND",
        _refused("authentication_error", "NOT_FOUND"),
    ),
    Case(
        "private key of another id",
        "INCORRECT_API_KEY_SIGNATURE",
        _refused("authentication_error", "INCORRECT_API_KEY_SIGNATURE"),
    ),
    Case("clock an hour off, refused", "clock_off", _refused("header_timestamp_expired"), ahead_s=-3_600),
    Case("clock an hour off, not refused", "clock is about", ahead_s=-3_600),
    Case("403 and a web page (CDN)", "blocked", Answer(403, _PAGE, _HTML)),
    Case("301 to another host", "moved to", Answer(301, b"", (("Location", "https://api.example.com/v3"),))),
    Case("wrong path, 404", "not_found", Answer(404, b"404 page not found")),
    Case("200 and a web page (portal)", "bad_reply", Answer(200, _PAGE, _HTML)),
    Case("503 (maintenance)", "server_error", Answer(503, b"<html><title>Down</title>", _HTML)),
    Case("nobody listens", "Connection refused", url=_unused),
    Case("name unknown", "cannot be resolved", url=lambda: f"https://exchange.invalid{BASE}"),
    Case("no TLS there", "no secure connection", url=lambda: _unused().replace("http:", "https:") + "#tls"),
    Case("connected, no answer", "no answer", url=lambda: "silent"),
    Case("no connection, no refusal", "no answer", url=lambda: "full"),
    Case("series kxbig", "did you mean 'KXBIG'", environ={"KALSHI_BUS_SERIES": "kxbig"}),
    Case("first reading takes long", "markets_read", stall_s=2.0),
)


@contextmanager
def _exchange(case: Case) -> Iterator[str]:
    """Yield the URL of an exchange with the fault."""
    with ExitStack() as stack:
        place = case.url() if case.url is not None else ""
        if place in ("silent", "full"):
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            address = server.getsockname()
            if place == "full":  # more connections wait for ever for their first answer
                for _ in range(4):
                    waiting = stack.enter_context(socket.socket())
                    waiting.setblocking(False)
                    waiting.connect_ex(address)
            yield f"http://127.0.0.1:{address[1]}{BASE}"
            return
        if place and not place.endswith("#tls"):
            yield place
            return
        exchange = stack.enter_context(FakeExchange())
        for number in range(1_500):
            ticker = f"KXBIG-{number}"
            exchange.list_event(event(ticker, "KXBIG", market(f"{ticker}-A", ticker)))
        exchange.ahead_s = case.ahead_s
        if case.answer is not None:
            exchange.faults.append(on("", case.answer))
        if case.stall_s:

            def stall(path: str) -> None:
                if path == "/events":
                    time.sleep(case.stall_s)

            exchange.faults.append(stall)
        yield exchange.url.replace("http:", "https:") if place else exchange.url


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


def _key(folder: Path) -> Path:
    path = folder / "key.pem"
    path.touch(0o600)
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(*encoding))
    return path


def _waited(began_s: float, there: Callable[[], bool]) -> float | None:
    while not there():
        if time.monotonic() - began_s > GIVE_UP_S:
            return None
        time.sleep(0.1)
    return time.monotonic() - began_s


def _told(health: str, case: Case) -> bool:
    if not health:
        return False
    account: dict[str, Any] = json.loads(health)["publisher"] or {}
    if case.said == "markets_read":
        return bool(account.get("markets_read"))
    said = {name: account.get(name) for name in ("error", "cause", "warnings")}
    return case.said in json.dumps(said, ensure_ascii=False)


def _on_terminal(process: Process, case: Case) -> bool:
    text = process.output()
    if case.said == "markets_read":
        return "markets so far" in text and " 0 markets so far" not in text.splitlines()[-1]
    return "kalshi-bus: WRONG:" in text or "kalshi-bus: WARNING:" in text


def _measure(case: Case, number: int, folder: Path, pictures: Path | None) -> str:
    with _exchange(case) as url:
        runner = Runner(folder)
        runner.env |= {
            "KALSHI_BUS_ENV": "demo",
            "KALSHI_BUS_API_URL": url,
            "KALSHI_BUS_WS_URL": "ws://127.0.0.1:9/trade-api/ws/v2",
            "KALSHI_BUS_STREAM": "no",
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(_key(folder)),
        } | dict(case.environ)
        began_s = time.monotonic()
        process = runner.start("bus.process.supervise")
        try:
            health_url = f"http://127.0.0.1:{runner.snapshot_port}/health"
            page_url = f"http://127.0.0.1:{runner.ui_port}/"
            health_s = _waited(began_s, lambda: _told(_read(health_url), case))
            mark = "markets so far" if case.said == "markets_read" else 'data-code="'
            page_s = _waited(began_s, lambda: mark in _read(page_url))
            terminal_s = _waited(began_s, lambda: _on_terminal(process, case))
            doctor = subprocess.run(
                [sys.executable, "-m", "bus", "doctor"],
                env=runner.env, cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if pictures is not None:
                _keep(
                    pictures / f"{number:02}-{case.name.split(',')[0].replace(' ', '-')}",
                    page_url,
                    process,
                    doctor.stdout,
                )
        finally:
            process.stop(30)
            for started in runner.processes:
                started.kill()
    times = [f"{'-' if value is None else f'{value:.1f} s'}" for value in (health_s, page_s, terminal_s)]
    said = next((line for line in doctor.stdout.splitlines() if line.startswith("WRONG  sweep")), "")
    said = said or next((line for line in doctor.stdout.splitlines() if "warning" in line), "")
    return f"| {case.name} | {' | '.join(times)} | {said.partition(': ')[2][:160]} |"


def _keep(stem: Path, page_url: str, process: Process, doctor: str) -> None:
    Path(f"{stem}.terminal.txt").write_text(
        f"$ make run\n{process.output()}\n$ python -m bus doctor\n{doctor}"
    )
    with launched() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(page_url)
        page.wait_for_timeout(500)
        page.screenshot(path=f"{stem}.png")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_start", description=__doc__)
    parser.add_argument(
        "--screenshots", type=Path, help="folder for pictures of pages and copies of terminals"
    )
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    args = parser.parse_args()
    if args.screenshots is not None:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    print("| what is wrong | `/health` | page | terminal | doctor |\n|---|---|---|---|---|")
    for number, case in enumerate(CASES, 1):
        if args.only in case.name:
            with tempfile.TemporaryDirectory(prefix="kb-", dir="/tmp") as folder:
                print(_measure(case, number, Path(folder), args.screenshots), flush=True)


if __name__ == "__main__":
    main()
