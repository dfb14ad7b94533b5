"""Faults on demand: what a fault file or ``POST /sim/faults`` may ask for, and how that is done.

Deterministic: the rules draw from a generator of their own, seeded by the document.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import msgspec

from markets.errors import StartupError
from simulator.floor.model import Stage

from .mutations import Mutation, mutate, owners
from .order_faults import OrderFault
from .render import dumps
from .wire import JSON, Response

REST_FAULTS: Final = (
    "latency", "status", "timeout", "disconnect", "html", "truncate", "missing_field", "renamed_field",
    "unknown_field", "set_field", "mutate", "repeated_cursor", "endless_cursor",
)  # fmt: skip
FRAME_FAULTS: Final = ("drop", "duplicate", "swap", "stall", "disconnect", "set_field", "mutate")

HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Rule(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One fault.

    Attributes:
        fault: what happens; see docs/simulator.md.
        route: which requests, ``GET /markets`` with ``*`` as wildcard, as in the counters of /sim/stats.
        frame: which WebSocket frames, by type with ``*``; a rule is for requests or for frames.
        probability: share of what matches that is hit.
        skip: this many matches pass first.
        count: at most this many are hit; None: no limit.
        from_s: begins this many seconds after it was given.
        for_s: lasts this many seconds; None: no end.
        ms: delay of `latency`, patience of `timeout`.
        status: HTTP status of `status`. retry_after_s: its Retry-After, None for none.
        field: the member to remove, rename, add or set, in one object of the answer.
        to: new name of `renamed_field`. value: what `set_field` writes, any JSON.
        how: how `mutate` changes the member named by `field`, here a dotted path.
        everywhere: the field is changed in all objects, not in one.
        ticker: the field is changed in all objects of this market; for frames, only its own are hit.
    """

    fault: str
    route: str | None = None
    frame: str | None = None
    probability: float = 1.0
    skip: int = 0
    count: int | None = None
    from_s: float = 0.0
    for_s: float | None = None
    ms: int = 1000
    status: int = 503
    retry_after_s: int | None = None
    field: str = "yes_bid_dollars"
    to: str = "yes_bid"
    value: Any = None
    how: Mutation = "null"
    everywhere: bool = False
    ticker: str | None = None


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Pace = Annotated[float, msgspec.Meta(ge=0, le=1_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Skew = Annotated[int, msgspec.Meta(ge=-(2**40), le=2**40)]
Most = Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class Switches(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """State of the exchange that a rehearsal may change; None leaves things as they are.

    Attributes:
        cache_s: how long market data answers are cached, with ``Age`` (15 at the real one); 0 turns it off.
        nested_429: the 429 body seen live (True) or that of the documents (False).
        bill_books_per_ticker: a batch of books costs 10 per ticker instead of 10 per call.
        clock_skew_ms: how far the exchange's clock is off when it checks signatures.
        pace: scales how often prices move; 0 freezes them.
        trade_share: share of the moves that are trades.
        mispricings: plant new mispricings.
        bursts: let single markets go wild for a second now and then.
        rivals: let others take what is mispriced.
        informed_share, void_rate, postponed_rate, dead_heat_rate, scalar_rate: shares, 0 to 1, of what they
            name (docs/simulator.md).
        trading_active: False: trading is paused on the whole exchange.
        exchange_active: False: the exchange itself is paused.
        shards: shard number -> whether it trades.
        pause_shards: shard number -> for how many ms it pauses trading from now on.
        paused_markets: deactivate exactly these markets.
        stages: event -> the stage to which its life advances at once: "closed", "determined", "settled", or
            "gone".
        gzip: compress answers if the client accepts it.
        ws_markets: how many markets a connection may subscribe to; error 26 beyond.
        ws_commands: how many commands a connection may send in a second; error 27 beyond.
        combos: create this many combo (multivariate) markets; otherwise there are none.
    """

    cache_s: Seconds | None = None
    nested_429: bool | None = None
    bill_books_per_ticker: bool | None = None
    clock_skew_ms: Skew | None = None
    pace: Pace | None = None
    trade_share: Share | None = None
    mispricings: bool | None = None
    bursts: bool | None = None
    rivals: bool | None = None
    informed_share: Share | None = None
    void_rate: Share | None = None
    postponed_rate: Share | None = None
    dead_heat_rate: Share | None = None
    scalar_rate: Share | None = None
    trading_active: bool | None = None
    exchange_active: bool | None = None
    shards: dict[int, bool] | None = None
    pause_shards: dict[int, int] | None = None
    paused_markets: list[str] | None = None
    stages: dict[str, Stage] | None = None
    gzip: bool | None = None
    ws_markets: Most | None = None
    ws_commands: Most | None = None
    combos: int | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A fault file. `rules` and `orders` replace the previous ones; `settings` change only what they name."""

    rules: list[Rule] | None = None
    orders: list[OrderFault] | None = None
    settings: Switches | None = None
    seed: int = 1


class BadFaults(ValueError):
    """A malformed fault document; the message names the member and what was expected."""


def parse(data: bytes) -> Document:
    """Read a fault document.

    Raises:
        BadFaults: the JSON is bad, a member is unknown or a value out of bounds.
    """
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFaults(str(error)) from None
    for index, rule in enumerate(document.rules or ()):
        if (rule.route is None) == (rule.frame is None):
            raise BadFaults(f"rules[{index}]: expected exactly one of route and frame")
        allowed = REST_FAULTS if rule.route is not None else FRAME_FAULTS
        if rule.fault not in allowed:
            raise BadFaults(
                f"rules[{index}].fault: got {rule.fault!r:.100}, expected one of {', '.join(allowed)}"
            )
        if not 0 <= rule.probability <= 1:
            raise BadFaults(f"rules[{index}].probability: got {rule.probability}, expected 0 to 1")
        if not 100 <= rule.status <= 599:
            raise BadFaults(f"rules[{index}].status: got {rule.status}, expected an HTTP status")
        if not 0 <= (rule.retry_after_s or 0) <= 3_600:
            raise BadFaults(f"rules[{index}].retry_after_s: got {rule.retry_after_s}, expected 0 to 3600")
        if not 0 <= rule.ms <= 600_000:
            raise BadFaults(f"rules[{index}].ms: got {rule.ms}, expected 0 to 600000")
    for index, fault in enumerate(document.orders or ()):
        if (problem := fault.problem()) is not None:
            raise BadFaults(f"orders[{index}].{problem}")
    for shard, ms in ((document.settings and document.settings.pause_shards) or {}).items():
        if not 0 <= ms <= 3_600_000:
            raise BadFaults(f"settings.pause_shards[{shard}]: got {ms}, expected 0 to 3600000")
    if document.settings is not None and not 0 <= (document.settings.combos or 0) <= 100_000:
        raise BadFaults(f"settings.combos: got {document.settings.combos}, expected 0 to 100000")
    return document


def read(path: Path) -> Document:
    """Read a fault file.

    Raises:
        StartupError: it cannot be read or is not a fault document.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise StartupError(f"--faults {path}: {error.strerror}") from error
    except BadFaults as error:
        raise StartupError(f"--faults {path}: {error}") from error


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.hits: list[int] = []
        self._seen: list[int] = []
        self._since_ms = 0
        self._rng = Random(1)
        self._held: dict[int, str] = {}
        self._cursors: dict[str, str] = {}
        self._pages = 0

    def install(self, rules: list[Rule], seed: int, now_ms: int) -> None:
        """Replace the rules; their times count from now."""
        self.rules = rules
        self.hits, self._seen = [0] * len(rules), [0] * len(rules)
        self._since_ms = now_ms
        self._rng = Random(seed)
        self._held.clear()

    def _hit(self, index: int, rule: Rule, now_ms: int) -> bool:
        elapsed = (now_ms - self._since_ms) / 1000 - rule.from_s
        if elapsed < 0 or (rule.for_s is not None and elapsed >= rule.for_s):
            return False
        self._seen[index] += 1
        if self._seen[index] <= rule.skip or (rule.count is not None and self.hits[index] >= rule.count):
            return False
        if rule.probability < 1 and self._rng.random() >= rule.probability:
            return False
        self.hits[index] += 1
        return True

    # Requests ---------------------------------------------------------------------------------------

    def answer(self, route: str, response: Response, now_ms: int) -> Response:
        """Return what becomes of an answer under the rules."""
        for index, rule in enumerate(self.rules):
            if rule.route is not None and fnmatchcase(route, rule.route) and self._hit(index, rule, now_ms):
                response = self._spoil(rule, route, response)
        return response

    def _spoil(self, rule: Rule, route: str, response: Response) -> Response:
        match rule.fault:
            case "latency":
                return replace(response, delay_ms=response.delay_ms + rule.ms)
            case "timeout":
                return replace(response, delay_ms=response.delay_ms + rule.ms, cut=True)
            case "disconnect":
                return replace(response, cut=True)
            case "status":
                words = {429: "too_many_requests", 500: "internal_server_error", 503: "service_unavailable"}
                code = words.get(rule.status, "error")
                body = dumps({"error": {"code": code, "message": code.replace("_", " ")}})
                asked = {} if rule.retry_after_s is None else {"Retry-After": str(rule.retry_after_s)}
                return replace(response, status=rule.status, body=body.encode(), headers={**JSON, **asked})
            case "html":
                return replace(response, status=rule.status, body=HTML, headers={"content-type": "text/html"})
            case "truncate":
                return replace(response, body=response.body[: len(response.body) // 2])
        try:
            body = json.loads(response.body)
        except ValueError:
            return response
        if rule.fault in ("repeated_cursor", "endless_cursor"):
            if not isinstance(body, dict) or "cursor" not in body:
                return response
            body["cursor"] = self._cursor(rule, route, body["cursor"])
        else:
            self._change(rule, body)
        return replace(response, body=dumps(body).encode("utf-8", "surrogateescape"))

    def _cursor(self, rule: Rule, route: str, cursor: str) -> str:
        """Make a list go on for ever: every page names the cursor of the first one seen, or a new one."""
        if rule.fault == "repeated_cursor":
            return self._cursors.setdefault(route, cursor or "AA")
        self._pages += 1
        return f"A{self._pages}"

    def _change(self, rule: Rule, body: Any) -> None:
        """Remove, rename, add or set a member in one object (or all, or a market's) of a JSON value."""
        if rule.fault == "mutate":
            self._mutate(rule, body)
            return
        added = rule.fault == "unknown_field"
        objects = [o for o in _objects(body, rule.ticker) if rule.field in o or (added and len(o) > 5)]
        if not rule.everywhere and rule.ticker is None and objects:
            objects = [objects[self._rng.randrange(len(objects))]]
        for found in objects:
            match rule.fault:
                case "unknown_field":
                    name = rule.field if rule.field != "yes_bid_dollars" else "brand_new_field"
                    found[name] = {"new": True}
                case "renamed_field":
                    found[rule.to] = found.pop(rule.field)
                case "set_field":
                    found[rule.field] = rule.value
                case _:
                    found.pop(rule.field)

    def _mutate(self, rule: Rule, body: Any) -> None:
        """Change the member at the end of a path in one object that can have it, or in all."""
        tops = [body] if rule.ticker is None else _objects(body, rule.ticker)
        objects = list({id(o): o for top in tops for o in owners(top, rule.field)}.values())
        if not rule.everywhere and rule.ticker is None:
            self._rng.shuffle(objects)
        for found in objects:
            if mutate(found, rule.field.rpartition(".")[2], rule.how) and not (
                rule.everywhere or rule.ticker
            ):
                return

    # Frames -----------------------------------------------------------------------------------------

    def frames(self, connection: Any, kind: str, text: str, now_ms: int) -> Iterable[str]:
        """Return what leaves instead of one frame of a connection; may mark it stalled or closing."""
        out = [text]
        for index, rule in enumerate(self.rules):
            if rule.frame is None or not fnmatchcase(kind, rule.frame):
                continue
            if rule.ticker is not None and not any(_objects(json.loads(text), rule.ticker)):
                continue
            if not self._hit(index, rule, now_ms):
                continue
            match rule.fault:
                case "drop":
                    out = []
                case "set_field" | "mutate":
                    body = json.loads(text)
                    self._change(rule, body)
                    out = [dumps(body)]
                case "duplicate":
                    out = out * 2
                case "swap":
                    self._held[id(connection)] = text
                    return []
                case "stall":
                    connection.stalled = True
                    return []
                case "disconnect":
                    connection.closing = True
                    return []
        held = self._held.pop(id(connection), None)
        return out if held is None else [*out, held]


def _objects(value: Any, ticker: str | None = None) -> Iterable[dict[str, Any]]:
    """Yield the objects in a JSON value; with a `ticker`, those of this market and what they contain."""
    if isinstance(value, dict):
        if ticker in (None, value.get("ticker"), value.get("market_ticker")):
            ticker = None
            yield value
        for member in value.values():
            yield from _objects(member, ticker)
    elif isinstance(value, list):
        for member in value:
            yield from _objects(member, ticker)
