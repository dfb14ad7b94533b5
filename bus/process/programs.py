"""How one of our processes starts and ends another: our own code, and nothing from the current folder."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

HOME: Final = Path(__file__).resolve().parents[2]
"""Where our packages are: a checkout, or the site-packages of an installation."""

IS_CHECKOUT: Final = (HOME / "pyproject.toml").is_file()

DOCS: Final = HOME / "docs" if IS_CHECKOUT else HOME / "kalshi_bus" / "docs"
"""The folder that messages call ``docs/``. The container has none."""

HAS_MAKE: Final = IS_CHECKOUT and (HOME / "Makefile").is_file()
"""Whether there is ``make run``: not in an installation, nor in the container."""

COMMAND: Final = ".venv/bin/kalshi-bus" if (HOME / ".venv/bin/kalshi-bus").exists() else "kalshi-bus"
"""Our command as it is typed: ``make`` puts it where no shell looks for it."""


def command_of(module: str, *arguments: str) -> list[str]:
    """Return the command line of ``python -m module``.

    With -P nothing is imported from the current folder, where a ``markets.py`` or ``ui/`` of the user's own
    would be taken for ours.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ`, such that a command from `command_of` finds our packages, installed or not."""
    if not IS_CHECKOUT:
        return dict(environ)
    places = [str(HOME), *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(places))}


def wait_or_kill(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Wait for a process that has been told to end, and kill it if that takes longer than `within_s`."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def explain_each(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Have the ``--help`` of each command begin with the line that the list of commands has for it."""
    for row in commands._choices_actions:  # noqa: SLF001  argparse keeps these lines nowhere else
        text = row.help or ""
        commands.choices[row.dest].description = f"{text[:1].upper()}{text[1:]}."


def name_of(module: str) -> str:
    """Return what a person typed to start this program, for usage lines: ``kalshi-bus trader``."""
    return sys.argv[0] if sys.argv[0].startswith("kalshi-bus") else f"python -m {module}"


def to_type(words: str) -> str:
    """Return what a person types for a command of ours, such as ``run`` or ``trader allow``.

    That is ``kalshi-bus trader allow``; in a checkout ``make run``, and the others by their path from there.
    """
    return "make run" if HAS_MAKE and words == "run" else f"{COMMAND} {words}"


def to_install(extra: str) -> str:
    """Return what a person types for the libraries of an extra: ``pip install 'kalshi-bus[nats]'``."""
    return f"{COMMAND.removesuffix('kalshi-bus')}pip install 'kalshi-bus[{extra}]'"


def data_file(name: str) -> Path:
    """Return a file of ours that is not a module: in a checkout it lies at the top."""
    return HOME / name if IS_CHECKOUT else Path(__file__).with_name(name)
