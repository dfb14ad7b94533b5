"""Records as a table of pandas, polars or Arrow, whichever of them is installed.

Integers stay integers, also in columns in which some are not known.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from .nearest import or_nearest

LIBRARIES: Final = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}
"""What `library` may be -> the module that makes such tables."""

_DOLLARS: Final = {"_e4": (10_000, "_dollars"), "_e6": (1_000_000, "_dollars"), "_e2": (100, "_contracts")}


class Column(NamedTuple):
    """A column: its name, its values, and whether they are integers (else text).

    `partly`: some may be None.
    """

    name: str
    values: Sequence[Any]
    integers: bool = True
    partly: bool = True


def integer_columns(records: Sequence[Any], names: Iterable[str], partly: Iterable[str]) -> list[Column]:
    """Return these members of records as columns; those in `partly` may be None."""
    some = frozenset(partly)
    return [
        Column(name, [getattr(record, name) for record in records], partly=name in some) for name in names
    ]


def table(columns: Sequence[Column], library: str = "pandas", *, dollars: bool = False) -> Any:
    """Return columns as a table.

    Args:
        library: "pandas", "polars" or "arrow".
        dollars: prices as dollars and counts as contracts, for looking and plotting: floats, which are not
            exact, named ``..._dollars`` and ``..._contracts`` in the place of ``..._e4`` and ``..._e2``.

    Raises:
        ValueError: there is no such library.
        ImportError: it is not installed.
    """
    if library not in LIBRARIES:
        raise ValueError(f"library: got {library!r}, expected {or_nearest(str(library), tuple(LIBRARIES))}")
    try:
        module = import_module(LIBRARIES[library])
    except ImportError as error:
        name = LIBRARIES[library]
        raise ImportError(
            f"library {library!r} needs {name}, which is not installed: pip install {name}"
        ) from error
    shown = (
        [_in_dollars(column) for column in columns] if dollars else [(column, False) for column in columns]
    )
    match library:
        case "pandas":
            return _pandas(module, shown)
        case "polars":
            return _polars(module, shown)
        case _:
            return _arrow(module, shown)


def _in_dollars(column: Column) -> tuple[Column, bool]:
    """Return a column as it is shown, and whether it is of floats."""
    unit = column.name[-3:]
    if not column.integers or unit not in _DOLLARS:
        return column, False
    one, suffix = _DOLLARS[unit]
    values = [None if value is None else value / one for value in column.values]
    return Column(column.name[:-3] + suffix, values, partly=column.partly), True


def _pandas(pandas: Any, columns: Sequence[tuple[Column, bool]]) -> Any:
    series = {}
    for column, floats in columns:
        if not column.integers:
            series[column.name] = pandas.Series(column.values, dtype=None if column.values else "object")
        elif floats:
            series[column.name] = pandas.array(column.values, dtype="Float64" if column.partly else "float64")
        else:
            series[column.name] = pandas.array(column.values, dtype="Int64" if column.partly else "int64")
    return pandas.DataFrame(series)


def _polars(polars: Any, columns: Sequence[tuple[Column, bool]]) -> Any:
    def dtype(column: Column, *, floats: bool) -> Any:
        if not column.integers:
            return polars.String
        return polars.Float64 if floats else polars.Int64

    return polars.DataFrame(
        {column.name: column.values for column, _ in columns},
        schema={column.name: dtype(column, floats=floats) for column, floats in columns},
    )


def _arrow(arrow: Any, columns: Sequence[tuple[Column, bool]]) -> Any:
    arrays = {}
    for column, floats in columns:
        dtype = arrow.float64() if floats else arrow.int64() if column.integers else arrow.string()
        arrays[column.name] = arrow.array(column.values, dtype)
    return arrow.table(arrays)
