"""Who may send commands, and what a command may contain."""

import pytest

from bus.trading.shapes import (
    ConfirmCommand,
    KillCommand,
    PauseCommand,
    PrepareCancelCommand,
    PrepareCommand,
    PrepareFlattenCommand,
    PrepareSaleCommand,
    ResumeCommand,
)
from markets.errors import BadRecord
from tests.ui.joined import joined
from ui.app import make_app
from ui.routes.command_rules import BURST, CommandRate, foreign, read_body, read_replay

HOST = "127.0.0.1:5001"
OURS = {"X-Kalshi-Bus": "command"}


def test_our_page_and_local_programs_may_send_commands() -> None:
    assert foreign(OURS, HOST) is None
    assert foreign(OURS | {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HOST}"}, HOST) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Kalshi-Bus": "no"},
        OURS | {"Sec-Fetch-Site": "cross-site"},
        OURS | {"Sec-Fetch-Site": "same-site"},
        OURS | {"Origin": "http://127.0.0.1:3000"},
        OURS | {"Origin": "null"},
        OURS | {"Origin": f"https://{HOST}"},
    ],
)
def test_other_pages_may_not(headers: dict[str, str]) -> None:
    assert foreign(headers, HOST)


def test_bodies_are_read_strictly() -> None:
    assert read_body("kill", b"") == KillCommand(reason="by hand on the dashboard")
    assert read_body("pause", b'{"reason": " lunch "}') == PauseCommand(reason="lunch")
    # Whoever takes it cuts it, and says so.
    assert read_body("kill", b'{"reason": "%b"}' % (b"x" * 5_000)) == KillCommand(reason="x" * 5_000)
    assert read_body("resume", b'{"word": "UNLOCK"}') == ResumeCommand(word="UNLOCK")
    for op, body in (
        ("kill", b"["),
        ("kill", b"[" * 1_000),
        ("kill", b'{"reason": 1}'),
        ("kill", b'{"word": "UNLOCK"}'),
        ("resume", b'{"reason": ""}'),
        ("resume", b'{"word": "%b"}' % (b"x" * 201)),
        ("kill", b"\xff"),
        ("kill", b'{"reason": "\xff"}'),
        ("kill", b'{"reason": "\xed\xa0\x80"}'),
        ("kill", b'{"reason": "\\ud800"}'),
        ("kill", b'{"\xff": ""}'),
        ("resume", b'{"word": "UNLOCK\xff"}'),
    ):
        with pytest.raises(BadRecord):
            read_body(op, body)


def test_orders_by_hand_are_read_strictly() -> None:
    wanted = b'{"ticker": "M", "side": "no", "count": "10", "price": "0.4300", "rest_seconds": 60}'
    assert read_body("prepare", wanted) == PrepareCommand(
        ticker="M", side="no", count_fp="10", price_dollars="0.4300", rest_seconds=60
    )
    assert read_body("prepare", wanted.replace(b"{", b'{"what": "buy", ')) == read_body("prepare", wanted)
    assert read_body("prepare", b'{"what": "sell", "ticker": "M"}') == PrepareSaleCommand(ticker="M")
    part = b'{"what": "sell", "ticker": "M", "count": "3", "price": "0.4000"}'
    assert read_body("prepare", part) == PrepareSaleCommand(ticker="M", count_fp="3", price_dollars="0.4000")
    assert read_body("prepare", b'{"what": "cancel", "number": 7}') == PrepareCancelCommand(number=7)
    assert read_body("prepare", b'{"what": "flatten"}') == PrepareFlattenCommand()
    assert read_body("confirm", b'{"ticket": 7}') == ConfirmCommand(ticket=7)
    for op, body in (
        ("prepare", b"{}"),
        ("prepare", b'{"ticker": "M", "side": "maybe", "count": "10", "price": "0.43"}'),
        ("prepare", b'{"ticker": "M", "side": "no", "count": 10, "price": "0.43"}'),
        ("confirm", b'{"ticket": "7"}'),
        ("confirm", b'{"ticket": 7, "word": ""}'),
        ("prepare", b'{"what": "short", "ticker": "M"}'),
        ("prepare", b'{"what": null, "ticker": "M"}'),
        ("prepare", b'{"what": "s\xff", "ticker": "M"}'),
        ("prepare", b'{"what": "sell"}'),
        ("prepare", b'{"what": "sell", "ticker": "M", "side": "yes"}'),
        ("prepare", b'{"what": "sell", "ticker": "M", "count": 3}'),
        ("prepare", b'{"what": "sell", "ticker": "M\xff"}'),
        ("prepare", b'{"what": "cancel", "number": null}'),
        ("prepare", b'{"what": "cancel", "number": "7"}'),
        ("prepare", b'{"what": "flatten", "word": "FLATTEN"}'),
    ):
        with pytest.raises(BadRecord):
            read_body(op, body)


@pytest.mark.parametrize(
    ("op", "body", "named"),
    [
        ("prepare", b'{"what": "cancel", "number": %d}', "number"),
        (
            "prepare",
            b'{"ticker": "M", "side": "no", "count": "1", "price": "0.43", "rest_seconds": %d}',
            "rest",
        ),
        ("confirm", b'{"ticket": %d}', "ticket"),
    ],
)
def test_a_number_that_no_message_can_carry_is_named(op: str, body: bytes, named: str) -> None:
    for number in (-1, 2**53 + 1, 10**23):
        with pytest.raises(BadRecord, match=named):
            read_body(op, body % number)


def test_what_is_wrong_is_said_in_the_members_of_the_page() -> None:
    for body, said in (
        (b'{"ticker": "M", "side": "no", "count": "1", "price": "43"}', "price: got '43', expected dollars"),
        (b'{"what": "sell", "ticker": "M", "count": 3}', "count: got 3, expected whole contracts"),
        (b'{"what": "cancel"}', "number: got None, expected a whole number"),
        (b'{"what": "flatten", "word": "x"}', "word: got 'x', expected only what"),
    ):
        with pytest.raises(BadRecord, match=f"^{said}"):
            read_body("prepare", body)


@pytest.mark.parametrize(
    ("op", "body", "said"),
    [
        (
            "test",
            b'{"number": 99999999999999999999999}',
            b"number: got 99999999999999999999999, expected a whole",
        ),
        ("remove_rule", b'{"number": "7"}', b"number: got '7', expected a whole number from 0 to 2^31"),
        ("test", b'{"rule": 1}', b"rule: got 1, expected `object | null`"),
        ("test", b"[]", b"body: got '[]', expected a JSON object for test"),
    ],
)
def test_a_command_to_the_alerts_is_refused_by_its_member(op: str, body: bytes, said: bytes) -> None:
    service, _ = joined()
    client = make_app(service, print).test_client()
    answer = client.post(f"/api/alerts/{op}", data=body, headers=OURS, content_type="application/json")
    assert (answer.status_code, said in answer.data) == (400, True), answer.data


def test_commands_to_a_replay_are_read_strictly() -> None:
    assert read_replay(b'{"action": "pause", "speed": 2}') == {"action": "pause"}
    assert read_replay(b'{"action": "speed", "speed": 0.5}') == {"action": "speed", "speed": 0.5}
    assert read_replay(b'{"action": "speed", "speed": 0}') == {"action": "speed", "speed": "max"}
    assert read_replay(b'{"action": "seek", "to_ms": 7}') == {"action": "seek", "to_ms": 7}
    for body in (
        b"",
        b'{"action": "stop"}',
        b'{"action": "speed"}',
        b'{"action": "speed", "speed": -1}',
        b'{"action": "seek", "to_ms": 1.5}',
        b'{"action": "seek", "speed": 1}',
        b'{"action": "pause\xff"}',
        b'{"action": "pause", "\xff": 1}',
    ):
        with pytest.raises(BadRecord):
            read_replay(body)


def test_the_rate_of_commands_runs_out_and_recovers() -> None:
    rate = CommandRate()

    assert [rate.take(1_000_000_000) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert rate.take(3_100_000_000)
    assert not rate.take(3_200_000_000)
