"""What the gateway takes and refuses, what it tells whom, and what its log makes of it again."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from bus.trading import reasons
from bus.trading.gateway import (
    AccountAsk,
    AmendAsk,
    CancelAsk,
    ForeignFill,
    OrderAsk,
    OrderEventsAsk,
    PlaceAsk,
    TransferAsk,
)
from markets.errors import DecodeError, StartupError
from markets.orders import Amended, AmendRefused, Ended, Filled, Intent, OrderState, Sent
from publisher.orders import life, limits, records, requests
from publisher.orders.core import Core
from publisher.orders.looking import STALE_READS_MS
from publisher.orders.records import Base, Joined, Replied, Swept, Taken
from publisher.orders.state import FILLS_KEPT_MS
from publisher.orders.steps import (
    Answered,
    AnyInput,
    Append,
    CoreSettings,
    ExchangeTime,
    FeedHeard,
    Fenced,
    KillSwitch,
    Limits,
    Now,
    PrivateHint,
    Reply,
    Request,
    Send,
    TradingStatus,
)

WALL = 1_792_432_800_000
WIDE = Limits(write_per_s=1_000, write_capacity=1_000, read_per_s=1_000, read_capacity=1_000)
READS: dict[str, dict[str, Any]] = {
    "moment": {"as_of_time": "2026-10-19T18:00:00Z"},
    "balance": {
        "balance_breakdown": [
            {"exchange_index": 0, "balance": "100.000000"},
            {"exchange_index": 1, "balance": "5.000000"},
        ]
    },
    "netting": {"netting_configs": []},
    "positions": {"market_positions": [], "cursor": ""},
    "resting": {"orders": [], "cursor": ""},
    "settlements": {"settlements": [], "cursor": ""},
    "transfers": {"transfers": []},
    "deposits": {"deposits": [], "cursor": ""},
    "withdrawals": {"withdrawals": [], "cursor": ""},
    "fills": {"fills": [], "cursor": ""},
    "orders": {"orders": [], "cursor": ""},
}


def settings(**members: Any) -> CoreSettings:
    most: dict[str, Any] = {
        "order_e6": 50_000_000, "market_e6": 60_000_000, "total_e6": 80_000_000, "orders_per_minute": 5,
    }  # fmt: skip
    return CoreSettings(**{**most, **members})


class Desk:
    """A core with an exchange that answers reads with nothing, and writes only when told to."""

    def __init__(
        self,
        log: tuple[bytes, ...] = (),
        generation: int = 1,
        ms: int = 0,
        subaccount: int | None = None,
        **members: Any,
    ) -> None:
        self.ms = ms
        self.reads = Counter[str]()
        self.one_order: dict[str, Any] | None = None
        self.date = False
        self.asked: list[Request] = []
        self.log = list(log)
        self.core = Core(settings(**members))
        self.core.replay(log)
        self.core.open(generation, "exchange", "account", self.now)
        self.core.take(msgspec.structs.replace(WIDE, subaccount=subaccount), self.now)
        self.core.take(FeedHeard(3, 1, WALL, "live"), self.now)
        self.writes: list[Request] = []
        self.turn()
        for _ in range(2):  # the account is listed as fast as the reads allow
            self.pass_ms(50)

    @property
    def now(self) -> Now:
        return Now(WALL + self.ms, 1_000 + self.ms)

    def turn(self) -> list[Request]:
        """Carry out what is to be done until nothing is, and return the writes of it."""
        sent: list[Request] = []
        for _ in range(100):
            actions = self.core.actions(self.now)
            if not actions:
                break
            for action in actions:
                if isinstance(action, Append):
                    self.log.append(action.record)
                elif isinstance(action, Send) and action.request.id > 0:
                    sent.append(action.request)
                elif isinstance(action, Send):
                    what = action.request.what
                    self.asked.append(action.request)
                    self.reads[what] += 1
                    found = {"order": self.one_order} if what == "order" else READS.get(what, {})
                    status = 404 if what == "order" and self.one_order is None else 200
                    date_ms = self.now.wall_ms if self.date else None
                    reply = Reply(status, msgspec.json.encode(found), date_ms=date_ms)
                    self.core.take(Answered(action.request.id, reply), self.now)
        self.writes += sent
        return sent

    def pass_ms(self, ms: int) -> list[Request]:
        self.ms += ms
        self.core.take(FeedHeard(3, 1, WALL, "live"), self.now)
        return self.turn()

    def place(self, *intents: Intent, **members: Any) -> list[Request]:
        ask = PlaceAsk(**{"journal": "j", "intents": intents, "source": "live", **members})
        logged = self.core.place(ask, self.now).logged
        assert logged == tuple(intent.number for intent in intents)
        return self.turn()

    def events(self, after: int = 0) -> list[Any]:
        answer = self.core.order_events(OrderEventsAsk(journal="j", after=after), self.now)
        return [told.event for told in answer.events]

    def answer(self, request: Request, status: int | None, **body: Any) -> list[Request]:
        reply = Reply(status, msgspec.json.encode(body), received_ms=self.now.wall_ms)
        self.core.take(Answered(request.id, reply), self.now)
        return self.turn()


def intent(number: int = 1, **members: Any) -> Intent:
    most: dict[str, Any] = {
        "number": number, "client_order_id": f"00000000-0000-0000-0000-{number:012}", "trade": number,
        "strategy": "s", "ticker": "KXA-1-X", "event_ticker": "KXA-1", "series_ticker": "KXA", "label": "",
        "side": "yes", "price_e4": 5_000, "count_e2": 1_000, "reserve_e6": 0, "fee_type": "quadratic",
        "multiplier_e4": 10_000, "created_ms": WALL, "valid_until_ms": WALL + 2_000, "epoch": 3, "seq": 1,
        "edge_e6": 0, "probability": None, "exchange_index": 0,
    }  # fmt: skip
    return Intent(**{**most, **members})


def reason(desk: Desk) -> str:
    ended = desk.events()[-1]
    assert isinstance(ended, Ended)
    return ended.reason


def test_an_intent_is_logged_and_its_request_leaves_once_however_often_it_is_asked_for() -> None:
    desk = Desk()
    (create,) = desk.place(intent(side="no", price_e4=3_000))
    assert msgspec.json.decode(create.body) == {
        "ticker": "KXA-1-X", "client_order_id": "00000000-0000-0000-0000-000000000001", "side": "ask",
        "count": "10.00", "price": "0.7000", "time_in_force": "immediate_or_cancel",
        "self_trade_prevention_type": "taker_at_cross", "exchange_index": 0,
    }  # fmt: skip
    assert desk.place(intent(side="no", price_e4=3_000)) == []
    assert desk.events() == [Sent(1)]


def test_the_records_of_a_request_come_before_it() -> None:
    desk = Desk()
    desk.core.place(PlaceAsk(journal="j", intents=(intent(),), source="live"), desk.now)
    kinds = [type(action) for action in desk.core.actions(desk.now)]
    assert kinds.index(Send) > max(n for n, kind in enumerate(kinds) if kind is Append)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"valid_until_ms": WALL - 1}, "expired"),
        ({"epoch": 2}, "other_epoch"),
        ({"price_e4": 10_000}, "bad_intent: price_e4 10000"),
        ({"count_e2": 0}, "bad_intent: count_e2 0"),
        ({"count_e2": -100}, "bad_intent: count_e2 -100"),
        ({"count_e2": 2**62}, f"bad_intent: count_e2 {2**62}"),
        ({"ticker": "../x"}, "bad_intent: ticker"),
        ({"client_order_id": "a.b"}, "bad_intent: client_order_id"),
        ({"exchange_index": None}, "bad_intent: exchange_index None"),
        ({"valid_until_ms": WALL + 10**9}, "bad_intent: made in the future"),
        ({"time_in_force": "gtc", "expires_ms": WALL + 900}, "expired"),
        ({"count_e2": 11_000}, "gateway_order_limit"),
        ({"reserve_e6": 1, "count_e2": 9_900, "fee_type": "free", "multiplier_e4": 0}, "gateway_order_limit"),
        ({"account": "another"}, "other_account"),
    ],
)
def test_an_intent_is_refused_with_its_reason(members: dict[str, Any], why: str) -> None:
    desk = Desk()
    assert desk.place(intent(**members)) == []
    assert reason(desk) == why


def test_what_the_world_forbids_is_refused_and_said() -> None:
    cases: list[tuple[AnyInput, str]] = [
        (KillSwitch(True), "killed"),
        (Fenced(9), "fenced"),
        (FeedHeard(3, 1, WALL, "replay"), "replay"),
        (FeedHeard(3, 1, None, "live"), "stale"),
        (FeedHeard(3, 1, WALL - 61_000, "live"), "stale"),
        (TradingStatus(False), "exchange_paused"),
        (TradingStatus(True, {0: False}), "exchange_paused"),
    ]
    for what, why in cases:
        desk = Desk()
        desk.core.take(what, desk.now)
        assert desk.place(intent()) == []
        assert reason(desk) == why
    desk = Desk()
    assert desk.place(intent(), source="replay") == []
    assert reason(desk) == "replay"
    desk = Desk(env="prod", confirmation="yes, really")
    assert desk.place(intent()) == []
    assert reason(desk) == "not_confirmed"
    assert len(desk.place(intent(2), confirmation="yes, really")) == 1


def test_a_silent_feed_is_stale_and_a_wall_clock_that_jumps_is_not() -> None:
    desk = Desk()
    desk.ms += 10_001
    assert desk.place(intent(valid_until_ms=WALL + 20_000)) == []
    assert reason(desk) == "stale"


def test_limits_hold_at_their_boundaries_over_all_orders() -> None:
    cost_e6 = 50_000_000
    desk = Desk(order_e6=cost_e6, market_e6=cost_e6, total_e6=60_000_000)
    assert len(desk.place(intent(1, count_e2=5_000))) == 1
    assert desk.place(intent(2, count_e2=5_000)) == []
    assert reason(desk) == "gateway_market_limit"
    assert len(desk.place(intent(3, count_e2=5_000, ticker="KXB-1-X"))) == 1
    assert desk.place(intent(4, count_e2=5_000, ticker="KXC-1-X")) == []
    assert reason(desk) == "gateway_total_limit"
    for number in range(5, 8):
        desk.place(intent(number, count_e2=100, ticker="KXD-1-X"))
    desk.place(intent(9, count_e2=100, ticker="KXD-1-X"))
    assert reason(desk) == "gateway_orders_per_minute"


def test_a_restart_takes_no_more_orders_a_minute_than_a_gateway_that_goes_on() -> None:
    desk = Desk(orders_per_minute=3)
    desk.core.take(Limits(write_per_s=1, write_capacity=10, read_per_s=100, read_capacity=100), desk.now)
    desk.place(*(intent(number, count_e2=100) for number in (1, 2, 3)))  # some wait for their turn

    again = Desk(tuple(desk.log), 2, ms=desk.ms, orders_per_minute=3)
    again.place(intent(4, count_e2=100))

    assert again.events()[-1] == Ended(4, "gateway_orders_per_minute", OrderState.REJECTED)
    later = Desk(tuple(desk.log), 2, ms=desk.ms + 60_000, orders_per_minute=3, stale_after_ms=90_000)
    later.place(intent(4, count_e2=100, valid_until_ms=WALL + 90_000))
    assert later.events()[-1] == Sent(4)


def test_a_shard_without_the_cash_is_said_with_what_to_move() -> None:
    desk = Desk()
    assert desk.place(intent(exchange_index=1, count_e2=2_000)) == []
    assert reason(desk) == (
        "no_cash_on_shard: 10.36 needed, 5.00 free: move 5.36 to shard 1, shard 0 has 100.00"
    )


def test_a_create_that_waits_is_looked_at_again_before_it_leaves() -> None:
    desk = Desk()
    desk.core.take(Limits(write_per_s=1, write_capacity=10, read_per_s=100, read_capacity=100), desk.now)
    desk.place(intent(1))
    desk.place(intent(2))
    waiting = [n for n in (1, 2) if desk.core.order(OrderAsk(journal="j", number=n)).exchanged == ()]
    assert waiting
    desk.core.take(KillSwitch(True), desk.now)
    assert desk.pass_ms(1_500) == []
    assert reason(desk) == "killed"


def test_cancels_overtake_creates_and_name_the_shard() -> None:
    desk = Desk()
    (create,) = desk.place(intent(1, time_in_force="gtc", exchange_index=1, count_e2=100))
    desk.answer(create, 201, order_id="o 1", fill_count="0.00", remaining_count="1.00")
    desk.core.take(Limits(write_per_s=10, write_capacity=10, read_per_s=100, read_capacity=100), desk.now)
    ask = PlaceAsk(journal="j", intents=(intent(2, exchange_index=1, count_e2=100),), source="live")
    desk.core.place(ask, desk.now)
    desk.core.cancel(CancelAsk(journal="j", number=1), desk.now)
    left = desk.turn()
    assert left[0].what == "cancel"
    assert left[0].path == "/portfolio/events/orders/o%201"
    assert dict(left[0].query) == {"exchange_index": "1", "market_ticker": "KXA-1-X"}


def test_a_lease_is_moved_on_while_the_trader_lives_and_never_after() -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    assert msgspec.json.decode(create.body)["expiration_time"] == (WALL + 60_000) // 1000
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    renewed: list[Request] = []
    for _ in range(31):
        desk.events()
        renewed += desk.pass_ms(1_000)
    (amend,) = renewed
    body = msgspec.json.decode(amend.body)
    assert (amend.what, body["price"], body["count"]) == ("renew", "0.5000", "10.00")
    assert body["expiration_time"] >= (WALL + 89_000) // 1000
    desk.answer(amend, 200, order_id="o1", remaining_count="10.00")
    silent = [request for _ in range(120) for request in desk.pass_ms(1_000) if request.what == "renew"]
    assert silent == []


def test_a_lease_counts_from_the_last_sign_of_the_trader() -> None:
    desk = Desk(lease_ms=20_000)
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    desk.pass_ms(6_000)
    desk.events()
    left = [request for _ in range(60) for request in desk.pass_ms(500)]
    assert {request.what for request in left} == {"renew"}
    (create, *_), last = left, msgspec.json.decode(left[-1].body)
    assert last["expiration_time"] == (WALL + 6_100 + 20_000) // 1000


def test_an_order_that_rests_for_days_makes_neither_memory_nor_log_grow() -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    count = 0
    for _ in range(300):
        desk.events()
        for renewal in desk.pass_ms(1_000):
            count += 1
            status = 503 if count == 4 else 200  # its answer is lost, and the next one settles it
            order_id = "o2" if count > 2 else "o1"
            desk.answer(renewal, status, order_id=order_id, client_order_id=intent().client_order_id)
    assert count > 8
    order = desk.core.order(OrderAsk(journal="j", number=1))
    assert [sent.what for sent in order.exchanged] == ["create", "renew"]

    kept = [desk.core.base(desk.now), *(record for record in desk.log if desk.core.keeps(record))]

    assert len(kept) < 10
    core = Core(settings())
    core.replay(kept)
    again = core.order(OrderAsk(journal="j", number=1))
    assert again == order
    assert (again.order_id, core._state.by_id) == ("o2", {"o1": ("j", 1), "o2": ("j", 1)})


def test_a_create_that_would_leave_after_its_lease_is_refused() -> None:
    desk = Desk(lease_ms=10_000)
    desk.core.take(Limits(write_per_s=0.8, write_capacity=10, read_per_s=100, read_capacity=100), desk.now)
    desk.place(
        *(intent(n, time_in_force=how, valid_until_ms=WALL + 60_000) for n, how in ((1, "ioc"), (2, "gtc")))
    )
    sent = [request for _ in range(25) for request in desk.pass_ms(1_000)]
    assert len(sent) == 1, "the second would have had to wait until its trader is not believed alive any more"
    assert reason(desk) == "expired"


def test_an_amend_is_answered_or_refused_and_the_order_rests_as_before() -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    assert desk.core.amend(AmendAsk(journal="j", number=1, price_e4=9_900, count_e2=9_900), desk.now).asked
    assert desk.turn() == []
    assert desk.events()[-1] == AmendRefused(1, "gateway_order_limit")
    desk.core.amend(AmendAsk(journal="j", number=1, price_e4=5_100, count_e2=900), desk.now)
    (amend,) = desk.turn()
    desk.answer(amend, 400, error={"code": "invalid_price", "message": "m"})
    assert desk.events()[-1] == AmendRefused(1, "invalid_price")
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "resting"


def test_an_amend_that_is_asked_for_again_while_it_is_under_way_leaves_once() -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    ask = AmendAsk(journal="j", number=1, price_e4=5_100, count_e2=900)
    assert desk.core.amend(ask, desk.now).asked
    (amend,) = desk.turn()
    assert desk.core.amend(ask, desk.now).asked  # by a trader that has restarted
    assert desk.answer(amend, 200, order_id="o1", remaining_count="9.00") == []
    assert desk.events()[2:] == [Amended(1, 5_100, 900, "o1")], "a second one would answer the next amend"


def test_only_the_subaccount_of_the_key_is_listed() -> None:
    desk = Desk(subaccount=7)
    desk.core.account(AccountAsk(journal="j"), desk.now.steady_ms, desk.now)
    desk.pass_ms(50)
    named = {request.what for request in desk.asked if ("subaccount", "7") in request.query}
    assert named >= {"resting", "fills", "settlements"}
    assert named.isdisjoint({"balance", "positions"}), "of a key that is restricted, they are its own anyway"


def test_places_in_the_queue_are_asked_for_rarely_while_something_rests_and_told_when_they_are_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.pass_ms(1_000)
    assert desk.reads["queues"] == 0, "nothing rests"
    listed = [
        {"order_id": "o1", "market_ticker": "KXA-1-X", "queue_position_fp": "120.00"},
        {"order_id": "other", "market_ticker": "KXA-1-X", "queue_position_fp": "1.00"},
        {"order_id": "o2", "queue_position_fp": "-1.00"},
        {"order_id": "o2", "queue_position_fp": "9" * 30},
        {"order_id": "o2"},
        {"order_id": None, "queue_position_fp": "1.00"},
        None,
    ]
    monkeypatch.setitem(READS, "queues", {"queue_positions": listed})
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")

    def told(queues_ms: int = 0, journal: str = "j") -> tuple[Any, int]:
        answer = desk.core.order_events(
            OrderEventsAsk(journal=journal, after=0, queues_ms=queues_ms), desk.now
        )
        return answer.queues, answer.queues_ms

    at_ms = desk.now.wall_ms
    assert told() == (((1, 12_000),), at_ms)
    assert told(at_ms) == ((), at_ms), "it has them"
    assert told(journal="another") == ((), at_ms), "they are nobody else's"
    before = desk.reads["queues"]
    for _ in range(300):
        desk.pass_ms(100)
    assert desk.reads["queues"] - before == 3

    useless: list[Any] = [{"queue_positions": 7}, {"queue_positions": {}}, [], "x"]
    for nonsense in useless:
        monkeypatch.setitem(READS, "queues", nonsense)
        desk.pass_ms(10_000)
        assert told()[0] == ((1, 12_000),), "what was said last stands, and its age is told"
    nobodys: list[Any] = [{}, {"queue_positions": None}, {"queue_positions": []}]
    for empty in nobodys:
        monkeypatch.setitem(READS, "queues", empty)
        desk.pass_ms(10_000)
        assert told() == ((), desk.now.wall_ms)


def test_a_gateway_that_begins_anew_makes_the_same_of_its_log() -> None:
    desk = Desk()
    (create,) = desk.place(intent(1))
    desk.answer(create, 400, error={"code": "invalid_order", "message": "m"})
    desk.place(intent(2))
    told = desk.events()
    again = Desk(tuple(desk.log), generation=2)
    assert again.events()[: len(told)] == told
    assert again.core.order(OrderAsk(journal="j", number=2)).state == "unknown"
    assert again.place(intent(1)) == again.place(intent(2)) == []
    last = again.core.order(OrderAsk(journal="j", number=1)).exchanged[0]
    assert (last.status, "invalid_order" in last.reply) == (400, True)


def test_a_request_is_sent_when_it_is_wanted_or_signed_whichever_is_later() -> None:
    for signed_ms, sent_ms in ((WALL - 900, WALL), (WALL + 50, WALL + 50), (0, WALL)):
        desk = Desk()
        wall_ms = desk.now.wall_ms
        (create,) = desk.place(intent(1))
        (asked,) = desk.core.order(OrderAsk(journal="j", number=1)).exchanged
        reply = Reply(400, b"{}", signed_ms=signed_ms and wall_ms - WALL + signed_ms)
        desk.core.take(Answered(create.id, reply), desk.now)
        (done,) = desk.core.order(OrderAsk(journal="j", number=1)).exchanged

        assert asked.sent_ms == wall_ms
        assert done.sent_ms == wall_ms - WALL + sent_ms


def test_another_accounts_log_and_an_older_gateway_are_refused() -> None:
    log = tuple(Desk(generation=5).log)
    for generation, exchange, account, said in [
        (5, "exchange", "account", "another one has taken over"),
        (6, "exchange", "other", "not of account"),
        (6, "new", "account", "not of account"),
    ]:
        core = Core(settings())
        core.replay(log)
        with pytest.raises(StartupError, match=said):
            core.open(generation, exchange, account, Now(WALL, 0))
    with pytest.raises(DecodeError, match="later version"):
        Core(settings()).replay([b"\x93\xa6Future\x01\x02"])


def test_a_log_written_anew_forgets_orders_and_no_number() -> None:
    desk = Desk(orders_per_minute=100)
    for number in (1, 2, 3):
        (create,) = desk.place(intent(number))
        desk.answer(create, 400, error={"code": "invalid_order", "message": "m"})
    last = desk.core.order_events(OrderEventsAsk(journal="j", after=0), desk.now).last
    desk.events(last)
    later = Now(WALL + 2 * 86_400_000, 2 * 86_400_000)
    base = desk.core.base(later)
    kept = (base, *(record for record in desk.log if desk.core.keeps(record)))
    assert len(kept) < len(desk.log)
    again = Desk(kept, generation=2, orders_per_minute=100)
    assert not again.core.order(OrderAsk(journal="j", number=1)).found
    assert again.place(intent(1)) == []
    assert again.events(last) == []
    assert len(again.place(intent(4))) == 1
    answer = again.core.order_events(OrderEventsAsk(journal="j", after=last), again.now)
    assert [told.number for told in answer.events] == [last + 1]


def test_of_the_orders_that_ended_within_a_day_the_newest_stay_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("publisher.orders.state.ENDED_MOST", 2)
    desk = Desk(orders_per_minute=100)
    for number in (1, 2, 3, 4):
        (create,) = desk.place(intent(number, count_e2=100))
        desk.answer(create, 400, error={"code": "invalid_order", "message": "m"})
        desk.pass_ms(100)
    desk.events(after=8)

    def kept(now: Now) -> list[int]:
        desk.core.base(now)
        found = map(records.decode, filter(desk.core.keeps, desk.log))
        return [record.intent.number for record in found if isinstance(record, Taken)]

    assert kept(desk.now) == [1, 2, 3, 4], "something of them may still turn up"
    desk.ms += 600_100
    assert kept(desk.now) == [3, 4]
    assert desk.place(intent(1, count_e2=100)) == [], "its number stays known"
    desk.ms += 86_400_000
    assert kept(desk.now) == []


def test_what_a_journal_has_stays_known_so_that_one_that_is_never_heard_again_keeps_no_orders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("publisher.orders.state.ENDED_MOST", 2)
    desk = Desk()
    for number in (1, 2, 3, 4):
        (create,) = desk.place(intent(number, count_e2=100))
        desk.answer(create, 400, error={"code": "invalid_order", "message": "m"})
    desk.events(after=8)
    log = [desk.core.base(desk.now), *filter(desk.core.keeps, desk.log)]
    assert len(log) == 1 + 4 * 3

    again = Core(settings())
    again.replay(log)
    log = [again.base(Now(WALL + 700_000, 0)), *filter(again.keeps, log[1:])]

    assert len(log) == 1 + 2 * 3


def test_a_transfer_is_asked_for_until_it_is_certain_and_carried_out_once() -> None:
    desk = Desk()
    ask = TransferAsk(transfer_id="t1", from_shard=0, to_shard=1, amount_e6=5_000_000)
    assert desk.core.transfer(ask, desk.now) is None
    (first,) = desk.turn()
    assert desk.answer(first, 503) == []
    assert desk.core.transfer(ask, desk.now) is None
    (second,) = desk.pass_ms(2_000)
    assert second.body == first.body
    desk.answer(second, 200, transfer_id="x")
    answer = desk.core.transfer(ask, desk.now)
    assert answer is not None
    assert answer.state == "done"
    other = desk.core.transfer(
        TransferAsk(transfer_id="t1", from_shard=0, to_shard=2, amount_e6=5_000_000), desk.now
    )
    assert other is not None
    assert other.state == "refused"


def test_a_transfer_that_the_kill_file_holds_back_wants_no_turn() -> None:
    desk = Desk()
    desk.core.take(KillSwitch(True), desk.now)
    assert (
        desk.core.transfer(TransferAsk(transfer_id="a", from_shard=0, to_shard=1, amount_e6=100), desk.now)
        is None
    )
    assert desk.pass_ms(5_000) == []
    assert (desk.core.next_ms(desk.now) or 0) > desk.now.steady_ms, (
        "it would be asked again and again at once"
    )
    desk.core.take(KillSwitch(False), desk.now)
    assert [request.what for request in desk.turn()] == ["transfer"]


def test_an_order_that_never_left_is_over_and_one_cancelled_before_it_left_too() -> None:
    desk = Desk()
    (create,) = desk.place(intent(1))
    desk.core.take(Answered(create.id, Reply(None, trouble="unreachable", left=False)), desk.now)
    desk.turn()
    assert desk.events()[-1] == Ended(1, "not_sent: unreachable", OrderState.REJECTED)


def test_each_word_of_the_gateway_is_a_sentence_on_the_page() -> None:
    words = {word for name, word in vars(limits).items() if name.isupper() and isinstance(word, str)}
    assert len(words) > 12
    assert {*words, *life.FICKLE, life.NOT_PLACED, life.NOT_SENT} - {"too_many_requests"} <= {*reasons.ENDS}
    said = reasons.why_ended("no_cash_on_shard: 10.36 needed, 5.00 free: move 5.36 to shard 1")
    assert said == "the market's shard lacks the cash: 10.36 needed, 5.00 free: move 5.36 to shard 1"


LISTED = {
    "order_id": "o1", "client_order_id": intent().client_order_id, "ticker": "KXA-1-X", "exchange_index": 0,
    "outcome_side": "yes", "status": "resting", "yes_price_dollars": "0.5000", "fill_count_fp": "0.00",
    "remaining_count_fp": "10.00", "initial_count_fp": "10.00",
}  # fmt: skip


FILL = {
    "order_id": "o1", "ticker": "KXA-1-X", "exchange_index": 0, "outcome_side": "yes", "count_fp": "1.00",
    "yes_price_dollars": "0.5000", "fee_cost": "0.010000", "created_time": "2026-10-19T18:00:01Z",
    "fill_id": "f1", "is_taker": True,
}  # fmt: skip


def fills_of(desk: Desk) -> list[tuple[str, int]]:
    return [(told.fill.id, told.fill.count_e2) for told in desk.events() if isinstance(told, Filled)]


def test_numbers_that_no_64_bits_hold_are_no_answer_and_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    listed = [{**FILL, "order_id": "another", "fill_id": "f0", "exchange_index": 10**30}, FILL]
    monkeypatch.setitem(READS, "fills", {"fills": listed, "cursor": ""})
    paid = {"settlements": [{"ticker": "KXA-1-X", "market_result": "yes", "revenue": 10**30}], "cursor": ""}
    monkeypatch.setitem(READS, "settlements", paid)
    desk.answer(create, 201, order_id="o1", fill_count="1.00", remaining_count="9.00", ts_ms=10**30)
    for _ in range(3):
        desk.pass_ms(31_000)
    assert fills_of(desk) == [("f1", 100)]
    account = desk.core.account(AccountAsk(journal="j"), 0, desk.now)
    assert account is not None
    assert account.missing == ("settlements",)
    Desk(tuple(desk.log), generation=2)


def test_half_a_character_in_somebody_s_order_hides_no_fill_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="1.00", remaining_count="9.00")
    body = msgspec.json.encode({"fills": [{**FILL, "order_id": "HALF", "fill_id": "f0"}, FILL]})
    monkeypatch.setitem(READS, "fills", msgspec.Raw(body.replace(b"HALF", rb"\ud800")))
    desk.pass_ms(31_000)
    assert fills_of(desk) == [("f1", 100)]


THEIRS = {**LISTED, "order_id": "o9", "client_order_id": "of another program", "ticker": "KXB-1-X"}
HELD = {
    "ticker": "KXB-1-X", "position_fp": "5.00", "market_exposure_dollars": "2.00",
    "fees_paid_dollars": "0.10", "realized_pnl_dollars": "0.00",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [("last_update_time", 5), ("expiration_time", "soon"), ("fill_count_fp", None), ("status", None)],
)
def test_of_somebody_else_s_order_only_what_it_may_cost_has_to_be_legible(
    name: str, said: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READS, "resting", {"orders": [{**THEIRS, name: said}], "cursor": ""})
    monkeypatch.setitem(
        READS, "positions", {"market_positions": [{**HELD, "fees_paid_dollars": "?"}], "cursor": ""}
    )
    desk = Desk()
    assert desk.core.gateway(desk.now).state == "ready"
    assert desk.core.gateway(desk.now).error is None
    account = desk.core.account(AccountAsk(journal="j"), 0, desk.now)
    assert account is not None
    assert [(order.order_id, order.number) for order in account.orders] == [("o9", None)]
    assert [shard.held_e6 for shard in account.shards] == [5_000_000, 0]
    assert [(held.signed_e2, held.exposure_e6) for held in account.positions] == [(500, 2_000_000)]
    (sent,) = msgspec.to_builtins(account)["positions"]
    assert (sent["fees_e6"], sent["unknown"]) == (0, ("fees_e6",)), "older traders take no null there"


@pytest.mark.parametrize(
    ("what", "listed", "why"),
    [
        ("resting", {**THEIRS, "yes_price_dollars": "half"}, "orders['o9'].yes_price_dollars: got 'half'"),
        ("resting", {**THEIRS, "client_order_id": 5}, "orders['o9'].client_order_id: got 5"),
        ("resting", {**LISTED, "last_update_time": 5}, "orders['o1'].last_update_time: got 5"),
        ("resting", [], "orders[0].order: got []"),
        ("positions", {**HELD, "position_fp": "?"}, "market_positions['KXB-1-X'].position_fp: got '?'"),
        ("settlements", {"ticker": "KXB-1-X"}, "settlements['KXB-1-X'].market_result: got None"),
    ],
)
def test_an_account_that_cannot_be_read_whole_is_said_to_be_so_with_the_member_and_its_value(
    what: str, listed: object, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Desk()
    before.place(intent(time_in_force="gtc"))
    key = {"resting": "orders", "positions": "market_positions"}.get(what, what)
    monkeypatch.setitem(READS, what, {key: [listed], "cursor": ""})
    desk = Desk(tuple(before.log), generation=2)
    said = f"the account could not be listed whole: {what}: {why}"
    status = desk.core.gateway(desk.now)
    assert (status.error or "").startswith(said)
    assert desk.core.order_events(OrderEventsAsk(journal="j", after=0), desk.now).trouble == status.error
    assert status.state == ("ready" if what == "settlements" else "not_ready")
    monkeypatch.setitem(READS, what, {key: [], "cursor": ""})
    desk.core.account(AccountAsk(journal="j"), desk.now.steady_ms + 1, desk.now)
    desk.pass_ms(3_000)
    status = desk.core.gateway(desk.now)
    assert (status.error, status.state) == (None, "ready")


def test_cash_that_goes_to_the_other_exchange_of_kalshi_s_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def transfer(source: str, destination: str) -> dict[str, Any]:
        return {
            "transfer_id": f"{source} {destination}", "source": source, "destination": destination,
            "source_exchange_shard": 0, "destination_exchange_shard": 1, "amount": "2.500000",
            "status": "complete", "created_ts": WALL // 1000,
        }  # fmt: skip

    kinds = ("event_contract", "margined")
    listed = [transfer(source, destination) for source in kinds for destination in kinds]
    monkeypatch.setitem(READS, "transfers", {"transfers": listed})
    desk = Desk()
    answer = desk.core.account(AccountAsk(journal="j"), 0, desk.now)
    assert answer is not None
    assert [(one.kind, one.exchange_index, one.amount_e6) for one in answer.movements] == [
        ("transfer", 0, -2_500_000),
        ("transfer", 1, 2_500_000),
        ("withdrawal", 0, -2_500_000),
        ("deposit", 1, 2_500_000),
    ]


def test_fills_that_cannot_be_listed_are_said_and_leave_tokens_for_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    (create,) = desk.place(intent())
    desk.answer(create, 201, order_id="o1", fill_count="1.00", remaining_count="0.00")
    monkeypatch.setitem(READS, "fills", {"error": {"code": "forbidden", "message": "no scope"}})
    before = desk.reads["fills"]
    for _ in range(100):
        desk.pass_ms(1_000)
    assert desk.reads["fills"] - before < 30
    said = desk.core.gateway(desk.now).error or ""
    assert said.startswith("the account could not be listed whole: fills: fills: got None")
    monkeypatch.setitem(READS, "fills", {"fills": [FILL], "cursor": ""})
    desk.pass_ms(8_000)
    assert desk.core.gateway(desk.now).error is None
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "cancelled"


def test_a_list_of_orders_that_nobody_needs_any_more_is_no_trouble_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    monkeypatch.setitem(READS, "orders", {"error": {"code": "internal", "message": "m"}})
    desk.core.take(Answered(create.id, Reply(None, trouble="timeout")), desk.now)
    for _ in range(10):
        desk.pass_ms(1_000)
    assert "orders: orders: got None" in (desk.core.gateway(desk.now).error or "")
    monkeypatch.setitem(READS, "resting", {"orders": [LISTED], "cursor": ""})
    desk.one_order = LISTED
    for _ in range(70):  # the account's list shows it instead
        desk.pass_ms(1_000)
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "resting"
    assert desk.core.gateway(desk.now).error is None


def test_a_fill_of_nothing_is_told_if_it_has_a_fee_and_keeps_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="1.00", remaining_count="9.00")
    nothing = {"count_fp": "0.00", "fee_cost": "0.000000"}
    dear = {"count_fp": "0.00", "created_time": "2026-10-19T18:00:05Z"}
    listed = [
        {**FILL, **dear, "order_id": "z", "fill_id": "f4"},
        {**FILL, **nothing, "order_id": "z", "fill_id": "f2"},
        {**FILL, **nothing, "fill_id": "f0"},
        {**FILL, **dear, "fill_id": "f3"},
    ]
    monkeypatch.setitem(READS, "fills", {"fills": listed, "cursor": ""})
    desk.pass_ms(31_000)
    assert fills_of(desk) == [("f3", 0)]
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "resting"
    monkeypatch.setitem(READS, "fills", {"fills": [*listed, FILL], "cursor": ""})
    for _ in range(3):
        desk.pass_ms(31_000)
    assert fills_of(desk) == [("f3", 0), ("f1", 100)]
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "partial"
    foreign = [(told.fill.id, told.fill.fee_e6) for told in desk.events() if isinstance(told, ForeignFill)]
    assert foreign == [("f4", 10_000)]
    assert "fill of 0.00 contracts" in (desk.core.gateway(desk.now).error or "")
    swept = [told.until_ms for told in map(records.decode, desk.log) if isinstance(told, Swept)]
    assert max(swept) > WALL + 90_000, "fills are looked for from there on, not for ever from this one"


@pytest.mark.parametrize("created_time", [{}, {"created_time": None}])
def test_a_fill_that_says_its_time_in_seconds_alone_is_booked(
    created_time: dict[str, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    (create,) = desk.place(intent())
    desk.answer(create, 201, order_id="o1", fill_count="1.00", remaining_count="0.00")
    fill = {name: value for name, value in FILL.items() if name != "created_time"}
    fill |= {**created_time, "ts": WALL // 1000}
    monkeypatch.setitem(READS, "fills", {"fills": [fill], "cursor": ""})
    desk.pass_ms(31_000)
    filled, ended = desk.events()[-2:]
    assert (filled.fill.time_ms // 1000, ended.reason) == (WALL // 1000, "nothing_left")


def test_a_fill_by_hand_beside_one_of_an_order_without_an_answer_is_foreign_once_that_has_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    by_hand = {**FILL, "order_id": "o2", "fill_id": "f2"}
    monkeypatch.setitem(READS, "fills", {"fills": [by_hand, FILL], "cursor": ""})
    desk.core.take(PrivateHint(), desk.now)
    desk.pass_ms(100)
    assert fills_of(desk) == []
    desk.answer(create, 201, order_id="o1", fill_count="1.00", remaining_count="9.00")
    assert fills_of(desk) == [("f1", 100)]
    assert [told.order_id for told in desk.events() if isinstance(told, ForeignFill)] == ["o2"]


@pytest.mark.parametrize("ended", [False, True])
def test_a_fill_that_is_listed_again_hours_later_is_booked_once_whatever_was_left_out_of_the_log(
    ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    monkeypatch.setitem(READS, "fills", {"fills": [FILL], "cursor": ""})
    rests, ends = desk.place(intent(1, time_in_force="gtc"), intent(2, count_e2=100, time_in_force="ioc"))
    desk.answer(rests, 201, order_id="o2" if ended else "o1", fill_count="0.00", remaining_count="10.00")
    if ended:
        desk.answer(ends, 201, order_id="o1", fill_count="1.00", remaining_count="0.00")
    desk.pass_ms(31_000)
    assert fills_of(desk) == [("f1", 100)]
    desk.ms += 3 * 3_600_000
    for _ in range(3):
        desk.pass_ms(61_000)
    desk.core.base(desk.now)
    desk.core.take(PrivateHint(), desk.now)
    desk.pass_ms(31_000)
    assert fills_of(desk) == [("f1", 100)]
    assert not any(isinstance(told, ForeignFill) for told in desk.events())


WRONG = (WALL * 1_000, WALL + 3_600_000, WALL + 8_000, WALL - 3_600_000, 1, -5)
"""Times that the exchange cannot mean: microseconds, a wrong clock's, nonsense."""


@pytest.mark.parametrize("date_ms", [None, WALL])
@pytest.mark.parametrize("ts_ms", WRONG)
def test_a_wrong_time_in_an_answer_moves_no_clock_and_no_sweep(ts_ms: int, date_ms: int | None) -> None:
    desk = Desk()
    creates = desk.place(intent(1, time_in_force="gtc", count_e2=100), intent(2, count_e2=100))
    for number, create in enumerate(creates, start=1):
        body = {"order_id": f"o{number}", "fill_count": "0.00", "remaining_count": "1.00", "ts_ms": ts_ms}
        reply = Reply(201, msgspec.json.encode(body), date_ms=date_ms)
        desk.core.take(Answered(create.id, reply), desk.now)
    assert desk.core.exchange_ms(desk.now) == desk.now.wall_ms
    assert (desk.core.gateway(desk.now).error is not None) == (ts_ms > WALL)
    desk.core.amend(AmendAsk(journal="j", number=1, price_e4=4_900, count_e2=100), desk.now)
    (amend,) = desk.turn()
    desk.core.take(Answered(amend.id, Reply(200, msgspec.json.encode(body | {"order_id": "o1"}))), desk.now)
    (create,) = desk.place(intent(3, time_in_force="gtc", count_e2=100))
    assert msgspec.json.decode(create.body)["expiration_time"] == (desk.now.wall_ms + 60_000) // 1000
    for _ in range(9):
        desk.pass_ms(10_000)
    swept = [told for told in map(records.decode, desk.log) if isinstance(told, Swept)]
    assert swept
    assert all(WALL < told.until_ms <= desk.now.wall_ms for told in swept)
    changes = [
        change
        for told in map(records.decode, desk.log)
        if isinstance(told, Replied)
        for change in told.changes
    ]
    assert [change.amended_ms for change in changes if change.amended_ms] == [WALL + 100]


@pytest.mark.parametrize("date", [True, False])
@pytest.mark.parametrize("what", ["resting", "orders", "order"])
def test_a_change_to_come_of_an_order_hides_none_that_comes(
    what: str, date: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    desk.date = date
    creates = desk.place(intent(1, time_in_force="gtc"), intent(2, count_e2=100))
    desk.answer(creates[0], 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    if what == "orders":
        desk.answer(creates[1], None)  # so that all orders are looked at

    def show(left: str, updated: str) -> None:
        listed = {**LISTED, "remaining_count_fp": left, "last_update_time": updated}
        desk.one_order = listed if what == "order" else None
        if what != "order":
            monkeypatch.setitem(READS, what, {"orders": [listed], "cursor": ""})
        desk.core.take(PrivateHint(), desk.now)
        desk.core.account(AccountAsk(journal="j"), desk.now.steady_ms + 1, desk.now)
        desk.pass_ms(5_000)

    show("8.00", "2126-10-19T18:00:00Z")
    show("6.00", "2026-10-19T18:00:05Z")
    assert [told.count_e2 for told in desk.events() if isinstance(told, Amended)] == [600]


def test_the_exchange_s_time_is_believed_where_it_can_be_right() -> None:
    """Of a machine whose clock is an hour slow: refusals' Dates say so, and then the answers go on."""
    desk = Desk()
    theirs_ms = WALL + 3_600_000
    for _ in range(2):
        desk.core.take(ExchangeTime(theirs_ms), desk.now)
    assert desk.core.exchange_ms(desk.now) == theirs_ms
    (create,) = desk.place(intent(1, time_in_force="gtc", count_e2=100))
    body = {"order_id": "o1", "fill_count": "0.00", "remaining_count": "1.00", "ts_ms": theirs_ms + 700}
    desk.core.take(Answered(create.id, Reply(201, msgspec.json.encode(body), date_ms=theirs_ms)), desk.now)
    assert desk.core.exchange_ms(desk.now) == theirs_ms + 700
    for _ in range(2):
        desk.core.take(ExchangeTime(WALL * 2), desk.now)
    for _ in range(2):
        desk.core.take(ExchangeTime(theirs_ms), desk.now)
    assert desk.core.exchange_ms(desk.now) == theirs_ms, "a Date that was wrong is not believed any longer"


def test_a_date_far_from_this_machine_s_clock_is_believed_once_the_next_refusal_agrees() -> None:
    desk = Desk()
    off_ms, day_ms = desk.core.exchange_ms(desk.now) - desk.now.wall_ms, 86_400_000

    def refused(ahead_ms: int) -> int:
        desk.core.take(ExchangeTime(desk.now.wall_ms + ahead_ms), desk.now)
        return desk.core.exchange_ms(desk.now) - desk.now.wall_ms

    assert refused(day_ms) == off_ms
    desk.pass_ms(31_000)  # lists are answered: its signatures are good
    assert refused(day_ms) == off_ms
    assert refused(day_ms // 2) == off_ms, "another one, of which there is no second yet"
    assert refused(50_000) == 50_000, "near enough at once"
    assert refused(day_ms) == 50_000
    desk.ms += 900
    assert refused(day_ms) == day_ms
    assert refused(0) == 0, "and back, at once"


def test_however_far_ahead_the_exchange_s_clock_is_believed_sweeps_are_dated_a_minute_ahead_at_most() -> None:
    desk = Desk()
    theirs_ms = desk.now.wall_ms + 3_600_000
    for _ in range(2):
        desk.core.take(ExchangeTime(theirs_ms), desk.now)
    for _ in range(9):
        desk.pass_ms(31_000)
    swept = [told.until_ms for told in map(records.decode, desk.log) if isinstance(told, Swept)]
    assert WALL + 200_000 < max(swept) <= desk.now.wall_ms + 60_000
    last = [request for request in desk.asked if request.what == "fills"][-1]
    assert last.query <= requests.fills(max(swept) - STALE_READS_MS).query, "and looked for from there on"


@pytest.mark.parametrize("whole", [False, True])
def test_a_log_that_was_swept_in_the_future_is_swept_anew_from_where_it_can_have_been(
    whole: bool,
) -> None:
    desk = Desk()
    for _ in range(9):
        desk.pass_ms(10_000)
    good_ms = max(told.until_ms for told in map(records.decode, desk.log) if isinstance(told, Swept))
    log = (*desk.log, records.encode(Swept(WALL + 7 * 3_600_000)), records.encode(Swept(WALL * 1_000)))
    if whole:  # rewritten: where it was swept to before is not in it any more
        base = Base(records.VERSION, 1, "exchange", "account", 0, WALL * 1_000, ())
        log, good_ms = (records.encode(base),), WALL + 6 * 3_600_000 - FILLS_KEPT_MS
    again = Desk(log, generation=2, ms=6 * 3_600_000)
    first, *_ = [request for request in again.asked if request.what == "fills"]
    assert first.query == requests.fills(good_ms - STALE_READS_MS).query
    last_ms = max(
        told.until_ms for told in map(records.decode, again.log[len(log) :]) if isinstance(told, Swept)
    )
    assert last_ms == again.now.wall_ms - 100


@pytest.mark.parametrize("ids", [True, False])
def test_a_fill_by_hand_is_told_once_though_the_log_was_rewritten_while_it_was_swept_in_the_future(
    ids: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    (create,) = desk.place(intent())
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="0.00")
    theirs = {**FILL, "order_id": "z", "created_time": "2026-10-19T18:00:05Z"}
    monkeypatch.setitem(READS, "fills", {"fills": [theirs], "cursor": ""})
    for _ in range(5):
        desk.pass_ms(31_000)
    (told,) = [
        told.number
        for told in desk.core.order_events(OrderEventsAsk(journal="j", after=0), desk.now).events
        if isinstance(told.event, ForeignFill)
    ]
    desk.events(after=told)  # so that it is kept no longer
    desk.core._state.commit(Swept(desk.now.wall_ms + 3 * 86_400_000))
    rewritten_ms = desk.now.wall_ms
    base = records.decode(desk.core.base(desk.now))
    assert isinstance(base, Base)
    log = [record for record in desk.log if desk.core.keeps(record)]
    later = {**theirs, "fill_id": "f2", "created_time": "2026-10-19T18:05:00Z"}
    listed = [theirs, later]
    if not ids:  # as builds wrote it that believed in such a sweep
        base = msgspec.structs.replace(base, fills=(), swept_ms=rewritten_ms + 3 * 86_400_000)
        log.append(records.encode(Joined("k", rewritten_ms)))
        listed = [later]
    monkeypatch.setitem(READS, "fills", {"fills": listed, "cursor": ""})
    again = Desk((records.encode(base), *log), generation=2, ms=400_000)
    again.pass_ms(31_000)
    first, *_ = [request for request in again.asked if request.what == "fills"]
    if not ids:
        assert first.query == requests.fills(rewritten_ms - STALE_READS_MS).query, "not from before that"
    assert [told.fill.id for told in again.events(after=told) if isinstance(told, ForeignFill)] == ["f2"]


@pytest.mark.parametrize(
    ("client_order_id", "state"),
    [
        ("of another program", "rejected"),
        ("", "unknown"),
        (5, "unknown"),
        (intent().client_order_id, "unknown"),
    ],
)
def test_an_illegible_order_keeps_ours_unknown_only_where_it_may_be_ours(
    client_order_id: object, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    (create,) = desk.place(intent())
    desk.answer(create, None)
    illegible = {**LISTED, "client_order_id": client_order_id, "ticker": None}
    monkeypatch.setitem(READS, "orders", {"orders": [illegible], "cursor": ""})
    monkeypatch.setitem(READS, "moment", {"as_of_time": "2026-10-19T18:00:48Z"})
    desk.pass_ms(50_000)
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == state


@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({}, "unknown"),
        ({"ticker": 5, "created_time": "soon", "order_id": None}, "unknown"),
        ({"ticker": "KXB-1-X"}, "rejected"),
        ({"created_time": "2026-10-19T17:00:00Z"}, "rejected"),
        ({"order_id": "o2"}, "rejected"),
    ],
)
def test_an_illegible_fill_keeps_ours_unknown_only_where_it_may_be_of_it(
    members: dict[str, object], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    create, other = desk.place(intent(), intent(2, count_e2=100))
    desk.answer(create, None)
    desk.answer(other, 201, order_id="o2", fill_count="0.00", remaining_count="0.00")
    illegible = {**FILL, "order_id": "of whom", "fill_id": "f9", "fee_cost": "half", **members}
    monkeypatch.setitem(READS, "fills", {"fills": [illegible], "cursor": ""})
    monkeypatch.setitem(READS, "moment", {"as_of_time": "2026-10-19T18:00:48Z"})
    desk.pass_ms(50_000)
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == state
    assert desk.core.gateway(desk.now).error == "fills are listed that cannot be read"


def test_an_illegible_fill_is_asked_for_again_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READS, "fills", {"fills": [{**FILL, "fee_cost": "half"}], "cursor": ""})
    desk = Desk()
    first, *_ = [request.query for request in desk.asked if request.what == "fills"]
    for hours, same in ((23, True), (26, False)):
        desk.ms = hours * 3_600_000
        for _ in range(2):
            desk.pass_ms(31_000)
        last = [request.query for request in desk.asked if request.what == "fills"][-1]
        assert (last == first) is same


@pytest.mark.parametrize("date", [True, False])
def test_lists_as_of_a_time_to_come_prove_nothing(date: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.date = date
    (create,) = desk.place(intent())
    desk.answer(create, None)
    monkeypatch.setitem(READS, "moment", {"as_of_time": "2027-10-19T18:00:00Z"})
    for _ in range(5):
        desk.pass_ms(10_000)
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "unknown"
    monkeypatch.setitem(READS, "moment", {"as_of_time": "2026-10-19T18:00:58Z"})
    desk.pass_ms(10_000)
    assert reason(desk) == "not_placed"


@pytest.mark.parametrize("code", ["trading_is_paused", "available_balance_too_low"])
@pytest.mark.parametrize("comes_after_all", [False, True])
def test_a_refusal_that_may_change_is_believed_once_no_copy_of_the_request_can_arrive(
    code: str, comes_after_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(resend=True)
    (create,) = desk.place(intent(time_in_force="gtc"))
    assert desk.answer(create, 409, error={"code": code, "message": "m"}) == []
    assert desk.core.order(OrderAsk(journal="j", number=1)).state == "unknown"
    assert desk.core.gateway(desk.now).exposure_e6 > 5_000_000, "it is held"
    if comes_after_all:
        monkeypatch.setitem(READS, "orders", {"orders": [LISTED], "cursor": ""})
        desk.pass_ms(30_000)
        assert desk.core.order(OrderAsk(journal="j", number=1)).state == "resting"
        return
    desk.pass_ms(36_000)
    assert not any(isinstance(event, Ended) for event in desk.events())
    monkeypatch.setitem(READS, "moment", {"as_of_time": "2026-10-19T18:00:38Z"})
    desk.pass_ms(2_000)
    assert desk.events()[-1] == Ended(1, code, OrderState.REJECTED)
    assert desk.core.gateway(desk.now).exposure_e6 == 0
    assert desk.writes == [create], "it left once"


def test_an_amend_that_was_refused_and_came_once_more_is_seen_and_the_order_still_ends() -> None:
    desk = Desk()
    (create,) = desk.place(intent(time_in_force="gtc"))
    desk.answer(create, 201, order_id="o1", fill_count="0.00", remaining_count="10.00")
    desk.core.amend(AmendAsk(journal="j", number=1, price_e4=5_000, count_e2=100), desk.now)
    (amend,) = desk.turn()
    desk.answer(amend, 409, error={"code": "trading_is_paused", "message": "m"})
    desk.core.cancel(CancelAsk(journal="j", number=1), desk.now)
    (cancel,) = desk.turn()
    listed = {
        "order_id": "o1", "client_order_id": create_id(create), "ticker": "KXA-1-X", "exchange_index": 0,
        "outcome_side": "yes", "status": "canceled", "yes_price_dollars": "0.5000", "fill_count_fp": "0.00",
        "remaining_count_fp": "0.00",
    }  # fmt: skip
    desk.one_order = listed
    desk.answer(cancel, 200, order_id="o1", reduced_by="1.00")
    desk.pass_ms(200)
    assert desk.events()[-1] == Ended(1, "cancelled", OrderState.CANCELLED)


def create_id(create: Request) -> str:
    return str(msgspec.json.decode(create.body)["client_order_id"])
