"""Strategy ``value``: buys outcomes, YES or NO, that cost less than they are believed to be worth."""

from collections.abc import Iterator, Sequence

from markets.book import YES
from markets.opportunities import MarketView, Opportunity
from markets.opportunities.kinds.value import ValueKind
from markets.opportunities.legs import top
from markets.orders import Proposal
from markets.units import COUNT_ONE_E2
from trader.ledger.lots import Lot

from .sizing import SizeParams, contracts_of, cut
from .strategy import Quiet, Update, exit_of, proposal


class Value(Quiet):
    """Takes the best tradable candidate of kind ``value`` in each event, and sells as its parameters say.

    Without parameters it holds what it bought until settlement.
    """

    name = "value"
    only_tradable = True

    class Params(SizeParams, frozen=True, kw_only=True):
        """How much to buy (sizing.py), and when to sell.

        It sells when the bid is `target_e4` above or `stop_e4` below the average price, after `hold_s`
        seconds, or, with `turned`, once the bid is above the published fair value of the side.
        """

        target_e4: int | None = None
        stop_e4: int | None = None
        hold_s: float | None = None
        turned: bool = False

        def __post_init__(self) -> None:
            super().__post_init__()
            for name, value, most in (
                ("target_e4", self.target_e4, 9_999),
                ("stop_e4", self.stop_e4, 9_999),
                ("hold_s", self.hold_s, 10**9),
            ):
                if value is not None and not 0 < value <= most:
                    raise ValueError(f"{name}: got {value}, expected above 0 and at most {most}")

    params: Params

    def on_update(self, update: Update) -> Sequence[Proposal]:
        exits = list(self._exits(update))
        if exits:
            return exits
        for found in update.opportunities:
            if found.kind == ValueKind.name and found.tradable:
                wanted = cut(proposal(self.name, found), self._contracts(found, update))
                return [] if wanted is None else [wanted]
        return []

    def _contracts(self, found: Opportunity, update: Update) -> int:
        leg = found.legs[0]
        fair = update.fair_values.get(leg.ticker)
        believed = None if fair is None else fair.probability if leg.side == YES else 1 - fair.probability
        return contracts_of(
            self.params,
            leg.count_e2,
            leg.cost_e6 + (leg.fee_e6 or 0),
            found.net_edge_e6 or 0,
            fair=believed,
            margin=0.0 if fair is None else fair.margin,
            cash_e6=update.cash_e6,
        )

    def _exits(self, update: Update) -> Iterator[Proposal]:
        seen = {each.market.ticker: each for each in update.view.markets}
        for lot in update.lots:
            market = seen[lot.ticker]
            if self._leaves(lot, market, update) and (wanted := exit_of(lot, market)) is not None:
                yield wanted

    def _leaves(self, lot: Lot, market: MarketView, update: Update) -> bool:
        params, bid = self.params, top(market).bid(lot.side)
        if bid is None or lot.count_e2 < COUNT_ONE_E2:
            return False
        gain_e6 = bid[0] * lot.count_e2 - lot.cost_e6
        if params.target_e4 is not None and gain_e6 >= params.target_e4 * lot.count_e2:
            return True
        if params.stop_e4 is not None and -gain_e6 >= params.stop_e4 * lot.count_e2:
            return True
        if params.hold_s is not None and update.now_ms - lot.opened_ms >= params.hold_s * 1000:
            return True
        fair = update.fair_values.get(lot.ticker)
        if not params.turned or fair is None:
            return False
        return bid[0] > 10_000 * (fair.probability if lot.side == YES else 1 - fair.probability)
