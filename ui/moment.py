"""One cut through all that pages show: what one page says is all from one of them."""

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
        starred: the watchlist. trouble: what is wrong with its file, "" if nothing is.
        movers: by window (seconds). silent: why there may be nothing newer, "" while there is.
    """

    shelf: Shelf
    starred: tuple[str, ...] = ()
    trouble: str = ""
    movers: Mapping[int, Movers] = {}
    silent: str = ""


class Moment(msgspec.Struct, frozen=True):
    """What there is at one moment: markets and candidates at (epoch, seq), the trader's account, the status.

    `taken_ns`: when, by a clock that never jumps. `now_ms`: when, as the replica has it.
    """

    scan: Scan
    desk: Desk
    status: DashboardStatus
    now_ms: int
    taken_ns: int
    finds: Finds
