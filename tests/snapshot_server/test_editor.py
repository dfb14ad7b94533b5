"""The thread that makes editions, without its thread."""

from typing import cast

from bus.clock import SystemClock
from bus.protocol.state import State
from bus.replica import Replica
from snapshot_server.editor import Editor
from tests.snapshot_server.venue import a_writer, requoted
from tests.snapshot_server.views import CATALOGUE, NOW_MS, assert_same, edition_of


class Still:
    """What an editor needs of a replica."""

    def __init__(self, state: State) -> None:
        self.state = state

    def now_ms(self) -> int:
        return NOW_MS


def test_an_edition_goes_when_nobody_reads_it_any_more_and_not_before() -> None:
    writer = a_writer(CATALOGUE, NOW_MS, NOW_MS)
    quotes = iter([requoted(CATALOGUE.quotes[:1], number, NOW_MS) for number in range(9)])
    editor = Editor(SystemClock())

    def update() -> None:
        writer.stream(writer.state.stream_of[CATALOGUE.quotes[0].ticker], "quote", next(quotes), 0, 0)
        editor.update(cast(Replica, Still(writer.state)))

    update()
    read = editor.edition
    assert read is not None
    part = read.moving
    for _ in range(3):
        update()
    assert_same(read, read)
    assert len(part) == len(CATALOGUE.markets)
    del read
    update()
    assert not part
    assert editor.edition is not None
    assert_same(editor.edition, edition_of(writer))


def test_another_state_is_taken_as_a_whole() -> None:
    editor = Editor(SystemClock())
    for epoch in (NOW_MS, NOW_MS + 1):
        writer = a_writer(CATALOGUE, epoch, NOW_MS)
        for number in range(2):
            quote = requoted(CATALOGUE.quotes[:1], number, NOW_MS)
            writer.stream(writer.state.stream_of[quote[0].ticker], "quote", quote, 0, 0)
            editor.update(cast(Replica, Still(writer.state)))
            assert editor.edition is not None
            assert_same(editor.edition, edition_of(writer))
