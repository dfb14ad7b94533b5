import threading
from collections.abc import Callable

import pytest

from bus.threads import Owner, assert_held, main_thread


def elsewhere(job: Callable[[], None]) -> BaseException | None:
    """What `job` raises in a thread of its own."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except AssertionError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


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
