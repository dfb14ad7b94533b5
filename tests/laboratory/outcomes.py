"""Outcomes as returned by runs, for tests of reports and statistics."""

from laboratory.outcome import Outcome, Plan, Point, Trade

DAY_MS = 86_400_000


def trade(number: int = 1, **fields: object) -> Trade:
    """Return a settled basket of two legs that got what it promised, with these fields changed."""
    own: dict[str, object] = {
        "number": number,
        "strategy": "baskets",
        "kind": "no_basket",
        "source": "",
        "series": "KXMLBGAME",
        "event": "KXMLBGAME-1",
        "at_ms": 1,
        "promised_e6": 1_000_000,
        "legs": [("A", "no", 100), ("B", "no", 100)],
        "first": "even",
        "cost_e6": 990_000,
        "fees_e6": 10_000,
        "got_e6": 1_000_000,
        **fields,
    }
    return Trade(**own)  # type: ignore[arg-type]


def outcome(seed: int, profits_e6: list[int], trades: list[Trade] | None = None, **settings: str) -> Outcome:
    """Return a run with one day per given profit at floor at the day's end; at bid it is a dollar less."""
    points = [
        Point((number + 1) * DAY_MS, profit, profit - 1_000_000, 5_000_000, 0)
        for number, profit in enumerate(profits_e6)
    ]
    plan = Plan(seed=seed, hours=24.0 * len(profits_e6), settings=settings, code="here")
    return Outcome(
        plan=plan,
        began_ms=0,
        ended_ms=len(profits_e6) * DAY_MS,
        points=points,
        trades=trades or [],
        orders=2,
        fills=2,
        wanted_e2=200,
        got_e2=150,
        order_ms=[500, 700],
        refused={"min_edge": 3},
    )
