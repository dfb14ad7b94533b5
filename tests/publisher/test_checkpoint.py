"""A checkpoint opens the next epoch with the same records and true ages; a broken one is ignored."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import xxhash
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.protocol.writer import Writer
from markets.records import Book
from publisher import checkpoint
from publisher.checkpoint import NAME, Checkpoint, load, save
from tests.publisher.exchange import event, market, milestone
from tests.publisher.world import World

SOURCE = "sim http://127.0.0.1:5003/trade-api/v2"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "quarantine")
    made.exchange.list_event(event("E1", "S1", market("E1-A", "E1"), market("E1-B", "E1")))
    made.exchange.list_event(event("E2", "S2", market("E2-A", "E2")))
    made.exchange.milestones.append(milestone("m1", "E1"))
    made.run()
    book = Book("E1-A", made.clock.now_ms(), ((4000, 100),), ((5500, 50),))
    made.apply(made.writer.stream("md.S1.", "book", [book], 1, made.clock.now_ns()))
    yield made
    made.close()


def hashed(body: bytes) -> bytes:
    return body + xxhash.xxh3_64_digest(body)


def opened(found: Checkpoint) -> Writer:
    assert found.cycle is not None
    writer = Writer(found.epoch + 1)
    writer.load(found.changes)
    writer.commit((), found.cycle, 1, 1)
    return writer


def test_state_comes_back_with_records_and_ages(world: World, tmp_path: Path) -> None:
    world.exchange.events["E1"]["markets"][1]["event_ticker"] = None
    world.run()
    save(tmp_path, world.state, SOURCE, world.clock.now_ms())

    state = opened(load(tmp_path, SOURCE)).state

    assert state.records == {
        kind: records if kind != "quote" else state.quotes for kind, records in world.state.records.items()
    }
    assert state.stream_of == world.state.stream_of
    for ticker, quote in world.state.quotes.items():
        assert msgspec.structs.replace(state.quotes[ticker], as_of_ms=quote.as_of_ms) == quote
        assert state.quote_as_of_ms(ticker) == world.state.quote_as_of_ms(ticker)
    assert {world.age_ms(ticker) for ticker in world.state.quotes} == {0, 12_000}
    assert state.cycle is not None
    assert world.state.cycle is not None
    assert state.cycle.complete_ms == world.state.cycle.complete_ms


def test_checkpoint_is_private_and_replaces_the_last_one(world: World, tmp_path: Path) -> None:
    save(tmp_path, world.state, SOURCE, 1)
    save(tmp_path, world.state, SOURCE, 2)

    path = tmp_path / NAME
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [NAME]


def test_what_could_not_be_written_takes_no_space(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(tmp_path, world.state, SOURCE, 1)
    before = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr("publisher.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, world.state, SOURCE, 2)

    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == before


def test_no_checkpoint_is_an_empty_start(tmp_path: Path) -> None:
    assert load(tmp_path, SOURCE) == Checkpoint()


def test_checkpoint_of_another_exchange_gives_its_epoch_only(world: World, tmp_path: Path) -> None:
    save(tmp_path, world.state, SOURCE, 1)

    assert load(tmp_path, "prod https://elsewhere") == Checkpoint(world.state.epoch)


def test_newer_checkpoint_gives_its_epoch_only(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    save(tmp_path, world.state, SOURCE, 1)
    monkeypatch.undo()

    assert load(tmp_path, SOURCE) == Checkpoint(world.state.epoch)


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"\x28\xb5\x2f\xfd", b"x" * 100, hashed(b""), hashed(zstandard.compress(b"\xff" * 100))],
)
def test_garbage_is_ignored(tmp_path: Path, body: bytes) -> None:
    (tmp_path / NAME).write_bytes(body)

    assert load(tmp_path, SOURCE) == Checkpoint()


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [os.mkfifo, a_socket, Path.mkdir])
def test_what_is_no_file_is_ignored_and_not_waited_for(
    world: World, short_dir: Path, make: Callable[[Path], None]
) -> None:
    make(short_dir / NAME)
    assert load(short_dir, SOURCE) == Checkpoint()
    make(short_dir / f"{NAME}.new")
    with pytest.raises(OSError, match=NAME):
        save(short_dir, world.state, SOURCE, 1)


def test_every_truncation_is_ignored(world: World, tmp_path: Path) -> None:
    save(tmp_path, world.state, SOURCE, 1)
    whole = (tmp_path / NAME).read_bytes()
    for size in range(0, len(whole), 3):
        (tmp_path / NAME).write_bytes(whole[:size])

        assert load(tmp_path, SOURCE) == Checkpoint(), size


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bits_are_ignored(world: World, tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "whole").exists():
        save(tmp_path, world.state, SOURCE, 1)
        (tmp_path / NAME).rename(tmp_path / "whole")
    body = bytearray((tmp_path / "whole").read_bytes())
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / NAME).write_bytes(body)

    assert load(tmp_path, SOURCE) == Checkpoint()
