"""Parses how settings name strategies and sources: ``name``, ``name(key=1)``, ``/path/x.py:Name(key=1)``.

Pure. Arguments are Python literals (numbers, text, None, True, lists, tuples, dicts); nothing is executed.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bus.process.echo import shown
from markets.texts import utf8

MAX_LENGTH: Final = 10_000
_FORM: Final = re.compile(
    r"(?:(?P<path>.*\.py):)?(?P<name>[A-Za-z_][\w.-]*)\s*(?P<arguments>\(.*\))?", re.DOTALL
)
EXPECTED: Final = "a name or /path/file.py:Class, with arguments like (window_s=60) if it takes any"


class Spec(msgspec.Struct, frozen=True):
    """A strategy or source as a setting names it.

    Attributes:
        name: of what is built in or installed, or else of the class in the file.
        path: the absolute path of the file; None for what is built in or installed.
        arguments: by name.
    """

    name: str
    path: Path | None
    arguments: Mapping[str, object]

    @property
    def label(self) -> str:
        """Its name without arguments."""
        return self.name if self.path is None else f"{self.path}:{self.name}"

    @property
    def text(self) -> str:
        """Its full text, which means the same in any folder: `parse` returns the same spec."""
        if not self.arguments:
            return self.label
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.label}({arguments})"


def parse(text: str, folder: Path) -> Spec:
    """Return what a text names.

    Args:
        folder: where a relative path begins.

    Raises:
        ValueError: it is not of this form; the message says what was expected.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"got {len(text)} characters, expected at most {MAX_LENGTH}")
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"got {shown(text)}, expected {EXPECTED}")
    try:
        path = None if found["path"] is None else folder / Path(found["path"]).expanduser()
    except RuntimeError as error:  # ~somebody, an unknown user
        raise ValueError(f"got {shown(text)}, expected {EXPECTED} ({error})") from None
    if utf8(str(path)) != str(path):
        raise ValueError(f"got {shown(path)}, which is not UTF-8, expected {EXPECTED}")
    arguments = {} if found["arguments"] is None else _arguments(found["arguments"])
    return Spec(found["name"], path, arguments)


def _arguments(text: str) -> dict[str, object]:
    expected = "expected arguments like (window_s=60, names=['A', 'B']): names and plain values"
    try:
        call = ast.parse(f"_{text}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"got {shown(text)}, {expected} ({reason})") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError(f"got {shown(text)}, {expected}")
    arguments: dict[str, object] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise ValueError(f"got {shown(text)}, {expected}, each name once")
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            got = (ast.get_source_segment(f"_{text}", keyword.value) or "")[:200]
            said = repr(got) if isinstance(keyword.value, ast.Call) else shown(got)
            raise ValueError(f"{keyword.arg}: got {said}, expected a plain value: {expected}") from None
    return arguments
