"""Loads strategies and sources: finds the class, checks it and its parameters, says what is wrong with it.

Any problem is one StartupError that names the setting, the file and line, and what was expected: the start is
refused, and nothing runs without what was asked for. Importing a user's file runs it, with all the rights of
the trader's user.
"""

import difflib
import importlib.util
import inspect
import stat
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Generic, NoReturn, TypeVar

import msgspec
import xxhash

from bus.process.echo import shown
from markets.errors import StartupError

from .faults import lines_of
from .params import Parameters
from .spec import Spec, parse

MAX_SOURCE_BYTES: Final = 4 * 1_048_576

T = TypeVar("T")


class Family(msgspec.Struct, frozen=True):
    """What all strategies, or all sources, have in common.

    Attributes:
        what: the word for one of them, such as "strategy".
        setting: the variable that lists them.
        group: the group of entry points through which installed ones are found.
        calls: the methods that each must have.
        built_in: the project's own, by name.
        reserved: names that none may have, and what those mean.
    """

    what: str
    setting: str
    group: str
    calls: tuple[str, ...]
    built_in: Mapping[str, type]
    reserved: Mapping[str, str] = {}


class Extension(msgspec.Struct, Generic[T], frozen=True):
    """A class and its parameters, from which new ones are made.

    Attributes:
        spec: what was asked for.
        name: what it calls itself.
        build: a hash of its source; empty if it is built in.
    """

    spec: Spec
    name: str
    class_: Callable[[Parameters], T]
    params: Parameters
    build: str

    def make(self) -> T:
        """Return a new one. Any error raised is its author's."""
        return self.class_(self.params)


class Loader:
    """Loads what is asked for, each file once.

    Args:
        folder: where relative paths begin.
    """

    def __init__(self, family: Family, folder: Path) -> None:
        self.family = family
        self._folder = folder
        self._modules: dict[Path, tuple[ModuleType, str]] = {}

    def specs(self, texts: Iterable[str]) -> list[Spec]:
        """Return what these texts ask for.

        Raises:
            StartupError: one of them is not of the expected form.
        """
        specs = []
        for text in texts:
            try:
                specs.append(parse(text, self._folder))
            except ValueError as error:
                self._refuse(str(error))
        return specs

    def load(self, spec: Spec) -> Extension[Any]:
        """Return the class that a spec names, with its parameters.

        Raises:
            StartupError: there is none, it is not of this family, or it does not take these parameters.
        """
        class_, build = self._installed(spec) if spec.path is None else self._in_file(spec, spec.path)
        self._check(spec, class_)
        return Extension(spec, class_.name, class_, self._params(spec, class_), build)

    def refuse_twins(self, loaded: Sequence[Extension[Any]]) -> None:
        """Refuse two with the same name: nobody could tell apart what is theirs.

        Raises:
            StartupError: there are two.
        """
        known: dict[str, Spec] = {}
        for each in loaded:
            if each.name in known:
                first = known[each.name].text
                self._refuse(f"got {first!r} and {each.spec.text!r}, both named {each.name!r}, expected one")
            known[each.name] = each.spec

    def refuse_failed(self, spec: Spec, call: str, error: BaseException) -> NoReturn:
        """Refuse one that raised an error when it was tried.

        Raises:
            StartupError: always.
        """
        where = _last_line(error, spec.path)
        self._refuse(f"{where or spec.label}: {call} raised {in_words(error)}, expected none")

    # -- the class

    def _installed(self, spec: Spec) -> tuple[Any, str]:
        family = self.family
        if spec.name in family.built_in:
            return family.built_in[spec.name], ""
        points = entry_points(group=family.group)
        found = sorted({point.value: point for point in points if point.name == spec.name}.items())
        if not found:
            known = sorted({*family.built_in, *(point.name for point in points)})
            close = difflib.get_close_matches(spec.name, known, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            self._refuse(
                f"got {shown(spec.name, known)}, expected any of {', '.join(known)},"
                f" or /path/file.py:Class{hint}"
            )
        if len(found) > 1:
            values = ", ".join(value for value, _ in found)
            self._refuse(f"got {spec.name!r}, which several packages offer, expected only one: {values}")
        point = found[0][1]
        try:
            return point.load(), _build_of(point)
        except BaseException as error:  # noqa: BLE001, whatever importing a user's code raises is reported
            pass_on(error)
            where = f"entry point {spec.name} = {point.value}"
            self._refuse(f"{where}: cannot be imported: {in_words(error)}, expected a class")

    def _in_file(self, spec: Spec, path: Path) -> tuple[Any, str]:
        module, build = self._module(path)
        class_ = vars(module).get(spec.name)
        if class_ is None:
            names = [
                name
                for name, value in vars(module).items()
                if inspect.isclass(value) and value.__module__ == module.__name__
            ]
            has = f"it has {', '.join(names)}" if names else "it has no class"
            close = difflib.get_close_matches(spec.name, names, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            self._refuse(f"{path}: no class {spec.name!r}: {has}{hint}")
        return class_, build

    def _module(self, path: Path) -> tuple[ModuleType, str]:
        if path in self._modules:
            return self._modules[path]
        source = self._source(path)
        build = xxhash.xxh3_64_hexdigest(source)
        name = f"outside_{path.stem}_{xxhash.xxh3_64_hexdigest(str(path).encode())}"
        spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
        assert spec is not None, "a spec without a loader is always made"
        module = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        sys.modules[name] = module  # types in annotations are looked up there
        if (folder := str(path.parent)) not in sys.path:
            sys.path.append(folder)  # last, so that its neighbours can be imported, but hide nothing
        try:
            exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102, the user asked for this
        except SyntaxError as error:
            # In this file, or in something it imports: both say where.
            where = f"{error.filename or path}:{error.lineno or 1}"
            said = (error.text or "").strip()[:200]
            self._refuse(f"{where}: {error.msg}: {said!r}, expected Python {sys.version.split()[0]}")
        except BaseException as error:  # noqa: BLE001, whatever importing a user's code raises is reported
            pass_on(error)
            where = _last_line(error, path) or str(path)
            self._refuse(f"{where}: cannot be imported: {in_words(error)}")
        self._modules[path] = module, build
        return module, build

    def _source(self, path: Path) -> bytes:
        expected = f"a Python file with a {self.family.what} in it"
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                self._refuse(f"{path}: not a file, expected {expected}")
            if found.st_size > MAX_SOURCE_BYTES:
                self._refuse(f"{path}: {found.st_size} bytes, expected at most {MAX_SOURCE_BYTES}")
            source = path.read_bytes()
        except OSError as error:
            self._refuse(f"{path}: cannot be read: {error.strerror}, expected {expected}")
        except ValueError as error:  # a zero byte in the name
            self._refuse(f"{str(path)!r}: {error}, expected {expected}")
        return source

    def _check(self, spec: Spec, class_: Any) -> None:
        what, label = self.family.what, spec.label
        if not inspect.isclass(class_):
            self._refuse(f"{label}: is {type(class_).__name__!r}, expected the class of a {what}")
        lacks = [call for call in self.family.calls if not callable(getattr(class_, call, None))]
        if lacks:
            self._refuse(f"{_line_of(spec, class_)}: not a {what}: it lacks {', '.join(lacks)}")
        name = getattr(class_, "name", None)
        if not isinstance(name, str) or not _is_name(name):
            self._refuse(
                f"{_line_of(spec, class_)}: name: got {name!r:.100},"
                f" expected 1 to 60 letters, digits or characters of _ . - as the {what}'s name"
            )
        if name in self.family.reserved:
            names = self.family.reserved[name]
            self._refuse(f"{_line_of(spec, class_)}: name: got {name!r}, which means {names}: take another")
        params = getattr(class_, "Params", Parameters)
        if (
            not inspect.isclass(params)
            or not issubclass(params, msgspec.Struct)
            or not params.__struct_config__.frozen
        ):
            self._refuse(
                f"{_line_of(spec, class_)}: Params: got {params!r:.100}, expected a frozen msgspec.Struct"
                " (trader.extensions.params.Parameters)"
            )

    def _params(self, spec: Spec, class_: Any) -> Parameters:
        type_: type[Parameters] = getattr(class_, "Params", Parameters)
        takes = _takes(type_)
        accepted = f"it takes {', '.join(takes.values())}" if takes else "it takes none"
        unknown = [key for key in spec.arguments if key not in takes]
        if unknown:
            close = difflib.get_close_matches(unknown[0], takes, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            self._refuse(f"{spec.label}: unknown parameter {unknown[0]!r}{hint}: {accepted}")
        try:
            return msgspec.convert(dict(spec.arguments), type_)
        except BaseException as error:  # noqa: BLE001, __post_init__ is the user's code
            pass_on(error)
            said = str(error) if isinstance(error, msgspec.ValidationError) else in_words(error)
            self._refuse(f"{spec.text}: {said}: {accepted}")

    def _refuse(self, problem: str) -> NoReturn:
        raise StartupError(f"{self.family.setting}: {problem}") from None


def build_of(build: str, loaded: Iterable[Extension[Any]]) -> str:
    """Return the id of the deciding code: `build`, and hashes of the sources that are not built in."""
    outside = [f"{each.name}={each.build}" for each in loaded if each.build]
    return "+".join((build, *outside))


def pass_on(error: BaseException) -> None:
    """Raise an error again if the code is not at fault, because a person is ending the process."""
    if isinstance(error, KeyboardInterrupt):
        raise error


def _is_name(name: str) -> bool:
    return 1 <= len(name) <= 60 and all(char.isascii() and (char.isalnum() or char in "_.-") for char in name)


def _takes(type_: type[Parameters]) -> dict[str, str]:
    """Return the parameters of a type, each with its type and default as text."""
    takes = {}
    for field in msgspec.structs.fields(type_):
        named = field.type.__name__ if inspect.isclass(field.type) else str(field.type)
        kind = named.removeprefix("typing.")
        default = "" if field.default is msgspec.NODEFAULT else f" = {field.default!r}"
        takes[field.name] = f"{field.name}: {kind}{default}"
    return takes


def in_words(error: BaseException) -> str:
    """Return an error in one line."""
    return "".join(lines_of(error)).strip()[:300]


def _last_line(error: BaseException, path: Path | None) -> str | None:
    """Return file and line of an error, the last one in `path` if it is given."""
    every = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in every if path is None or frame.filename == str(path)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _line_of(spec: Spec, class_: Any) -> str:
    """Return file and line of a class, as far as they are known."""
    if spec.path is None:
        return spec.label
    try:
        return f"{spec.path}:{inspect.getsourcelines(class_)[1]}"
    except (OSError, TypeError):
        return spec.label


def _build_of(point: EntryPoint) -> str:
    """Return a hash of the module that an entry point names, with the version of its package."""
    version = point.dist.version if point.dist is not None else ""
    module = sys.modules.get(point.module)
    path = getattr(module, "__file__", None)
    source = Path(path).read_bytes() if path else b""
    return xxhash.xxh3_64_hexdigest(version.encode() + source)
