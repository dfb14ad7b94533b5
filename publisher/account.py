"""What the publisher says about itself in heartbeats: how the last sweep ended, and what is going wrong."""

from collections.abc import Sequence

import msgspec
import structlog

from bus.process.programs import to_type
from bus.protocol.messages import PublisherHealth, RouteHealth
from bus.threads import Owner

from .held import Held
from .kalshi import faults
from .kalshi.client import Client, ExchangeError, KeyRefused
from .kalshi.faults import Place
from .kalshi.signing import KeySource
from .kalshi.stream import KalshiStream
from .live import Live
from .reading import Reading

log = structlog.get_logger()


class Account:
    """The publisher's account. `health` may be asked from any thread; the sweep's thread changes it.

    Args:
        clients: clients whose trouble is reported at once; the first says whether the exchange can be
            reached.
        stream: None if there is none; then there is no `live` either.
        place: where the exchange is looked for, for use in sentences.
    """

    def __init__(
        self,
        keys: KeySource,
        clients: Sequence[Client],
        held: Held,
        stream: KalshiStream | None,
        live: Live | None,
        place: Place,
        *,
        started_ms: int,
        poll_interval_s: float,
    ) -> None:
        self._keys = keys
        self._clients = clients
        self._held = held
        self._stream = stream
        self._live = live
        self._place = place
        self._first: Reading | None = None
        self._private: KeyRefused | None = None
        self._unmatched: tuple[str, ...] = ()
        self._warned: set[str] = set()
        self._said = PublisherHealth(
            started_ms=started_ms,
            poll_interval_ms=round(poll_interval_s * 1000),
            key="ok" if keys.configured else "none",
        )
        self._thread = Owner("what the publisher says of its sweeps")

    @property
    def health(self) -> PublisherHealth:
        """The account for heartbeats: the last sweep's outcome, and any trouble of the running one."""
        health = self._with_stream(self._said)
        first = self._first
        if first is not None:
            read = len(first.confirmed) + len(first.candidates)
            health = msgspec.structs.replace(health, pages=first.pages, markets_read=read)
        if health.error is None and (trouble := self._trouble(health)) is not None:
            health = self._with_error(health, trouble, exchange_reachable=self._clients[0].reachable)
        if self._keys.configured and self._is_refused(health):
            health = self._refused(health)
        return msgspec.structs.replace(health, warnings=(*self._unmatched, *self._clock_warnings()))

    def waits_for_key(self, path: object, *, long: bool) -> None:
        """Note that the simulator has not written its key yet; after `long` this is an error."""
        if not long:
            self._say(sweep="waiting_for_key")
            return
        self._say(
            sweep="waiting_for_key",
            key="refused",
            error=f"{path}: waiting for the simulator to write its key",
            cause="waiting_for_key",
            remedy=f"Start the simulator: {to_type('run')} does.",
        )

    def has_key(self) -> None:
        """Note that the awaited key has arrived."""
        self._say(sweep="starting", key="ok", error=None, cause=None, remedy=None)

    def begins(self, reading: Reading, *, first: bool) -> None:
        """Note that a sweep begins; `first`: there is no epoch yet, so its progress is reported."""
        self._thread.check()
        self._first = reading if first else None

    def private(self, refusal: KeyRefused | None) -> None:
        """Note whether the key was refused where nothing is answered without one."""
        self._thread.check()
        self._private = refusal

    def swept(self, error: ExchangeError | None, *, partly: bool, routes: Sequence[RouteHealth] = ()) -> None:
        """Note how a sweep ended.

        Args:
            partly: what it read before the error counts nevertheless.
            routes: those that failed besides.
        """
        key = self._key_word(error)
        self._say(routes=tuple(routes))
        if error is None:
            self._say(sweep="complete", key=key, exchange_reachable=True, error=None, cause=None, remedy=None)
            return
        outcome = "key_refused" if isinstance(error, KeyRefused) else "partial" if partly else "failed"
        self._thread.check()
        said = msgspec.structs.replace(self._said, sweep=outcome, key=key)
        self._said = self._with_error(said, error, exchange_reachable=self._clients[0].reachable)

    def matched(self, unmatched: Sequence[str]) -> None:
        """Note which settings match nothing, a sentence each."""
        self._thread.check()
        self._unmatched = tuple(unmatched)
        for warning in (*self._unmatched, *self._clock_warnings()):
            if warning not in self._warned:
                log.warning("publisher.warning", text=warning)
        self._warned = {*self._unmatched, *self._clock_warnings()}

    def _trouble(self, health: PublisherHealth) -> ExchangeError | None:
        for client in self._clients:
            if client.trouble is not None:
                return client.trouble
        if health.exchange_reachable or any(client.reachable for client in self._clients):
            return None  # slow is not the same as gone
        return next(filter(None, (client.unanswered() for client in self._clients)), None)

    def _with_error(
        self, health: PublisherHealth, error: ExchangeError, *, exchange_reachable: bool
    ) -> PublisherHealth:
        return msgspec.structs.replace(
            health,
            exchange_reachable=exchange_reachable,
            error=f"{faults.lead(error.outcome, self._place)} ({error})",
            cause=error.outcome,
            remedy=faults.remedy(error.outcome, str(error), self._place),
        )

    def _is_refused(self, health: PublisherHealth) -> bool:
        return (
            health.key == "refused"
            or self._private is not None
            or health.stream == "key_refused"
            or any(isinstance(client.trouble, KeyRefused) for client in self._clients)
        )

    def _refused(self, health: PublisherHealth) -> PublisherHealth:
        """Report that the key is refused, even while everything that needs none goes on."""
        health = msgspec.structs.replace(health, key="refused")
        if health.error is not None:
            return health
        refusal = self._private
        if refusal is None and health.stream_error is not None:
            refusal = KeyRefused("key_refused", health.stream_error)
        if refusal is None:
            return health
        return self._with_error(health, refusal, exchange_reachable=health.exchange_reachable)

    def _clock_warnings(self) -> tuple[str, ...]:
        """Say that this machine's clock is wrong, rounded so that the sentence does not change each time."""
        offset_s = self._clients[0].clock_offset_s
        if offset_s is None or abs(offset_s) < faults.SKEWED_S:
            return ()
        off_s = round(abs(offset_s), -1) if abs(offset_s) >= 20 else round(abs(offset_s))
        way = "ahead of" if offset_s > 0 else "behind"
        remedy = faults.remedy("clock_off", "", self._place)
        return (f"This machine's clock is about {off_s:,.0f} s {way} the exchange's. {remedy}",)

    def _key_word(self, error: ExchangeError | None) -> str:
        if not self._keys.configured:
            return "none"
        if isinstance(error, KeyRefused):
            return "refused"
        # No answer means no news about the key.
        return "ok" if error is None or self._clients[0].reachable else self._said.key

    def _with_stream(self, health: PublisherHealth) -> PublisherHealth:
        stream, live = self._stream, self._live
        older = self._held.older
        if stream is None or live is None:
            return msgspec.structs.replace(health, stream_older=older)
        counters = stream.counters
        return msgspec.structs.replace(
            health,
            stream=stream.state,
            stream_books=stream.books,
            stream_unsure=stream.unsure,
            stream_gaps=counters.gaps,
            stream_reconnects=stream.reconnects,
            stream_healed=counters.healed + live.healed,
            stream_confirmed=counters.confirmed + live.confirmed,
            stream_older=older + live.older,
            stream_error=stream.error,
            stream_refused=dict(counters.refused),
            stream_refusal=counters.refusal,
            stream_books_max=counters.books_max,
            stream_bad=stream.counters.bad,
            stream_since_ms=stream.since_ms,
        )

    def _say(self, **changes: object) -> None:
        self._thread.check()
        self._said = msgspec.structs.replace(self._said, **changes)
