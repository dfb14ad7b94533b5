"""Fixtures of the alerts' tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Runner
from tests.ui.stage import Stage


@pytest.fixture
def stage(zmq_context: Any, runner: Runner) -> Iterator[Stage]:
    """A publisher and a snapshot server in the run directory of `runner`."""
    stage = Stage(zmq_context, runner.run_dir)
    yield stage
    stage.close()
