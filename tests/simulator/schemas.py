"""The official specifications as JSON Schema, closed: a member they do not know is an error too."""

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

DATA = Path(__file__).parent / "data"


def load(name: str) -> Any:
    """Return a file of the test data."""
    return json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))


def _corrected(document: Any) -> Any:
    """Correct the files where recordings of the real exchange contradict them."""
    schemas = document["components"]["schemas"]
    if "marketTicker" in schemas:  # recorded tickers have dots: KXHIGHNY-26JUL19-B80.5
        schemas["marketTicker"].pop("pattern")
    if "GetTagsForSeriesCategoriesResponse" in schemas:  # recorded: null for a category without tags
        tags = schemas["GetTagsForSeriesCategoriesResponse"]["properties"]["tags_by_categories"]
        tags["additionalProperties"]["nullable"] = True
    return document


def _schema(node: Any, closed: bool) -> Any:
    """Turn an OpenAPI 3.0 schema into JSON Schema: `nullable`, and closed objects where wanted."""
    if isinstance(node, list):
        return [_schema(entry, closed) for entry in node]
    if not isinstance(node, dict):
        return node
    out = {key: _schema(value, closed) for key, value in node.items() if key != "nullable"}
    if "$ref" in out:
        out = {"allOf": [{"$ref": out["$ref"]}]}
    if closed and out.get("properties") and "additionalProperties" not in out and "allOf" not in out:
        out["additionalProperties"] = False
    return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") is True else out


@cache
def openapi() -> dict[str, Any]:
    document: dict[str, Any] = _corrected(load("openapi"))
    return document


@cache
def _components() -> dict[str, Any]:
    schemas = openapi()["components"]["schemas"]
    return {"schemas": {name: _schema(schema, True) for name, schema in schemas.items()}}


@cache
def _answer_validator(path: str, method: str, status: int) -> Draft202012Validator | None:
    """Return what checks an answer, None where the specification has no body for it."""
    answer = openapi()["paths"][path][method]["responses"][str(status)]
    if "$ref" in answer:
        answer = openapi()["components"]["responses"][answer["$ref"].split("/")[-1]]
    if "content" not in answer:
        return None
    schema = answer["content"]["application/json"]["schema"]
    return Draft202012Validator({**_schema(schema, True), "components": _components()})


@cache
def _frame_validator(payload: str) -> Draft202012Validator:
    schemas = _corrected(load("asyncapi"))["components"]["schemas"]
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{payload}", "components": {"schemas": _schema(schemas, False)}}
    )


FRAMES = {
    "subscribed": "subscribedResponsePayload",
    "unsubscribed": "unsubscribedResponsePayload",
    "ok": "okResponsePayload",
    "error": "errorResponsePayload",
    "orderbook_snapshot": "orderbookSnapshotPayload",
    "orderbook_delta": "orderbookDeltaPayload",
    "ticker": "tickerPayload",
    "trade": "tradePayload",
    "market_lifecycle_v2": "marketLifecycleV2Payload",
    "event_lifecycle": "eventLifecyclePayload",
    "event_fee_update": "eventFeeUpdatePayload",
}
"""Frame type -> schema of the AsyncAPI file, of the public channels."""

PRIVATE_FRAMES = {
    "fill": "fillPayload",
    "user_order": "userOrderPayload",
    "market_position": "marketPositionPayload",
    "order_group_updates": "orderGroupUpdatesPayload",
}
"""The same, of an account's channels."""


def answer_errors(path: str, body: Any, method: str = "get", status: int = 200) -> list[str]:
    """Return what is wrong with an answer of an operation; `body` is None where there is none."""
    validator = _answer_validator(path, method, status)
    if validator is None or body is None:
        return [] if (validator is None) == (body is None) else ["a body where none is, or none where one is"]
    return [f"{e.json_path}: {e.message[:200]}" for e in validator.iter_errors(body)]


SINCE = {"exchange_index", "last_update_reason", "last_updated_ts_ms"}
"""Members of private frames that are younger than the file, in the changelog to October 2026."""


def unknown_members(frame: dict[str, Any]) -> set[str]:
    """Return the members of a private frame that neither the file nor the changelog has."""
    schemas = _corrected(load("asyncapi"))["components"]["schemas"]
    known = schemas[PRIVATE_FRAMES[frame["type"]]]["properties"]["msg"]["properties"]
    return set(frame["msg"]) - set(known) - SINCE


def frame_errors(frame: dict[str, Any]) -> list[str]:
    """Return what is wrong with a WebSocket frame."""
    payload = {**FRAMES, **PRIVATE_FRAMES}[frame["type"]]
    if frame["type"] == "ok" and isinstance(frame.get("msg"), list):
        payload = "listSubscriptionsResponsePayload"
    found = [f"{e.json_path}: {e.message[:200]}" for e in _frame_validator(payload).iter_errors(frame)]
    if not isinstance(frame.get("sending_ts_ms"), int):  # since 1 October 2026, after the file
        found.append("sending_ts_ms is missing")
    return found


PRIVATE = (
    "/portfolio",
    "/account/",
    "/api_keys",
    "/historical/fills",
    "/historical/orders",
    "/historical/pos",
)


def operations() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield (path, parameters) of every market data operation."""
    for path, item in openapi()["paths"].items():
        if not path.startswith(PRIVATE) or path == "/account/endpoint_costs":
            yield path, _parameters(item, "get")


def private_operations() -> Iterator[tuple[str, str, list[dict[str, Any]], dict[str, Any] | None]]:
    """Yield (method, path, parameters, properties of the body or None) of every operation of an account."""
    for path, item in openapi()["paths"].items():
        if not path.startswith(PRIVATE) or path == "/account/endpoint_costs":
            continue
        for method in sorted({"get", "post", "put", "delete"} & set(item)):
            body = item[method].get("requestBody")
            schema = body["content"]["application/json"]["schema"] if body is not None else None
            yield method.upper(), path, _parameters(item, method), _properties(schema)


def _parameters(item: dict[str, Any], method: str) -> list[dict[str, Any]]:
    parameters = openapi()["components"].get("parameters", {})
    given = item[method].get("parameters", []) + item.get("parameters", [])
    return [parameters[p["$ref"].split("/")[-1]] if "$ref" in p else p for p in given]


def _properties(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    if "$ref" in schema:
        schema = openapi()["components"]["schemas"][schema["$ref"].split("/")[-1]]
    return dict(schema.get("properties", {}))


def fill(path: str, values: dict[str, str]) -> str:
    """Put values into the ``{name}`` segments of a path."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
