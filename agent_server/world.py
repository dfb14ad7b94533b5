"""What this process can see: two replicas, and two sockets to ask. None of them can place an order."""

import random
import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from bus.ask import Asker, NoAnswer
from bus.clock import Clock
from bus.health import Health, health_of
from bus.inbox import Inbox
from bus.market_history import MarketHistory, Movers
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.answers import Refusal
from bus.protocol.memory import Slim
from bus.protocol.messages import Error, convert_map
from bus.protocol.state import Records
from bus.replica import Replica
from bus.scan.membership import scan_limits
from bus.scan.scans import Scan, Scans
from bus.scan.search import SearchIndex
from bus.threads import Owner
from bus.trading.shapes import told
from bus.wishes import Wishes
from markets.errors import KalshiBusError
from markets.records import FairValue

ASK_MS: Final = 2_000
NOT_READY: Final = 20
"""How many times a trader still reading its journal is asked again; each question lets it read on."""

NOT_READY_S: Final = 0.05
QUERY_NOT_READY: Final = 12
QUERY_NOT_READY_S: Final = 0.25
"""How many times, and how far apart, the snapshot server is asked for something it is working out."""

PREPARE_MS: Final = 10_000
SEARCH_REBUILD_MS: Final = 30_000
WISH_TTL_S: Final = 120.0
TAKE_S: Final = 1.0

T = TypeVar("T")


class Unanswered(KalshiBusError):
    """A tool cannot answer; the message says why in one sentence."""


class World:
    """What tools answer from. One thread answers; its owner calls `start` and `stop`.

    Args:
        context: for the sockets; it belongs to the caller.
    """

    def __init__(self, settings: Settings, context: Any, clock: Clock, rng: random.Random) -> None:
        self.settings = settings
        self._inbox = Inbox()
        self._scans = Scans(scan_limits(settings))
        self._replica = Replica(
            context, settings.feed, settings.query, clock, rng,
            listener=self._inbox.listen, keeping=Slim(), spare=settings.state,
        )  # fmt: skip
        self._values = Replica(
            context, settings.trader_events, settings.trader_agents, clock, rng, topics=("fv.",)
        )
        self._wishes = Wishes(context, settings.query)
        self._stop = Stop()
        self._passing_on = threading.Thread(target=self._wishes.run, args=(self._stop,), name="wishes")
        self._query = Asker(context, settings.query)
        self._trader = Asker(context, settings.trader_agents)
        self._index: tuple[tuple[int, int], int, SearchIndex] | None = None
        self._owner = Owner("what agents are answered from")

    # -- life

    def start(self) -> None:
        """Start following. Other processes may start later."""
        self._replica.start()
        self._values.start()
        self._passing_on.start()

    def close_sockets(self) -> None:
        """Close the answering thread's sockets; that thread calls this last."""
        self._owner.check()
        self._query.close()
        self._trader.close()

    def stop(self) -> None:
        """End all threads."""
        self._stop.set()
        self._wishes.wake()
        self._replica.stop()
        self._values.stop()
        if self._passing_on.ident is not None:
            self._passing_on.join()
        self._stop.close()

    # -- data

    def now_ms(self) -> int:
        """Now; in a replay, the recording's time."""
        return self._replica.now_ms()

    def health(self, records: Records | None) -> Health:
        """Return the health of the feed and of these records; None if there are none."""
        replica = self._replica
        stale_ms = round(self.settings.stale_after_s * 1000)
        return health_of(records, replica.status(), replica.heartbeat, self.now_ms(), stale_ms)

    def records(self) -> Records:
        """Return all records as of one position.

        Raises:
            Unanswered: there are none yet.
        """
        state = self._replica.state
        with state.lock:
            if not state.epoch:
                raise Unanswered(
                    f"there is no data yet: nothing is heard at {self.settings.feed}. Is everything running? "
                    "A person can start it with: kalshi-bus run, and check it with: kalshi-bus doctor"
                )
            return state.frozen()

    def fair_values(self) -> Mapping[str, FairValue]:
        """Return the fair values that the trader publishes, by ticker; empty while none are heard."""
        state = self._values.state
        with state.lock:
            return dict(state.fair_values)

    def scan(self) -> Scan:
        """Return the present candidates of all events. The first call takes longest.

        Raises:
            Unanswered: there is no data, or what has changed is not known at present.
        """
        self._owner.check()
        records = self.records()
        batch = self._inbox.take(records.epoch, records.seq, TAKE_S)
        if batch is None:
            raise Unanswered("the feed is being repaired: try again in a second")
        self._scans.publish(self.fair_values())
        return self._scans.advance(records, batch, self.now_ms())

    def index(self, records: Records) -> SearchIndex:
        """Return an index of the catalogue, at most half a minute old."""
        self._owner.check()
        at, now_ms = (records.epoch, records.seq), self.now_ms()
        if self._index is not None:
            built_at, built_ms, index = self._index
            if built_at == at or 0 <= now_ms - built_ms < SEARCH_REBUILD_MS:
                return index
        index = SearchIndex.of(records)
        self._index = (at, now_ms, index)
        return index

    # -- questions to others

    def wish(self, ticker: str) -> None:
        """Wish for a market's order book for a while; the publisher makes no more requests because of it."""
        self._wishes.wish((ticker,), WISH_TTL_S, "book")

    def whole_market(self, ticker: str) -> Mapping[str, Any]:
        """Return a market's JSON as the exchange sent it.

        Raises:
            Unanswered: the snapshot server does not answer, or refuses.
        """
        market = self._queried({"op": "market", "ticker": ticker}).get("market")
        return market if isinstance(market, Mapping) else {}

    def history(self, ticker: str, start_ms: int, limit: int) -> MarketHistory:
        """Return a market's history since then.

        Raises:
            Unanswered: the snapshot server does not answer, or refuses.
        """
        question = {"op": "history", "ticker": ticker, "start_ms": start_ms, "limit": limit}
        return convert_map(self._queried(question), MarketHistory)

    def movers(self, window_s: int, limit: int) -> Movers:
        """Return the markets that moved within the last `window_s` seconds.

        Raises:
            Unanswered: the snapshot server does not answer, or has not worked it out yet.
        """
        return convert_map(self._queried({"op": "movers", "window_s": window_s, "limit": limit}), Movers)

    def _queried(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return an answer from the snapshot server, which is asked again while it says `not_ready`."""
        self._owner.check()
        for _ in range(QUERY_NOT_READY):
            try:
                answer = self._query.ask(question, ASK_MS)
            except NoAnswer as silence:
                raise Unanswered(f"the snapshot server does not answer ({silence})") from None
            if answer.get("ok") is True:
                return answer
            error = convert_map(answer.get("error"), Error)
            if error.code != "not_ready":
                break
            self._stop.wait(QUERY_NOT_READY_S)
        raise Unanswered(f"the snapshot server says: {error.message}")

    def trader(self, question: Mapping[str, Any], shape: type[T], timeout_ms: int = ASK_MS) -> T:
        """Return the trader's answer, at the socket where nothing can be placed.

        Raises:
            Unanswered: it does not answer, or refuses.
        """
        self._owner.check()
        for attempt in range(NOT_READY):
            try:
                return told(self._trader.ask(dict(question), timeout_ms), shape)
            except NoAnswer as error:
                raise Unanswered(f"the trader does not answer: is it running? ({error})") from None
            except Refusal as refusal:
                # Preparing is counted and written to the journal, so it is not repeated.
                again = refusal.code == "not_ready" and question["op"] != "prepare"
                if not again or attempt == NOT_READY - 1:
                    raise Unanswered(f"the trader says: {refusal}") from None
            self._stop.wait(NOT_READY_S)
        raise AssertionError
