"""Finds the rows of a page that a browser already has, which are then sent as stubs.

A row is a `tr` with a `data-key` in a `tbody`; the rest of a page is small and always sent. The text of an
age or a countdown does not count as a change: the page updates those itself.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

RowKey = tuple[int, str]
"""(number of the `tbody` in the page, `data-key`)."""

_TAG: Final = re.compile(r'<(/?)(tbody|tr)\b(?:[^>]*?\sdata-key="([^"]*)")?')
_TIME_ALONE: Final = re.compile(r'(\sdata-(?:age|until)="[^"]*"[^>]*>)[^<]*')


class Row(msgspec.Struct, frozen=True):
    """A row: its place in the page's text, and a digest of its content."""

    key: RowKey
    begin: int
    end: int
    digest: bytes


class Rendering(msgspec.Struct, frozen=True):
    """A rendered page: its text and its rows in order. `token` identifies its content."""

    text: str
    rows: tuple[Row, ...]
    token: str

    def digests(self) -> Mapping[RowKey, bytes]:
        """Return the digest of each row, as a browser with this page has it."""
        return {row.key: row.digest for row in self.rows}

    def without(self, had: Mapping[RowKey, bytes]) -> str:
        """Return the page with a stub, an empty `tr` with `data-same`, for each row that is in `had`."""
        parts: list[str] = []
        at = 0
        for row in self.rows:
            if had.get(row.key) == row.digest:
                parts += (self.text[at : row.begin], f'<tr data-key="{row.key[1]}" data-same></tr>')
                at = row.end
        parts.append(self.text[at:])
        return "".join(parts)


def rendering(text: str) -> Rendering:
    """Split a page into rows. Nested rows belong to the outer one; rows with the same key are never stubs."""
    rows: list[Row] = []
    seen: dict[RowKey, int] = {}
    body = depth = begin = 0
    key = ""
    for tag in _TAG.finditer(text):
        closes, name = tag[1], tag[2]
        if name == "tbody":
            depth += -1 if closes else 1
            body += not closes and depth == 1
        elif depth == 1 and not closes:
            begin, key = tag.start(), tag[3] or ""
        elif depth == 1 and key:
            end = text.index(">", tag.end()) + 1
            same = _TIME_ALONE.sub(r"\1", text[begin:end])
            rows.append(Row((body, key), begin, end, blake2b(same.encode(), digest_size=8).digest()))
            seen[body, key] = seen.get((body, key), 0) + 1
            key = ""
    alone = tuple(row for row in rows if seen[row.key] == 1)
    return Rendering(text, alone, blake2b(text.encode(), digest_size=12).hexdigest())
