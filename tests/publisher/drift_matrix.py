"""``python -m tests.publisher.drift_matrix [WORD]``: every member of replies and frames changed in every way.

The simulated exchange changes one member at a time (fault `mutate`); a publisher's own client, sweep and
stream read it from a fresh start. Said is, by route and member, whether it was noticed, what else was, which
markets are lost, and whether the sweep was whole. With a word: only the routes that have it in their name.
"""

import io
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import requests
import structlog
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from bus.clock import ManualClock
from bus.protocol.writer import Writer
from markets.json.books import decode_books, decode_candles
from markets.json.pages import Tier
from publisher.drift import DriftWatch
from publisher.held import Held
from publisher.intake import Intake
from publisher.kalshi.budget import Budget
from publisher.kalshi.client import Client, ExchangeError
from publisher.kalshi.signing import KeySource
from publisher.kalshi.stream_session import StreamSession
from publisher.kalshi.subscriptions import Broken
from publisher.kalshi.tier import TierSource
from publisher.quarantine import Quarantine
from publisher.reading import Reading, Universe
from publisher.sweep import Sweep
from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.front import auth
from simulator.front.api import Api
from simulator.front.auth import load_or_create
from simulator.front.faults import Rule
from simulator.front.mutations import MUTATIONS, Mutation, mutate, owners
from simulator.front.operations import ROUTES
from simulator.front.wire import Request
from simulator.front.ws import Hub
from simulator.universe import templates
from simulator.universe.templates import Recorded
from tests.markets.json.documented import SENTINEL, Place, allows, places

MARKETS: Final = 60
NAMES: Final = frozenset({"ticker", "event_ticker", "market_ticker"})
"""Members without which a market cannot be named: they may keep it out."""

CARRIERS: Final = frozenset({"cursor", "events", "markets", "orderbooks"})
"""Members that bring the others: without them there is nothing to read, or no next page."""


class Outcome(NamedTuple):
    """What came of one changed member.

    Attributes:
        noticed: None where the documents allow the change, and nothing was noticed.
        others: rows of other members. lost: markets that are held without the change, and not with it.
    """

    route: str
    place: Place
    how: Mutation
    noticed: bool | None
    others: tuple[str, ...] = ()
    lost: int = 0
    complete: bool = True
    ended: str = ""
    """What was raised where nothing may be: a publisher's thread would have ended."""

    @property
    def sign(self) -> str:
        """One letter for a table."""
        if self.ended:
            return "X"
        if self.others:
            return "F"
        if self.lost and self.place.path.rpartition(".")[2] not in NAMES:
            return "L"
        if not self.complete:
            return "i"
        return "." if self.noticed is None else "n" if self.noticed else "-"


class _Never:
    """A stop that does not come; who waits for it lets time pass."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def is_set(self) -> bool:
        return False

    def wait(self, timeout_s: float | None = None) -> bool:
        self._clock.advance(1 + int((timeout_s or 0) * 1000))
        return False


class _Adapter(BaseAdapter):
    """Requests answered by the simulator's core in this process."""

    def __init__(self, api: Api, clock: ManualClock) -> None:
        super().__init__()
        self._api = api
        self._clock = clock

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        now_ms = self._clock.now_ms()
        answer = self._api.handle(Request("GET", parts.path, query, headers), now_ms)
        response = requests.Response()
        response.status_code, response.headers = answer.status, CaseInsensitiveDict(answer.headers)
        response.raw, response.request = io.BytesIO(answer.body), request
        return response

    def close(self) -> None:
        pass


class Life:
    """A publisher from its start, on the exchange of a `Floor`."""

    def __init__(self, floor: "Floor", universe: Universe) -> None:
        self.clock = floor.clock
        self.drift = DriftWatch(self.clock, SENTINEL)
        self.writer = Writer(1)
        held = Held(self.writer.state)
        stop = _Never(self.clock)
        budget = Budget(Tier(1e9, 1e9), Random(1), 0.0)
        self.client = Client(
            "http://sim/trade-api/v2", floor.keys, budget, self.clock, Random(1), stop, self.drift
        )
        self.client._session.mount("http://sim", _Adapter(floor.api, self.clock))
        intake = Intake(held, universe, Quarantine(floor.folder / "quarantine"), self.drift)
        self.sweep = Sweep(self.client, intake, held, self.clock)
        self.tier = TierSource(self.client, floor.keys, budget, self.clock)
        self._held = held

    def run(self) -> bool:
        """Sweep and commit; return whether all was read."""
        reading = Reading(self.clock.now_ms())
        error = self.sweep.run(reading)
        with self.writer.state.lock:
            diff = self._held.diff(reading, self.clock.now_ms())
            self.writer.commit(diff.changes, diff.cycle, 1, self.clock.now_ns())
        return error is None and reading.complete

    @property
    def markets(self) -> set[str]:
        return set(self.writer.state.markets)


class Floor:
    """A small exchange in which nothing moves, and what is read of it."""

    def __init__(self, seed: int, recorded: Recorded, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(1_792_432_800_000)
        pairs = load_or_create(folder)
        self.keys = KeySource(folder / auth.PRIVATE_KEY_FILE, next(iter(pairs)), None)
        exchange = Exchange(recorded, MARKETS, seed, self.clock.now_ms(), Activity(pace=0))
        self.api = Api(exchange, ROUTES, pairs, None)
        self.clean = Life(self, Universe())
        assert self.clean.run()
        assert not self.clean.drift.all(), self.clean.drift.all()
        state = self.clean.writer.state
        self.tickers = sorted(state.markets)[:30]
        self.readers: dict[str, tuple[Universe, Callable[[Life], bool]]] = {
            route: (Universe(), Life.run) for route in ("GET /events", "GET /series", "GET /exchange/status")
        }
        market = state.markets[self.tickers[0]]
        self.readers |= {
            "GET /markets": (Universe(tickers=frozenset(self.tickers)), Life.run),
            "GET /markets/{ticker}": (
                Universe(),
                lambda life: life.sweep._market_exists(market.ticker, Reading(1)),
            ),
            "GET /events/{event_ticker}": (
                Universe(),
                self._done(lambda life: life.sweep._look_up_event(market.event_ticker, Reading(1))),
            ),
            "GET /markets/orderbooks": (
                Universe(),
                self._get(
                    "/markets/orderbooks",
                    [("tickers", t) for t in self.tickers],
                    lambda b: decode_books(b, 1),
                ),
            ),
            "GET /markets/candlesticks": (
                Universe(),
                self._get(
                    "/markets/candlesticks",
                    [("market_tickers", ",".join(self.tickers[:5])), *self._span(), ("period_interval", 60)],
                    lambda body: decode_candles(body, 100_000),
                ),
            ),
            "GET /account/limits": (Universe(), self._done(lambda life: life.tier.ask())),
        }

    def _span(self) -> list[tuple[str, str | int]]:
        now_s = self.clock.now_ms() // 1000
        return [("start_ts", now_s - 86_400), ("end_ts", now_s)]

    @staticmethod
    def _done(work: Callable[[Life], None]) -> Callable[[Life], bool]:
        def done(life: Life) -> bool:
            work(life)
            return True

        return done

    @staticmethod
    def _get(path: str, query: Any, read: Callable[[bytes], Any]) -> Callable[[Life], bool]:
        def get(life: Life) -> bool:
            life.client.get(path, query, read=read, attempts=1)
            return True

        return get

    def sample(self, route: str) -> list[Any]:
        """The bodies of a route, as they are without a change."""
        bodies: list[Any] = []
        handle = self.api.handle

        def spy(request: Request, now_ms: int) -> Any:
            answer = handle(request, now_ms)
            path = request.path.removeprefix("/trade-api/v2")
            if SENTINEL.route_of(path) == route and answer.status == 200:
                bodies.append(json.loads(answer.body))
            return answer

        self.api.handle = spy  # type: ignore[method-assign]
        universe, read = self.readers[route]
        read(Life(self, universe))
        self.api.handle = handle  # type: ignore[method-assign]
        return bodies

    def changes(self, route: str) -> Iterator[tuple[Place, Mutation]]:
        """Every change that can be made of what a route brings here."""
        bodies = self.sample(route)
        for place in places(SENTINEL.spec.routes[route].object):
            for how in MUTATIONS:
                copies = json.loads(json.dumps(bodies))
                found = next((owner for body in copies for owner in owners(body, place.path)), None)
                if found is not None and mutate(found, place.path.rpartition(".")[2], how):
                    yield place, how

    def tried(self, route: str, place: Place, how: Mutation) -> Outcome:
        """Start with a member changed in every reply of a route."""
        rule = Rule(fault="mutate", route=route, field=place.path, how=how)
        universe, read = self.readers[route]
        self.api.faults.install([rule], 1, self.clock.now_ms())
        life, ended = Life(self, universe), ""
        try:
            complete = read(life)
        except ExchangeError:
            complete = False
        except Exception as error:  # noqa: BLE001 -- that is what is looked for
            complete, ended = False, f"{type(error).__name__}: {error}"
        self.api.faults.install([], 1, self.clock.now_ms())
        lost = 0
        if read is Life.run:
            wanted = universe.tickers or self.clean.markets
            lost = len(wanted - life.markets)
        return _outcome(route, place, how, life.drift, lost, complete)._replace(ended=ended)


def _outcome(
    route: str, place: Place, how: Mutation, drift: DriftWatch, lost: int = 0, complete: bool = True
) -> Outcome:
    rows = drift.all()
    own = [row for row in rows if row.route == route and row.member.startswith(place.named)]
    others = tuple(f"{row.route} {row.member} {row.what}" for row in rows if row not in own)
    noticed = bool(own)
    allowed = allows(place.its, how)
    if allowed and noticed:
        others = tuple(f"{row.route} {row.member} {row.what}" for row in rows)
    return Outcome(route, place, how, None if allowed else noticed, others, lost, complete)


class Stream:
    """One frame of each type, as the simulated exchange sends them in half an hour."""

    def __init__(self, recorded: Recorded) -> None:
        now_ms = 1_792_432_800_000
        self.exchange = Exchange(recorded, 200, 3, now_ms, Activity())
        self.api = Api(self.exchange, ROUTES)
        hub = Hub(self.exchange)
        connection = hub.connect()
        self.frames: dict[str, dict[str, Any]] = {}
        tickers = list(self.exchange.markets)[:100]
        session = StreamSession()
        session.open(now_ms)
        session.want(tickers, now_ms)
        connection.receive('{"id":90,"cmd":"nonsense"}', now_ms)
        connection.receive('{"id":91,"cmd":"list_subscriptions"}', now_ms)
        for _ in range(180):
            now_ms += 10_000
            self.exchange.advance(now_ms)
            for command in session.commands():
                connection.receive(command, now_ms)
            for text in connection.outgoing:
                session.receive(text, now_ms)
                self._keep(json.loads(text))
            connection.outgoing.clear()
            session.facts()
        self.now_ms = now_ms

    def _keep(self, frame: dict[str, Any]) -> None:
        """Keep of each type the frame that says most."""
        kind = frame["type"]
        if kind == "ok" and isinstance(frame.get("msg"), list):
            kind = "list_subscriptions"
        if len(json.dumps(frame)) > len(json.dumps(self.frames.get(kind, ""))):
            self.frames[kind] = frame

    def changes(self, kind: str) -> Iterator[tuple[Place, Mutation]]:
        """Every change that can be made of a frame."""
        for place in places(SENTINEL.spec.frames[kind].object):
            for how in MUTATIONS:
                copy = json.loads(json.dumps(self.frames[kind]))
                found = next(owners(copy, place.path), None)
                if found is not None and mutate(found, place.path.rpartition(".")[2], how):
                    yield place, how

    def tried(self, kind: str, place: Place, how: Mutation) -> Outcome:
        """Let a session hear a changed frame, and a good one after it."""
        its, frame = SENTINEL.spec.frames[kind], self.frames[kind]
        rule = Rule(fault="mutate", frame="*", field=place.path, how=how)
        self.api.faults.install([rule], 1, self.now_ms)
        (text,) = self.api.faults.frames(None, kind, json.dumps(frame), self.now_ms)
        drift = DriftWatch(ManualClock(), SENTINEL)
        session = StreamSession(drift=drift)
        session.open(self.now_ms)
        session.want(
            [frame["msg"].get("market_ticker", "A") if isinstance(frame["msg"], dict) else "A"], self.now_ms
        )
        for channel in ("orderbook_delta", "ticker", "trade", "market_lifecycle_v2"):
            subscribed = {
                "type": "subscribed",
                "id": 1,
                "msg": {"channel": channel, "sid": frame.get("sid", 1)},
            }
            session.receive(json.dumps(subscribed), self.now_ms)
        try:
            session.receive(text.encode("utf-8", "surrogateescape"), self.now_ms)
        except Broken:
            assert kind == "error", (kind, place, how)
        except Exception as error:  # noqa: BLE001 -- that is what is looked for
            return _outcome(its.route, place, how, drift)._replace(ended=f"{type(error).__name__}: {error}")
        outcome = _outcome(its.route, place, how, drift)
        if (kind, place.path, how) == ("list_subscriptions", "msg", "absent"):
            return outcome._replace(noticed=None)  # without its list it is an "ok" like others
        # A type of its own, and frames of which nothing is left, have rows of the root.
        if place.path == "type" and drift.all():
            return outcome._replace(noticed=True, others=())
        return outcome


def stands(seed: int, folder: Path) -> tuple[Floor, Stream]:
    """An exchange and its stream."""
    recorded = templates.load()
    return Floor(seed, recorded, folder), Stream(recorded)


def outcomes(
    floor: Floor, stream: Stream, word: str = "", choose: Callable[[], bool] = lambda: True
) -> Iterator[Outcome]:
    """Try every change that is chosen."""
    for route in floor.readers:
        if word in route:
            for place, how in floor.changes(route):
                if choose():
                    yield floor.tried(route, place, how)
    for kind in stream.frames:
        if word in SENTINEL.spec.frames[kind].route:
            for place, how in stream.changes(kind):
                if choose():
                    yield stream.tried(kind, place, how)


def sampled(seed: int) -> int:
    """Try some changes, another exchange and others with each seed; return how many held."""
    random = Random(seed)
    tried = 0
    with tempfile.TemporaryDirectory(prefix="kb-drift-") as folder:
        floor, stream = stands(seed, Path(folder))
        for outcome in outcomes(floor, stream, choose=lambda: random.random() < 0.03):
            assert outcome.noticed is not False, outcome
            assert not outcome.others, outcome
            assert not outcome.ended, outcome
            if outcome.place.path.rpartition(".")[2] not in NAMES | CARRIERS:
                assert outcome.complete, outcome
                assert not outcome.lost, outcome
            tried += 1
    return tried


def _sign(by_how: dict[str, Outcome], how: str) -> str:
    return by_how[how].sign if how in by_how else ""


def main(arguments: list[str]) -> None:
    """Print the matrix."""
    word = arguments[0] if arguments else ""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="kb-drift-") as folder:
        floor, stream = stands(1, Path(folder))
        found = list(outcomes(floor, stream, word))
    print(
        "n noticed, . allowed by the documents and not noticed, - NOT noticed, F false alarm,\n"
        "L a market lost, i the sweep not whole, X an error raised that would end a thread\n"
    )
    of_place: dict[tuple[str, str], dict[str, Outcome]] = {}
    for outcome in found:
        of_place.setdefault((outcome.route, outcome.place.path), {})[outcome.how] = outcome
    route = ""
    for (of_route, path), by_how in of_place.items():
        if of_route != route:
            route = of_route
            print(f"\n{route:44} {' '.join(f'{how:8}' for how in MUTATIONS)}")
        print(f"  {path:42} {' '.join(f'{_sign(by_how, how):8}' for how in MUTATIONS)}")
    print(
        "\n| route | changes | noticed | allowed | not noticed | false alarms | with lost markets "
        "| sweeps not whole | raised |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    counts: dict[str, Counter[str]] = {}
    for outcome in found:
        for key in (outcome.route, "all"):
            count = counts.setdefault(key, Counter())
            count["changes"] += 1
            count[{None: "allowed", True: "noticed", False: "not noticed"}[outcome.noticed]] += 1
            count["false alarms"] += bool(outcome.others)
            count["lost"] += bool(outcome.lost) and outcome.place.path.rpartition(".")[2] not in NAMES
            count["not whole"] += not outcome.complete
            count["raised"] += bool(outcome.ended)
    for key in [*(key for key in counts if key != "all"), "all"]:
        columns = (
            "changes",
            "noticed",
            "allowed",
            "not noticed",
            "false alarms",
            "lost",
            "not whole",
            "raised",
        )
        print(f"| {key} | {' | '.join(str(counts[key][column]) for column in columns)} |")
    for outcome in found:
        if outcome.others or outcome.noticed is False or outcome.ended:
            said = outcome.ended or outcome.others[:3]
            print(outcome.sign, outcome.route, outcome.place.path, outcome.how, said)


if __name__ == "__main__":
    main(sys.argv[1:])
