"""Files that are whole or not there."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bus.files import write_whole
from tests.bus.trading.disk import full_disk


def test_what_is_written_is_on_disk_and_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bytes]] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        fsync(fd)
        found = os.fstat(fd)
        synced.append((found.st_ino, path.read_bytes() if path.exists() else b""))

    path = tmp_path / "a.json"
    write_whole(path, b"one")
    monkeypatch.setattr(os, "fsync", noted)
    write_whole(path, b"two")
    assert synced == [(path.stat().st_ino, b"one"), (tmp_path.stat().st_ino, b"two")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]


def test_where_it_cannot_be_written_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"one")
    with full_disk(), pytest.raises(OSError, match="large") as raised:
        write_whole(path, b"two")
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"one"
    assert [*tmp_path.iterdir()] == [path]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    path.with_name(f"a.json.{threading.get_native_id()}.new").symlink_to(elsewhere)
    write_whole(path, b"three")
    assert (path.read_bytes(), elsewhere.read_bytes()) == (b"three", b"")


def test_several_may_write_it_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    bodies = [bytes([number]) * 10_000 for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda body: write_whole(path, body), bodies))  # raises if one could not
    assert path.read_bytes() in bodies
    assert [*tmp_path.iterdir()] == [path]


def test_what_others_left_when_they_were_killed_goes_once_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "a.[json]"
    old, young, other = (tmp_path / f"{name}.new" for name in ("a.[json].1", "a.[json].2", "a.j.3"))
    for each in (old, young, other):
        each.write_bytes(b"half")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    write_whole(path, b"whole")
    assert {*tmp_path.iterdir()} == {path, young, other}
