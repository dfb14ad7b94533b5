"""What the front is told of answers that took the snapshot server long to make."""

from collections import Counter
from typing import cast

from bus.clock import SystemClock
from snapshot_server.asgi import KEPT_S, SLOW_S, App, Kept
from snapshot_server.front.asked import Hot
from snapshot_server.front.messages import Template
from snapshot_server.front.parent import Front
from snapshot_server.http import Large
from tests.snapshot_server.front.tables import NUMBER, answered, request
from tests.snapshot_server.venue import a_cycle, a_writer
from tests.snapshot_server.views import CATALOGUE, NOW_MS, edition_after, edition_of, view_of

ASKED = request("/markets", "accept-encoding: gzip")


class Clock(SystemClock):
    """A steady clock that is set."""

    steady_s = 1_000.0

    def monotonic_ns(self) -> int:
        return int(self.steady_s * 1e9)


class World:
    """Two editions: of the first the snapshot server has made a body, and the front is told of the second."""

    def __init__(self) -> None:
        writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
        self.first = edition_of(writer)
        writer.state.take_touched()
        writer.commit([], a_cycle(NOW_MS + 500, len(CATALOGUE.markets)), 0, NOW_MS)
        self.second = edition_after(writer, self.first, NOW_MS + 500)
        self.made: Kept | None = None
        self.clock = Clock()
        self.front = Front(
            cast(App, self),
            lambda: view_of(self.second),
            lambda _edition: None,
            Counter(),
            lambda: None,
            lambda: NOW_MS,
            self.clock,
        )

    def kept(self, _large: Large) -> Kept | None:
        return self.made

    def make(self, took_s: float) -> None:
        large = answered(ASKED, view_of(self.first), NOW_MS).body
        assert isinstance(large, Large)
        now_s = self.clock.steady_s
        self.made = Kept(self.first, large.prepare(lambda: None), now_s, took_s, now_s)

    def template(self) -> Template | None:
        return self.front._template(ASKED, Hot(0.0, took_s=0.001), NUMBER + 1, self.second)


def test_while_the_snapshot_server_may_answer_with_an_earlier_body_the_front_has_no_later_one() -> None:
    world = World()
    world.make(took_s=2 * SLOW_S)
    assert world.template() is None
    world.clock.steady_s += KEPT_S
    assert world.template() is not None


def test_what_is_made_quickly_is_given_to_the_front_with_each_edition() -> None:
    world = World()
    world.make(took_s=SLOW_S / 2)
    assert world.template() is not None
