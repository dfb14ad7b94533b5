"""What the front is told of answers that take long to make: they last, and nobody is taken back in time."""

import socket
from collections import Counter
from typing import Any, cast

import pytest

from bus.clock import SystemClock
from snapshot_server.asgi import MAX_REUSE_S, App, Kept
from snapshot_server.edition import Edition
from snapshot_server.front.asked import HOT_S, Hot
from snapshot_server.front.messages import Inbox, Template
from snapshot_server.front.parent import LASTS_S, MAX_BYTES, MAX_SLOW, Front
from snapshot_server.front.table import MAX_LASTING
from snapshot_server.http import Large
from snapshot_server.view import View
from tests.snapshot_server.front.tables import (
    NUMBER,
    answered,
    cold_table,
    expected,
    passed_over,
    request,
    told,
    whole,
)
from tests.snapshot_server.venue import a_cycle, a_writer
from tests.snapshot_server.views import CATALOGUE, NOW_MS, edition_after, edition_of, view_of

ASKED = request("/markets", "accept-encoding: gzip")


class Clock(SystemClock):
    """A steady clock that is set."""

    steady_s = 1_000.0

    def monotonic_ns(self) -> int:
        return int(self.steady_s * 1e9)


class Application:
    """It has made one body."""

    def __init__(self, edition: Edition) -> None:
        self.edition = edition
        self.made: Kept | None = None

    def make(self, ready_s: float, took_s: float) -> None:
        large = answered(ASKED, view_of(self.edition), NOW_MS).body
        assert isinstance(large, Large)
        self.made = Kept(self.edition, large.prepare(lambda: None), ready_s, took_s, ready_s)

    def kept(self, _large: Large) -> Kept | None:
        return self.made


class World:
    """Two editions, the second of which is the one that answers are made of."""

    def __init__(self) -> None:
        writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
        self.first = edition_of(writer)
        writer.state.take_touched()
        writer.commit([], a_cycle(NOW_MS + 500, len(CATALOGUE.markets)), 0, NOW_MS)
        self.second = edition_after(writer, self.first, NOW_MS + 500)
        self.app, self.clock = Application(self.first), Clock()
        self.front = Front(
            cast(App, self.app),
            lambda: self.view,
            lambda _edition: None,
            Counter(),
            lambda: None,
            lambda: NOW_MS,
            self.clock,
        )

    @property
    def view(self) -> View:
        return view_of(self.second)

    def template(self, known: Hot) -> Template | None:
        return self.front._template(ASKED, known, NUMBER + 1, self.second)


def test_what_took_long_to_make_is_answered_until_the_snapshot_server_would_make_it_anew() -> None:
    world, known = World(), Hot(0.0)
    world.app.make(world.clock.steady_s, 3.0)
    template = world.template(known)
    assert template is not None
    assert known.slow
    assert template.until_s == world.clock.steady_s + MAX_REUSE_S
    assert world.template(known) is None, "the front has it"
    table = cold_table(world.first)
    table.take(passed_over(template), 0.0)
    for now_ms in (NOW_MS + 900, NOW_MS + 90_000):
        told(table, view=world.view, number=NUMBER + 1)
        answer = table.answer(ASKED, now_ms, template.until_s - 0.01)
        assert whole(answer) == expected(answered(ASKED, view_of(world.first), now_ms)), "its age, its ETag"
    assert table.answer(ASKED, now_ms + 1, template.until_s) is None
    assert table.answer(ASKED, now_ms + 2, template.until_s - 0.01) is None, "once and for all"


def test_its_successor_is_told_once_it_is_made() -> None:
    world, known = World(), Hot(0.0)
    world.app.make(world.clock.steady_s, 3.0)
    assert world.template(known) is not None
    world.clock.steady_s += MAX_REUSE_S
    world.app.edition = world.second
    known.took_s = 0.001
    assert world.template(known) is None
    world.app.made = None
    assert world.template(known) is None, "it is not made for the front, which would hold up the edition"
    assert known.slow
    world.app.make(world.clock.steady_s, 3.0)
    template = world.template(known)
    assert template is not None
    assert template.position[1] == world.second.seq
    world.app.make(world.clock.steady_s, LASTS_S / 2)
    template = world.template(known)
    assert template is not None
    assert not template.until_s, "made quickly this time"
    assert not known.slow


def test_it_is_told_for_as_long_as_it_is_asked_for() -> None:
    world = World()
    world.front.show(world.second)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)

        def told_new() -> list[float]:
            world.front._tell_new(ours)
            try:
                news = list(Inbox().feed(theirs.recv(1 << 20)))
            except BlockingIOError:
                return []
            return [one.until_s for one in news if isinstance(one, Template)]

        for _ in range(2):
            world.front._asked.ask(ASKED, world.clock.steady_s)
        world.app.make(world.clock.steady_s, 3.0)
        for _ in range(4):
            assert told_new() == [world.clock.steady_s + MAX_REUSE_S]
            assert told_new() == []
            world.clock.steady_s += 3 * MAX_REUSE_S
            assert told_new() == []
            world.front._asked.answered(ASKED, world.clock.steady_s)
            world.app.make(world.clock.steady_s, 3.0)
        for number in range(3 * MAX_SLOW):
            asked = request("/markets", "accept-encoding: gzip", f"x-number: {number}")
            for _ in range(2):
                world.front._asked.ask(asked, world.clock.steady_s)
        for _, known in world.front._asked.hot(world.clock.steady_s):
            known.slow = True
        while world.front._asked.new() is not None:
            pass
        assert len(told_new()) == MAX_SLOW, "however many ask in how many ways"
        world.clock.steady_s += HOT_S + 1
        world.app.make(world.clock.steady_s, 3.0)
        assert told_new() == []


@pytest.mark.parametrize("late_s", [MAX_REUSE_S, 100.0])
def test_a_body_that_the_snapshot_server_would_make_anew_is_not_told(late_s: float) -> None:
    world, known = World(), Hot(0.0)
    world.app.make(world.clock.steady_s - late_s, 3.0)
    assert world.template(known) is None


def test_a_body_that_takes_long_and_is_too_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapshot_server.front.parent.MAX_BYTES", 100)
    assert MAX_BYTES > 100
    world = World()
    for edition in (world.first, world.second):
        world.app.edition = edition
        world.app.make(world.clock.steady_s, 3.0)
        for known in (Hot(0.0), Hot(0.0, 0.1), Hot(0.0, 0.1, slow=True)):
            assert world.template(known) is None
            assert not known.slow


def test_few_templates_last() -> None:
    world = World()
    world.app.make(world.clock.steady_s, 3.0)
    template = world.template(Hot(0.0))
    assert template is not None
    table = cold_table(world.first)
    fields: dict[str, Any] = {name: getattr(template, name) for name in Template.__struct_fields__}
    for number in range(2 * MAX_LASTING):
        table.take(Template(**(fields | {"request": b"%d" % number})), 0.0)
    assert len(table._lasting) == MAX_LASTING
