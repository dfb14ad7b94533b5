"""Merges several sources: for each market the first source that has a value counts. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from markets.records import FairValue


def merged(sources: Sequence[Mapping[str, FairValue]]) -> dict[str, FairValue]:
    """Return one value per ticker, that of the first source that has one."""
    values: dict[str, FairValue] = {}
    for source in reversed(sources):
        values.update(source)
    return values


def difference(
    before: Mapping[str, FairValue], after: Mapping[str, FairValue]
) -> tuple[tuple[FairValue, ...], tuple[str, ...]]:
    """Return the values that are new or different, and the tickers that are gone."""
    changed: Iterable[FairValue] = (value for ticker, value in after.items() if before.get(ticker) != value)
    return tuple(changed), tuple(sorted(before.keys() - after.keys()))
