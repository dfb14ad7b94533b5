"""A consistent cut through all that pages show: everything on one page comes from one moment."""

from collections.abc import Mapping

import msgspec

from bus.market_history import Movers
from bus.scan.scans import Scan
from ui.pages.dashboard_status import DashboardStatus

from .catalogue import Shelf
from .desk import Desk


class Finds(msgspec.Struct, frozen=True):
    """What markets are found by at one moment.

    Attributes:
        starred: the watchlist. trouble: what is wrong with its file; "" if nothing is.
        movers: by window (seconds). silent: why there may be nothing newer; "" while the server answers.
    """

    shelf: Shelf
    starred: tuple[str, ...] = ()
    trouble: str = ""
    movers: Mapping[int, Movers] = {}
    silent: str = ""


class Moment(msgspec.Struct, frozen=True):
    """One moment: markets and candidates at (epoch, seq), the trader's latest answers, the status.

    `taken_ns`: its time by a clock that never jumps. `now_ms`: its time by the replica's clock.
    """

    scan: Scan
    desk: Desk
    status: DashboardStatus
    now_ms: int
    taken_ns: int
    finds: Finds
