"""A real nats-server, a publisher, bridges and remote replicas, all on this machine."""

import asyncio
import gc
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import nats
import zmq

from bridge.run import Bridge
from bridge.store import Limits
from bus.clock import SystemClock
from bus.jetstream.stored import address_of, decode_batch
from bus.process.lifecycle import Stop
from bus.protocol.messages import decode
from bus.replica import Replica
from tests.bus.live import Live
from tests.support import TIMEOUT_S, eventually, free_ports

Context = zmq.Context[Any]
SERVER: Final = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
LEAVES_OPEN: Final = "ignore:unclosed <StreamWriter:ResourceWarning"
"""nats-py does, when a server that it connects to does not speak."""

LIMITS: Final = Limits(max_bytes=50_000_000, duplicate_window_s=0.1, watch_s=0.6)


class NatsServer:
    """A nats-server with a folder of its own; it can be killed and started again."""

    def __init__(self, folder: Path, config: str = "", *, jetstream: bool = True, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        folder.mkdir(exist_ok=True)
        text = f'listen: "127.0.0.1:{self.port}"\n'
        if jetstream and "jetstream" not in config:
            text += f'jetstream: {{store_dir: "{folder}/store"}}\n'
        (folder / "nats.conf").write_text(text + config)
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as output:
            self.popen = subprocess.Popen(
                [SERVER, "-c", str(self.folder / "nats.conf")], stdout=output, stderr=output
            )
        eventually(lambda: b"Server is ready" in (self.folder / "log").read_bytes() or self.popen.poll())

    def kill(self) -> None:
        """SIGKILL."""
        self.popen.kill()
        self.popen.wait(TIMEOUT_S)
        (self.folder / "log").write_bytes(b"")


class Running:
    """A bridge in a thread; `kill` ends it without a word, as a signal would."""

    def __init__(
        self, context: Context, live: Live, url: str, limits: Limits = LIMITS, seed: int = 1
    ) -> None:
        self.stop = Stop()
        self.error: BaseException | None = None
        self.bridge = Bridge(
            context, live.feed, live.state, address_of(url), SystemClock(), random.Random(seed), limits
        )
        self._thread = threading.Thread(target=self._run, name="bridge")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.bridge.run(self.stop)
        except BaseException as error:  # noqa: BLE001  # told to the test
            self.error = error

    def ended(self) -> BaseException | None:
        """Wait until the bridge has ended by itself; return why."""
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        return self.error

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
        self.stop.close()
        if self.error is not None:
            print(f"the bridge ended: {type(self.error).__name__}: {self.error}")


class World:
    """A server, a publisher, a bridge.

    Attributes:
        bridge: the one that runs; `restart` puts another in its place.
    """

    def __init__(self, context: Context, folder: Path) -> None:
        self.context = context
        self.server = NatsServer(folder / "nats")
        self.live = Live(context)
        self.url = self.server.url
        self._bridges: list[Running] = []
        self._replicas: list[Replica] = []
        self._seeds = iter(range(1, 1_000))

    def start(self, url: str = "", limits: Limits = LIMITS) -> Running:
        bridge = Running(self.context, self.live, url or self.url, limits, next(self._seeds))
        self._bridges.append(bridge)
        return bridge

    def replica(self, topics: Sequence[str] = ("",), url: str = "") -> Replica:
        """Return a remote replica."""
        rng = random.Random(next(self._seeds))
        replica = Replica(self.context, url or self.url, "", SystemClock(), rng, topics)
        self._replicas.append(replica)
        replica.start()
        return replica

    def publish(self, count: int = 20) -> None:
        """Publish so many messages, and a commit."""
        self.live.do(*[self.live.publisher.stream] * count, self.live.publisher.commit)

    @contextmanager
    def pour(self) -> Iterator[None]:
        """Publish some thousand messages a second while the block runs."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.01):
                self.publish(40)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def wait_published(self, count: int) -> None:
        """Wait until so many messages more have been published."""
        state = self.live.publisher.writer.state
        before = state.seq
        eventually(lambda: state.seq >= before + count, 60)

    def agree(self, *replicas: Replica, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until these are live and have the digests of the publisher."""
        eventually(lambda: all(map(self.live.agrees, replicas)), timeout_s, "the digests agree")

    def succeed(self) -> None:
        """Put a publisher of the next epoch in the place of this one."""
        ports = [self.live.port("feed"), self.live.port("state")]
        self.live.close()
        self.live = Live(self.context, self.live.publisher.writer.state.epoch + 1, ports)

    def close(self) -> None:
        for replica in self._replicas:
            replica.stop()
        for bridge in self._bridges:
            bridge.close()
        self.live.close()
        self.server.kill()


@contextmanager
def world(folder: Path) -> Iterator[World]:
    context = Context()
    made = World(context, folder)
    try:
        yield made
    finally:
        made.close()
        context.term()
        gc.collect()  # what the client library leaves open is to be found here, where it is known


def stored_numbers(url: str) -> list[tuple[int, int]]:
    """Return (epoch, seq) of every numbered message in a stream, in order."""

    async def read() -> list[tuple[int, int]]:
        client = await nats.connect(url)
        js = client.jetstream()
        stream = address_of(url).stream
        info = await js.stream_info(stream)
        found = []
        for seq in range(info.state.first_seq, info.state.last_seq + 1):
            message = await js.get_msg(stream, seq=seq)
            if message.subject == f"{stream}.feed":
                for frame in decode_batch(message.data or b"").frames:
                    _, envelope = decode(frame)
                    if envelope.kind != "heartbeat":
                        found.append((envelope.epoch, envelope.seq))
        await client.close()
        return found

    return asyncio.run(read())
