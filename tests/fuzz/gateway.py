"""The order gateway's core with an exchange that answers nonsense, again and again."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from bus.trading.gateway import AccountAsk, AmendAsk, CancelAsk, OrderEventsAsk, PlaceAsk, TransferAsk
from markets.orders import Intent
from publisher.orders.core import Core
from publisher.orders.steps import (
    Answered,
    Append,
    CoreSettings,
    ExchangeTime,
    FeedHeard,
    Limits,
    Now,
    PrivateHint,
    Reply,
    Request,
    Send,
)
from tests.fuzz.mutate import json_damaged

WALL_MS: Final = 1_792_432_800_000
WIDE: Final = Limits(write_per_s=1e6, write_capacity=1e6, read_per_s=1e6, read_capacity=1e6)
SETTINGS: Final = CoreSettings(
    order_e6=10**12, market_e6=10**13, total_e6=10**14, orders_per_minute=10**6, resend=True
)
STATUSES: Final = (*[200] * 12, 404, 409, 429, 500, 401, None)
PAUSES_MS: Final = (0, 50, 500, 3_000, 31_000, 61_000, 3_600_000, 90_000_000)
REFUSED: Final = b'{"error":{"code":"trading_is_paused","message":"m"}}'


def _order(id_: str, number: int, **members: str) -> dict[str, Any]:
    return {
        "order_id": id_, "client_order_id": f"c{number}", "ticker": "KXA-1-X", "exchange_index": 0,
        "outcome_side": "yes", "status": "resting", "yes_price_dollars": "0.5000", "fill_count_fp": "1.00",
        "remaining_count_fp": "9.00", "initial_count_fp": "10.00",
        "last_update_time": "2026-10-19T18:00:00Z", **members,
    }  # fmt: skip


def _fill(id_: str, order_id: str) -> dict[str, Any]:
    return {
        "order_id": order_id, "ticker": "KXA-1-X", "exchange_index": 0, "outcome_side": "yes",
        "count_fp": "1.00", "yes_price_dollars": "0.5000", "fee_cost": "0.010000",
        "created_time": "2026-10-19T18:00:01Z", "fill_id": id_, "is_taker": True,
    }  # fmt: skip


CORPUS: Final = tuple(
    json.dumps(reply).encode()
    for reply in (
        *({"order_id": f"o{n}", "fill_count": "1.00", "remaining_count": "9.00"} for n in (1, 2, 3)),
        *({"order_id": f"o{n}", "reduced_by": "9.00", "ts_ms": WALL_MS} for n in (1, 2)),
        *({"orders": [_order(f"o{n}", n), _order("o9", 9)], "cursor": ""} for n in (1, 2, 3)),
        {"orders": [_order("o1", 2, status="canceled"), _order("o3", 3, status="executed")], "cursor": ""},
        *({"order": _order(f"o{n}", n, fill_count_fp="2.00")} for n in (1, 2)),
        *({"fills": [_fill(f"f{n}", f"o{n}"), _fill("f9", "o9")], "cursor": ""} for n in (1, 2, 3)),
        {"fills": [_fill("f4", "o1"), _fill("f5", "o1")], "cursor": ""},
        {},
        {"as_of_time": "2026-10-19T18:00:00Z"},
        {"as_of_time": "2026-10-19T19:00:00Z"},
        {"balance_breakdown": [{"exchange_index": 0, "balance": "100000.000000"}], "market_positions": []},
        {"settlements": [], "transfers": [], "deposits": [], "withdrawals": [], "orders": [], "fills": []},
    )
)  # fmt: skip


class Gateway:
    """Each input answers a part of what the gateway asks; it has orders, and begins anew now and then."""

    def __init__(self) -> None:
        self.corpus: Sequence[bytes] = CORPUS
        self._ms, self._number, self._transfers = 0, 0, 0
        self._log: list[bytes] = []
        self._begin()

    def mutate(self, data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
        return json_damaged(data, rng, others)

    @property
    def _now(self) -> Now:
        return Now(WALL_MS + self._ms, self._ms)

    def _begin(self) -> None:
        self._core = Core(SETTINGS)
        self._core.replay(self._log)
        self._core.open(self._core.generation + 1, "exchange", "account", self._now)
        self._core.take(WIDE, self._now)
        self._turn(None, Random(0))

    def take(self, data: bytes, rng: Random) -> None:
        if rng.random() < 1 / 60:
            self._log, self._number = [], 0
            self._begin()
        self._ms += rng.choice(PAUSES_MS[: rng.choice((4, 5, 8))])
        core, now = self._core, self._now
        core.take(FeedHeard(3, 1, now.wall_ms, "live"), now)
        number = rng.randrange(1, 4)
        match rng.randrange(12):
            case 0:
                self._begin()
            case 1:
                base = core.base(now)
                self._log = [base, *filter(core.keeps, self._log)]
            case 2 | 3 | 4 | 5:
                self._number = min(3, self._number + 1)  # the corpus tells of so many
                core.place(PlaceAsk(journal="j", intents=(self._intent(rng),), source="live"), now)
            case 6:
                core.cancel(CancelAsk(journal="j", number=number), now)
            case 7:
                ask = AmendAsk(journal="j", number=number, price_e4=rng.choice((4_900, -1)), count_e2=500)
                core.amend(ask, now)
            case 8:
                core.account(AccountAsk(journal="j"), now.steady_ms, now)
            case 9:
                self._transfers += 1
                core.transfer(
                    TransferAsk(transfer_id=f"{self._transfers}", from_shard=0, to_shard=1, amount_e6=100),
                    now,
                )
            case _:
                core.take(PrivateHint(), now)
                core.order_events(OrderEventsAsk(journal="j", after=rng.choice((0, 10**6))), now)
        self._turn(data, rng)
        self._core.gateway(now)

    def _turn(self, data: bytes | None, rng: Random) -> None:
        """Carry out what is to be done; None: all that is asked gets a good answer."""
        for _ in range(20):
            actions = self._core.actions(self._now)
            if not actions:
                break
            self._log += [action.record for action in actions if isinstance(action, Append)]
            for action in actions:
                if isinstance(action, Send):
                    self._answer(action.request, data, rng)

    def _intent(self, rng: Random) -> Intent:
        number = self._number
        return Intent(
            number=number, client_order_id=f"c{number}", trade=number, strategy="s", ticker="KXA-1-X",
            event_ticker="KXA-1", series_ticker="KXA", label="", side="yes", price_e4=5_000, count_e2=1_000,
            reserve_e6=0, fee_type="quadratic", multiplier_e4=10_000, created_ms=self._now.wall_ms,
            valid_until_ms=self._now.wall_ms + 2_000, epoch=3, seq=1, edge_e6=0, probability=None,
            exchange_index=0, time_in_force=rng.choice(("gtc", "gtc", "ioc", "fok")),
        )  # fmt: skip

    def _answer(self, request: Request, data: bytes | None, rng: Random) -> None:
        status = 200 if data is None else rng.choice(STATUSES)
        body = rng.choice(_fitting(request.what)) if data is None or rng.random() > 0.3 else data
        if status is not None and status >= 400 and rng.random() < 0.7:
            body = REFUSED
        reply = Reply(
            status,
            b"" if status is None else body,
            left=status is not None or rng.random() < 0.7,
            date_ms=rng.choice((None, self._now.wall_ms)),
        )
        if status == 401:
            self._core.take(ExchangeTime(self._now.wall_ms), self._now)
        self._core.take(Answered(request.id, reply), self._now)


KEYS: Final = {
    "moment": b'"as_of_time"', "balance": b'"balance_breakdown"', "netting": b"{}",
    "positions": b'"market_positions"', "resting": b'"orders"', "order": b'"order"', "queues": b"{}",
    "create": b'"fill_count"', "amend": b'"fill_count"', "renew": b'"fill_count"',
    "cancel": b'"reduced_by"', "transfer": b"{}",
}  # fmt: skip
"""What a good answer to a question has in it."""


def _fitting(what: str) -> list[bytes]:
    key = KEYS.get(what, f'"{what}"'.encode())
    return [reply for reply in CORPUS if key in reply]
