"""The pages as another machine sees them: over a wire with the token, and through a TLS proxy."""

import json
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest

from bus.process.access import make_token
from tests.certificates import make_certificate
from tests.e2e.namespaces import inside, new_namespace, wire, within
from tests.support import ROOT, Process, Runner, eventually, free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TOKEN = "fedcba9876543210" * 4

CLIENT = """
import http.client, json, sys
found = []
for host, headers in json.loads(sys.argv[3]):
    connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
    connection.request("GET", "/health", headers={"Host": host, **headers})
    found.append(connection.getresponse().status)
    connection.close()
print(json.dumps(found))
"""


def test_off_loopback_a_server_requires_the_token_and_does_not_start_without_one(runner: Runner) -> None:
    here, there = new_namespace(runner), new_namespace(runner)
    address, _ = wire(here, there)
    runner.env["KALSHI_BUS_BIND"] = address
    for module in ("snapshot_server", "bus.process.supervise"):
        refused = inside(runner, here, "-m", module)
        assert refused.wait(60) == 2, module
        assert "other machines are let in only with a token" in refused.output()

    token = runner.folder / "token"
    make_token(token, TOKEN)
    runner.env |= {"KALSHI_BUS_TOKEN_FILE": str(token), "KALSHI_BUS_HOSTS": "desk.example"}
    server = inside(runner, here, "-m", "snapshot_server")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    asked = [
        (address, bearer), ("desk.example", bearer), ("evil.example", bearer),
        (address, {}), (address, {"Authorization": "Bearer x"}),
    ]  # fmt: skip

    def answers() -> list[int]:
        port = str(runner.snapshot_port)
        command = within(there, sys.executable, "-c", CLIENT, address, port, json.dumps(asked))
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else []

    found = eventually(answers, 60)
    assert found[2:] == [400, 401, 401]
    assert set(found[:2]) <= {200, 503}
    assert server.stop(5) == 0
    assert all(TOKEN not in process.output() for process in runner.processes)


ASKING = """
import http.client, json, ssl, sys
host, port, certificate = sys.argv[1], int(sys.argv[2]), sys.argv[3]
found = []
for scheme, method, path, headers, body in json.loads(sys.argv[4]):
    if scheme == "https":
        trust = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=trust)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = "" if answer.status == 101 else answer.read().decode()
    found.append((answer.status, answer.headers.get("set-cookie", ""), said))
    connection.close()
print(json.dumps(found))
"""


def test_over_tls_another_machine_needs_the_token_and_plain_http_gets_nothing(
    runner: Runner,
) -> None:
    here, there = new_namespace(runner), new_namespace(runner)
    address, _ = wire(here, there)
    pem, key = make_certificate(runner.folder, address=address)
    token = runner.folder / "token"
    make_token(token, TOKEN)
    runner.env |= {
        "KALSHI_BUS_BIND": "0.0.0.0",
        "KALSHI_BUS_HOSTS": address,
        "KALSHI_BUS_TOKEN_FILE": str(token),
        "KALSHI_BUS_TLS_CERTIFICATE": str(pem),
        "KALSHI_BUS_TLS_KEY": str(key),
    }
    server = inside(runner, here, "-m", "snapshot_server")
    bearer, upgrade = (
        {"Authorization": f"Bearer {TOKEN}"},
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    )
    stream = "/trade-api/ws/v2"

    def ask(namespace: Process, host: str, *asked: tuple[str, str, str, dict[str, str], str]) -> list[Any]:
        port = str(runner.snapshot_port)
        command = within(namespace, sys.executable, "-c", ASKING, host, port, str(pem), json.dumps(asked))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else []

    def get(scheme: str, path: str, headers: dict[str, str]) -> tuple[str, str, str, dict[str, str], str]:
        return scheme, "GET", path, headers, ""

    eventually(lambda: ask(here, address, get("http", "/ready", {})), 60, "plain HTTP on the machine itself")
    elsewhere = ask(
        there,
        address,
        get("http", "/health", bearer),
        get("https", "/health", {}),
        get("https", "/health", bearer),
        get("https", stream, bearer | upgrade),
        ("https", "POST", "/login", {}, f"token={TOKEN}"),
    )
    statuses = [status for status, _, _ in elsewhere]
    assert statuses == [400, 401, statuses[2], 101, 303]
    assert statuses[2] in (200, 503)
    assert "tls_required" in elsewhere[0][2]
    assert "; Secure" in elsewhere[4][1]
    # Too many wrong tokens are answered with 429; the right one passes, also from the same machine.
    wrong = get("https", "/health", {"Authorization": "Bearer x"})
    tried = ask(there, address, *[wrong] * 12, get("https", "/health", bearer))
    *refused, passed = [status for status, _, _ in tried]
    assert {*refused[:9]} == {401}
    assert refused[-1] == 429
    assert passed in (200, 503)
    for host, scheme in ((address, "https"), ("127.0.0.1", "http")):
        [[status, _, _]] = ask(here, host, get(scheme, "/health", bearer))
        assert status in (200, 503)
    assert server.stop(10) == 0
    assert all(TOKEN not in process.output() for process in runner.processes)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object) -> None:
        return None


def test_the_example_of_a_tls_proxy_works_unchanged(runner: Runner) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed (apt-get install nginx)")
    pem, key = make_certificate(runner.folder, "desk.example")
    tls, markets = free_ports(2)
    text = (ROOT / "ops" / "nginx.conf").read_text()
    for pattern, value in (
        (r"/etc/ssl/desk\.example\.pem", str(pem)),
        (r"/etc/ssl/private/desk\.example\.key", str(key)),
        (r"pid /run/nginx\.pid", f"pid {runner.folder}/nginx.pid"),
        (r"listen 443 ", f"listen 127.0.0.1:{tls} "),
        (r"listen 8443 ", f"listen 127.0.0.1:{markets} "),
        (r"127\.0\.0\.1:5001", f"127.0.0.1:{runner.ui_port}"),
        (r"127\.0\.0\.1:5002", f"127.0.0.1:{runner.snapshot_port}"),
    ):
        text, count = re.subn(pattern, value, text)
        assert count, f"{pattern} is in the example"
    temporary = "".join(
        f"    {kind}_temp_path {runner.folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = runner.folder / "nginx.conf"
    conf.write_text(text.replace("http {\n", "http {\n" + temporary, 1))
    nginx = runner.start_command(["nginx", "-c", str(conf), "-g", "daemon off; master_process off;"])

    make_token(runner.folder / "token", TOKEN)
    runner.env |= {
        "KALSHI_BUS_TOKEN_FILE": str(runner.folder / "token"),
        "KALSHI_BUS_HOSTS": "desk.example",
        "KALSHI_BUS_PROXIES": "127.0.0.1",
    }
    runner.start("ui")
    runner.start("snapshot_server")
    trust = ssl.create_default_context(cafile=str(pem))
    trust.check_hostname = False  # we connect by address; nginx uses the Host header
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust), NoRedirect())

    def ask(port: int, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, str, str]:
        request = urllib.request.Request(f"https://127.0.0.1:{port}{path}", body, headers)
        try:
            with opener.open(request, timeout=5) as reply:
                return reply.status, reply.headers.get("set-cookie", ""), reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("set-cookie", ""), error.read().decode()
        except OSError:
            assert nginx.popen.poll() is None, nginx.output()
            return 0, "", ""

    host = {"Host": f"desk.example:{tls}"}
    eventually(lambda: ask(tls, "/ready", host)[0] not in (0, 502), 30)
    assert ask(tls, "/", host | {"Accept": "text/html"})[0] == 303
    assert ask(tls, "/api/status", host)[0] == 401
    assert ask(tls, "/", {"Host": "evil.example"})[0] == 0, "another name: no answer"

    origin = {"Origin": f"https://desk.example:{tls}", "Sec-Fetch-Site": "same-origin"}
    status, cookie, _ = ask(tls, "/login", host | origin, f"token={TOKEN}".encode())
    assert (status, "; Secure" in cookie, "HttpOnly" in cookie) == (303, True, True)
    session = {"Cookie": cookie.partition(";")[0]}
    assert ask(tls, "/", host | session)[0] == 200
    assert ask(tls, "/api/status", host | session)[0] in (200, 503)
    # A command from our own page passes all checks inside; one from another site does not.
    command = host | session | {"Content-Type": "application/json", "X-Kalshi-Bus": "command"}
    foreign = command | {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert ask(tls, "/api/trader/kill", foreign, b"{}")[0] == 403
    assert ask(tls, "/api/trader/kill", command | origin, b"{}")[0] not in (0, 400, 401, 403, 404)
    # One log-in covers all ports, since cookies ignore them.
    eventually(
        lambda: ask(markets, "/health", {"Host": f"desk.example:{markets}"} | session)[0] in (200, 503)
    )
