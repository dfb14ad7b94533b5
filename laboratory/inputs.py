"""What a run reads besides its plan's numbers: code, a person's own files, recordings; and their digests."""

import ast
import sys
import sysconfig
from collections.abc import Iterable
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import xxhash

from bus.files import open_regular
from bus.process.programs import HOME
from bus.tape.file import segment_path, segments_of
from trader.lineup import Lineup

CODE: Final = ("markets", "bus", "trader", "simulator", "laboratory", "publisher")
OURS: Final = frozenset(
    {*CODE, "agent_server", "alerts", "benchmarks", "bridge", "kalshi_bus", "snapshot_server", "tests", "ui"}
)
"""Folders of the project with code in them. A person may have another one beside them."""

_INSTALLED: Final = {"site-packages", "dist-packages"}
_PYTHON: Final = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]

DECIDING: Final = frozenset({".py", ".json", ".gz"})


def code_id() -> str:
    """Return an id of the project's code that decides results: a hash of its sources and their data."""
    found = (path for name in CODE for path in (HOME / name).rglob("*") if path.suffix in DECIDING)
    return _digest(sorted(found)).hexdigest()[:16]


def digest_of(path: Path) -> str:
    """Return a digest of a recording's bytes; it is a file or a folder of segments.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    segments = [segment_path(path, number) for number in segments_of(path)] if path.is_dir() else [path]
    return _digest(segments).hexdigest()


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


def files_of(lineup: Lineup, imported: set[Path]) -> dict[str, str]:
    """Return the state, by path, of the files of a person's own strategies, with all that they import.

    What is ours, Python's or an installed package's is not their own. What they open, nobody knows.

    Args:
        imported: a person's own modules that they have imported so far, by whatever means.

    Raises:
        OSError: one of them cannot be read.
    """
    paths = set[Path]()
    for each in lineup.makers.values():
        if each.spec.path is not None:
            paths.add(each.spec.path)
        elif each.build:
            paths.update(_modules_of(each.class_.__module__.partition(".")[0]))
    found = _with_imports(paths)
    return states_of(found | _with_imports(imported - {path.resolve() for path in found}))


def states_of(paths: Iterable[Path]) -> dict[str, str]:
    """Return the state of files by path.

    Raises:
        OSError: one of them cannot be read.
    """
    return {str(path): state_of(path) for path in sorted(paths)}


def is_own(path: Path) -> bool:
    """Return whether a module is a person's own: not ours, nor Python's, nor an installed package's."""
    path = path.resolve()
    if not _INSTALLED.isdisjoint(path.parts) or any(path.is_relative_to(root) for root in _PYTHON):
        return False
    return not (path.is_relative_to(HOME) and path.relative_to(HOME).parts[0] in OURS)


def modules_of_own() -> set[Path]:
    """Return the files of a person's own modules that this process has imported."""
    files = (getattr(module, "__file__", None) for module in [*sys.modules.values()])
    return {path.resolve() for path in map(Path, filter(None, files)) if is_own(path)}


def _with_imports(paths: Iterable[Path]) -> set[Path]:
    """Return files and what they import of a person's own, itself or through others; packages as a whole."""
    found, waiting, known = set[Path](), [*paths], set[str]()
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            names = _imported(one) - known  # to look all up for each file takes half a minute for 400 files
            known |= names
            waiting += filter(is_own, [file for name in names for file in _modules_of(name)])
    return found


def _modules_of(name: str) -> list[Path]:
    """Return the files of a module, or all of a package, wherever Python finds it; compiled ones, too."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # there is none, or what bears its name was not imported
        return []
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not folders:
        return [Path(spec.origin)] if spec.has_location and spec.origin else []
    suffixes = tuple(all_suffixes())
    files = (file for folder in folders for file in folder.rglob("*") if file.name.endswith(suffixes))
    return [file for file in files if file.parent.name != "__pycache__"]


def _imported(path: Path) -> set[str]:
    """Return the first parts of the names of the modules that a file imports, wherever in it."""
    try:
        nodes = [*ast.walk(ast.parse(path.read_bytes()))]
    except (SyntaxError, ValueError, RecursionError):
        return set()  # whoever imports it hears of that
    whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    whole += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in whole}


def _digest(paths: Iterable[Path]) -> xxhash.xxh3_128:
    digest = xxhash.xxh3_128()
    for path in paths:
        with open_regular(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest
