"""`make run` with a key that the exchange refuses, as a user sees it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.e2e.conftest import get
from tests.publisher.exchange import Answer, FakeExchange, event, market, on
from tests.support import ROOT, Runner, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LIMIT_S = 30.0
"""A user waits at most 15 s; on a loaded machine, starting five processes takes most of it."""

KEY_ID = "canary-1111-2222-4333-8444"


def test_a_refused_key_is_reported_wherever_a_user_looks_and_can_be_replaced(runner: Runner) -> None:
    key: Path = runner.folder / "key.pem"
    key.touch(0o600)
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(*encoding))
    with FakeExchange() as exchange:
        exchange.list_event(event("E1", "S1", market("E1-A", "E1")))
        body = f'{{"error":{{"code":"authentication_error","message":"{KEY_ID}","details":"NOT_FOUND"}}}}'
        exchange.faults.append(on("", Answer(401, body.encode())))
        runner.env |= {
            "KALSHI_BUS_ENV": "demo",
            "KALSHI_BUS_API_URL": exchange.url,
            "KALSHI_BUS_WS_URL": exchange.url.replace("http", "ws", 1),
            "KALSHI_API_KEY_ID": KEY_ID,
            "KALSHI_PRIVATE_KEY_PATH": str(key),
            "KALSHI_BUS_POLL_INTERVAL_S": "1",
        }
        began_s = time.monotonic()
        process = runner.start("bus.process.supervise")
        health_url = f"http://127.0.0.1:{runner.snapshot_port}/health"

        def refused() -> bool:
            status, answer = get(health_url)
            account = answer["publisher"] if status == 503 else None
            return bool(account and account["key"] == "refused" and "NOT_FOUND" in (account["error"] or ""))

        eventually(refused, LIMIT_S)
        print(f"/health says it after {time.monotonic() - began_s:.1f} s")
        page_url = f"http://127.0.0.1:{runner.ui_port}/"
        eventually(lambda: 'data-code="key_refused"' in str(get(page_url)[1]), LIMIT_S)
        eventually(lambda: "kalshi-bus: WRONG: No data comes in" in process.output(), LIMIT_S)
        print(f"page and terminal say it after {time.monotonic() - began_s:.1f} s")
        page = str(get(page_url)[1])
        assert "a key of prod is unknown there" in page
        assert "What to do: Check KALSHI_API_KEY_ID" in process.output()
        system = str(get(f"{page_url}system")[1])
        assert "The exchange, as the publisher sees it" in system
        doctor = subprocess.run(
            [sys.executable, "-m", "bus", "doctor"],
            env=runner.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "WRONG  sweep: key_refused, key refused: No data comes in" in doctor.stdout
        for said in (
            page,
            system,
            process.output(),
            doctor.stdout + doctor.stderr,
            str(get(health_url)[1]),
        ):
            assert "canary" not in said

        exchange.faults.clear()
        eventually(lambda: "kalshi-bus: ready: 1 markets. Open " in process.output(), LIMIT_S)
        assert get(health_url)[0] == 200
        assert process.stop(30) == 0
