"""Collateral return: cash of NO contracts in one exclusive event that pay out whatever happens.

At most one market of such an event resolves YES. So of NO counts n_1, n_2, ... all but one surely pay, at
worst all but the largest: ``sum(n) - max(n)`` dollars are returned at once, and taken back when the counts
fall. (NO at 0.60 and NO at 0.70, one each, cost 1.30 and return 1.00.) Kalshi publishes no formula; this one
is derived and agrees with the published examples. Only the NO side counts.

When markets of the event are settled one after another, what was returned stays covered by the rest: with
values adding up to V so far, the rest pays at least ``sum(n) - (1 - V) max(n)``. A settlement never returns
more than before; so it pays out no less than it takes back, and after the last one nothing is owed.
"""

from dataclasses import dataclass, field
from typing import Final

_ONE_E4: Final = 10_000


@dataclass(slots=True, eq=False)
class Returned:
    """What one party holds, and was returned, in one exclusive event.

    Attributes:
        exchange_index: the event's shard.
        counts_e2: NO contracts by ticker, without zeros.
        returned_e6: what was returned.
        carried_e6: the part of it that settlements left beyond the plain formula.
        settled_e4: values of the settled markets, added up, at most 1.
    """

    exchange_index: int
    counts_e2: dict[str, int] = field(default_factory=dict)
    returned_e6: int = 0
    carried_e6: int = 0
    settled_e4: int = 0

    def others(self, ticker: str) -> tuple[int, int]:
        """Return sum and largest of the counts in the other markets."""
        total_e2 = largest_e2 = 0
        for other, count_e2 in self.counts_e2.items():
            if other != ticker:
                total_e2 += count_e2
                largest_e2 = max(largest_e2, count_e2)
        return total_e2, largest_e2

    def returned_if_e6(self, others: tuple[int, int], count_e2: int) -> int:
        """Return what is returned once there are `count_e2` NO contracts beside `others`."""
        total_e2, largest_e2 = others[0] + count_e2, max(others[1], count_e2)
        plain_e6 = (total_e2 - largest_e2) * _ONE_E4
        if not self.settled_e4:
            return plain_e6
        return min(plain_e6 + self.carried_e6, self._sure_e6(total_e2, largest_e2))

    def hold(self, ticker: str, count_e2: int) -> int:
        """Note the new NO count of a market; return what is returned now, negative if taken back."""
        now_e6 = self.returned_if_e6(self.others(ticker), count_e2)
        self._put(ticker, count_e2)
        change_e6 = now_e6 - self.returned_e6
        self.returned_e6 = now_e6
        return change_e6

    def settle(self, ticker: str, value_e4: int) -> int:
        """Note the settlement of a market, held or not; return what is taken back, as 0 or less."""
        self._put(ticker, 0)
        self.settled_e4 = min(self.settled_e4 + value_e4, _ONE_E4)
        total_e2 = sum(self.counts_e2.values())
        largest_e2 = max(self.counts_e2.values(), default=0)
        now_e6 = min(self.returned_e6, self._sure_e6(total_e2, largest_e2))
        change_e6 = now_e6 - self.returned_e6
        self.returned_e6 = now_e6
        self.carried_e6 = now_e6 - (total_e2 - largest_e2) * _ONE_E4
        return change_e6

    def _sure_e6(self, total_e2: int, largest_e2: int) -> int:
        """Return the least that the NO contracts pay."""
        return total_e2 * _ONE_E4 - (_ONE_E4 - self.settled_e4) * largest_e2

    def _put(self, ticker: str, count_e2: int) -> None:
        if count_e2:
            self.counts_e2[ticker] = count_e2
        else:
            self.counts_e2.pop(ticker, None)
