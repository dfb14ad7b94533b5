"""Sources of fair values: what a market's YES is worth, by somebody's account.

``consensus`` is what an event's own legs leave over (markets.opportunities.consensus): it needs no source
here, since everybody computes it from the same prices. ``file`` reads one's own numbers.
"""

from .file import Loaded, ValuesFile, parse

__all__ = ["Loaded", "ValuesFile", "parse"]
