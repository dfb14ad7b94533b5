"""A client of the simulator's pure core, on a virtual clock."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from simulator.front.api import Api
from simulator.front.wire import Request, Response

START_MS = 1_792_432_800_000
"""2026-10-19T18:00:00Z, a Monday afternoon."""


class Client:
    """Calls the core directly; `now_ms` is the virtual clock."""

    def __init__(self, api: Api, now_ms: int = START_MS) -> None:
        self.api = api
        self.now_ms = now_ms

    def send(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Response:
        parts = urlsplit(target)
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(method, parts.path, query, headers or {}, b"", "127.0.0.1")
        return self.api.handle(request, self.now_ms)

    def get(self, target: str, status: int = 200) -> Any:
        """GET a path below /trade-api/v2 and return its JSON; the status must be as expected."""
        response = self.send("/trade-api/v2" + target)
        assert response.status == status, response.body[:300]
        return json.loads(response.body)

    def walk(self, target: str, key: str, cursor: str = "") -> list[Any]:
        """Return all elements of a paged list, or those after `cursor`."""
        joint = "&" if "?" in target else "?"
        found: list[Any] = []
        while True:
            page = self.get(target + (f"{joint}cursor={cursor}" if cursor else ""))
            found += page[key]
            cursor = page["cursor"]
            if not cursor:
                return found

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.api.exchange.advance(self.now_ms)
