"""Passing wishes on: together, in order, bounded, and never to a server that comes too late for them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from bus.process.lifecycle import Stop
from bus.protocol.answers import MAX_WISHED
from bus.wishes import MAX_WAITING, Wishes
from tests.bus.heard import a_server
from tests.bus.heard import endpoint as endpoint  # noqa: PLC0414  a fixture
from tests.support import eventually


@contextmanager
def passing_on(wishes: Wishes) -> Iterator[None]:
    """Run the thread of `wishes`; it must end at once, whatever it waits for."""
    stop = Stop()
    thread = threading.Thread(target=wishes.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        wishes.wake()
        thread.join(30)
        stop.close()
        assert not thread.is_alive()


def test_what_waits_goes_together_and_the_longest_wish_for_a_market_counts(
    zmq_context: Any, endpoint: str
) -> None:
    wishes = Wishes(zmq_context, endpoint)
    wishes.wish(["A", "B"], 60, "book")
    wishes.wish(["A"], 60, "candles")
    wishes.wish(["B"], 5, "book")
    wishes.wish(["B"], 90, "book")
    wishes.wish(["A"], 5, "book")
    wishes.wish(["C"], 60, "book")
    with a_server(zmq_context, endpoint) as heard, passing_on(wishes):
        eventually(lambda: len(heard) == 3)
        wishes.wish(["A"], 60, "book")
        eventually(lambda: len(heard) == 4)
    assert heard == [
        (["A"], 60.0, "candles"),
        (["B"], 90.0, "book"),
        (["A", "C"], 60.0, "book"),
        (["A"], 60.0, "book"),
    ]


def test_every_server_is_told_though_another_is_away(zmq_context: Any, endpoint: str) -> None:
    wishes = Wishes(zmq_context, endpoint + ".away", endpoint)
    with a_server(zmq_context, endpoint) as heard, passing_on(wishes):
        wishes.wish(["A"], 60, "book")
        eventually(lambda: heard == [(["A"], 60.0, "book")])


def test_more_than_one_question_may_name_goes_in_several_and_more_than_that_is_lost(
    zmq_context: Any, endpoint: str
) -> None:
    wishes = Wishes(zmq_context, endpoint)
    tickers = [f"T{number}" for number in range(MAX_WAITING)]
    with capture_logs() as logs:
        wishes.wish(tickers, 60, "book")
        wishes.wish(["X", "T0"], 60, "book")
    assert [(line["event"], line["tickers"]) for line in logs] == [("wishes.dropped", 1)]
    with a_server(zmq_context, endpoint) as heard, passing_on(wishes):
        eventually(lambda: len(heard) == MAX_WAITING // MAX_WISHED)
    assert {len(some) for some, _, _ in heard} == {MAX_WISHED}


def test_a_wish_while_nobody_answers_is_forgotten_and_the_next_one_goes(
    zmq_context: Any, endpoint: str
) -> None:
    wishes = Wishes(zmq_context, endpoint)
    with capture_logs() as logs, passing_on(wishes):
        wishes.wish(["A"], 60, "book")
        eventually(lambda: [line["event"] for line in logs] == ["wishes.unanswered"])
        with a_server(zmq_context, endpoint) as heard:
            wishes.wish(["B"], 0, "book")
            wishes.wish(["C"], 60, "book")
            eventually(lambda: heard)
    assert heard == [(["C"], 60.0, "book")]
    assert [line["event"] for line in logs] == ["wishes.unanswered", "wishes.refused"]
