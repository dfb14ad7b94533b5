"""Prices one can trade at, from either outcome's side, out of a book or a quote.

Kalshi's book holds bids only. The complement rule turns them into asks: a NO bid at q is a YES ask at
1 - q of the same size, and conversely. Here asks are never stored, they are always made from bids, so
the rule holds by construction.

A side of a quote exists iff its size is positive: the exchange gives an empty side the price 0.0000 or
1.0000, as it pleases (Kalshi API, recorded June to October 2026).
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from .records import Book, Level, Quote
from .units import PRICE_ONE_E4, opposite

YES: Final = "yes"
NO: Final = "no"


class Top(msgspec.Struct, frozen=True, gc=False):
    """Best bid and ask as (price_e4, count_e2) on the YES scale; None where that side is empty."""

    yes_bid: Level | None
    yes_ask: Level | None

    @property
    def no_bid(self) -> Level | None:
        """Best NO bid: the YES ask seen from the other outcome."""
        return _complement(self.yes_ask)

    @property
    def no_ask(self) -> Level | None:
        """Best NO ask: the YES bid seen from the other outcome."""
        return _complement(self.yes_bid)

    @property
    def crossed(self) -> bool:
        """Both sides exist and the bid is at or above the ask: the data cannot be right."""
        return self.yes_bid is not None and self.yes_ask is not None and self.yes_bid[0] >= self.yes_ask[0]

    def bid(self, side: str) -> Level | None:
        """Best bid of "yes" or "no"."""
        return self.yes_bid if side == YES else self.no_bid

    def ask(self, side: str) -> Level | None:
        """Best ask of "yes" or "no"."""
        return self.yes_ask if side == YES else self.no_ask


def top_of_quote(quote: Quote) -> Top:
    """Return the best bid and ask that a quote states."""
    return Top(
        yes_bid=(quote.yes_bid_e4, quote.yes_bid_size_e2) if quote.yes_bid_size_e2 > 0 else None,
        yes_ask=(quote.yes_ask_e4, quote.yes_ask_size_e2) if quote.yes_ask_size_e2 > 0 else None,
    )


def top_of_book(book: Book) -> Top:
    """Return the best bid and ask of a book."""
    return Top(
        yes_bid=book.yes[-1] if book.yes else None,
        yes_ask=_complement(book.no[-1] if book.no else None),
    )


def quoted_ask(quote: Quote, side: str) -> Level | None:
    """Return the best ask of an outcome that a quote states, without making the others."""
    if side == YES:
        return (quote.yes_ask_e4, quote.yes_ask_size_e2) if quote.yes_ask_size_e2 > 0 else None
    return (opposite(quote.yes_bid_e4), quote.yes_bid_size_e2) if quote.yes_bid_size_e2 > 0 else None


def standing_price_e4(bid_e4: int | None, ask_e4: int | None, last_e4: int | None) -> int | None:
    """Return what YES stands at: its last trade, or the bid or the offer that has passed that since.

    So a bid that comes and goes far from the last trade moves nothing, and one above it does. Before the
    first trade it is the middle of both sides, None while one of them is empty.
    """
    if not last_e4:
        return None if bid_e4 is None or ask_e4 is None else (bid_e4 + ask_e4) // 2
    stands_e4 = last_e4 if bid_e4 is None else max(last_e4, bid_e4)
    return stands_e4 if ask_e4 is None else min(stands_e4, ask_e4)


def bids(book: Book, side: str) -> tuple[Level, ...]:
    """Return the bids of an outcome in its own prices, best first."""
    return tuple(reversed(book.yes if side == YES else book.no))


def asks(book: Book, side: str) -> tuple[Level, ...]:
    """Return the asks of an outcome in its own prices, best first: the other's bids seen from here."""
    others = book.no if side == YES else book.yes
    return tuple([(PRICE_ONE_E4 - price, count) for price, count in others[::-1]])


def best_ask(book: Book, side: str) -> Level | None:
    """Return the best of `asks`, without making the others."""
    others = book.no if side == YES else book.yes
    return _complement(others[-1]) if others else None


def yes_scale(book: Book) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Return the book as traders draw it, in YES prices: (bids, asks), each best first."""
    return bids(book, YES), asks(book, YES)


def fills(levels: Iterable[Level], count_e2: int) -> tuple[Level, ...]:
    """Return the fills of taking at most `count_e2` from a ladder, best level first."""
    left, head = count_e2, []
    for level in levels:
        if left <= 0:
            break
        size_e2 = level[1]
        head.append(level if size_e2 <= left else (level[0], left))
        left -= size_e2
    return tuple(head)


def cost_e6(levels: Iterable[Level]) -> int:
    """Return what all of a ladder costs, exactly."""
    total_e6 = 0
    for price_e4, count_e2 in levels:  # a loop: most ladders asked about are one or two levels
        total_e6 += price_e4 * count_e2
    return total_e6


def depth(levels: Iterable[Level]) -> int:
    """Return the total count_e2 of a ladder."""
    total_e2 = 0
    for _, count_e2 in levels:
        total_e2 += count_e2
    return total_e2


def is_complementary(quote: Quote) -> bool:
    """Whether the four prices of a quote agree: an existing side shows the same price from both outcomes."""
    return (quote.yes_bid_size_e2 == 0 or quote.yes_bid_e4 + quote.no_ask_e4 == PRICE_ONE_E4) and (
        quote.yes_ask_size_e2 == 0 or quote.yes_ask_e4 + quote.no_bid_e4 == PRICE_ONE_E4
    )


def on_grid(price_e4: int, price_ranges: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a price may be traded on a market's grid: strictly inside (0, 1) and on a step of a band.

    Source: Kalshi API, `price_ranges` is the only authority for valid prices (October 2026).
    """
    if 0 < price_e4 < PRICE_ONE_E4:
        for start, end, step in price_ranges:
            if start <= price_e4 <= end and (price_e4 - start) % step == 0:
                return True
    return False


def at_or_below(price_e4: int, price_ranges: Sequence[tuple[int, int, int]]) -> int | None:
    """Return the highest tradable price that is not above this one; None if there is none."""
    found = None
    for start, end, step in price_ranges:
        last = min(end, price_e4, PRICE_ONE_E4 - 1)
        if step <= 0 or last < start:
            continue
        price = last - (last - start) % step
        if price > 0 and (found is None or price > found):
            found = price
    return found


def above(price_e4: int, price_ranges: Sequence[tuple[int, int, int]]) -> int | None:
    """Return the lowest tradable price above this one; None if there is none."""
    found = None
    for start, end, step in price_ranges:
        if step <= 0:
            continue
        least = max(start, price_e4 + 1, 1)
        price = least + (start - least) % step
        if price <= end and price < PRICE_ONE_E4 and (found is None or price < found):
            found = price
    return found


def _complement(level: Level | None) -> Level | None:
    return None if level is None else (opposite(level[0]), level[1])
