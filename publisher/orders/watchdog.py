"""The watchdog of resting orders, a process of its own: ``python -m publisher.orders.watchdog``.

It hears the heartbeats of feed, trader and order gateway. When one is silent and an order of ours may be
resting, it fences, cancels our orders by id, and proves by listing that none of ours rests: docs/orders.md.
"""

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec
import structlog

from bus.clock import Clock, Rng, SystemClock
from bus.heartbeats import Heartbeats
from bus.process.lifecycle import Stop, main, no_arguments
from bus.process.locks import lock_path, private_dir
from bus.process.settings import Settings
from bus.sockets import make_context
from markets.errors import BadRecord, DecodeError, StartupError
from markets.json.pages import Tier
from markets.units import format_time
from publisher.kalshi.hosts import endpoints
from publisher.kalshi.signing import KeySource

from . import records, replies, requests
from .budget import Bucket
from .fence import Fence
from .life import Key
from .log import read_log
from .reading import Failed, goes_on, good
from .replies import Named
from .run import WATCHDOG_NOTE, check_mode
from .sender import Sender
from .state import State
from .steps import Reply, Request
from .terms import WATCHDOG_SHARE, Terms, TermsSource

log = structlog.get_logger()

FEEDS: Final = {"trader": "trader_events", "gateway": "order_events", "feed": "feed"}
"""The processes watched, and the settings that name their endpoints."""

SILENT_MS: Final = {"trader": 3_000, "gateway": 3_000, "feed": 10_000}
GATEWAY: Final = "gateway"
ROLE: Final = "watchdog"
AGAIN_MS: Final = 3_000
"""How often a gateway that stays silent is reported again: it may have come and gone unheard."""

HEAR_MS: Final = 100
ALIVE_MS: Final = 1_000
"""How often it touches its lock: a hanging process does not."""

STOOD_STILL_MS: Final = 1_000
"""With this long between two checks it was this process that hung, and maybe not the others."""

PROVE_AGAIN_MS: Final = 36_000
"""After this long nothing signed before the fence can still arrive: 30 s, read lag, a margin."""

READ_LAG_MS: Final = 1_500
LIST_EVERY_MS: Final = 400
GIVE_UP_MS: Final = 120_000
"""How long to keep trying to cancel and prove while the exchange does not answer; by then leases are over."""

CLOCK_OFF_S: Final = 2.0
SHOWN_MOST: Final = 200


class Silence:
    """Which processes have been silent for too long. Pure, with steady time passed in.

    Args:
        steady_ms: when listening began.
    """

    def __init__(self, steady_ms: int) -> None:
        self._last = dict.fromkeys(SILENT_MS, steady_ms)
        self._looked_ms = steady_ms
        self._handled: set[str] = set()
        self._told_ms = steady_ms

    def look(self, heard: Iterable[str], steady_ms: int) -> tuple[str, ...]:
        """Take those just heard; return those newly silent for too long."""
        if (stood_ms := steady_ms - self._looked_ms) > STOOD_STILL_MS:
            # What they said meanwhile may have been lost, so their time starts again.
            self._last = {who: last + stood_ms for who, last in self._last.items()}
        self._looked_ms = steady_ms
        for who in heard:
            self._last[who] = steady_ms
            self._handled.discard(who)
        silent = {who for who, most in SILENT_MS.items() if steady_ms - self._last[who] >= most}
        new = silent - self._handled
        if GATEWAY in silent and steady_ms - self._told_ms >= AGAIN_MS:
            new.add(GATEWAY)  # it may have come back and gone again unheard; repeating this loses nothing
        if GATEWAY in new:
            self._told_ms = steady_ms
        self._handled |= silent
        return tuple(sorted(new))

    def ended_gateway(self, steady_ms: int) -> None:
        """Note that it was ended from here: its silence means nothing for a while."""
        self._handled.add(GATEWAY)
        self._told_ms = steady_ms


Place = tuple[str, str, int]
"""An order's id at the exchange ("" while unknown), ticker and shard."""


class Ours(msgspec.Struct, frozen=True):
    """What a log says about our orders: all, by either id, and those that may be resting."""

    by_client: dict[str, Place]
    by_id: dict[str, Place]
    may_rest: tuple[Place, ...]

    def place(self, name: Named) -> Place | None:
        """Return which order of ours is listed, and where, as the log has it; None if none of ours is."""
        return self.by_client.get(name.client_order_id or "") or self.by_id.get(name.order_id)


def ours_of(log_records: Iterable[bytes]) -> Ours:
    """Derive it from the records of a log.

    Raises:
        DecodeError: a later version wrote them.
    """
    state = State()
    for record in log_records:
        state.replay(records.decode(record))

    def place(key: Key) -> Place:
        order = state.journals[key[0]].orders[key[1]]
        return order.order_id, order.intent.ticker, order.intent.exchange_index or 0

    return Ours(
        {name: place(key) for name, key in state.by_client.items()},
        {name: place(key) for name, key in state.by_id.items()},
        tuple(map(place, state.active)),
    )


class Takeover:
    """Fences, cancels and proves. One thread.

    Args:
        wait: lets that many seconds pass; returns whether the process is to stop.
    """

    def __init__(
        self, base_url: str, keys: KeySource, clock: Clock, wait: Callable[[float], bool], terms: Terms
    ) -> None:
        self.terms = terms
        self._clock = clock
        self._wait = wait
        self._answers: queue.SimpleQueue[tuple[Request, Reply]] = queue.SimpleQueue()
        self._sender = Sender(
            base_url, keys, clock, lambda _request: None, lambda *answer: self._answers.put(answer), 4, 1
        )
        now_ms = self._steady_ms()
        read, write = terms.read, terms.write
        # Its own share of the reads, and all of the writes: a gateway that was ended sends nothing.
        self._reads = Bucket(read.refill_per_s * WATCHDOG_SHARE, _whole(read, WATCHDOG_SHARE), now_ms)
        self._writes = Bucket(write.refill_per_s, write.capacity, now_ms)
        self._number = 0
        self._sender.start()

    def close(self) -> None:
        """End the sending threads."""
        self._sender.stop(1.0)

    def ours(self) -> Ours:
        """Return what the account's log says now; empty if it cannot be read: then leases end everything."""
        try:
            return ours_of(read_log(self.terms.folder / "log"))
        except (OSError, StartupError, DecodeError) as error:
            log.warning("watchdog.log_unreadable", error=str(error))
            return Ours({}, {}, ())

    def fence(self) -> int | None:
        """Raise the generation and end the running gateway; return its pid.

        Raises:
            StartupError: the generation cannot be written (a full disk); the gateway is ended nevertheless.
        """
        fence, pid = Fence(self.terms.folder), None
        try:
            generation = fence.raise_()
        finally:
            pid = fence.end_gateway(self._wait)
        log.warning("watchdog.fenced", generation=generation, ended_pid=pid)
        return pid

    def cancel(self, ours: Ours) -> int | None:
        """Cancel our orders until a list shows none of them; return how many were cancelled.

        None if that could not be proved in time.
        """
        self._cancel((order_id, ticker, shard) for order_id, ticker, shard in ours.may_rest if order_id)
        cancelled: set[str] = {order_id for order_id, _, _ in ours.may_rest if order_id}
        until_ms = self._steady_ms() + GIVE_UP_MS
        clean_since_ms: int | None = None
        while self._steady_ms() < until_ms:
            asked_ms = self._steady_ms()
            resting, whole = self._end_listed(ours, until_ms)
            cancelled |= resting
            if resting or not whole:
                clean_since_ms = None
            elif clean_since_ms is None:
                clean_since_ms = asked_ms  # the list may be older than the last cancel: look again
            if clean_since_ms is not None and asked_ms - clean_since_ms >= READ_LAG_MS:
                return len(cancelled)
            if self._wait(LIST_EVERY_MS / 1000):
                break
        return None

    def _end_listed(self, ours: Ours, until_ms: int) -> tuple[set[str], bool]:
        """Cancel those of our orders that the exchange lists as resting, page by page.

        Return their ids, and whether that is certain to be all. It is not where a page cannot be had, pages
        come again or without end, an order's ids cannot be read, or time is up.
        """
        found: set[str] = set()
        cursor, seen, unreadable = "", set[str](), 0
        while True:
            asked = requests.resting(cursor)
            ((_, reply),) = self._send([(asked.what, asked.method, asked.path, asked.query, 0)])
            try:
                elements, cursor = replies.page(good(reply), "orders")
            except (BadRecord, Failed) as error:
                log.warning("watchdog.list_unreadable", error=str(error))
                return found, False
            wanted: list[Place] = []
            for element in elements:
                name = replies.named(element)
                known = ours.place(name)
                if not name.order_id or (name.client_order_id is None and known is None):
                    unreadable += 1
                    if unreadable == 1:
                        log.warning("watchdog.order_unreadable", order=repr(element)[:SHOWN_MOST])
                if known is None:
                    continue
                order_id, ticker, shard = known
                shard = shard if name.shard is None else name.shard
                if name.order_id or order_id:
                    wanted.append((name.order_id or order_id, name.ticker or ticker, shard))
            found |= {order_id for order_id, _, _ in wanted}
            self._cancel(wanted)
            try:
                more = goes_on(cursor, seen)
            except Failed as error:
                log.warning("watchdog.list_unreadable", error=str(error))
                return found, False
            if not more:
                return found, not unreadable
            if self._steady_ms() >= until_ms or self._wait(0):
                return found, False

    def _cancel(self, orders: Iterable[Place]) -> None:
        wanted = []
        for order_id, ticker, shard in orders:
            asked = requests.cancel_listed(order_id, ticker, shard)
            wanted.append((asked.what, asked.method, asked.path, asked.query, asked.shard))
        for request, reply in self._send(wanted):
            log.warning(
                "watchdog.cancelled", path=request.path, status=reply.status, trouble=reply.trouble or None
            )

    def _send(
        self, wanted: Collection[tuple[str, str, str, requests.Query, int]]
    ) -> list[tuple[Request, Reply]]:
        """Send requests together, as far as the budget pays for them, and return their answers."""
        for what, method, path, query, shard in wanted:
            reads = method == "GET"
            bucket, cost = (self._reads, 10) if reads else (self._writes, 2)
            while wait_ms := bucket.wait_ms(cost, 0, self._steady_ms()):
                if self._wait(wait_ms / 1000):
                    break  # the process ends: what it still sends need not wait
            bucket.pay(cost)
            self._number += 1
            self._sender.send(
                Request(
                    self._number,
                    what,
                    method,
                    path,
                    query,
                    urgency="read" if reads else "cancel",
                    shard=shard,
                )
            )
        answers = [self._answer() for _ in wanted]
        for request, reply in answers:
            bucket = self._reads if request.method == "GET" else self._writes
            if reply.status == 429:
                bucket.refused(self._steady_ms())
        offset_s = self._sender.clock_offset_s
        if offset_s is not None:  # a clock that was set: signatures use the exchange's time
            self._sender.ahead_ms = int(-offset_s * 1000) if abs(offset_s) > CLOCK_OFF_S else 0
        return answers

    def _answer(self) -> tuple[Request, Reply]:
        """Wait for the next answer: it may come slowly, and meanwhile this process is seen to live."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=ALIVE_MS / 1000)
            self._wait(0)

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000


class Watchdog:
    """Listens, and takes over when needed. One thread."""

    def __init__(self, settings: Settings, stop: Stop, clock: Clock, rng: Rng) -> None:
        self._settings = settings
        self._stop = stop
        self._clock = clock
        self._anew: str | None = None
        self._lived_ms = 0
        private_dir(settings.data_dir)
        self._keys = KeySource.of(settings)
        self._source = TermsSource(settings, self._keys, clock, rng, stop)

    def run(self) -> None:
        """Watch until the stop."""
        terms = self._source.wait()
        if terms is None:
            return
        context = make_context()
        feeds = {who: getattr(self._settings, key) for who, key in FEEDS.items()}
        hears = Heartbeats(context, feeds)
        base = endpoints(self._settings).rest
        follows = threading.Thread(
            target=self._source.follow,
            args=(terms, lambda new: self._changed(terms, new)),
            name="terms",
            daemon=True,
        )
        follows.start()
        takeover = Takeover(base, self._keys, self._clock, self._wait, terms)
        log.info("watchdog.watches", folder=str(terms.folder))
        try:
            self._watch(hears, takeover)
        finally:
            takeover.close()
            hears.close()
            context.term()
        if self._anew is not None:
            raise StartupError(self._anew)

    def _wait(self, seconds: float) -> bool:
        self._live()
        return self._stop.wait(seconds)

    def _live(self) -> None:
        """Show that this process does not hang."""
        now_ms = self._steady_ms()
        if now_ms - self._lived_ms >= ALIVE_MS:
            self._lived_ms = now_ms
            with contextlib.suppress(OSError):
                os.utime(lock_path(self._settings.run_dir, ROLE))

    def _changed(self, before: Terms, terms: Terms) -> None:
        if terms.folder != before.folder:
            self._anew = "another exchange or account is there now: the watchdog begins anew"
            self._stop.set()

    def _watch(self, hears: Heartbeats, takeover: Takeover) -> None:
        silence = Silence(self._steady_ms())
        again: tuple[int, Ours] | None = None
        while not self._stop.is_set():
            heard = hears.hear(HEAR_MS)
            now_ms = self._steady_ms()
            self._live()
            silent = silence.look(heard, now_ms)
            if silent and (ours := self._take_over(silent, takeover, silence)) is not None:
                again = self._steady_ms() + PROVE_AGAIN_MS, ours
            if again is not None and now_ms >= again[0]:
                self._note(takeover, "proved again", takeover.cancel(again[1]))
                again = None

    def _take_over(self, silent: Collection[str], takeover: Takeover, silence: Silence) -> Ours | None:
        """Do what needs doing about silent processes; return those whose orders to look for again."""
        if not takeover.ours().may_rest:
            log.debug("watchdog.nothing_rests", silent=silent)
            return None
        log.warning("watchdog.takes_over", silent=silent)
        try:
            takeover.fence()
        except StartupError as error:
            log.warning("watchdog.not_fenced", error=str(error))
        silence.ended_gateway(self._steady_ms())
        ours = takeover.ours()  # what the gateway had written by its end
        self._note(takeover, f"silent: {', '.join(silent)}", takeover.cancel(ours))
        return ours

    def _note(self, takeover: Takeover, why: str, cancelled: int | None) -> None:
        proved = cancelled is not None
        said = f"{why}; {cancelled} cancelled, nothing of ours rests" if proved else f"{why}; not proved"
        log.warning("watchdog.proved" if proved else "watchdog.not_proved", why=why, cancelled=cancelled)
        path = takeover.terms.folder / WATCHDOG_NOTE
        try:
            path.write_text(f"{format_time(self._clock.now_ms())} {said}\n")
        except OSError as error:
            log.warning("watchdog.not_noted", error=str(error))

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000


def _whole(tier: Tier, share: float) -> float:
    """Return the capacity for a share of the reads, such that a list can always be paid for."""
    return max(tier.capacity * share, 2.0 * requests.COST)


def run(settings: Settings, stop: Stop, clock: Clock | None = None, rng: Callable[[], Rng] = Rng) -> int:
    """Watch until `stop`; return the exit code.

    Raises:
        StartupError: the mode sends no orders; key or directory cannot be used.
    """
    check_mode(settings)
    Watchdog(settings, stop, clock or SystemClock(), rng()).run()
    return 0


if __name__ == "__main__":
    no_arguments("publisher.orders.watchdog", "Ends what rests when trader, gateway or feed are silent.")
    sys.exit(main(ROLE, run))
