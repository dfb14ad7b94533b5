"""Benchmarks that nobody runs break unseen: each of these does its work once, in small."""

from pathlib import Path

import pytest

from benchmarks import bench_publisher, bench_trader


def test_the_trader_s_events_are_traded(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_trader, "EVENTS", 2)
    assert len(bench_trader.latencies_us(short_dir)) == 2


def test_the_publisher_s_page_is_taken_over_and_is_as_documented(
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
