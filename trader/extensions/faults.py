"""What a strategy or source raised, in words. The error is its author's too: showing it may fail. Pure."""

import traceback
from collections.abc import Callable
from typing import Final

from markets.texts import utf8

MAX_TRACE: Final = 10_000
_CUT: Final = "\n[...]\n"


def lines_of(error: BaseException) -> list[str]:
    """Return an error without its traceback, at least one line."""
    return _shown(traceback.format_exception_only, error)


def trace_of(error: BaseException, most: int = MAX_TRACE) -> str:
    """Return an error with its traceback, without its middle if that is longer than `most` characters."""
    text = "".join(_shown(traceback.format_exception, error))
    half = (most - len(_CUT)) // 2
    return text if len(text) <= most else f"{text[:half]}{_CUT}{text[-half:]}"


def _shown(show: Callable[[BaseException], list[str]], error: BaseException) -> list[str]:
    try:
        return list(map(utf8, show(error)))
    except KeyboardInterrupt:  # a person ends the process
        raise
    except BaseException:  # noqa: BLE001, such as that of a property `__notes__`, or of an odd SyntaxError
        return [utf8(f"{type(error).__name__}: (it cannot be shown)")]
