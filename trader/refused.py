"""What risk refused: how often, and what stands refused now. Pure."""

from collections import Counter
from collections.abc import Container, Sequence
from typing import Final

MAX_KEPT: Final = 10_000


class Refusals:
    """Refusals by reason, by trade that a strategy wants, and by basket that is not even.

    Attributes:
        counts: how often risk gave each reason.
        stand: (strategy, event ticker) -> reason of the last refusal there, until something passes.
        not_evened: trade of an uneven basket -> why its follow-ups were refused when last tried.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.stand: dict[tuple[str, str], str] = {}
        self.not_evened: dict[int, tuple[str, ...]] = {}

    def note(self, strategy: str, event_ticker: str, reason: str | None) -> bool:
        """Note why a strategy's trade was refused, None if it passed; return whether that is news to tell."""
        key = (strategy, event_ticker)
        if reason is None:
            self.stand.pop(key, None)
            return False
        if self.stand.get(key) == reason:
            return False
        if len(self.stand) >= MAX_KEPT:
            self.stand.clear()
        self.stand[key] = reason
        return True

    def note_follow_ups(self, trade: int, reasons: Sequence[str]) -> bool:
        """Note why all follow-ups of a basket were refused, none if one passed; return whether it is news."""
        if not reasons:
            self.not_evened.pop(trade, None)
            return False
        if self.not_evened.get(trade) == tuple(reasons):
            return False
        self.not_evened[trade] = tuple(reasons)
        return True

    def keep_follow_ups(self, trades: Container[int]) -> None:
        """Forget baskets that are none of these."""
        self.not_evened = {trade: reasons for trade, reasons in self.not_evened.items() if trade in trades}
