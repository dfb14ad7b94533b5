"""The watchlist outlives the process, whatever was done to its file."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from bus.process.lifecycle import Stop
from markets.errors import BadRecord
from tests.support import eventually
from ui.watchlist import MOST, NAME, WISHED, Watchlist


def test_starred_markets_survive_a_restart_with_the_latest_last(tmp_path: Path) -> None:
    watchlist = Watchlist(tmp_path)
    for ticker in ("B", "A", "B", "C"):
        watchlist.star(ticker, starred=True)
    assert watchlist.star("A", starred=False) == ("B", "C")
    assert watchlist.star("A", starred=False) == ("B", "C")

    assert Watchlist(tmp_path).tickers == ("B", "C")
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_the_number_of_stars_is_bounded(tmp_path: Path) -> None:
    tickers = [*(f"T{number}" for number in range(MOST)), "", "x" * 201]
    (tmp_path / NAME).write_bytes(msgspec.json.encode({"tickers": tickers}))
    watchlist = Watchlist(tmp_path)
    assert len(watchlist.tickers) == MOST

    with pytest.raises(BadRecord, match="at most"):
        watchlist.star("ONE-MORE", starred=True)
    watchlist.star("T0", starred=False)
    watchlist.star("ONE-MORE", starred=True)
    assert watchlist.tickers[-1] == "ONE-MORE"


@pytest.mark.parametrize(
    "text", [b"{", b'{"tickers": [1]}', b"\xff\xfe", b"[" * 100_000, b'{"tickers": ["\xff"]}', b""]
)
def test_a_damaged_file_is_reported_and_renamed_by_the_next_star(tmp_path: Path, text: bytes) -> None:
    (tmp_path / NAME).write_bytes(text)
    with capture_logs() as logs:
        watchlist = Watchlist(tmp_path)

    assert [entry["event"] for entry in logs] == ["watchlist.damaged"]
    assert "starts empty" in watchlist.trouble
    watchlist.star("A", starred=True)
    assert watchlist.trouble == ""
    assert Watchlist(tmp_path).tickers == ("A",)
    assert (tmp_path / f"{NAME}.unreadable").read_bytes() == text


def test_a_pipe_in_place_of_the_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)

    assert "is a pipe" in Watchlist(tmp_path).trouble


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    watchlist = Watchlist(tmp_path)
    watchlist.star("A", starred=True)
    (tmp_path / f"{NAME}.{threading.get_native_id()}.new").mkdir()

    with pytest.raises(OSError, match="directory"):
        watchlist.star("B", starred=True)
    assert watchlist.tickers == Watchlist(tmp_path).tickers == ("A",)


def test_starred_markets_are_wished_for_at_once_and_again(tmp_path: Path) -> None:
    watchlist, stop, wished = Watchlist(tmp_path), Stop(), list[tuple[tuple[str, ...], str]]()

    def wish(tickers: Sequence[str], what: str) -> None:
        wished.append((tuple(tickers), what))

    thread = threading.Thread(target=watchlist.run, args=(stop, wish))
    thread.start()
    watchlist.star("A", starred=True)
    eventually(lambda: {(("A",), what) for what in WISHED} <= set(wished), what="it is wished for")
    stop.set()
    watchlist.wake()
    thread.join(30)
    assert not thread.is_alive()
    stop.close()
