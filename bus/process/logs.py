"""Structured logs: one line of JSON per event on stdout, formatted for reading on a terminal; never a secret.

`configure` is called once, at process start; modules only do ``log = structlog.get_logger()`` and name events
with dots (``feed.gap``) plus key-value pairs. Libraries' records (stdlib logging, warnings) go the same way.
"""

import contextlib
import logging
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor

from markets.texts import utf8

REDACTED: Final = "[redacted]"

_SECRET_KEY: Final = re.compile(
    r"(api_?key(_?id)?|(private|secret)_?key(_?pem)?|secret|password|passphrase|(access_?)?token|"
    r"authorization|signature|(set_?)?cookie|pem|kalshi_?access.*)",
    re.IGNORECASE,
)
_SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)"
    r"|(?P<before>://)[^/\s@'\"]+(?=@)"  # user and password in a URL
    # ... and an argument of a strategy or source: odds(token='x')
    rf"|(?P<argument>\b{_SECRET_KEY.pattern}\s*=\s*)(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s,)'\"]+)"
    r"|(?P<header>(?:KALSHI-ACCESS-\w+|Authorization)(?:\\?['\"])?\s*[:=,]\s*b?(?:\\?['\"])?)[^\s'\",}\\]+",
    re.IGNORECASE | re.DOTALL,
)


_HIDE_MIN: Final = 8
_hidden: set[str] = set()


def hide(secret: str | None) -> None:
    """Have `redact` remove `secret`, the id of a key, wherever it appears from now on. Any thread calls."""
    if secret is not None and len(secret) >= _HIDE_MIN:
        _hidden.add(secret)


def redact(text: str) -> str:
    """Return `text` without keys, key ids, passwords in URLs, secret arguments and signature headers."""
    for secret in tuple(_hidden):
        text = text.replace(secret, REDACTED)
    return _SECRET_VALUE.sub(
        lambda match: (match["header"] or match["before"] or match["argument"] or "") + REDACTED, text
    )


def _clean_mapping(mapping: Mapping[Any, Any]) -> dict[str, object]:
    return {
        utf8(str(key)): REDACTED if _SECRET_KEY.fullmatch(str(key).replace("-", "_")) else _clean(value)
        for key, value in mapping.items()
    }


def _clean(value: object) -> object:
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value  # NaN and infinity are written as text, like everything else: JSON has no word for them
    if isinstance(value, str):
        return redact(utf8(value))  # a line that has half a character could not be read again
    if isinstance(value, Mapping):
        return _clean_mapping(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item) for item in value]
    return redact(utf8(repr(value)))  # here, not in the JSON renderer: whatever it prints has been checked


def redact_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Redact secrets by key name and by value: a structlog processor, the last before the renderer."""
    return _clean_mapping(event)


def _head_first(_logger: object, _method: str, event: EventDict) -> EventDict:
    head = {key: event.pop(key) for key in ("timestamp", "level", "process", "event") if key in event}
    return head | dict(event)


class _Handler(logging.StreamHandler[TextIO]):
    """Says that a record could not be written, but not what it was, since nothing has redacted it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(redact(f"log record lost: {record.name}: {sys.exc_info()[1]!r}\n"))


def configure(process: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (stdout), from `level` up, each with the process's name."""
    stream = stream or sys.stdout

    def name_process(_logger: object, _method: str, event: EventDict) -> EventDict:
        # A processor rather than contextvars: those are empty in every new thread.
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    rendered: list[Processor]
    if stream.isatty():
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        rendered = [structlog.processors.format_exc_info, redact_event, plain]
    else:
        # No local variables in tracebacks: that is where keys are.
        as_dict = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendered = [
            structlog.processors.ExceptionRenderer(as_dict),
            redact_event,
            _head_first,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ]
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Cached loggers would keep the first configuration, even in tests that configure again.
        cache_logger_on_first_use=False,
    )
