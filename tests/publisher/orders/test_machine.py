"""Any interleaving of orders, cancels, amends, faults, deaths and time: the gateway's promises hold."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from markets.orders import OrderState
from publisher.orders.limits import cost_e6
from simulator.universe import templates
from simulator.universe.templates import Recorded

from .world import FAULTS, SWITCHES, World

_RECORDED: list[Recorded] = []


def _recorded() -> Recorded:
    if not _RECORDED:
        _RECORDED.append(templates.load())
    return _RECORDED[0]


class OrderMachine(RuleBasedStateMachine):
    """`World` asserts what is told, step by step, and in the end that it is what the exchange's books say."""

    @initialize(
        seed=st.integers(0, 2**32),
        flipped=st.sets(st.sampled_from(sorted(SWITCHES)), max_size=3),
        rate=st.sampled_from((0.0, 0.1, 0.4)),
    )
    def begin(self, seed: int, flipped: set[str], rate: float) -> None:
        switches = {name: SWITCHES[name][-1] for name in sorted(flipped)}
        self.world = World(_recorded(), seed, markets=40, switches=switches, fault_rate=rate)

    @rule(times=st.integers(1, 4))
    def place(self, times: int) -> None:
        for _ in range(times):
            self.world.place()

    @rule()
    def cancel(self) -> None:
        self.world.cancel()

    @rule()
    def amend(self) -> None:
        self.world.amend()

    @rule(fault=st.sampled_from(FAULTS))
    def hurt(self, fault: str) -> None:
        self.world.faults = (fault,)
        self.world.hurt()

    @rule()
    def heal(self) -> None:
        self.world.heal()

    @rule()
    def die(self) -> None:
        self.world.die()

    @rule(ms=st.sampled_from((1, 7, 40, 300, 2_000, 9_000, 31_000)))
    def time_passes(self, ms: int) -> None:
        self.world.run(self.world.now_ms + ms)

    @rule()
    def listen(self) -> None:
        self.world.listen()

    @rule()
    def by_hand(self) -> None:
        self.world.hand_made()

    @invariant()
    def what_may_be_lost_is_within_the_limit(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        status = world.core.gateway(world.now)
        assert status.exposure_e6 <= world.settings.total_e6
        for order in world.core._state.active.values():
            assert cost_e6(order.intent, order.dearest_e4, order.most_e2) <= 2 * world.settings.order_e6
            if order.state is OrderState.UNKNOWN:
                assert order.deadline_ms is not None

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is not None:
            world.settle()
            world.compare()


@pytest.mark.slow
def test_whatever_happens_in_whatever_order_the_promises_hold() -> None:
    run_state_machine_as_test(
        OrderMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        ),
    )
