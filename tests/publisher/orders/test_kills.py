"""Killed with SIGKILL at every step of an order's life, the gateway goes on from its log."""

import pytest

from tests.publisher.orders.kills import POINTS, kill_again_and_again
from tests.support import Runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_killed_at_any_step_no_order_is_lost_doubled_or_forgotten(runner: Runner) -> None:
    """Hundreds more: make soak gateway_kills."""
    assert kill_again_and_again(runner, POINTS) >= len(POINTS) - 2
