"""No secret leaves its own file: everything that a run leaves is searched for keys, key ids and tokens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import rsa

from bus.tape.file import Recording
from tests.e2e.conftest import START_S, Stack, get
from tests.publisher.exchange import write_key
from tests.support import Runner, eventually

TOKEN = "CANARY-token-5f2c"
PASSWORD = "CANARY-password-9b1e"
SOURCE = """
from trader.fair_values import Estimator, Parameters

class Odds(Estimator):
    name = "odds"

    class Params(Parameters, frozen=True, kw_only=True):
        token: str = ""

    def values(self, bus):
        raise ValueError(f"refused: token={self.params.token}")
"""
PAGES = ("/", "/trader", "/system", "/search?q=a", "/api/status", "/api/trader", "/api/opportunities")


def secrets_of(stack: Stack) -> Iterator[bytes]:
    """The key's id and lines, and the tokens of supervisord and of the source."""
    run_dir = stack.runner.run_dir
    yield (run_dir / "sim_key_id").read_bytes().strip()
    yield from (run_dir / "sim_private_key.pem").read_bytes().splitlines()[1:-1]
    yield TOKEN.encode()
    yield PASSWORD.encode()


def left_behind(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All files of a run, recordings and checkpoints also decompressed, except those that hold the key."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("sim_key_id", "sim_private_key.pem", "odds.py"):
            content = path.read_bytes()
            yield str(path), content
            if path.suffix == ".zst":
                yield f"{path}, plain", zstandard.ZstdDecompressor().stream_reader(content).read()
            if path.suffix == ".mcap":
                for item in Recording(path).play():
                    yield f"{path}, plain", repr(item).encode()


@pytest.mark.timeout(180)
@pytest.mark.e2e
def test_a_run_through_refusals_and_crashes_leaves_no_secret_anywhere(runner: Runner) -> None:
    stack = Stack(runner)
    (runner.folder / "odds.py").write_text(SOURCE)
    runner.env["KALSHI_BUS_FAIR_VALUES"] = f"odds.py:Odds(token='{TOKEN}')"
    stack.start_all()
    secrets = set(secrets_of(stack))
    stack.start("trader")
    recording = runner.start("bus", "record", str(runner.folder / "day.mcap"))
    tap = runner.start("bus", "tap")
    eventually(lambda: "refused: " in str(stack.trader()), START_S, "the source's error is shown")
    told = look(stack)

    # A refused key, an invalid one, and the death of the process that holds it.
    write_key(runner.run_dir, rsa.generate_private_key(65537, 2048), "CANARY-key-id-77d0")
    secrets |= set(secrets_of(stack))
    eventually(lambda: stack.health()["publisher"]["key"] == "refused", START_S, "the key is refused")
    told += look(stack)
    stack.processes["publisher"].kill()
    for text in (b"-----BEGIN PRIVATE KEY-----\nCANARYBODY\n", b"CANARYBODY" * 20, b"\x30CANARYBODY"):
        (runner.run_dir / "sim_private_key.pem").write_bytes(text)
        publisher = runner.start("publisher")
        assert publisher.wait(20) == 2
        assert "expected" in publisher.output()
    stack.start("publisher", "ui")  # one is refused again, the other must not start twice
    secrets |= {b"CANARYBODY"}
    environs = (
        {"KALSHI_BUS_ENV": "demo", "KALSHI_API_KEY_ID": "CANARYBODY", "KALSHI_PRIVATE_KEY_PATH": PEM},
        {"KALSHI_BUS_MODE": "CANARYBODY", "KALSHI_BUS_FEED": TOKEN},
        {"KALSHI_BUS_API_URL": f"https://me:{PASSWORD}@example.com", "KALSHI_BUS_TOKEN": TOKEN},
    )
    commands = (("publisher",), ("bus.process.supervise",), ("bus", "doctor"))
    ended = [runner.start(*command, env=environ) for environ in environs for command in commands]
    for process in ended:
        assert process.wait(60) in (1, 2)
        assert process.output()
    told += look(stack)
    assert (recording.stop(), tap.stop()) == (0, 0)

    searched = [*told, *left_behind(runner.folder)]
    assert len(searched) > 50
    found = {
        (where, secret[:12])
        for where, content in searched
        for secret in secrets
        if len(secret) > 4 and secret in content
    }
    assert not found


PEM = "-----BEGIN PRIVATE KEY-----\nCANARYBODY\n-----END PRIVATE KEY-----"


def look(stack: Stack) -> list[tuple[str, bytes]]:
    """The present content of pages and answers."""
    urls = [
        *(stack.ui_url + page for page in PAGES),
        *(stack.snapshot_url + page for page in ("/health", "/metrics")),
    ]
    return [(url, str(get(url)).encode()) for url in urls]
