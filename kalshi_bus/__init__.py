"""What users' programs import: ``import kalshi_bus``.

    with kalshi_bus.connect("md.KXNBAGAME.") as live:
        print(live.market("KXNBAGAME-26NOV29LALBOS-LAL").title)

Names in `__all__` keep their meaning from one minor version to the next (docs/compatibility.md); everything
else in our packages may change in any version.
"""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bus.notebook import Connection as Connection
    from bus.notebook import UnknownTopic as UnknownTopic
    from bus.notebook import connect as connect
    from bus.replica import Replica as Replica
    from bus.replica import ReplicaStatus as ReplicaStatus
    from bus.testing import replay_of as replay_of
    from bus.updates import Update as Update
    from bus.updates import Updates as Updates
    from markets import records as records
    from markets import units as units

_FROM: Final = {
    "Connection": "bus.notebook",
    "UnknownTopic": "bus.notebook",
    "Update": "bus.updates",
    "Updates": "bus.updates",
    "connect": "bus.notebook",
    "Replica": "bus.replica",
    "ReplicaStatus": "bus.replica",
    "replay_of": "bus.testing",
    "records": "markets",
    "units": "markets",
}

__all__ = [
    "Connection",
    "Replica",
    "ReplicaStatus",
    "UnknownTopic",
    "Update",
    "Updates",
    "connect",
    "records",
    "replay_of",
    "units",
]

_HOME: Final = Path(__file__).resolve().parents[1]

try:
    __version__ = version("kalshi-bus")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+checkout"


def _refuse_others(names: tuple[str, ...] = ("bus", "markets")) -> None:
    """Raise ImportError if a module of the user's own would be taken for one of ours.

    It is found here rather than deep inside an import, where it would show as a missing attribute.
    """
    for name in names:
        loaded = sys.modules.get(name)
        if loaded is not None:
            file = getattr(loaded, "__file__", None)
        else:
            found = PathFinder.find_spec(name)
            file = found.origin if found is not None else None
        if file is None or _HOME not in Path(file).resolve().parents:
            where = file or "a folder without __init__.py, or nothing,"
            raise ImportError(
                f"kalshi_bus needs its own package {name!r}, and {where} is found first: rename it, or start "
                f"Python in another folder, or with -P"
            )


_refuse_others()


def __getattr__(name: str) -> Any:
    # On demand: a reader of records wants neither sockets nor threads.
    place = _FROM.get(name)
    if place is None:
        raise AttributeError(f"module 'kalshi_bus' has no attribute {name!r}")
    if place == "markets":
        return import_module(f"markets.{name}")
    return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
