"""What the front is told of answers that take the snapshot server long to make."""

from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from bus.clock import SystemClock
from snapshot_server import bodies
from snapshot_server.asgi import App
from snapshot_server.front import parent, templates
from snapshot_server.front.asked import Hot
from snapshot_server.front.messages import Template
from snapshot_server.front.parent import Front
from snapshot_server.http import Large
from tests.snapshot_server.front.tables import NUMBER, answered, request
from tests.snapshot_server.venue import a_cycle, a_writer
from tests.snapshot_server.views import CATALOGUE, NOW_MS, edition_after, edition_of, view_of

ASKED = request("/markets", "accept-encoding: gzip")


class World:
    """Two editions, and the front that is told of the second."""

    def __init__(self) -> None:
        writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
        self.first = edition_of(writer)
        writer.state.take_touched()
        writer.commit([], a_cycle(NOW_MS + 500, len(CATALOGUE.markets)), 0, NOW_MS)
        self.second = edition_after(writer, self.first, NOW_MS + 500)
        clock = SystemClock()
        counted: Counter[tuple[str, int]] = Counter()
        self.app = App(
            lambda: view_of(self.second),
            lambda: NOW_MS,
            counted,
            lambda: None,
            clock_s=lambda: clock.monotonic_ns() / 1e9,
        )
        self.front = Front(
            self.app,
            lambda: view_of(self.second),
            lambda _edition: None,
            counted,
            lambda: None,
            lambda: NOW_MS,
            clock,
        )

    def large(self) -> Large:
        large = answered(ASKED, view_of(self.second), NOW_MS).body
        assert isinstance(large, Large)
        return large

    def make_first(self) -> None:
        large = answered(ASKED, view_of(self.first), NOW_MS).body
        assert isinstance(large, Large)
        self.app.make(large)

    def template(self, known: Hot) -> Template | None:
        return self.front._template(ASKED, known, NUMBER + 1, self.second)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.app.close()


def test_what_the_front_is_told_the_snapshot_server_answers_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else its earlier body, which serves on until a successor is ready, would take a reader back in time.
    monkeypatch.setattr(bodies, "SLOW_S", -1.0)
    world.make_first()
    template = world.template(Hot(0.0, took_s=0.001))
    assert template is not None
    kept = world.app.bodies.get(world.large().key, world.second.number)
    assert kept is not None
    assert kept.edition is world.second
    assert kept.body.chunks == template.chunks


def test_what_took_long_is_not_made_for_a_request_that_is_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", -1.0)
    world.make_first()
    assert world.template(Hot(0.0)) is None


def test_what_takes_too_long_is_not_made_while_an_edition_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "MAX_MAKES_S", -1.0)
    made = world.app.make(world.large())
    known = Hot(0.0)
    assert world.template(known) is not None  # it is there already, but the next one will not be
    assert known.makes_s == made.took_s
    large = msgspec.structs.replace(world.large(), edition=world.first)
    for kept in (False, True):
        if not kept:
            world.app.bodies = bodies.Bodies()
        else:
            world.app.make(large)
        known.took_s = 0.001  # as if it had been tried before
        assert world.template(known) is None


def test_what_does_not_last_is_not_even_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", 60.0)  # however slow the machine is
    monkeypatch.setattr(templates, "lasts", lambda _response: False)
    world.make_first()
    assert world.template(Hot(0.0, took_s=0.001)) is None
    kept = world.app.bodies.get(world.large().key, world.second.number)
    assert kept is not None
    assert kept.edition is world.first


def test_what_is_made_quickly_is_given_to_the_front_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW_S", 60.0)  # however slow the machine is
    assert world.template(Hot(0.0)) is None  # nobody knows yet
    world.make_first()
    assert world.template(Hot(0.0)) is not None


def test_what_is_there_already_is_not_made_again(world: World) -> None:
    made = world.app.make(world.large())
    template = world.template(Hot(0.0))
    assert template is not None
    assert template.chunks is made.body.chunks
