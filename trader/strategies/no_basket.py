"""Strategy ``no_basket``: buys NO on markets of a mutually exclusive event if that pays whatever happens."""

from collections.abc import Sequence

from markets.opportunities.kinds.no_basket import NoBasketKind
from markets.orders import Proposal

from .strategy import Quiet, Update, proposal


class NoBasket(Quiet):
    """Takes every tradable candidate of kind ``no_basket``; an event has at most one."""

    name = "no_basket"
    only_tradable = True
    only_buys = True

    def on_update(self, update: Update) -> Sequence[Proposal]:
        return [
            proposal(self.name, found)
            for found in update.opportunities
            if found.kind == NoBasketKind.name and found.tradable
        ]
