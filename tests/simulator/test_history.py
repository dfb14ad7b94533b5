"""One past: candlesticks of every resolution, trades, volumes, open interest and prices agree."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from markets.units import parse_count_e2, parse_time_ms
from simulator.floor.exchange import Exchange
from simulator.floor.model import Market
from simulator.floor.record import keeping
from simulator.matching.orders import ASK, BID, GTC, NewOrder, Side
from simulator.universe.templates import Recorded

from .venue import START_MS, Client

Make = Callable[..., Client]
DAY_S = 86_400


def candles(client: Client, market: Market, start_s: int, end_s: int, period: int) -> list[dict[str, Any]]:
    target = (
        f"/markets/candlesticks?market_tickers={market.ticker}&start_ts={start_s}&end_ts={end_s}"
        f"&period_interval={period}"
    )
    found: list[dict[str, Any]] = client.get(target)["markets"][0]["candlesticks"]
    return found


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what one candlestick of all these periods should say."""
    prices = [part["price"] for part in parts if "open_dollars" in part["price"]]

    def ohlc(values: list[dict[str, str]]) -> dict[str, str]:
        return {
            "open_dollars": values[0]["open_dollars"],
            "high_dollars": max(v["high_dollars"] for v in values),
            "low_dollars": min(v["low_dollars"] for v in values),
            "close_dollars": values[-1]["close_dollars"],
        }

    return {
        "volume": sum(parse_count_e2(part["volume_fp"]) for part in parts),
        "interest": parts[-1]["open_interest_fp"],
        "bid": ohlc([part["yes_bid"] for part in parts]),
        "ask": ohlc([part["yes_ask"] for part in parts]),
        "price": ohlc(prices) if prices else {},
        "previous": parts[0]["price"].get("previous_dollars"),
    }


def in_ms(trade: dict[str, Any]) -> int:
    return parse_time_ms(trade["created_time"])


def agrees(client: Client, market: Market, rng: Random) -> None:
    """Check one market: its whole life by day and hour, a window of it by minute, and its trades."""
    now_s = client.api.exchange.now_ms // 1000
    opened_s = market.event.open_ms // 1000
    first_day = opened_s - opened_s % DAY_S + DAY_S
    end_s = now_s - now_s % DAY_S + DAY_S
    days = candles(client, market, first_day, end_s, 1440)
    body = client.get(f"/markets/{market.ticker}")["market"]
    # All days have the market's volume; the last one its open interest, its price and its quote.
    assert sum(parse_count_e2(day["volume_fp"]) for day in days) == parse_count_e2(body["volume_fp"])
    assert days[-1]["open_interest_fp"] == body["open_interest_fp"]
    whole = joined(days)
    if body["volume_fp"] != "0.00":
        assert whole["price"]["close_dollars"] == body["last_price_dollars"]
    assert whole["bid"]["close_dollars"] == body["yes_bid_dollars"]
    trades = client.walk(f"/markets/trades?ticker={market.ticker}&limit=1000", "trades")
    assert sum(parse_count_e2(trade["count_fp"]) for trade in trades) == parse_count_e2(body["volume_fp"])
    times = [in_ms(trade) for trade in trades]
    assert times == sorted(times, reverse=True)
    assert len({trade["trade_id"] for trade in trades}) == len(trades)
    day_ms = client.api.exchange.now_ms - DAY_S * 1000
    since = sum(parse_count_e2(t["count_fp"]) for t in trades if in_ms(t) > day_ms)
    assert since == parse_count_e2(body["volume_24h_fp"])
    before = next((t["yes_price_dollars"] for t in trades if in_ms(t) <= day_ms), "0.0000")
    assert body["previous_price_dollars"] == before

    # One of its days, hour by hour, and one of the hours, minute by minute.
    day = rng.choice(days)
    end = day["end_period_ts"]
    hours = candles(client, market, end - DAY_S + 3600, end, 60)
    assert joined(hours) == joined([day])
    hour = rng.choice([h for h in hours if h["volume_fp"] != "0.00"] or hours)
    minutes = candles(client, market, hour["end_period_ts"] - 3540, hour["end_period_ts"], 1)
    assert joined(minutes) == joined([hour])
    interest = 0
    for candle, width_s in [(m, 60) for m in minutes] + [(h, 3600) for h in hours]:
        end_ms = candle["end_period_ts"] * 1000
        inside = [t for t in trades if end_ms - width_s * 1000 <= in_ms(t) < end_ms]
        volume = sum(parse_count_e2(trade["count_fp"]) for trade in inside)
        assert volume == parse_count_e2(candle["volume_fp"])
        interest = parse_count_e2(candle["open_interest_fp"])
        total = sum(parse_count_e2(trade["count_fp"]) for trade in trades if in_ms(trade) < end_ms)
        assert 0 <= interest <= total
        prices = [trade["yes_price_dollars"] for trade in inside]
        if prices:
            assert candle["price"]["low_dollars"] == min(prices)
            assert candle["price"]["high_dollars"] == max(prices)
            assert (candle["price"]["open_dollars"], candle["price"]["close_dollars"]) == (
                prices[-1],
                prices[0],
            )
    for trade in trades:
        assert parse_count_e2(trade["count_fp"]) > 0


def chosen(client: Client, rng: Random, count: int) -> list[Market]:
    markets = [
        m for m in client.api.exchange.markets.values() if m.event.open_ms <= client.api.exchange.now_ms
    ]
    return rng.sample(markets, count)


def test_before_the_beginning_everything_agrees(make_client: Make) -> None:
    client, rng = make_client(markets=1500), Random(5)
    markets = chosen(client, rng, 40)
    assert sum(market.past is not None for market in markets) > 20
    for market in markets:
        agrees(client, market, rng)


def test_after_an_hour_of_life_everything_agrees(make_client: Make) -> None:
    client, rng = make_client(markets=150), Random(6)
    client.advance(3_700)
    busy = sorted(client.api.exchange.markets.values(), key=lambda m: -m.volume_e2 if m.record else 0)
    for market in [*chosen(client, rng, 8), *busy[:6]]:
        agrees(client, market, rng)


def test_all_trades_are_one_list_the_newest_first(make_client: Make) -> None:
    client = make_client(markets=40)
    client.advance(120)
    since = START_MS // 1000 - 4 * 3600
    pages = client.walk(f"/markets/trades?limit=70&min_ts={since}", "trades")
    assert pages == client.walk(f"/markets/trades?limit=1000&min_ts={since}", "trades")
    times = [in_ms(trade) for trade in pages]
    assert times == sorted(times, reverse=True)
    assert times[0] > START_MS > times[-1]
    each = [
        trade
        for ticker in client.api.exchange.markets
        for trade in client.walk(f"/markets/trades?ticker={ticker}&limit=1000&min_ts={since}", "trades")
    ]
    assert sorted(t["trade_id"] for t in each) == sorted(t["trade_id"] for t in pages)
    until = START_MS // 1000 - 3600
    some = client.walk(f"/markets/trades?limit=1000&min_ts={since}&max_ts={until}", "trades")
    assert some == [trade for trade in pages if in_ms(trade) < (until + 1) * 1000]


def test_the_past_is_no_other_after_hours_of_looks_and_life(make_client: Make) -> None:
    client = make_client(markets=150)
    markets = [m for m in client.api.exchange.markets.values() if m.past is not None][::9]
    span = f"start_ts={START_MS // 1000 - 40 * DAY_S}&end_ts={START_MS // 1000}&period_interval=60"
    target = f"/markets/candlesticks?market_tickers={','.join(m.ticker for m in markets[:8])}&{span}"
    before = client.get(target)
    client.advance(1_800)
    assert client.get(target) == before


def test_a_days_volume_falls_as_the_hours_pass_and_yesterdays_price_follows(make_client: Make) -> None:
    client = make_client(markets=300, pace=0.0, bursts=False, mispricings=False)
    exchange = client.api.exchange
    market = max(
        (m for m in exchange.markets.values() if m.past), key=lambda m: m.past.trades if m.past else 0
    )
    seen = []
    for _ in range(26):
        seen.append(parse_count_e2(client.get(f"/markets/{market.ticker}")["market"]["volume_24h_fp"]))
        client.advance(3_600)
    assert seen[0] > 0
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0
    body = client.get(f"/markets/{market.ticker}")["market"]
    assert body["previous_price_dollars"] == body["last_price_dollars"]


def test_a_series_has_the_volume_of_its_markets_those_gone_included(make_client: Make) -> None:
    client = make_client(markets=300)
    exchange = client.api.exchange

    def check() -> None:
        for body in client.get("/series?include_volume=true")["series"]:
            markets = client.walk(f"/markets?series_ticker={body['ticker']}&limit=1000", "markets")
            gone = exchange.series[body["ticker"]].gone_e2
            assert parse_count_e2(body["volume_fp"]) == gone + sum(
                parse_count_e2(m["volume_fp"]) for m in markets
            )

    check()
    client.advance(600)
    event = next(e for e in exchange.events.values() if e.markets[0].record is not None)
    traded = sum(market.volume_e2 for market in event.markets)
    exchange.bring(event, "gone")
    assert event.series.gone_e2 >= traded > 0
    check()


@pytest.mark.parametrize("markets", [1_500, 130_000])
def test_old_minutes_become_hours_and_days_and_keep_their_sums(recorded: Recorded, markets: int) -> None:
    exchange = Exchange(recorded, 40, 3, START_MS)
    kept = keeping(markets)
    screen, market = exchange.screen, next(m for m in exchange.markets.values() if m.past is not None)
    screen._keeping = kept
    rng = Random(1)
    volume_e2 = market.volume_e2
    for minute in range(5 * 1440):
        time_ms = START_MS + minute * 60_000 + rng.randrange(60_000)
        exchange.agenda.now_ms = time_ms
        screen.print_trade(
            market, f"{minute:032x}", rng.randint(1, 99) * 100, rng.randint(1, 500), "yes", 0, time_ms
        )
    record = market.record
    assert record is not None
    assert len(record.minutes) <= kept.minutes
    assert len(record.hours) <= kept.hours
    spans = record.spans(0)
    assert [s.minute for s in spans[1:]] == [s.end + 1 for s in spans[:-1]]
    assert sum(span.volume_e2 for span in spans) == market.volume_e2 - volume_e2
    assert spans[-1].total_e2 == market.volume_e2
    totals = volume_e2
    for span in spans:
        totals += span.volume_e2
        assert span.total_e2 == totals
        assert span.price is not None
        assert span.price[2] <= min(span.price) <= max(span.price) == span.price[1]
        assert record.before(span.end + 1) == span or record.last is span


def test_open_interest_follows_the_positions_of_users(make_client: Make) -> None:
    """Whatever is traded: as many contracts are open as users hold at least, and never fewer than none."""
    client, rng = make_client(markets=40, rivals=False), Random(9)
    exchange = client.api.exchange
    for account in (1, 2):
        exchange.open_account(account)
    markets = [
        m for m in exchange.markets.values() if m.bid_e2 and m.ask_e2 and m.event.group.kind == "options"
    ]
    for number in range(400):
        client.advance(2)
        market = rng.choice(markets[:4])
        side: Side = rng.choice([BID, ASK])
        price_e4 = market.ask_e4 if side == BID else market.bid_e4
        if not 0 < price_e4 < 10_000 or market.status != "active":
            continue
        before_e2 = market.open_interest_e2
        volume_e2 = market.volume_e2
        exchange.matching.place(
            NewOrder(
                party=(rng.choice([1, 2]), 0),
                instrument=market,
                client_order_id=str(number),
                side=side,
                price_e4=price_e4,
                count_e2=rng.randint(1, 300) * 100,
                time_in_force=GTC,
                self_trade="maker",
            ),
            exchange.now_ms,
        )
        assert abs(market.open_interest_e2 - before_e2) <= market.volume_e2 - volume_e2
        for each in markets[:4]:
            held = exchange.ledger.users_e2(each.ticker)
            assert each.held_e2 == held
            assert max(held) <= each.open_interest_e2 <= each.volume_e2
    assert any(sum(market.held_e2) for market in markets[:4])
