"""Which requests become a WebSocket."""

import pytest
from websockets.utils import accept_key

from snapshot_server.websocket.handshake import Refused, accept

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "host": "127.0.0.1:5002",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"connection": "keep-alive, Upgrade", "upgrade": "WebSocket"},
        {"origin": "http://localhost:5002"},
        {"sec-websocket-extensions": "permessage-deflate; client_max_window_bits"},
        {"kalshi-access-key": "a", "kalshi-access-signature": "b", "kalshi-access-timestamp": "c"},
    ],
)
def test_a_websocket_is_made(more: dict[str, str]) -> None:
    headers = dict(accept("GET", "1.1", GOOD | more))
    assert headers == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": accept_key(KEY),
    }


@pytest.mark.parametrize(
    ("method", "version", "more", "status"),
    [
        ("POST", "1.1", {}, 405),
        ("GET", "1.0", {}, 426),
        ("GET", "1.1", {"upgrade": ""}, 426),
        ("GET", "1.1", {"upgrade": "h2c"}, 426),
        ("GET", "1.1", {"sec-websocket-version": "8"}, 426),
        ("GET", "1.1", {"sec-websocket-version": ""}, 426),
        ("GET", "1.1", {"sec-websocket-key": ""}, 400),
        ("GET", "1.1", {"sec-websocket-key": "short"}, 400),
        ("GET", "1.1", {"sec-websocket-key": "\xff" * 24}, 400),
        ("GET", "1.1", {"connection": "close"}, 400),
        ("GET", "1.1", {"origin": "https://elsewhere.example"}, 403),
        ("GET", "1.1", {"origin": "null"}, 403),
        ("GET", "1.1", {"origin": "http://[::bad"}, 403),
        ("GET", "1.1", {"origin": "http://127.0.0.1.elsewhere.example"}, 403),
    ],
)
def test_what_asks_for_something_else_is_refused(
    method: str, version: str, more: dict[str, str], status: int
) -> None:
    with pytest.raises(Refused) as refused:
        accept(method, version, GOOD | more)
    assert refused.value.status == status
    if more.get("sec-websocket-version") is not None:
        assert ("sec-websocket-version", "13") in refused.value.headers
