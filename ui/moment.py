"""One cut through all that pages show: what one page says is all from one of them."""

import msgspec

from bus.scan.scans import Scan
from ui.pages.dashboard_status import DashboardStatus

from .desk import Desk


class Moment(msgspec.Struct, frozen=True):
    """What there is at one moment: markets and candidates at (epoch, seq), the trader's account, the status.

    `taken_ns`: when, by a clock that never jumps. `now_ms`: when, as the replica has it.
    """

    scan: Scan
    desk: Desk
    status: DashboardStatus
    now_ms: int
    taken_ns: int
