"""What ``make soak`` knows. A check takes the seed it is told and nothing else by chance."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.bus.protocol.test_join import SyncMachine
from tests.publisher.test_day import live_a_day
from tests.soak.driver import Target
from tests.trader.test_crash import POINTS, die_and_go_on

EXAMPLES: Final = 25


def machine(kind: type[RuleBasedStateMachine], steps: int) -> Callable[[int], int]:
    """Return a check that plays a state machine's rules in orders a seed gives."""

    def check(seed: int) -> int:
        played = 0

        def made() -> RuleBasedStateMachine:
            nonlocal played
            played += 1
            return kind()

        factory: Any = hypothesis.seed(seed)(made)
        run_state_machine_as_test(factory, settings=settings(seeded(), stateful_step_count=steps))
        return played

    return check


def seeded() -> settings:
    """Hypothesis with the seed's examples only: none remembered, none shrunk (that takes minutes)."""
    return settings(
        max_examples=EXAMPLES,
        derandomize=False,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


def crashes(seed: int) -> int:
    """Kill the trader at up to eight steps of its work, one after the other."""
    random = Random(seed)
    kills = [
        (random.choice(sorted({point for point, _ in POINTS})), random.randint(1, 6))
        for _ in range(random.randint(1, 8))
    ]
    with tempfile.TemporaryDirectory(prefix="kb-soak-") as folder:
        return die_and_go_on(Path(folder), kills)


TARGETS: Final[dict[str, Target]] = {
    "crash": Target(
        "the trader, killed at any step, again and again, goes on from its journal", "kills", crashes
    ),
    "day": Target(
        "a day of sweeps and books at 130,000 markets is in time and never refused", "requests", live_a_day
    ),
    "sync": Target(
        "join and repair over wires that lose, double and swap", "histories", machine(SyncMachine, 50)
    ),
}
