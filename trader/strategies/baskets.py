"""Strategy ``baskets``: buys everything, of any kind, that pays more than it costs whatever happens."""

from collections.abc import Sequence

from markets.opportunities import KINDS, Opportunity
from markets.orders import Proposal

from .sizing import SizeParams, contracts_of, cut
from .strategy import Quiet, Update, proposal


class Baskets(Quiet):
    """Takes the tradable candidates whose profit relies on no opinion, best first.

    `kinds` names the kinds that it takes; empty means all. Its size decides how many sets (sizing.py).
    """

    name = "baskets"
    only_tradable = True
    only_buys = True

    class Params(SizeParams, frozen=True, kw_only=True):
        kinds: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.size == "kelly":
                raise ValueError("size: got 'kelly', expected depth, fixed or edge: no belief is involved")
            unknown = [kind for kind in self.kinds if kind not in KINDS]
            if unknown:
                raise ValueError(f"kinds: got {unknown[0]!r}, expected some of {', '.join(KINDS)}")

    params: Params

    def on_update(self, update: Update) -> Sequence[Proposal]:
        wanted = [self._sized(found) for found in update.opportunities if self._takes(found)]
        return [one for one in wanted if one is not None]

    def _sized(self, found: Opportunity) -> Proposal | None:
        whole = proposal(self.name, found)
        if self.params.size == "depth":
            return whole
        paid_e6 = sum(leg.cost_e6 + (leg.fee_e6 or 0) for leg in found.legs)
        sets_e2 = max(leg.count_e2 for leg in found.legs)
        return cut(whole, contracts_of(self.params, sets_e2, paid_e6, found.net_edge_e6 or 0))

    def _takes(self, found: Opportunity) -> bool:
        kinds = self.params.kinds
        return found.tradable and found.probability is None and (not kinds or found.kind in kinds)
