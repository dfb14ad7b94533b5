"""What ``make soak`` knows. A check takes the seed it is told and nothing else by chance."""

import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from random import Random
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from simulator.universe import templates
from tests.bridge.chaos import endure
from tests.bus.protocol.damage import check_flips
from tests.bus.protocol.lines import SyncMachine
from tests.bus.repair import Repair, check_repairs, distribution
from tests.bus.tape.planted import INSIDE, a_recording, check_planted
from tests.bus.tape.remembered import check_moments
from tests.fuzz.targets import TARGETS as FUZZED
from tests.fuzz.targets import fast_folder, fuzz
from tests.publisher.drift_matrix import sampled as changed_members
from tests.publisher.orders.drills import DRILLS, drill, mountable
from tests.publisher.orders.kills import POINTS as GATEWAY_POINTS
from tests.publisher.orders.kills import kill_again_and_again
from tests.publisher.orders.world import soak as live_orders
from tests.publisher.test_day import live_a_day
from tests.publisher.test_held import AnyDay, SlicedDay
from tests.simulator.killed import kill_and_look
from tests.simulator.matching.test_accounts import live_long
from tests.simulator.test_life import six_hours
from tests.simulator.whole import live
from tests.snapshot_server.test_openapi import test_whatever_is_asked_the_answer_is_as_described
from tests.snapshot_server.websocket.test_protocol import Followers
from tests.soak.driver import Target
from tests.support import Runner
from tests.trader.engine.test_rebalance import (
    test_in_the_end_legs_are_even_or_the_remainder_is_known_and_no_follow_up_made_it_worse,
)
from tests.trader.ledger.test_lots import (
    test_any_fills_any_settlement_and_its_corrections_add_up_in_all_three_views,
)
from tests.trader.test_crash import POINTS, die_and_go_on
from tests.trader.week import Week

EXAMPLES: Final = 25
GATEWAY_KILLS: Final = 3
INPUTS: Final = 100
LOSSES: Final = 20
WEEK_HOURS: Final = 168
STEPS: Final = 200


_repairs: list[Repair] = []


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


def examples(test: Callable[[], None]) -> Callable[[int], int]:
    """Return a check that gives a test with `@given` the examples of a seed, as many as the test has."""
    given: Any = test

    def check(seed: int) -> int:
        tried = 0
        inner, before = given.hypothesis.inner_test, vars(given).copy()

        @wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> None:
            nonlocal tried
            tried += 1
            inner(*args, **kwargs)

        given.hypothesis.inner_test = counted
        try:
            hypothesis.seed(seed)(given)()
        finally:
            # The test's own run is not to have this seed.
            given.hypothesis.inner_test = inner
            vars(given).clear()
            vars(given).update(before)
        return tried

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


def exchanges(seed: int) -> int:
    """Live in a whole exchange."""
    with tempfile.TemporaryDirectory(prefix="kb-soak-", dir=fast_folder()) as folder:
        return live(templates.load(), Path(folder), seed, STEPS, hours=0.005)


def fuzzed(seed: int) -> int:
    """Give everything that reads bytes from outside as many inputs."""
    for name in FUZZED:
        with tempfile.TemporaryDirectory(prefix="kb-fuzz-", dir=fast_folder()) as folder:
            fuzz(name, seed, INPUTS, Path(folder))
    return INPUTS


def orders_lived(seed: int) -> int:
    """Place orders through the gateway's core; print how long what was unknown took."""
    world = live_orders(templates.load(), seed, 150)
    longest = {how: max(took, default=0) for how, took in world.longest.items()}
    print(
        f"seed {seed}: longest, ms: {longest}; came after all: {world.counts['came after all']}", flush=True
    )
    return world.counts["orders"]


def gateway_kills(seed: int) -> int:
    """Kill the order gateway at steps of its orders' lives that a seed gives; return how many were met."""
    random = Random(seed)
    names = sorted({name for name, _ in GATEWAY_POINTS})
    kills = [(random.choice(names), random.randint(1, 8)) for _ in range(GATEWAY_KILLS)]
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        runner = Runner(Path(folder))
        try:
            return kill_again_and_again(runner, kills)
        finally:
            with contextlib.redirect_stdout(io.StringIO()):
                runner.close()


def ledger_week(seed: int) -> int:
    """Trade for a week of an exchange's time; print how it went every day, and the worst difference."""
    with tempfile.TemporaryDirectory(prefix="kb-soak-", dir=fast_folder()) as folder:
        week = Week(templates.load(), Path(folder), seed, markets=60, step_ms=2_000)
        try:
            outcome = week.live_on(WEEK_HOURS, lambda line: print(f"seed {seed}: {line}", flush=True))
        finally:
            week.end()
    return outcome.hours


def order_drills(seed: int) -> int:
    """Do all drills of orders' ends in an order that a seed gives; print how long each took."""
    names = [name for name, one in DRILLS.items() if mountable() or not one.takes_root]
    Random(seed).shuffle(names)
    print(f"seed {seed}:", flush=True)
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        runner = Runner(Path(folder))
        try:
            return len(drill(runner, names, partial(print, flush=True)))
        finally:
            with contextlib.redirect_stdout(io.StringIO()):
                runner.close()


def repairs(seed: int) -> int:
    """Plant losses in one life of publisher, snapshot server and readers; print how long they took."""
    taken = check_repairs(seed, LOSSES)
    _repairs.extend(taken)
    print(f"seed {seed}, this run so far: {distribution(_repairs)}", flush=True)
    return len(taken)


def killed(seed: int) -> int:
    """Kill the simulator three times while orders flow."""
    with tempfile.TemporaryDirectory(prefix="kb-soak-") as folder:
        return kill_and_look(Path(folder), seed, 3)


def moments(seed: int) -> int:
    """Compare random moments of a recording."""
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        recorded, _ = check_moments(Path(folder) / "day", seed, INPUTS)
        recorded.folder.close()
    return INPUTS


def recordings(seed: int) -> int:
    """Plant faults of every kind at random places of a recording."""
    rng = Random(seed)
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        a_recording(Path(folder) / "day", seed)
        for fault in INSIDE:
            check_planted(Path(folder) / "day", fault, rng.randint(1, 3), rng.randrange(1 << 30))
    return len(INSIDE)


TARGETS: Final[dict[str, Target]] = {
    "accounts": Target(
        "the simulated exchange's money agrees with a slow reference, and none is ever negative",
        "steps",
        live_long,
    ),
    "bridge": Target(
        "twenty remote replicas agree with the publisher whatever of bridge, server and network breaks",
        "agreements",
        endure,
        long=True,
    ),
    "crash": Target(
        "the trader, killed at any step, again and again, goes on from its journal", "kills", crashes
    ),
    "damage": Target(
        "whatever bit of whatever message is another, a replica heals",
        "bits",
        lambda seed: check_flips(seed, INPUTS),
    ),
    "day": Target(
        "a day of sweeps and books at 130,000 markets is in time and never refused", "requests", live_a_day
    ),
    "drift": Target(
        "of some changed members of replies and frames, each is noticed and nothing else is",
        "changes",
        changed_members,
    ),
    "exchange": Target(
        "the simulated exchange's answers, frames and books agree, through pauses and restarts",
        "steps",
        exchanges,
    ),
    "floor": Target(
        "the simulated exchange lives six hours with two users, and no micro-dollar comes or goes",
        "steps",
        six_hours,
    ),
    "fuzz": Target(f"nothing from outside ends anything ({', '.join(FUZZED)})", "inputs of each", fuzzed),
    "held": Target(
        "whatever the exchange does, a complete sweep is the truth", "histories", machine(AnyDay, 40)
    ),
    "gateway_kills": Target(
        "the order gateway, killed at any step of an order's life, loses and doubles nothing",
        "kills",
        gateway_kills,
        long=True,
    ),
    "killed": Target(
        "the simulator, killed while orders flow, knows every order that it answered", "orders", killed
    ),
    "ledger_week": Target(
        "a week of trading through the order gateway: ledger and exchange are equal at every hour",
        "hours",
        ledger_week,
        long=True,
    ),
    "lots": Target(
        "any fills and any settlement add up in all three views",
        "examples",
        examples(test_any_fills_any_settlement_and_its_corrections_add_up_in_all_three_views),
    ),
    "moments": Target(
        "any moment of a recording is as it was, while the recording grows", "moments", moments
    ),
    "recordings": Target(
        "what is dropped, doubled, swapped or edited in a recording is found where it is",
        "faults",
        recordings,
    ),
    "openapi": Target(
        "whatever is asked over HTTP, no 5xx, and the answer is as described",
        "questions",
        examples(test_whatever_is_asked_the_answer_is_as_described),
    ),
    "order_drills": Target(
        "whatever dies, stands still or is cut off, nothing of ours rests longer than it may",
        "drills",
        order_drills,
        long=True,
    ),
    "orders": Target(
        "whatever the exchange does and however often the order gateway dies: no order twice, no fill "
        "lost, and the money adds up",
        "orders",
        orders_lived,
    ),
    "rebalance": Target(
        "legs end even or the remainder is known, and no follow-up makes it worse",
        "examples",
        examples(test_in_the_end_legs_are_even_or_the_remainder_is_known_and_no_follow_up_made_it_worse),
    ),
    "repair": Target("of planted losses and kills, every copy is proven again in time", "losses", repairs),
    "slices": Target("the same as held, with events read in slices", "histories", machine(SlicedDay, 40)),
    "sync": Target(
        "join and repair over wires that lose, double and swap", "histories", machine(SyncMachine, 50)
    ),
    "websocket": Target(
        "books of WebSocket clients that are slow, ask again and go are the replica's",
        "histories",
        machine(Followers, 50),
    ),
}
