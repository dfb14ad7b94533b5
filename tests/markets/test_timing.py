"""Start of a match, against starts that the rules' own text states."""

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from markets.json.read import decode_milestone
from markets.records import Event, Market, Milestone, Status
from markets.timing import MatchTiming, match_time_json, match_timing
from markets.units import DAY_MS, HOUR_MS, parse_time_ms

DATA = Path(__file__).parents[1] / "data/kalshi"
PROBE = json.loads((DATA / "occurrence_probe.json").read_text())
EDT = timezone(timedelta(hours=-4))
START_MS = parse_time_ms("2026-08-19T23:30:00Z")


def event(ticker: str = "KXMLSGAME-26AUG19VANHOU", category: str = "Sports", raw: bytes = b"{}") -> Event:
    return Event(ticker, ticker.partition("-")[0], "t", "", category, True, None, None, None, 0, raw)


def market(
    occurrence_ms: int | None = None, close_ms: int = START_MS + 54 * HOUR_MS, expected_ms: int | None = None
) -> Market:
    return Market(
        "M", "E", "S", "t", "", "binary", "structured", None, None, (), 0, 0, close_ms, expected_ms,
        close_ms, occurrence_ms, 0, "", None, 0, b"{}",
    )  # fmt: skip


def milestone(
    start_ms: int, primary: tuple[str, ...] = (), related: tuple[str, ...] = (), status: str | None = None,
    id_: str = "m",
) -> Milestone:  # fmt: skip
    return Milestone(id_, "soccer", "Sports", "t", start_ms, None, primary, related, status, b"{}")


@pytest.mark.parametrize("anchor", PROBE["mlb_anchor"], ids=lambda a: a["ticker"])
def test_start_from_occurrence_is_the_start_that_the_rules_state(anchor: dict[str, str]) -> None:
    stated = re.search(
        r"originally scheduled for (\w+ \d+, \d+ at \d+:\d+ [AP]M) EDT", anchor["rules_primary"]
    )
    assert stated is not None
    start = datetime.strptime(stated[1], "%b %d, %Y at %I:%M %p").replace(tzinfo=EDT)
    timing = match_timing(
        event("-".join(anchor["ticker"].split("-")[:2])),
        [market(parse_time_ms(anchor["occurrence_datetime"]), parse_time_ms(anchor["close_time"]))],
        [],
        now_ms=0,
    )
    assert (timing.start_ms, timing.source) == (int(start.timestamp()) * 1000, "occurrence")
    assert timing.close_ms == parse_time_ms(anchor["close_time"])


@pytest.mark.parametrize("pair", PROBE["period_pairs"], ids=lambda p: p["period_ticker"])
def test_a_period_and_its_game_start_at_the_same_time(pair: dict[str, str]) -> None:
    starts = [
        match_timing(
            event("-".join(pair[f"{kind}_ticker"].split("-")[:2])),
            [market(parse_time_ms(pair[f"{kind}_occurrence_datetime"]))],
            [],
            now_ms=0,
        ).start_ms
        for kind in ("period", "game")
    ]
    assert starts[0] == starts[1] is not None


LEAGUE_CLOSE_HOURS = {"KXMLB": 72, "KXNFL": 48}
"""Trading of a game is bounded this long after its start; 54 h in the soccer leagues. A second witness."""


@pytest.mark.parametrize(
    "game",
    [
        *(
            {name.removeprefix("game_"): value for name, value in pair.items() if name.startswith("game_")}
            for pair in PROBE["period_pairs"]
        ),
        *PROBE["exp_disagreements"],
    ],
    ids=lambda game: game["ticker"],
)
def test_start_of_every_probed_game_fits_its_leagues_close_and_play_begins_with_it(
    game: dict[str, str],
) -> None:
    times = [
        parse_time_ms(game[name])
        for name in ("occurrence_datetime", "close_time", "expected_expiration_time")
    ]
    what = event("-".join(game["ticker"].split("-")[:2]))

    def at(now_ms: int) -> MatchTiming:
        return match_timing(what, [market(*times)], [], now_ms=now_ms)

    hours = next((h for name, h in LEAGUE_CLOSE_HOURS.items() if game["ticker"].startswith(name)), 54)
    start_ms = at(PROBE["captured_ms"]).start_ms
    assert start_ms == times[1] - hours * HOUR_MS
    assert at(PROBE["captured_ms"]).source == "occurrence"
    played = {hour: at(start_ms + hour * HOUR_MS - 1).in_play for hour in (0, 1, 3)}
    assert played == {0: False, 1: True, 3: True}
    assert at(PROBE["captured_ms"]).in_play is False  # all of them were still to come
    # It lasts as long as it lasts: the time at which it was expected to be over is not its end.
    assert at(max(times[0], times[2])).in_play is True


def test_milestone_comes_before_occurrence_and_primary_before_related() -> None:
    ticker = event().event_ticker
    markets = [market(START_MS + 3 * HOUR_MS)]
    related = milestone(START_MS - HOUR_MS, related=(ticker,))
    primary = milestone(START_MS + HOUR_MS, primary=(ticker,))
    stranger = milestone(START_MS - DAY_MS, primary=("OTHER",))
    assert match_timing(event(), markets, [stranger], now_ms=0).start_ms == START_MS
    assert match_timing(event(), markets, [stranger, related], now_ms=0).start_ms == START_MS - HOUR_MS
    timing = match_timing(event(), markets, [stranger, related, primary], now_ms=0)
    assert (timing.start_ms, timing.source) == (START_MS + HOUR_MS, "milestone")


def test_of_several_milestones_the_earliest_counts_whatever_their_order() -> None:
    ticker = event().event_ticker
    several = [milestone(START_MS + i * HOUR_MS, primary=(ticker,), id_=str(i)) for i in range(3)]
    for order in (several, several[::-1]):
        assert match_timing(event(), [], order, now_ms=0).start_ms == START_MS


@pytest.mark.parametrize(
    ("what", "occurrence_ms"),
    [
        (event("KXHIGHNY-26JUL19", category="Climate and Weather"), parse_time_ms("2026-07-19T14:00:00Z")),
        (event("KXNBA-27"), parse_time_ms("2027-07-31T14:00:00Z")),
        (
            event("KXNFLMVP-27FEB04", raw=b'{"product_metadata":{"competition_scope":"Awards"}}'),
            parse_time_ms("2027-02-04T14:00:00Z"),
        ),
        (event(), START_MS + 40 * DAY_MS),
        (event(), START_MS - 5 * DAY_MS),
        (event("KXMLSGAME-26AUG99VANHOU"), START_MS),
        (event(), None),
    ],
)
def test_start_is_unknown_rather_than_the_close_time(what: Event, occurrence_ms: int | None) -> None:
    timing = match_timing(what, [market(occurrence_ms)], [], now_ms=START_MS)
    assert (timing.start_ms, timing.source, timing.in_play) == (None, "unknown", None)
    assert timing.close_ms is not None


@pytest.mark.parametrize(
    ("status", "minutes_after_start", "in_play"),
    [
        (None, -1, False),
        (None, 0, True),
        ("created", 60, True),
        ("inprogress", -10, True),
        ("inprogress", 600, True),
        ("closed", 60, False),
        ("postponed", 60, False),
        ("Postponed", 60, False),
        ("unheard-of", 181, True),
        (None, 600, True),
    ],
)
def test_in_play_by_status_else_from_the_start_on(
    status: str | None, minutes_after_start: int, in_play: bool
) -> None:
    milestones = [milestone(START_MS, primary=(event().event_ticker,), status=status)]
    now_ms = START_MS + minutes_after_start * 60_000
    markets = [market(START_MS + 3 * HOUR_MS)]
    assert match_timing(event(), markets, milestones, now_ms=now_ms).in_play is in_play


A, P, C, D, F = Status.ACTIVE, Status.INACTIVE, Status.CLOSED, Status.DETERMINED, Status.FINALIZED


@pytest.mark.parametrize("word", [None, "created", "inprogress", "closed"])
@pytest.mark.parametrize(
    ("statuses", "trades"),
    [([A, A], True), ([A, D], True), ([P], True), ([Status.UNKNOWN], True), ([], True), ([C, D], False),
     ([D, F], False)],
)  # fmt: skip
def test_in_play_after_the_start_while_a_market_trades_and_nobody_says_that_it_is_over(
    word: str | None, statuses: list[Status], trades: bool
) -> None:
    milestones = [] if word is None else [milestone(START_MS, primary=(event().event_ticker,), status=word)]
    markets = [market(START_MS + 3 * HOUR_MS) for _ in statuses or [A]]
    said = {"inprogress": True, "closed": False}
    for hours in (1, 4, 40):
        timing = match_timing(
            event(), markets, milestones, now_ms=START_MS + hours * HOUR_MS, statuses=statuses
        )
        assert timing.in_play is said.get(word or "", trades)
    assert match_timing(event(), markets, milestones, now_ms=START_MS - 1, statuses=statuses).in_play is (
        word == "inprogress"
    )


@pytest.mark.parametrize("word", [None, "created", "inprogress", "closed"])
def test_no_match_is_in_play_once_all_its_markets_are_finalized(word: str | None) -> None:
    milestones = [milestone(START_MS, primary=(event().event_ticker,), status=word)]
    for hours in (-1, 1, 4):
        now_ms = START_MS + hours * HOUR_MS
        assert match_timing(event(), [market()], milestones, now_ms=now_ms, statuses=[F, F]).in_play is False
    weather = event("KXHIGHNY-26JUL19", category="Climate and Weather")
    assert match_timing(weather, [market()], [], now_ms=START_MS, statuses=[F]).in_play is None


def test_the_end_of_a_milestone_is_believed_where_it_has_no_status_and_is_a_plan_beside_one() -> None:
    ticker = event().event_ticker
    for status, in_play in ((None, False), ("created", True), ("inprogress", True)):
        ended = msgspec.structs.replace(
            milestone(START_MS, primary=(ticker,), status=status), end_ms=START_MS + HOUR_MS
        )
        assert match_timing(event(), [], [ended], now_ms=START_MS + 2 * HOUR_MS).in_play is in_play
        assert match_timing(event(), [], [ended], now_ms=START_MS + HOUR_MS - 1).in_play is True
        trading = match_timing(event(), [market()], [ended], now_ms=START_MS + 2 * HOUR_MS, statuses=[A, D])
        assert trading.in_play is True, "it lasts as long as it lasts"


@pytest.mark.parametrize("word", ["postponed", "cancelled", "closed", "abandoned"])
def test_a_milestone_that_does_not_happen_comes_after_one_that_does(word: str) -> None:
    ticker = event().event_ticker
    off = milestone(START_MS, primary=(ticker,), status=word, id_="off")
    on = milestone(START_MS + DAY_MS, related=(ticker,), status="created", id_="on")
    for order in ([off, on], [on, off]):
        timing = match_timing(event(), [market()], order, now_ms=START_MS + HOUR_MS)
        assert (timing.start_ms, timing.in_play) == (START_MS + DAY_MS, False)
    assert match_timing(event(), [market()], [off], now_ms=START_MS + HOUR_MS).start_ms == START_MS


YEAR_1_MS = parse_time_ms("0001-01-01T00:00:00Z")


@pytest.mark.parametrize("unset_ms", [YEAR_1_MS, 0, 1, -1])
def test_times_that_are_not_set_are_not_believed(unset_ms: int) -> None:
    ticker = event().event_ticker
    unset = milestone(unset_ms, primary=(ticker,), id_="a")
    later = milestone(START_MS + HOUR_MS, related=(ticker,), id_="b")
    markets = [market(START_MS + 3 * HOUR_MS, unset_ms, unset_ms), market(unset_ms)]
    timing = match_timing(event(), markets, [unset], now_ms=START_MS - 1)
    assert timing == MatchTiming(START_MS, "occurrence", START_MS + 54 * HOUR_MS, None, False)
    assert match_timing(event(), markets, [unset, later], now_ms=0).start_ms == START_MS + HOUR_MS
    nothing = match_timing(event(), [market(unset_ms, unset_ms, unset_ms)], [unset], now_ms=START_MS)
    assert nothing == MatchTiming(None, "unknown", None, None, None)
    ended = msgspec.structs.replace(later, end_ms=unset_ms)
    assert match_timing(event(), markets, [ended], now_ms=START_MS + 2 * HOUR_MS).in_play is True


def test_recorded_milestones_give_start_and_status() -> None:
    decoded = [
        decode_milestone(json.dumps(raw).encode())
        for raw in json.loads((DATA / "milestones.json").read_text())["milestones"]
    ]
    football = event("SIMNFLGAME")
    timing = match_timing(football, [], decoded, now_ms=0)
    assert timing.start_ms == parse_time_ms("2024-09-06T00:20:00Z")
    assert timing.in_play is True


def test_json_shape_uses_rfc_3339_or_null() -> None:
    markets = [market(START_MS + 3 * HOUR_MS, expected_ms=START_MS + 3 * HOUR_MS)]
    assert match_time_json(match_timing(event(), markets, [], now_ms=START_MS)) == {
        "start_time": "2026-08-19T23:30:00Z",
        "source": "occurrence",
        "close_time": "2026-08-22T05:30:00Z",
        "expected_expiration_time": "2026-08-20T02:30:00Z",
        "in_play": True,
    }
    assert match_time_json(match_timing(event(), [], [], now_ms=0)) == {
        "start_time": None,
        "source": "unknown",
        "close_time": None,
        "expected_expiration_time": None,
        "in_play": None,
    }
