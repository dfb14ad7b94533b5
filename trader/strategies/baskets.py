"""Strategy ``baskets``: everything that pays more than it costs whatever happens, of all kinds."""

from collections.abc import Sequence

from markets.opportunities import KINDS, Opportunity
from markets.orders import Proposal
from trader.extensions.params import Parameters

from .strategy import Quiet, Update, proposal


class Baskets(Quiet):
    """Takes the tradable candidates whose profit rests on no opinion, best first.

    `kinds` names those that it takes; none means all.
    """

    name = "baskets"

    class Params(Parameters, frozen=True, kw_only=True):
        kinds: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            unknown = [kind for kind in self.kinds if kind not in KINDS]
            if unknown:
                raise ValueError(f"kinds: got {unknown[0]!r}, expected of {', '.join(KINDS)}")

    params: Params

    def on_update(self, update: Update) -> Sequence[Proposal]:
        return [proposal(self.name, found) for found in update.opportunities if self._takes(found)]

    def _takes(self, found: Opportunity) -> bool:
        kinds = self.params.kinds
        return found.tradable and found.probability is None and (not kinds or found.kind in kinds)
