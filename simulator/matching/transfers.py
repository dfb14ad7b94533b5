"""Cash that an account moves between its subaccounts and shards."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

Route = Literal["shards", "subaccounts"]
"""Which operation was called: a client's own transfer id is known to only one of them."""

Pocket = tuple[int, int]
"""(subaccount, shard)."""

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """Cash that was moved, or as far as it came.

    Attributes:
        complete: False if it stopped half-way; what was moved so far stays there.
        number: counts all transfers of the exchange.
    """

    transfer_id: str
    client_transfer_id: str | None
    account: int
    route: Route
    source: Pocket
    destination: Pocket
    amount_e6: int
    time_ms: int
    number: int
    complete: bool = True


@dataclass(slots=True, eq=False)
class Remembered:
    """The latest transfers, by the client's own ids: a repeated id moves nothing."""

    by_id: dict[tuple[Route, str], Transfer] = field(default_factory=dict)

    def get(self, route: Route, client_transfer_id: str | None) -> Transfer | None:
        """Return the transfer that had this id."""
        return None if client_transfer_id is None else self.by_id.get((route, client_transfer_id))

    def add(self, transfer: Transfer) -> None:
        """Note a transfer that was made."""
        if transfer.client_transfer_id is not None:
            self.by_id[transfer.route, transfer.client_transfer_id] = transfer
            if len(self.by_id) > _REMEMBERED:
                del self.by_id[next(iter(self.by_id))]


def steps(source: Pocket, destination: Pocket) -> list[tuple[Pocket, Pocket]]:
    """Return the single movements of a transfer: shards are crossed in the primary account only.

    They are not atomic: each stands once it is made (Kalshi API documentation, intra account transfer).
    """
    if source == destination:
        return []
    if source[1] == destination[1]:
        return [(source, destination)]
    way = [source, (0, source[1]), (0, destination[1]), destination]
    return [(here, there) for here, there in pairwise(way) if here != there]
