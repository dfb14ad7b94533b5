"""Digests: 64-bit sums of record hashes, order-free, so that a change costs one subtraction and one addition.

docs/protocol.md section 6 fixes what is hashed.
"""

import struct
from typing import Final

import xxhash

from markets.records import Book

from .messages import encode_map

STATIC: Final = 0
QUOTE: Final = 1
BOOK: Final = 2
REFERENCE: Final = 3
MASK: Final = (1 << 64) - 1

record_hash = xxhash.xxh3_64_intdigest
"""Hash of one record's bytes."""

_level = struct.Struct("<QBHq").pack


def ticker_key(ticker: str) -> int:
    """Return the hash that represents a ticker in its levels' hashes."""
    return record_hash(ticker.encode())


def head_hash(ticker: str, as_of_ms: int) -> int:
    """Return the hash of a book's head."""
    return record_hash(encode_map([ticker, as_of_ms]))


def level_hash(key: int, side: int, price_e4: int, count_e2: int) -> int:
    """Return the hash of one level; `side` 0 is yes, 1 is no; an empty level counts 0."""
    return record_hash(_level(key, side, price_e4, count_e2)) if count_e2 else 0


def book_hash(book: Book) -> int:
    """Return the digest of a whole book: its head and each level."""
    key = ticker_key(book.ticker)
    total = head_hash(book.ticker, book.as_of_ms)
    for side, levels in enumerate((book.yes, book.no)):
        for price_e4, count_e2 in levels:
            total += level_hash(key, side, price_e4, count_e2)
    return total & MASK
