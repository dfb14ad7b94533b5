"""Benchmarks that are rarely run break unnoticed: here each does its work once, on a small scale."""

from pathlib import Path

import pytest

from benchmarks import bench_orders, bench_publisher, bench_trader, trading
from benchmarks.trading_tables import tables
from markets.units import MINUTE_MS


def test_the_trader_benchmark_trades_its_events(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_trader, "EVENTS", 2)
    assert len(bench_trader.latencies_us(short_dir)) == 2


def test_the_publisher_benchmark_takes_in_a_page_that_is_as_documented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher = bench_publisher.Publisher(tmp_path)
    try:
        publisher.take(bench_publisher.page_of(0, 16, lambda _: 40))
        publisher.heard()
        assert len(publisher.writer.state.markets) == 16
        assert publisher.drift.all() == []
    finally:
        publisher.close()


def test_the_actions_of_a_simulated_trader_are_recorded_with_the_truth(tmp_path: Path) -> None:
    settings = {"KALSHI_BUS_STRATEGIES": "no_basket"}
    plan = trading.Plan(seed=1, hours=0.05, markets=300, rivals=False, settings=settings)
    stand = trading.Stand(plan, tmp_path)
    result = stand.run(plan.hours)
    assert not result.failures
    assert not result.breaches
    assert any(trade.filled for trade in result.trades)
    assert any(plant.same_ms is not None for plant in result.plants if plant.kind == "no_basket")
    # The record agrees with the trader's own ledger.
    ledger = stand.worker.engine.ledger
    assert ledger.spent_e6 == sum(trade.cost_e6 for trade in result.trades)
    assert ledger.fees_e6 == sum(trade.fees_e6 for trade in result.trades)
    printed = tables([result, result])
    assert "no_basket | match" in printed
    assert "95 % interval" in printed


def test_the_feed_agrees_with_the_exchange(tmp_path: Path) -> None:
    stand = trading.Stand(trading.Plan(seed=2, hours=1, markets=200), tmp_path)
    for _ in range(2 * MINUTE_MS // trading.STEP_MS):
        stand.step()
    state, exchange = stand.feed.state, stand.exchange
    assert len(state.books) == len(stand.feed.followed) > 100
    for ticker, quote in state.quotes.items():
        market = exchange.markets[ticker]
        assert quote.status == market.status
        assert (quote.yes_bid_size_e2, quote.yes_ask_size_e2) == (market.bid_e2, market.ask_e2)
        assert not market.bid_e2 or quote.yes_bid_e4 == market.bid_e4
        assert not market.ask_e2 or quote.yes_ask_e4 == market.ask_e4
        assert (quote.last_price_e4 or 0) == market.last_e4
        if (book := state.books.get(ticker)) is not None:
            assert book.yes[-1:] == (((market.bid_e4, market.bid_e2),) if market.bid_e2 else ())
            assert stand.clock.now_ms() - book.as_of_ms <= 5_000


@pytest.mark.e2e
@pytest.mark.slow
def test_orders_reach_the_socket_through_a_journal(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_orders, "WARM_UP", 1)
    ours, reference = bench_orders.latencies_us(short_dir, 2)
    assert len(ours) == len(reference) == 2
    assert min(ours) > 0
