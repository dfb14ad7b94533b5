"""A source's process, whatever it does: what it costs is counted, named, and costs it alone."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bus.clock import SystemClock
from markets.errors import StartupError
from tests.support import eventually
from trader.fair_values.hosted import HostedSource, Patience, SourceState, refuse_twins, start_sources

PATIENCE = Patience(start_s=20.0, deadline_s=2.0, keep_s=1.0, stable_s=60.0, backoff_s=(0.05, 0.1))
BEGIN = """
import os, sys, time
from trader.fair_values.pipe import *
out = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
life = int(open(sys.argv[2]).read() or 0) if os.path.exists(sys.argv[2]) else 0
open(sys.argv[2], "w").write(str(life + 1))
def say(message):
    out.write(frame(message))
def answer(*values, refused=0, errors=()):
    now_ms = round(time.time() * 1000)
    say(SourceAnswer(tuple((ticker, share, 0.0, now_ms) for ticker, share in values), refused, errors))
def for_ever(*values):
    while True:
        answer(*values)
        time.sleep(0.05)
"""
HELLO = "say(SourceHello('mine', 0.1))\n"

Start = Callable[[str], HostedSource]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that does this; in it `life` counts its starts from 0."""
    started: list[HostedSource] = []

    def start(script: str) -> HostedSource:
        lives = str(tmp_path / "lives")
        source = HostedSource(
            "mine", lambda fd: [sys.executable, "-c", BEGIN + script, str(fd), lives], SystemClock(), PATIENCE
        )
        started.append(source)
        source.start()
        return source

    yield start
    for source in started:
        source.stop()


def until(source: HostedSource, holds: Callable[[SourceState], bool]) -> SourceState:
    eventually(lambda: holds(source.state), what=str(source.state))
    return source.state


def test_its_values_are_there_as_long_as_it_says_them(begin: Start) -> None:
    source = begin(HELLO + "answer(('A', 0.25), ('B', 0.5)); time.sleep(0.2); for_ever(('A', 0.75))")

    assert source.wait_ready() == "mine"
    state = until(source, lambda state: bool(state.values))
    assert state.word == "answers"
    assert {(value.ticker, value.source) for value in state.values.values()} <= {("A", "mine"), ("B", "mine")}
    state = until(source, lambda state: [value.probability for value in state.values.values()] == [0.75])
    held = state.values
    until(source, lambda now: now.answered_ms is not None and now.answered_ms != state.answered_ms)
    assert source.state.values is held  # the same again is no news
    assert (source.state.failures, source.state.restarts) == (0, 0)


@pytest.mark.parametrize(
    ("deed", "says"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        ("time.sleep(600)", "did not answer within"),
        ("out.write(b'GET / HTTP/1.1' * 10)", "said nonsense"),
        ("out.write((2**31).to_bytes(4))", "said nonsense"),
        ("answer(('A', 2.0)); time.sleep(600)", "said nonsense"),
        ("answer(('A', float('nan'))); time.sleep(600)", "said nonsense"),
        ("out.close(); time.sleep(600)", "closed its pipe"),
        ("say(SourceRefused('edited since')); time.sleep(600)", "edited since"),
    ],
)
def test_one_that_dies_or_is_late_or_talks_nonsense_is_started_again(
    begin: Start, deed: str, says: str
) -> None:
    source = begin(HELLO + f"answer(('A', 0.5))\nif life == 0:\n    {deed}\nfor_ever(('A', 0.5))")
    source.wait_ready()

    state = until(source, lambda state: state.restarts == 1)
    assert says in "".join(state.errors) or state.word == "answers"
    state = until(source, lambda state: state.word == "answers" and state.errors == ())
    assert (state.failures, state.restarts) == (1, 1)
    assert set(state.values) == {"A"}


def test_values_are_taken_back_when_it_stays_dead(begin: Start) -> None:
    source = begin(HELLO + "if life == 0:\n    answer(('A', 0.5))\nos._exit(1)")
    source.wait_ready()

    until(source, lambda state: state.restarts > 0)
    state = until(source, lambda state: not state.values and state.answered_ms is not None)
    assert state.failures == state.restarts >= 1


def test_one_that_raises_is_asked_again_and_its_values_hold_meanwhile(
    begin: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    source = begin(
        HELLO + "answer(('A', 0.5))\n"
        "for _ in range(3):\n    say(SourceFailed('ValueError: no', 'Traceback'))\n"
        "for_ever(('A', 0.6))"
    )
    source.wait_ready()

    state = until(source, lambda state: state.word == "answers" and state.failures == 3)
    assert (state.restarts, set(state.values)) == (0, {"A"})
    assert capsys.readouterr().out.count("ValueError: no") == 1  # the same is logged once


def test_bad_rows_are_counted_and_named(begin: Start) -> None:
    source = begin(HELLO + "answer(('A', 0.5), refused=2, errors=('B: no',)); time.sleep(0.2); for_ever()")
    source.wait_ready()

    state = until(source, lambda state: state.failures == 1)
    assert "B: no" in state.errors or state.errors == ()
    until(source, lambda state: state.values == {})


def test_one_that_waits_for_data_is_not_late(begin: Start) -> None:
    source = begin(
        HELLO + "for _ in range(8):\n    say(SourceWaits()); time.sleep(0.1)\nfor_ever(('A', 0.5))"
    )
    source.wait_ready()
    assert until(source, lambda state: state.word == "waiting").restarts == 0

    state = until(source, lambda state: state.word == "answers")

    assert (state.failures, state.restarts) == (0, 0)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("say(SourceRefused('KALSHI_BUS_FAIR_VALUES: no such file'))", "no such file"),
        ("sys.exit(3)", "exit code 3"),
        ("out.write(b'nonsense!')", "said nonsense"),
    ],
)
def test_one_that_cannot_be_loaded_refuses_the_start(begin: Start, script: str, says: str) -> None:
    source = begin(script)

    with pytest.raises(StartupError, match=f"KALSHI_BUS_FAIR_VALUES.*{says}"):
        source.wait_ready()


def test_a_program_that_is_not_there_refuses_the_start() -> None:
    source = HostedSource("mine", lambda _fd: ["/no/such/program"], SystemClock(), PATIENCE)
    source.start()
    with pytest.raises(StartupError, match="cannot be started"):
        source.wait_ready()
    source.stop()


def test_it_is_ended_with_the_trader_and_has_no_key(
    begin: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALSHI_API_KEY_ID", "CANARY")
    told = tmp_path / "told"
    source = begin(
        HELLO
        + f"open({str(told)!r}, 'w').write(f\"{{os.getpid()}} {{os.environ.get('KALSHI_API_KEY_ID')}}\")\n"
        "answer()\nfor_ever()"
    )
    source.wait_ready()
    until(source, lambda state: state.word == "answers")
    pid, key = told.read_text().split()

    source.stop()

    assert key == "None"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), signal.SIG_DFL)


def test_two_of_one_name_are_refused_and_all_are_ended(begin: Start) -> None:
    with pytest.raises(StartupError, match="two sources named 'consensus'"):
        refuse_twins(["consensus", "mine", "consensus"])
    made: list[HostedSource] = []

    def make(text: str) -> HostedSource:
        command = [sys.executable, "-c", BEGIN + HELLO + "for_ever()"]
        made.append(HostedSource(text, lambda fd: [*command, str(fd), "/dev/null"], SystemClock(), PATIENCE))
        return made[-1]

    with ExitStack() as stack, pytest.raises(StartupError, match="two sources named 'mine'"):
        start_sources(["a", "b"], make, ["consensus"], stack)
    assert not any(source._thread.is_alive() for source in made)
