"""Strategy ``value``: buys an outcome, YES or NO, that costs less than it is believed to be worth."""

from collections.abc import Sequence

from markets.opportunities.kinds.value import ValueKind
from markets.orders import Proposal

from .base import Quiet, Update, proposal


class Value(Quiet):
    """Takes the best tradable candidate of kind ``value`` of each event."""

    name = "value"

    def on_update(self, update: Update) -> Sequence[Proposal]:
        for one in update.opportunities:
            if one.kind == ValueKind.name and one.tradable:
                return [proposal(self.name, one)]
        return []
