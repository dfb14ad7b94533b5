"""Which strategies trade: those in the settings, loaded and tried, except those that were ended before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.process.settings import variable_of
from bus.trading.ended import EndedStrategies, EndedStrategy
from trader.engine.asks import MANUAL

from .extensions.load import Extension, Family, Loader, build_of, pass_on
from .extensions.spec import Spec
from .minder import IMPORT_LIMIT_MS, Minder
from .strategies import BUILT_IN, Strategy, StrategyMaker

FAMILY: Final = Family(
    what="strategy",
    setting=variable_of("strategies"),
    group="kalshi_bus.strategies",
    calls=("on_start", "on_update", "on_fill", "on_timer"),
    built_in=BUILT_IN,
    reserved={MANUAL: "a person's own orders"},
)


class Lineup(msgspec.Struct, frozen=True):
    """Strategies in the order in which they choose.

    Attributes:
        makers: by the strategy's full text, including parameters.
        left_out: those that were ended and have not been allowed since.
    """

    makers: Mapping[str, Extension[Strategy]]
    left_out: tuple[EndedStrategy, ...] = ()

    def load(self, text: str) -> StrategyMaker:
        """Return the maker of the strategy with this text."""
        return self.makers[text]

    def build(self, own: str) -> str:
        """Return the id of the deciding code, given the id of the project's own code."""
        return build_of(own, self.makers.values())


def line_up(
    texts: Sequence[str], folder: Path, ended: EndedStrategies, minder: Minder, now_ms: int
) -> Lineup:
    """Load all strategies, and check that each can be made and started.

    Raises:
        StartupError: one cannot, or it is unknown which were ended.
    """
    loader = Loader(FAMILY, folder)
    specs, held = loader.specs(texts), ended.read()
    left_out = tuple(each for each in held if any(each.label == spec.label for spec in specs))
    out = {each.label for each in left_out}
    loaded = [_load(loader, spec, minder) for spec in specs if spec.label not in out]
    loader.refuse_twins(loaded)
    for each in loaded:
        minder.labels[each.name] = each.spec.label
        _try(loader, each, minder, now_ms)
    return Lineup({each.spec.text: each for each in loaded}, left_out)


def refuse_unusable(texts: Sequence[str], folder: Path) -> None:
    """Load all strategies and forget them; none is made or started.

    Raises:
        StartupError: one does not exist, does not take these parameters, or has the name of another.
    """
    loader = Loader(FAMILY, folder)
    loader.refuse_twins([loader.load(spec) for spec in loader.specs(texts)])


def load_strategy(text: str) -> Extension[Strategy]:
    """Return the maker of the strategy that a journal names.

    Raises:
        StartupError: it does not exist any more, or does not take these parameters.
    """
    loader = Loader(FAMILY, Path("/"))
    return loader.load(loader.specs([text])[0])


def _load(loader: Loader, spec: Spec, minder: Minder) -> Extension[Strategy]:
    minder.begins(spec.label, "its import", IMPORT_LIMIT_MS)
    try:
        return loader.load(spec)
    finally:
        minder.ends()


def _try(loader: Loader, loaded: Extension[Strategy], minder: Minder, now_ms: int) -> None:
    """Make one, start it and forget it: if that fails, refuse the start instead of dropping it later."""
    call = "its constructor"
    minder.begins(loaded.name, call)
    try:
        strategy = loaded.make()
        minder.ends()
        call = "on_start"
        minder.begins(loaded.name, call)
        strategy.on_start(now_ms)
    except BaseException as error:  # noqa: BLE001, whatever a user's code raises is reported
        pass_on(error)
        loader.refuse_failed(loaded.spec, call, error)
    finally:
        minder.ends()
