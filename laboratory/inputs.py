"""What a run reads besides its plan's numbers: code, a person's own files, recordings; and their digests."""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import xxhash

from bus.process.settings import Settings
from trader.lineup import Lineup

CODE: Final = ("markets", "bus", "trader", "simulator", "laboratory", "publisher")
DECIDING: Final = frozenset({".py", ".json", ".gz"})


def code_id() -> str:
    """Return an id of the project's code that decides results: a hash of its sources and their data."""
    root = Path(__file__).resolve().parents[1]
    found = (path for name in CODE for path in (root / name).rglob("*") if path.suffix in DECIDING)
    return _digest(sorted(found)).hexdigest()[:16]


def digest_of(path: Path) -> str:
    """Return a digest of a recording's bytes; it is a file or a folder of segments.

    Raises:
        OSError: it cannot be read.
    """
    return _digest(sorted(path.glob("*.mcap")) if path.is_dir() else [path]).hexdigest()


def state_of(path: Path) -> str:
    """Return a digest of one of a person's own files, as far as it decides a run.

    For a file of fair values that includes when it was changed: a value without a time is as old as its file.

    Raises:
        OSError: it cannot be read.
    """
    digest = _digest([path])
    if path.suffix != ".py":
        digest.update(str(path.stat().st_mtime_ns).encode())
    return digest.hexdigest()


def files_of(settings: Settings, lineup: Lineup) -> dict[str, str]:
    """Return the state, by path, of the files of one's own that a run with these settings reads.

    They are the strategies that are not built in, whatever they import from their own folder or package, and
    the file of fair values. What strategies open themselves, nobody knows.

    Raises:
        OSError: one of them cannot be read.
    """
    paths = [] if settings.fair_values_file is None else [settings.fair_values_file]
    for each in lineup.makers.values():
        if each.spec.path is not None:
            paths += _with_neighbours(each.spec.path)
        elif each.build:
            paths += _package_of(each.class_.__module__)
    return {str(path): state_of(path) for path in sorted(set(paths))}


def _with_neighbours(path: Path) -> list[Path]:
    """Return a file and all it imports from its folder, itself or through others; packages as a whole."""
    found, waiting = set[Path](), [path]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        for name in _imported(one).difference(CODE):
            beside = path.parent / name
            waiting += beside.rglob("*.py")
            if (module := path.parent / f"{name}.py").is_file():
                waiting.append(module)
    return list(found)


def _imported(path: Path) -> set[str]:
    """Return the first parts of the names of the modules that a file imports, wherever in it."""
    try:
        nodes = [*ast.walk(ast.parse(path.read_bytes()))]
    except (SyntaxError, ValueError, RecursionError):
        return set()  # whoever imports it hears of that
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    whole += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in whole}


def _package_of(module: str) -> list[Path]:
    top = sys.modules[module.partition(".")[0]]
    folders = getattr(top, "__path__", None)
    if folders is not None:
        return [path for folder in folders for path in Path(folder).rglob("*.py")]
    path = getattr(top, "__file__", None)
    return [Path(path)] if path else []


def _digest(paths: Iterable[Path]) -> xxhash.xxh3_128:
    digest = xxhash.xxh3_128()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest
