"""What agents' tools see in tests: a state, and a trader that answers with one ticket; no sockets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent_server.world import World
from bus.health import Health, health_of
from bus.market_history import Mover, Movers
from bus.process.settings import Settings
from bus.protocol.join import ReplicaStatus, Stats
from bus.protocol.messages import CycleEnd
from bus.protocol.state import Records, State
from bus.scan.membership import scan_limits
from bus.scan.rescan import Batch
from bus.scan.scans import Scan, Scans
from bus.scan.search import SearchIndex
from bus.trading.shapes import (
    OrderRow,
    OrdersAnswer,
    PositionRow,
    PositionsAnswer,
    SaleRow,
    SaleTicketRow,
    TicketAnswer,
    TicketRow,
)
from markets.records import FairValue
from tests.ui.stage import DULL, MATCH, fill, world

NOW_MS = 1_800_000_000_000
WINNER = f"{MATCH}-VAN"

TICKET = TicketRow(
    number=4711, ticker=WINNER, event_ticker=MATCH, label="Vancouver", side="yes", count_fp="5.00",
    price_dollars="0.5000", best_dollars="0.4900", fillable_fp="5.00", cost_dollars="2.450000",
    fees_dollars="0.080000", worst_dollars="2.580000", payout_dollars="5.000000", rest_seconds=None,
    valid_until=NOW_MS / 1000 + 60, refused=None, why=None,
)  # fmt: skip

SALE = SaleTicketRow(
    number=4712,
    sale=SaleRow(
        ticker=WINNER, event_ticker=MATCH, label="Vancouver", side="no", held_fp="5.00", count_fp="2.00",
        left_fp="3.00", best_dollars="0.4500", price_dollars="0.4000", brings_dollars="0.900000",
        fees_dollars="0.030000", cost_dollars="1.000000", realised_dollars="-0.130000",
        settlement_dollars=None, against_settlement_dollars=None, expected_from=(), refused=None, why=None,
    ),
    worst_before_dollars="-2.500000", worst_after_dollars="-1.600000", valid_until=NOW_MS / 1000 + 60,
    refused=None, why=None,
)  # fmt: skip


class Seen(World):
    """A world without sockets: a state, and a trader that answers with one ticket."""

    def __init__(self, state: State, folder: Path) -> None:
        self.settings = Settings.load({}, folder)
        self.state = state
        self.wished: list[str] = []
        self.asked: list[Mapping[str, Any]] = []
        self.sent: Mapping[str, Any] = {}
        self.held: tuple[PositionRow, ...] = ()
        self.orders: tuple[OrderRow, ...] = ()
        self.limits = scan_limits(self.settings)

    def now_ms(self) -> int:
        return NOW_MS

    def health(self, records: Records | None) -> Health:
        status = ReplicaStatus(NOW_MS, 1, True, "live", False, 0, (), "live", Stats())
        return health_of(records, status, None, NOW_MS, 30_000)

    def records(self) -> Records:
        with self.state.lock:
            return self.state.frozen()

    def fair_values(self) -> Mapping[str, FairValue]:
        return {WINNER: FairValue(WINNER, 0.51234, "mine", NOW_MS - 5_000, 0.01)}

    def scan(self) -> Scan:
        return Scans(self.limits).advance(self.records(), Batch(whole=True), NOW_MS)

    def index(self, records: Records) -> SearchIndex:
        return SearchIndex.of(records)

    def wish(self, ticker: str) -> None:
        self.wished.append(ticker)

    def whole_market(self, ticker: str) -> Mapping[str, Any]:
        return self.sent

    def movers(self, window_s: int, limit: int) -> Movers:
        assert (window_s, limit) in ((86_400, 20), (3_600, 5_000))
        moves = [
            Mover(f"{DULL}-GONE", 1, 2),
            Mover(WINNER, 5_000, 4_100),
            Mover(f"{MATCH}-HOU", 3_000, 3_400),
        ]
        return Movers(window_s, NOW_MS - 3_600_000, NOW_MS - 7_200_000, NOW_MS, 3, moves)

    def trader(self, question: Mapping[str, Any], shape: type[Any], timeout_ms: int = 0) -> Any:
        if shape is PositionsAnswer:
            return PositionsAnswer(positions=self.held)
        if shape is OrdersAnswer:
            older = [row for row in self.orders if row.number < (question.get("before") or 2**62)]
            return OrdersAnswer(orders=tuple(older[: question["limit"]]))
        self.asked.append(question)
        assert shape is TicketAnswer
        return TicketAnswer(state="running", ticket=TICKET if question["what"] == "buy" else SALE)


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    state = State(NOW_MS)
    fill(state, world(NOW_MS))
    state.cycle = CycleEnd(
        1, 0, 0, 0, True, NOW_MS, NOW_MS, as_of_ms=NOW_MS - 3_200, complete_ms=NOW_MS - 3_200
    )
    return Seen(state, tmp_path)
