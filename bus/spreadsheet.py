"""Keeps a spreadsheet from running our CSV: text from an exchange may begin like a formula."""

import re
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def guarded(text: str) -> str:
    """Return `text` as a cell that is taken as text or as a number, never as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
