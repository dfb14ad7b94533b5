"""A live feed that a connection can follow."""

from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from tests.bus.live import Live


@pytest.fixture
def live(zmq_context: zmq.Context[Any]) -> Iterator[Live]:
    live = Live(zmq_context)
    yield live
    live.close()
