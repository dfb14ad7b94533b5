"""The thread that writes the history down: from the replica to the store, and from the store to its files."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from bus.process.lifecycle import Stop
from bus.protocol.join import Action
from bus.protocol.messages import Envelope, Header, Quotes, decode_records
from bus.protocol.state import Changed
from bus.replica import Replica
from bus.threads import Owner
from markets.errors import DecodeError
from markets.records import Quote, Trade

from .disk import Disk
from .store import Store

log = structlog.get_logger()

TICK_S: Final = 0.2
"""How often the history is brought up to date, and the feed checked for gaps."""

SAVE_MS: Final = 60_000
"""How often what is not packed is written."""

MAX_HEARD: Final = 100_000
"""The most messages that may wait; beyond that the history gets a hole."""


class Historian:
    """Writes the history of what a replica hears.

    `tap` and `changed` are the replica's; the rest is one thread's, that of `run`.

    Args:
        disk: where the history of a live feed is kept beyond the process.
    """

    def __init__(self, store: Store, disk: Disk) -> None:
        self.store = store
        self._disk = disk
        self._heard: deque[Sequence[Quote] | Envelope | tuple[str, ...]] = deque()
        self._lost = False
        self._wake = threading.Event()
        self._owner = Owner("the writing of the history")
        self._source = ""
        self._heard_ms: int | None = None
        self._trades_ms: int | None = None
        self._counts = (0, 0)
        self._saved_ms = 0

    # -- the replica's thread

    def tap(self, _frame: bytes, message: Header | Quotes) -> None:
        """Note a message that was heard."""
        if isinstance(message, Quotes):
            self._heard.append(message.records)
        elif isinstance(message, Envelope) and not message.cycle and message.kind in ("quote", "trade"):
            self._heard.append(message)

    def changed(self, actions: Sequence[Action]) -> None:
        """Note commits that were applied."""
        for action in actions:
            if isinstance(action, Changed) and action.cycle:
                for kind, keys in action.groups:
                    if kind == "quote":
                        self._heard.append(tuple(keys))
        if len(self._heard) > MAX_HEARD:
            self._lost = True
            self._heard.clear()

    # -- its own

    def run(self, replica: Replica, stop: Stop) -> None:
        """Write until `stop`, and then write down everything."""
        self._owner.check()
        while not stop.is_set():
            self._wake.wait(TICK_S)
            self.update(replica)
        self.update(replica)
        if self._source == "live":
            self._disk.save(self.store)

    def wake(self) -> None:
        """End a wait at once, to stop."""
        self._wake.set()

    def update(self, replica: Replica) -> None:
        """Bring the history up to date with what was heard."""
        self._owner.check()
        status, state, now_ms = replica.status(), replica.state, replica.now_ms()
        if not state.epoch:
            return
        if status.source != self._source or (
            # A recording that is played again.
            status.source == "replay" and self._heard_ms is not None and now_ms < self._heard_ms
        ):
            self._begin(status.source, now_ms)
        self._take(state.quotes, now_ms)
        counts = status.stats.epochs, status.stats.gaps
        if not status.live:
            return
        whole = counts == self._counts and not self._lost
        if not whole:
            # At most, what was missed has left its mark in the state.
            self._counts, self._lost = counts, False
            with state.lock:
                quotes = dict(state.quotes)
            self.store.compare(quotes, now_ms)
        self._note(replica, now_ms, whole=whole)
        self.store.bound()
        self.store.work_out_movers(now_ms)
        if self._source == "live" and not 0 <= now_ms - self._saved_ms < SAVE_MS:
            self._saved_ms = now_ms
            self._disk.save(self.store)

    def _begin(self, source: str, now_ms: int) -> None:
        """Begin the history of a live feed, with what is on disk, or of a replay, with nothing."""
        self._source = source
        self._heard_ms = self._trades_ms = None
        self._lost = True
        self.store.clear()
        if source == "live":
            self._disk.load(self.store)
            self.store.remember(now_ms)
            log.info("history.loaded", changes=self.store.quotes.count, trades=self.store.trades.count)

    def _note(self, replica: Replica, now_ms: int, *, whole: bool) -> None:
        """Note up to when all was heard; for trades, only while the publisher hears the exchange's stream."""
        since_ms = self._heard_ms if whole and self._heard_ms is not None else now_ms
        if since_ms <= now_ms:
            self.store.quotes.heard(since_ms, now_ms)
        self._heard_ms = now_ms
        heartbeat = replica.heartbeat
        streams = heartbeat is not None and (
            heartbeat.source != "live" or heartbeat.publisher.stream == "live"
        )
        if streams:
            since_ms = self._trades_ms if whole and self._trades_ms is not None else now_ms
            if since_ms <= now_ms:
                self.store.trades.heard(since_ms, now_ms)
        self._trades_ms = now_ms if streams else None

    def _take(self, quotes: Mapping[str, Quote], now_ms: int) -> None:
        store, heard = self.store, self._heard
        while heard:
            item = heard.popleft()
            if isinstance(item, Envelope):
                self._take_message(item, now_ms)
            elif isinstance(item, tuple):
                store.put_quotes([quote for key in item if (quote := quotes.get(key)) is not None], now_ms)
            else:
                store.put_quotes(item, now_ms)

    def _take_message(self, message: Envelope, now_ms: int) -> None:
        try:
            records = decode_records(message.kind, message.records)
        except DecodeError:
            return  # the replica says so
        self.store.put_quotes([record for record in records if isinstance(record, Quote)], now_ms)
        self.store.put_trades([record for record in records if isinstance(record, Trade)])
