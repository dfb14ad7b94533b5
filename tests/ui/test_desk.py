"""The trader's pages and commands over HTTP, with real trader and dashboard processes."""

import csv
import http.client
import io
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.crowd import Crowd, assert_within, waits_s
from tests.support import Process, Runner, eventually
from tests.ui.browsers import Browser
from tests.ui.stage import MATCH, Stage

pytestmark = pytest.mark.e2e

OURS = {"Content-Type": "application/json", "X-Kalshi-Bus": "command"}

COMMAND = (
    b"POST /api/trader/%b HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nX-Kalshi-Bus: command\r\n"
)
SLOW_BODIES = {
    "declared": (b"Content-Length: 500\r\n\r\n{", b""),
    "one byte a second": (b"Content-Length: 500\r\n\r\n{", b" "),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b""),
    "one chunk a second": (b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
    "waiting to be asked": (b"Expect: 100-continue\r\nContent-Length: 500\r\n\r\n", b""),
}


def post(port: int, op: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        text = body if isinstance(body, (str, bytes)) else json.dumps(body or {})
        sent = {**OURS, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request("POST", f"/api/trader/{op}", text, sent)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def browser(runner: Runner) -> Browser:
    return Browser(runner.ui_port)


@pytest.fixture
def ui(runner: Runner, browser: Browser) -> Process:
    process = runner.start("ui")
    eventually(browser.answers, what="the dashboard answers")
    return process


@pytest.fixture
def trading(ui: Process, stage: Stage, runner: Runner, browser: Browser) -> Process:
    stage.open()
    stage.start_feed()
    stage.start_query()
    trader = runner.start("trader", env={"KALSHI_BUS_LIMIT_PAYOUT_HOURS": "100"})  # the match is tomorrow
    trader.wait_event("trader.ready")
    eventually(lambda: browser.json("/api/status")["trader"]["state"] == "running", what="it trades")
    return trader


def state(browser: Browser) -> str:
    return str(browser.json("/api/status")["trader"]["state"])


def test_without_a_trader_the_page_says_how_to_start_it_and_a_kill_applies_to_the_next(
    ui: Process, runner: Runner, browser: Browser
) -> None:
    assert state(browser) == "not running"
    assert "make run</code> starts it" in browser.get("/trader")[2]
    assert browser.get("/trader/orders.csv")[0] == 503
    assert post(runner.ui_port, "pause")[0] == 503

    status, _, answer = post(runner.ui_port, "kill", {"reason": "<b>enough</b>"})

    assert (status, answer["state"], answer["answered"]) == (200, "killed", False)
    eventually(lambda: state(browser) == "killed")
    assert "&lt;b&gt;enough&lt;/b&gt;" in browser.get("/")[2]
    runner.start("trader").wait_event("trader.ready")
    eventually(lambda: browser.json("/api/trader")["status"], what="the trader answers")
    assert browser.json("/api/trader")["status"]["killed"]["reason"] == "<b>enough</b>"


def test_the_page_and_its_files_show_what_the_trader_did(trading: Process, browser: Browser) -> None:
    eventually(lambda: browser.json("/api/trader")["fills"], what="something is bought")
    found: Any = eventually(
        lambda: (desk := browser.json("/api/trader"))["status"]["fills"] == len(desk["fills"]) and desk
    )
    page = browser.get("/trader?positions=-unrealised_dollars&orders=number")[2]
    assert page.count('aria-sort="descending"') == 1
    assert page.count('aria-sort="ascending"') == 1
    for row in found["positions"]:
        assert f"/m/{row['ticker']}" in page
    assert found["orders"][-1]["client_order_id"] in page
    for name in ("positions", "orders", "fills", "settlements"):
        status, headers, text = browser.get(f"/trader/{name}.csv")
        assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == len(found[name])
        if rows:
            lists = {"basis", "trades", "expected_from"}
            assert {*rows[0], *lists} == {*found[name][0], *lists}
    assert browser.get("/trader/nonsense.csv")[0] == 404
    assert browser.get("/trader?positions=nonsense")[0] == 400
    held = {one["event_ticker"]: one["trader"] for one in browser.json("/api/opportunities")["opportunities"]}
    if MATCH in held:
        assert held[MATCH]["held"]


def test_pause_resume_kill_and_release(trading: Process, runner: Runner, browser: Browser) -> None:
    port = runner.ui_port
    assert post(port, "pause")[2]["state"] == "paused"
    eventually(lambda: state(browser) == "paused")
    assert post(port, "resume")[2]["state"] == "running"
    assert post(port, "kill", {"reason": "test"})[2]["state"] == "killed"
    assert (runner.folder / "data" / "KILLED").exists()
    eventually(lambda: state(browser) == "killed")
    status, _, answer = post(port, "resume", {"word": "unlock"})
    assert (status, answer["error"]["code"]) == (409, "bad_request")
    assert state(browser) == "killed"
    assert post(port, "resume", {"word": "UNLOCK"})[2]["state"] == "running"
    assert not (runner.folder / "data" / "KILLED").exists()
    eventually(lambda: state(browser) == "running")


def test_only_our_page_and_local_programs_can_send_commands(
    ui: Process, runner: Runner, browser: Browser
) -> None:
    port, kill_file = runner.ui_port, runner.folder / "data" / "KILLED"
    for op in ("kill", "pause", "resume"):
        status, headers, _ = browser.get(f"/api/trader/{op}")
        assert status == 405
        assert "POST" in headers["allow"]
    for expected, body, headers in (
        (403, {}, {"Sec_Fetch_Site": "cross-site"}),
        (403, {}, {"Sec_Fetch_Site": "same-site"}),
        (403, {}, {"Origin": "http://127.0.0.1:3000"}),
        (403, {}, {"X_Kalshi_Bus": "x"}),
        (400, {}, {"Host": "evil.example"}),
        (415, "reason=x", {"Content_Type": "application/x-www-form-urlencoded"}),
        (415, "{}", {"Content_Type": "text/plain"}),
        (413, "x" * 20_000, {}),
        (400, "[" * 1_000, {}),
        (400, {"nonsense": 1}, {}),
        (400, b'{"reason": "\xff"}', {}),
    ):
        assert post(port, "kill", body, **headers)[0] == expected, headers
    assert not kill_file.exists()
    answers = [post(port, "resume") for _ in range(7)]
    assert [status for status, _, _ in answers][-1] == 429
    assert post(port, "kill")[0] == 200  # it has its own bucket
    assert kill_file.exists()


def test_the_loss_and_return_of_the_trader_process_are_noticed(
    trading: Process, runner: Runner, browser: Browser
) -> None:
    trading.kill()
    eventually(lambda: state(browser) == "not answering", what="its absence is noticed")
    assert "This is what it last reported" in browser.get("/trader")[2]
    runner.start("trader").wait_event("trader.ready")
    eventually(lambda: state(browser) == "running", what="it is found again")


@pytest.mark.alone
@pytest.mark.parametrize("count", [4, 50, 500])
def test_bodies_that_never_arrive_delay_nothing(
    trading: Process, runner: Runner, browser: Browser, count: int
) -> None:
    port = runner.ui_port
    with ExitStack() as crowds:
        for shape, drip in SLOW_BODIES.values():
            for op in (b"kill", b"pause"):
                crowd = Crowd(port, count // 8 + 1, COMMAND % op + shape, drip)
                crowds.enter_context(crowd)
        assert_within(1, *waits_s(lambda: browser.get("/"), 10))
        assert_within(0.25, *waits_s(lambda: browser.get("/api/status"), 10))
        assert_within(1, *waits_s(lambda: post(port, "pause"), 1))
        assert_within(1, *waits_s(lambda: post(port, "kill"), 1))
        eventually(lambda: state(browser) == "killed")


def test_a_body_that_never_arrives_is_refused_by_its_deadline(ui: Process, runner: Runner) -> None:
    with ExitStack() as clients:
        waiting = []
        for shape, _ in SLOW_BODIES.values():
            client = socket.create_connection(("127.0.0.1", runner.ui_port), timeout=5)
            waiting.append(clients.enter_context(client))
            client.sendall(COMMAND % b"kill" + shape)
        for client in waiting:
            answer = b"".join(iter(lambda client=client: client.recv(4_096), b""))  # type: ignore[misc]
            assert b"HTTP/1.1 408 " in answer, answer[:100]
            assert b"request_timeout" in answer
    assert not (runner.folder / "data" / "KILLED").exists()


@pytest.mark.alone
def test_a_kill_waits_for_no_other_command_and_no_page(
    trading: Process, runner: Runner, browser: Browser
) -> None:
    port = runner.ui_port
    pause = COMMAND % b"pause" + b"Content-Length: 2\r\n\r\n{}"
    csv_file = b"GET /trader/orders.csv HTTP/1.1\r\nHost: localhost\r\n\r\n"
    trading.signal(signal.SIGSTOP)  # every question to it now waits for seconds
    with Crowd(port, 30, pause), Crowd(port, 30, csv_file), ThreadPoolExecutor(1) as user:
        killed = user.submit(post, port, "kill", {"reason": "now"})
        eventually((runner.folder / "data" / "KILLED").exists, 2, "the kill switch is set")
        trading.signal(signal.SIGCONT)
        assert killed.result()[2]["state"] == "killed"
    eventually(lambda: state(browser) == "killed")


@pytest.mark.alone
def test_clients_that_do_not_read_delay_nothing(ui: Process, runner: Runner, browser: Browser) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
    with Crowd(runner.ui_port, 60, asked, reads=False):
        eventually(browser.answers)
        assert_within(1, *waits_s(lambda: browser.get("/api/status"), 20))


def test_excess_requests_get_503_at_once_and_nothing_dies(
    ui: Process, runner: Runner, browser: Browser
) -> None:
    with ThreadPoolExecutor(80) as clients:
        answers = list(clients.map(lambda _: browser.get("/"), range(400)))
    refused = [headers for status, headers, _ in answers if status == 503]
    assert {status for status, _, _ in answers} <= {200, 503}
    assert all(headers["retry-after"] == "1" for headers in refused)
    assert len(refused) < 400
    assert browser.get("/")[0] == 200
