"""Which exchange this is, and since when, so that a restart is an outage of the same exchange, not a new one.

The exchange is a function of its options, its beginning, the time, and what was asked of it. A note of its
beginning is kept beside the keys.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from simulator.options import SimulatorOptions

FILE: Final = "sim_origin.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """The note: the options that determine an exchange, its id, and its beginning."""

    seed: int
    markets: int
    catalogue: str
    accounts: int
    cash_e6: int
    exchange_id: str
    start_ms: int


def new(options: SimulatorOptions, now_ms: int, exchange_id: str) -> Origin:
    """Return the note of an exchange that begins now."""
    return Origin(
        options.seed,
        options.markets,
        str(options.catalogue or ""),
        options.accounts,
        options.cash_e6,
        exchange_id,
        now_ms,
    )


def read(options: SimulatorOptions, now_ms: int) -> Origin | None:
    """Return the existing note, None if it has other options, is from the future, or is unreadable."""
    try:
        found = Origin(**json.loads((options.keys / FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    if type(found.start_ms) is not int or type(found.exchange_id) is not str:
        return None
    if found != new(options, found.start_ms, found.exchange_id) or found.start_ms > now_ms:
        return None
    return found


def write(directory: Path, origin: Origin) -> None:
    """Leave the note for the next start."""
    fd = os.open(directory / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(asdict(origin), file)
