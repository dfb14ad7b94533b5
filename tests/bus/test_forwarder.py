"""The forwarder: other machines follow the feed over TCP with CURVE, and nobody else does."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq
from structlog.typing import EventDict

import bus
from bus.ask import NoAnswer, ask
from bus.clock import SystemClock
from bus.curve import Keyring, Pair
from bus.forwarder import Forwarder
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.replica import Replica
from bus.sockets import connect, make, make_context
from bus.tools.commands import tap
from markets.errors import StartupError
from tests.bus.doors import Door
from tests.bus.live import Context, Live
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(name="live")
def _live(zmq_context: Context) -> Iterator[Live]:
    live = Live(zmq_context)
    yield live
    live.close()


@pytest.fixture(name="door")
def _door(live: Live, short_dir: Path) -> Iterator[Door]:
    door = Door(short_dir, live.feed, live.state)
    yield door
    door.close()


@pytest.fixture(name="said")
def _said() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as said:
        yield said


@contextmanager
def following(door: Door, key: Path) -> Iterator[Replica]:
    context = make_context(key)
    replica = Replica(context, door.feed, door.query, SystemClock(), random.Random(1))
    replica.start()
    try:
        yield replica
    finally:
        replica.stop()
        context.term()


def saying(said: list[EventDict], event: str) -> Callable[[], list[EventDict]]:
    return lambda: [line for line in said if line["event"] == event]


def test_a_replica_with_a_key_is_what_a_local_one_is(live: Live, door: Door) -> None:
    with following(door, door.key("colleague")) as replica:
        eventually(lambda: live.agrees(replica))
        for _ in range(20):
            live.do(live.publisher.commit, live.publisher.stream)
        eventually(lambda: live.agrees(replica))
        assert replica.status().stats.gaps == 0
        # What is lost on the way to the forwarder is a gap for it, repaired through it.
        live.do(lambda: live.publisher.commit()[:0])
        live.do(live.publisher.stream)
        eventually(lambda: replica.status().stats.gaps == 1 and live.agrees(replica))


def test_a_notebook_connects_with_a_key(live: Live, door: Door) -> None:
    key = door.key("notebook")
    with bus.connect(feed=door.feed, snapshots=door.query, curve_key=key) as connection:
        eventually(lambda: live.agrees(connection.replica))
        assert connection.quotes()


def test_a_forwarder_behind_another_is_a_branch(live: Live, door: Door) -> None:
    branch = Door(door.folder / "branch", door.feed, door.query, door.key("branch"))
    try:
        with following(branch, branch.key("leaf")) as replica:
            eventually(lambda: live.agrees(replica))
            live.do(live.publisher.commit, live.publisher.stream)
            eventually(lambda: live.agrees(replica))
    finally:
        branch.close()


def test_a_key_that_nobody_knows_and_one_of_another_server_are_refused_and_told_apart(
    door: Door, said: list[EventDict]
) -> None:
    lost = door.key("lost", server=Pair.make().public)
    with following(door, door.key("stranger", let_in=False)) as stranger, following(door, lost) as other:
        refused = eventually(saying(said, "curve.refused"))[0]
        assert "not known here" in refused["problem"]

        def both() -> bool:
            text = " ".join(line["problem"] for line in saying(said, "curve.no_entry")())
            return "our key is not known there, or was revoked" in text and "another server's key" in text

        eventually(both)
        assert (stranger.status().epoch, other.status().epoch) == (0, 0)
    assert door.forwarder.messages > 0


def test_a_revoked_key_is_cut_off_and_the_others_go_on(live: Live, door: Door, said: list[EventDict]) -> None:
    with following(door, door.key("leaver")) as leaver, following(door, door.key("stayer")) as stayer:
        eventually(lambda: live.agrees(leaver) and live.agrees(stayer))
        door.keyring.revoke("leaver")
        eventually(saying(said, "forward.revoked"))
        live.do(live.publisher.commit)
        eventually(lambda: live.agrees(stayer))
        eventually(lambda: leaver.status().lost)
        assert not live.agrees(leaver)
        eventually(saying(said, "curve.refused"))


def test_tap_says_that_its_key_is_refused_and_goes_on_once_it_is_let_in(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    key = door.key("colleague")
    settings = Settings.load({"KALSHI_BUS_FEED": door.feed, "KALSHI_BUS_CURVE_KEY": str(key)}, door.folder)
    public = next(iter(door.keyring.clients()))
    door.keyring.revoke("colleague")
    stop = Stop()
    thread = threading.Thread(target=tap, args=(settings, stop, ["hb."]), name="tap")
    thread.start()
    told: list[str] = ["", ""]

    def says(place: int, text: str) -> bool:
        told[0] += (read := capsys.readouterr()).out
        told[1] += read.err
        return text in told[place]

    try:
        eventually(lambda: says(1, f"tap: {door.feed}: our key is not known there, or was revoked\n"))
        door.keyring.allow("colleague", public)
        eventually(lambda: says(0, '"kind": "heartbeat"'))
        assert told[1].count("our key") == 1
    finally:
        stop.set()
        thread.join()
        stop.close()


def test_without_a_keyring_nobody_is_let_in_and_it_is_said(
    live: Live, door: Door, said: list[EventDict]
) -> None:
    key = door.key("early")
    door.keyring.clients_path.chmod(0o644)
    with following(door, key) as replica:
        assert "nobody is let in" in eventually(saying(said, "curve.keyring"))[0]["problem"]
        eventually(saying(said, "curve.no_entry"))
        door.keyring.clients_path.chmod(0o600)
        eventually(lambda: live.agrees(replica))


def test_a_line_of_the_keyring_that_is_none_costs_only_itself(
    door: Door, live: Live, said: list[EventDict]
) -> None:
    key = door.key("good")
    with door.keyring.clients_path.open("ab") as file:
        file.write(b"half\n\xff\xfe \x00\nname key-that-is-too-short\n# a word\n")
    with following(door, key) as replica:
        eventually(lambda: live.agrees(replica))
    problems = [line["problem"][:6] for line in saying(said, "curve.bad_line")()]
    assert problems[:3] == ["line 2", "line 3", "line 4"]


def test_who_speaks_no_curve_gets_nothing(door: Door, zmq_context: Context) -> None:
    plain = make(zmq_context, zmq.SUB, 1_000_000)
    plain.setsockopt(zmq.SUBSCRIBE, b"")
    plain.connect(door.feed)
    try:
        for greeting in (b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48), b"POST / HTTP/1.1\r\n\r\n" * 3):
            with socket.create_connection(
                ("127.0.0.1", int(door.feed.rpartition(":")[2])), timeout=10
            ) as raw:
                raw.sendall(greeting)
                with contextlib.suppress(ConnectionResetError):
                    while raw.recv(1_000):
                        pass  # its greeting, then the end
        with pytest.raises(NoAnswer):
            ask(zmq_context, door.query, {"op": "ping", "id": 1}, 300)
        before = door.forwarder.messages
        eventually(lambda: door.forwarder.messages > before + 1)
        assert not plain.poll(0)
    finally:
        plain.close()


def test_questions_are_answered_through_it_and_refused_while_nobody_is_there(live: Live, door: Door) -> None:
    context = make_context(door.key("asker"))
    try:
        assert ask(context, door.query, {"op": "ping", "id": 7})["seq"] == live.publisher.writer.state.seq
        assert ask(context, door.query, {"op": "schema", "id": "text"})["id"] == "text"
        with_none = Door(door.folder / "none", live.feed, "ipc://" + str(door.folder / "nobody"))
        try:
            alone = make_context(with_none.key("asker"))
            answer = ask(alone, with_none.query, {"op": "ping", "id": 9})
            assert (answer["id"], answer["error"]["code"]) == (9, "not_ready")
            alone.term()
        finally:
            with_none.close()
    finally:
        context.term()


def test_questions_without_an_end_or_a_delimiter_cost_themselves_only(live: Live, door: Door) -> None:
    context = make_context(door.key("asker"))
    dealer = make(context, zmq.DEALER, 1_000_000)
    try:
        connect(dealer, door.query)
        for frames in ([b"no delimiter"], [b"", b"\xc1"], [b"x"] * 20, [b""] * 20, [b"", b""]):
            dealer.send_multipart(frames)
        assert ask(context, door.query, {"op": "ping", "id": 1})["ok"]
        eventually(lambda: door.forwarder.lost >= 2)
    finally:
        dealer.close()
        context.term()


def bad_keys() -> Iterator[Any]:
    good = Pair.make()
    other = Pair.make()
    line = f'public-key = "{good.public.decode()}"\nsecret-key = "{good.secret.decode()}"\n'
    server = f'server-key = "{other.public.decode()}"\n'
    yield pytest.param(line + server, 0o644, "looser than 0600", id="others can read it")
    yield pytest.param(line, 0o600, "no server-key", id="no server's key")
    yield pytest.param("", 0o600, "no server-key", id="empty")
    yield pytest.param("-----BEGIN PRIVATE KEY-----\n", 0o600, "no server-key", id="another kind of key")
    yield pytest.param("x" * 100_000, 0o600, "no server-key", id="large")
    mixed = line.replace(good.public.decode(), other.public.decode())
    yield pytest.param(mixed + server, 0o600, "of two pairs", id="two pairs")
    short = line.replace(good.secret.decode(), "short")
    yield pytest.param(server + short, 0o600, "no secret-key", id="short")


@pytest.mark.parametrize(("text", "mode", "expected"), [*bad_keys()])
def test_a_key_file_that_is_none_is_refused_by_name(
    tmp_path: Path, text: str, mode: int, expected: str
) -> None:
    path = tmp_path / "colleague.key"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(StartupError) as refused:
        make_context(path)
    assert expected in str(refused.value)
    assert str(path) in str(refused.value)
    assert "secret-key = " not in str(refused.value)


def test_a_forwarder_without_a_key_does_not_start(tmp_path: Path, zmq_context: Context) -> None:
    doors = "tcp://127.0.0.1:*", "tcp://127.0.0.1:*"
    with pytest.raises(StartupError, match=r"nothing is served without CURVE: run `.*kalshi-bus keys make"):
        Forwarder(zmq_context, "ipc://x", "ipc://y", *doors, Keyring(tmp_path / "curve"), SystemClock())


def test_a_replica_of_another_machine_without_a_key_is_refused(zmq_context: Context) -> None:
    with pytest.raises(StartupError, match="reached only with CURVE"):
        Replica(zmq_context, "tcp://192.0.2.1:5010", "tcp://192.0.2.1:5011", SystemClock(), random.Random(1))
