"""Every question is answered: what is asked for, or why it is not."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from bus.protocol.answers import (
    LATER_MOST,
    LATER_MS,
    MAX_QUESTION_BYTES,
    MAX_WISHED,
    SLICED_MOST,
    Answers,
    Later,
    Refusal,
    Sliced,
)
from bus.protocol.messages import decode_map, encode_map
from bus.protocol.state import State
from bus.protocol.writer import Writer
from tests.bus.world import START_MS, a_market

NOW_MS = START_MS + 5_000


def a_state(markets: int = 3) -> State:
    writer = Writer(START_MS)
    writer.load((f"ref.S{n}", "market", [a_market(f"S{n}-1-X", f"S{n}")]) for n in range(markets))
    return writer.state


def said(frames: list[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = decode_map(frames[-1], dict[str, Any])
    return found


def asked(answers: Answers, op: Any, **parameters: Any) -> dict[str, Any]:
    return said(answers.answer(encode_map({"op": op, "id": 7, **parameters}), NOW_MS))


def begun(answers: Answers, op: str, number: int = 7, steady_ms: int = 0) -> list[bytes]:
    return answers.begin(encode_map({"op": op, "id": number}), NOW_MS, (b"who", b""), steady_ms)


def nothing_wished(_tickers: list[str], _ttl_s: float, _now_ms: int, _what: str) -> None:
    raise AssertionError("a refused wish was passed on")


@pytest.mark.parametrize(
    ("op", "parameters", "code", "named"),
    [
        ("sing", {}, "unknown_op", "'sing'"),
        (None, {}, "unknown_op", "None"),
        (["ping"], {}, "unknown_op", "['ping']"),
        ("ping", {"loud": 1}, "bad_request", "'loud'"),
        ("watch", {}, "bad_request", "tickers"),
        ("watch", {"tickers": "A"}, "bad_request", "tickers"),
        ("watch", {"tickers": ["A", ""]}, "bad_request", "tickers"),
        ("watch", {"tickers": ["A" * 201]}, "bad_request", "tickers"),
        ("watch", {"tickers": ["A"] * (MAX_WISHED + 1)}, "bad_request", f"{MAX_WISHED + 1}"),
        ("watch", {"tickers": ["A"], "ttl_s": 0}, "bad_request", "ttl_s"),
        ("watch", {"tickers": ["A"], "ttl_s": True}, "bad_request", "ttl_s"),
        ("watch", {"tickers": ["A"], "ttl_s": "60"}, "bad_request", "ttl_s"),
        ("watch", {"tickers": ["A"], "ttl_s": float("nan")}, "bad_request", "ttl_s"),
        ("watch", {"tickers": ["A"], "what": "weather"}, "bad_request", "weather"),
        ("snapshot", {"since": "1"}, "bad_request", "since"),
        ("snapshot", {"since": True}, "bad_request", "since"),
        ("snapshot", {"also": "md."}, "bad_request", "also"),
        ("snapshot", {"streams": [1]}, "bad_request", "streams"),
        ("snapshot", {"epoch": "1"}, "bad_request", "epoch"),
        ("snapshot", {"epoch": START_MS * 2}, "epoch_behind", "epoch"),
    ],
)
def test_a_question_that_is_wrong_is_refused_by_name(
    op: Any, parameters: dict[str, Any], code: str, named: str
) -> None:
    state = a_state()
    answers = Answers(lambda: state, on_wish=nothing_wished)

    answer = asked(answers, op, **parameters)

    assert (answer["ok"], answer["id"], answer["error"]["code"]) == (False, 7, code)
    assert named in answer["error"]["message"]
    assert answers.errors == 1


@pytest.mark.parametrize(
    "question",
    [b"", b"\xc1", b"\x93\1\2\3", encode_map({"op": "ping", "id": [1]}), b"x" * (MAX_QUESTION_BYTES + 1)],
)
def test_what_is_no_question_is_refused_without_an_id(question: bytes) -> None:
    answer = said(Answers(lambda: None).answer(question, NOW_MS))

    assert (answer["ok"], answer["id"], answer["error"]["code"]) == (False, None, "bad_request")


def test_before_there_is_a_state_a_server_answers_that_it_is_there_and_nothing_else() -> None:
    answers = Answers(lambda: None)

    assert asked(answers, "ping") == {"ok": True, "id": 7, "epoch": 0, "seq": 0, "now_ms": NOW_MS}
    for op in ("digest", "snapshot"):
        assert asked(answers, op)["error"]["code"] == "not_ready"
        assert asked(answers, op)["error"]["retry_ms"] > 0


def test_a_wish_is_passed_on_and_counted() -> None:
    wishes: list[Any] = []
    answers = Answers(lambda: None, on_wish=lambda *wish: wishes.append(wish))

    assert asked(answers, "watch", tickers=["A", "B"], ttl_s=5, what="candles")["watched"] == 2
    assert asked(answers, "watch", tickers=["A"])["watched"] == 1
    assert wishes == [(["A", "B"], 5.0, NOW_MS, "candles"), (["A"], 60.0, NOW_MS, "book")]


def test_the_digest_is_that_of_the_state_and_of_each_of_its_streams() -> None:
    state = a_state(200)
    answers = Answers(lambda: state)

    answer = asked(answers, "digest")

    assert (answer["epoch"], answer["seq"], answer["digest"]) == (
        state.epoch,
        state.seq,
        f"{state.digest():016x}",
    )
    assert set(answer["streams"]) == set(state.streams)


def test_a_handler_that_crashes_costs_its_own_question_only() -> None:
    def crash(_question: Any, _now_ms: int) -> dict[str, Any]:
        raise ZeroDivisionError

    def slices() -> Any:
        yield
        raise ZeroDivisionError

    def refused() -> Any:
        yield
        raise Refusal("no_such_day", "there is none")

    answers = Answers(lambda: None)
    answers.add("crash", crash)
    answers.add("crash_later", lambda _question, _now_ms: Sliced(slices(), soon=False))
    answers.add("refuse_later", lambda _question, _now_ms: Sliced(refused(), soon=False))

    with capture_logs() as logs:
        assert asked(answers, "crash")["error"]["code"] == "internal"
        assert asked(answers, "crash_later")["error"]["code"] == "internal"
    assert [line["event"] for line in logs] == ["question.crashed"] * 2
    assert asked(answers, "refuse_later")["error"] == {"code": "no_such_day", "message": "there is none"}
    assert asked(answers, "ping")["ok"]
    assert answers.errors == 3


def test_an_answer_that_cannot_be_encoded_costs_its_own_question_only() -> None:
    huge: dict[str, Any] = {"revenue_e6": 2**64}

    def slices() -> Any:
        yield
        return huge

    answers = Answers(lambda: None)
    answers.add("now", lambda _question, _now_ms: huge)
    answers.add("sliced", lambda _question, _now_ms: Sliced(slices(), soon=False))
    answers.add("later", lambda _question, _now_ms: Later(lambda: huge))
    assert begun(answers, "later") == []
    with capture_logs() as logs:
        (late,) = answers.due(0)
        codes = [asked(answers, op)["error"]["code"] for op in ("now", "sliced")]
    assert [*codes, said(late)["error"]["code"]] == ["internal"] * 3
    assert [line["event"] for line in logs] == ["question.crashed"] * 3
    assert answers.due(1) == []
    assert asked(answers, "ping")["ok"]


def test_no_more_wait_than_a_server_can_hold() -> None:
    def slices() -> Any:
        yield
        return {}

    answers = Answers(lambda: None)
    answers.add("later", lambda _question, _now_ms: Later(lambda: None))
    answers.add("sliced", lambda _question, _now_ms: Sliced(slices(), soon=False))

    for op, most in (("later", LATER_MOST), ("sliced", SLICED_MOST)):
        assert [begun(answers, op, number) for number in range(most)] == [[]] * most
        refused = said(begun(answers, op))
        assert (refused["error"]["code"], refused["id"]) == ("busy", 7)
    assert answers.busy


def test_an_answer_that_does_not_come_is_waited_for_so_long_and_no_longer() -> None:
    answers = Answers(lambda: None)
    answers.add("later", lambda _question, _now_ms: Later(lambda: None))
    assert begun(answers, "later") == []

    assert answers.due(LATER_MS - 1) == []
    (late,) = answers.due(LATER_MS + 1)

    assert late[:2] == [b"who", b""]
    assert said(late)["error"]["code"]
    assert answers.due(LATER_MS * 9) == []


def test_what_is_soon_made_is_made_first_and_each_answer_goes_to_its_asker() -> None:
    state = a_state(500)
    answers = Answers(lambda: state)
    assert begun(answers, "digest", 1) == []
    assert begun(answers, "snapshot", 2) == []
    question = encode_map({"op": "snapshot", "id": 3, "since": state.seq, "epoch": state.epoch})
    assert answers.begin(question, NOW_MS, (b"other", b""), 0) == []

    came: list[list[bytes]] = []
    for _ in range(1_000):
        came += answers.due(0)
        if not answers.busy:
            break

    assert [frames[0] for frames in came] == [b"other", b"who", b"who"]
    assert (answers.wholes, answers.repairs, answers.errors) == (1, 1, 0)
