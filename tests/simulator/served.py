"""A running simulator: a process and its port."""

import base64
import time
from functools import cache
from typing import Any

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from simulator.front import auth
from tests.support import Process, Runner


@cache
def private_key(pem: bytes) -> rsa.RSAPrivateKey:
    """Return a key; reading one takes as long as a hundred signatures."""
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


class Venue:
    """A running simulator."""

    def __init__(self, runner: Runner, *args: str) -> None:
        self.process: Process = runner.start(
            "simulator", "--port", "0", "--markets", "300", "--seed", "7", *args
        )
        self.base: str = self.process.wait_event("simulator serves")["url"]
        self.session = requests.Session()
        self.root = self.base.removesuffix("/trade-api/v2")
        self.socket_url = self.root.replace("http", "ws") + "/trade-api/ws/v2"
        self.keys = runner.run_dir
        self.key_id = (self.keys / auth.KEY_ID_FILE).read_text().strip()
        self.key_path = self.keys / auth.PRIVATE_KEY_FILE
        requests.post(self.root + "/sim/faults", json={"settings": {"pace": 10}}, timeout=10)  # waste no time

    def get(self, path: str) -> Any:
        answer = requests.get(self.base + path, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def headers(self, path: str, shift_ms: int = 0, method: str = "GET") -> dict[str, str]:
        key = private_key(self.key_path.read_bytes())
        timestamp = str(time.time_ns() // 1_000_000 + shift_ms)
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        signature = key.sign(f"{timestamp}{method}{path}".encode(), pss, hashes.SHA256())
        return {
            auth.KEY: self.key_id,
            auth.TIMESTAMP: timestamp,
            auth.SIGNATURE: base64.b64encode(signature).decode(),
        }

    def private(
        self, method: str, path: str, body: Any = None, timeout: float | tuple[float, float] = 10
    ) -> requests.Response:
        """Send a signed request below /trade-api/v2; the query is not signed."""
        full = "/trade-api/v2" + path
        headers = self.headers(full.partition("?")[0], method=method)
        return self.session.request(method, self.root + full, json=body, headers=headers, timeout=timeout)

    def faults(self, **document: Any) -> None:
        """Send a fault document."""
        answer = requests.post(self.root + "/sim/faults", json=document, timeout=10)
        assert answer.status_code == 200, answer.text

    def account(self) -> Any:
        """Return the exchange's own books."""
        return requests.get(self.root + "/sim/accounts", timeout=10).json()
