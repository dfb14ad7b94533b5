"""The enrichment: order books and price history, read with what the sweep leaves in the budget.

Source: Kalshi API reference, ``GET /markets/orderbooks`` (up to 100 repeated `tickers`, not cached) and
``GET /markets/candlesticks``.
"""

import queue
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from bus.clock import Clock
from bus.protocol.state import State
from bus.server import Job
from bus.threads import Owner
from markets.errors import BadRecord
from markets.json.books import decode_books, decode_candles
from markets.json.decoding import BadMember
from markets.records import Book
from publisher.kalshi.budget import Budget
from publisher.kalshi.client import Client, ExchangeError, Stopped, StopSignal
from publisher.live import Live
from publisher.quarantine import Quarantine
from publisher.slow import CALLS_PER_CYCLE as SLOW_CALLS_PER_CYCLE
from publisher.slow import SlowReader

from .billing import BOOKS_PER_REQUEST, Billing, reserve_of, rounds_of
from .candles import CALLS_PER_CYCLE, CandlePlanner, Turn
from .planner import Planner
from .publish import Candlesticks, keep_books, publish_books, publish_candles

log = structlog.get_logger()

MAX_CANDLES_BYTES: Final = 200_000
"""Longer price history would not fit into a message, so its beginning is left out."""

MAX_LEVELS: Final = 10_000
"""A longer book would not fit into a message."""


class Enrichment:
    """Fetches the planned books after each commit and has them published. One thread runs it.

    Args:
        client: nobody else's.
        submit: hands a job to the bus thread.
        live: what the stream follows; None without a stream.
        slow: reads, each cycle, a page of what no sweep reads; None for nothing.
    """

    def __init__(
        self,
        planner: Planner,
        candles: CandlePlanner,
        client: Client,
        budget: Budget,
        submit: Callable[[Job], None],
        state: State,
        quarantine: Quarantine,
        clock: Clock,
        stop: StopSignal,
        interval_s: float,
        live: Live | None = None,
        slow: SlowReader | None = None,
    ) -> None:
        self._slow = slow
        self._planner = planner
        self._candles = CandleFetcher(candles, client, submit, state, quarantine, clock)
        self._live = live
        self._billing = Billing()
        self._failed: set[str] = set()
        self._client = client
        self._budget = budget
        self._submit = submit
        self._state = state
        self._quarantine = quarantine
        self._clock = clock
        self._stop = stop
        self._interval_s = interval_s
        self._work: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._owner = Owner("the enrichment")

    def begin(self, sweep_requests: int) -> None:
        """Start the cycle of a commit. Any thread."""
        self._work.put(sweep_requests)

    def end(self) -> None:
        """Make `run` return. Any thread; set the stop signal first."""
        self._work.put(None)

    def run(self) -> None:
        """Work until `end`."""
        self._owner.check()
        try:
            while (sweep_requests := self._work.get()) is not None:
                try:
                    self._cycle(sweep_requests)
                except ExchangeError as error:
                    # The next sweep meets the same trouble and reports it; meanwhile the books age.
                    log.info("books.failed", outcome=error.outcome, error=str(error))
        except Stopped:
            return
        finally:
            self._client.close()

    def _cycle(self, sweep_requests: int) -> None:
        now_ms = self._clock.now_ms()
        size = self._billing.batch(self._budget.capacity, self._steady_ms())
        reserve = reserve_of(self._budget, sweep_requests)
        self._candles.fetch_wished(reserve)
        others = sweep_requests + CALLS_PER_CYCLE
        if self._slow is not None:
            self._slow.step(reserve)
            others += SLOW_CALLS_PER_CYCLE
        rounds, calls = rounds_of(self._budget, self._interval_s, others, self._planner.calls)
        plan = self._planner.plan_of(self._state, now_ms, calls)
        self._report_failures()
        planned = frozenset(ticker for batch in plan for ticker in batch)
        live = self._live
        self._submit(lambda server: keep_books(server, live, planned, self._clock.now_ns()))
        if live is not None:
            disputed = sorted(live.disputed)[:BOOKS_PER_REQUEST]
            if disputed:
                plan = [disputed, *plan]
            if planned and planned <= live.followed:
                rounds = min(rounds, 1)  # the stream is quicker, so reading them is only a cross-check
        for number in range(rounds):
            if number and self._stop.wait(self._interval_s / rounds):
                raise Stopped
            for batch in plan:
                for start in range(0, len(batch), size):
                    if not self._work.empty():
                        return  # the next commit has come: make a new plan
                    if not self._fetch(batch[start : start + size], reserve):
                        return

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _report_failures(self) -> None:
        for failure in self._planner.failures:
            if failure.part not in self._failed:
                self._failed.add(failure.part)
                log.error("plan.failed", **msgspec.structs.asdict(failure))

    def _fetch(self, batch: list[str], reserve: float) -> bool:
        """Fetch books and have them published; return False if the exchange refused by its rate limit."""
        asked_ms = self._clock.now_ms()
        price = self._billing.price(len(batch))
        try:
            (books, bad), reply = self._client.get(
                "/markets/orderbooks",
                [("tickers", ticker) for ticker in batch],
                read=lambda body: decode_books(body, asked_ms),
                reserve=min(reserve, max(0.0, self._budget.capacity - price)),
                cost=price,
                attempts=1,
            )
        except ExchangeError as error:
            if error.outcome != "rate_limited":
                raise
            self._billing.refused(len(batch), self._steady_ms())
            return False
        self._billing.accepted(len(batch))
        self._planner.fetched(batch, self._clock.now_ms())
        wanted = set(batch)
        good: list[Book] = []
        for book in books:
            if len(book.yes) + len(book.no) > MAX_LEVELS:
                levels = len(book.yes) + len(book.no)
                too_long = BadRecord("orderbook", f"{levels} levels", f"at most {MAX_LEVELS}")
                bad.append(BadMember(book.ticker, too_long, b""))
            elif book.ticker in wanted:
                self._quarantine.good("book", book.ticker)
                good.append(msgspec.structs.replace(book, as_of_ms=reply.as_of_ms))
        for member in bad:
            self._quarantine.put("book", member.ticker or "", member.error, member.raw)
        self._submit(
            lambda server: publish_books(
                server, self._live, good, reply.as_of_ms, asked_ms, self._clock.now_ns()
            )
        )
        return True


class CandleFetcher:
    """Fetches the price history wished for, with its fixed share of the budget."""

    def __init__(
        self,
        planner: CandlePlanner,
        client: Client,
        submit: Callable[[Job], None],
        state: State,
        quarantine: Quarantine,
        clock: Clock,
    ) -> None:
        self._planner = planner
        self._client = client
        self._submit = submit
        self._state = state
        self._quarantine = quarantine
        self._clock = clock

    def fetch_wished(self, reserve: float) -> None:
        """Make the cycle's one request, if its turn has come, and drop what is no longer wished for."""
        now_ms = self._clock.now_ms()
        known = self._state.stream_of
        wished = self._planner.wished(known, now_ms)
        turn = self._planner.plan(known, now_ms, self._opened_ms)
        found: list[Candlesticks] = []
        if turn is not None:
            try:
                found = self._fetch(turn, now_ms, reserve)
            except ExchangeError as error:
                # A wish for price history must not cost others their books.
                log.info("candles.failed", outcome=error.outcome, error=str(error))
        sent = [candlesticks for candlesticks in found if candlesticks.ticker in wished]
        if sent or self._state.candles:
            self._submit(lambda server: publish_candles(server, sent, wished, self._clock.now_ns()))

    def _opened_ms(self, ticker: str) -> int | None:
        market = self._state.markets.get(ticker)
        return None if market is None else market.open_ms

    def _fetch(self, turn: Turn, now_ms: int, reserve: float) -> list[Candlesticks]:
        period = turn.period
        (found, bad), reply = self._client.get(
            "/markets/candlesticks",
            [
                ("market_tickers", ",".join(turn.tickers)),
                ("start_ts", now_ms // 1000 - period.span_s),
                ("end_ts", now_ms // 1000),
                ("period_interval", period.minutes),
            ],
            read=lambda body: decode_candles(body, MAX_CANDLES_BYTES),
            reserve=reserve,
            attempts=1,
        )
        self._planner.fetched(turn, self._clock.now_ms())
        for member in bad:
            self._quarantine.put("candles", member.ticker or "", member.error, member.raw)
        return [Candlesticks(ticker, reply.as_of_ms, period, raw) for ticker, raw in found]
