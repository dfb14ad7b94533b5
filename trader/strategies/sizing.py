"""How much of an offer a strategy wants: all, a fixed count, by the edge, or a fraction of Kelly's size.

Pure, and applied before risk, which cuts the result to the limits.

* ``depth``: everything offered at the price.
* ``fixed``: `contracts`.
* ``edge``: `contracts` for each cent that one contract is expected to earn.
* ``kelly``: the fraction `kelly` of the size that makes the account grow fastest. Believing p and paying c
  for a dollar, that is (p - c) / (1 - c) of the cash. p is taken at the worse end of the belief's margin: the
  less is known, the less is bet, and nothing if the margin covers the edge.
"""

from typing import Final, Literal

import msgspec

from markets.orders import Proposal
from markets.units import COUNT_ONE_E2
from trader.extensions.params import Parameters

Size = Literal["depth", "fixed", "edge", "kelly"]

MOST_CONTRACTS: Final = 1_000_000


class SizeParams(Parameters, frozen=True, kw_only=True):
    """Parameters of a strategy whose size can be chosen."""

    size: Size = "depth"
    contracts: int = 10
    kelly: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.contracts <= MOST_CONTRACTS:
            raise ValueError(
                f"contracts: got {self.contracts}, expected above 0 and at most {MOST_CONTRACTS}"
            )
        if not 0 < self.kelly <= 1:
            raise ValueError(f"kelly: got {self.kelly}, expected above 0 and at most 1")


def contracts_of(
    params: SizeParams,
    offered_e2: int,
    paid_e6: int,
    edge_e6: int,
    *,
    fair: float | None = None,
    margin: float = 0.0,
    cash_e6: int = 0,
) -> int:
    """Return how many whole contracts of an offer are wanted.

    Args:
        offered_e2: contracts offered.
        paid_e6: what all of them cost, including fees. edge_e6: what they earn after that.
        fair: what one is believed to be worth, 0..1, None without a belief. margin: the belief's margin.
        cash_e6: the available cash.
    """
    offered = offered_e2 // COUNT_ONE_E2
    wanted = offered
    if params.size == "fixed":
        wanted = params.contracts
    elif params.size == "edge":
        # the edge of one contract in cents, times contracts, all in integers
        wanted = max(0, edge_e6) * COUNT_ONE_E2 * params.contracts // (10_000 * max(1, offered_e2))
    elif params.size == "kelly" and fair is not None:
        each_e6 = max(1, paid_e6 * COUNT_ONE_E2 // max(1, offered_e2))
        part = kelly_part(fair - margin, each_e6 / 1_000_000)
        wanted = int(params.kelly * part * max(0, cash_e6) / each_e6)
    return max(0, min(offered, wanted))


def kelly_part(believed: float, price: float) -> float:
    """Return the share of the cash whose stake, on a dollar at `price` (0..1), makes it grow fastest."""
    if not 0 < price < 1:
        return 0.0
    return max(0.0, min(1.0, (min(believed, 1.0) - price) / (1 - price)))


def cut(proposal: Proposal, contracts: int) -> Proposal | None:
    """Return a proposal with at most `contracts` of each leg, None if that is nothing."""
    most_e2 = contracts * COUNT_ONE_E2
    wanted_e2 = max((leg.count_e2 for leg in proposal.legs), default=0)
    if most_e2 <= 0 or wanted_e2 <= 0:
        return None
    if most_e2 >= wanted_e2:
        return proposal
    legs = tuple(msgspec.structs.replace(leg, count_e2=min(leg.count_e2, most_e2)) for leg in proposal.legs)
    return msgspec.structs.replace(proposal, legs=legs, edge_e6=proposal.edge_e6 * most_e2 // wanted_e2)
