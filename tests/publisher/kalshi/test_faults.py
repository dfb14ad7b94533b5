"""What goes wrong in words: whatever it is made of, there is a short sentence, and no secret is in it."""

import socket
import ssl
from datetime import UTC, datetime
from email.utils import format_datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from publisher.kalshi import faults
from publisher.kalshi.faults import SAID_MAX, Place

OUTCOMES = (
    "key_refused", "clock_off", "key_unusable", "blocked", "moved", "unresolved", "unreachable", "tls",
    "timeout", "bad_reply", "not_found", "server_error", "rate_limited", "cursor_loop", "refused",
)  # fmt: skip
NOW_S = 1_790_000_000


@pytest.mark.parametrize("outcome", [*OUTCOMES, "something new"])
@pytest.mark.parametrize("env", ["sim", "demo", "prod"])
def test_every_outcome_has_a_cause_and_one_sentence_of_remedy(outcome: str, env: str) -> None:
    place = Place.of(env, "https://user:secret@api.example.com:8443/trade-api/v2?token=secret")
    cause, remedy = faults.lead(outcome, place), faults.remedy(outcome, "GET /x: 401", place)
    assert "secret" not in f"{cause} {remedy}"
    assert "{" not in f"{cause} {remedy}"
    assert not cause.endswith(".")
    assert remedy[0].isupper()
    assert len(remedy) <= SAID_MAX


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://user:secret@host.example/a?b=secret#secret", "https://host.example/a"),
        ("//host.example:8443/a", "https://host.example:8443/a"),
        ("https://[::1]:9/a", "https://[::1]:9/a"),
        ("/elsewhere?secret", "/elsewhere"),
        ("", "nowhere"),
        ("https://[", "a place that cannot be read"),
        ("https://host.example:port/a", "a place that cannot be read"),
    ],
)
def test_a_redirect_is_named_without_what_may_be_secret_in_it(location: str, said: str) -> None:
    assert faults.moved_to(location) == said


def test_what_a_library_says_is_said_without_the_user_of_a_proxy() -> None:
    text = "cannot connect to proxy http://user:secret@proxy:3128/ for\nhttps://secret@host/a@b"
    said = faults.printable(text)
    assert said == "cannot connect to proxy http://[redacted]@proxy:3128/ for https://[redacted]@host/a@b"


def test_how_far_ahead_our_clock_is_is_known_ever_better_and_anew_once_it_is_set() -> None:
    ahead = faults.Ahead()

    def answer(ours_ms: int, off_ms: int, **headers: str) -> int:
        """Take an answer that was under way for 40 ms; our clock is `off_ms` ahead."""
        theirs = datetime.fromtimestamp((ours_ms - off_ms + 20) // 1000, UTC)
        ahead.note({"Date": format_datetime(theirs, usegmt=True), **headers}, ours_ms, ours_ms + 40)
        return ahead.ms

    begin_ms = NOW_S * 1000
    found = [answer(begin_ms + number * 1_370, 3_400) for number in range(30)]
    assert found == sorted(found)
    assert 3_300 <= found[-1] <= 3_400
    assert answer(begin_ms + 100_000, 90_000, Age="3") == found[-1], "what a cache had says nothing"
    for off_ms in (86_400_000, 3_400, -86_400_000, 3_400):
        assert 3_300 <= answer(begin_ms + 101_000, off_ms) <= 3_400, "one Date that is wrong says nothing"
    assert [answer(begin_ms + 200_000 + number * 1_370, 0) for number in range(30)][-1] <= 40
    assert [answer(begin_ms + 300_000 + number * 1_370, -7_000) for number in range(2)][-1] == 0


@given(st.text())
def test_any_address_can_be_named(text: str) -> None:
    for said in (faults.host_of(text), faults.moved_to(text), faults.host_of(f"https://{text}")):
        assert said.isprintable()
        assert len(said) <= 2 * SAID_MAX


@given(st.one_of(st.binary(), st.binary().map(lambda body: b"<html><title>" + body + b"</title>")))
def test_any_body_can_be_said(body: bytes) -> None:
    said = faults.said(body)
    assert said.isprintable()
    assert len(said) <= 2 * SAID_MAX


def test_a_page_is_named_by_its_title() -> None:
    page = b"\n<!DOCTYPE html>\n<HTML><HEAD><TITLE>\n A &amp; B\n  </TITLE>"
    assert faults.is_page(page)
    assert faults.said(page) == 'with a web page, "A & B"'
    assert faults.said(b"<html>") == "with a web page"
    assert not faults.is_page(b'{"error":"<html>"}')
    assert faults.said(b'{"error":{"code":"c","message":"m","details":"d"}}') == "c m d"
    assert faults.said(b'{"msg":"m"}') == "m"
    assert faults.said(b"[1]") == "[1]"
    assert faults.said(b" ") == ""


def date(seconds: float) -> dict[str, str]:
    return {"Date": format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)}


@pytest.mark.parametrize(
    ("headers", "sent_s", "received_s", "offset_s"),
    [
        (date(NOW_S), NOW_S, NOW_S + 0.1, 0),
        (date(NOW_S), NOW_S - 30, NOW_S + 0.9, 0),  # it took long: nobody's clock is wrong
        (date(NOW_S), NOW_S + 61, NOW_S + 62, 60),
        (date(NOW_S), NOW_S - 62, NOW_S - 60, -60),
        (date(NOW_S - 300) | {"Age": "300"}, NOW_S, NOW_S, 0),
        (date(NOW_S) | {"Age": "-1"}, NOW_S, NOW_S, 0),
        ({"Date": "Mon, 21 Sep 2026 14:13:20 -0000"}, NOW_S, NOW_S, 0),
    ],
)
def test_a_clock_is_off_by_what_is_certain(
    headers: dict[str, str], sent_s: float, received_s: float, offset_s: float
) -> None:
    offset = faults.clock_offset_s(headers, round(sent_s * 1000), round(received_s * 1000))
    assert offset == pytest.approx(offset_s, abs=0.01)


@pytest.mark.parametrize(
    "value", ["", "yesterday", "0", "Mon, 99 Sep 2026 14:13:20 GMT", "Mon, 21 Sep 99999 14:13:20 GMT", "\x00"]
)
def test_a_date_that_is_none_says_nothing(value: str) -> None:
    assert faults.clock_offset_s({"Date": value}, NOW_S * 1000, NOW_S * 1000) is None
    assert faults.clock_offset_s({}, NOW_S * 1000, NOW_S * 1000) is None


def wrapped(error: BaseException) -> BaseException:
    """An error as a library wraps it: in an argument, a reason and a cause."""
    inner = OSError(error)
    outer = RuntimeError("x")
    outer.reason = inner  # type: ignore[attr-defined]
    last = ValueError("y")
    last.__cause__ = outer
    return last


def test_why_there_is_no_connection_is_found_in_what_is_wrapped() -> None:
    assert faults.connection_outcome(wrapped(socket.gaierror(-2, "unknown"))) == "unresolved"
    assert faults.connection_outcome(wrapped(ssl.SSLError(1, "bad"))) == "tls"
    assert faults.connection_outcome(wrapped(ConnectionRefusedError(111, "no"))) == "unreachable"
    turning = RuntimeError()
    turning.args = (turning,)
    assert faults.connection_outcome(turning) == "unreachable"
