"""What the publisher says of itself in heartbeats: how the last sweep ended, and what goes wrong now."""

from collections.abc import Sequence

import msgspec

from bus.protocol.messages import PublisherHealth
from bus.threads import Owner

from .held import Held
from .kalshi.client import Client, ExchangeError, KeyRefused
from .kalshi.signing import KeySource
from .kalshi.stream import KalshiStream
from .live import Live


class Account:
    """The publisher's account. `health` may be asked from any thread; the sweep's thread changes it.

    Args:
        clients: whose trouble is told at once; the first says whether the exchange can be reached.
        stream: None where there is none, and then no `live` either.
    """

    def __init__(
        self,
        keys: KeySource,
        clients: Sequence[Client],
        held: Held,
        stream: KalshiStream | None,
        live: Live | None,
        *,
        started_ms: int,
        poll_interval_s: float,
    ) -> None:
        self._keys = keys
        self._clients = clients
        self._held = held
        self._stream = stream
        self._live = live
        self._said = PublisherHealth(
            started_ms=started_ms,
            poll_interval_ms=round(poll_interval_s * 1000),
            key="none" if not keys.configured else "refused" if keys.missing() else "ok",
        )
        self._thread = Owner("what the publisher says of its sweeps")

    @property
    def health(self) -> PublisherHealth:
        """The account for heartbeats: the last sweep's outcome, and at once the running one's trouble."""
        health = self._with_stream(self._said)
        trouble = next((client.trouble for client in self._clients if client.trouble), None)
        if trouble is None or health.error is not None:
            return health
        return msgspec.structs.replace(health, error=trouble, exchange_reachable=self._clients[0].reachable)

    def waits_for_key(self, path: object) -> None:
        """Say that the simulator has not written its key yet."""
        self._say(sweep="waiting_for_key", error=f"{path}: waiting for the simulator to write its key")

    def swept(self, error: ExchangeError | None, *, partly: bool) -> None:
        """Say how a sweep ended; `partly`: what it read before the error counts."""
        key = self._key_word(error)
        if error is None:
            self._say(sweep="complete", key=key, exchange_reachable=True, error=None)
            return
        outcome = "key_refused" if isinstance(error, KeyRefused) else "partial" if partly else "failed"
        reachable = self._clients[0].reachable
        self._say(sweep=outcome, key=key, exchange_reachable=reachable, error=str(error))

    def _key_word(self, error: ExchangeError | None) -> str:
        if not self._keys.configured:
            return "none"
        if isinstance(error, KeyRefused):
            return "refused"
        # No answer says nothing about the key.
        return "ok" if error is None or self._clients[0].reachable else self._said.key

    def _with_stream(self, health: PublisherHealth) -> PublisherHealth:
        stream, live = self._stream, self._live
        older = self._held.older
        if stream is None or live is None:
            return msgspec.structs.replace(health, stream_older=older)
        return msgspec.structs.replace(
            health,
            stream=stream.state,
            stream_books=stream.books,
            stream_unsure=stream.unsure,
            stream_gaps=stream.counters.gaps,
            stream_reconnects=stream.reconnects,
            stream_healed=stream.counters.healed + live.healed,
            stream_confirmed=stream.counters.confirmed + live.confirmed,
            stream_older=older + live.older,
        )

    def _say(self, **changes: object) -> None:
        self._thread.check()
        self._said = msgspec.structs.replace(self._said, **changes)
