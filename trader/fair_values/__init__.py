"""Sources of fair values: what a market's YES is worth, by somebody's account.

``consensus`` is what an event's own legs leave over (markets.opportunities.consensus): it needs no source
here, since everybody computes it from the same prices. A file of one's own is read in the trader; every other
source runs in a process of its own: docs/extending.md.
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
"""The project's own sources, by their names."""

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
