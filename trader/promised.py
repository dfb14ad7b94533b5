"""What a trade was expected to earn, for what its orders got. Pure."""

import msgspec

from markets.orders import Intent
from trader.ledger.ledger import JOINED


class Promised(msgspec.Struct):
    """The expected profit of one trade's decisions, after fees, counted by what was filled.

    A basket counts whole as soon as anything of it is filled: a leg that is missed is a part of what came of
    it. An order that is a trade by itself, or rests, counts in the share in which it was filled, and so does
    each order that joins the trade later. Orders that even out, sell or are a person's promise nothing.

    Each contract of an order promises what those it was placed for did, also one that an amendment adds, and
    whatever price it asks for. So an order that grew may come to more than its decision's edge.

    Attributes:
        edge_e6: of the decision that made the trade; wanted_e2, got_e2: contracts of all its orders.
        orders: how many these are. rests: whether they rest.
        joined_e6: of the orders that joined it.
    """

    edge_e6: int = 0
    wanted_e2: int = 0
    got_e2: int = 0
    orders: int = 0
    rests: bool = False
    joined_e6: int = 0

    def placed(self, intent: Intent) -> None:
        """Take an order of the trade, before its fills."""
        if not intent.attempt:
            self.edge_e6 = intent.edge_e6  # each has that of the whole trade
            self.orders += 1
            self.wanted_e2 += intent.count_e2
            self.rests = intent.time_in_force == "gtc"

    def filled(self, intent: Intent, before_e2: int, after_e2: int) -> None:
        """Take how much of an order was filled before, and is now.

        Args:
            intent: the order as it was placed, not as it was amended since.
        """
        if not intent.attempt:
            self.got_e2 += after_e2 - before_e2
        elif intent.attempt == JOINED:
            self.joined_e6 += (after_e2 * intent.edge_e6 // intent.count_e2) - (
                before_e2 * intent.edge_e6 // intent.count_e2
            )

    @property
    def e6(self) -> int:
        """In 1/1,000,000 dollar; 0 as long as nothing is filled."""
        if self.orders > 1 and not self.rests:
            return (self.edge_e6 if self.got_e2 else 0) + self.joined_e6
        return self.edge_e6 * self.got_e2 // max(1, self.wanted_e2) + self.joined_e6
