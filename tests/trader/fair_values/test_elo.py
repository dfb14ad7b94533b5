"""Ratings as a source: probabilities that add up, nothing of what has begun, and what a result teaches."""

from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.notebook import Connection
from bus.protocol.messages import CycleEnd
from bus.protocol.writer import Writer
from markets.opportunities import EventView
from markets.records import Milestone
from tests.bus.scan.changes import changes_of
from tests.trader.world import NOW_MS, START_MS, event_of, leg, settled, view_of
from trader.fair_values.elo import Elo, expected_score, match_of, probabilities, read_ratings
from trader.fair_values.host import load

RATINGS = "name,rating\nVancouver,1500\nHouston,1600\n"
EVENT = event_of(1, title="Vancouver vs Houston")
NAMES = {"AWY": "Vancouver", "HOM": "Houston", "TIE": "Tie"}


def match(*outcomes: str, start_ms: int | None = START_MS) -> EventView:
    bid, ask = (3_000, 1_000), (3_200, 1_000)
    legs = [leg(EVENT, name, bid, ask, yes_sub_title=NAMES[name]) for name in outcomes or NAMES]
    return view_of(EVENT, *legs, start_ms=start_ms)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS)
    return path


def elo(path: Path, **params: float) -> Elo:
    made = Elo(Elo.Params(path=str(path), series="KXMLSGAME", **params))
    made.read()
    return made


def said(source: Elo, view: EventView, now_ms: int = NOW_MS) -> dict[str, float]:
    found = source.rate([view], now_ms)
    return {ticker.rsplit("-", 1)[1]: estimate.probability for ticker, estimate in found.items()}


def test_the_better_rated_is_likelier_and_at_home_likelier_still(ratings: Path) -> None:
    plain = said(elo(ratings), match("AWY", "HOM"))
    assert plain == pytest.approx({"AWY": 0.359935, "HOM": 0.640065}, abs=1e-6)
    assert said(elo(ratings, home=65.0), match("AWY", "HOM"))["HOM"] > plain["HOM"]
    with_draw = said(elo(ratings, draw=0.28), match())
    assert sum(with_draw.values()) == pytest.approx(1.0)
    assert with_draw["HOM"] + with_draw["TIE"] / 2 == pytest.approx(plain["HOM"])


@given(st.floats(-5_000, 5_000), st.floats(-5_000, 5_000), st.floats(-1_000, 1_000), st.floats(0, 0.5))
def test_any_ratings_give_probabilities_that_add_up(
    away: float, home: float, advantage: float, draw: float
) -> None:
    found = probabilities(expected_score(away, home, advantage), draw)
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= -1e-12


def test_of_what_has_begun_or_has_no_known_start_nothing_is_said(ratings: Path) -> None:
    source = elo(ratings)
    assert said(source, match(), START_MS) == {}
    assert said(source, match(start_ms=None)) == {}


@pytest.mark.parametrize(
    "view",
    [
        msgspec.structs.replace(match(), event=event_of(1, title="Vancouver at Houston")),
        msgspec.structs.replace(match(), event=event_of(1, title="Dallas vs Houston")),
        msgspec.structs.replace(
            match(), event=event_of(1, title="Vancouver vs Houston", mutually_exclusive=False)
        ),
        match("HOM", "TIE"),
    ],
)
def test_what_is_no_match_of_two_named_sides_is_left_alone(view: EventView) -> None:
    assert match_of(view) is None


def test_a_side_without_a_rating_has_no_value(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("name,rating\nHouston,1600\n")
    assert said(elo(path), match()) == {}


def test_a_result_moves_both_ratings_once_and_one_from_before_none(ratings: Path) -> None:
    source = elo(ratings, k=20.0)
    over = settled(match(), "AWY")
    source.rate([over], NOW_MS)
    assert source.moved == {}  # nobody saw it open
    source.rate([match()], NOW_MS)
    for _ in range(3):
        source.rate([over], NOW_MS)
    assert source.moved == pytest.approx({"Vancouver": 20 * 0.640065, "Houston": -20 * 0.640065}, abs=1e-4)
    drawn = elo(ratings, k=20.0)
    drawn.rate([match()], NOW_MS)
    drawn.rate([settled(match(), "TIE")], NOW_MS)
    assert drawn.moved["Vancouver"] == pytest.approx(20 * (0.640065 - 0.5), abs=1e-4)
    void = elo(ratings)
    void.rate([match()], NOW_MS)
    void.rate([settled(match(), "", AWY=3_000, HOM=3_000, TIE=4_000)], NOW_MS)
    assert void.moved == {}


def test_bad_rows_are_refused_by_line_and_a_broken_file_changes_nothing(ratings: Path) -> None:
    text = "name,rating\nA,1500\nB,nan\nC,much\nA,1600\n,1500\nD,1e9\nE,-20\n"
    found, errors = read_ratings(text)
    assert found == {"A": 1500.0, "E": -20.0}
    assert [error.split(":")[0] for error in errors] == [f"line {number}" for number in (3, 4, 5, 6, 7)]
    source = elo(ratings)
    before = said(source, match())
    for broken in (b"half", b"name,rating\n\xff,1\n"):
        ratings.write_bytes(broken)
        source.read()
        assert said(source, match()) == before
    ratings.unlink()
    source.read()
    assert said(source, match()) == before


class Bus:
    """Stands for a connection: the state of a writer of the test's own, and a clock that stands."""

    def __init__(self, *views: EventView) -> None:
        writer = Writer(1)
        cycle = CycleEnd(0, 0, 0, 0, True, NOW_MS, NOW_MS, as_of_ms=NOW_MS, complete_ms=NOW_MS)
        writer.commit([change for view in views for change in changes_of(view)], cycle, 1, 1)
        self.state = writer.state
        self.replica = self

    def now_ms(self) -> int:
        return NOW_MS


def test_it_rates_what_its_replica_has_of_its_series(ratings: Path) -> None:
    text = f"elo(path={str(ratings)!r}, series='KXMLSGAME', draw=0.28)"
    source, name, every_s, topics = load(text, ratings.parent)
    assert (name, every_s, topics) == ("elo", 5.0, ("md.KXMLSGAME.", "ref.", "ex."))
    start = event_of(1).event_ticker
    milestone = Milestone("m", "soccer_match", "Sports", "t", START_MS, None, (start,), (start,), None, b"{}")
    bus = Bus(match())
    assert source.values(cast("Connection", bus)) == {}  # nobody says when it starts
    with bus.state.lock:
        bus.state.put("ref.", 99, "milestone", [milestone])
    found = source.values(cast("Connection", bus))
    assert sorted(ticker.rsplit("-", 1)[1] for ticker in found) == ["AWY", "HOM", "TIE"]


@pytest.mark.parametrize("bad", [{"draw": 0.6}, {"home": float("nan")}, {"k": -1.0}, {"margin": 2.0}])
def test_a_parameter_out_of_range_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Elo.Params(path="r.csv", series="KXMLSGAME", **bad)
