"""Where Kalshi is. No other module of the project names its hosts.

Source: Kalshi API reference, API environments, October 2026. The "external-api" hosts serve every category.
"""

from typing import Final, NamedTuple

from bus.process.settings import Settings


class Endpoints(NamedTuple):
    """Base URLs of one exchange, without a trailing slash."""

    rest: str
    websocket: str


_ENDPOINTS: Final = {
    "prod": Endpoints(
        "https://external-api.kalshi.com/trade-api/v2",
        "wss://external-api-ws.kalshi.com/trade-api/ws/v2",
    ),
    "demo": Endpoints(
        "https://external-api.demo.kalshi.co/trade-api/v2",
        "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2",
    ),
}


def endpoints(settings: Settings) -> Endpoints:
    """Return where the configured exchange is: the URLs in the settings, else those of its env.

    Env `sim` always has URLs in its settings (the simulator on loopback).
    """
    if settings.env == "sim":
        assert settings.api_url, "Settings.load fills in the simulator's"
        assert settings.ws_url, "Settings.load fills in the simulator's"
        return Endpoints(settings.api_url, settings.ws_url)
    known = _ENDPOINTS[settings.env]
    return Endpoints(settings.api_url or known.rest, settings.ws_url or known.websocket)
