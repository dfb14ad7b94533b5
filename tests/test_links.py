"""What the documents link to is there: files, and headings in them."""

import argparse
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from kalshi_bus.__main__ import COMMANDS
from kalshi_bus.completion import tree
from tests.support import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


def without_code(path: Path) -> str:
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The headings as GitHub names them in addresses."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(without_code(path)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(without_code(document)):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


def test_every_document_is_in_the_index() -> None:
    listed = {
        Path(link.partition("#")[0]).name for link in LINK.findall((ROOT / "docs/README.md").read_text())
    }

    assert listed >= {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


PAGES = sorted([*(ROOT / "ui/templates").glob("*.html"), *(ROOT / "ui/static").glob("*.js")])
CODE = re.compile(r"^```.*?^```|`[^`]+`", re.DOTALL | re.MULTILINE)
TYPED = re.compile(r"(?<![\w-])kalshi-bus +(?!kalshi-bus|-- )([a-z-][^\n#|]*)")
MODULE = re.compile(r"python -m\s+([\w.]+)(\s+[a-z]\w*)?")
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests", "examples"}
STARTED = set(re.findall(r" -m ([\w.]+)", (ROOT / "supervisord.conf").read_text()))


@cache
def commands() -> argparse.ArgumentParser:
    return tree()


def unknown(typed: str) -> str | None:
    """The first word of a command line, after `kalshi-bus`, that the command does not know."""
    parser, named = commands(), True
    for word in (word.strip("[].,;:") for word in typed.split()):
        below = {name: each for action in parser._actions for name, each in choices(action).items()}
        if word.startswith("--"):
            if word not in ("--help", "--version") and word not in parser._option_string_actions:
                return word
        elif named and below and word in below:
            parser = below[word]
        elif named and below and re.fullmatch("[a-z-]+", word):
            return word
        else:
            named = False  # a place for a value
    return None


def lacks_a_word(typed: str) -> bool:
    """Whether a command line ends with a command that wants another, such as `keys`."""
    parser = commands()
    for word in typed.split():
        below = {name: each for action in parser._actions for name, each in choices(action).items()}
        if word not in below:
            return False
        parser = below[word]
    return any(choices(action) for action in parser._actions)


def choices(action: argparse.Action) -> dict[str, argparse.ArgumentParser]:
    return dict(action.choices) if isinstance(action, argparse._SubParsersAction) else {}


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("doctor", None),
        ("dokter", "dokter"),
        ("trader prepare buy TICKER yes 5 0.60", None),
        ("trader prepare by TICKER", "by"),
        ("keys make NAME --server KEY", None),
        ("keys make NAME --serve KEY", "--serve"),
    ],
)
def test_a_wrong_word_of_a_command_is_found(typed: str, wrong: str | None) -> None:
    assert unknown(typed) == wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_commands_that_exist(document: Path) -> None:
    for code in CODE.findall(document.read_text()):
        text = code if code.startswith("```") else code.strip("`").replace("\n", " ")
        for typed in TYPED.findall(text):
            assert unknown(typed) is None, typed
        half = re.match(r"(?:bus )?((?:trader )?[a-z]+)", text)
        short = half is not None and " " in half[0] and unknown(half[1]) is None
        assert document.name == "CHANGELOG.md" or not short, f"{text} without kalshi-bus"


def test_messages_and_pages_name_commands_that_exist() -> None:
    programs = [path for name in OURS for path in (ROOT / name).rglob("*.py")]
    named = [
        (path.name, typed)
        for path in [*programs, *PAGES]
        for typed in re.findall(r"""to_type\(["']([^"']+)["']\)""", path.read_text())
    ]
    assert len(named) > 20
    assert [(name, typed) for name, typed in named if unknown(typed) is not None] == []
    assert [(name, typed) for name, typed in named if lacks_a_word(typed)] == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_is_told_to_run_a_module_that_has_a_command(path: Path) -> None:
    """What is left are the programs that supervisord starts, each by itself."""
    if path.name == "CHANGELOG.md":
        return  # what was once said
    for module, word in MODULE.findall(path.read_text()):
        if module.split(".")[0] not in OURS:
            continue
        assert path not in PAGES, module
        assert module in STARTED, module
        assert module == "trader" or module not in {each.module for each in COMMANDS.values()}, module
        assert not (module == "trader" and word), word
