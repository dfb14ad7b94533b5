"""After any loss every copy is proven again in time, by whoever can answer, and says so meanwhile."""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import zmq
import zstandard

from bus.ask import ask
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.agreement import WHOLE
from bus.protocol.answers import Answers
from bus.protocol.messages import decode_map, encode_map, unpack_chunk
from bus.protocol.state import State
from bus.replica import Replica, SteppedReplica
from bus.server import FeedServer, QueryServer
from markets.errors import StartupError
from tests.bus.live import Context, Live
from tests.bus.protocol.lines import Line
from tests.bus.repair import check_repairs
from tests.support import TIMEOUT_S, eventually, free_ports


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_copy_is_proven_in_time_after_any_loss(seed: int) -> None:
    assert len(check_repairs(seed, 12)) == 12


# -- the proof


def test_a_heartbeat_proves_the_whole() -> None:
    line = Line()
    line.settle(1)
    seq = line.publisher.writer.state.seq
    assert line.node.sync.proven == (line.node.state.epoch, seq)
    assert line.node.sync.status(0).proven_seq == seq


def test_what_no_heartbeat_lists_any_more_is_found_by_the_digest_of_the_whole() -> None:
    line = Line()
    for _ in range(12):
        line.settle(1)  # until the window has passed all that ever changed
    heartbeat = line.node.sync.heartbeat
    assert heartbeat is not None
    assert not heartbeat.streams
    state = line.node.state
    with state.lock:
        state._drop(state.streams["md.A."], "market", "A-1-X")
    line.settle(3)
    assert line.node.sync.stats.digest_mismatches == 1
    assert line.events()[-2:] == ["gap", "resynced"]
    assert line.agrees()
    assert line.node.sync.proven[1] == line.publisher.writer.state.seq


def test_a_whole_that_stays_another_is_given_up_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    monkeypatch.setattr(type(line.publisher.writer.state), "digest", lambda _state: 1)
    monkeypatch.setattr(
        "bus.protocol.agreement.Agreement.check", lambda *_: line.node.sync._agreement.compare
    )
    heartbeats = line.publisher.heartbeat
    monkeypatch.undo()

    def lying() -> list[bytes]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(line.publisher.writer.state), "digest", lambda _state: 1)
            return heartbeats()

    monkeypatch.setattr(line.publisher, "heartbeat", lying)
    for _ in range(8):
        line.settle(1)
    assert line.node.sync.degraded == {WHOLE}
    assert line.events().count("degraded") == 1
    assert line.node.sync.stats.resyncs <= 2
    assert line.node.live


def test_an_answer_that_does_not_fit_its_digest_is_asked_for_again() -> None:
    line = Line(joined=False)
    answer = line.server.answer
    wrong = [True]

    def once_wrong(question: bytes, now_ms: int) -> list[bytes]:
        head, *chunks = answer(question, now_ms)
        said = decode_map(head, dict)
        if wrong.pop() if wrong else False:
            said["digest"] ^= 1
        return [encode_map(said), *chunks]

    line.server.answer = once_wrong  # type: ignore[method-assign]
    line.settle(2)
    assert line.node.sync.stats.digest_mismatches == 1
    line.settle(3)
    assert line.node.live
    assert not line.node.sync.degraded
    assert line.agrees()


# -- what is said meanwhile


def test_resyncing_says_since_when_why_and_how_far() -> None:
    line = Line()
    line.settle(1)
    line.publisher.stream()
    for _ in range(3):
        line.send(line.publisher.stream())
    line.now_ms += 1_000
    line.node.take_feed(line.now_ms, 3)
    status = line.node.sync.status(0, line.now_ms + 300)
    assert (status.feed, status.live) == ("resyncing", False)
    resync = status.resync
    assert resync is not None
    assert (resync.why, resync.step, resync.behind, resync.asked) == ("missing", "asked", 4, 1)
    assert resync.for_ms == 300
    line.answer()
    status = line.node.sync.status(0, line.now_ms)
    assert (status.feed, status.resync) == ("live", None)


def test_a_new_epoch_is_resyncing_too_and_a_first_join_is_not() -> None:
    line = Line(joined=False)
    assert (line.node.sync.status(0).feed, line.node.sync.status(0).resync) == ("joining", None)
    line.settle()
    line.publisher = line.publisher.succeed(line.publisher.writer.state.epoch + 1)
    line.send(line.publisher.heartbeat())
    line.node.take_feed(line.now_ms)
    status = line.node.sync.status(0, line.now_ms)
    assert status.resync is not None
    assert (status.feed, status.resync.why, status.resync.behind) == ("resyncing", "epoch", None)
    line.settle()
    assert line.node.sync.status(0).resync is None


# -- who is asked


class Query:
    """A snapshot server's `query`, as far as a replica needs it, that can be ended."""

    def __init__(self, context: Context, answers: Answers, address: str = "tcp://127.0.0.1:*") -> None:
        self.asked = 0
        begin = answers.begin

        def counted(question: bytes, now_ms: int, to: Sequence[bytes], steady_ms: int) -> list[bytes]:
            self.asked += 1
            return begin(question, now_ms, to, steady_ms)

        answers.begin = counted  # type: ignore[method-assign]
        server = QueryServer(context, address, answers, SystemClock().now_ms)
        self.address = server.address
        self._stop = Stop()
        self._thread = threading.Thread(target=server.serve, args=(self._stop,))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()


@pytest.mark.parametrize("kind", [Replica, SteppedReplica])
def test_while_nobody_answers_what_was_lost_comes_from_the_spare(
    zmq_context: Context, kind: type[Replica | SteppedReplica]
) -> None:
    live = Live(zmq_context)
    upstream = Replica(zmq_context, live.feed, live.state, SystemClock(), random.Random(1))
    query = Query(zmq_context, Answers(lambda: upstream.state))
    replica = kind(zmq_context, live.feed, query.address, SystemClock(), random.Random(2), spare=live.state)
    upstream.start()
    replica.start()

    def agrees() -> bool:
        if isinstance(replica, SteppedReplica):
            replica.step(0.05)
        return live.agrees(replica)

    try:
        eventually(agrees, TIMEOUT_S, "it joins by query")
        query.close()
        gaps = replica.status().stats.gaps
        live.do(lambda: live.publisher.stream()[:0], live.publisher.stream)  # the first is never sent
        eventually(lambda: agrees() and replica.status().stats.gaps > gaps, 3, "it is repaired by state")
        assert replica.status().stats.gaps == gaps + 1
    finally:
        replica.stop()
        upstream.stop()
        live.close()


def test_a_question_to_whoever_is_gone_is_asked_again_at_once(
    zmq_context: Context, zmq_socket: Callable[..., zmq.Socket[bytes]]
) -> None:
    live = Live(zmq_context)
    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    mute = zmq_socket(zmq.ROUTER)
    mute.bind(address)
    replica = Replica(zmq_context, live.feed, address, SystemClock(), random.Random(1))
    replica.start()
    query = None
    try:
        assert mute.poll(30_000)  # the question is there, and will never be answered
        mute.close()
        assert replica.wait(lambda r: r.status().stats.asks >= 2, 3), (
            "not within 3 s"  # long before it is given up
        )
        query = eventually(lambda: _bound(zmq_context, live, address))
        assert replica.wait(lambda r: r.status().live, TIMEOUT_S)
    finally:
        replica.stop()
        if query is not None:
            query.close()
        live.close()


def _bound(context: Context, live: Live, address: str) -> Query | None:
    try:
        return Query(context, Answers(lambda: live.publisher.writer.state), address)
    except StartupError:
        return None


# -- slices


def test_the_feed_goes_on_while_the_whole_is_made_and_it_is_of_one_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CAPTURE_RECORDS", "LAST_RECORDS", "SETTLE_RECORDS", "ENCODE_RECORDS"):
        monkeypatch.setattr(f"bus.protocol.answers.{name}", 4 if name != "LAST_RECORDS" else 40)
    line = Line()
    asked = encode_map({"op": "snapshot", "id": 1})
    assert line.server.begin(asked, 0, (b"who",), 0) == []
    slices = 0
    told: list[list[bytes]] = []
    while not told:
        slices += 1
        line.publisher.stream()
        line.publisher.remember()
        told = line.server.due(0)
    assert slices > 5
    assert told[0][0] == b"who"
    head = decode_map(told[0][1], dict)
    assert head["digest"] == line.publisher.history[head["epoch"], head["as_of"]]
    assert not line.server.busy


@pytest.mark.parametrize("passes", [20, 1])
@pytest.mark.parametrize("offset", range(4))
def test_a_large_stream_that_changes_while_it_is_noted_in_parts_is_whole_and_of_one_moment(
    monkeypatch: pytest.MonkeyPatch, offset: int, passes: int
) -> None:
    for name, value in (("CAPTURE_RECORDS", 3), ("LAST_RECORDS", 20), ("PASSES", passes)):
        monkeypatch.setattr(f"bus.protocol.answers.{name}", value)
    line = Line()
    state = line.publisher.writer.state
    large = max(state.streams.values(), key=lambda stream: sum(map(len, stream.keys.values())))
    assert sum(map(len, large.keys.values())) > 3
    assert line.server.begin(encode_map({"op": "snapshot", "id": 1}), 0, (), 0) == []
    told: list[list[bytes]] = []
    slices, chunk, moments = 0, None, set[tuple[int, int]]()
    while not told:
        slices += 1
        if slices % 3 == 0:
            line.publisher.stream()
        with state.lock:  # as a repair does: other content, and no later number
            if (slices + offset) % 4 == 1:
                (chunk,) = state.chunk(large.topic)
                state.clear_stream(large.topic)
            elif (slices + offset) % 4 == 3 and chunk:
                state.put_chunk(chunk)
        moments.add((state.seq, state.digest()))
        told = line.server.due(0)
    head = decode_map(told[0][0], dict)
    copy = State(head["epoch"])
    with copy.lock:
        for frame in told[0][1:]:
            copy.put_chunk(unpack_chunk(frame, zstandard.ZstdDecompressor()))
    assert copy.digest() == head["digest"]
    assert (head["as_of"], head["digest"]) in moments


def test_a_stream_that_was_put_right_without_a_later_number_is_noted_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bus.protocol.answers.LAST_RECORDS", 0)
    line = Line()
    state = line.publisher.writer.state
    assert line.server.begin(encode_map({"op": "digest", "id": 1}), 0, (), 0) == []
    assert line.server.due(0) == []  # what there is
    assert line.server.due(0) == []  # noted
    topic = next(topic for topic, stream in state.streams.items() if stream.keys["quote"])
    with state.lock:
        state.clear_stream(topic)
    told: list[list[bytes]] = []
    while not told:
        told = line.server.due(0)
    assert decode_map(told[0][0], dict)["digest"] == f"{state.digest():016x}"


def test_what_changed_is_answered_before_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.protocol.answers.ENCODE_RECORDS", 1)
    line = Line()
    questions: list[dict[str, Any]] = [{"op": "snapshot"}, {"op": "digest"}, {"op": "snapshot", "since": 0}]
    for number, rest in enumerate(questions):
        assert line.server.begin(encode_map({"id": number, **rest}), 0, (), 0) == []
    told: list[int] = []
    while line.server.busy:
        told += [decode_map(frames[0], dict)["id"] for frames in line.server.due(0)]
    assert told == [2, 0, 1]


def test_more_questions_than_may_wait_are_refused_and_say_when_to_ask_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bus.protocol.answers.SLICED_MOST", 2)
    server = Line().server
    asked = encode_map({"op": "digest", "id": 1})
    assert [server.begin(asked, 0, (), 0) for _ in range(2)] == [[], []]
    (refused,) = server.begin(asked, 0, (), 0)
    error = decode_map(refused, dict)["error"]
    assert (error["code"], error["retry_ms"]) == ("busy", 1_000)


def test_the_digest_of_a_state_that_never_rests_is_of_one_moment() -> None:
    line = Line()
    for _ in range(30):
        line.publisher.stream()
        said = decode_map(line.server.answer(encode_map({"op": "digest", "id": 1}), 0)[0], dict)
        assert int(said["digest"], 16) == line.publisher.history[said["epoch"], said["seq"]]
        assert {topic: tuple(rest) for topic, rest in said["streams"].items()} == {
            topic: line.publisher.writer.state.position(topic)
            for topic in line.publisher.writer.state.streams
        }


def test_an_answer_is_made_while_there_is_work_without_end(
    zmq_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CAPTURE_RECORDS", "LAST_RECORDS"):
        monkeypatch.setattr(f"bus.protocol.answers.{name}", 0 if name == "LAST_RECORDS" else 1)
    live = Live(zmq_context)
    stop = threading.Event()

    def work(server: FeedServer) -> None:
        if not stop.is_set():
            server.submit(work)

    try:
        live.server.submit(work)
        answer = ask(zmq_context, live.state, {"op": "digest", "id": 1}, 1_200)
        assert answer["ok"], "a slice a beat would take longer"
    finally:
        stop.set()
        live.close()
