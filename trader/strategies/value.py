"""Strategy ``value``: buys an outcome, YES or NO, that costs less than it is believed to be worth."""

from collections.abc import Sequence

from markets.opportunities.kinds.value import ValueKind
from markets.orders import Proposal

from .strategy import Quiet, Update, proposal


class Value(Quiet):
    """Takes the best tradable candidate of kind ``value`` of each event."""

    name = "value"

    def on_update(self, update: Update) -> Sequence[Proposal]:
        for found in update.opportunities:
            if found.kind == ValueKind.name and found.tradable:
                return [proposal(self.name, found)]
        return []
