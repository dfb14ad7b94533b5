"""What a JetStream can have against a bridge: a sentence each; the bridge ends, or goes on."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.client import JetStreamContext
from structlog.testing import capture_logs

from bridge.store import Limits
from bus.jetstream.stored import DESCRIPTION, Batch, address_of, encode_batch
from markets.errors import StartupError
from tests.bridge.world import LEAVES_OPEN, Context, NatsServer, Running, World, world
from tests.bus.live import Live
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(LEAVES_OPEN)]
SUBJECTS = ["kalshi-bus.feed", "kalshi-bus.keyframe", "kalshi-bus.part", "kalshi-bus.repair"]


@pytest.fixture(name="live", scope="module")
def _live() -> Iterator[tuple[Context, Live]]:
    context = Context()
    live = Live(context)
    yield context, live
    live.close()
    context.term()


@contextmanager
def serving(folder: Path, config: str = "", *, jetstream: bool = True) -> Iterator[NatsServer]:
    server = NatsServer(folder / "nats", config, jetstream=jetstream)
    try:
        yield server
    finally:
        server.kill()


def refusal(live: tuple[Context, Live], url: str, limits: Limits | None = None) -> str:
    """Return why a bridge has ended."""
    running = Running(*live, url, limits or Limits(max_bytes=50_000_000))
    try:
        error = running.ended()
        assert isinstance(error, StartupError), error
        assert "\n" not in str(error)
        return str(error)
    finally:
        running.close()


def do(url: str, work: Callable[[JetStreamContext], Coroutine[Any, Any, object]]) -> None:
    async def run() -> None:
        client = await nats.connect(url)
        await work(client.jetstream())
        await client.close()

    asyncio.run(run())


def test_a_server_without_a_jetstream(tmp_path: Path, live: tuple[Context, Live]) -> None:
    with serving(tmp_path, jetstream=False) as server:
        assert "the server has no JetStream: start it with -js" in refusal(live, server.url)


def test_a_server_that_takes_small_messages_only(tmp_path: Path, live: tuple[Context, Live]) -> None:
    with serving(tmp_path, "max_payload: 65536\n") as server:
        assert "max_payload of the server is 65536 bytes, expected 1048576" in refusal(live, server.url)


def test_a_full_server(tmp_path: Path, live: tuple[Context, Live]) -> None:
    config = f'jetstream: {{store_dir: "{tmp_path}/store", max_file_store: 10MB}}\n'
    with serving(tmp_path, config) as server:
        said = refusal(live, server.url)
        assert "the JetStream is full (insufficient storage resources available): give it room" in said
        assert "--max-gb" in said


def test_streams_in_the_way_and_a_sealed_one(tmp_path: Path, live: tuple[Context, Live]) -> None:
    async def foreign(js: JetStreamContext) -> None:
        await js.add_stream(StreamConfig(name="kalshi-bus", subjects=["weather"]))
        await js.add_stream(StreamConfig(name="greedy", subjects=["other.>"]))
        names = [subject.replace("kalshi-bus", "sealed") for subject in SUBJECTS]
        await js.add_stream(StreamConfig(name="sealed", subjects=names, description=DESCRIPTION))
        await js.update_stream(
            StreamConfig(name="sealed", subjects=names, description=DESCRIPTION, sealed=True)
        )

    with serving(tmp_path) as server:
        do(server.url, foreign)
        said = refusal(live, server.url)
        assert "a stream of this name is there and is not a bridge's (weather): name another one" in said
        assert "another stream is in the way (subjects overlap" in refusal(live, f"{server.url}/other")
        assert "the stream is sealed, so it is read-only" in refusal(live, f"{server.url}/sealed")
        do(server.url, lambda js: js.delete_stream("kalshi-bus"))


def test_a_user_who_may_only_read(tmp_path: Path, live: tuple[Context, Live]) -> None:
    config = """authorization: {users: [
      {user: reader, password: s3cret, permissions: {publish: ["$JS.API.STREAM.INFO.*", "_INBOX.>"]}},
      {user: half, password: s3cret, permissions: {publish: ["$JS.API.>"]}}]}\n"""
    with serving(tmp_path, config) as server:
        for user in ("reader", "half"):
            said = refusal(live, server.url.replace("//", f"//{user}:s3cret@"))
            assert "the server forbids it: permissions violation for publish to" in said.lower()
            assert "s3cret" not in said
        said = refusal(live, server.url.replace("//", "//reader:wr0ng@"))
        assert "the server forbids it: Authorization Violation" in said
        assert "wr0ng" not in said


def test_a_server_of_another_age(live: tuple[Context, Live]) -> None:
    """The hello of a server as it was in 2018."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        peer, _ = listener.accept()
        hello = '{"server_id":"x","version":"1.4.1","go":"go1.11","max_payload":1048576,"proto":1}'
        peer.sendall(f"INFO {hello}\r\n".encode())
        while data := peer.recv(4096):
            peer.sendall(b"PONG\r\n" * data.count(b"PING"))
        peer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        said = refusal(live, f"nats://127.0.0.1:{port}")
        shown = f"nats://127.0.0.1:{port}/kalshi-bus"
        assert said == f"{shown}: the server is nats-server 1.4.1, expected 2.10.0 or later"
    finally:
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    "url",
    ["nats://", "http://x", "nats://h:port", "nats://u:s3cret@:x", "nats://h/a.b", "nats://h/*", "tcp://h:1"],
)
def test_an_address_that_is_none_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StartupError) as error:
        address_of(url)
    assert "expected" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_addresses_are_shown_without_passwords() -> None:
    address = address_of("nats://me:s3cret@a:1,b/mine")
    assert address.servers == ("nats://me:s3cret@a:1", "nats://me:s3cret@b:4222")
    assert address.shown == "nats://a:1,b:4222/mine"


@pytest.fixture(name="at")
def _at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_a_stream_that_fills_up_is_said_and_waited_for(at: World) -> None:
    bridge = at.start()
    replica = at.replica()
    at.publish()
    at.agree(replica)

    def limited(most: int, discard: DiscardPolicy) -> None:
        async def limit(js: JetStreamContext) -> None:
            config = (await js.stream_info("kalshi-bus")).config
            await js.update_stream(config, max_bytes=most, discard=discard)

        do(at.url, limit)

    with capture_logs() as logs:
        limited(1_000, DiscardPolicy.NEW)
        at.publish()
        eventually(
            lambda: [
                log for log in logs if "the JetStream does not take it: maximum" in log.get("problem", "")
            ]
        )
        limited(50_000_000, DiscardPolicy.OLD)
        at.agree(replica)
    assert bridge.error is None


def test_what_somebody_else_writes_into_the_stream_ends_the_bridge_and_no_replica(at: World) -> None:
    bridge = at.start()
    replica = at.replica()
    at.publish()
    at.agree(replica)

    async def spoil(js: JetStreamContext) -> None:
        for payload in (
            b"",
            b"\xff\xfe",
            b"{}",
            encode_batch(Batch(1, 2**53, 2**53, None, [b"\x00", b"md.A.\x00x"])),
        ):
            for subject in SUBJECTS:
                await js.publish(subject, payload)

    do(at.url, spoil)
    assert "another bridge has written to this stream: this one ends" in str(bridge.ended())
    at.start()
    at.publish()
    late = at.replica()
    at.agree(replica, late)


def test_a_stream_that_is_emptied_or_deleted_is_begun_anew(at: World) -> None:
    bridge = at.start()
    replica = at.replica()
    at.publish()
    at.agree(replica)
    do(at.url, lambda js: js.delete_stream("kalshi-bus"))
    at.publish()
    at.agree(replica, at.replica())
    assert bridge.error is None
