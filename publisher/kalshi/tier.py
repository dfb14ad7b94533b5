"""The account's read limits, fetched now and then; without a key, those of the tier Basic."""

from typing import Final

import structlog

from bus.clock import Clock
from markets.json.pages import decode_tier

from .budget import Budget
from .client import Client, ExchangeError, KeyRefused
from .signing import KeySource

log = structlog.get_logger()

TIER_EVERY_NS: Final = 600_000_000_000
TIER_AGAIN_NS: Final = 60_000_000_000


class TierSource:
    """Keeps a budget to the account's tier. The thread of `client`.

    Attributes:
        refusal: the key's refusal, if the exchange refused it when last asked.
    """

    def __init__(self, client: Client, keys: KeySource, budget: Budget, clock: Clock) -> None:
        self._client = client
        self._keys = keys
        self._budget = budget
        self._clock = clock
        self._due_ns = 0
        self.refusal: KeyRefused | None = None

    def ask(self) -> None:
        """Ask, if it is time."""
        now_ns = self._clock.monotonic_ns()
        if not self._keys.configured or now_ns < self._due_ns:
            return
        try:
            tier, _ = self._client.get("/account/limits", read=decode_tier, attempts=1)
        except ExchangeError as error:
            log.info("tier.unknown", outcome=error.outcome, error=str(error))
            if isinstance(error, KeyRefused):
                self.refusal = error  # and asked again with the next sweep: the key may be another one then
            else:
                self._due_ns = now_ns + TIER_AGAIN_NS
            return
        self.refusal = None
        self._budget.resize(tier, self._clock.monotonic_ns() / 1e9)
        self._due_ns = now_ns + TIER_EVERY_NS
        log.info("tier.known", refill_per_s=tier.refill_per_s, capacity=tier.capacity)
