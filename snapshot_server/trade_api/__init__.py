"""Kalshi's public read API below `/trade-api/v2`, answered from an edition: pure.

Paths, parameters, order, cursors and error bodies are Kalshi's (API reference, spec 3.34.0), so that a client
of Kalshi works unchanged with this server as its base URL. docs/http-api.md says where an answer cannot be
Kalshi's own, and why.
"""

from typing import Final

from .listings import Answer, Listing, Wish
from .routes import BEGINS, INCOMPLETE, SUSPECT, TEMPLATES, TOP_ONLY, answer

ROOT: Final = "/trade-api"

SEQ: Final = "x-kalshi-bus-seq"
"""A header of ours: `epoch:seq` of the edition."""

__all__ = (
    "BEGINS",
    "INCOMPLETE",
    "ROOT",
    "SEQ",
    "SUSPECT",
    "TEMPLATES",
    "TOP_ONLY",
    "Answer",
    "Listing",
    "Wish",
    "answer",
)
