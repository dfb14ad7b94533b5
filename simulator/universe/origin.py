"""Where a simulated exchange began, so that a restart is an outage of the same exchange and not another one.

The exchange is a function of its seed, size, beginning and the time: what passed while it was down is made up
in one step at the start. Orders, faults and settings posted to it are not kept.
"""

import json
import os
from pathlib import Path
from typing import Final

from simulator.options import SimulatorOptions

FILE: Final = "sim_origin.json"
CATCH_UP: Final = 3 * 3_600_000 * 1_500
"""Milliseconds x markets that may be made up: about 6 s of work. Beyond that a new exchange begins."""


def start_ms(options: SimulatorOptions, now_ms: int) -> int:
    """Return when this exchange began: earlier if it was here before with the same options, else `now_ms`.

    Notes it beside the keys for the next start.
    """
    path = options.keys / FILE
    same = {"seed": options.seed, "markets": options.markets, "catalogue": str(options.catalogue or "")}
    before = _read(path)
    began_ms = before.pop("start_ms", None)
    if before == same and isinstance(began_ms, int) and 0 <= now_ms - began_ms <= CATCH_UP // options.markets:
        return began_ms
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump({**same, "start_ms": now_ms}, file)
    return now_ms


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
