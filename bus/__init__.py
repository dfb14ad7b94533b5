"""The bus: protocol, sockets, replicas and what every process shares (settings, logs, lifecycle).

``bus.connect()`` is for scripts and notebooks: see bus/notebook.py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .notebook import connect as connect


def __getattr__(name: str) -> Any:
    # On demand: most importers of a part of the bus want neither sockets nor settings.
    if name == "connect":
        return import_module("bus.notebook").connect
    raise AttributeError(f"module 'bus' has no attribute {name!r}")
