"""Logs: JSON lines with process and time, and no secret in any of them."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog

from bus.process import logs

PEM = "-----BEGIN RSA PRIVATE KEY-----\nCANARY\nCANARY\n-----END RSA PRIVATE KEY-----\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Unwritable(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture(autouse=True)
def keep_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("publisher", "info", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def log_secrets(log: Any) -> None:
    """Log CANARY in every way that must not print it."""
    log.info("by.name", api_key_id="CANARY", private_key="CANARY", nested=[{"Authorization": "CANARY"}])
    log.info("by.header", headers={"KALSHI-ACCESS-SIGNATURE": "CANARY", "KALSHI-ACCESS-KEY": b"CANARY"})
    log.info(
        "in.text",
        request="GET / KALSHI-ACCESS-SIGNATURE: CANARY== x",
        pem=PEM,
        body=PEM.encode(),
        o={1: (PEM,)},
    )
    log.info(
        "in.repr", request=repr({"KALSHI-ACCESS-KEY": "CANARY", "n": 1}), json='{"Authorization":"CANARY"}'
    )
    logging.getLogger("urllib3").warning(
        "sent %s", {"kalshi-access-key": "CANARY"}, extra={"password": "CANARY"}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # not an error, as in all other tests
        warnings.warn(PEM, stacklevel=1)
    try:
        secret_local = "CANARY"  # noqa: F841 - a traceback with local variables would print it
        raise ValueError(PEM)
    except ValueError as error:
        log.exception("in.exception", error=error)
        logging.getLogger("lib").exception("in stdlib exception")


def test_an_event_is_one_json_line_with_process_time_and_level(stream: io.StringIO) -> None:
    structlog.get_logger("bus.server").info("feed.gap", seq=7, tokens_left=3, missing=None)

    (event,) = lines(stream)
    assert event["timestamp"].endswith("Z")
    assert {k: v for k, v in event.items() if k != "timestamp"} == {
        "level": "info",
        "process": "publisher",
        "event": "feed.gap",
        "logger": "bus.server",
        "seq": 7,
        "tokens_left": 3,
        "missing": None,
    }


def test_records_of_libraries_take_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("urllib3").warning("retry %d", 2)

    (event,) = lines(stream)
    assert (event["event"], event["process"], event["level"]) == ("retry 2", "publisher", "warning")


def test_events_below_the_level_are_left_out(stream: io.StringIO) -> None:
    structlog.get_logger().debug("poll.tick")
    logging.getLogger("lib").debug("tick")

    assert lines(stream) == []


def test_an_exception_is_structure_with_its_place(stream: io.StringIO) -> None:
    try:
        raise KeyError("ticker")
    except KeyError:
        structlog.get_logger().exception("sweep.failed")

    (event,) = lines(stream)
    (raised,) = event["exception"]
    assert raised["exc_type"] == "KeyError"
    assert raised["frames"][-1]["name"] == "test_an_exception_is_structure_with_its_place"


def test_what_json_has_no_word_for_is_text(stream: io.StringIO) -> None:
    structlog.get_logger().info("odd", nan=float("nan"), kind=dict)

    assert lines(stream)[0]["nan"] == "nan"
    assert lines(stream)[0]["kind"] == "<class 'dict'>"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_with_half_a_character_can_be_written_and_read_again(terminal: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    logs.configure("publisher", "info", stream)

    structlog.get_logger().info("odd", reason="st\udcf6p", **{"k\ud800": ["é\udfff"]})

    assert "st\ufffdp" in stream.getvalue() if terminal else msgspec.json.decode(stream.getvalue())
    assert stream.getvalue().encode()


def test_no_secret_reaches_a_json_log(stream: io.StringIO) -> None:
    log_secrets(structlog.get_logger())

    assert len(lines(stream)) == 8
    assert "CANARY" not in stream.getvalue()


def test_no_secret_reaches_a_terminal() -> None:
    stream = Terminal()
    logs.configure("publisher", "info", stream)

    log_secrets(structlog.get_logger())

    assert "in.exception" in stream.getvalue()
    assert "CANARY" not in stream.getvalue()


def test_a_record_that_cannot_be_written_is_not_dumped(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("publisher", "info", Unwritable())

    structlog.get_logger().info("full", text=PEM)

    told = capsys.readouterr().err
    assert "log record lost" in told
    assert "CANARY" not in told


@pytest.mark.parametrize("text", ["tokens: 5", "key KXA-26", "-----", "", "the KALSHI-ACCESS-KEY header"])
def test_ordinary_text_stays(text: str) -> None:
    assert logs.redact(text) == text
