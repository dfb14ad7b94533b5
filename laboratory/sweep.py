"""Many runs; each result is kept as soon as it is available."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from bus.clock import Clock

from .outcome import Outcome, Plan
from .processes import Failed, carried_out
from .runs import Store, run


class Done(NamedTuple):
    """Progress over all runs: the share of the work done, finished runs, and all runs."""

    part: float
    runs: int
    of: int


def sweep(
    plans: Sequence[Plan], store: Store, processes: int, clock: Clock | None = None
) -> Iterator[tuple[Done, Outcome | None]]:
    """Do all runs without a kept result; yield the progress, and each result once it is kept.

    The caller may stop at any time; finished runs are kept. Main thread only.

    Args:
        clock: by which a run that makes no progress is stuck; the system's if None.

    Raises:
        OSError: a result cannot be kept.
        KeyboardInterrupt: a signal told to stop, Ctrl-C or another; a second one ends the process at once.
    """
    kept = [(plan, store.get(plan)) for plan in plans]
    weights = {plan.name: max(plan.hours, 0.1) for plan in plans}
    whole = sum(weights.values()) or 1.0
    parts = {plan.name: 1.0 for plan, outcome in kept if outcome is not None}
    finished = 0

    def done() -> Done:
        return Done(sum(weights[name] * part for name, part in parts.items()) / whole, finished, len(plans))

    for _, outcome in kept:
        if outcome is not None:
            finished += 1
            yield done(), outcome
    missing = [plan for plan, outcome in kept if outcome is None]
    with closing(carried_out(missing, run, processes, clock)) as told:
        for number, said in told:
            plan = missing[number]
            if isinstance(said, float):
                parts[plan.name] = said
                yield done(), None
                continue
            outcome = Outcome(plan=plan, error=said.error) if isinstance(said, Failed) else said
            store.put(outcome)
            finished += 1
            parts[plan.name] = 1.0
            yield done(), outcome
