"""The process of one source: loads it, follows the feed, asks it again and again, and passes on its answers.

``python -m trader.fair_values.host PARENT FD FEED QUERY LOG_LEVEL FOLDER TEXT``, started only by the trader.
It has no settings, no key and no way to the exchange, only its own replica. Whatever it prints goes where the
trader's log goes.
"""

import os
import sys
import time
from pathlib import Path
from typing import Final

import structlog

from bus.notebook import Connection
from bus.process import logs
from bus.process.child import die_with_parent
from bus.process.settings import variable_of
from markets.errors import StartupError
from trader.extensions.faults import trace_of
from trader.extensions.load import Family, Loader, in_words, pass_on

from . import BUILT_IN
from .checked import answer_of
from .pipe import (
    MAX_TEXT,
    AnySourceMessage,
    SourceFailed,
    SourceHello,
    SourceRefused,
    SourceWaits,
    frame,
)
from .source import Source

log = structlog.get_logger()

CONNECT_S: Final = 2.0
WAIT_S: Final = 0.5
EVERY_S: Final = (0.1, 3_600.0)

FAMILY: Final = Family(
    what="source of fair values",
    setting=variable_of("fair_values"),
    group="kalshi_bus.fair_values",
    calls=("values",),
    built_in=BUILT_IN,
)


def host(fd: int, feed: str, query: str, folder: Path, text: str) -> int:
    """Ask a source until the trader is gone; return the exit code.

    Args:
        fd: the pipe to the trader.
        feed, query: endpoints of the bus.
        folder: where a relative path of `text` begins.
        text: the source's text in the settings.
    """
    with os.fdopen(fd, "wb", buffering=0) as pipe:

        def say(message: AnySourceMessage) -> None:
            body = memoryview(frame(message))
            while body:
                body = body[pipe.write(body) :]

        try:
            try:
                source, name, every_s, topics = load(text, folder)
            except StartupError as error:
                say(SourceRefused(str(error)[:MAX_TEXT]))
                return 2
            say(SourceHello(name, every_s))
            while True:
                try:
                    bus = Connection(feed, query, topics, CONNECT_S)
                except TimeoutError:
                    say(SourceWaits())
                    continue
                with bus:
                    while True:
                        message = ask(source, bus)
                        say(message)
                        time.sleep(WAIT_S if isinstance(message, SourceWaits) else every_s)
        except BrokenPipeError:
            return 0  # the trader has gone


def load(text: str, folder: Path) -> tuple[Source, str, float, tuple[str, ...]]:
    """Return the source that a text names, its name, how often to ask it, and the topics that it follows.

    Raises:
        StartupError: there is none, or it cannot be made.
    """
    loader = Loader(FAMILY, folder)
    (spec,) = loader.specs([text])
    loaded = loader.load(spec)
    try:
        source: Source = loaded.make()
        every_s = float(getattr(source, "every_s", 1.0))
        if not EVERY_S[0] <= every_s <= EVERY_S[1]:
            raise ValueError(f"every_s: got {every_s}, expected {EVERY_S[0]:g} to {EVERY_S[1]:g} seconds")
        topics = tuple(getattr(source, "topics", ("",)))
        if not topics or not all(isinstance(topic, str) for topic in topics):
            raise ValueError(f"topics: got {topics!r:.100}, expected prefixes of topics")
    except BaseException as error:  # noqa: BLE001, whatever a user's code raises is reported
        pass_on(error)
        loader.refuse_failed(spec, "its constructor", error)
    return source, loaded.name, every_s, topics


def ask(source: Source, bus: Connection) -> AnySourceMessage:
    """Ask a source; return what to tell the trader."""
    if not bus.status().live:
        return SourceWaits()
    try:
        return answer_of(source.values(bus), bus.replica.now_ms())
    except BaseException as error:  # noqa: BLE001, only this source is affected
        pass_on(error)
        return SourceFailed(in_words(error), trace_of(error, MAX_TEXT))


def main(arguments: list[str]) -> int:
    """Run with the command line that the trader made."""
    parent, fd, feed, query, level, folder, text = arguments
    die_with_parent(int(parent))
    logs.configure("source", level)
    return host(int(fd), feed, query, Path(folder), text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
