"""Who sends orders, and what each is called. Pure."""

import uuid


class Numbering:
    """Numbers orders and trades of a journal, from its start on.

    Attributes:
        trader, account: who trades, and on which account.
    """

    def __init__(
        self,
        journal_id: str = str(uuid.UUID(int=0)),
        next_order: int = 1,
        next_trade: int = 1,
        trader: str = "",
        account: str = "",
    ) -> None:
        self.trader = trader
        self.account = account
        self._journal_id = uuid.UUID(journal_id)
        self._next_order = next_order
        self._next_trade = next_trade

    def trade(self) -> int:
        """Return the number of a new trade."""
        self._next_trade += 1
        return self._next_trade - 1

    def order(self) -> tuple[int, str]:
        """Return number and client order id of a new order: the same order has the same id for ever."""
        number = self._next_order
        self._next_order += 1
        return number, str(uuid.uuid5(self._journal_id, str(number)))
