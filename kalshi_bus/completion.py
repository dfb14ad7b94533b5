"""Completion of ``kalshi-bus`` in shells, made of the same parsers that read the command line."""

import argparse
import sys
from importlib import import_module
from typing import Final, Protocol, cast

import shtab

from .__main__ import COMMANDS

SHELLS: Final = ("bash", "zsh", "fish")

_PARSERS: Final = {
    "bus": "bus.__main__",
    "trader": "trader.command",
    "laboratory": "laboratory.__main__",
    "agent_server": "agent_server.__main__",
    "bridge": "bridge.__main__",
    "publisher.orders.probe": "publisher.orders.probe.__main__",
}
"""Module of a command -> where its ``parser()`` is; one that is not here takes no arguments."""


class _HasParser(Protocol):
    def parser(self) -> argparse.ArgumentParser: ...


def tree() -> argparse.ArgumentParser:
    """Return the parser of everything that can be typed."""
    root = argparse.ArgumentParser(prog="kalshi-bus")
    commands = root.add_subparsers()
    for word, command in COMMANDS.items():
        commands.add_parser(word, help=command.text)
        place = _PARSERS.get(command.module)
        if place is None:
            continue
        parser = cast("_HasParser", import_module(place)).parser()
        for inner in command.words:
            parser = _below(parser)[inner]
        parser.prog = f"kalshi-bus {word}"
        commands.choices[word] = parser
    commands.add_parser("completion", help="print the completion script of a shell").add_argument(
        "shell", choices=SHELLS
    )
    return root


def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001  argparse tells nowhere else what it has
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def script(arguments: list[str]) -> int:
    """Print the script of a shell, to be put where that shell looks for completions."""
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        print(f"usage: kalshi-bus completion {'|'.join(SHELLS)}", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    print(shtab.complete(tree(), arguments[0]))
    return 0
