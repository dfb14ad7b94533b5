"""What risk refused: how often, and what is refused now. Pure."""

from collections import Counter
from collections.abc import Container, Sequence
from typing import Final

import msgspec

from markets.orders import Proposal

MAX_KEPT: Final = 10_000


class StandingRefusal(msgspec.Struct, frozen=True):
    """A trade that a strategy wanted when its event was last looked at, and why risk refused it."""

    proposal: Proposal
    reason: str


class Refusals:
    """Refusals by reason, by wanted trade, and by uneven basket.

    Attributes:
        counts: how often risk gave each reason.
        told: (strategy, event ticker) -> the reason last reported there, until something passes.
        stand: event ticker -> what was refused when it was last looked at; the latest event last. Events that
            were not looked at between two commits are dropped, unless they are in `lasting`: nothing there is
            tradable any more.
        lasting: event ticker -> until when nobody looks at it unless its prices move, in epoch milliseconds.
        not_evened: trade of an uneven basket -> why its follow-ups were refused when last tried.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.told: dict[tuple[str, str], str] = {}
        self.stand: dict[str, list[StandingRefusal]] = {}
        self.lasting: dict[str, int] = {}
        self.not_evened: dict[int, tuple[str, ...]] = {}
        self._noted: set[str] = set()

    def commit(self, now_ms: int) -> None:
        """Note that another sweep was committed: whatever else is tradable is looked at after each."""
        if len(self._noted) < len(self.stand):
            kept = self._noted.union(self.lasting)
            self.stand = {event: stand for event, stand in self.stand.items() if event in kept}
        self._noted.clear()
        # What is over now is looked at after this commit or the next.
        for event in [event for event, until_ms in self.lasting.items() if until_ms <= now_ms]:
            del self.lasting[event]
            self._noted.add(event)

    def look_at(self, event_ticker: str) -> None:
        """Forget what was refused in an event, because it is being looked at again."""
        if self.stand.pop(event_ticker, None) is not None:
            self.lasting.pop(event_ticker, None)

    def note(self, proposal: Proposal, reason: str | None, until_ms: int | None = None) -> bool:
        """Note why a strategy's trade was refused, None if it passed; return whether that is news.

        Args:
            until_ms: until when this holds at any price, if that is known.
        """
        key = (proposal.strategy, proposal.event_ticker)
        if reason is None:
            self.told.pop(key, None)
            return False
        if proposal.event_ticker not in self.stand and len(self.stand) >= MAX_KEPT:
            self.stand.clear()
            self.lasting.clear()
        if until_ms is not None:
            self.lasting[proposal.event_ticker] = until_ms
        self._noted.add(proposal.event_ticker)
        self.stand.setdefault(proposal.event_ticker, []).append(StandingRefusal(proposal, reason))
        return self._is_news(key, reason)

    def note_of_order(self, strategy: str, event_ticker: str, reason: str) -> bool:
        """Note why a strategy's order was not amended or cancelled; return whether that is news."""
        self.counts[reason] += 1
        return self._is_news((strategy, event_ticker), reason)

    def _is_news(self, key: tuple[str, str], reason: str) -> bool:
        if self.told.get(key) == reason:
            return False
        if len(self.told) >= MAX_KEPT:
            self.told.clear()
        self.told[key] = reason
        return True

    def note_follow_ups(self, trade: int, reasons: Sequence[str]) -> bool:
        """Note why a basket's follow-ups were all refused, empty if one passed; return whether it is news."""
        if not reasons:
            self.not_evened.pop(trade, None)
            return False
        if self.not_evened.get(trade) == tuple(reasons):
            return False
        self.not_evened[trade] = tuple(reasons)
        return True

    def keep_follow_ups(self, trades: Container[int]) -> None:
        """Forget all baskets but these."""
        if self.not_evened:
            self.not_evened = {trade: why for trade, why in self.not_evened.items() if trade in trades}
