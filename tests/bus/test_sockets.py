"""The bus over real sockets: floods, loss, bad networks, hostile peers, peers that come and go."""

import os
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import psutil  # type: ignore[import-untyped]
import pytest
import zmq

import bus.line
import bus.server
import bus.sockets
from bus.ask import NoAnswer, ask
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.messages import PublisherHealth
from bus.replica import Replica
from bus.server import FeedServer
from bus.sockets import bind, make
from markets.errors import StartupError
from tests.bus.hostile import HOSTILE, raw_subscriber
from tests.bus.live import Context, Live
from tests.bus.proxy import FaultProxy
from tests.bus.world import START_MS
from tests.support import eventually

pytestmark = pytest.mark.slow

FILTER = ("md.A.", "ref.", "ex.")
KERNEL_BYTES = 65_536
"""What the kernel holds of what is sent and not yet read, where a test must not depend on the machine."""


@pytest.fixture
def live(zmq_context: Context) -> Iterator[Live]:
    live = Live(zmq_context)
    yield live
    live.close()


Follow = Callable[..., Replica]


@pytest.fixture
def follow(zmq_context: Context, live: Live) -> Iterator[Follow]:
    """Start a replica of `live` (or of other endpoints)."""
    replicas: list[Replica] = []

    def start(topics: tuple[str, ...] = ("",), feed: str = "", state: str = "", **options: Any) -> Replica:
        replica = Replica(
            zmq_context,
            feed or live.feed,
            state or live.state,
            SystemClock(),
            random.Random(len(replicas)),
            topics,
            **options,
        )
        replicas.append(replica)
        replica.start()
        return replica

    yield start
    for replica in replicas:
        replica.stop()


def test_replicas_that_join_during_a_flood_are_exact(live: Live, follow: Follow) -> None:
    """After Bitcoin Core's test_mempool_sync: the state changes all the time while somebody joins."""
    with live.flood():
        before = live.publisher.writer.state.seq
        replicas = []
        for number in range(6):
            replicas.append(follow(FILTER if number % 3 == 2 else ("",)))
            assert replicas[-1].wait(lambda r: r.status().live, 30)
        assert live.publisher.writer.state.seq > before + 1_000
    for replica in replicas:
        eventually(lambda replica=replica: live.agrees(replica))  # type: ignore[misc]
        assert replica.status().stats.digest_mismatches == 0
        assert not replica.status().degraded


def test_loss_by_high_water_mark_is_noticed_and_repaired(
    zmq_context: Context, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.sockets, "RECEIVE_HWM", 1)
    monkeypatch.setattr(bus.sockets, "SEND_HWM", 1)
    live = Live(zmq_context)
    sleepy = threading.Event()
    replica = follow(feed=live.feed, state=live.state, listener=lambda _actions: sleepy.wait(0.2) and None)
    try:
        assert replica.wait(lambda r: r.status().live, 30)
        with live.flood():
            assert replica.wait(lambda r: r.status().stats.gaps > 1, 30)
        sleepy.set()
        eventually(lambda: live.agrees(replica))
    finally:
        live.close()
    assert replica.status().stats.resyncs > 0
    assert replica.status().stats.digest_mismatches == 0


def test_publisher_restart_is_followed(zmq_context: Context, live: Live, follow: Follow) -> None:
    replica = follow()
    assert replica.wait(lambda r: r.status().live, 30)
    old_epoch, ports = replica.state.epoch, (live.port("feed"), live.port("state"))
    live.do(live.publisher.commit)
    live.close()
    again = Live(zmq_context, START_MS + 5, ports)
    try:
        again.do(again.publisher.stream)
        assert replica.wait(lambda r: r.state.epoch > old_epoch and r.status().live, 30)
        eventually(lambda: again.agrees(replica))
    finally:
        again.close()
        live._stop = Stop()


@pytest.fixture
def feed_proxy(live: Live) -> Iterator[FaultProxy]:
    proxy = FaultProxy(live.port("feed"))
    yield proxy
    proxy.close()


def test_replicas_follow_a_flood_through_a_bad_network(
    zmq_context: Context, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bitcoin Core's scheme, with every queue one message long and a proxy that does its worst meanwhile."""
    monkeypatch.setattr(bus.sockets, "RECEIVE_HWM", 1)
    monkeypatch.setattr(bus.sockets, "SEND_HWM", 1)
    live = Live(zmq_context)
    monkeypatch.setattr(bus.sockets, "SEND_HWM", 10)  # a subscriber's own queue has to hold its subscriptions
    feed, state = FaultProxy(live.port("feed")), FaultProxy(live.port("state"))
    try:
        replicas: list[Replica] = []

        def join(topics: tuple[str, ...]) -> None:
            replicas.append(follow(topics, feed=feed.endpoint, state=state.endpoint))

        def gone_on(messages: int) -> None:
            until = live.publisher.writer.state.seq + messages
            eventually(lambda: live.publisher.writer.state.seq > until, 30)

        with live.flood():
            join(("",))
            join(FILTER)
            gone_on(10_000)
            for proxy in (feed, state):
                proxy.corrupt = 20
            join(("",))
            gone_on(10_000)
            for proxy in (feed, state):
                proxy.corrupt = 0
                proxy.delay_s = 0.01
            join(FILTER)
            gone_on(10_000)
            for _ in range(3):
                feed.cut()
                state.cut()
                gone_on(2_000)
            state.black_hole = True
            feed.cut()
            join(("",))
            gone_on(10_000)
        for proxy in (feed, state):
            proxy.delay_s, proxy.black_hole = 0, False
            proxy.cut()
        for replica in replicas:
            eventually(lambda replica=replica: live.agrees(replica), 40)  # type: ignore[misc]
            assert not replica.status().degraded
        assert sum(replica.status().stats.gaps for replica in replicas) > 0
    finally:
        for proxy in (feed, state):
            proxy.close()
        live.close()


def test_cut_and_delayed_line_loses_nothing_for_good(
    live: Live, follow: Follow, feed_proxy: FaultProxy
) -> None:
    replica = follow(feed=feed_proxy.endpoint)
    assert replica.wait(lambda r: r.status().live, 30)
    for _ in range(3):
        accepted = feed_proxy.connections
        feed_proxy.cut()
        live.do(live.publisher.commit, *[live.publisher.stream] * 50)
        eventually(lambda accepted=accepted: feed_proxy.connections > accepted)  # type: ignore[misc]
    feed_proxy.delay_s = 0.05
    live.do(live.publisher.commit)
    eventually(lambda: live.agrees(replica))


def test_slow_line_of_a_few_kilobytes_a_second_is_followed(
    live: Live, follow: Follow, feed_proxy: FaultProxy
) -> None:
    feed_proxy.bytes_per_s = 8_000
    replica = follow(feed=feed_proxy.endpoint)
    assert replica.wait(lambda r: r.status().live, 30)
    live.do(*[live.publisher.stream] * 50, live.publisher.commit)
    eventually(lambda: live.agrees(replica), 20)
    assert replica.status().stats.digest_mismatches == 0


def test_damaged_bytes_are_refused_or_repaired(live: Live, follow: Follow, feed_proxy: FaultProxy) -> None:
    replica = follow(feed=feed_proxy.endpoint)
    assert replica.wait(lambda r: r.status().live, 30)
    feed_proxy.corrupt = 3
    for _ in range(30):
        live.do(live.publisher.stream, live.publisher.commit)
    feed_proxy.corrupt = 0
    feed_proxy.cut()
    live.do(live.publisher.commit)
    eventually(lambda: live.agrees(replica), 20)


def test_black_hole_is_told_and_left_by_itself(live: Live, follow: Follow, feed_proxy: FaultProxy) -> None:
    events: list[str] = []
    replica = follow(
        feed=feed_proxy.endpoint,
        listener=lambda actions: events.extend(getattr(action, "event", "") for action in actions),
    )
    assert replica.wait(lambda r: r.status().live, 30)
    feed_proxy.black_hole = True
    live.do(live.publisher.commit)
    assert replica.wait(lambda r: r.status().lost, 30)
    assert not replica.status().live
    assert replica.state.quotes, "the last good data goes on being served"
    accepted = feed_proxy.connections
    eventually(lambda: feed_proxy.connections > accepted, what="the socket is rebuilt")
    feed_proxy.black_hole = False
    feed_proxy.cut()
    assert replica.wait(lambda r: r.status().live, 30)
    eventually(lambda: live.agrees(replica))
    assert "lost" in events
    assert "found" in events


def test_replica_whose_listener_raised_does_not_pass_for_live(
    live: Live, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    raised: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))

    def listen(_actions: object) -> None:
        if broken.is_set():
            raise LookupError("a user's mistake")

    replica = follow(listener=listen)
    assert replica.wait(lambda r: r.status().live, 30)
    broken.set()
    live.do(live.publisher.commit)
    eventually(lambda: replica.status().lost)
    assert not replica.status().live
    assert [type(error) for error in raised] == [LookupError]


def test_sleeping_subscriber_costs_nobody_anything_and_resyncs(
    zmq_context: Context, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def narrow(*args: Any) -> zmq.Socket[bytes]:
        # A kernel with much memory holds all that is published here for the sleeper, and it loses nothing.
        made = make(*args)
        made.sndbuf = made.rcvbuf = KERNEL_BYTES
        return made

    for module in (bus.server, bus.line):
        monkeypatch.setattr(module, "make", narrow)
    monkeypatch.setattr(bus.sockets, "SEND_HWM", 1_000)
    live = Live(zmq_context)
    awake = threading.Event()
    process = psutil.Process()
    try:
        others = [follow(topics, feed=live.feed, state=live.state) for topics in (("",), FILTER)]
        monkeypatch.setattr(bus.sockets, "RECEIVE_HWM", 1)
        events: list[str] = []

        def listen(actions: Sequence[Any]) -> None:
            events.extend(getattr(action, "event", "") for action in actions)
            awake.wait(30)

        awake.set()
        sleeper = follow(feed=live.feed, state=live.state, listener=listen)
        for replica in (*others, sleeper):
            assert replica.wait(lambda r: r.status().live, 30)
        awake.clear()
        before = process.memory_info().rss
        for turn in range(150):
            live.do(*[live.publisher.stream] * 200, live.publisher.commit)
            seq = live.publisher.writer.state.seq
            for replica in others:  # no faster than they: they are not the ones to lose anything
                heard = replica._sync._coverage
                assert replica.wait(lambda r, seq=seq, heard=heard: max(r.state.seq, heard.heard) >= seq, 30)  # type: ignore[misc]
            if turn == 20:
                before = process.memory_info().rss
        assert process.memory_info().rss - before < 60_000_000
        assert sleeper.state.seq < seq
        for replica in others:
            eventually(lambda replica=replica: live.agrees(replica))  # type: ignore[misc]
            assert replica.status().stats.gaps == 0
        awake.set()
        eventually(lambda: live.agrees(sleeper))
        assert "gap" in events
        eventually(lambda: "resynced" in events)
    finally:
        awake.set()
        live.close()


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("of", ["feed", "state"])
def test_hostile_peers_get_no_message_in_and_harm_nobody(
    live: Live, follow: Follow, zmq_context: Context, of: str, what: str
) -> None:
    asked: list[bytes] = []
    begin = live.server.answers.begin

    def note(question: bytes, now_ms: int, to: Sequence[bytes], steady_ms: int) -> list[bytes]:
        asked.append(question)
        return begin(question, now_ms, to, steady_ms)

    live.server.answers.begin = note  # type: ignore[method-assign]
    held = [socket.create_connection(("127.0.0.1", live.port(of))) for _ in range(5)]
    try:
        for peer in held:
            peer.sendall(HOSTILE[what])
        replica = follow()
        assert replica.wait(lambda r: r.status().live, 30)
        live.do(live.publisher.commit)
        eventually(lambda: live.agrees(replica))
        assert ask(zmq_context, live.state, {"op": "ping", "id": 1})["id"] == 1
        assert {msgpack.unpackb(question)["op"] for question in asked} <= {"ping", "snapshot"}
        assert "hostile" not in {msgpack.unpackb(question)["id"] for question in asked}
        assert replica.status().stats.undecodable == 0
    finally:
        for peer in held:
            peer.close()


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 3_000,
        msgpack.packb([1, 2]),
        msgpack.packb({"op": "snapshot", "streams": "md."}),
        msgpack.packb({"op": "snapshot", "since": "yesterday"}),
        b"\x83\xa2op\xa4ping\xc4\x01b\x01\xa1c\x01",  # two keys that are not known, one of them of bytes
        b"\x82\xa2op\xa4ping\xa2op\xa4ping",
        msgpack.packb({"op": "dance"}),
        msgpack.packb({"op": ["ping"]}),
        msgpack.packb({"op": "ping", "id": {"a": 1}}),
        msgpack.packb({"op": "ping", "extra": 1}),
        msgpack.packb({"op": "\u202e" + "x" * 10_000}),
    ],
)
def test_malformed_question_gets_an_error_and_the_next_its_answer(
    live: Live, zmq_context: Context, question: bytes
) -> None:
    client = make(zmq_context, zmq.REQ, 1_000_000)
    try:
        client.connect(live.state)
        client.send(question)
        assert client.poll(30_000)
        answer = msgpack.unpackb(client.recv())
        assert not answer["ok"]
        assert answer["error"]["code"] in ("bad_request", "unknown_op")
        client.send(msgpack.packb({"op": "ping", "id": 9}))
        assert client.poll(30_000)
        assert msgpack.unpackb(client.recv())["id"] == 9
    finally:
        client.close()


def test_oversized_question_and_odd_envelopes_harm_their_sender_only(
    live: Live, zmq_context: Context
) -> None:
    dealer = make(zmq_context, zmq.DEALER, 1_000_000)
    try:
        dealer.connect(live.state)
        dealer.send_multipart([b"", b"x" * 2_000_000])
        dealer.send_multipart([b"a", b"b", b"c", b"d"])
        dealer.send_multipart([b"not a delimiter", b"x"])
        assert ask(zmq_context, live.state, {"op": "ping"})["ok"]
        eventually(lambda: ask(zmq_context, live.state, {"op": "ping"})["ok"])
    finally:
        dealer.close()


@pytest.mark.parametrize("frames", [[b"one", b"other"], [b"one", b"", b"two", b"three"]])
def test_a_question_of_several_frames_gets_an_error(
    live: Live, zmq_context: Context, frames: list[bytes]
) -> None:
    req = make(zmq_context, zmq.REQ, 10_000)
    try:
        req.connect(live.state)
        req.send_multipart(frames)
        (answer,) = req.recv_multipart()
        assert msgpack.unpackb(answer)["error"]["code"] == "bad_request"
    finally:
        req.close()


def test_client_that_asks_and_never_reads_is_its_own_problem(live: Live, zmq_context: Context) -> None:
    dealer = make(zmq_context, zmq.DEALER, 1_000_000)
    dealer.setsockopt(zmq.RCVHWM, 1)
    process = psutil.Process()
    try:
        dealer.connect(live.state)
        before = process.memory_info().rss
        for _ in range(5_000):
            dealer.send_multipart([b"", msgpack.packb({"op": "snapshot"})])
        assert ask(zmq_context, live.state, {"op": "ping"}, 10_000)["ok"]
        assert process.memory_info().rss - before < 100_000_000
    finally:
        dealer.close()


@pytest.mark.parametrize(
    "subscriptions",
    [
        pytest.param(b"\0\2\1a\0\2\0a" * 10_000, id="in and out"),
        pytest.param(b"".join(b"\0\7\1%06d" % number for number in range(20_000)), id="very many"),
    ],
)
def test_peer_that_subscribes_without_end_silences_nobody(
    live: Live, zmq_context: Context, subscriptions: bytes
) -> None:
    subscriber = make(zmq_context, zmq.SUB, 1_000_000)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    subscriber.connect(live.feed)
    stop = threading.Event()
    sent = 0

    def pour() -> None:
        nonlocal sent
        with raw_subscriber(live.port("feed")) as peer:
            while not stop.is_set():
                peer.sendall(subscriptions)
                sent += len(subscriptions)

    process = psutil.Process()
    before = process.memory_info().rss
    thread = threading.Thread(target=pour)
    thread.start()
    try:
        for _ in range(8):  # heartbeats, 250 ms apart
            assert subscriber.poll(30_000)
            subscriber.recv()
            assert ask(zmq_context, live.state, {"op": "ping"}, 10_000)["ok"]
        eventually(lambda: sent > 2 * len(subscriptions), what="much is poured in")
        assert process.memory_info().rss - before < 100_000_000
    finally:
        stop.set()
        thread.join()
        subscriber.close()


def test_newcomers_are_welcomed_soon_and_many_together(live: Live, zmq_context: Context) -> None:
    newcomers = []
    watching = make(zmq_context, zmq.SUB, 1_000_000)
    watching.setsockopt(zmq.SUBSCRIBE, b"hb.")
    watching.connect(live.feed)
    try:
        assert watching.poll(30_000)
        began_ns, beats = SystemClock().monotonic_ns(), 0
        while (passed_s := (SystemClock().monotonic_ns() - began_ns) / 1e9) < 1:
            newcomer = make(zmq_context, zmq.SUB, 1_000_000)
            newcomers.append(newcomer)
            newcomer.setsockopt(zmq.SUBSCRIBE, b"hb.")
            newcomer.connect(live.feed)
            assert newcomer.poll(30_000)
        while watching.poll(0):
            watching.recv()
            beats += 1
        assert beats <= passed_s * 10 + 3
    finally:
        for one in (watching, *newcomers):
            one.close()


def test_second_publisher_on_an_endpoint_is_refused_with_what_to_do(zmq_context: Context, live: Live) -> None:
    with pytest.raises(StartupError, match="KALSHI_BUS_FEED"):
        FeedServer(zmq_context, live.feed, "tcp://127.0.0.1:*", SystemClock(), PublisherHealth)


def test_foreign_file_at_an_ipc_path_is_not_removed(zmq_context: Context, short_dir: Path) -> None:
    path = short_dir / "feed.sock"
    path.write_text("precious")
    pub = make(zmq_context, zmq.PUB, 1_000)
    try:
        with pytest.raises(StartupError, match="not a socket"):
            bind(pub, "feed", f"ipc://{path}")
    finally:
        pub.close()
    assert path.read_text() == "precious"


def test_socket_left_by_a_killed_process_is_taken_over(zmq_context: Context, short_dir: Path) -> None:
    path = short_dir / "feed.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    pub = make(zmq_context, zmq.PUB, 1_000)
    try:
        assert bind(pub, "feed", f"ipc://{path}") == f"ipc://{path}"
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        pub.close()


def test_nobody_there_is_said_in_time(zmq_context: Context, short_dir: Path) -> None:
    with pytest.raises(NoAnswer, match="no answer"):
        ask(zmq_context, f"ipc://{short_dir}/nobody", {"op": "ping"}, 50)


def test_300_clients_at_a_time_come_and_go_and_leave_nothing_behind(live: Live) -> None:
    process = psutil.Process()

    def crowd() -> None:
        context: Context = zmq.Context()
        context.linger = 0
        subscribers = [context.socket(zmq.SUB) for _ in range(300)]
        for subscriber in subscribers:
            subscriber.subscribe(b"hb.")
            subscriber.connect(live.feed)
        try:
            for subscriber in subscribers:
                assert subscriber.poll(30_000)
            assert ask(live._context, live.state, {"op": "ping"})["ok"]
        finally:
            for subscriber in subscribers:
                subscriber.close()
            context.term()

    crowd()
    descriptors, memory = process.num_fds(), process.memory_info().rss
    for _ in range(int(os.environ.get("TEST_CROWDS", "3"))):
        crowd()
    eventually(lambda: process.num_fds() <= descriptors + 2)
    assert process.memory_info().rss - memory < 60_000_000  # a crowd that stays takes more each time


def test_clients_that_come_and_go_leave_nothing_behind(live: Live) -> None:
    process = psutil.Process()

    def come_and_go(count: int) -> None:
        for _ in range(count):
            context: Context = zmq.Context()
            context.linger = 0
            sub = context.socket(zmq.SUB)
            sub.subscribe(b"")
            sub.connect(live.feed)
            req = context.socket(zmq.REQ)
            req.connect(live.state)
            req.send(msgpack.packb({"op": "snapshot"}))
            assert sub.poll(30_000)
            if _ % 3:
                assert req.poll(30_000)
                req.recv_multipart()
            sub.close()
            req.close()
            context.term()

    come_and_go(20)
    descriptors = process.num_fds()
    memory = process.memory_info().rss
    come_and_go(int(os.environ.get("TEST_CLIENTS", "100")))
    eventually(lambda: process.num_fds() <= descriptors + 2)
    assert process.memory_info().rss - memory < 60_000_000  # a crowd that stays takes more each time
