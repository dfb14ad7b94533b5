"""The OpenAPI document against the server, by schemathesis: no 5xx, and every answer is as described."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response
from schemathesis.core.result import Ok

from bus.protocol.join import Stats
from bus.protocol.messages import Heartbeat
from bus.replica import ReplicaStatus
from snapshot_server.docs_page import page
from snapshot_server.edition import next_edition
from snapshot_server.http import HttpRequest, respond
from snapshot_server.openapi import document
from snapshot_server.trade_api import described
from snapshot_server.trade_api.routes import TEMPLATES
from snapshot_server.view import View
from tests.simulator.schemas import openapi as kalshis
from tests.snapshot_server.venue import HEALTH, a_catalogue, a_writer

NOW_MS = 1_790_000_000_000
BASE_URL = "http://127.0.0.1:5002"
CATALOGUE = a_catalogue(60, NOW_MS)
SCHEMA = schemathesis.openapi.from_dict(document())
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
KNOWN = {
    "ticker": CATALOGUE.markets[0].ticker,
    "tickers": CATALOGUE.markets[0].ticker,
    "market_tickers": CATALOGUE.markets[0].ticker,
    "event_ticker": CATALOGUE.events[0].event_ticker,
    "series_ticker": CATALOGUE.events[0].series_ticker,
    "milestone_id": "m1",
}


@cache
def view() -> View:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    edition = next_edition(writer.state.frozen(), writer.state.digest(), None, NOW_MS, lambda: None)
    status = ReplicaStatus(1, 1, True, "live", False, 0, (), "live", Stats())
    heartbeat = Heartbeat(since=0, seq=0, streams={}, now_ms=NOW_MS, publisher=HEALTH)
    return View(edition, status, heartbeat, 30_000)


def answer(case: "Case[Any]") -> Response:
    """Answer a case as the server does."""
    prepared = requests.Request(**_plain(case.as_transport_kwargs(base_url=BASE_URL))).prepare()
    parts = urlsplit(prepared.url or "")
    headers = {str(name).lower(): str(value) for name, value in prepared.headers.items()}
    headers |= {"host": "127.0.0.1:5002", "accept-encoding": "identity"}
    headers.pop("if-none-match", None)
    request = HttpRequest(prepared.method or "GET", unquote(str(parts.path)), str(parts.query), headers)
    answered = respond(request, view(), NOW_MS)
    sent = {name: [value] for name, value in answered.headers}
    elapsed = timedelta(milliseconds=1).total_seconds()
    return Response(answered.status, sent, answered.content(), prepared, elapsed, True, "said")


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    known = ("method", "url", "headers", "params", "data", "json", "cookies")
    return {name: value for name, value in arguments.items() if name in known}


@st.composite
def questions(draw: st.DrawFn) -> "Case[Any]":
    """Return a question: of parameters as described or, where there are some, otherwise."""
    operation = draw(st.sampled_from(OPERATIONS))
    modes = list(GenerationMode) if operation.query else [GenerationMode.POSITIVE]
    case: Case[Any] = draw(operation.as_strategy(generation_mode=draw(st.sampled_from(modes))))
    if draw(st.booleans()):  # else hardly any name would be one that is here
        for place in (case.path_parameters, case.query):
            if isinstance(place, dict):
                place.update({name: value for name, value in KNOWN.items() if name in place})
    return case


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(questions())
def test_whatever_is_asked_the_answer_is_as_described(case: "Case[Any]") -> None:
    response = answer(case)
    assert response.status_code < 500, response.content[:500]
    case.validate_response(response, checks=list(_checks()))


def _checks() -> Iterator[Any]:
    for name in ("status_code_conformance", "content_type_conformance", "response_schema_conformance"):
        yield schemathesis.checks.CHECKS.get_one(name)


def test_all_routes_are_described_with_parameters_that_kalshi_has() -> None:
    base = TEMPLATES[0].removesuffix("/exchange/status")
    assert sorted(base + template for template in described.ROUTES) == sorted(TEMPLATES)
    shared = kalshis()["components"]["parameters"]
    for template, route in described.ROUTES.items():
        spec = kalshis()["paths"].get(template, {}).get("get")
        if spec is None:
            continue  # younger than the file
        named = [
            shared[entry["$ref"].rpartition("/")[2]] if "$ref" in entry else entry
            for entry in spec.get("parameters", ())
        ]
        query = {entry["name"]: entry for entry in named if entry["in"] == "query"}
        assert set(route.parameters) <= set(query), template
        assert set(route.required) == {name for name, entry in query.items() if entry.get("required")}, (
            template
        )


def test_the_page_has_all_of_it_and_nothing_from_elsewhere() -> None:
    text = page().decode()
    for path in document()["paths"]:
        assert f"GET {path}<" in text
    assert "src=" not in text
    assert "http://" not in text.replace(BASE_URL, "")
    assert "<script" not in text
    assert view().edition is not None
    answered = respond(HttpRequest("GET", "/docs", "", {"host": "localhost"}), view(), NOW_MS)
    assert dict(answered.headers)["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in dict(answered.headers)["content-security-policy"]
