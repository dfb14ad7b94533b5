"""TLS before both HTTP servers: who gets an answer, who is told why not, and that nobody stops the rest."""

import contextlib
import http.client
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.certificates import make_certificate, trusting
from tests.crowd import assert_within
from tests.support import Process, Runner, eventually

pytestmark = pytest.mark.slow

SERVER = """
import os, sys
from pathlib import Path
from bus.process import http_server, web
from bus.process.lifecycle import main
from bus.process.settings import Settings

async def app(scope, receive, send):
    headers = dict(scope["headers"])
    if scope["path"] == "/large":
        body = bytes(20_000_000)
    else:
        body = repr((scope.get("scheme"), headers.get(b"origin"), scope.get("relayed_from"))).encode()
    answer = [(b"content-length", b"%d" % len(body)), (b"location", b"http://127.0.0.1:5004/markets?at=1")]
    await send({"type": "http.response.start", "status": 200, "headers": answer})
    while body:
        await send({"type": "http.response.body", "body": body[:500_000], "more_body": len(body) > 500_000})
        body = body[500_000:]

def run(settings, stop):
    if sys.argv[1] == "direct":
        http_server.serve(app, lambda _head: None, settings.ui_port, "PORT", stop, settings)
    else:
        web.serve(app, settings.ui_port, "PORT", stop, settings)
    return 0

sys.exit(main("server", run, exclusive=False))
"""


class Server:
    """A server with TLS, as its clients see it."""

    def __init__(self, runner: Runner, kind: str, descriptors: int = 4_096) -> None:
        self.runner = runner
        self.port = runner.ui_port
        self.certificate, key = make_certificate(runner.folder)
        runner.env |= {"KALSHI_BUS_TLS_CERTIFICATE": str(self.certificate), "KALSHI_BUS_TLS_KEY": str(key)}
        runner.run_dir.mkdir(mode=0o700, exist_ok=True)
        limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"]
        self.process: Process = runner.start_command([*limited, sys.executable, "-c", SERVER, kind])
        self.trust = trusting(self.certificate)
        eventually(self.answers, 30, "it answers")

    def get(self, path: str = "/", host: str = "localhost", **headers: str) -> tuple[str, str]:
        """Return body and Location of an answer by https."""
        connection = http.client.HTTPSConnection(host, self.port, timeout=30, context=self.trust)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.read().decode(), answer.headers["location"]

    def answers(self) -> bool:
        try:
            return bool(self.get()[0])
        except OSError:
            assert self.process.popen.poll() is None, self.process.output()
            return False

    def shown(self) -> bytes:
        """Return the certificate that it shows now."""
        return ssl.get_server_certificate(("localhost", self.port)).encode()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def relay(self) -> int:
        """Return the process id of the relay."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])


@pytest.fixture(scope="module")
def direct() -> Iterator[Server]:
    """A server for all tests that leave it running."""
    runner = Runner(Path(tempfile.mkdtemp(prefix="kb-")))
    yield Server(runner, "direct")
    runner.close()


@pytest.mark.parametrize("kind", ["granian", "direct"])
def test_https_and_http_are_answered_on_one_port_as_what_they_are(runner: Runner, kind: str) -> None:
    server = Server(runner, kind)
    body, location = server.get(Origin=f"https://localhost:{server.port}")
    assert body == repr(("https", f"http://localhost:{server.port}".encode(), "127.0.0.1"))
    assert location == "https://localhost:5004/markets?at=1"
    assert server.get(Origin=f"http://localhost:{server.port}")[0] == repr(("https", b"null", "127.0.0.1"))
    assert server.get(host="127.0.0.1")[1] == "https://127.0.0.1:5004/markets?at=1"

    plain = requests.get(f"http://127.0.0.1:{server.port}/", headers={"Origin": "http://x"}, timeout=10)
    assert plain.text == repr(("http", b"http://x", "127.0.0.1"))
    assert plain.headers["location"] == "http://127.0.0.1:5004/markets?at=1"
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.certificate)
        for _ in range(3):
            assert session.get(f"https://localhost:{server.port}/", timeout=10).text.startswith("('https'")

    # Whole, although its reader takes a break that no buffer outlasts.
    with server.trust.wrap_socket(server.connect(), server_hostname="localhost") as client:
        client.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        read = len(client.recv(1_000))
        time.sleep(0.5)
        while data := client.recv(1_000_000):
            read += len(data)
        assert 20_000_000 < read < 20_001_000

    assert server.process.stop(10) == 0
    assert "Traceback" not in server.process.output()


def old() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with contextlib.suppress(ValueError):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_who_is_silent_or_talks_nonsense_stops_nobody_else(direct: Server) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with contextlib.ExitStack() as stack:

        def say(said: bytes) -> socket.socket:
            client = stack.enter_context(direct.connect())
            client.sendall(said)
            return client

        for index in range(500):
            say((b"", hello, b"\x16", b"G")[index % 4])
        for _ in range(20):
            silent = direct.trust.wrap_socket(direct.connect(), server_hostname="localhost")
            stack.enter_context(silent)
        started_s = time.monotonic()
        for _ in range(5):
            assert direct.answers()
        assert_within(9, time.monotonic() - started_s)  # nobody waits for the silent to be cut off

        for garbage in (
            b"\x16\x03\x01\x00\x05hello",
            b"\x16" * 70_000,
            b"\x16\x03\x09\xff\xff" + bytes(70_000),
        ):
            with contextlib.suppress(ConnectionError):
                client = say(garbage)
                said = client.recv(100)
                assert said[:1] in (b"", b"\x15"), "an alert, or the end"
        assert b" 400 " in say(b"\x80\x2e\x01\x00\x02" + bytes(41) + b"\r\n\r\n").recv(1_000), "SSL 2"
        with pytest.raises(ssl.SSLError):
            old().wrap_socket(direct.connect())
        suspicious = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            suspicious.wrap_socket(direct.connect(), server_hostname="localhost")
        gone = direct.trust.wrap_socket(direct.connect(), server_hostname="localhost")
        gone.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()  # a reset in the middle of its answer
        assert direct.answers()

    def descriptors() -> int:
        return len(list(Path(f"/proc/{direct.relay()}/fd").iterdir()))

    eventually(lambda: descriptors() < 40, 30, "all are forgotten")
    failed = direct.process.events("tls.no_handshake")
    assert [event["times"] for event in failed] == [2**place for place in range(len(failed))]
    assert len(failed) > 6
    assert "Traceback" not in direct.process.output()


def test_who_never_closes_gives_way_to_others(runner: Runner) -> None:
    server = Server(runner, "direct", descriptors=128)
    places = 128 // 4 // 2
    with contextlib.ExitStack() as stack:
        for _ in range(2 * places):
            client = server.trust.wrap_socket(server.connect(), server_hostname="localhost")
            stack.enter_context(client)
            client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200"), "the end of the answer is not read"


def test_a_renewed_certificate_is_shown_without_a_restart(direct: Server) -> None:
    before = direct.shown()
    connection = http.client.HTTPSConnection("localhost", direct.port, timeout=10, context=direct.trust)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        connection.getresponse().read()
        make_certificate(direct.runner.folder)
        eventually(lambda: direct.shown() != before, 30, "the new one")
        assert direct.shown() == direct.certificate.read_bytes()
        direct.trust = trusting(direct.certificate)
        connection.request("GET", "/")
        assert connection.getresponse().read(), "who was there before stays"
    assert direct.process.events("tls.renewed")[0]["names"] == ["localhost", "127.0.0.1"]


def test_a_relay_that_has_ended_is_begun_anew(direct: Server) -> None:
    relay = direct.relay()
    os.kill(relay, signal.SIGKILL)
    eventually(lambda: direct.process.events("tls.ended"), 30)
    assert direct.answers(), "whoever comes meanwhile waits in the queue"
    assert direct.relay() != relay


def test_a_certificate_that_cannot_be_used_ends_the_start_with_one_sentence(runner: Runner) -> None:
    certificate, key = make_certificate(runner.folder)
    runner.env |= {"KALSHI_BUS_TLS_CERTIFICATE": str(certificate), "KALSHI_BUS_TLS_KEY": str(key)}
    runner.run_dir.mkdir(mode=0o700)
    key.chmod(0o644)
    process = runner.start_command([sys.executable, "-c", SERVER, "direct"])
    assert process.wait(30) == 2
    assert f"server: {key}: mode 0644 is looser than 0600: run chmod 600 {key}" in process.output()


def test_a_relay_dies_with_its_server(direct: Server) -> None:
    relay = direct.relay()
    direct.process.kill()
    eventually(lambda: not Path(f"/proc/{relay}").exists(), 10)
