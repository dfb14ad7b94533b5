"""What the join and the repair must not do: ask too often, believe too early, forget, remember too long."""

import random
from collections.abc import Callable

import msgspec
import pytest

import bus.protocol.writer
from bus.protocol.answers import Answers
from bus.protocol.asks import ASK_TIMEOUT_MAX_MS, BEHIND_RETRY_MS, REPAIR_EVERY_MS, WHOLE_SHARE, WHOLES
from bus.protocol.digest import record_hash
from bus.protocol.join import UNCONFIRMED_SHOW_MS, FeedSync, Phase
from bus.protocol.messages import VERSION, Envelope, decode, encode, encode_record, matches
from bus.protocol.silence import SILENCE_MS
from bus.protocol.state import State
from markets.records import Remove
from tests.bus.protocol.lines import FILTER, TICKERS, Line, a_suspect
from tests.bus.world import START_MS, Node, Publisher, a_quote

BOTH = pytest.mark.parametrize("prefixes", [("",), FILTER], ids=["all", "filtered"])


def streamed(line: Line, ticker: str = "A-1-X") -> list[bytes]:
    """A message of the stream A, heard by everybody."""
    publisher = line.publisher
    topic = publisher.topic(ticker) if ticker in publisher.home else "md.A."
    publisher.now_ms += 1
    return publisher._streamed(topic, "suspect", a_suspect(ticker, publisher.now_ms))


def quoted(line: Line) -> list[bytes]:
    """A message of a quote in the stream A."""
    publisher = line.publisher
    publisher.now_ms += 1
    stamp_ns = publisher.now_ms * 1_000_000
    quote = a_quote("A-1-X", publisher.rng.randrange(100, 9_800), publisher.volume, publisher.now_ms)
    frames = publisher.writer.stream("md.A.", "quote", [quote], stamp_ns, stamp_ns)
    publisher.remember()
    return frames


def is_live(line: Line) -> bool:
    return line.node.live


def is_lost(line: Line) -> bool:
    return line.node.sync.lost


def take(line: Line) -> None:
    line.node.take_feed(line.now_ms, len(line.node.feed))


# -- a good line


@BOTH
def test_on_a_good_line_nothing_is_ever_found_missing_or_asked_again(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes)
    publisher = line.publisher
    for make in (publisher.commit, publisher.stream, publisher.quotes) * 12:
        line.send(make())
        line.settle(1)
        assert line.node.state.seq == publisher.writer.state.seq
    assert line.node.asked == 1
    stats = line.node.sync.stats
    assert (stats.gaps, stats.duplicates, stats.digest_mismatches) == (0, 0, 0)
    assert stats.digests_compared > 30
    assert line.agrees()


@BOTH
def test_messages_heard_again_and_late_change_nothing(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes)
    publisher = line.publisher
    frames = [
        streamed(line)[0],
        *publisher.commit(),
        streamed(line)[0],
        *publisher.quotes(),
        streamed(line)[0],
    ]
    heard = [frame for frame in frames if line.node.hears(frame.split(b"\0", 1)[0].decode())]
    for frame in heard:
        line.send([frame, frame])
    line.send(heard)
    line.settle()
    assert line.node.sync.stats.duplicates == 2 * len(heard)
    assert line.node.sync.stats.gaps == 0
    assert line.agrees()


@BOTH
@pytest.mark.parametrize("streams_per_part", [1, 2])
def test_heartbeat_in_parts_counts_once_all_are_there(
    prefixes: tuple[str, ...], streams_per_part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.protocol.writer, "_STREAMS_PER_PART", streams_per_part)
    line = Line(prefixes)
    for ticker in TICKERS:
        line.send(streamed(line, ticker))
    line.settle(1)
    compared = line.node.sync.stats.digests_compared
    lost = streamed(line)
    assert lost
    first, *rest = line.publisher.heartbeat()
    assert rest
    line.send([first, first])
    take(line)
    if prefixes != ("",):
        assert is_live(line), "a part is no heartbeat"
    line.send(rest)
    take(line)
    assert not is_live(line), "the message before it is missing"
    line.now_ms += REPAIR_EVERY_MS
    line.settle()
    # Parts of two heartbeats do not make one.
    one, two = line.publisher.heartbeat(), [*streamed(line), *line.publisher.heartbeat()]
    line.send([one[0], *two[:1], *two[2:]])
    take(line)
    line.settle()
    assert is_live(line)
    assert line.agrees()
    assert line.node.sync.stats.digests_compared > compared
    assert line.node.sync.stats.digest_mismatches == 0


# -- join


def test_answer_before_the_first_message_is_the_only_one_needed() -> None:
    line = Line(joined=False)
    line.publisher.stream()
    line.node.tick(1)
    line.answer()
    line.settle()
    assert is_live(line)
    assert line.node.asked == 1


def test_answer_older_than_the_first_heartbeat_is_not_believed() -> None:
    line = Line(joined=False)
    line.publisher.stream()
    line.node.tick(1)
    early = line.server.answer(line.node.questions.popleft(), 1)
    line.publisher.stream()  # heard by nobody
    line.send(line.publisher.heartbeat())
    take(line)
    line.node.answers.append(early)
    line.node.take_answer(2)
    assert not is_live(line)
    line.node.tick(2 + UNCONFIRMED_SHOW_MS)
    assert not line.node.state.epoch, "there is a feed, and it says that this is old"
    line.settle()
    assert is_live(line)
    assert line.agrees()


def test_heartbeats_alone_confirm_a_join() -> None:
    line = Line(joined=False)
    for _ in range(3):
        line.publisher.stream()
    line.settle(5)
    assert is_live(line)
    assert (line.node.asked, line.node.sync.stats.gaps) == (1, 0)


def test_answer_is_shown_unconfirmed_a_second_after_it_came() -> None:
    line = Line(joined=False)
    line.node.tick(1)
    answer = line.server.answer(line.node.questions.popleft(), 1)
    line.node.sync._asks._deadline_ms = 10_000
    line.node.answers.append(answer)
    line.node.take_answer(5_000)
    line.node.tick(5_000 + UNCONFIRMED_SHOW_MS - 1)
    assert not line.node.state.epoch
    line.node.tick(5_000 + UNCONFIRMED_SHOW_MS)
    assert line.node.state.epoch == START_MS


def test_refusals_and_silence_do_not_use_up_the_whole_snapshots() -> None:
    line = Line(joined=False)
    node = line.node
    for _ in range(WHOLES + 2):
        node.tick(line.now_ms)
        node.questions.clear()
        line.now_ms = node.sync._asks._deadline_ms  # no answer comes
    node.tick(line.now_ms)
    for _ in range(WHOLES + 2):
        assert node.sync._asks.open is not None
        node._do(node.sync.refused(node.sync._asks.open.id, 250, line.now_ms))
        assert node.sync._asks.due_ms is not None
        assert 250 <= node.sync._asks.due_ms - line.now_ms <= 8_000
        line.now_ms = node.sync._asks.due_ms
        node.tick(line.now_ms)
    assert node.asked == 2 * WHOLES + 5
    node.questions = type(node.questions)(list(node.questions)[-1:])
    line.settle()
    assert is_live(line)


def test_refusal_says_when_to_ask_again() -> None:
    for retry_ms, least in ((250, 250), (None, BEHIND_RETRY_MS)):
        node = Line(joined=False).node
        node.tick(1)
        node._do(node.sync.refused(1, retry_ms, 1))
        assert node.sync._asks.due_ms is not None
        assert least <= node.sync._asks.due_ms - 1 < 2 * least


def test_nobody_is_asked_again_and_again_when_no_answer_comes() -> None:
    line = Line(joined=False)
    for now_ms in range(0, 10 * ASK_TIMEOUT_MAX_MS, 100):
        line.node.tick(now_ms)
    assert 8 <= line.node.asked <= 14


def test_restarts_one_after_the_other_are_followed_but_not_with_all_a_replica_can_do() -> None:
    line = Line()
    for number in range(1, 21):
        line.publisher = Publisher(START_MS + number, random.Random(number), TICKERS)
        line.settle(2)
    # 200 ms each: the first are had at once, then as many as WHOLE_SHARE allows of the least that one takes.
    assert WHOLES < line.node.wholes <= WHOLES + 4_000 // (BEHIND_RETRY_MS * WHOLE_SHARE)
    line.settle(10)
    assert is_live(line)
    assert line.agrees()


# -- answers


def gapped(prefixes: tuple[str, ...] = ("",)) -> Line:
    """A joined line with a message lost, noticed, and its question on the way."""
    line = Line(prefixes)
    line.send(streamed(line))
    line.settle(2)
    line.now_ms += REPAIR_EVERY_MS
    streamed(line)
    line.send(streamed(line))
    take(line)
    line.node.tick(line.now_ms)
    assert not is_live(line)
    assert len(line.node.questions) == 1
    return line


def test_question_says_which_epoch_it_is_asked_in() -> None:
    """So that a server that is behind refuses instead of answering from an epoch that is over."""
    line = gapped()
    question = line.node.questions.popleft()
    assert msgspec.msgpack.decode(question)["epoch"] == START_MS
    behind = Publisher(START_MS - 5, random.Random(2), TICKERS)
    answer = msgspec.msgpack.decode(Answers(lambda: behind.writer.state).answer(question, 1)[0])
    assert answer["error"]["code"] == "epoch_behind"


def test_repairs_that_get_no_answer_give_no_whole_snapshot_back() -> None:
    line = gapped()
    wholes = list(line.node.sync._asks._wholes_ms)
    assert wholes
    for _ in range(3):
        line.now_ms = line.node.sync._asks._deadline_ms
        line.node.tick(line.now_ms)
    assert line.node.sync._asks._wholes_ms == wholes


def overdue(line: Line) -> list[bytes]:
    """The answer to a question that was given up and asked again."""
    late = line.server.answer(line.node.questions.popleft(), line.now_ms)
    line.now_ms = line.node.sync._asks._deadline_ms
    line.node.tick(line.now_ms)
    assert len(line.node.questions) == 1
    return late


def test_late_answer_to_an_earlier_question_is_as_good() -> None:
    line = gapped()
    late = overdue(line)
    line.node.answers.append(late)
    line.node.take_answer(line.now_ms)
    assert is_live(line)
    line.answer()
    assert line.node.sync.stats.asks == 3
    assert line.agrees()


def test_late_answer_to_another_question_is_ignored() -> None:
    line = gapped()
    late = overdue(line)
    open_ = line.node.sync._asks.open
    assert open_ is not None
    line.node.sync._asks.open = msgspec.structs.replace(open_, also=("md.B.",))
    line.node.answers.append(late)
    line.node.take_answer(line.now_ms)
    assert not is_live(line)
    asked = line.node.sync._asks.open
    assert asked is not None
    line.node._do(line.node.sync.refused(asked.id - 1, None, line.now_ms))
    assert line.node.sync._asks.open is asked
    line.answer()
    assert is_live(line)
    assert line.agrees()


def committed(line: Line) -> list[bytes]:
    return line.publisher.commit()


@pytest.mark.parametrize("make", [quoted, streamed, committed])
def test_answer_older_than_what_is_shown_is_asked_for_again(make: Callable[[Line], list[bytes]]) -> None:
    """Two servers, or one that restarted from an earlier state: the second is behind."""
    line = gapped()
    question = line.node.questions[0]
    line.answer()
    assert is_live(line)
    line.send(make(line))
    take(line)
    old = line.server.answer(question, line.now_ms)
    for _ in range(5):
        line.send(make(line))
        take(line)
    line.now_ms += REPAIR_EVERY_MS
    streamed(line)
    line.send(streamed(line))
    take(line)
    line.node.tick(line.now_ms)
    seq = line.node.state.seq
    line.node.answers.append(as_answer_to(line, old))
    line.node.take_answer(line.now_ms)
    assert line.node.state.seq == seq
    assert not is_live(line)
    line.settle(4)
    assert is_live(line)
    assert line.agrees()


def test_answer_of_an_earlier_epoch_is_not_taken() -> None:
    line = Line()
    state = line.node.state
    behind = Answers(lambda: state)
    line.publisher = Publisher(START_MS + 5, random.Random(2), TICKERS)
    line.send(line.publisher.heartbeat())
    take(line)
    asked = msgspec.msgpack.decode(line.node.questions.popleft())
    line.node.answers.append(behind.answer(msgspec.msgpack.encode(asked | {"epoch": 0}), 1))
    line.node.take_answer(line.now_ms)
    assert line.node.sync._base is None
    assert line.node.state is state
    line.settle(4)
    assert is_live(line)
    assert line.agrees()


def test_new_epoch_gives_up_the_question_to_the_old_one() -> None:
    line = gapped()
    late = line.server.answer(line.node.questions.popleft(), line.now_ms)
    line.publisher = Publisher(START_MS + 5, random.Random(2), TICKERS)
    line.send(line.publisher.heartbeat())
    take(line)
    (question,) = line.node.questions
    assert "since" not in msgspec.msgpack.decode(question)
    line.node.answers.append(late)
    line.node.take_answer(line.now_ms)
    line.settle()
    assert line.node.state.epoch == START_MS + 5
    assert line.agrees()


def as_answer_to(line: Line, answer: list[bytes]) -> list[bytes]:
    """An answer of a server that is behind, to the question that is open."""
    ask = line.node.sync._asks.open
    assert ask is not None
    return [msgspec.msgpack.encode(msgspec.msgpack.decode(answer[0]) | {"id": ask.id}), *answer[1:]]


@pytest.mark.parametrize("behind_by", [0, 1])
def test_server_that_is_behind_is_not_asked_all_the_time(behind_by: int) -> None:
    line = Line()
    answers = []
    for _ in range(2):
        line.send(streamed(line))
        line.settle(1)
        question = msgspec.msgpack.encode({"op": "snapshot", "since": line.node.state.seq - 1})
        answers.append(line.server.answer(question, line.now_ms))
    asked = line.node.asked
    streamed(line)  # lost
    for _ in range(200):
        if line.node.sync._asks.open is not None:
            line.node.answers.append(as_answer_to(line, answers[1 - behind_by]))
            line.node.take_answer(line.now_ms)
        line.now_ms += 10
        line.send(streamed(line))
        take(line)
        line.node.tick(line.now_ms)
    assert 2 <= line.node.asked - asked <= 8
    line.settle(60)
    assert is_live(line)
    assert line.agrees()


def test_answer_older_than_the_one_before_it_is_asked_for_again() -> None:
    line = gapped()
    old = line.server.answer(line.node.questions[0], line.now_ms)
    streamed(line)  # lost
    line.send(streamed(line))
    take(line)
    line.answer()
    assert is_live(line)
    seq = line.node.state.seq
    line.now_ms += REPAIR_EVERY_MS
    streamed(line)  # lost
    line.send(streamed(line))
    take(line)
    line.node.tick(line.now_ms)
    line.node.answers.append(as_answer_to(line, old))
    line.node.take_answer(line.now_ms)
    assert line.node.state.seq == seq
    line.settle(4)
    assert is_live(line)
    assert line.agrees()


def test_resynced_is_told_only_when_all_that_was_held_could_be_applied() -> None:
    line = gapped()
    answer = line.server.answer(line.node.questions.popleft(), line.now_ms)
    topic, envelope = decode(streamed(line)[0])
    envelope.records = [msgspec.Raw(msgspec.msgpack.encode([1]))]
    line.send([encode(topic, envelope), *streamed(line)])
    take(line)
    line.node.answers.append(answer)
    line.node.take_answer(line.now_ms)
    assert not is_live(line)
    assert line.node.state.seq < envelope.seq, "nothing behind it is applied"
    assert line.events()[-1] == "gap"
    assert "resynced" not in line.events()
    line.now_ms += REPAIR_EVERY_MS
    line.settle(4)
    assert line.events()[-1] == "resynced"
    assert line.agrees()


# -- epochs


def test_nothing_of_an_epoch_is_carried_over_into_the_next() -> None:
    line = gapped(FILTER)
    sync = line.node.sync
    line.send(line.publisher.commit()[:1])
    line.send(line.publisher.heartbeat())
    take(line)
    sync._older_since_ms = sync._applied = sync._asks._attempt = 9
    sync._asks.also = ("md.A.",)
    before = vars(sync).copy()
    fresh = FeedSync(FILTER, random.Random(1), 0)
    for one in (sync, fresh):
        one._open(START_MS + 9)

    lasting = {"state", "heartbeat", "source", "published_ns", "stats", "last_error", "prefixes"}
    lasting |= {"phase", "_keeping", "_asks", "_silence", "_candidate_ms", "proven", "_since_ms", "_why"}
    own = set(vars(sync)) - lasting
    parts = {name for name in own if type(getattr(sync, name)).__module__.startswith("bus.protocol.")}
    assert {name for name in own - parts if getattr(sync, name) != getattr(fresh, name)} == set()
    assert {name for name in parts if getattr(sync, name) is before[name]} == set(), "made anew, not cleared"
    asks: tuple[tuple[str, ...], int] = sync._asks.also, sync._asks._attempt
    assert asks == ((), 0)


@pytest.mark.parametrize("epoch", [START_MS - 5, START_MS + 5])
def test_message_of_another_epoch_is_never_applied_however_its_numbers_fit(epoch: int) -> None:
    line = Line()
    for _ in range(2):
        line.send(quoted(line))
        take(line)
    state = line.node.state
    before = state.digest()
    records = [msgspec.Raw(encode_record(a_quote("A-1-X", 1_200)))]
    prev = state.streams["md.A."].last
    for number in (1, 2):
        envelope = Envelope(VERSION, epoch, state.seq + number, prev, "quote", 0, 1, 1, records)
        line.send([encode("md.A.", envelope)])
        take(line)
        prev = envelope.seq
    assert line.node.sync.stats.old_epoch == (2 if epoch < START_MS else 0)
    assert line.node.state is state
    assert state.digest() == before


def test_earlier_epoch_is_taken_only_after_its_own_three_seconds_alone() -> None:
    line = Line()
    old = Publisher(START_MS - 5, random.Random(2), TICKERS)

    def hear(publisher: Publisher, later_ms: int) -> int:
        line.now_ms += later_ms
        line.send(publisher.heartbeat())
        take(line)
        return line.node.sync.epoch

    assert hear(old, 10 * SILENCE_MS) == START_MS, "the first one, after a long silence"
    assert hear(old, SILENCE_MS - 1) == START_MS
    assert hear(line.publisher, 0) == START_MS
    assert hear(old, 1) == START_MS, "ours was just heard"
    assert hear(old, SILENCE_MS - 2) == START_MS
    assert hear(old, 1) == START_MS - 5


# -- gaps


@BOTH
@pytest.mark.parametrize("kind", ["message", "commit"])
def test_one_lost_message_and_then_heartbeats_lost_for_longer_than_their_window(
    prefixes: tuple[str, ...], kind: str
) -> None:
    line = Line(prefixes)
    line.send(streamed(line))
    line.settle(2)
    if kind == "message":
        streamed(line)
    else:
        line.send(line.publisher.commit()[:-1])
    for _ in range(bus.protocol.writer.WINDOW_HEARTBEATS + 2):
        line.publisher.heartbeat()  # heard by nobody
    line.now_ms += REPAIR_EVERY_MS
    line.settle(3)
    assert "gap" in line.events()
    assert is_live(line)
    assert line.agrees()


@BOTH
@pytest.mark.parametrize("heard_before", [0, 1])
def test_each_single_lost_message_of_a_run_of_messages_is_found(
    prefixes: tuple[str, ...], heard_before: int
) -> None:
    for at in range(6):
        line = Line(prefixes)
        for _ in range(heard_before):
            line.send(streamed(line))
        take(line)
        for number in range(6):
            frames = streamed(line, TICKERS[number % 2])
            if number != at:
                line.send(frames)
            take(line)
        line.now_ms += REPAIR_EVERY_MS
        line.settle()
        assert "gap" in line.events()
        assert line.node.sync.stats.digest_mismatches == 0, "by the numbers, before any digest"
        assert is_live(line)
        assert line.agrees()


@BOTH
def test_repairs_of_a_line_that_keeps_losing_are_spaced(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes)
    line.now_ms = 10_000
    line.settle()
    asked = line.node.asked
    for _ in range(50):
        line.now_ms += 10
        streamed(line)
        line.send(streamed(line))
        take(line)
        line.node.tick(line.now_ms)
        line.answer()
    assert 3 <= line.node.asked - asked <= 2 + 50 * 10 // REPAIR_EVERY_MS
    line.now_ms += REPAIR_EVERY_MS
    line.settle()
    assert is_live(line)
    assert line.agrees()


def test_state_stands_still_while_a_digest_is_repaired() -> None:
    line = Line()
    line.send(quoted(line))
    line.settle()
    line.now_ms += REPAIR_EVERY_MS
    line.send(quoted(line))
    take(line)
    spoil(line.node.state)
    line.send(line.publisher.heartbeat())
    take(line)
    line.node.tick(line.now_ms)
    assert line.node.sync.phase is Phase.REPAIRING
    seq = line.node.state.seq
    for _ in range(5):
        line.send(quoted(line))
        line.send(line.publisher.stream())
        take(line)
    assert line.node.state.seq == seq
    line.answer()
    assert is_live(line)
    assert line.node.state.seq == line.publisher.writer.state.seq
    line.settle()
    assert line.agrees()


def test_what_is_heard_while_a_repair_is_on_its_way_is_applied_after_it() -> None:
    line = gapped()
    answer = line.server.answer(line.node.questions.popleft(), line.now_ms)
    for make in (line.publisher.stream, line.publisher.commit, line.publisher.quotes, line.publisher.stream):
        line.send(make())
        take(line)
    line.node.answers.append(answer)
    line.node.take_answer(line.now_ms)
    assert is_live(line)
    assert line.node.asked == 2
    assert line.node.state.seq == line.publisher.writer.state.seq
    assert line.agrees()


def test_too_much_to_hold_is_a_hole_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.protocol.join.MAX_HELD_BYTES", 6_000)
    line = gapped()
    answer = line.server.answer(line.node.questions.popleft(), line.now_ms)
    for _ in range(15):
        line.send(streamed(line))
        take(line)
    assert len(line.node.sync._buffer) <= 10
    line.node.answers.append(answer)
    line.node.take_answer(line.now_ms)
    assert not is_live(line)
    line.settle(5)
    assert is_live(line)
    assert line.agrees()


# -- commits, for who filters


def test_filtered_replica_shows_a_commit_and_what_follows_it_once_it_is_confirmed() -> None:
    line = Line(FILTER)
    seq = line.node.state.seq
    before = line.node.state.digest()
    for frames in (line.publisher.commit(), streamed(line), line.publisher.commit(), streamed(line)):
        line.send(frames)
        take(line)
    assert (line.node.state.seq, line.node.state.digest()) == (seq, before)
    line.send(line.publisher.heartbeat())
    take(line)
    assert line.node.state.seq == line.publisher.writer.state.seq
    assert line.node.asked == 1
    assert line.agrees()


def test_filtered_replica_does_not_go_back_with_a_server_that_is_behind_it() -> None:
    line = Line(FILTER)
    behind = Node(("",), 2)
    behind.tick(line.now_ms)
    behind.answers.append(line.server.answer(behind.questions.popleft(), line.now_ms))
    behind.hear(line.publisher.heartbeat())
    behind.take_answer(line.now_ms)
    behind.take_feed(line.now_ms, len(behind.feed))
    assert behind.live
    for _ in range(3):  # of another series
        line.publisher.writer.stream("md.B.", "quote", [a_quote("B-1-X")], 1, 1)
    line.settle()
    assert line.node.state.seq == 3

    line.publisher.writer.stream("md.A.", "quote", [a_quote("A-1-X", 5_000)], 1, 1)  # is lost
    up_to_date, line.server = line.server, behind.server
    line.settle()
    assert line.node.sync.phase is Phase.REPAIRING
    assert line.node.state.seq == 3

    line.server = up_to_date
    line.settle(10)
    assert line.node.live
    assert line.agrees()


def test_filtered_replica_never_shows_a_commit_whose_end_overtook_a_part_of_it() -> None:
    line = Line(FILTER)
    while True:
        *run, end = line.publisher.commit()
        parts = [frame for frame in run if frame.startswith(b"md.A.")]
        if [decode(frame)[1].kind for frame in parts] == ["quote", "quote"]:
            break
        line.send([*run, end])
        line.settle(1)
    line.send([*parts[:-1], end, parts[-1], *line.publisher.heartbeat()])
    while line.node.feed:
        line.node.take_feed(line.now_ms)
        volumes = {quote.volume_e2 for quote in line.node.state.quotes.values()}
        assert len(volumes) == 1, "half a commit"
    line.now_ms += REPAIR_EVERY_MS
    line.settle()
    assert is_live(line)
    assert line.agrees()


def test_filtered_replica_that_lost_the_end_of_a_commit_applies_nothing_behind_it() -> None:
    line = Line(FILTER)
    publisher = line.publisher
    line.send(publisher.stream())
    line.settle(2)
    line.now_ms += REPAIR_EVERY_MS
    while True:
        *run, end = publisher.commit()
        line.send(run)
        if any(frame.startswith(b"md.A.") for frame in run):
            break
        line.send([end])
        line.settle(1)
    question = {"op": "snapshot", "streams": list(FILTER), "since": line.node.state.seq}
    answer = line.server.answer(msgspec.msgpack.encode(question), line.now_ms)  # all but what comes now
    line.send(streamed(line))
    before = line.node.state.digest()
    take(line)
    assert not is_live(line)
    assert line.node.state.digest() == before
    line.node.tick(line.now_ms)
    line.node.answers.append(as_answer_to(line, answer))
    line.node.take_answer(line.now_ms)
    assert is_live(line)
    assert line.agrees(), "with what was held"
    line.settle()
    assert line.agrees()
    assert line.node.sync.stats.digest_mismatches == 0


def test_what_is_heard_of_one_stream_confirms_nothing_of_another() -> None:
    line = Line(FILTER)
    line.send(streamed(line))
    line.settle(2)
    line.now_ms += REPAIR_EVERY_MS
    seq = line.node.state.seq
    line.publisher._streamed("ref.", "remove", Remove("event", "E"))  # lost
    line.send(streamed(line))
    take(line)
    assert line.node.state.seq == seq, "not confirmed yet"
    line.settle()
    assert "gap" in line.events()
    assert line.node.sync.stats.digest_mismatches == 0
    assert line.agrees()


def test_earlier_loss_of_one_stream_does_not_hide_a_later_one_of_another() -> None:
    line = Line(FILTER)
    publisher = line.publisher

    def referred() -> list[bytes]:
        return publisher._streamed("ref.", "remove", Remove("event", "E"))

    for frames in (streamed(line), referred()):
        line.send(frames)
    line.settle(2)
    line.now_ms += REPAIR_EVERY_MS
    streamed(line)  # lost
    line.send(referred())
    line.send(publisher.heartbeat())
    take(line)
    line.node.tick(line.now_ms)
    answer = line.server.answer(line.node.questions.popleft(), line.now_ms)
    referred()  # lost, after the answer
    line.send(referred())
    line.send(streamed(line))
    take(line)
    line.node.answers.append(answer)
    line.node.take_answer(line.now_ms)
    assert not is_live(line)
    line.settle(4)
    assert is_live(line)
    assert line.agrees()


def test_record_that_cannot_be_read_behind_a_commit_is_a_hole_at_its_place() -> None:
    line = Line(FILTER)
    line.settle()
    line.now_ms += REPAIR_EVERY_MS
    line.send(line.publisher.commit())
    topic, envelope = decode(streamed(line)[0])
    envelope.records = [msgspec.Raw(msgspec.msgpack.encode([1]))]
    line.send([encode(topic, envelope), *line.publisher.heartbeat()])
    take(line)
    assert not is_live(line)
    assert line.node.state.seq < envelope.seq
    line.settle(4)
    assert is_live(line)
    assert line.agrees()
    stats = line.node.sync.stats
    assert (stats.undecodable, stats.digest_mismatches) == (1, 0)


# -- digests


def test_digests_are_compared_at_one_position_only() -> None:
    line = gapped()
    line.send(streamed(line))
    line.send(line.publisher.heartbeat())
    line.send(streamed(line))
    answer = line.server.answer(line.node.questions.popleft(), line.now_ms)
    line.node.answers.append(answer)
    line.node.take_answer(line.now_ms)
    assert is_live(line)
    assert line.node.state.seq == line.publisher.writer.state.seq
    compared = line.node.sync.stats.digests_compared
    take(line)  # the heartbeat among it is of a position that is passed already
    stats = line.node.sync.stats
    assert (stats.digests_compared, stats.digest_mismatches, stats.gaps) == (compared, 0, 1)
    line.settle()
    assert line.agrees()


def spoil(state: State) -> None:
    state.position("md.A.")
    state.streams["md.A."].digests[1] ^= 1


def test_digests_that_differ_now_and_then_and_are_healed_never_degrade() -> None:
    line = Line()
    for number in range(1, 6):
        line.send(streamed(line))
        line.settle(6)
        line.send(streamed(line))
        line.now_ms += REPAIR_EVERY_MS
        take(line)
        spoil(line.node.state)
        line.settle(2)
        assert line.node.sync.stats.digest_mismatches == number
        assert line.agrees()
    assert "degraded" not in line.events()


def test_degraded_is_told_once_and_ends_when_the_digests_agree() -> None:
    line = Line()
    line.send(streamed(line))
    take(line)
    spoil(line.publisher.writer.state)
    for _ in range(8):
        line.now_ms += REPAIR_EVERY_MS
        line.send(streamed(line))
        line.settle(1)
    assert line.node.sync.degraded == {"md.A."}
    assert line.events().count("degraded") == 1
    spoil(line.publisher.writer.state)
    line.send(streamed(line))
    line.settle(1)
    assert not line.node.sync.degraded
    assert line.agrees()


def test_stream_that_is_missing_altogether_is_fetched() -> None:
    line = Line()
    line.send(streamed(line))
    take(line)
    state = line.node.state
    with state.lock:
        state.clear_stream("md.A.")
    del state.streams["md.A."]
    line.now_ms += REPAIR_EVERY_MS
    line.settle()
    assert line.node.sync.stats.digest_mismatches == 1
    assert line.agrees()


# -- silence


def test_silence_is_three_seconds_and_any_message_ends_it() -> None:
    line = Line()
    for _ in range(2):
        line.send(quoted(line))
        take(line)
    heard_ms = line.now_ms
    line.node.tick(heard_ms + SILENCE_MS - 1)
    assert not is_lost(line)
    line.node.tick(heard_ms + SILENCE_MS)
    assert is_lost(line)
    line.now_ms = heard_ms + 2 * SILENCE_MS
    for _ in range(2):
        line.send(quoted(line))
        take(line)
    assert line.events()[-2:] == ["lost", "found"]
    # Quotes alone keep it alive.
    for _ in range(10):
        line.now_ms += SILENCE_MS - 1
        line.send(quoted(line))
        take(line)
        line.node.tick(line.now_ms)
    assert line.events().count("lost") == 1
    # The next silence begins with short waits again.
    rebuilt = line.node.rebuilt
    line.node.tick(line.now_ms + SILENCE_MS)
    line.node.tick(line.now_ms + 2 * SILENCE_MS)
    assert line.node.rebuilt == rebuilt + 2


# -- a newer publisher


def test_unknown_kind_in_a_commit_moves_its_stream() -> None:
    line = Line()
    state = line.publisher.writer.state
    state.seq += 1
    state.stream("new.").last = state.seq
    number = state.cycle.cycle + 1 if state.cycle else 1
    line.send([encode("new.", Envelope(VERSION, state.epoch, state.seq, 0, "hologram", number, 1, 1, []))])
    line.send(line.publisher.commit())
    line.settle()
    assert line.node.sync.stats.unknown_kinds == 1
    assert line.node.sync.stats.gaps == 0
    assert line.agrees()


@pytest.mark.parametrize("repaired", [False, True])
def test_snapshot_says_whether_records_have_other_fields(repaired: bool) -> None:
    line = Line(joined=repaired)
    line.publisher.writer.state.fields = {"quote": 99}
    if repaired:
        assert not line.node.state.keep_bytes
        streamed(line)  # lost
        line.now_ms += REPAIR_EVERY_MS
    line.settle(4)
    assert line.node.state.keep_bytes
    assert line.node.state.fields == {"quote": 99}


def test_records_with_fields_of_a_newer_publisher_are_kept_as_they_came() -> None:
    line = Line()
    state = line.node.state
    state.keep_bytes = True
    raw = b""
    for bid_e4 in (1_300, 1_400):  # the second one is of a stream that is known by then
        raw = msgspec.msgpack.encode(
            [*msgspec.msgpack.decode(encode_record(a_quote("A-1-X", bid_e4))), "more"]
        )
        seq = state.seq
        prev = state.streams["md.A."].last
        envelope = Envelope(VERSION, state.epoch, seq + 1, prev, "quote", 0, 1, 1, [msgspec.Raw(raw)])
        line.send([encode("md.A.", envelope)])
        take(line)
        assert state.seq == seq + 1
    others = record_hash(encode_record(state.quotes["A-1-Y"]))
    assert state.position("md.A.")[2] == (record_hash(raw) + others) % 2**64


def test_snapshot_has_exactly_the_streams_asked_for() -> None:
    publisher = Publisher(START_MS, random.Random(1), TICKERS)
    for _ in range(20):
        publisher.stream()
        publisher.commit()
    state, rng = publisher.writer.state, random.Random(2)
    topics = list(state.streams)
    names = [topic[:length] for topic in topics for length in range(len(topic) + 1)]
    names += ["md.A.X", "nothing", "x" * 100_000]
    found = 0
    for _ in range(200):
        prefixes, also = rng.sample(names, rng.randrange(4)), rng.sample(topics, 1)
        since = rng.choice([None, state.seq, state.seq - rng.randrange(20)])
        question = {"op": "snapshot", "streams": prefixes, "also": also, "since": since}
        answer = msgspec.msgpack.decode(Answers(lambda: state).answer(msgspec.msgpack.encode(question), 1)[0])
        assert answer["streams"].keys() == {
            topic
            for topic, stream in state.streams.items()
            if matches(topic, prefixes) and (since is None or stream.last > since or topic in also)
        }
        found += len(answer["streams"])
    assert found
