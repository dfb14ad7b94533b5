"""Sources of fair values: what a market's YES is worth, in somebody's opinion.

``consensus`` follows from an event's own prices (markets.opportunities.consensus). It needs no source here,
because everybody computes it from the same prices. The trader reads the user's file itself; every other
source runs in its own process: docs/extending.md.
"""

from collections.abc import Mapping
from typing import Final

from trader.extensions.params import Parameters

from .elo import Elo
from .mixture import Mixture
from .source import Estimate, Estimator, Source
from .values_file import FileSource, Loaded, ValuesFile, parse

BUILT_IN: Final[Mapping[str, type[Estimator]]] = {
    FileSource.name: FileSource,
    Elo.name: Elo,
    Mixture.name: Mixture,
}
"""The built-in sources, by name."""

__all__ = [
    "BUILT_IN",
    "Estimate",
    "Estimator",
    "FileSource",
    "Loaded",
    "Parameters",
    "Source",
    "ValuesFile",
    "parse",
]
