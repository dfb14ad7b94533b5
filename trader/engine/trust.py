"""At what size a trade that relies on a fair value is made. Pure.

A source of fair values is traded on at full size once its trial has accepted it (fair_values/trial.py), and
until then at the smallest size that is worth an order: that keeps testing the source and costs little.
"""

from collections.abc import Collection, Mapping

import msgspec

from markets.orders import Proposal
from markets.records import FairValue
from markets.units import COUNT_ONE_E2

from .risk import Limits


def believed(
    proposal: Proposal, values: Mapping[str, FairValue], accepted: Collection[str], limits: Limits
) -> Proposal:
    """Return a proposal, cut to the smallest size if it relies on a source that is not accepted.

    A trade relies on a fair value if it states a probability; the value is that of its first leg's market.
    """
    if proposal.probability is None or proposal.evens is not None or not proposal.legs:
        return proposal
    value = values.get(proposal.legs[0].ticker)
    if value is None or value.source in accepted:
        return proposal
    return smallest(proposal, limits)


def smallest(proposal: Proposal, limits: Limits) -> Proposal:
    """Return a proposal with the fewest whole contracts that still earn what a trade must earn."""
    wanted_e2 = max(leg.count_e2 for leg in proposal.legs)
    if proposal.edge_e6 <= 0 or wanted_e2 <= COUNT_ONE_E2:
        return proposal
    # edge x n / wanted >= least edge, rounded up to whole contracts.
    least_e2 = -(-limits.min_edge_e6 * wanted_e2 // proposal.edge_e6)
    count_e2 = max(COUNT_ONE_E2, -(-least_e2 // COUNT_ONE_E2) * COUNT_ONE_E2)
    if count_e2 >= wanted_e2:
        return proposal
    legs = tuple(msgspec.structs.replace(leg, count_e2=min(leg.count_e2, count_e2)) for leg in proposal.legs)
    return msgspec.structs.replace(proposal, legs=legs, edge_e6=proposal.edge_e6 * count_e2 // wanted_e2)
