"""What somebody may have meant who wrote a name that there is not. Pure."""

import difflib
from collections.abc import Iterable, Sequence


def or_nearest(given: str, known: Sequence[str]) -> str:
    """Return what was expected in words: the nearest of the known names, else all of them."""
    found = nearest(given, known, 1)
    return f"{found[0]!r}?" if found else f"one of {', '.join(known)}"


def nearest(given: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known names that are most like what was given, best first; none if none is like it."""
    return difflib.get_close_matches(given, list(known), most, 0.6)
