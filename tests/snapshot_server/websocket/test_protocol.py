"""Kalshi's protocol on a hub: what subscriptions are answered, and told."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from markets.records import Event, Status, Trade
from snapshot_server.websocket.session import (
    COMMANDS_PER_S,
    MAX_MARKETS,
    PAUSE_BYTES,
    WORK_PER_S,
)
from tests.snapshot_server.websocket.world import NOW_MS, Client, World, a_quote, code, frames_in, kinds

BOOK = (((4_000, 1_000), (4_100, 2_550)), ((5_700, 300),))


def a_trade(ticker: str, **values: Any) -> Trade:
    trade = Trade("d17a9849-e50c-44eb-455a-eb6e1098773f", ticker, 4_200, 1_000, "no", NOW_MS)
    return msgspec.structs.replace(trade, **values)


# --- books


def test_a_book_is_told_whole_and_then_by_its_changes() -> None:
    world = World("A")
    world.book("A", *BOOK)
    client = world.client()
    subscribed, snapshot = client.subscribe("orderbook_delta", "A")
    assert subscribed["msg"] == {"channel": "orderbook_delta", "sid": 1}
    assert "seq" not in subscribed
    assert (snapshot["seq"], snapshot["msg"]["yes_dollars_fp"]) == (
        1,
        [["0.4000", "10.00"], ["0.4100", "25.50"]],
    )
    world.book("A", ((4_000, 1_000), (4_200, 100)), BOOK[1])
    assert [(f["msg"]["price_dollars"], f["msg"]["delta_fp"], f["msg"]["side"]) for f in client.take()] == [
        ("0.4100", "-25.50", "yes"),
        ("0.4200", "1.00", "yes"),
    ]
    world.book("A", ((4_000, 1_000), (4_200, 100)), BOOK[1])
    assert client.take() == []


def test_a_book_that_is_not_whole_is_waited_for_and_never_told_empty() -> None:
    world = World("A")
    client = world.client()
    assert kinds(client.subscribe("orderbook_delta", "A")) == ["subscribed"]
    assert world.hub.fresh_wishes
    assert world.hub.wishes() == ["A"]
    world.quote("A", yes_bid_e4=4_050)
    assert client.take() == []
    world.book("A", *BOOK)
    assert kinds(client.take()) == ["orderbook_snapshot"]
    assert client.book("A") == BOOK


@pytest.mark.parametrize("lost", ["suspect", "let_go"])
def test_a_book_that_was_in_doubt_is_told_anew(lost: str) -> None:
    world = World("A")
    world.book("A", *BOOK)
    early, late = world.client(), world.client()
    early.subscribe("orderbook_delta", "A")
    getattr(world, lost)("A")
    assert kinds(late.subscribe("orderbook_delta", "A")) == ["subscribed"]
    assert early.take() == []
    world.book("A", BOOK[0], ((5_600, 100),))
    for client in (early, late):
        assert kinds(client.take()) == ["orderbook_snapshot"]
        assert client.book("A") == (BOOK[0], ((5_600, 100),))


def test_a_market_that_takes_no_orders_has_an_empty_book() -> None:
    world = World("A", "B")
    world.book("A", *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    world.quote("A", status=Status.CLOSED)
    assert kinds(client.take()) == ["orderbook_delta"] * 3
    assert client.book("A") == ((), ())
    world.quote("B", status=Status.FINALIZED)
    ok, snapshot = client.send("update_subscription", sid=1, action="add_markets", market_tickers=["B"])
    assert ok["msg"] == {"market_tickers": ["A", "B"]}
    assert "yes_dollars_fp" not in snapshot["msg"]


def test_a_market_that_is_not_here_is_named_and_told_once_it_is() -> None:
    world = World("A")
    world.book("A", *BOOK)
    client = world.client()
    _, snapshot, refused = client.subscribe("orderbook_delta", "A", "NOPE", "NOR-THIS")
    assert snapshot["msg"]["market_ticker"] == "A"
    assert code(refused) == 11
    assert refused["msg"]["msg"].endswith("not on the bus: NOPE, NOR-THIS")
    world.state.quotes["NOPE"] = a_quote("NOPE")
    world.book("NOPE", *BOOK)
    assert kinds(client.take()) == ["orderbook_snapshot"]


def test_no_levels_come_on_the_scale_that_was_asked_for() -> None:
    world = World("A")
    world.book("A", *BOOK)
    client = world.client()
    _, snapshot = client.subscribe("orderbook_delta", "A", use_yes_price=True)
    assert snapshot["msg"]["no_dollars_fp"] == [["0.4300", "3.00"]]
    world.book("A", BOOK[0], ((5_600, 100),))
    client.take()
    assert client.book("A") == (BOOK[0], ((5_600, 100),))


def test_a_snapshot_that_is_asked_for_bears_the_command_and_changes_nothing() -> None:
    world = World("A", "B")
    world.book("A", *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    (snapshot,) = client.send("update_subscription", sids=[1], action="get_snapshot", market_tickers=["A"])
    assert (snapshot["type"], snapshot["id"], snapshot["seq"]) == ("orderbook_snapshot", 2, 2)
    assert client.send("update_subscription", sids=[1], action="get_snapshot", market_ticker="B") == []
    assert world.hub.wishes() == ["A", "B"]
    world.book("B", *BOOK)
    (snapshot,) = client.take()
    assert snapshot["id"] == 3
    world.book("B", ())
    assert client.take() == []
    assert world.hub.wishes() == ["A"]


def test_what_was_missed_and_repaired_is_told() -> None:
    world = World("A", "B")
    world.book("A", *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    client.subscribe("ticker", "B")
    world.state.books["A"] = msgspec.structs.replace(world.state.books["A"], yes=((4_000, 1_000),))
    world.state.quotes["B"] = a_quote("B", yes_bid_e4=3_900)
    world.resynced()
    assert sorted(kinds(client.take())) == ["orderbook_delta", "ticker"]
    assert client.book("A") == (((4_000, 1_000),), BOOK[1])


# --- tickers, trades, lives


def test_a_ticker_is_told_when_what_it_says_changes() -> None:
    world = World("A", "B")
    some, every = world.client(), world.client()
    _, first = some.subscribe("ticker", "A", send_initial_snapshot=True)
    assert first["msg"]["yes_bid_dollars"] == "0.4000"
    assert "seq" not in first
    every.subscribe("ticker")
    world.quote("A", volume_24h_e2=7)
    assert some.take() == every.take() == []
    world.quote("A", yes_bid_e4=3_900)
    world.quote("B", yes_bid_e4=3_900)
    assert [f["msg"]["market_ticker"] for f in some.take()] == ["A"]
    assert [f["msg"]["market_ticker"] for f in every.take()] == ["A", "B"]


def test_a_ticker_has_the_size_of_the_last_trade_once_one_was_heard() -> None:
    world = World("A", "B")
    world.quote("B", volume_e2=0)
    client = world.client()
    _, traded, never = client.subscribe("ticker", "A", "B", send_initial_snapshot=True)
    assert "last_trade_size_fp" not in traded["msg"]
    assert never["msg"]["last_trade_size_fp"] == "0.00"
    world.tell("trade", trades=[a_trade("A")])
    world.quote("A", volume_e2=6_000)
    assert client.take()[0]["msg"]["last_trade_size_fp"] == "10.00"


def test_a_quote_that_could_not_be_read_is_not_told() -> None:
    world = World("A")
    client = world.client()
    client.subscribe("ticker", "A")
    world.quote("A", yes_bid_size_e2=0, yes_ask_size_e2=0, yes_bid_e4=0, as_sent={"yes_bid_dollars": "x"})
    assert client.take() == []


def test_trades_are_told_of_some_markets_or_of_all() -> None:
    world = World("A", "B")
    some, every = world.client(), world.client()
    some.subscribe("trade", "B")
    every.subscribe("trade")
    world.tell("trade", trades=[a_trade("A"), a_trade("B", taker_side="yes")])
    assert [f["msg"]["taker_book_side"] for f in some.take()] == ["bid"]
    assert [f["msg"]["taker_book_side"] for f in every.take()] == ["ask", "bid"]


def test_a_trade_without_a_side_has_none() -> None:
    world = World("A")
    client = world.client()
    client.subscribe("trade")
    client.session.out.clear()
    world.tell("trade", trades=[a_trade("A", taker_side="")])
    assert b"taker_" not in bytes(client.session.out)


def test_the_lives_of_markets_are_told_from_the_subscription_on() -> None:
    world = World("A")
    client = world.client()
    assert kinds(client.subscribe("market_lifecycle_v2")) == ["subscribed"]
    world.state.quotes["C"] = a_quote("C", status=Status.INITIALIZED)
    world.market("C")
    world.quote("C", status=Status.ACTIVE)
    world.market("C", close_ms=NOW_MS + 60_000)
    world.quote("A", status=Status.INACTIVE)
    world.quote("A", status=Status.DETERMINED)
    world.market("A", result="yes", settlement_value_e4=10_000)
    world.quote("A", status=Status.FINALIZED)
    frames = client.take()
    assert [(f["msg"]["event_type"], f["msg"]["market_ticker"]) for f in frames] == [
        ("created", "C"), ("activated", "C"), ("close_date_updated", "C"), ("deactivated", "A"),
        ("determined", "A"), ("settled", "A"),
    ]  # fmt: skip
    assert frames[0]["msg"]["additional_metadata"]["rules_primary"] == "It will."
    assert frames[4]["msg"]["settlement_value"] == "1.0000"


def test_events_and_their_fees_are_told_there_too() -> None:
    world = World("A")
    client = world.client()
    client.subscribe("market_lifecycle_v2")
    raw = b'{"collateral_return_type":"MECNET"}'
    event = Event("EV-2", "EV", "Who?", "When", "Sports", True, None, None, None, 3, raw)
    world.event(event)
    world.event(
        msgspec.structs.replace(event, fee_type_override="quadratic", fee_multiplier_override_e4=5_000)
    )
    world.event(event)
    made, fees, cleared = client.take()
    assert made["msg"]["collateral_return_type"] == "MECNET"
    assert fees["msg"]["fee_multiplier_override"] == 0.5
    assert cleared["msg"]["fee_type_override"] is None


# --- commands


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("{", 1),
        ("[]", 1),
        ("\xff", 1),
        ('{"id":-1,"cmd":"list_subscriptions"}', 1),
        ('{"id":true,"cmd":"list_subscriptions"}', 1),
        ('{"id":1,"cmd":"fly"}', 5),
        ('{"id":1,"cmd":["subscribe"]}', 5),
        ('{"id":1,"cmd":"subscribe"}', 2),
        ('{"id":1,"cmd":"subscribe","params":[]}', 2),
        ('{"id":1,"cmd":"subscribe","params":{}}', 3),
        ('{"id":1,"cmd":"subscribe","params":{"channels":"ticker"}}', 3),
        ('{"id":1,"cmd":"subscribe","params":{"channels":[{}]}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker_v2"]}}', 8),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["fill"]}}', 9),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["pyth_value"]}}', 10),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["multivariate_market_lifecycle"]}}', 10),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":[]}}', 14),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_tickers":"A"}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_tickers":[1]}}', 11),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ids":["x"]}}', 11),
        (
            '{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ticker":"A","market_tickers":["A"]}}',
            11,
        ),
        (
            '{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_tickers":["%s"]}}'
            % ("A" * 201),
            11,
        ),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"send_initial_snapshot":1}}', 11),
        ('{"id":1,"cmd":"unsubscribe","params":{}}', 4),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[9]}}', 7),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[true]}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{}}', 4),
        ('{"id":1,"cmd":"update_subscription","params":{"sids":[1,2]}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"sids":[1]}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":[1]}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":9}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1}}', 15),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"fly"}}', 13),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":["fly"]}}', 13),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"add_markets"}}', 14),
        (
            '{"id":1,"cmd":"update_subscription","params":{"sid":2,"action":"get_snapshot","market_ticker":"A"}}',
            13,
        ),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_answered_by_its_code(command: str, expected: int) -> None:
    world = World("A")
    world.book("A", *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    client.subscribe("ticker", "A")
    client.session.receive(command.encode("latin-1"), 0)
    (answer,) = client.take()
    assert code(answer) == expected
    assert kinds(client.send("list_subscriptions")) == ["ok"]


def test_channels_of_an_account_are_refused_beside_those_that_are_heard() -> None:
    frames = World("A").client().send("subscribe", channels=["ticker", "fill", "trade"])
    assert kinds(frames) == ["subscribed", "error", "subscribed"]
    assert "no accounts" in frames[1]["msg"]["msg"]


def test_before_there_is_data_nobody_can_subscribe() -> None:
    world = World("A")
    world.state.epoch = 0
    client = world.client()
    assert code(client.subscribe("ticker")[0]) == 18
    assert client.send("list_subscriptions")[0]["msg"] == []


def test_a_second_subscription_to_a_channel_widens_the_first() -> None:
    world = World("A", "B")
    for ticker in ("A", "B"):
        world.book(ticker, *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    ok, snapshot = client.subscribe("orderbook_delta", "B", "A")
    assert (ok["sid"], ok["seq"], ok["msg"]) == (1, 2, {"market_tickers": ["A", "B"]})
    assert snapshot["msg"]["market_ticker"] == "B"
    client.subscribe("trade", "A")
    client.subscribe("trade")
    world.tell("trade", trades=[a_trade("A"), a_trade("B")])
    assert kinds(client.take()) == ["trade", "trade"]


def test_markets_that_are_deleted_are_not_told_and_come_back_with_a_snapshot() -> None:
    world = World("A")
    world.book("A", *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    (ok,) = client.send("update_subscription", sid=1, action="delete_markets", market_ticker="A")
    assert (ok["seq"], ok["msg"]) == (2, {"market_tickers": []})
    world.book("A", ((4_000, 100),))
    assert client.take() == []
    assert world.hub.wishes() == []
    frames = client.send("update_subscription", sid=1, action="add_markets", market_ticker="A")
    assert [(f["type"], f["seq"]) for f in frames] == [("ok", 3), ("orderbook_snapshot", 4)]
    assert client.book("A") == (((4_000, 100),), ())


def test_what_is_unsubscribed_is_over_and_begins_anew_under_another_number() -> None:
    world = World("A")
    world.book("A", *BOOK)
    client = world.client()
    client.subscribe("orderbook_delta", "A")
    client.subscribe("ticker", "A")
    frames = client.send("unsubscribe", sids=[1, 2])
    assert [(f["type"], f["sid"], f["seq"]) for f in frames] == [
        ("unsubscribed", 1, 2),
        ("unsubscribed", 2, 1),
    ]
    world.book("A", ())
    world.quote("A", yes_bid_e4=1)
    assert client.take() == []
    subscribed, snapshot = client.subscribe("orderbook_delta", "A")
    assert (subscribed["msg"]["sid"], snapshot["seq"]) == (3, 1)


def test_the_list_of_tickers_can_be_left_out() -> None:
    world = World("A")
    client = world.client()
    client.subscribe("ticker", "A", skip_ticker_ack=True)
    assert client.subscribe("ticker", "B")[0]["msg"] == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARAMS = ("channels", "market_ticker", "market_tickers", "sid", "sids", "action", "use_yes_price")
WORDS = st.sampled_from(
    ("orderbook_delta", "ticker", "trade", "A", "B", "add_markets", "get_snapshot", "fill")
)
odd = st.one_of(json_values, WORDS, st.lists(WORDS | st.integers(0, 3), max_size=3), st.integers(0, 3))
commands = st.fixed_dictionaries(
    {"cmd": st.sampled_from(("subscribe", "unsubscribe", "update_subscription", "list_subscriptions")) | odd},
    optional={"id": odd, "params": st.dictionaries(st.sampled_from(PARAMS), odd, max_size=4) | odd},
)


@settings(max_examples=150)
@given(st.lists(commands | json_values, max_size=8))
def test_every_command_is_answered_whatever_it_says(said: list[Any]) -> None:
    world = World("A", "B")
    world.book("A", *BOOK)
    client = world.client()
    for command in said:
        asks = isinstance(command, dict) and command.get("cmd") == "update_subscription"
        client.say(command)
        assert client.take() or (asks and "get_snapshot" in json.dumps(command))
    client.session.close()
    assert world.hub.wishes() == []


@given(st.binary(max_size=60))
def test_any_bytes_are_answered(text: bytes) -> None:
    client = World("A").client()
    client.session.receive(text, 0)
    assert client.take()


# --- too much


def test_a_client_that_does_not_read_loses_its_subscription_and_costs_no_more() -> None:
    world = World("A", "B")
    world.book("A", *BOOK)
    slow, quick = world.client(), world.client()
    slow.subscribe("orderbook_delta", "A")
    slow.session.limit = 200_000
    quick.subscribe("ticker", "B")
    for size in range(1, 30_000):
        world.book("A", ((4_000, size),))
        if slow.session.overflows:
            break
    assert 200_000 < len(slow.session.out) < 201_000
    world.book("A", ())
    world.quote("B", yes_bid_e4=1)
    assert kinds(quick.take()) == ["ticker"]
    frames = slow.take()
    assert code(frames[-1]) == 25
    assert frames[-1]["seq"] == frames[-2]["seq"] + 1
    assert kinds(slow.subscribe("orderbook_delta", "A")) == ["subscribed", "orderbook_snapshot"]


def test_snapshots_wait_for_room_instead_of_overflowing() -> None:
    tickers = [f"M{number}" for number in range(400)]
    world = World(*tickers)
    levels = tuple((price, 100) for price in range(100, 5_000, 100))
    for ticker in tickers:
        world.book(ticker, levels, levels)
    client = world.client()
    client.say(
        {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": tickers}}
    )
    assert len(client.session.out) < PAUSE_BYTES + 10_000
    world.book("M399", ())  # it waits, and is told as it then is
    frames = client.take()
    assert kinds(frames).count("orderbook_snapshot") == 400
    assert client.book("M399") == ((), ())
    assert not client.session.overflows


def test_a_million_tickers_are_too_many() -> None:
    world = World("A")
    client = world.client()
    codes = []
    for first in range(0, 1_000_000, 25_000):
        client.steady_ms += 5_000
        tickers = [f"KXSOMETHING-26NOV29-{number}" for number in range(first, first + 25_000)]
        client.say(
            {
                "id": 1,
                "cmd": "subscribe",
                "params": {"channels": ["trade"], "market_tickers": tickers, "skip_ticker_ack": True},
            }
        )
        client.session.out.clear()
    assert len(client.session.subscriptions[1].tickers or ()) == MAX_MARKETS
    client.seqs.clear()
    client.say({"id": 2, "cmd": "subscribe", "params": {"channels": ["ticker"], "market_tickers": ["A"]}})
    codes = [json.loads(text)["msg"]["code"] for text in _texts(client)]
    assert codes == [26]


def test_ten_thousand_commands_in_a_second_are_answered_each_and_most_refused() -> None:
    client = World("A").client()
    for number in range(10_000):
        client.steady_ms = number // 10
        client.say({"id": number + 1, "cmd": "list_subscriptions"})
        assert client.session.rests_ms(client.steady_ms) < 100
    answers = client.take()
    assert len(answers) == 10_000
    assert [answer["id"] for answer in answers] == list(range(1, 10_001))
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert len(refused) == 10_000 - COMMANDS_PER_S
    assert {code(answer) for answer in refused} == {27}


def test_much_work_is_rested_from() -> None:
    client = World("A").client()
    tickers = [f"M{number}" for number in range(60_000)]
    for _ in range(3):
        client.say({"cmd": "subscribe", "params": {"channels": ["trade"], "market_tickers": tickers}})
    rests_ms = client.session.rests_ms(0)
    assert 500 < rests_ms < 10_000
    assert client.session.rests_ms(rests_ms + 1) == 0
    assert client.session.rests_ms(rests_ms + 60_000) == 0
    client.say({"cmd": "list_subscriptions"})
    assert client.session.rests_ms(rests_ms + 60_000) == 0
    assert WORK_PER_S > COMMANDS_PER_S


def test_wishes_are_shared_out_fairly() -> None:
    world = World()
    greedy, modest = world.client(), world.client()
    greedy.subscribe("orderbook_delta", *[f"G{number}" for number in range(1_000)])
    modest.subscribe("orderbook_delta", *[f"M{number}" for number in range(10)])
    seen: set[str] = set()
    for _ in range(12):
        wishes = world.hub.wishes(100)
        assert len(wishes) == len(set(wishes)) == 100
        assert {f"M{number}" for number in range(10)} <= set(wishes)
        seen |= set(wishes)
    assert len(seen) == 1_010
    world.hub.disconnect(greedy.session)
    assert sorted(world.hub.wishes(100)) == sorted(f"M{number}" for number in range(10))


# --- whatever happens, in whatever order


TICKERS = ("A", "B", "C")
levels = st.dictionaries(st.sampled_from((100, 2_000, 4_900)), st.integers(1, 5), max_size=3)
tickers = st.sampled_from(TICKERS)


class Followers(RuleBasedStateMachine):
    """Clients that subscribe, are slow, ask again and go; books that change, are in doubt and let go."""

    clients = Bundle("clients")

    @initialize()
    def begin(self) -> None:
        self.world = World(*TICKERS)
        self.all: list[Client] = []

    @rule(target=clients, yes_price=st.booleans())
    def connect(self, yes_price: bool) -> Client:
        client = self.world.client()
        client.session.limit = 10_000
        client.yes_price = yes_price
        self.all.append(client)
        return client

    @rule(client=clients, names=st.lists(tickers, min_size=1, max_size=3))
    def subscribe(self, client: Client, names: list[str]) -> None:
        client.say(
            {
                "cmd": "subscribe",
                "params": {
                    "channels": ["orderbook_delta"],
                    "market_tickers": names,
                    "use_yes_price": client.yes_price,
                },
            }
        )

    @rule(
        client=clients,
        action=st.sampled_from(("add_markets", "delete_markets", "get_snapshot")),
        name=tickers,
    )
    def update(self, client: Client, action: str, name: str) -> None:
        for sid in client.session.subscriptions:
            params = {"sid": sid, "action": action, "market_ticker": name}
            client.say({"cmd": "update_subscription", "params": params})

    @rule(client=clients)
    def unsubscribe(self, client: Client) -> None:
        client.say({"cmd": "unsubscribe", "params": {"sids": list(client.session.subscriptions)}})

    @rule(name=tickers, yes=levels, no=levels)
    def book(self, name: str, yes: dict[int, int], no: dict[int, int]) -> None:
        self.world.book(name, sorted(yes.items()), sorted(no.items()))

    @rule(name=tickers, how=st.sampled_from(("suspect", "let_go")))
    def doubt(self, name: str, how: str) -> None:
        getattr(self.world, how)(name)

    @rule(name=tickers, status=st.sampled_from((Status.ACTIVE, Status.CLOSED)))
    def status(self, name: str, status: Status) -> None:
        self.world.quote(name, status=status)

    @rule()
    def repair(self) -> None:
        self.world.resynced()

    @rule(client=clients)
    def read(self, client: Client) -> None:
        client.take()
        books = client.session.books()
        for name in (books.tickers or ()) if books is not None else ():
            closed = self.world.state.quotes[name].status is Status.CLOSED
            held = self.world.state.books.get(name)
            if name in self.world.state.suspects:
                continue
            if closed:
                assert client.book(name) == ((), ())
            elif held is not None:
                assert client.book(name) == (held.yes, held.no)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for client in self.all:
            client.take()
            self.world.hub.disconnect(client.session)
        assert self.world.hub.wishes() == []


TestFollowers = Followers.TestCase
TestFollowers.settings = settings(max_examples=60, stateful_step_count=25)


def _texts(client: Client) -> list[bytes]:
    texts = frames_in(client.session.out)
    client.session.out.clear()
    return texts
