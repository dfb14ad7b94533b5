"""The gateway's log on disk: what was synced is there, what is torn is cut off, damage is refused."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.errors import StartupError
from publisher.orders.log import MAGIC, OrderLog


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    log = OrderLog(tmp_path / "log")
    log.append([b"a", b"bc"])
    log.append([b"d" * 5_000])
    log.close()
    again = OrderLog(tmp_path / "log")
    assert (list(again.records()), again.cut) == ([b"a", b"bc", b"d" * 5_000], 0)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    again.close()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_torn_end_is_cut_off_wherever_it_is_torn(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    batches = data.draw(st.lists(st.lists(st.binary(max_size=40), min_size=1), min_size=1, max_size=5))
    log, ends = OrderLog(path), [len(MAGIC)]
    for batch in batches:
        log.append(batch)
        ends.append(log.size)
    log.close()
    size = data.draw(st.integers(len(MAGIC), ends[-1]))
    content = path.read_bytes()[:size] + bytes(data.draw(st.sampled_from((0, 0, 9, 4_096))))
    path.write_bytes(content)
    whole = max(n for n, end in enumerate(ends) if end <= size)
    again = OrderLog(path)
    assert list(again.records()) == [record for batch in batches[:whole] for record in batch]
    again.append([b"goes on"])
    again.close()
    assert list(OrderLog(path).records())[-1] == b"goes on"


def test_damage_before_the_end_refuses_the_start_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = OrderLog(path)
    log.append([b"first record"])
    log.append([b"second record"])
    log.close()
    content = bytearray(path.read_bytes())
    content[len(MAGIC) + 12] ^= 1
    path.write_bytes(content)
    with pytest.raises(StartupError, match=f"damaged at byte {len(MAGIC)}, before its end"):
        OrderLog(path)
    assert path.read_bytes() == content


def test_a_file_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    with pytest.raises(StartupError, match="log of the order gateway"):
        OrderLog(path)
    assert path.read_bytes() == b"x" * 100


def test_a_log_that_cannot_be_written_anew_goes_on_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = OrderLog(tmp_path / "log")
    log.append([b"one"])
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        log.compact(b"base", lambda _record: True)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    log.append([b"two"])
    log.close()
    assert list(OrderLog(tmp_path / "log").records()) == [b"one", b"two"]


def test_a_log_is_written_anew_whenever_it_has_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.orders.log.GROWN", 500)
    log = OrderLog(tmp_path / "log")
    grown = []
    for _ in range(2):
        log.append([b"x" * 300])
        grown.append(log.grown)
    log.compact(b"base", lambda _record: True)  # nothing of it could be left out: that is not tried each time
    for _ in range(4):
        grown.append(log.grown)
        log.append([b"x" * 300])
    log.close()
    assert grown == [False, True, False, False, False, True]


def test_a_log_written_anew_has_what_is_kept_and_goes_on(tmp_path: Path) -> None:
    log = OrderLog(tmp_path / "log")
    log.append([b"keep 1", b"drop"])
    log.append([b"keep 2"])
    log.compact(b"base", lambda record: record.startswith(b"keep"))
    log.append([b"after"])
    log.close()
    assert list(OrderLog(tmp_path / "log").records()) == [b"base", b"keep 1", b"keep 2", b"after"]
