"""Trades, candlesticks, live data, lookups, the cache, and the recorded demo session asked again."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from markets.units import parse_time_ms
from simulator.front import auth
from tests.simulator.schemas import answer_errors, load
from tests.simulator.venue import START_MS, Client

Make = Callable[..., Client]

REMOVED = {
    "liquidity_dollars",
    "response_price_units",
    "fractional_trading_enabled",
    "available_on_brokers",
    "service",
}
"""Members that Kalshi sent when the recordings were made and has removed since."""

ADDED = {"settlement_bounds_type", "exchange_index"}
OPTIONAL = {
    "floor_strike", "cap_strike", "custom_strike", "subtitle", "primary_participant_key", "is_provisional",
    "mve_collection_ticker", "mve_selected_legs", "strike_type", "occurrence_datetime", "settlement_ts",
    "settlement_value_dollars", "early_close_condition",
}  # fmt: skip


def test_trades_come_newest_first_in_pages(make_client: Make) -> None:
    client = make_client(trade_share=1.0)
    client.advance(300)
    living = f"min_ts={START_MS // 1000}"
    whole = client.walk(f"/markets/trades?limit=1000&{living}", "trades")
    assert len(whole) > 50
    assert client.walk(f"/markets/trades?limit=57&{living}", "trades") == whole
    times = [parse_time_ms(t["created_time"]) for t in whole]
    assert times == sorted(times, reverse=True)
    ticker = whole[0]["ticker"]
    assert client.walk(f"/markets/trades?ticker={ticker}&limit=1000&{living}", "trades") == [
        t for t in whole if t["ticker"] == ticker
    ]
    since = START_MS // 1000 + 100
    late = client.walk(f"/markets/trades?min_ts={since}&max_ts={since + 50}&limit=1000", "trades")
    assert late == [
        t for t in whole if since * 1000 <= parse_time_ms(t["created_time"]) < (since + 51) * 1000
    ]
    assert client.get("/markets/trades?is_block_trade=true")["trades"] == []


def test_candlesticks_hold_what_happened(make_client: Make) -> None:
    client = make_client(trade_share=1.0, bursts=False)
    client.advance(600)
    trades = client.walk(f"/markets/trades?limit=1000&min_ts={START_MS // 1000}", "trades")
    ticker = trades[0]["ticker"]
    series = client.api.exchange.markets[ticker].event.series.ticker
    start, end = START_MS // 1000 + 60, START_MS // 1000 + 600
    target = f"/series/{series}/markets/{ticker}/candlesticks?start_ts={start}&end_ts={end}&period_interval=1"
    candles = client.get(target)["candlesticks"]
    assert [c["end_period_ts"] for c in candles] == list(range(start, end + 1, 60))
    for candle in candles:
        for side in ("yes_bid", "yes_ask"):
            low, high = candle[side]["low_dollars"], candle[side]["high_dollars"]
            assert low <= candle[side]["open_dollars"] <= high
            assert low <= candle[side]["close_dollars"] <= high
    mine = [t for t in trades if t["ticker"] == ticker and parse_time_ms(t["created_time"]) < end * 1000]
    mine = [t for t in mine if parse_time_ms(t["created_time"]) >= (start - 60) * 1000]
    assert sum(float(c["volume_fp"]) for c in candles) == pytest.approx(
        sum(float(t["count_fp"]) for t in mine)
    )
    traded = [c for c in candles if c["volume_fp"] != "0.00"]
    assert traded
    newest = parse_time_ms(mine[0]["created_time"]) // 60_000 * 60 + 60
    assert (
        next(c for c in candles if c["end_period_ts"] == newest)["price"]["close_dollars"]
        == mine[0]["yes_price_dollars"]
    )
    batch = client.get(
        f"/markets/candlesticks?market_tickers={ticker},NOPE&start_ts={start}&end_ts={end}&period_interval=1"
    )
    assert batch["markets"] == [{"candlesticks": candles, "market_ticker": ticker}]


def test_candlesticks_of_the_past_are_there_and_the_same_at_every_look(client: Client) -> None:
    market = next(
        m for m in client.api.exchange.markets.values() if m.event.group.kind == "options" and m.bid_e2
    )
    start, end = START_MS // 1000 - 3 * 86_400, START_MS // 1000
    if market.event.open_ms // 1000 > start:
        start = market.event.open_ms // 1000
    target = f"/series/{market.event.series.ticker}/markets/{market.ticker}/candlesticks"
    hours = client.get(f"{target}?start_ts={start}&end_ts={end}&period_interval=60")["candlesticks"]
    assert hours == client.get(f"{target}?start_ts={start}&end_ts={end}&period_interval=60")["candlesticks"]
    assert len(hours) >= (end - start) // 3600 - 1
    assert hours[-1]["end_period_ts"] <= end


@pytest.mark.parametrize(
    "query",
    [
        "",
        "start_ts=1&end_ts=2",
        "start_ts=2&end_ts=1&period_interval=1",
        "start_ts=1&end_ts=2&period_interval=5",
    ],
)
def test_bad_candlestick_spans_are_refused(client: Client, query: str) -> None:
    market = next(iter(client.api.exchange.markets.values()))
    client.get(f"/series/{market.event.series.ticker}/markets/{market.ticker}/candlesticks?{query}", 400)


def test_live_data_follows_the_match(make_client: Make) -> None:
    client = make_client(markets=1500)
    client.advance(600)
    playing = [
        m
        for m in client.walk("/milestones?limit=500", "milestones")
        if m["details"]["status"] == "inprogress"
    ]
    batch = "&".join(f"milestone_ids={m['id']}" for m in playing)
    lives = client.get(f"/live_data/batch?{batch}")["live_datas"]
    assert [live["milestone_id"] for live in lives] == [m["id"] for m in playing]
    assert all(live["details"]["widget_status"] == "live" for live in lives)
    assert sum(live["details"]["home_points"] + live["details"]["away_points"] for live in lives) > 0
    first = playing[0]
    assert client.get(f"/live_data/milestone/{first['id']}")["live_data"] == lives[0]
    assert client.get(f"/live_data/{first['type']}/milestone/{first['id']}")["live_data"] == lives[0]
    event = client.get(f"/live_data/events/{first['primary_event_tickers'][0]}")["live_data"]
    assert event["details"] == lives[0]["details"]
    recorded = load("recorded")["live_data"]["live_data"]
    assert set(recorded) == set(lives[0])
    assert {"away_points", "home_points", "status", "widget_status", "winner"} <= set(
        recorded["details"]
    ) & set(lives[0]["details"])


def test_competitors_of_a_match_resolve_to_names(client: Client) -> None:
    milestone = next(
        m for m in client.walk("/milestones?limit=500", "milestones") if "home_team_id" in m["details"]
    )
    ids = [milestone["details"][key] for key in ("away_team_id", "home_team_id")]
    found = client.get(f"/structured_targets?ids={ids[0]}&ids={ids[1]}")["structured_targets"]
    assert " at ".join(target["name"] for target in found) == milestone["title"]
    assert client.get(f"/structured_targets/{ids[0]}")["structured_target"] == found[0]
    assert len(client.walk("/structured_targets?page_size=20", "structured_targets")) == len(
        client.api.exchange.catalogue.targets
    )


def test_the_cache_serves_old_answers_with_their_age_but_never_books(make_client: Make) -> None:
    client = make_client(markets=1500)
    client.api.cache_ms = 15_000
    first = client.send("/trade-api/v2/markets?limit=1000")
    assert "age" not in first.headers
    assert first.headers["cache-control"] == "public, max-age=15"
    ticker = next(m["ticker"] for m in json.loads(first.body)["markets"] if m["status"] == "active")
    market = client.api.exchange.markets[ticker]
    client.advance(14)
    again = client.send("/trade-api/v2/markets?limit=1000")
    assert (again.body, again.headers["age"]) == (first.body, "14")
    assert "cache-control" not in client.send(f"/trade-api/v2/markets/{ticker}/orderbook").headers
    assert client.send("/trade-api/v2/markets?limit=999").headers.get("age") is None
    client.advance(1)
    fresh = client.send("/trade-api/v2/markets?limit=1000")
    assert fresh.body != first.body
    assert "age" not in fresh.headers
    assert market.ticker.encode() in fresh.body


def test_account_limits_are_those_of_the_tier(
    make_client: Make, signed: Callable[..., dict[str, str]]
) -> None:
    client = make_client(tier="basic")
    path = "/trade-api/v2/account/limits"
    answer = client.send(path, headers=signed("GET", path))
    assert json.loads(answer.body) == {
        "grants": [],
        "read": {"bucket_capacity": 600, "refill_rate": 200},
        "usage_tier": "basic",
        "write": {"bucket_capacity": 100, "refill_rate": 100},
    }
    assert client.get("/account/endpoint_costs")["default_cost"] == 10


@pytest.mark.parametrize("per_ticker", [False, True])
def test_a_batch_of_books_is_billed_per_call_or_per_ticker(make_client: Make, per_ticker: bool) -> None:
    client = make_client(tier="basic")
    client.api.bill_books_per_ticker = per_ticker
    target = "/trade-api/v2/markets/orderbooks?" + "&".join(f"tickers=T{i}" for i in range(30))
    assert [client.send(target).status for _ in range(4)] == [
        200,
        200,
        *((429, 429) if per_ticker else (200, 200)),
    ]


def test_the_documented_shape_of_a_429_is_a_switch(make_client: Make) -> None:
    client = make_client(tier="basic")
    client.api.nested_429 = False
    last = [client.send("/trade-api/v2/exchange/status") for _ in range(61)][-1]
    assert (last.status, json.loads(last.body)) == (429, {"error": "too many requests"})


def test_combos_flood_the_market_list_unless_excluded(make_client: Make) -> None:
    client = make_client(markets=1500)
    before = {m["ticker"] for m in client.walk("/markets?limit=1000", "markets")}
    client.advance(60)
    client.api.exchange.add_combos(200)
    first = client.get("/markets?limit=200")["markets"]
    assert all(m["mve_collection_ticker"] for m in first)
    assert {m["ticker"] for m in client.get("/markets?mve_filter=only&limit=1000")["markets"]} == {
        m["ticker"] for m in first
    }
    rest = client.walk("/markets?mve_filter=exclude&limit=1000", "markets")
    assert before <= {m["ticker"] for m in rest}
    assert not any("mve_selected_legs" in m for m in rest)
    for market in first[:20]:
        assert answer_errors("/markets/{ticker}", {"market": market}) == []
        legs = [client.api.exchange.markets[leg["market_ticker"]] for leg in market["mve_selected_legs"]]
        assert (
            len({leg.event.group.milestone.id for leg in legs if leg.event.group.milestone}) == len(legs) >= 2
        )
        assert market["price_level_structure"] == "center_deci_edge_centi_cent"
    combos = {e["event_ticker"] for e in client.walk("/events/multivariate", "events")}
    assert combos == {m["event_ticker"] for m in first}
    assert not combos & {e["event_ticker"] for e in client.walk("/events", "events")}
    page = client.get("/events/multivariate?with_nested_markets=true")
    assert answer_errors("/events/multivariate", page) == []


def test_a_combo_ends_when_its_outcome_is_known(make_client: Make) -> None:
    client = make_client(markets=600, bursts=False)
    client.api.exchange.add_combos(100)
    client.advance(1200)
    done = client.walk("/markets?mve_filter=only&status=settled&limit=1000", "markets")
    assert done
    for market in done:
        results = [
            client.api.exchange.markets[leg["market_ticker"]].result for leg in market["mve_selected_legs"]
        ]
        assert market["result"] == ("no" if "no" in results else "yes")


# Recorded ----------------------------------------------------------------------------------------


def shape(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (path, JSON type) of every member; lists by their first element."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, node = stack.pop()
        yield (
            path,
            "number" if isinstance(node, int | float) and not isinstance(node, bool) else type(node).__name__,
        )
        if isinstance(node, dict) and not path.endswith("custom_strike"):
            stack += [(f"{path}.{key}", member) for key, member in node.items()]
        elif isinstance(node, list) and node:
            stack.append((f"{path}[]", node[0]))


def leaf(path: str) -> str:
    return path.rsplit(".", 1)[-1].removesuffix("[]")


def ask_again(client: Client, path: str) -> str:
    """Return the recorded request with what exists here in the place of what existed there."""
    base, _, query = path.partition("?")
    tennis = next(t for t in client.api.exchange.markets if t.startswith("KXWTACHALLENGERMATCH"))
    base = "/".join(tennis if part.startswith("KXWTA") else part for part in base.split("/"))
    kept = [p for p in query.split("&") if p and not p.startswith(("ticker=", "cursor="))]
    return base + ("?" + "&".join(kept) if kept else "")


@pytest.fixture(scope="module")
def lived(make_client: Make) -> Client:
    """An exchange on which everything that was recorded has happened."""
    client = make_client(markets=1500, trade_share=1.0)
    client.advance(600)
    return client


SESSIONS = {session["name"]: session for session in load("recorded")["sessions"]}


@pytest.mark.parametrize(
    "name", sorted(n for n, s in SESSIONS.items() if s["method"] == "GET" and not n.startswith("auth"))
)
def test_a_recorded_request_gets_the_recorded_status_and_shape(
    lived: Client, signed: Callable[..., dict[str, str]], name: str
) -> None:
    client = lived
    session = SESSIONS[name]
    target = ask_again(client, session["path"])
    answer = client.send(target, headers=signed("GET", target.split("?")[0], client.now_ms))
    assert answer.status == session["status"]
    ours, theirs = dict(shape(json.loads(answer.body))), dict(shape(session["body"]))
    lost = {path for path in set(theirs) - set(ours) if leaf(path) not in REMOVED | OPTIONAL}
    new = {path for path in set(ours) - set(theirs) if leaf(path) not in ADDED | OPTIONAL}
    if name == "exchange__status":  # shards came after the recording
        new = {path for path in new if "exchange_" not in path and "transfers" not in path}
    in_strikes = {path for path in lost if ".custom_strike" in path or ".mve_selected_legs" in path}
    assert (lost - in_strikes, {p for p in new if ".custom_strike" not in p}) == (set(), set())
    for path in set(ours) & set(theirs) - {p for p in ours if leaf(p) in OPTIONAL}:
        assert ours[path] == theirs[path], path


@pytest.mark.parametrize(
    ("name", "skew_ms"), [("auth__bad_signature", 0), ("auth__skew_minus5min", -300_000)]
)
def test_a_recorded_refusal_is_repeated_to_the_byte(
    client: Client, signed: Callable[..., dict[str, str]], name: str, skew_ms: int
) -> None:
    session = SESSIONS[name]
    headers = signed("GET", session["path"], START_MS + skew_ms)
    if name == "auth__bad_signature":
        headers |= {auth.SIGNATURE: signed("GET", "/other")[auth.SIGNATURE]}
    answer = client.send(session["path"], headers=headers)
    assert (answer.status, json.loads(answer.body)) == (session["status"], session["body"])


def test_a_candlestick_has_the_recorded_members(make_client: Make) -> None:
    client = make_client(trade_share=1.0)
    client.advance(300)
    ticker = client.get("/markets/trades")["trades"][-1]["ticker"]
    start, end = START_MS // 1000, START_MS // 1000 + 300
    found = client.get(
        f"/markets/candlesticks?market_tickers={ticker}&start_ts={start}&end_ts={end}&period_interval=1"
    )
    candles = found["markets"][0]["candlesticks"]
    (recorded,) = load("recorded")["candlesticks"]
    full = next(
        c for c in candles if c["price"].get("mean_dollars") and c["price"].get("previous_dollars", "x")
    )
    assert set(full) == set(recorded)
    assert set(full["price"]) | {"previous_dollars"} == set(recorded["price"])
    assert set(full["yes_bid"]) == set(recorded["yes_bid"])
