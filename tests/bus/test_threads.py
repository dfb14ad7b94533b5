import threading
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from bus.clock import SystemClock
from bus.protocol.answers import Answers
from bus.protocol.memory import Slim
from bus.protocol.messages import CycleEnd, PublisherHealth
from bus.protocol.state import State
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.threads import Owner, assert_held, main_thread
from bus.wake import Wake
from tests.bus.elsewhere import elsewhere


def test_the_first_thread_that_uses_a_thing_owns_it() -> None:
    owner = Owner("the journal")
    owner.check()
    owner.check()
    assert "the journal belongs to thread" in str(elsewhere(owner.check))


def test_a_thing_can_be_handed_over() -> None:
    owner = Owner("the server")
    owner.check()
    assert elsewhere(owner.take) is None
    with pytest.raises(AssertionError, match="the server"):
        owner.check()


def test_a_lock_knows_who_holds_it() -> None:
    lock = threading.RLock()
    with pytest.raises(AssertionError, match="must hold"):
        assert_held(lock)
    with lock:
        with lock:
            assert_held(lock)
        assert_held(lock)
        assert elsewhere(lambda: assert_held(lock)) is not None


def test_the_main_thread_is_told_from_others() -> None:
    main_thread.check()
    assert "main thread only" in str(elsewhere(main_thread.check))


def test_who_changes_a_state_holds_its_lock() -> None:
    state = State(1)
    end = CycleEnd(1, 0, 0, 0, True, 1, 1)
    changes: list[Callable[[], Any]] = [
        lambda: state.apply("md.A.", 1, "hologram", []),
        lambda: state.put("md.A.", 1, "quote", []),
        lambda: state.settle(state.stream("md.A.")),
        lambda: state.end_cycle(end),
        lambda: state.set_cycle(end, {}),
        lambda: state.clear_stream("md.A."),
        lambda: Writer(1).relay([]),
    ]
    for change in changes:
        with pytest.raises(AssertionError, match="must hold"):
            change()
    with state.lock:
        for change in changes[:-1]:
            change()


def test_what_belongs_to_one_thread_says_so_to_another(zmq_context: zmq.Context[Any]) -> None:
    writer, answers, keeping, wake = Writer(1), Answers(lambda: None), Slim(), Wake()
    server = FeedServer(zmq_context, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", SystemClock(), PublisherHealth)
    uses: list[Callable[[], Any]] = [
        lambda: writer.heartbeat(PublisherHealth(), 1),
        lambda: writer.stream("md.A.", "quote", [], 1, 1),
        lambda: writer.commit([], CycleEnd(0, 0, 0, 0, True, 1, 1), 1, 1),
        lambda: answers.answer(b"", 1),
        lambda: keeping.keep("market", [], []),
        wake.clear,
        lambda: server.open(writer),
        lambda: server.send([]),
        server.beat,
    ]
    try:
        for use in uses:
            use()
            assert "belongs to thread" in str(elsewhere(use))
    finally:
        wake.close()
        server._close()
