"""The bus against its references in the same run: N1, N2, N3, N9, N11 and N12 of docs/performance.md.

Latency and throughput against bare pyzmq and a bare decode-and-apply loop over the same messages, and against
C if gcc and zmq.h are available. Medians of interleaved repeats; read the ratios.
"""

import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import zmq
import zstandard

from bus.ask import ask
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.asks import Ask
from bus.protocol.join import FeedSync
from bus.protocol.messages import (
    RECORD_TYPES,
    Chunk,
    PublisherHealth,
    SnapshotHead,
    decode,
    decode_chunk,
    decode_map,
    encode_map,
)
from bus.protocol.writer import Writer
from bus.replica import Replica
from bus.server import FeedServer
from bus.sockets import RECEIVE_HWM
from bus.tape.file import Frame, Recording, RecordingWriter
from bus.tape.player import MAX_SPEED, Player, serve
from markets.records import Market, Quote, Status
from tests.support import ROOT

from .c_latency import c_latency

REPEATS: Final = int(os.environ.get("BENCH_REPEATS", "5"))
RATE: Final = 2_000
LATENCY_MESSAGES: Final = 4_000
QUOTES: Final = 100_000
HELD: Final = 1_500
EVERYTHING: Final = int(os.environ.get("BENCH_MARKETS", "130000"))
PART: Final = 5_000
BEAT_MESSAGES: Final = 50_000
"""Messages from one heartbeat, with its digests, to the next: no more than the publisher allows at up to
200,000 a second."""

AT_ONCE: Final = 10
"""Messages that a replica finds waiting when they arrive as fast as it takes them."""

PER_SERIES: Final = 26
"""Markets per series, as at Kalshi: 130,000 in about 5,000 series."""

RAW: Final = b'{"rules_primary":"' + b"If the team wins the game, the market resolves to Yes. " * 24 + b'"}'

quote_decoder = msgspec.msgpack.Decoder(Quote)


def a_quote(number: int, change: int) -> Quote:
    bid_e4 = 100 + (number * 37 + change * 100) % 9_700
    return Quote(
        _ticker(number),
        Status.ACTIVE,
        bid_e4,
        bid_e4 + 100,
        9_900 - bid_e4,
        10_000 - bid_e4,
        12_300,
        4_500,
        bid_e4,
        change * 100,
        change * 50,
        777_00,
        None,
        None,
        None,
        1_790_000_000_000 + change,
    )


def a_market(number: int) -> Market:
    return Market(
        _ticker(number),
        f"KXS{number // PER_SERIES}-26NOV22",
        f"KXS{number // PER_SERIES}",
        "Will it?",
        "Yes",
        "binary",
        None,
        None,
        None,
        ((0, 10_000, 100),),
        1,
        2,
        3,
        None,
        4,
        None,
        300,
        "",
        None,
        0,
        RAW,
    )


def _ticker(number: int) -> str:
    return f"KXS{number // PER_SERIES}-26NOV22-M{number}"


def _topic(number: int) -> str:
    return f"md.KXS{number // PER_SERIES}."


def a_writer(markets: int, *, static: bool) -> Writer:
    writer = Writer(1_790_000_000_000)
    for first in range(0, markets, PER_SERIES):
        numbers = range(first, min(first + PER_SERIES, markets))
        if static:
            writer.load([(_topic(first), "market", [a_market(number) for number in numbers])])
        writer.load([(_topic(first), "quote", [a_quote(number, 0) for number in numbers])])
    return writer


def a_sync(writer: Writer) -> FeedSync:
    """Return a replica without sockets that has joined this writer."""
    sync = FeedSync(("",), random.Random(1), 0)
    (ask,) = [action for action in sync.tick(1) if isinstance(action, Ask)]
    head, chunks = the_answer(Answers(lambda: writer.state))
    for frame in writer.heartbeat(PublisherHealth(), 10**9):
        sync.feed(*decode(frame), 1)
    sync.snapshot(ask.id, head, chunks, 1)
    return sync


def the_answer(answers: Answers) -> tuple[SnapshotHead, list[Chunk]]:
    frames = answers.answer(encode_map({"op": "snapshot", "id": 1}), 0)
    decompress = zstandard.ZstdDecompressor().decompress
    return decode_map(frames[0], SnapshotHead), [decode_chunk(decompress(frame)) for frame in frames[1:]]


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(name: str, ours: str, reference: str, ratio: float, reach: str) -> None:
    print(f"| {name} | {ours} | {reference} | {ratio:.2f} | {reach} |", flush=True)


# -- N1: latency


def latency() -> None:
    bare: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    late: list[tuple[float, float]] = []
    hashed: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="kb-") as name:
        for number in range(REPEATS):
            bare.append(_bare_latency(f"ipc://{name}/bare{number}"))
            ours.append(_our_latency(Path(name), number))
            late.append(_our_latency(Path(name), number + REPEATS, "send-late"))
            hashed.append(_our_latency(Path(name), number + 2 * REPEATS, hash_at_once=True))
    variants = (
        ("latency of a quote, stamp to applied", ours, "<= 1.4"),
        ("the same, sent after our own bookkeeping", late, "shown"),
        ("the same, hashed before it counts as applied", hashed, "shown"),
    )
    for what, taken, reach in variants:
        for label, index in (("p50", 0), ("p99", 1)):
            row(
                f"N1 {what}, {label}",
                f"{statistics.median(t[index] for t in taken):.0f} us",
                f"bare pyzmq {statistics.median(b[index] for b in bare):.0f} us",
                statistics.median(t[index] / b[index] for t, b in zip(taken, bare, strict=True)),
                reach if label == "p50" else "shown",
            )
    in_c = c_latency(RATE, LATENCY_MESSAGES)
    if in_c is None:
        print("(C reference left out: it needs gcc and zmq.h, apt-get install gcc libzmq3-dev)")
    else:
        row("N1 p50 beside C", f"{statistics.median(o[0] for o in ours):.0f} us", f"C {in_c:.0f} us",
            statistics.median(o[0] for o in ours) / in_c, "shown")  # fmt: skip


def _percentiles(ns: Sequence[int]) -> tuple[float, float]:
    ordered = sorted(ns)[:]
    return ordered[len(ordered) // 2] / 1e3, ordered[len(ordered) * 99 // 100] / 1e3


def _bare_latency(address: str) -> tuple[float, float]:
    context: zmq.Context[Any] = zmq.Context()
    sub = context.socket(zmq.SUB)
    sub.subscribe(b"")
    sub.bind(address)
    taken: list[int] = []
    with _child("send-bare", address):
        while len(taken) < LATENCY_MESSAGES:
            frame = sub.recv()
            taken.append(time.time_ns() - int.from_bytes(frame[:8], "big"))
    sub.close()
    context.term()
    return _percentiles(taken[200:])


def _our_latency(
    folder: Path, number: int, child: str = "send-ours", *, hash_at_once: bool = False
) -> tuple[float, float]:
    """Return p50 and p99 in us until a reader of the replica sees a quote whose number was checked.

    Its digest is computed when the next heartbeat is compared, or when nothing else is to be done.

    Args:
        child: sends each quote before ("send-ours") or after ("send-late") putting it into its own state.
        hash_at_once: compute the digest first.
    """
    context: zmq.Context[Any] = zmq.Context()
    feed, state = f"ipc://{folder}/f{number}", f"ipc://{folder}/s{number}"
    taken: list[int] = []
    done = threading.Event()

    def applied(actions: Sequence[Any]) -> None:
        if hash_at_once:
            with replica.state.lock:
                replica.state.digest()
        now = time.time_ns()
        for action in actions:
            if type(action).__name__ == "Changed":
                # The time stamp is in the record; nanoseconds do not fit a price, so two counts hold it.
                for _, ticker in action.records:
                    quote = replica.state.quotes[ticker]
                    taken.append(now - ((quote.volume_e2 or 0) * 10**9 + (quote.volume_24h_e2 or 0)))
        if len(taken) >= LATENCY_MESSAGES - 50:
            done.set()

    replica = Replica(context, feed, state, SystemClock(), random.Random(1), listener=applied)
    replica.start()
    with _child(child, feed, state):
        assert done.wait(60)
    replica.stop()
    context.term()
    return _percentiles(taken[200:])


# -- N2, N3: throughput


def throughput() -> None:
    for name, size, reach in (
        ("N2 quotes applied, one a message", 1, ">= 0.75"),
        ("N3 the same, 64 a message", 64, ">= 0.9"),
    ):
        _throughput(name, size, reach)


def _throughput(name: str, size: int, reach: str) -> None:
    frames = _quote_frames(size)
    bare: list[float] = []
    ours: list[float] = []
    bare_ipc: list[float] = []
    ours_ipc: list[float] = []
    for _ in range(REPEATS):
        held: dict[str, Quote] = {}
        sync = a_sync(a_writer(HELD, static=False))
        bare.append(0.0)
        ours.append(0.0)
        for first in range(0, len(frames), PART // size):  # by turns
            part = frames[first : first + PART // size]
            quotes = [frame for frame in part if frame.startswith(b"md.")]
            bare[-1] += seconds(lambda quotes=quotes, held=held: _bare_apply(quotes, held))  # type: ignore[misc]
            ours[-1] += seconds(lambda sync=sync, part=part: _feed(sync, part))  # type: ignore[misc]
        assert sync.state.seq == -(-QUOTES // size)
        assert sync.stats.digests_compared
        assert not sync.stats.digest_mismatches
        bare_ipc.append(_over_ipc(size, _take_bare))
        ours_ipc.append(_over_ipc(size, _take_ours))
    for label, taken, reference in (("", ours, bare), (", over ipc", ours_ipc, bare_ipc)):
        row(
            name + label,
            f"{QUOTES / statistics.median(taken):,.0f}/s",
            f"bare loop {QUOTES / statistics.median(reference):,.0f}/s",
            statistics.median(b / o for o, b in zip(taken, reference, strict=True)),
            reach if reference is bare else "shown",
        )


def _quote_frames(size: int) -> list[bytes]:
    """Return messages with `size` quotes each, of one series, QUOTES in all, and heartbeats."""
    writer = a_writer(HELD, static=False)
    frames = writer.heartbeat(PublisherHealth(), 0)
    for first in range(0, QUOTES, size):
        base = (first * 7) % HELD
        base -= base % PER_SERIES
        quotes = [
            a_quote(min(base + i % PER_SERIES, HELD - 1), first)
            for i in range(first, min(first + size, QUOTES))
        ]
        frames += writer.stream(_topic(base), "quote", quotes, 1, 1)
        if writer.state.seq % BEAT_MESSAGES == 0:
            frames += writer.heartbeat(PublisherHealth(), first)
    if size > 1:
        frames += writer.heartbeat(PublisherHealth(), QUOTES)
    return frames


class _Bare(msgspec.Struct, array_like=True, gc=False):
    """A message of quotes, decoded in one go."""

    version: int
    epoch: int
    seq: int
    prev: int
    kind: str
    cycle: int
    published_ns: int
    source_ns: int
    records: list[Quote]


def _bare_apply(frames: Iterable[bytes], held: dict[str, Quote]) -> None:
    """Decode and apply, and nothing else: no epoch, numbers, digests, or report of changes."""
    take = msgspec.msgpack.Decoder(_Bare).decode
    for frame in frames:
        for quote in take(frame.partition(b"\x00")[2]).records:
            held[quote.ticker] = quote


def _feed(sync: FeedSync, frames: Sequence[bytes]) -> None:
    for first in range(0, len(frames), AT_ONCE):
        sync.hear(frames[first : first + AT_ONCE], 2)


def _over_ipc(size: int, take: Callable[[zmq.Context[Any], str, str, int], float]) -> float:
    """Return the seconds from the first message applied to the last; another process sends at full speed."""
    context: zmq.Context[Any] = zmq.Context()
    with tempfile.TemporaryDirectory(prefix="kb-") as name:
        feed, state = f"ipc://{name}/f", f"ipc://{name}/s"
        with _child("pour", feed, state, str(size)):
            taken = take(context, feed, state, -(-QUOTES // size))
    context.term()
    return taken


def _take_bare(context: zmq.Context[Any], feed: str, state: str, messages: int) -> float:
    sub = context.socket(zmq.SUB)
    sub.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
    sub.subscribe(b"md.")
    sub.connect(feed)
    ask(context, state, {"op": "ping"}, 30_000)
    first = sub.recv()
    start = time.perf_counter()
    held: dict[str, Quote] = {}
    _bare_apply((first,), held)
    _bare_apply((sub.recv() for _ in range(messages - 1)), held)
    taken = time.perf_counter() - start
    sub.close()
    return taken


def _take_ours(context: zmq.Context[Any], feed: str, state: str, messages: int) -> float:
    done = threading.Event()
    times: list[float] = []

    def applied(_actions: Sequence[Any]) -> None:
        if replica.state.seq:
            times.append(time.perf_counter())
            if replica.state.seq >= messages:
                done.set()

    replica = Replica(context, feed, state, SystemClock(), random.Random(1), listener=applied)
    replica.start()
    assert done.wait(60)
    assert replica.status().stats.gaps == 0
    replica.stop()
    return times[-1] - times[0]


def pour(feed: str, state: str, size: str) -> None:
    frames = _quote_frames(int(size))
    sent = threading.Event()

    def go(server: FeedServer, _writer: Writer) -> None:
        def job(bus: FeedServer) -> None:
            bus.send(frames)
            sent.set()

        server.submit(job)
        sent.wait(60)
        time.sleep(2)  # queued messages must be taken before the socket is closed

    _serve_one(feed, state, go, lossless=True)


# -- N9: replay


def replay_speed() -> None:
    ours: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory(prefix="kb-") as name:
        path = Path(name) / "day.mcap"
        _a_recording(path)
        for number in range(REPEATS):
            plain.append(seconds(lambda: _read_and_decode(path)))
            ours.append(_replay(Path(name), path, number))
    row(
        "N9 replay at max speed over ipc, records",
        f"{QUOTES / statistics.median(ours):,.0f}/s",
        f"read and decode loop {QUOTES / statistics.median(plain):,.0f}/s",
        statistics.median(p / o for o, p in zip(ours, plain, strict=True)),
        ">= 0.7",
    )


def _a_recording(path: Path) -> None:
    frames = _quote_frames(16)
    writer = a_writer(HELD, static=False)
    with path.open("wb") as file:
        out = RecordingWriter(file)
        out.keyframe(Answers(lambda: writer.state).answer(encode_map({"op": "snapshot"}), 0), 1)
        for number, frame in enumerate(frames, 1):
            out.frame(frame, 10**9 + number, number)
        out.finish()


def _read_and_decode(path: Path) -> None:
    for item in Recording(path).play():
        if isinstance(item, Frame):
            _, envelope = decode(item.data)
            if envelope.kind == "quote":
                for raw in envelope.records:
                    quote_decoder.decode(raw)


def _replay(folder: Path, path: Path, number: int) -> float:
    """Return the seconds from resume to the last record applied; the replay runs in a process of its own."""
    context: zmq.Context[Any] = zmq.Context()
    feed, state = f"ipc://{folder}/rf{number}", f"ipc://{folder}/rs{number}"
    replica = Replica(context, feed, state, SystemClock(), random.Random(1))
    replica.start()
    with _child("replay", str(path), feed, state) as child:
        assert replica.wait(lambda r: r.status().live, 30)
        start = time.perf_counter()
        _tell(context, state, "resume")
        last = -(-QUOTES // 16)
        assert replica.wait(lambda r: r.state.seq >= last, 60)
        taken = time.perf_counter() - start
        assert ask(context, state, {"op": "replay"})["digest_mismatches"] == 0
        child.terminate()
    replica.stop()
    context.term()
    return taken


def _tell(context: zmq.Context[Any], state: str, action: str) -> None:
    assert ask(context, state, {"op": "replay", "action": action})["ok"]


def play(path: str, feed: str, state: str) -> None:
    stop = Stop()
    context: zmq.Context[Any] = zmq.Context()
    with stop.on_signals():
        player = Player(Recording(Path(path)), SystemClock(), time.time_ns() // 10**6, MAX_SPEED, paused=True)
        serve(context, feed, state, player, stop)
    context.term()


# -- N11, N12: the whole catalogue


def size() -> None:
    cost = {}
    for markets in (1_000, EVERYTHING):
        writer = a_writer(markets, static=False)
        sync = a_sync(writer)
        rng = random.Random(1)
        frames = []
        for change in range(20_000):
            number = rng.randrange(1_000)
            frames += writer.stream(_topic(number), "quote", [a_quote(number, change)], 1, 1)
        parts = [frames[first : first + 4_000] for first in range(0, len(frames), 4_000)]
        gc.freeze()
        cost[markets] = min(seconds(lambda part=part, sync=sync: _feed(sync, part)) for part in parts) / 4_000  # type: ignore[misc]
        gc.unfreeze()
    small, large = cost[1_000], cost[EVERYTHING]
    row(
        f"N11 one update with {EVERYTHING:,} markets held",
        f"{large * 1e6:.2f} us",
        f"with 1,000 {small * 1e6:.2f} us",
        large / small,
        "<= 1.2",
    )


def join() -> None:
    writer = a_writer(EVERYTHING, static=True)
    answers = Answers(lambda: writer.state)
    question = encode_map({"op": "snapshot", "id": 1})
    first = seconds(lambda: answers.answer(question, 0))
    frames = answers.answer(question, 0)
    bytes_ = sum(map(len, frames))
    plain: list[float] = []
    with tempfile.TemporaryDirectory(prefix="kb-") as name:
        feed, state = f"ipc://{name}/f", f"ipc://{name}/s"
        stop = Stop()
        ready = threading.Event()
        thread = threading.Thread(target=_serve_writer, args=(feed, state, writer, answers, ready, stop))
        thread.start()
        assert ready.wait(10)
        taken = []
        for _ in range(REPEATS):  # by turns with the reference
            plain.append(seconds(lambda: _decode_all(frames)))
            context: zmq.Context[Any] = zmq.Context()
            replica = Replica(context, feed, state, SystemClock(), random.Random(1))
            start = time.perf_counter()
            replica.start()
            assert replica.wait(lambda r: r.status().live, 60)
            taken.append(time.perf_counter() - start)
            assert len(replica.state.markets) == EVERYTHING
            replica.stop()
            context.term()
        stop.set()
        thread.join()
    row(
        f"N12 cold replica of {EVERYTHING:,} markets joins ({bytes_ / 1e6:.0f} MB compressed)",
        f"{statistics.median(taken):.2f} s",
        f"decode of the same bytes {statistics.median(plain):.2f} s",
        statistics.median(t / p for t, p in zip(taken, plain, strict=True)),
        "<= 1.5",
    )
    print(f"(the first answer of a server, with nothing cached: {first:.2f} s)")


def _serve_writer(
    feed: str, state: str, writer: Writer, answers: Answers, ready: threading.Event, stop: Stop
) -> None:
    context: zmq.Context[Any] = zmq.Context()
    server = FeedServer(context, feed, state, SystemClock(), PublisherHealth)
    server.answers = answers
    server.open(writer)
    ready.set()
    server.serve(stop)
    context.term()


def _decode_all(frames: Sequence[bytes]) -> None:
    decompress = zstandard.ZstdDecompressor().decompress
    decoders = {kind: msgspec.msgpack.Decoder(type_) for kind, type_ in RECORD_TYPES.items()}
    held: dict[str, dict[int, Any]] = {kind: {} for kind in RECORD_TYPES}
    for frame in frames[1:]:
        for kind, raws in decode_chunk(decompress(frame)).content:
            take, into = decoders[kind].decode, held[kind]
            for raw in raws:
                into[len(into)] = take(raw)


# -- the child processes


def send_bare(address: str) -> None:
    context: zmq.Context[Any] = zmq.Context()
    pub = context.socket(zmq.XPUB)
    pub.connect(address)
    pub.recv()  # the subscription
    body = bytes(92)
    _paced(lambda: pub.send(time.time_ns().to_bytes(8, "big") + body))
    pub.close(linger=1_000)
    context.term()


def send_late(feed: str, state: str) -> None:
    send_ours(feed, state, first=False)


def send_ours(feed: str, state: str, *, first: bool = True) -> None:
    numbers = iter(range(10**9))

    def go(server: FeedServer, writer: Writer) -> None:
        def job(bus: FeedServer) -> None:
            number = next(numbers) % HELD
            now_ns = time.time_ns()
            quote = msgspec.structs.replace(
                a_quote(number, 1), volume_e2=now_ns // 10**9, volume_24h_e2=now_ns % 10**9
            )
            if first:
                bus.publish(_topic(number), "quote", [quote], now_ns, now_ns)
            else:
                bus.send(writer.stream(_topic(number), "quote", [quote], now_ns, now_ns))

        _paced(lambda: server.submit(job))

    _serve_one(feed, state, go)


def _paced(send: Callable[[], None]) -> None:
    start = time.perf_counter()
    for number in range(LATENCY_MESSAGES):
        due = start + number / RATE
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        send()


def _serve_one(
    feed: str, state: str, go: Callable[[FeedServer, Writer], None], *, lossless: bool = False
) -> None:
    """Publish; call `go` once a replica has joined; end a second later."""
    context: zmq.Context[Any] = zmq.Context()
    server = FeedServer(context, feed, state, SystemClock(), PublisherHealth, lossless=lossless)
    writer = a_writer(HELD, static=False)
    server.open(writer)
    stop = Stop()
    joined = threading.Event()
    begin = server.answers.begin

    def note(question: bytes, now_ms: int, to: Sequence[bytes], steady_ms: int) -> list[bytes]:
        joined.set()
        return begin(question, now_ms, to, steady_ms)

    server.answers.begin = note  # type: ignore[method-assign]

    def run() -> None:
        joined.wait(10)
        time.sleep(0.5)
        go(server, writer)
        time.sleep(1)
        stop.set()

    thread = threading.Thread(target=run)
    thread.start()
    server.serve(stop)
    thread.join()
    context.term()


@contextmanager
def _child(*args: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.bench_bus", *args], cwd=ROOT)
    try:
        yield child
    finally:
        child.wait(30)


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    print(__doc__)
    print("| what | ours | reference | ratio | target |\n|---|---|---|---|---|")
    latency()
    throughput()
    replay_speed()
    size()
    join()


_CHILDREN: Final[dict[str, Callable[..., None]]] = {
    "send-bare": send_bare,
    "send-ours": send_ours,
    "send-late": send_late,
    "pour": pour,
    "replay": play,
}

if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    _CHILDREN[sys.argv[1]](*sys.argv[2:])
