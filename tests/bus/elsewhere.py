"""Work done in another thread."""

import threading
from collections.abc import Callable


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
