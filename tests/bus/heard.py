"""A server that keeps what it hears."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.server import QueryServer

Heard = list[tuple[list[str], float, str]]


@contextmanager
def a_server(context: Any, endpoint: str) -> Iterator[Heard]:
    """Give what a server on `endpoint` hears wished for while it is up."""
    heard: Heard = []
    answers = Answers(
        lambda: None, on_wish=lambda tickers, ttl_s, _now_ms, what: heard.append((tickers, ttl_s, what))
    )
    server, stop = QueryServer(context, endpoint, answers, lambda: 0), Stop()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield heard
    finally:
        stop.set()
        thread.join()
        stop.close()


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/w.sock"
