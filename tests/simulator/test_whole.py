"""The exchange as a whole, lived in at random; `make soak exchange` does the same with ever new seeds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.matching import engine
from simulator.universe.templates import Recorded
from tests.simulator.whole import Life, live, said
from tests.support import ROOT


def test_rest_frames_and_books_agree_whatever_is_asked_through_pauses_settlements_and_restarts(
    recorded: Recorded, tmp_path: Path
) -> None:
    assert live(recorded, tmp_path, seed=24, steps=110) == 110


def test_the_same_inputs_bring_the_same_bytes_in_any_process_however_often_time_moves_on(
    recorded: Recorded, tmp_path: Path
) -> None:
    run = [sys.executable, "-m", "tests.simulator.whole", "3", "90", "137"]
    other = subprocess.run(
        run,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert other.stdout.splitlines()[-1] == said(recorded, tmp_path, seed=3, steps=90, stride_ms=1_000)


def an_order(life: Life, **members: str) -> dict[str, str]:
    """Return an order that rests far from the best price of a quoted market."""
    market = next(m for m in life.exchange.markets.values() if m.status == "active" and m.bid_e2)
    return {
        "ticker": market.ticker,
        "side": "bid",
        "count": "1.00",
        "price": "0.0100",
        "time_in_force": "good_till_canceled",
        "self_trade_prevention_type": "maker",
        **members,
    }


def test_what_rested_before_a_restart_is_read_as_it_was_until_the_read_lag_is_over(
    recorded: Recorded, tmp_path: Path
) -> None:
    life = Life(recorded, tmp_path, seed=1)
    life.ask(1, "POST", "/portfolio/events/orders", an_order(life))
    life.restart(1_000, saved=True)
    life.ask(1, "DELETE", "/portfolio/events/orders", None)
    seen = {life.read(1, "/portfolio/orders")["orders"][0]["status"] for _ in range(20)}
    assert "resting" in seen <= {"resting", "canceled"}


def test_half_a_character_in_a_client_order_id_is_replaced_and_poisons_no_list(
    recorded: Recorded, tmp_path: Path
) -> None:
    life = Life(recorded, tmp_path, seed=1)
    order = an_order(life, client_order_id="a\ud800")
    assert life.ask(1, "POST", "/portfolio/events/orders", order).status == 201
    life.now_ms += 500
    assert life.read(1, "/portfolio/orders")["orders"][0]["client_order_id"] == "a\ufffd"
    life.hear()
    assert life.told[1].orders[-1][1]["client_order_id"] == "a\ufffd"


@pytest.mark.parametrize("wish", [{"exchange_active": False}, {"trading_active": False}, {"shards": {}}])
def test_nothing_trades_in_a_pause_and_everything_is_quoted_after_it(
    recorded: Recorded, tmp_path: Path, wish: dict[str, object]
) -> None:
    life = Life(recorded, tmp_path, seed=5)
    exchange = life.exchange
    if "shards" in wish:
        wish = {"shards": {str(index): False for index in exchange.halts.shards}}
    life.local("POST", "/sim/faults", {"settings": wish})
    life.now_ms += 1
    before = len(exchange.trades)
    exchange.advance(life.now_ms + 20 * 60_000)  # matches start and end, and one market goes wild a minute
    assert len(exchange.trades) == before
    life.now_ms = exchange.now_ms
    everything = {"exchange_active": True, "trading_active": True, "shards": dict.fromkeys("0123", True)}
    life.local("POST", "/sim/faults", {"settings": everything})
    exchange.advance(life.now_ms + 20 * 60_000)
    unquoted = [
        m.ticker
        for m in exchange.markets.values()
        if m.status == "active"
        and not m.event.group.pulled
        and not (m.bid_e2 or m.ask_e2)
        and m.half_e4 < 5_000  # the others are old markets that nobody quotes
    ]
    assert len(exchange.trades) > before
    assert len(unquoted) <= 2


def test_a_position_is_read_unsettled_until_its_settlement_is_read(
    recorded: Recorded, tmp_path: Path
) -> None:
    life = Life(recorded, tmp_path, seed=2)
    market = next(m for m in life.exchange.markets.values() if m.status == "active" and m.ask_e2 and m.bid_e2)
    order = {
        "ticker": market.ticker, "side": "bid", "count": "1.00", "price": "0.9900",
        "time_in_force": "immediate_or_cancel", "self_trade_prevention_type": "maker",
    }  # fmt: skip
    assert life.ask(1, "POST", "/portfolio/events/orders", order).status == 201
    life.now_ms += 1_000
    life.local("POST", "/sim/faults", {"settings": {"stages": {market.event.ticker: "settled"}}})
    seen = []
    for _ in range(60):
        life.now_ms += 5
        held = {row["ticker"] for row in life.read(1, "/portfolio/positions")["market_positions"]}
        settled = {row["ticker"] for row in life.read(1, "/portfolio/settlements")["settlements"]}
        assert market.ticker in held | settled
        seen.append(market.ticker in held)
    assert seen == sorted(seen, reverse=True)
    assert (seen[0], seen[-1]) == (True, False)
    everything = life.read(1, "/portfolio/positions", settlement_status="settled")["market_positions"]
    assert [row["ticker"] for row in everything] == [market.ticker]


def test_the_lists_of_a_busy_account_are_bounded(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LIVE_MOST", 40)
    monkeypatch.setattr(engine, "IDS_MOST", 60)
    life = Life(recorded, tmp_path, seed=2)
    market = next(m for m in life.exchange.markets.values() if m.status == "active" and m.bid_e2)
    order = {
        "ticker": market.ticker, "side": "bid", "count": "1.00", "price": "0.0100",
        "time_in_force": "good_till_canceled", "self_trade_prevention_type": "maker",
    }  # fmt: skip
    for number in range(200):
        if number > 2:
            order["time_in_force"] = "immediate_or_cancel"
        body = {**order, "client_order_id": f"n{number}"}
        assert life.ask(1, "POST", "/portfolio/events/orders", body).status == 201
    live = life.exchange.matching.orders[1]
    assert len(live) <= 40
    assert [o.client_order_id for o in live.values() if o.live] == ["n0", "n1", "n2"]
    assert len(live) + len(life.exchange.matching.archived[1]) == 200
    life.restart(1, saved=True)


def test_a_book_that_was_asked_for_before_its_market_was_listed_is_the_one_that_rest_shows(
    recorded: Recorded, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, life = (Life(recorded, tmp_path / name, seed=1) for name in ("first", "second"))
    for one in (first, life):
        one.local("POST", "/sim/faults", {"settings": {"pace": 0.05, "bursts": False, "mispricings": False}})
    listed = set(first.exchange.markets)
    first.exchange.advance(first.now_ms + 16 * 60_000)
    new = [m.ticker for m in first.exchange.markets.values() if m.ticker not in listed and m.bid_e2]
    params = {"channels": ["orderbook_delta", "ticker"], "market_tickers": new}
    for account, told in life.told.items():
        own = {**params, "use_yes_price": account == 2}
        told.session.receive(json.dumps({"id": 2, "cmd": "subscribe", "params": own}), life.now_ms)
    life.followed = new
    for seconds in [30] * 34:
        life.now_ms += 1_000 * seconds
        life.exchange.advance(life.now_ms)
        life.hear()
    life.check()
    assert len(new) > 1
