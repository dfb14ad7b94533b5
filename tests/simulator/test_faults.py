"""Faults on demand: each does what it says, to what it names, as often as it is told, and is reproducible."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from markets.errors import StartupError
from simulator.front import faults
from simulator.front.wire import Request, Response
from simulator.front.ws import Hub
from tests.simulator.venue import Client

Make = Callable[..., Client]


def post(client: Client, document: Any, status: int = 200) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = client.api.handle(Request("POST", "/sim/faults", body=body), client.now_ms)
    assert answer.status == status, answer.body
    return json.loads(answer.body)


def rule(client: Client, fault: str, route: str = "GET /markets", **more: Any) -> None:
    post(client, {"rules": [{"fault": fault, "route": route, **more}]})


def markets(client: Client) -> Response:
    return client.send("/trade-api/v2/markets?limit=50")


def test_latency_and_timeouts_delay(client: Client) -> None:
    rule(client, "latency", ms=250)
    assert (markets(client).delay_ms, markets(client).cut) == (250, False)
    rule(client, "timeout", ms=9000)
    assert (markets(client).delay_ms, markets(client).cut) == (9000, True)
    rule(client, "disconnect")
    assert markets(client).cut


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_replaces_the_answer(client: Client, status: int) -> None:
    rule(client, "status", status=status)
    answer = markets(client)
    assert answer.status == status
    assert json.loads(answer.body)["error"]["code"]
    assert client.send("/trade-api/v2/events").status == 200


def test_html_and_truncated_bodies_are_no_json(client: Client) -> None:
    rule(client, "html", status=200)
    assert (markets(client).status, markets(client).headers["content-type"]) == (200, "text/html")
    rule(client, "truncate")
    with pytest.raises(ValueError):
        json.loads(markets(client).body)


def test_fields_go_missing_are_renamed_and_appear(client: Client) -> None:
    rule(client, "missing_field", field="yes_ask_dollars")
    assert sum("yes_ask_dollars" not in m for m in json.loads(markets(client).body)["markets"]) == 1
    rule(client, "renamed_field", field="ticker", to="market_ticker", everywhere=True)
    assert all(
        "market_ticker" in m and "ticker" not in m for m in json.loads(markets(client).body)["markets"]
    )
    rule(client, "unknown_field", field="brand_new")
    assert sum("brand_new" in m for m in json.loads(markets(client).body)["markets"]) == 1


def test_a_repeated_cursor_goes_round_in_circles(client: Client) -> None:
    rule(client, "repeated_cursor")
    first = json.loads(markets(client).body)["cursor"]
    second = json.loads(client.send(f"/trade-api/v2/markets?limit=50&cursor={first}").body)["cursor"]
    last = json.loads(client.send(f"/trade-api/v2/markets?limit=1000&cursor={second}").body)["cursor"]
    assert first == second == last != ""


def test_an_endless_cursor_is_another_on_every_page(client: Client) -> None:
    rule(client, "endless_cursor")
    cursor, seen = "", set()
    for _ in range(20):
        cursor = json.loads(client.send(f"/trade-api/v2/markets?limit=1000&cursor={cursor}").body)["cursor"]
        seen.add(cursor)
    assert len(seen - {""}) == 20


def test_a_status_may_ask_to_wait(client: Client) -> None:
    rule(client, "status", status=429, retry_after_s=7)
    assert markets(client).headers["Retry-After"] == "7"
    rule(client, "status", status=429)
    assert "Retry-After" not in markets(client).headers


def test_a_field_is_set_everywhere_in_one_market_or_to_null(client: Client) -> None:
    ticker = json.loads(markets(client).body)["markets"][3]["ticker"]
    rule(client, "set_field", field="yes_bid_dollars", value="9.9900", ticker=ticker)
    hit = [
        m["ticker"] for m in json.loads(markets(client).body)["markets"] if m["yes_bid_dollars"] == "9.9900"
    ]
    assert hit == [ticker]
    rule(client, "set_field", route="GET *", field="yes_dollars", value=[["2.0000", "1.00"]], ticker=ticker)
    books = json.loads(client.send(f"/trade-api/v2/markets/orderbooks?tickers={ticker}").body)["orderbooks"]
    assert books[0]["orderbook_fp"]["yes_dollars"] == [["2.0000", "1.00"]]
    rule(client, "set_field", field="markets", everywhere=True)
    assert json.loads(markets(client).body)["markets"] is None


def test_rules_count_skip_wait_and_end(client: Client) -> None:
    rule(client, "status", status=500, skip=2, count=3)
    assert [markets(client).status for _ in range(7)] == [200, 200, 500, 500, 500, 200, 200]
    rule(client, "status", status=500, from_s=10, for_s=5)
    statuses = []
    for _ in range(18):
        statuses.append(markets(client).status)
        client.now_ms += 1000
    assert statuses == [200] * 10 + [500] * 5 + [200] * 3
    listed = json.loads(client.send("/sim/faults").body)["rules"]
    assert listed[0]["hits"] == 5


def test_a_share_is_hit_the_same_way_for_the_same_seed(make_client: Make) -> None:
    runs = []
    for seed in (1, 1, 2):
        client = make_client()
        post(client, {"rules": [{"fault": "status", "route": "GET *", "probability": 0.3}], "seed": seed})
        runs.append([markets(client).status for _ in range(60)])
    assert runs[0] == runs[1] != runs[2]
    assert 5 < runs[0].count(503) < 35


def test_faults_end_when_deleted(client: Client) -> None:
    rule(client, "status", status=500)
    assert markets(client).status == 500
    client.send("/sim/faults", "DELETE")
    assert markets(client).status == 200


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"no json", "JSON"),
        (
            {"rules": [{"fault": "magic", "route": "*"}]},
            "rules[0].fault: got 'magic', expected one of latency,",
        ),
        ({"rules": [{"fault": "drop", "route": "*"}]}, "rules[0].fault"),
        ({"rules": [{"fault": "latency", "frame": "*"}]}, "rules[0].fault"),
        ({"rules": [{"fault": "latency"}]}, "exactly one of route and frame"),
        ({"rules": [{"fault": "latency", "route": "*", "probability": 2}]}, "probability"),
        ({"rules": [{"fault": "latency", "route": "*", "speed": 2}]}, "speed"),
        ({"rules": [{"fault": "status", "route": "*", "retry_after_s": -1}]}, "retry_after_s"),
        ({"settings": {"cache": 1}}, "cache"),
        ({"settings": {"cache_s": 1e308}}, "cache_s"),
        ({"settings": {"pace": -1}}, "pace"),
        ({"settings": {"pace": 1e300}}, "pace"),
        ({"settings": {"trade_share": 2}}, "trade_share"),
        ({"settings": {"clock_skew_ms": 2**60}}, "clock_skew_ms"),
        ({"settings": {"ws_commands": -1}}, "ws_commands"),
        ({"settings": {"shards": {"9": False}}}, "9"),
        ({"settings": {"paused_markets": ["NOPE"]}}, "NOPE"),
    ],
)
def test_a_bad_fault_document_is_refused_with_its_reason(client: Client, document: Any, words: str) -> None:
    assert words in post(client, document, 400)["error"]["message"]
    assert markets(client).status == 200


def test_a_fault_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        '{"rules": [{"fault": "latency", "route": "GET /events", "ms": 5}], "settings": {"pace": 0.5}}'
    )
    document = faults.read(path)
    assert document.rules is not None
    assert document.rules[0].ms == 5
    path.write_text('{"rulez": []}')
    with pytest.raises(StartupError, match="rulez"):
        faults.read(path)
    with pytest.raises(StartupError, match="No such file"):
        faults.read(tmp_path / "none.json")


def frames_of(client: Client, document: Any, seconds: float = 120) -> list[dict[str, Any]]:
    hub = Hub(client.api.exchange)
    hub.mangle = lambda session, kind, text: client.api.faults.frames(session, kind, text, client.now_ms)
    session = hub.connect()
    tickers = [t for t, m in client.api.exchange.markets.items() if m.bid_e2][:60]
    params = {"channels": ["orderbook_delta"], "market_tickers": tickers}
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": params}), client.now_ms)
    post(client, document)
    client.advance(seconds)
    if session.closing or session.stalled:
        return []
    return [json.loads(text) for text in session.outgoing]


@pytest.mark.parametrize("fault", ["drop", "duplicate", "swap"])
def test_frames_are_dropped_duplicated_and_swapped(make_client: Make, fault: str) -> None:
    whole = [f["seq"] for f in frames_of(make_client(), {"rules": []}) if "seq" in f]
    bad = frames_of(
        make_client(), {"rules": [{"fault": fault, "frame": "orderbook_delta", "skip": 4, "count": 1}]}
    )
    seqs = [f["seq"] for f in bad if "seq" in f]
    assert whole == list(range(1, len(whole) + 1))
    fifth = 60 + 5
    match fault:
        case "drop":
            assert seqs == [s for s in whole if s != fifth]
        case "duplicate":
            assert sorted([*whole, fifth]) == seqs
        case "swap":
            assert seqs == [*whole[: fifth - 1], fifth + 1, fifth, *whole[fifth + 1 :]]


def test_fields_of_one_markets_frames_are_set(make_client: Make) -> None:
    frames = frames_of(make_client(), {"rules": []})
    ticker = next(f["msg"]["market_ticker"] for f in frames if f["type"] == "orderbook_delta")
    rule = {
        "fault": "set_field",
        "frame": "orderbook_delta",
        "ticker": ticker,
        "field": "delta_fp",
        "value": "x",
    }
    hit = [f for f in frames_of(make_client(), {"rules": [rule]}) if f.get("msg", {}).get("delta_fp") == "x"]
    assert hit
    assert {f["msg"]["market_ticker"] for f in hit} == {ticker}


@pytest.mark.parametrize("fault", ["stall", "disconnect"])
def test_a_connection_stalls_or_ends(make_client: Make, fault: str) -> None:
    assert frames_of(make_client(), {"rules": [{"fault": fault, "frame": "*", "count": 1}]}) == []


def test_a_trading_pause_freezes_prices_and_shows(make_client: Make) -> None:
    client = make_client(markets=1500)
    client.advance(10)
    post(client, {"settings": {"trading_active": False, "bursts": False, "mispricings": False}})
    client.advance(60)
    quiet = client.api.exchange.quote_changes
    trades = len(client.api.exchange.trades)
    client.advance(20)
    status = client.get("/exchange/status")
    assert (status["trading_active"], status["exchange_active"]) == (False, True)
    assert len(client.api.exchange.trades) == trades
    # What still changes are the ends of matches and planted mispricings, not the market.
    assert client.api.exchange.quote_changes - quiet < 200
    post(client, {"settings": {"trading_active": True}})
    client.advance(60)
    assert len(client.api.exchange.trades) > trades


def test_prices_freeze_at_once_and_move_again_at_once(make_client: Make) -> None:
    client = make_client(markets=300)
    client.advance(30)
    still = {"bursts": False, "mispricings": False}
    post(client, {"settings": {"pace": 0, **still}})
    trades = len(client.api.exchange.trades)
    client.advance(600)
    assert len(client.api.exchange.trades) == trades
    post(client, {"settings": {"pace": 1}})
    client.advance(60)
    assert len(client.api.exchange.trades) > trades + 5


def test_one_shard_pauses_alone(make_client: Make) -> None:
    client = make_client(markets=1500, trade_share=1.0)
    post(client, {"settings": {"shards": {"3": False}}})
    shards = client.get("/exchange/status")["exchange_index_statuses"]
    assert [s["trading_active"] for s in shards] == [True, True, True, False]
    client.advance(120)
    assert {t.market.event.shard for t in client.api.exchange.trades} <= {0, 1, 2}


def test_the_whole_exchange_pauses(client: Client) -> None:
    post(client, {"settings": {"exchange_active": False, "trading_active": False}})
    status = client.get("/exchange/status")
    assert (status["exchange_active"], status["trading_active"]) == (False, False)


def test_a_paused_market_is_inactive_and_loses_its_orders_when_it_returns(client: Client) -> None:
    market = next(m for m in client.api.exchange.markets.values() if m.bid_e2 and m.ask_e2)
    post(client, {"settings": {"paused_markets": [market.ticker]}})
    assert client.get(f"/markets/{market.ticker}")["market"]["status"] == "inactive"
    assert [m["ticker"] for m in client.get("/markets?status=paused")["markets"]] == [market.ticker]
    post(client, {"settings": {"paused_markets": []}})
    assert client.get(f"/markets/{market.ticker}")["market"]["status"] == "active"


def test_a_skewed_exchange_clock_refuses_good_signatures(
    client: Client, signed: Callable[..., dict[str, str]]
) -> None:
    path = "/trade-api/v2/exchange/status"
    assert client.send(path, headers=signed("GET", path)).status == 200
    post(client, {"settings": {"clock_skew_ms": 30_000}})
    assert client.send(path, headers=signed("GET", path)).status == 401
