"""``python -m benchmarks.measure [ROOT] [--json] [--coverage FILE]``: the structure of a checkout in figures.

One script for two states of the code, so that they can be compared; it imports none of the code that it
reads. Source is every top-level package of ROOT except NOT_SOURCE. What the less obvious rows count:

* own fields: attributes of `self` that a class assigns. The annotated fields of a record, which assigns none,
  have a separate row: a wide record is data, a wide object is state.
* test of its own: ``test_NAME.py`` anywhere below ``tests/PACKAGE/``. CONVENTIONAL files need none, and may
  have one name in many folders.
* thread rule: a docstring of a function or class, or a section comment (``# -- the bus thread``), that
  confines code to a thread or to the holder of a lock; "any thread" does not. Asserted: a call found by
  ASSERTION is in the function, in a method of the class, or in a function of the section.
* import cycles: over imports outside functions, including those for type checkers only.
* lines of a function: from `def` to its end, without the docstring.
"""

import argparse
import ast
import io
import json
import re
import textwrap
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Final

NOT_SOURCE: Final = {"tests", "benchmarks", "docs", "examples"}
CONVENTIONAL: Final = {"__init__", "__main__"}

ASSERTION: Final = re.compile(r"(?:owner|thread)\.check$|\bassert_held$")
"""Calls, as written before their parentheses, that assert a thread rule while the code runs."""

RULE: Final = re.compile(
    r"thread only|thread that (?:made|asks)|several threads at once|any thread but|caller holds"
    r"|(?<!any )\bone thread\b|(?<!any )\bthread (?:alone|calls|runs|sets)\b"
    r"|(?:\b(?:in|by|from|belongs? to)|;|--) (?:(?!any\b)[a-z']+ ){0,3}thread\b",
    re.IGNORECASE,
)
FREE: Final = re.compile(r"\bany thread\b(?! but)", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Figure:
    """One row: a count, and the names behind it."""

    label: str
    value: float
    names: list[str] = field(default_factory=list)


class Source:
    """One module of a checkout, parsed."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        self.text = path.read_text()
        self.lines = self.text.count("\n")
        self.tree = ast.parse(self.text, str(path))
        self.nodes = list(ast.walk(self.tree))
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        self.comments = [token for token in tokens if token.type == tokenize.COMMENT]
        self.classes = [node for node in self.nodes if isinstance(node, ast.ClassDef)]
        self.functions = [node for node in self.nodes if isinstance(node, Function)]
        parts = self.path.with_suffix("").parts
        self.module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def own_fields(node: ast.ClassDef) -> set[str]:
    """Return the attributes of `self` that are assigned in a class."""
    stored = (n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
    return {n.attr for n in stored if isinstance(n.value, ast.Name) and n.value.id == "self"}


def public(body: Iterable[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Yield public functions and classes, and the public methods of these."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from public(node.body if isinstance(node, ast.ClassDef) else ())


def length(node: Function) -> int:
    """Return a function's lines without its docstring."""
    said = _end(node.body[0]) - node.body[0].lineno + 1 if ast.get_docstring(node) is not None else 0
    return _end(node) - node.lineno + 1 - said


def thread_rules(source: Source) -> Iterator[tuple[str, bool]]:
    """Yield where a module states a thread rule, and whether it is asserted there."""
    for node in [*source.classes, *source.functions]:
        said = " ".join((ast.get_docstring(node) or "").split())
        if RULE.search(said) and not (isinstance(node, Function) and FREE.search(said)):
            yield f"{source.path}:{node.lineno} {node.name}", _asserts(node)
    sections = [token for token in source.comments if token.string.startswith("# --")]
    for token in sections:
        if RULE.search(token.string):
            line = token.start[0]
            ends = [_end(node) for node in source.classes if node.lineno < line <= _end(node)]
            ends += [other.start[0] for other in sections if other.start[0] > line]
            inside = [n for n in source.functions if line < n.lineno <= min(ends, default=source.lines)]
            yield f"{source.path}:{line} {token.string}", any(map(_asserts, inside))


def cycles(sources: list[Source]) -> list[list[str]]:
    """Return the sets of two or more modules that reach each other by imports."""
    known = {source.module for source in sources}
    graph = {source.module: set(_imports([source.tree], source.path.parent, known)) for source in sources}
    reach: dict[str, set[str]] = {}
    for module in graph:
        reach[module], todo = set(), [module]
        while todo:
            new = graph[todo.pop()] - reach[module]
            reach[module] |= new
            todo += new
    rings = {frozenset(other for other in reach[module] if module in reach[other]) for module in graph}
    return sorted(sorted(ring) for ring in rings if len(ring) > 1)


def _imports(nodes: Iterable[ast.AST], folder: Path, known: set[str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from known.intersection(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = folder.parts[: len(folder.parts) + 1 - node.level] if node.level else ()
            base = ".".join([*near, node.module] if node.module else near)
            names = {f"{base}.{alias.name}" for alias in node.names}
            yield from known & (names if names <= known else names | {base})
        elif not isinstance(node, Function):
            yield from _imports(ast.iter_child_nodes(node), folder, known)


def _asserts(node: ast.AST) -> bool:
    calls = (child.func for child in ast.walk(node) if isinstance(child, ast.Call))
    return any(ASSERTION.search(ast.unparse(call)) for call in calls)


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _twice(label: str, pairs: Iterable[tuple[str, Path]]) -> Figure:
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for name, home in pairs:
        homes[name].add(str(home))
    names = [f"{name} ({', '.join(sorted(at))})" for name, at in sorted(homes.items()) if len(at) > 1]
    return Figure(label, len(names), names)


def _above(limit: int, label: str, counts: list[tuple[str, int]]) -> Figure:
    wide = sorted((-count, name) for name, count in counts if count > limit)
    return Figure(label, len(wide), [f"{name} {-count}" for count, name in wide])


def _count(kind: type | UnionType, nodes: list[ast.stmt]) -> int:
    return sum(isinstance(node, kind) for node in nodes)


def measure(root: Path) -> list[Figure]:
    """Return the figures of a checkout.

    Raises:
        ValueError: `root` holds no package.
    """
    packages = {path.parent.name for path in root.glob("*/__init__.py")} - NOT_SOURCE
    paths = (path for name in sorted(packages) for path in sorted(root.glob(f"{name}/**/*.py")))
    sources = [Source(root, path) for path in paths]
    if not sources:
        raise ValueError(f"{root}: no package in it, expected the root of a checkout")
    lines = max(sum(source.lines for source in sources), 1)
    longest = max(sources, key=lambda source: source.lines)
    [(folder, files)] = Counter(source.path.parent for source in sources).most_common(1)
    modules = [source.path for source in sources if source.path.stem not in CONVENTIONAL]
    tests = {path.relative_to(root / "tests"): path.read_text() for path in root.glob("tests/**/*.py")}
    there = {(path.parts[0], path.name) for path in tests}
    untested = [str(path) for path in modules if (path.parts[0], f"test_{path.name}") not in there]
    tested = 100 - 100 * len(untested) / max(len(modules), 1)

    classes = [(node, source) for source in sources for node in source.classes]
    named = [(f"{source.module}.{node.name}", node) for node, source in classes]
    owned = [(name, len(own_fields(node))) for name, node in named]
    noted = [(name, _count(ast.AnnAssign, node.body)) for name, node in named if not own_fields(node)]
    methods = [(name, _count(Function, node.body)) for name, node in named]
    spans = sorted(length(node) for source in sources for node in source.functions) or [0]
    said = [ast.get_docstring(node) is not None for source in sources for node in public(source.tree.body)]
    rings = [" ".join(ring) for ring in cycles(sources)]
    rules = [rule for source in sources for rule in thread_rules(source)]
    bare = [where for where, asserted in rules if not asserted]
    words = sum(len(re.findall(r"\bAny\b", source.text)) for source in sources)
    types = [n for source in sources for n in source.nodes if isinstance(n, ast.Name) and n.id == "Any"]
    comments = sum(len(source.comments) for source in sources)
    return [
        Figure("source files", len(sources)),
        Figure("source lines", lines),
        Figure("lines of the longest file", longest.lines, [str(longest.path)]),
        Figure("files of the fullest folder", files, [str(folder)]),
        Figure("lines of a function, median", spans[len(spans) // 2]),
        Figure("lines of a function, p90", spans[len(spans) * 90 // 100]),
        Figure("lines of a function, p99", spans[len(spans) * 99 // 100]),
        _above(15, "classes with more than 15 own fields", owned),
        _above(25, "classes with more than 25 own fields", owned),
        _above(30, "classes with more than 30 methods", methods),
        _above(15, "records with more than 15 fields", noted),
        _twice("class names that mean two things", ((node.name, source.path) for node, source in classes)),
        _twice("file names used twice", ((path.stem, path.parent) for path in modules)),
        Figure("import cycles", len(rings), rings),
        Figure("modules with a test of their own, %", tested, untested),
        Figure("test lines per source line", sum(text.count("\n") for text in tests.values()) / lines),
        Figure("thread rules", len(rules)),
        Figure("thread rules asserted", len(rules) - len(bare), [f"not {where}" for where in bare]),
        Figure("the word Any per 1,000 lines", 1000 * words / lines),
        Figure("the type Any per 1,000 lines", 1000 * len(types) / lines),
        Figure("comments, % of lines", 100 * comments / lines),
        Figure("public docstrings, %", 100 * sum(said) / max(len(said), 1)),
    ]


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description="Measure a checkout.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--json", action="store_true", help="print JSON, with every name")
    parser.add_argument(
        "--coverage", type=Path, metavar="FILE", help="add coverage from the output of `coverage json`"
    )
    args = parser.parse_args()
    try:
        figures = measure(args.root)
        if args.coverage:
            share = float(json.loads(args.coverage.read_text())["totals"]["percent_covered"])
            figures.append(Figure("lines that tests run, %", share))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError) as error:
        parser.error(f"{type(error).__name__}: {error}")
    if args.json:
        print(json.dumps({row.label: {"value": row.value, "names": row.names} for row in figures}, indent=1))
        return
    for row in figures:
        print(f"{row.label:<40}{row.value:>10,.{0 if isinstance(row.value, int) else 2}f}")
        for line in textwrap.wrap("; ".join(row.names), 106, max_lines=18, placeholder=" ... (--json: all)"):
            print(f"    {line}")


if __name__ == "__main__":
    main()
