"""The REST side of the exchange, pure: `Api.handle(request, now_ms) -> Response`.

Routing, signatures, limits, cache, faults, counters and parameters are here; the operations are in
`operations`.
"""

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

import msgspec
import structlog
from msgspec import to_builtins

from markets.json.words import BASE, FALSE_WORDS, TRUE_WORDS, unparsable
from markets.units import format_count
from simulator.floor.exchange import Exchange
from simulator.floor.model import Event, Market
from simulator.matching.orders import OrderSwitches

from . import auth, cursors, faults
from .auth import KeyPair
from .billing import bill
from .delivery import Delivery
from .faults import Document, Faults, Switches
from .limits import RequestLimits
from .order_faults import OrderFaults
from .reads import KEPT_MS, Reads
from .render import dumps
from .wire import (
    JSON,
    ApiError,
    Request,
    Response,
    error,
    internal_error,
    invalid,
    not_found,
    ok,
    out_of_range,
    unsigned,
)
from .ws import Hub, WsConnection

CACHED: Final = {**JSON, "cache-control": "public, max-age=15", "x-kalshi-cache-hits": "0"}
"""Headers of routes behind the 15 s cache (contract 8)."""

_CACHE_ENTRIES: Final = 500
_RATES: Final = ("informed_share", "void_rate", "postponed_rate", "dead_heat_rate", "scalar_rate")
_PRIVATE: Final = ("/portfolio", "/account", "/api_keys", "/communications", "/fcm")


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """A call of an operation: `args` are the parameters of its path, `account` the caller's, 0 for none."""

    api: "Api"
    request: Request
    args: dict[str, str]
    account: int


Handler = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: its name as the specification spells it, and what a call requires."""

    method: str
    template: str
    pattern: re.Pattern[str]
    handler: Handler
    private: bool


class Routes(list[Route]):
    """Operations of one module; `routes.get(template)` decorates a handler."""

    def get(self, template: str, private: bool = False) -> Callable[[Handler], Handler]:
        """Register a handler for GET of a path below /trade-api/v2, with ``{name}`` segments."""
        return self._register("GET", template, private)

    def post(self, template: str, private: bool = False) -> Callable[[Handler], Handler]:
        """Register a handler for POST."""
        return self._register("POST", template, private)

    def put(self, template: str, private: bool = False) -> Callable[[Handler], Handler]:
        """Register a handler for PUT."""
        return self._register("PUT", template, private)

    def delete(self, template: str, private: bool = False) -> Callable[[Handler], Handler]:
        """Register a handler for DELETE."""
        return self._register("DELETE", template, private)

    def _register(self, method: str, template: str, private: bool) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            pattern = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template) + "$")
            self.append(Route(method, template, pattern, handler, private))
            return handler

        return register


@dataclass(slots=True)
class _Kept:
    """An answer in the cache."""

    response: Response
    at_ms: int
    hits: int = 0


class Api:
    """The REST side of the exchange.

    Args:
        exchange: the exchange to serve.
        routes: the operations; the first that matches a path wins.
        keys: key id -> key pair of an account; without any, every signed request is refused.
        limits: token buckets; None: 429 is never answered.
        exchange_id: the id of this exchange; another one has other accounts.

    Attributes:
        reads: what accounts read about themselves, and how late.
    """

    def __init__(
        self,
        exchange: Exchange,
        routes: Sequence[Route],
        keys: Mapping[str, KeyPair] | None = None,
        limits: RequestLimits | None = None,
        exchange_id: str = str(UUID(int=0)),
    ) -> None:
        self.exchange = exchange
        self.exchange_id = exchange_id
        self._append: Callable[[dict[str, Any]], None] | None = None
        self._unwritten: deque[dict[str, Any]] = deque()
        self.reads = Reads(exchange, exchange.seed)
        exchange.matching.listeners.append(self.reads)
        self.routes = tuple(routes)
        self.keys = dict(keys or {})
        self.limits = limits
        self.by_route: Counter[str] = Counter()
        self.responses_429 = 0
        self.hub: Hub | None = None
        self.nested_429 = True
        self.bill_books_per_ticker = False
        self.cache_ms = 0
        self.clock_skew_ms = 0
        self.gzip = True
        self.faults = Faults()
        self.order_faults = OrderFaults()
        self._delivery = Delivery(exchange, self.reads, self._pause, self.report)
        for pair in self.keys.values():
            exchange.open_account(pair.account)
        self._reported: set[tuple[str, str, int]] = set()
        self._cache: dict[tuple[str, tuple[tuple[str, str], ...]], _Kept] = {}

    # Entry ------------------------------------------------------------------------------------------

    def handle(self, request: Request, now_ms: int) -> Response:
        """Answer one request at `now_ms`. Never raises."""
        try:
            self.exchange.advance(now_ms)
            if request.path.startswith("/sim/"):
                return self._local(request, now_ms)
            response = self._counted(request, now_ms)
        except ApiError as refusal:
            response = refusal.response
        except Exception as problem:  # noqa: BLE001 (reported)
            self.report(problem, f"{request.method} {request.path}")
            response = internal_error()
        if response.status == 429:
            self.responses_429 += 1
        return response

    def report(self, problem: Exception, what: str) -> None:
        """Log an error of our own, once per line of code that raises it: it may come a thousand times."""
        trace = problem.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
        if (key := (type(problem).__name__, *place)) not in self._reported:
            self._reported.add(key)
            log.error("internal error", what=what, exc_info=problem)

    def _counted(self, request: Request, now_ms: int) -> Response:
        path = request.path.removeprefix(BASE) if request.path.startswith(BASE + "/") else ""
        matches = [(entry, found) for entry in self.routes if (found := entry.pattern.match(path))]
        chosen = next(((entry, found) for entry, found in matches if entry.method == request.method), None)
        name = f"{request.method} {chosen[0].template}" if chosen else "other"
        self.by_route[name] += 1
        try:
            response = self._answer(request, path, chosen, bool(matches), now_ms)
        except ApiError as refusal:
            response = refusal.response
        return self._spoiled(name, response, now_ms)

    def _spoiled(self, name: str, response: Response, now_ms: int) -> Response:
        """Return what becomes of an answer under the rules; for a later answer, when it comes."""
        later = response.later
        if later is not None:
            return replace(response, later=lambda at_ms: self._spoiled(name, later(at_ms), at_ms))
        return self.faults.answer(name, response, now_ms) if self.faults.rules else response

    def _answer(
        self,
        request: Request,
        path: str,
        chosen: tuple[Route, re.Match[str]] | None,
        known: bool,
        now_ms: int,
    ) -> Response:
        skew_ms = self._skew_ms(request, *chosen) if chosen is not None else 0
        pair = self.authenticate(request, now_ms + skew_ms)
        account = pair.account if pair is not None else 0
        if (chosen[0].private if chosen else path.startswith(_PRIVATE)) and pair is None:
            raise ApiError(unsigned())
        self._charge(request, path, pair, now_ms)
        if chosen is None:
            raise ApiError(error(405, "method_not_allowed", "method not allowed")) if known else not_found()
        entry, found = chosen
        if entry.private:
            return self._deliver(entry, request, found, account, now_ms)
        if not self.cache_ms:
            return self._call(entry, request, found, account)
        key = (request.path, request.query)
        kept = self._cache.get(key)
        if kept is None or not 0 <= now_ms - kept.at_ms < self.cache_ms:
            response = self._call(entry, request, found, account)
            if response.headers is not CACHED:
                return response
            kept = self._cache[key] = _Kept(response, now_ms)
            while len(self._cache) > _CACHE_ENTRIES:
                del self._cache[next(iter(self._cache))]
            return response
        kept.hits += 1
        age = str((now_ms - kept.at_ms) // 1000)
        return replace(kept.response, headers={**CACHED, "age": age, "x-kalshi-cache-hits": str(kept.hits)})

    def _call(self, entry: Route, request: Request, found: re.Match[str], account: int) -> Response:
        if entry.private and entry.method != "GET":
            self._note_request(request, account)
        args = {name: unquote(value) for name, value in found.groupdict().items()}
        return entry.handler(Call(self, request, args, account))

    # Faults of orders ---------------------------------------------------------------------------------

    def _skew_ms(self, request: Request, entry: Route, found: re.Match[str]) -> int:
        """Return how far the clock is off for one request, of which only the key id is known."""
        if not (entry.private and self.order_faults.of_requests):
            return 0
        pair = self.keys.get(request.headers.get(auth.KEY, ""))
        about = self._delivery.subject(request, found.groupdict(), pair.account if pair is not None else 0)
        return self.order_faults.skew_ms(_names(entry), entry.method != "GET", about)

    def _deliver(
        self, entry: Route, request: Request, found: re.Match[str], account: int, now_ms: int
    ) -> Response:
        """Carry out an account's request, under the faults in force."""
        if not self.order_faults.of_requests:
            return self._call(entry, request, found, account)
        about = self._delivery.subject(request, found.groupdict(), account)
        hits = self.order_faults.requests(_names(entry), entry.method != "GET", about)
        if not hits:
            return self._call(entry, request, found, account)
        return self._delivery.faulty(hits, lambda: self._call(entry, request, found, account), about, now_ms)

    def _pause(self, shards: dict[int, int]) -> None:
        """Pause shards, and record that: a restart must find them paused."""
        document = Document(settings=Switches(pause_shards=shards))
        self._note_request(Request("POST", "/sim/faults", body=msgspec.json.encode(document)), 0)
        self._settings(document, self.exchange.now_ms)

    def mangle(self, session: WsConnection, kind: str, text: str) -> Iterable[str]:
        """Return what leaves instead of one frame of a connection, under all faults."""
        now_ms = self.exchange.now_ms
        if not self.order_faults.of_frames:
            return self.faults.frames(session, kind, text, now_ms)
        out = self.order_faults.frames(session.account, kind, text, now_ms)
        return [left for frame in out for left in self.faults.frames(session, kind, frame, now_ms)]

    # What is asked, recorded for a restart
    # ---------------------------------------------------------------------

    def remember(self, append: Callable[[dict[str, Any]], None]) -> None:
        """From now on, hand whatever changes the exchange to `append` before it does so."""
        self._append = append
        self.exchange.venue.listeners.append(self._looked)

    def _looked(self, market: Market) -> None:
        """Note a first look at a book; if it cannot be written yet, market data goes on."""
        self._unwritten.append({"at": self.exchange.now_ms, "look": market.ticker})
        try:
            self._write()
        except OSError as problem:
            self.report(problem, "writing down a first look at a book")

    def _write(self) -> None:
        while self._unwritten and self._append is not None:
            self._append(self._unwritten[0])
            self._unwritten.popleft()

    def _note(self, **asked: Any) -> None:
        if self._append is None:
            return
        try:
            self._write()  # earlier looks are noted first
            self._append({"at": self.exchange.now_ms, **asked})
        except OSError as problem:
            self.report(problem, "writing down what is asked")
            raise ApiError(error(503, "service_unavailable", "service unavailable")) from problem

    def _note_request(self, request: Request, account: int) -> None:
        body = request.body.decode(errors="replace")  # what is not UTF-8 is refused, then as now
        self._note(account=account, method=request.method, path=request.path, query=request.query, body=body)

    def again(self, asked: dict[str, Any]) -> None:
        """Repeat what was asked before a restart, leaving out what is not understood."""
        try:
            self.exchange.advance(asked["at"])
            if "look" in asked:
                market = self.exchange.markets.get(asked["look"])
                if market is not None:
                    self.exchange.book(market)
                return
            query = tuple((str(name), str(value)) for name, value in asked["query"])
            request = Request(asked["method"], asked["path"], query, body=asked["body"].encode())
            if request.path == "/sim/switches":
                self._switch(request.body, asked["at"])
            elif request.path == "/sim/faults":
                self._settings(faults.parse(request.body), asked["at"])
            else:
                self._ask(request, asked["account"])
        except ApiError:
            pass  # it was refused then, too
        except Exception as problem:  # noqa: BLE001 (reported)
            self.report(problem, "what was asked before the restart")

    def _ask(self, request: Request, account: int) -> None:
        path = request.path.removeprefix(BASE)
        for entry in self.routes:
            found = entry.pattern.match(path)
            if found is not None and entry.method == request.method:
                self._call(entry, request, found, account)
                return

    def upgrade(self, request: Request, now_ms: int) -> Response | int:
        """Return the refusal of a WebSocket upgrade, or the account it is for; auth is always needed."""
        self.by_route["GET /trade-api/ws/v2"] += 1
        try:
            self.exchange.advance(now_ms)
            pair = self.authenticate(request, now_ms)
            return unsigned() if pair is None else pair.account
        except ApiError as refusal:
            return refusal.response
        except Exception as problem:  # noqa: BLE001 (reported)
            self.report(problem, "upgrade")
            return internal_error()

    def authenticate(self, request: Request, now_ms: int) -> KeyPair | None:
        """Return the key pair of a signed request, None for an unsigned one.

        Raises:
            ApiError: 401: the signature is not valid.
        """
        if not auth.present(request.headers):
            return None
        refusal = auth.check(
            self.keys, request.method, request.path, request.headers, now_ms + self.clock_skew_ms
        )
        if refusal is not None:
            raise ApiError(error(401, refusal.code, refusal.message, refusal.details))
        return self.keys[request.headers[auth.KEY]]

    def _charge(self, request: Request, path: str, pair: KeyPair | None, now_ms: int) -> None:
        if self.limits is None or path == "/account/endpoint_costs":
            return
        due = bill(request, path, tuple(self.exchange.halts.shards), self.bill_books_per_ticker)
        payer = pair.key_id if pair is not None else f"address {request.address}"
        advanced = pair is not None and pair.account in self.exchange.advanced
        writes = request.method != "GET"
        if not self.limits.take(payer, writes, due.cost, now_ms, due.shards, advanced=advanced):
            raise ApiError(self.too_many())

    def too_many(self) -> Response:
        """Return the 429, in the shape seen live or in that of the documents."""
        if self.nested_429:
            return error(429, "too_many_requests", "too many requests")
        return Response(429, dumps({"error": "too many requests"}).encode())

    # Local routes -----------------------------------------------------------------------------------

    def _local(self, request: Request, now_ms: int) -> Response:
        if request.method == "GET" and request.path == "/sim/stats":
            stats = {
                "exchange_id": self.exchange_id,
                "requests_total": self.by_route.total(),
                "by_route": dict(sorted(self.by_route.items())),
                "responses_429": self.responses_429,
                "ws_frames": self.hub.frames if self.hub is not None else 0,
            }
            return ok(dumps(stats))
        if request.method == "GET" and request.path == "/sim/truth":
            return ok(dumps(self._truth(request)))
        if request.method == "GET" and request.path == "/sim/accounts":
            return ok(dumps(self._accounts()))
        if request.path == "/sim/switches":
            if request.method == "POST":
                self._note_request(request, 0)
                self._switch(request.body, now_ms)
            elif request.method != "GET":
                raise ApiError(error(405, "method_not_allowed", "expected GET or POST"))
            return ok(dumps(to_builtins(self.exchange.switches)))
        if request.path == "/sim/faults":
            if request.method == "POST":
                try:
                    document = faults.parse(request.body)
                    self._note_request(request, 0)
                    self.apply(document, now_ms)
                except faults.BadFaults as problem:
                    raise ApiError(error(400, "bad_faults", str(problem))) from None
            elif request.method == "DELETE":
                self.faults.install([], 1, now_ms)
                self.order_faults.install([])
            elif request.method != "GET":
                raise ApiError(error(405, "method_not_allowed", "expected GET, POST or DELETE"))
            rules = [
                {**to_builtins(rule), "hits": hits}
                for rule, hits in zip(self.faults.rules, self.faults.hits, strict=True)
            ]
            return ok(dumps({"rules": rules, "orders": self.order_faults.told()}))
        raise not_found()

    def _accounts(self) -> dict[str, Any]:
        """Return the exchange's own books, exactly, and the resting orders."""
        matching = self.exchange.matching
        resting = [
            {
                "account": order.party[0],
                "subaccount": order.party[1],
                "order_id": order.order_id,
                "client_order_id": order.client_order_id,
                "ticker": order.ticker,
                "side": order.side,
                "price_e4": order.price_e4,
                "remaining_e2": order.remaining_e2,
            }
            for account in sorted(matching.orders)
            for order in matching.resting(account)
        ]
        return {
            "exchange_id": self.exchange_id,
            **self.exchange.ledger.statements.books(),
            "resting_orders": resting,
        }

    def _switch(self, body: bytes, now_ms: int) -> None:
        """Set switches by name; all of them or, with 400, none."""
        switches = self.exchange.switches
        try:
            wanted = msgspec.json.decode(body, type=dict[str, object])
            unknown = [name for name in wanted if name not in OrderSwitches.__slots__]
            if unknown:
                known = ", ".join(OrderSwitches.__slots__)
                raise ApiError(
                    error(400, "bad_switches", f"got {unknown[0]!r:.100}, expected some of {known}")
                )
            changed = msgspec.convert({**to_builtins(switches), **wanted}, OrderSwitches)
        except (msgspec.DecodeError, msgspec.ValidationError) as problem:
            raise ApiError(error(400, "bad_switches", str(problem))) from None
        if not 0 <= changed.read_lag_ms <= KEPT_MS:
            raise ApiError(error(400, "bad_switches", f"read_lag_ms: expected 0 to {KEPT_MS}"))
        for name in wanted:
            setattr(switches, name, getattr(changed, name))
        self.exchange.matching.reprice(now_ms)

    def begin(self, document: Document, again: bool) -> None:
        """Put the fault document given at the start into force, and record what it does to the exchange.

        Args:
            document: that of the command line.
            again: whether the exchange has had it before, so that what it creates already exists.

        Raises:
            faults.BadFaults: it names a shard or market that does not exist.
        """
        if again and document.settings is not None:
            document.settings.combos = None
        if document.settings is not None:
            body = msgspec.json.encode(Document(settings=document.settings))
            self._note_request(Request("POST", "/sim/faults", body=body), 0)
        self.apply(document, self.exchange.now_ms)

    def apply(self, document: Document, now_ms: int) -> None:
        """Put a fault document into force.

        Raises:
            faults.BadFaults: it names a shard or market that does not exist.
        """
        self._settings(document, now_ms)
        if document.rules is not None:
            self.faults.install(document.rules, document.seed, now_ms)
        if document.orders is not None:
            self.order_faults.install(document.orders)

    def _settings(self, document: Document, now_ms: int) -> None:
        exchange, wanted = self.exchange, document.settings or Switches()
        unknown = [t for t in wanted.paused_markets or () if t not in exchange.markets]
        shards = [*(wanted.shards or ()), *(wanted.pause_shards or ())]
        unknown += [str(i) for i in shards if i not in exchange.halts.shards]
        unknown += [event for event in wanted.stages or () if event not in exchange.events]
        if unknown:
            raise faults.BadFaults(f"settings: unknown market, event or shard {unknown[0]!r}")
        for name in ("nested_429", "bill_books_per_ticker", "clock_skew_ms", "gzip"):
            if (value := getattr(wanted, name)) is not None:
                setattr(self, name, value)
        if wanted.pace is not None:
            exchange.set_pace(wanted.pace)
        for name in ("trade_share", "mispricings", "bursts", "rivals", *_RATES):
            if (value := getattr(wanted, name)) is not None:
                setattr(exchange.activity, name, value)
        exchange.set_active(wanted.exchange_active, wanted.trading_active)
        if wanted.cache_s is not None:
            self.cache_ms = round(wanted.cache_s * 1000)
            self._cache.clear()
        for index, trades in (wanted.shards or {}).items():
            exchange.set_shard(index, trades)
        for index, for_ms in (wanted.pause_shards or {}).items():
            exchange.pause_shard(index, for_ms)
        if self.hub is not None:
            self.hub.max_markets = wanted.ws_markets or self.hub.max_markets
            self.hub.max_commands = wanted.ws_commands or self.hub.max_commands
        if wanted.combos:
            exchange.add_combos(wanted.combos)
        for ticker, stage in (wanted.stages or {}).items():
            exchange.bring(exchange.events[ticker], stage)
            self._cache.clear()
        if wanted.paused_markets is not None:
            for ticker, market in exchange.markets.items():
                exchange.pause_market(market, ticker in wanted.paused_markets)

    def _truth(self, request: Request) -> dict[str, Any]:
        """Reveal the true probabilities (of ``tickers=A,B`` or all) and the planted mispricings."""
        exchange = self.exchange
        wanted = request.get("tickers")
        tickers = wanted.split(",") if wanted else list(exchange.markets)
        return {
            "now_ms": exchange.now_ms,
            "probabilities": {t: round(exchange.markets[t].p, 6) for t in tickers if t in exchange.markets},
            "mispricings": [
                {
                    "kind": m.kind,
                    "event_ticker": m.event_ticker,
                    "tickers": m.tickers,
                    "sides": m.sides,
                    "from_ms": m.from_ms,
                    "until_ms": m.until_ms,
                    "active": exchange.planter.stands(m, exchange.now_ms),
                    "edge_dollars": f"{m.edge_e4 / 1e4:.4f}",
                    "fair": {ticker: round(p, 4) for ticker, p in m.fair.items()},
                }
                for m in reversed(exchange.mispricings)
            ],
            "rivals": [
                {
                    "who": taken.who,
                    "kind": taken.kind,
                    "event_ticker": taken.event_ticker,
                    "ticker": taken.ticker,
                    "count_fp": format_count(taken.count_e2),
                    "time_ms": taken.time_ms,
                }
                for taken in reversed(exchange.rivals.taken)
            ],
            "rates": {name: getattr(exchange.activity, name) for name in _RATES},
        }

    # Helpers ----------------------------------------------------------------------------------------

    def event(self, ticker: str) -> Event:
        """Return an event or answer 404."""
        found = self.exchange.events.get(ticker)
        if found is None:
            raise not_found()
        return found

    def market(self, ticker: str) -> Market:
        """Return a market or answer 404."""
        found = self.exchange.markets.get(ticker)
        if found is None:
            raise not_found()
        return found


def _names(entry: Route) -> tuple[str, str]:
    """Return an operation's name and route, by which faults identify it."""
    return entry.handler.__name__, f"{entry.method} {entry.template}"


def integer(request: Request, name: str) -> int | None:
    """Return an integer parameter, None if absent; answers 400 to anything else."""
    text = request.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
        raise invalid(unparsable(name, "ParseInt", text))
    return int(text)


def boolean(request: Request, name: str) -> bool:
    """Return a boolean parameter, False if absent; answers 400 to what Go's ParseBool refuses."""
    text = request.get(name)
    if text is None:
        return False
    if text in TRUE_WORDS:
        return True
    if text in FALSE_WORDS:
        return False
    raise invalid(unparsable(name, "ParseBool", text))


def required(request: Request, name: str) -> str:
    """Return a required parameter; answers 400 if it is missing."""
    text = request.get(name)
    if text is None:
        raise invalid(f"Query argument {name} is required, but not found")
    return text


def required_integer(request: Request, name: str) -> int:
    """Return a required integer parameter; answers 400 otherwise."""
    required(request, name)
    value = integer(request, name)
    assert value is not None
    return value


def limit(
    request: Request, operation: str, lowest: int, highest: int, default: int, name: str = "limit"
) -> int:
    """Return the page size; 400 beyond its bounds, never clamped (contract 7.1)."""
    value = integer(request, name)
    if value is None:
        return default
    if value > highest:
        raise out_of_range(operation, name, "lte")
    if value < lowest:
        raise out_of_range(operation, name, "gte")
    return value or default


def newest_first(order: list[tuple[int, str]], cursor: str | None) -> Iterator[tuple[int, str]]:
    """Yield (time, key) descending, after the element the cursor names."""
    position = cursors.decode(cursor) if cursor else None
    index = len(order) if position is None else bisect_left(order, position)
    for i in range(index - 1, -1, -1):
        yield order[i]


def page(order: Iterable[tuple[int, str]], keep: Callable[[str], bool], size: int) -> tuple[list[str], str]:
    """Return the keys of one page and the cursor of the next, "" at the end of the list."""
    keys: list[str] = []
    last: tuple[int, str] | None = None
    for entry in order:
        if not keep(entry[1]):
            continue
        if len(keys) == size:
            assert last is not None
            return keys, cursors.encode(*last)
        keys.append(entry[1])
        last = entry
    return keys, ""
