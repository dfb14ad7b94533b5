"""The WebSocket as contract section 15 has it, on a virtual clock."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from simulator.floor.model import Market
from simulator.front.ws import BUFFER_FRAMES, Hub, WsConnection
from simulator.matching.book import Change
from tests.simulator.schemas import load
from tests.simulator.venue import START_MS, Client

Make = Callable[..., Client]
Frame = dict[str, Any]


class Wire:
    """One connection, its commands numbered."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.hub = Hub(client.api.exchange)
        self.session: WsConnection = self.hub.connect()
        self.number = 0

    def send(self, cmd: str, **params: Any) -> list[Frame]:
        self.number += 1
        self.session.receive(
            json.dumps({"id": self.number, "cmd": cmd, "params": params}), self.client.now_ms
        )
        return self.take()

    def take(self) -> list[Frame]:
        frames = [json.loads(text) for text in self.session.outgoing]
        self.session.outgoing.clear()
        return frames


@pytest.fixture
def wire(make_client: Make) -> Wire:
    return Wire(make_client())


def quoted(client: Client, count: int) -> list[str]:
    live = [
        m for m in client.api.exchange.markets.values() if m.bid_e2 and m.ask_e2 and 1000 < m.bid_e4 < 9000
    ]
    return [m.ticker for m in live[:count]]


def apply(books: dict[str, dict[str, dict[str, float]]], frames: list[Frame]) -> None:
    """Keep books as a client does."""
    for frame in frames:
        message = frame["msg"]
        if frame["type"] == "orderbook_snapshot":
            books[message["market_ticker"]] = {
                side: {p: float(c) for p, c in message.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            levels = books[message["market_ticker"]][message["side"]]
            count = round(levels.get(message["price_dollars"], 0) + float(message["delta_fp"]), 2)
            assert count >= 0
            levels[message["price_dollars"]] = count
            if not count:
                del levels[message["price_dollars"]]


def served(client: Client, ticker: str) -> dict[str, dict[str, float]]:
    book = client.get(f"/markets/{ticker}/orderbook")["orderbook_fp"]
    return {side: {p: float(c) for p, c in book[f"{side}_dollars"]} for side in ("yes", "no")}


def test_books_kept_from_deltas_equal_the_rest_books(wire: Wire) -> None:
    tickers = quoted(wire.client, 40)
    books: dict[str, dict[str, dict[str, float]]] = {}
    apply(books, wire.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers))
    deltas = 0
    for _ in range(20):
        wire.client.advance(15)
        frames = wire.take()
        deltas += len(frames)
        apply(books, frames)
        for ticker in tickers:
            assert books[ticker] == served(wire.client, ticker)
    assert deltas > 100


def test_ticker_market_object_and_book_agree_at_every_frame(wire: Wire) -> None:
    tickers = quoted(wire.client, 100)
    wire.send("subscribe", channels=["ticker", "orderbook_delta"], market_tickers=tickers)
    last: dict[str, Frame] = {}
    for _ in range(15):
        wire.client.advance(10)
        for frame in wire.take():
            if frame["type"] == "ticker":
                last[frame["msg"]["market_ticker"]] = frame["msg"]
        for ticker, message in last.items():
            market = wire.client.get(f"/markets/{ticker}")["market"]
            for name in (
                "yes_bid_dollars",
                "yes_ask_dollars",
                "yes_bid_size_fp",
                "yes_ask_size_fp",
                "volume_fp",
                "open_interest_fp",
            ):
                assert message[name] == market[name]
            assert message["price_dollars"] == market["last_price_dollars"]
    assert len(last) >= 5


def test_one_sequence_counts_snapshots_deltas_and_acknowledgements_of_a_subscription(wire: Wire) -> None:
    a, b, c = quoted(wire.client, 3)
    frames = wire.send("subscribe", channels=["orderbook_delta", "trade"], market_tickers=[a])
    frames += wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[a, b])
    frames += wire.send("update_subscription", sid=1, action="add_markets", market_tickers=[c])
    wire.client.advance(60)
    frames += wire.take()
    frames += wire.send("update_subscription", sids=[1], action="get_snapshot", market_tickers=[a])
    frames += wire.send("update_subscription", sid=1, action="nonsense")
    frames += wire.send("unsubscribe", sids=[1, 2])
    for sid in (1, 2):
        mine = [f["seq"] for f in frames if f.get("sid") == sid]
        assert mine == list(range(1, len(mine) + 1))
    assert [f for f in frames if f["type"] == "subscribed" and "seq" in f] == []
    first = {
        sid: next(f for f in frames if f.get("sid") == sid or f["msg"].get("sid") == sid) for sid in (1, 2)
    }
    assert all(f["type"] == "subscribed" for f in first.values())


def test_a_second_subscribe_adds_and_sends_snapshots_of_the_new_markets_only(wire: Wire) -> None:
    a, b, c = sorted(quoted(wire.client, 3))
    wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[b])
    ok, *snapshots = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[c, b, a])
    assert (ok["type"], ok["sid"], ok["msg"]) == ("ok", 1, {"market_tickers": [a, b, c]})
    assert [s["msg"]["market_ticker"] for s in snapshots] == [c, a]


def test_removed_markets_fall_silent_and_come_back_with_a_snapshot(wire: Wire) -> None:
    (a,) = quoted(wire.client, 1)
    wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[a])
    (ok,) = wire.send("update_subscription", sid=1, action="delete_markets", market_tickers=[a])
    assert ok["msg"] == {"market_tickers": []}
    wire.client.advance(300)
    assert wire.take() == []
    ok, snapshot = wire.send("update_subscription", sid=1, action="add_markets", market_tickers=[a])
    assert (snapshot["type"], snapshot["sid"], snapshot["seq"]) == ("orderbook_snapshot", 1, ok["seq"] + 1)


def test_unsubscribing_gives_a_new_sid_and_a_new_count(wire: Wire) -> None:
    (a,) = quoted(wire.client, 1)
    wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[a])
    (gone,) = wire.send("unsubscribe", sids=[1])
    assert (gone["type"], gone["sid"], gone["seq"]) == ("unsubscribed", 1, 2)
    subscribed, snapshot = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[a])
    assert (subscribed["msg"]["sid"], snapshot["seq"]) == (2, 1)


def test_get_snapshot_answers_with_the_id_and_changes_nothing(wire: Wire) -> None:
    a, b = quoted(wire.client, 2)
    wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[a])
    (snapshot,) = wire.send("update_subscription", sid=1, action="get_snapshot", market_tickers=[b])
    assert (snapshot["type"], snapshot["id"], snapshot["seq"]) == ("orderbook_snapshot", wire.number, 2)
    wire.client.advance(120)
    assert {f["msg"]["market_ticker"] for f in wire.take()} <= {a}


def test_yes_prices_put_both_sides_on_one_scale(wire: Wire, make_client: Make) -> None:
    other = Wire(make_client())
    tickers = quoted(wire.client, 20)
    plain = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
    scaled = other.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers, use_yes_price=True)
    for _ in range(2):
        for one, two in zip(plain, scaled, strict=True):
            if one["type"] == "orderbook_snapshot":
                mirrored = [
                    [f"{1 - float(p):.4f}", c] for p, c in reversed(one["msg"].get("no_dollars_fp", []))
                ]
                assert two["msg"].get("no_dollars_fp", []) == mirrored
                assert two["msg"].get("yes_dollars_fp") == one["msg"].get("yes_dollars_fp")
            elif one["type"] == "orderbook_delta" and one["msg"]["side"] == "no":
                assert float(two["msg"]["price_dollars"]) == pytest.approx(
                    1 - float(one["msg"]["price_dollars"])
                )
        wire.client.advance(60)
        other.client.advance(60)
        plain, scaled = wire.take(), other.take()
        assert plain


def test_an_unknown_ticker_gets_an_empty_snapshot_with_an_empty_id(wire: Wire) -> None:
    _, snapshot = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=["NOPE"])
    assert snapshot["msg"] == {"market_ticker": "NOPE", "market_id": ""}


def test_half_a_character_in_a_ticker_is_replaced_and_sendable(wire: Wire) -> None:
    frames = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=["A\ud800"])
    assert frames[1]["msg"] == {"market_ticker": "A\ufffd", "market_id": ""}
    assert wire.send("subscribe", channels=["orderbook_delta"], market_tickers=["B\udfff"])
    wire.session.receive('{"id":1,"cmd":"subscribe","params":{"channels":["trade\\ud800"]}}', START_MS)
    for text in wire.session.outgoing:
        text.encode()


def test_unknown_market_ids_subscribe_to_nothing(wire: Wire) -> None:
    wire.send("subscribe", channels=["ticker"], market_ids=["00000000-0000-0000-0000-000000000000"])
    wire.client.advance(60)
    assert wire.take() == []


def test_too_many_markets_answer_error_26_and_change_nothing(wire: Wire) -> None:
    tickers = quoted(wire.client, 8)
    wire.hub.max_markets = 5
    assert (
        wire.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers[:4])[0]["type"]
        == "subscribed"
    )
    (frame,) = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers[2:7])
    assert frame["msg"]["code"] == 26
    (frame,) = wire.send("subscribe", channels=["trade"], market_tickers=tickers[:2])
    assert frame["msg"]["code"] == 26
    frames = wire.send("update_subscription", sid=1, action="add_markets", market_tickers=tickers[4:5])
    assert frames[0]["msg"]["market_tickers"] == sorted(tickers[:5])


def test_too_many_commands_in_a_second_answer_error_27_until_the_next(wire: Wire) -> None:
    wire.hub.max_commands = 3
    codes = [frame["msg"] for _ in range(5) for frame in wire.send("list_subscriptions")]
    assert codes == [[], [], [], *[{"code": 27, "msg": "Too many requests"}] * 2]
    wire.client.advance(1)
    assert wire.send("list_subscriptions")[0]["msg"] == []


def test_an_empty_side_has_no_key(wire: Wire) -> None:
    market = next(m for m in wire.client.api.exchange.markets.values() if m.ask_e2 and not m.bid_e2)
    _, snapshot = wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[market.ticker])
    assert "yes_dollars_fp" not in snapshot["msg"]
    assert snapshot["msg"]["no_dollars_fp"]


def test_the_ticker_channel_covers_all_markets_when_none_is_named(wire: Wire) -> None:
    wire.send("subscribe", channels=["ticker"])
    wire.client.advance(60)
    frames = wire.take()
    assert len({f["msg"]["market_ticker"] for f in frames}) > 10
    assert all("seq" not in f for f in frames)


def test_an_initial_ticker_snapshot_comes_on_demand(wire: Wire) -> None:
    a, b = quoted(wire.client, 2)
    frames = wire.send("subscribe", channels=["ticker"], market_tickers=[a, b], send_initial_snapshot=True)
    assert [f["msg"]["market_ticker"] for f in frames[1:]] == [a, b]


def test_life_cycle_messages_announce_what_rest_then_shows(make_client: Make) -> None:
    wire = Wire(make_client(markets=1500))
    wire.send("subscribe", channels=["market_lifecycle_v2"])
    wire.client.advance(900)
    frames = wire.take()
    by_type: dict[str, list[Frame]] = {}
    for frame in frames:
        by_type.setdefault(frame["msg"].get("event_type", frame["type"]), []).append(frame["msg"])
    assert {
        "created",
        "close_date_updated",
        "determined",
        "settled",
        "metadata_updated",
        "event_lifecycle",
        "event_fee_update",
    } <= set(by_type)
    for message in by_type["created"]:
        market: Market = wire.client.api.exchange.markets[message["market_ticker"]]
        assert message["open_ts"] * 1000 == market.event.open_ms
        assert message["additional_metadata"]["event_ticker"] == market.event.ticker
    for message in by_type["determined"]:
        assert (
            wire.client.get(f"/markets/{message['market_ticker']}")["market"]["result"] == message["result"]
        )
    (fee,) = by_type["event_fee_update"]
    shown = wire.client.get(f"/events/{fee['event_ticker']}")["event"]
    assert shown["fee_multiplier_override"] == fee["fee_multiplier_override"] == 0.5
    (planned,) = wire.client.get("/series/fee_changes")["series_fee_change_arr"]
    assert planned["fee_type"] == "quadratic_with_maker_fees"


def test_a_book_empties_when_its_market_closes(make_client: Make) -> None:
    wire = Wire(make_client(markets=1500))
    event = min(
        (
            e
            for e in wire.client.api.exchange.events.values()
            if e.group.kind == "updown" and e.status == "active"
        ),
        key=lambda e: e.close_ms,
    )
    ticker = event.markets[0].ticker
    books: dict[str, dict[str, dict[str, float]]] = {}
    apply(books, wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[ticker]))
    wire.client.advance((event.close_ms - START_MS) / 1000)
    apply(books, wire.take())
    assert books[ticker] == {"yes": {}, "no": {}}
    wire.client.advance(2)
    last = wire.take()
    assert [f["type"] for f in last] == ["orderbook_snapshot", "orderbook_snapshot"]
    assert set(last[0]["msg"]) == {"market_ticker", "market_id"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no json", 1),
        ("[]", 1),
        ('{"id":1}', 5),
        ('{"id":1,"cmd":"subscribe"}', 2),
        ('{"id":1,"cmd":"subscribe","params":{}}', 3),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["nope"]}}', 8),
        ('{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"]}}', 14),
        (
            '{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_ticker":"A","market_tickers":["B"]}}',
            11,
        ),
        ('{"id":1,"cmd":"unsubscribe","params":{}}', 4),
        ('{"id":1,"cmd":"unsubscribe","params":{"sids":[9]}}', 7),
        ('{"id":1,"cmd":"update_subscription","params":{"action":"add_markets"}}', 4),
        ('{"id":1,"cmd":"update_subscription","params":{"sids":[1,2],"action":"add_markets"}}', 12),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1}}', 15),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"nope"}}', 13),
        (
            '{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"get_snapshot","market_tickers":["A"]}}',
            13,
        ),
        ('{"id":1,"cmd":"update_subscription","params":{"sid":1,"action":"add_markets"}}', 14),
    ],
)
def test_bad_commands_get_their_code(wire: Wire, text: str, code: int) -> None:
    wire.send("subscribe", channels=["ticker"], market_tickers=["A"])
    wire.session.receive(text, START_MS)
    (frame,) = wire.take()
    assert (frame["type"], frame["msg"]["code"]) == ("error", code)


def test_a_slow_reader_loses_its_subscription_with_error_25(wire: Wire) -> None:
    (a,) = quoted(wire.client, 1)
    wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[a])
    market = wire.client.api.exchange.markets[a]
    for number in range(BUFFER_FRAMES + 50):
        wire.hub.quoted(market, [Change("yes", 100, 100 if number % 2 else -100)], START_MS)
    frames = wire.take()
    assert len(frames) <= BUFFER_FRAMES + 2
    assert frames[-1]["msg"]["code"] == 25
    assert [f["seq"] for f in frames] == list(range(2, len(frames) + 2))
    wire.client.advance(60)
    assert wire.take() == []


def test_the_densest_burst_sends_thousands_of_frames_within_a_second(make_client: Make) -> None:
    wire = Wire(make_client(markets=1500))
    busiest = 0
    live = [
        t
        for t, m in wire.client.api.exchange.markets.items()
        if m.event.group.in_play or m.event.group.kind == "updown"
    ]
    wire.send("subscribe", channels=["orderbook_delta"], market_tickers=live)
    for _ in range(1_800):  # one burst in six is so wild
        wire.client.advance(1)
        busiest = max(busiest, len(wire.take()))
        if busiest > 1500:
            break
    assert busiest > 1500


def test_the_same_seed_and_clock_send_the_same_frames(make_client: Make) -> None:
    texts = []
    for _ in range(2):
        wire = Wire(make_client(seed=11))
        tickers = quoted(wire.client, 20)
        wire.send("subscribe", channels=["ticker", "trade", "market_lifecycle_v2"])
        wire.send("subscribe", channels=["orderbook_delta"], market_tickers=tickers)
        wire.client.advance(300)
        texts.append(list(wire.session.outgoing))
    assert len(texts[0]) > 50
    assert texts[0] == texts[1]


def test_a_recorded_session_has_the_same_frames_as_ours(wire: Wire) -> None:
    """The recording: one subscribe per market on one session, answered by ok and a snapshot each."""
    recorded: list[Frame] = load("recorded")["ws_orderbook_stream"]
    tickers = quoted(wire.client, 12)
    ours: list[Frame] = []
    for ticker in tickers:
        ours += wire.send("subscribe", channels=["orderbook_delta"], market_tickers=[ticker])
    wire.client.advance(300)
    ours += wire.take()
    kinds = [f["type"] for f in recorded]
    head = 1 + 12 + 11
    assert [f["type"] for f in ours[:head]] == sorted(kinds[:head], key=lambda k: (k != "subscribed",))
    for kind in ("subscribed", "ok", "orderbook_snapshot", "orderbook_delta"):
        mine = next(f for f in ours if f["type"] == kind)
        theirs = next(f for f in recorded if f["type"] == kind)
        assert set(mine) - {"sending_ts_ms"} == set(theirs)
        assert set(mine["msg"]) == set(theirs["msg"])
        for key, value in theirs["msg"].items():
            assert type(mine["msg"][key]) is type(value)


def test_the_recorded_stream_served_again_rebuilds_the_recorded_end(wire: Wire) -> None:
    """Our book code, fed with the recorded frames through a session, ends where the recording ends."""
    recorded: list[Frame] = load("recorded")["ws_orderbook_stream"]
    expected: dict[str, dict[str, dict[str, float]]] = {}
    apply(expected, [f for f in recorded if f["type"].startswith("orderbook")])
    tickers = sorted(expected)
    mine = wire.client.api.exchange.markets
    names = dict(zip(tickers, quoted(wire.client, len(tickers)), strict=True))
    received: dict[str, dict[str, dict[str, float]]] = {}
    for frame in recorded:
        message = frame["msg"]
        if frame["type"] == "orderbook_snapshot":
            book = wire.client.api.exchange.book(mine[names[message["market_ticker"]]])
            for side, half in (("yes", book.yes), ("no", book.no)):
                for price in tuple(half.crowd):
                    half.set_crowd(price, 0)
                for p, c in message[f"{side}_dollars_fp"]:
                    half.set_crowd(round(float(p) * 1e4), round(float(c) * 100))
            apply(
                received,
                wire.send(
                    "subscribe",
                    channels=["orderbook_delta"],
                    market_tickers=[names[message["market_ticker"]]],
                ),
            )
        elif frame["type"] == "orderbook_delta":
            market = mine[names[message["market_ticker"]]]
            change = Change(
                message["side"],
                round(float(message["price_dollars"]) * 1e4),
                round(float(message["delta_fp"]) * 100),
            )
            wire.hub.deepened(market, [change], message["ts_ms"])
            sent = wire.take()
            for key in ("price_dollars", "delta_fp", "side", "ts_ms"):
                assert sent[0]["msg"][key] == message[key]
            apply(received, sent)
    assert {ticker: received[names[ticker]] for ticker in tickers} == expected
