"""``python tools/kalshi_spec.py OPENAPI ASYNCAPI > markets/json/spec.json``: Kalshi's documents, compacted.

From the two documents (YAML or JSON) it keeps what `markets/json/drift.py` needs: for each route and channel
that is read, the members with their types, which are required, which may be null, and their enumerated words.
Prices, counts and tickers, plain strings in the documents, are recognised here by name. Where recordings
differ from the documents, `markets/json/known.json` says so.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml

ROUTES: Final = (
    "/account/limits",
    "/events",
    "/events/fee_changes",
    "/events/{event_ticker}",
    "/exchange/status",
    "/historical/markets/{ticker}",
    "/markets",
    "/markets/candlesticks",
    "/markets/orderbooks",
    "/markets/{ticker}",
    "/milestones",
    "/milestones/{milestone_id}",
    "/series",
    "/series/fee_changes",
    "/series/{series_ticker}",
)
PRIVATE: Final = frozenset({"/account/limits"})

FRAMES: Final = {
    "subscribed": ("root", "subscribedResponsePayload"),
    "unsubscribed": ("root", "unsubscribedResponsePayload"),
    "ok": ("root", "okResponsePayload"),
    "list_subscriptions": ("root", "listSubscriptionsResponsePayload"),
    "error": ("root", "errorResponsePayload"),
    "orderbook_snapshot": ("orderbook_delta", "orderbookSnapshotPayload"),
    "orderbook_delta": ("orderbook_delta", "orderbookDeltaPayload"),
    "ticker": ("ticker", "tickerPayload"),
    "trade": ("trade", "tradePayload"),
    "market_lifecycle_v2": ("market_lifecycle_v2", "marketLifecycleV2Payload"),
    "event_lifecycle": ("market_lifecycle_v2", "eventLifecyclePayload"),
    "event_fee_update": ("market_lifecycle_v2", "eventFeeUpdatePayload"),
}
"""Type of frame -> its channel and schema. An "ok" with a list is a "list_subscriptions"."""

_COUNTED: Final = re.compile(r"_fp$")
_PRICED: Final = re.compile(r"_dollars$|^settlement_value$")
_TICKER: Final = re.compile(r"(^|_)ticker$")
_TICKERS: Final = re.compile(r"_tickers$")
_MULTIPLIER: Final = re.compile(r"^fee_multiplier")

Schema = dict[str, Any]


class Compact:
    """The objects of one document, compacted on demand."""

    def __init__(self, schemas: Schema) -> None:
        self.objects: dict[str, dict[str, Schema]] = {}
        self._schemas = schemas

    def named(self, name: str) -> str:
        """Add an object of the document under its own name, and return that name."""
        return self.taken(name, self._schemas[name])

    def taken(self, name: str, schema: Schema) -> str:
        """Add an object under this name, and return the name."""
        if name not in self.objects:
            members = self.objects[name] = {}
            required = set(schema.get("required", ()))
            for member, its in sorted(schema.get("properties", {}).items()):
                found = self.member(name, member, its)
                if member in required:
                    found["required"] = True
                members[member] = found
        return name

    def member(self, owner: str, name: str, schema: Schema) -> Schema:
        """Return a member: its type and other constraints."""
        whole = self._resolved(schema)
        found: Schema = {"type": self._type(owner, name, whole)}
        if whole.get("nullable") or None in whole.get("enum", ()):
            found["null"] = True
        words = [word for word in whole.get("enum", ()) if word is not None]
        if "const" in whole:
            words = [whole["const"]]
        if words:
            found["words"] = words
        for bound, said in (("least", "minimum"), ("most", "maximum")):
            if said in whole:
                found[bound] = whole[said]
        if _MULTIPLIER.search(name):
            found.update(least=0, most=100)
        return found

    def _resolved(self, schema: Schema) -> Schema:
        """Return a schema with its references resolved; the name of a referenced object is kept."""
        parts = [*schema.get("allOf", ()), {key: its for key, its in schema.items() if key != "allOf"}]
        whole: Schema = {}
        for part in parts:
            if "$ref" in part:
                name = part["$ref"].split("/")[-1]
                whole |= {"$named": name} | self._resolved(self._schemas[name])
            whole |= {key: its for key, its in part.items() if key != "$ref"}
        return whole

    def _type(self, owner: str, name: str, schema: Schema) -> str:
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            if "properties" in schema:
                return self.taken(schema.get("$named", f"{owner}.{name}"), schema)
            inner = schema.get("additionalProperties")
            return f"map {self._element(owner, name, inner)}" if isinstance(inner, dict) else "object"
        if kind == "array":
            items = self._resolved(schema["items"])
            if items.get("type") == "array":
                return "list level" if items.get("minItems") == items.get("maxItems") == 2 else "list any"
            if _TICKERS.search(name):
                return "list ticker"
            return f"list {self._element(owner, name, items)}"
        if kind == "string":
            return self._text(owner, name, schema)
        return str(kind) if kind in ("integer", "number", "boolean") else "any"

    def _element(self, owner: str, name: str, schema: Schema) -> str:
        found = self.member(owner, name, schema)
        return "text" if "words" in found else str(found["type"])

    def _text(self, owner: str, name: str, schema: Schema) -> str:
        if "enum" in schema or "const" in schema:
            return "word"
        if schema.get("format") == "date-time":
            return "time"
        if schema.get("format") == "uuid":
            return "uuid"
        if name == "delta_fp":
            return "change"
        if owner.endswith((".price_ranges", "PriceRange")) or _PRICED.search(name):
            return "price"
        if _COUNTED.search(name):
            return "count"
        return "ticker" if _TICKER.search(name) else "text"


def compact(openapi: Schema, asyncapi: Schema) -> Schema:
    """Return what both documents say about the routes and frames that are read."""
    rest, stream = Compact(openapi["components"]["schemas"]), Compact(asyncapi["components"]["schemas"])
    routes: dict[str, Schema] = {}
    for path in ROUTES:
        schema = openapi["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        name = schema["$ref"].split("/")[-1]
        routes[f"GET {path}"] = {"object": rest.named(name)} | ({"private": True} if path in PRIVATE else {})
    frames: dict[str, Schema] = {}
    for kind, (channel, name) in FRAMES.items():
        schema = asyncapi["components"]["schemas"][name]
        frames[kind] = {"route": f"ws {channel}", "object": stream.taken(f"frame.{kind}", schema)}
    return {
        "versions": {"openapi": openapi["info"]["version"], "asyncapi": str(asyncapi["info"]["version"])},
        "routes": routes,
        "frames": frames,
        "objects": dict(sorted((rest.objects | stream.objects).items())),
    }


def text_of(spec: Schema) -> str:
    """Return the text of the file, with one member per line."""
    lines = []
    for name, members in spec["objects"].items():
        inner = ",\n".join(f"  {json.dumps(member)}: {json.dumps(its)}" for member, its in members.items())
        lines.append(f" {json.dumps(name)}: {{\n{inner}\n }}")
    head = ",\n".join(
        f'"{key}": {json.dumps(spec[key], indent=1)}' for key in ("versions", "routes", "frames")
    )
    return "{" + head + ',\n"objects": {\n' + ",\n".join(lines) + "\n}}\n"


def main(arguments: list[str]) -> None:
    """Print the compact form of the two given documents."""
    openapi, asyncapi = (yaml.load(Path(name).read_text(), yaml.CSafeLoader) for name in arguments)
    sys.stdout.write(text_of(compact(openapi, asyncapi)))


if __name__ == "__main__":
    main(sys.argv[1:])
