"""Delivery by Apprise to real servers, one process per message, with no part of a URL in any text."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from alerts.couriers import ENDED, Couriers
from alerts.parcels import ELSEWHERE, EXCHANGE, SILENT, UNKNOWN_URL, UNREACHED, Order, Outcome
from bus.clock import SystemClock
from tests.alerts.world import a_listener, a_server
from tests.support import eventually

SECRET = "s3cr3tT0ken"


def sent(orders: dict[str, Order], deadline_s: float = 90.0) -> dict[str, str | None]:
    """Send orders at the same time; return the outcome of each."""
    couriers = Couriers(SystemClock(), deadline_s=deadline_s)
    done: dict[str, str | None] = {}
    try:
        for name, order in orders.items():
            couriers.start(name, order)
        assert couriers.busy == set(orders)

        def over() -> bool:
            done.update(couriers.done())
            return len(done) == len(orders)

        eventually(over, 120, f"all are over: {done}")
    finally:
        couriers.stop()
    return done


PATIENT = "?rto=60&cto=60"
"""Long time-outs for slow machines; only the one meant to time out has a short one."""


def tell(port: int, more: str = PATIENT) -> Order:
    return Order("tell", f"json://user:{SECRET}@127.0.0.1:{port}/{SECRET}{more}", "a title", "a body")


def test_servers_that_answer_hang_fail_reset_and_redirect() -> None:
    with (
        a_server() as good,
        a_server(500) as bad,
        a_server() as other,
        a_server(302, f"http://127.0.0.1:{other.port}/{SECRET}") as elsewhere,
        a_listener(resets=True) as resets,
        a_listener(resets=False) as hangs,
    ):
        done = sent(
            {
                "good": tell(good.port),
                "bad": tell(bad.port),
                "elsewhere": tell(elsewhere.port, f"{PATIENT}&redirect=yes"),
                "resets": tell(resets),
                "hangs": tell(hangs, "?rto=1&cto=1"),
                "unknown": Order("tell", f"nothing://{SECRET}", "", "x"),
            }
        )
        assert done == {
            "good": None,
            "bad": "it answered 500",
            "elsewhere": ELSEWHERE,
            "resets": UNREACHED,
            "hangs": SILENT,
            "unknown": UNKNOWN_URL,
        }
        assert other.bodies == []
        (posted,) = good.bodies
        said = json.loads(posted.partition(" ")[2])
        assert (said["title"], said["message"]) == ("a title", "a body")


def test_heartbeats_are_sent_but_never_to_the_exchange() -> None:
    with a_server() as good, a_server(404) as bad, a_listener(resets=True) as resets:
        done = sent(
            {
                "good": Order("beat", f"http://127.0.0.1:{good.port}/{SECRET}"),
                "bad": Order("beat", f"http://127.0.0.1:{bad.port}/{SECRET}"),
                "resets": Order("beat", f"http://127.0.0.1:{resets}/{SECRET}"),
                "exchange": Order("beat", "http://kalshi.com/"),
            }
        )
        assert done == {"good": None, "bad": "it answered 404", "resets": UNREACHED, "exchange": EXCHANGE}
        assert good.bodies == [f"/{SECRET} "]


def started(tmp_path: Path, body: str) -> Sequence[str]:
    script = tmp_path / "sender.py"
    script.write_text(f"import sys, time\nsys.stdin.buffer.read()\n{body}\n")
    return [sys.executable, str(script)]


def test_a_hanging_sender_is_killed_and_a_dying_one_is_reported(tmp_path: Path) -> None:
    for body, expected in (("time.sleep(600)", SILENT), ("sys.exit(3)", ENDED), ("print('{')", ENDED)):
        couriers = Couriers(SystemClock(), started(tmp_path, body), 0.2 if "sleep" in body else 30)
        couriers.start("a", Order("beat", "http://x"))
        assert eventually(couriers.done) == [("a", expected)]
        assert couriers.busy == set()


def test_a_sender_gets_none_of_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALSHI_API_KEY_ID", SECRET)
    body = "import os, json\nprint(json.dumps({'error': str([*filter(None, map(os.environ.get, NAMES))])}))"
    command = started(tmp_path, body.replace("NAMES", "('KALSHI_API_KEY_ID', 'PATH')"))
    couriers = Couriers(SystemClock(), command)
    couriers.start("a", Order("beat", "http://x"))
    assert eventually(couriers.done) == [("a", str([os.environ["PATH"]]))]


def test_a_sender_that_cannot_be_started_is_reported() -> None:
    couriers = Couriers(SystemClock(), ["/nothing/of/this/name"])
    couriers.start("a", Order("beat", "http://x"))
    assert couriers.done() == [("a", "the sender cannot be started: No such file or directory")]


def test_an_outcome_has_no_room_for_a_url() -> None:
    assert msgspec.json.decode(b'{"error":null}', type=Outcome) == Outcome(None)
