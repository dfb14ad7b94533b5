"""Clones the recorded events into a universe of any size, in the proportions of the real exchange.

Proportions (contract 17): about 10 markets per event, 1.2 series per event (many series have nothing open),
half of the events exclusive. Times are set relative to now, so that something happens while one watches.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5
from zlib import crc32

from markets.units import format_time
from simulator.floor.grid import GRIDS
from simulator.floor.latent import SPORTS, Asset, Combo, Match, Options, Underlying, Window
from simulator.floor.model import Event, Group, Market, Milestone, Series
from simulator.floor.past import past_of

from . import dates
from .dates import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from .questions import CHOICES, LADDERS, Question, Subject, all_asked, fill, series_names
from .sources import Source, described, of_city, sources_of
from .templates import EventTemplate, MarketTemplate, Recorded, Role, all_phrases, question_template
from .vocabulary import CITIES, EDITIONS, FIFTEEN_MINUTES, LEAGUES, League, Side

SHARES: Final = {"match": 0.44, "options": 0.36, "ladder": 0.11, "range": 0.07, "updown": 0.02}
"""The share of markets by kind of event."""

_WINDOWS: Final = 48
"""The most fifteen-minute markets, however large the universe: two hours of each asset."""

CATEGORIES: Final = (
    ("Sports", 3850),
    ("Entertainment", 2548),
    ("Politics", 2417),
    ("Elections", 1895),
    ("Financials", 1000),
    ("Economics", 900),
    ("Climate and Weather", 700),
    ("Companies", 600),
    ("Science and Technology", 400),
    ("World", 371),
)
"""Series by category on the real exchange (contract 17; the rest is a guess)."""

SERIES_PER_EVENT: Final = 1.2
_MATCHES_OF_WEIGHT: Final = 5
_PLAYER_MEANS: Final = {"HIT": 0.95, "HR": 0.14}


_CHOICES: Final = all_asked(CHOICES)
_LADDERS: Final = all_asked(LADDERS)


@cache
def _number(k: int) -> dict[str, str]:
    """Return what fills the holes of a strike; shared by all markets with it."""
    return {"K": str(k), "KT": f"{k:,}"}


@dataclass(frozen=True, slots=True)
class _Fixture:
    league: League
    copy: int


def _edition(copy: int) -> tuple[str, str]:
    """Return what a league's `copy`-th competition adds to its series tickers and titles."""
    letters, words = "", ""
    while copy:
        copy, place = divmod(copy - 1, len(EDITIONS))
        letters, words = EDITIONS[place][0] + letters, f" {EDITIONS[place][1]}{words}"
    return letters, words


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _uuid(*names: object) -> str:
    return str(uuid5(NAMESPACE_URL, "simulator/" + "/".join(map(str, names))))


def stamp(time_ms: int, salt: str) -> str:
    """Return a time with microseconds, as Kalshi stamps machine actions; `salt` picks the digits."""
    micros = sum(salt.encode()) * 7919 % 1000
    text = format_time(time_ms).removesuffix("Z")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{(fraction.ljust(3, '0') + f'{micros:03d}').rstrip('0') or '0'}Z"


class Catalogue:
    """Makes groups. Deterministic for a given generator; knows the names already taken."""

    def __init__(self, recorded: Recorded, rng: Random) -> None:
        self.recorded = recorded
        self.rng = rng
        self.series: dict[str, Series] = {}
        self.targets: dict[str, dict[str, Any]] = {}
        self._taken: set[str] = set()
        self._texts: dict[str, str] = {}
        plain = recorded.series.get("KXU3MAX")
        self._prohibited = plain["additional_prohibitions"] if plain is not None else None
        self._questions: dict[str, EventTemplate] = {}
        self._pools: dict[tuple[Side, ...], list[dict[str, str]]] = {}
        self._now_ms = 0
        self._beginning = False
        self._counts = dict.fromkeys(SHARES, 0)
        self._assets: dict[str, Asset] = {}
        self._phrases = all_phrases(t for templates in recorded.events.values() for t in templates)
        self._by_kind: dict[str, list[EventTemplate]] = {}
        for templates in recorded.events.values():
            for template in templates:
                self._by_kind.setdefault(template.kind, []).append(template)
        self._leagues = [
            league for league in LEAGUES if all(source in recorded.events for _, source in league.events)
        ]
        self._league_cycle = tuple(
            league
            for turn in range(max(league.weight for league in LEAGUES))
            for league in self._leagues
            if league.weight > turn
        )

    # Universe ---------------------------------------------------------------------------------------

    def universe(self, markets: int, now_ms: int) -> Iterator[Group]:
        """Yield groups with about `markets` markets in all, kinds and times mixed as they should be."""
        self._now_ms = now_ms
        self._beginning = True
        made = dict.fromkeys(self._kinds(), 0)
        total = events = 0
        while total < markets:
            kinds = (kind for kind in made if kind != "updown" or made[kind] < _WINDOWS)
            kind = min(kinds, key=lambda k: made[k] / SHARES[k])
            group = self.make(kind, now_ms, markets - total)
            made[kind] += len(group.markets())
            total += len(group.markets())
            events += len(group.events)
            yield group
        self._beginning = False
        self._idle_series(int(SERIES_PER_EVENT * events))

    def _kinds(self) -> list[str]:
        return [
            kind
            for kind in SHARES
            if (kind == "match" and self._leagues) or (kind != "match" and self._by_kind.get(kind))
        ]

    def make(self, kind: str, now_ms: int, room: int = 1000) -> Group:
        """Make the next group of `kind`, with at most about `room` markets where the kind allows it."""
        index = self._counts[kind]
        self._counts[kind] += 1
        if kind == "match":
            return self._first_fixture(index, now_ms)
        if kind == "options":
            return self._options(index, now_ms, room)
        if kind == "ladder":
            return self._ladder(index, now_ms)
        if kind == "range":
            return self._temperatures(index % len(CITIES), index // len(CITIES), now_ms)
        # Only live windows: one per asset at a time plus the next ones, made as time goes by.
        asset, ahead = index % len(FIFTEEN_MINUTES), index // len(FIFTEEN_MINUTES)
        return self._window(asset, now_ms - now_ms % (15 * MINUTE_MS) + (ahead + 1) * 15 * MINUTE_MS, now_ms)

    def again(self, group: Group, now_ms: int) -> Group | None:
        """Make the successor of a finished group, or None if nothing follows."""
        self._now_ms = now_ms
        if group.kind == "match":
            soon = self.rng.random() < 0.7
            wait = self.rng.uniform(10, 40) * MINUTE_MS if soon else self.rng.uniform(1, 72) * HOUR_MS
            if SPORTS[group.again.league.sport].short:
                wait = self.rng.uniform(4, 15) * MINUTE_MS
            return self._fixture(group.again, self._round(now_ms + wait, 1 if soon else 5), now_ms, now_ms)
        if group.kind == "updown":
            asset, close_ms = group.again
            return self._window(asset, close_ms, now_ms)
        if group.kind == "range":
            city, day = group.again
            return self._temperatures(city, day + 1, now_ms)
        return None

    # Common parts -----------------------------------------------------------------------------------

    @staticmethod
    def _round(time_ms: float, minutes: int) -> int:
        step = minutes * MINUTE_MS
        return int(-(-time_ms // step) * step)

    def _series_of(
        self,
        ticker: str,
        source: str,
        title: str | None = None,
        category: str | None = None,
        sources: list[Source] | None = None,
    ) -> Series:
        """Return a series: as recorded, or modelled on `source`, settled by `sources`."""
        found = self.series.get(ticker)
        if found is None:
            recorded = self.recorded.series.get(ticker)
            body = dict(recorded or self.recorded.series[source])
            body["ticker"] = ticker
            if recorded is None:
                category = category or body["category"]
                described(body, category, title or body["title"], sources or sources_of(category))
                if category != "Sports" and self._prohibited is not None:
                    body["additional_prohibitions"] = self._prohibited
            name = ticker.removeprefix("KX")
            body["contract_terms_url"] = f"https://assets.kalshi.com/contract_terms/{name}.pdf"
            body["contract_url"] = f"https://assets.kalshi.com/regulatory/product-certifications/{name}.pdf"
            found = self.series[ticker] = Series(ticker, body["category"], body)
        return found

    def _sources_text(self, series: Series) -> str:
        """Return the settlement sources of a series as JSON; one text for all its events."""
        found = self._texts.get(series.ticker)
        if found is None:
            sources = series.body["settlement_sources"]
            found = self._texts[series.ticker] = json.dumps(
                sources, ensure_ascii=False, separators=(",", ":")
            )
        return found

    def _idle_series(self, count: int) -> None:
        """Add series with nothing open until there are `count`, their categories in the real proportions."""
        total = sum(weight for _, weight in CATEGORIES)
        names = {category: series_names(category) for category, _ in CATEGORIES}
        source = next(
            (s for s in ("KXU3MAX", "KXNBA") if s in self.recorded.series), next(iter(self.recorded.series))
        )
        index = len(self.series)
        while len(self.series) < count:
            point = index * 7919 % total
            index += 1
            for name, weight in CATEGORIES:
                category = name
                point -= weight
                if point < 0:
                    break
            ticker, title = next(names[category])
            self._series_of(ticker, source, title, category)

    def _event(
        self,
        group: Group,
        template: EventTemplate,
        series: Series,
        ticker: str,
        values: dict[str, str],
        times: dict[str, int],
        shard: int,
    ) -> Event:
        self._taken.add(ticker)
        body = series.body
        body["exchange_index"] = shard
        for name in ("open", "close", "expected", "latest", "occurrence", "strike"):
            if name in times:
                values[name] = format_time(times[name])
        created = stamp(times["created"], ticker)
        same = series.ticker == template.series
        values.update(
            sources=template.sources if same else self._sources_text(series),
            event=ticker,
            series=series.ticker,
            category=_escape(series.category),
            created=created,
            updated=created,
            event_updated=dates.ZERO_TIME if group.kind != "options" else created,
            shard=str(shard),
        )
        event = Event(
            ticker,
            series,
            template,
            group,
            values,
            shard,
            times["created"],
            times["open"],
            times["close"],
            times["expected"],
            times["created"],
        )
        group.events.append(event)
        return event

    def _market(
        self,
        event: Event,
        template: MarketTemplate,
        role: Role,
        extra: dict[str, str],
        p: float,
        like: MarketTemplate,
    ) -> Market:
        """Make a market. Its spread, sizes and volume are about those of the recorded market `like`."""
        rng = self.rng
        suffix = template.suffix % {**event.values, **extra}
        grid = template.grid
        if grid is GRIDS["linear_cent"] and event.group.kind in ("options", "ladder", "updown"):
            # One grid per event; which one follows from its ticker.
            point = crc32(event.ticker.encode()) % 1000
            grid = GRIDS["deci_cent" if point < 12 else "tapered_deci_cent" if point < 170 else "linear_cent"]
        tick = grid.prices[0]
        spread = min(like.spread_e4, 1500) * rng.uniform(0.5, 1.2) - tick
        if event.group.kind in ("options", "ladder") and rng.random() < 0.1:
            spread = 20_000  # an old market nobody quotes (a third of them has an empty side, contract 17)
        price = min(max(round(p * 100), 1), 99) * 100
        volume = int(like.volume_e2 * rng.uniform(0.1, 1.5))
        day_share, interest = rng.uniform(0.01, 0.4), int(volume * rng.uniform(0.3, 0.8))
        half, size = max(0, int(spread / 2)), max(300, min(like.size_e2, 2_000_000))
        past = None
        if self._beginning and volume and event.open_ms < self._now_ms:
            span = (event.open_ms, self._now_ms)
            past = past_of(0, span, volume, interest, day_share, price, size, half, grid)
        return Market(
            ticker=f"{event.ticker}-{suffix}",
            event=event,
            template=template,
            role=role,
            grid=grid,
            extra=extra,
            half_e4=half,
            size_e2=size,
            last_e4=price if past is not None else 0,
            volume_e2=volume if past is not None else 0,
            open_interest_e2=interest if past is not None else 0,
            odd_sentinel=rng.random() < 0.1,
            past=past,
        )

    def _fill(
        self,
        event: Event,
        roles: list[tuple[MarketTemplate, Role, dict[str, str]]],
        likes: Sequence[MarketTemplate] = (),
    ) -> None:
        latent = event.group.latent
        for template, role, extra in roles:
            like = likes[self.rng.randrange(len(likes))] if likes else template
            event.markets.append(self._market(event, template, role, extra, latent.probability(role), like))

    # Matches ----------------------------------------------------------------------------------------

    def _first_fixture(self, index: int, now_ms: int) -> Group:
        """Make a match of the initial universe: some over, some in play, some about to start."""
        rng = self.rng
        league = self._league_cycle[index % len(self._league_cycle)]
        copy = index // (len(self._league_cycle) * _MATCHES_OF_WEIGHT)
        if copy and SPORTS[league.sport].short:
            league = self._leagues[0]  # a few short matches are enough, however large the universe
        sport = SPORTS[league.sport]
        length = sport.minutes * MINUTE_MS
        match index % 20:
            case _ if sport.short:
                start = self._round(now_ms + rng.uniform(2, 25) * MINUTE_MS, 1)
            case 0:
                start = self._round(now_ms + rng.uniform(0.5, 12) * MINUTE_MS, 1)
            case 1:
                start = self._round(now_ms - length + rng.uniform(1, 8) * MINUTE_MS, 1)
            case 2 | 7:
                start = self._round(now_ms - rng.uniform(0.05, 0.9) * length, 1)
            case 3:
                start = self._round(now_ms - length - rng.uniform(2, 40) * MINUTE_MS, 1)
            case _:
                start = self._round(now_ms + rng.uniform(0.3, 240) * HOUR_MS, 5)
        created = min(start - rng.uniform(4, 96) * HOUR_MS, now_ms - rng.uniform(0.02, 72) * HOUR_MS)
        return self._fixture(_Fixture(league, copy), int(start), int(created), now_ms)

    def _pair(self, sides: tuple[Side, ...]) -> tuple[Side, Side]:
        first = self.rng.randrange(len(sides))
        second = (first + 1 + self.rng.randrange(len(sides) - 1)) % len(sides)
        return sides[first], sides[second]

    def _fixture(self, fixture: _Fixture, start_ms: int, created_ms: int, now_ms: int) -> Group:
        rng, league = self.rng, fixture.league
        sport = SPORTS[league.sport]
        letters, words = _edition(fixture.copy)
        sources = [(end, self._pick(source)) for end, source in league.events]
        head = f"KX{league.code}{letters}"
        while True:
            away, home = self._pair(league.sides)
            tails = [dates.ticker_date(start_ms, t.clocked) + away.code + home.code for _, t in sources]
            if away.code != home.code and f"{head}{sources[0][0]}-{tails[0]}" not in self._taken:
                break
        total = next((self._centre(t) for end, t in sources if end == "TOTAL"), None)
        latent = Match(sport, rng, total)
        group = Group("match", latent, fixture, 45.0, start_ms, start_ms + sport.minutes * MINUTE_MS)
        names = {
            "A": away.name,
            "As": away.short,
            "AC": away.code,
            "AI": _uuid(league.code, away.name),
            "B": home.name,
            "Bs": home.short,
            "BC": home.code,
            "BI": _uuid(league.code, home.name),
            "DATE": dates.short_date(start_ms),
            "DAY": dates.short_day(start_ms),
            "CLOCK": dates.clock(start_ms),
        }
        values = {key: _escape(text) for key, text in names.items()}
        title = f"{league.name or league.code}{words}"
        for (end, template), tail in zip(sources, tails, strict=True):
            recorded = head + end == template.series  # then its wording is right as it is
            settled_by = sources_of("Sports", league.code)
            name = None if recorded else f"{title} {end.title()}"
            series = self._series_of(f"{head}{end}", template.series, name, sources=settled_by)
            if series.body["tags"] is None:
                series.body["tags"] = self.recorded.series[template.series]["tags"]
            phrases = {f"LEAGUE:{p}": _escape(p if recorded else title) for p in self._phrases}
            times = {name: start_ms + offset for name, offset in template.offsets.items()}
            times["created"] = created_ms + rng.randrange(5_000)
            times["open"] = max(
                times["created"] + 30_000, created_ms + (40 if created_ms >= now_ms else 300) * SECOND_MS
            )
            times["open"] -= times["open"] % SECOND_MS
            event = self._event(
                group, template, series, f"{head}{end}-{tail}", {**values, **phrases}, times, sport.shard
            )
            roles: list[tuple[MarketTemplate, Role, dict[str, str]]] = []
            for market in template.markets:
                role = market.role
                if role.kind == "count":
                    role = replace(role, key=f"{role.key} {end}")
                    latent.player(role.key, _PLAYER_MEANS.get(end, 0.8) * rng.uniform(0.7, 1.3))
                roles.append((market, role, {}))
            self._fill(event, roles)
        for side in (away, home):
            identity = _uuid(league.code, side.name)
            self.targets.setdefault(
                identity,
                {
                    "details": {"abbreviation": side.code, "league": league.code},
                    "id": identity,
                    "last_updated_ts": stamp(created_ms, identity),
                    "name": side.name,
                    "type": "tennis_competitor" if league.tennis else f"{league.sport}_team",
                },
            )
        group.milestone = self._milestone(group, league, away, home, start_ms, created_ms)
        return group

    def _pick(self, source: str) -> EventTemplate:
        templates = self.recorded.events[source]
        return templates[self.rng.randrange(len(templates))]

    @staticmethod
    def _centre(template: EventTemplate) -> float | None:
        """Return the total at which the recorded ladder's prices cross one half."""
        ladder = sorted((m.role.floor, m.mid_e4) for m in template.markets if m.role.kind == "total")
        for (low, p_low), (high, p_high) in pairwise(ladder):
            if p_low >= 5000 >= p_high and p_low > p_high:
                return low + (high - low) * (p_low - 5000) / (p_low - p_high)
        return None

    def _milestone(
        self, group: Group, league: League, away: Side, home: Side, start_ms: int, created_ms: int
    ) -> Milestone:
        sport = SPORTS[league.sport]
        first = group.events[0].ticker
        identity = _uuid("milestone", first)
        tennis = league.tennis
        sides = (
            ("first_competitor_id", "second_competitor_id") if tennis else ("away_team_id", "home_team_id")
        )
        body: dict[str, Any] = {
            "category": "Sports",
            "details": {
                sides[0]: _uuid(league.code, away.name),
                sides[1]: _uuid(league.code, home.name),
                "league": league.code,
                "status": "created",
            },
            "end_date": None,
            "id": identity,
            "last_updated_ts": stamp(created_ms, identity),
            "notification_message": "Who will emerge victorious?",
            "primary_event_tickers": [first],
            "related_event_tickers": [event.ticker for event in group.events],
            "source_id": _uuid("source", first),
            "start_date": format_time(start_ms),
            "title": f"{away.short} vs {home.short}" if tennis else f"{away.name} at {home.name}",
            "type": sport.milestone,
        }
        return Milestone(identity, start_ms, body)

    def combo(self, legs: list[Market], now_ms: int) -> Group | None:
        """Make a combo market of `legs`, or None if no combo was recorded."""
        found = self._by_kind.get("combo")
        if not found:
            return None
        self._now_ms = now_ms
        template = found[0]
        close_ms = max(leg.event.close_ms for leg in legs)
        times = {
            "created": now_ms,
            "open": now_ms - now_ms % SECOND_MS,
            "close": close_ms,
            "latest": close_ms,
            "expected": max(leg.event.expected_ms for leg in legs),
        }
        group = Group("combo", Combo(legs), None, 20.0)
        series = self._series_of(template.series, template.series)
        ticker = f"{template.series}-S{self.rng.getrandbits(52):013X}"
        names = {
            "Associated Events": ",".join(leg.event.ticker for leg in legs),
            "Associated Market Sides": ",".join("yes" for _ in legs),
            "Associated Markets": ",".join(leg.ticker for leg in legs),
            "Multivariate Event Ticker": ticker,
        }
        chosen = [
            {"event_ticker": leg.event.ticker, "market_ticker": leg.ticker, "side": "yes"} for leg in legs
        ]
        values = {
            "NAMES": ",".join(_escape(f"yes {leg.event.values[leg.role.key]}") for leg in legs),
            "STRIKE": json.dumps(names, separators=(",", ":")),
            "LEGS": json.dumps(chosen, separators=(",", ":")),
            "COMBO": f"{self.rng.getrandbits(44):011X}",
        }
        event = self._event(group, template, series, ticker, values, times, 1)
        self._fill(event, [(template.markets[0], Role("combo"), {})])
        return group

    # Others -----------------------------------------------------------------------------------------

    def _options(self, index: int, now_ms: int, room: int) -> Group:
        rng = self.rng
        originals = self._by_kind["options"]
        copy = index >= len(originals)
        asked: tuple[Question, Subject] | None = None
        roles: list[tuple[MarketTemplate, Role, dict[str, str]]]
        if copy:
            asked = question, subject = _CHOICES[(index - len(originals)) % len(_CHOICES)]
            template = self._asked("options", question)
            answers = self._answers(question, subject)
            count = min(2 + int(rng.expovariate(1 / 20)), len(answers), max(room, 1))
            chosen = (
                answers
                if len(answers) <= 6
                else [answers[i] for i in sorted(rng.sample(range(len(answers)), count))]
            )
            weights = [rng.lognormvariate(0, 1.2) for _ in chosen]
            roles = [(template.markets[0], Role("option", str(i)), each) for i, each in enumerate(chosen)]
        else:
            template = originals[index]
            weights = [m.mid_e4 / 1e4 for m in template.markets]
            roles = [(m, Role("option", str(i)), {}) for i, m in enumerate(template.markets)]
        rest = (rng.choice((0.0, 0.0, 0.1)) if copy else 0.02) * sum(weights)
        group = Group("options", Options(weights, rest, 0.004), None, max(3.0, 260.0 / len(roles)))
        life = rng.uniform(20, 700) * DAY_MS
        age = rng.uniform(0.1, 200) * DAY_MS
        event = self._long_lived(
            group, template, asked, now_ms, life if copy else 500 * DAY_MS, int(age), "27"
        )
        self._fill(event, roles, [m for t in originals for m in t.markets] if copy else ())
        return group

    def _asked(self, kind: str, question: Question) -> EventTemplate:
        found = self._questions.get(question.code)
        if found is None:
            found = self._questions[question.code] = question_template(self.recorded.raw[kind], question)
        return found

    def _answers(self, question: Question, subject: Subject) -> list[dict[str, str]]:
        """Return what fills the holes of each answer's market; shared by all events with these answers."""
        sides = subject.answers or question.answers
        found = self._pools.get(sides)
        if found is None:
            found = self._pools[sides] = [
                {
                    "O": _escape(side.name),
                    "OC": side.code,
                    "OI": _uuid(subject.league or question.code, side.name),
                }
                for side in sides
            ]
        return found

    def _long_lived(
        self,
        group: Group,
        template: EventTemplate,
        asked: tuple[Question, Subject] | None,
        now_ms: int,
        life_ms: float,
        age_ms: int,
        tail: str,
    ) -> Event:
        """Make the event for a question and the year it closes in, or (`asked` None) for a recorded event."""
        close_ms = int(now_ms + life_ms) // HOUR_MS * HOUR_MS
        if asked is None:
            series, ticker = self._series_of(template.series, template.series), f"{template.series}-{tail}"
            return self._event(
                group, template, series, ticker, {}, self._aged(template, close_ms, age_ms, now_ms), 0
            )
        question, subject = asked
        series = self._series_of(
            "KX" + fill(question.code, subject, 0),
            template.series,
            re.sub("^the ", "The ", fill(question.series, subject, 0)),
            question.category,
            sources_of(question.category, subject.league),
        )
        months = question.decided(subject)
        while True:
            year = dates.eastern(close_ms)[0].year
            ticker = f"{series.ticker}-{year % 100:02d}"
            past = months is not None and dates.first_of(year, months[0]) <= now_ms
            if ticker not in self._taken and not past:
                break
            close_ms += 365 * DAY_MS
        values = {"S": _escape(subject.name), "Y": str(year), "KIND": subject.kind}
        if months is not None:
            close_ms = dates.first_of(year, months[1] + 1)
        times = self._aged(template, close_ms, age_ms, now_ms)
        if months is not None:
            times.update({name: close_ms for name in ("expected", "occurrence") if name in times})
        return self._event(group, template, series, ticker, values, times, 0)

    @staticmethod
    def _aged(template: EventTemplate, close_ms: int, age_ms: int, now_ms: int) -> dict[str, int]:
        """Return the times of a long-lived event: created `age_ms` ago, closing at `close_ms`."""
        times = {name: close_ms + offset for name, offset in template.offsets.items()}
        times["created"] = now_ms - age_ms
        times["open"] = min(times["created"] + 15 * MINUTE_MS, now_ms) // MINUTE_MS * MINUTE_MS
        for name in ("expected", "occurrence"):
            if name in times:
                times[name] = close_ms - min(30 * DAY_MS, (close_ms - now_ms) // 2)
        return times

    def _ladder(self, index: int, now_ms: int) -> Group:
        rng = self.rng
        originals = self._by_kind["ladder"]
        copy = index >= len(originals)
        asked = _LADDERS[(index - len(originals)) % len(_LADDERS)] if copy else None
        template = originals[index] if asked is None else self._asked("ladder", asked[0])
        count = 3 + rng.randrange(14) if copy else 5
        lowest, step = (
            (int(template.markets[0].role.floor), 1) if asked is None else (asked[1].lowest, asked[1].step)
        )
        life = rng.uniform(30, 1200 if asked is None else 700) * DAY_MS
        mean = lowest + step * rng.uniform(0.3, count - 0.5)
        latent = Underlying(mean, step * rng.uniform(0.6, 2.5), life / 1000)
        group = Group("ladder", latent, None, max(4.0, 200.0 / count))
        age = int(rng.uniform(0.5, 300) * DAY_MS)
        event = self._long_lived(group, template, asked, now_ms, life, age, "30")
        form = template.markets[0]
        strikes = range(lowest, lowest + step * count, step)
        if asked is None:
            self._fill(event, [self._strike(form, "above", k) for k in strikes])
        else:
            self._fill(event, [(form, Role("above", floor=float(k)), _number(k)) for k in strikes])
        return group

    @staticmethod
    def _strike(form: MarketTemplate, kind: str, k: int) -> tuple[MarketTemplate, Role, dict[str, str]]:
        # A bucket of two degrees holds its two bounds, so it spans k - 1/2 to k + 3/2 of the true number.
        floor, cap = {"below": (k - 0.5, 0.0), "between": (k - 0.5, k + 1.5), "above": (k + 0.5, 0.0)}[kind]
        return form, Role(kind, floor=floor, cap=cap), {"K": str(k), "K1": str(k - 1), "K2": str(k + 1)}

    def _temperatures(self, city: int, day: int, now_ms: int) -> Group:
        rng = self.rng
        letters, name, station, typical, office, issued = CITIES[city]
        template = self._by_kind["range"][0]
        forms = {m.role.kind: m for m in template.markets}
        midnight = now_ms - now_ms % DAY_MS
        close_ms = midnight + (day + 1) * DAY_MS + 4 * HOUR_MS + 59 * MINUTE_MS
        times = {key: close_ms + offset for key, offset in template.offsets.items()}
        times["created"] = min(times["created"], now_ms - (0 if day > 1 else HOUR_MS))
        times["open"] = times["open"] if times["open"] > now_ms else min(times["open"], now_ms)
        mean = typical + rng.gauss(0, 4)
        group = Group("range", Underlying(mean, 2.6, (close_ms - now_ms) / 1000), (city, day), 40.0)
        low = round(mean) - 4
        noon = times["strike"] - 12 * HOUR_MS
        values = {
            "DATE": dates.short_date(noon),
            "LONGDATE": dates.long_date(noon),
            "CITY": name,
            "STATION": station,
        }
        series = self._series_of(
            f"KXHIGH{letters}",
            template.series,
            f"Highest temperature in {name}",
            sources=of_city(office, issued),
        )
        ticker = f"{series.ticker}-{dates.ticker_date(noon)}"
        if ticker in self._taken:
            ticker += f"X{len(self._taken)}"
        event = self._event(group, template, series, ticker, values, times, 0)
        roles = [self._strike(forms["below"], "below", low)]
        roles += [self._strike(forms["between"], "between", low + 2 * i) for i in range(4)]
        self._fill(event, [*roles, self._strike(forms["above"], "above", low + 7)])
        return group

    def asset(self, index: int, now_ms: int) -> Asset:
        """Return the shared price of a fifteen-minute asset."""
        letters, _name, _category, price = FIFTEEN_MINUTES[index % len(FIFTEEN_MINUTES)]
        if letters not in self._assets:
            self._assets[letters] = Asset(price * self.rng.uniform(0.95, 1.05), 6e-5, now_ms)
        return self._assets[letters]

    def _window(self, index: int, close_ms: int, now_ms: int) -> Group:
        letters, name, category, _price = FIFTEEN_MINUTES[index]
        template = self._by_kind["updown"][0]
        series = self._series_of(
            f"KX{letters}15M", template.series, f"{name} 15 min price up or down", category
        )
        while (ticker := f"{series.ticker}-{dates.ticker_date(close_ms, True)}") in self._taken:
            close_ms += 15 * MINUTE_MS
        asset = self.asset(index, now_ms)
        times = {key: close_ms + offset for key, offset in template.offsets.items()}
        times["created"] = min(now_ms, times["open"] - 30 * SECOND_MS)
        group = Group(
            "updown",
            Window(asset, now_ms, close_ms),
            (index, close_ms + 15 * MINUTE_MS),
            2.0,
            times["open"],
            close_ms,
        )
        local, _zone = dates.eastern(close_ms)
        opening, closing = (dates.clock(t, False) for t in (close_ms - 15 * MINUTE_MS, close_ms))
        span = f"{dates.short_day(close_ms)} - {opening} to {closing}"
        values = {
            "TARGET": "TBD",
            "STRIKE": "",
            "MINUTE": f"{local:%M}",
            "ASSET": name,
            "ASSETCODE": name.upper(),
            "DATE": dates.short_date(close_ms),
            "LONGDATE": dates.long_date(close_ms),
            "CLOCK": dates.clock(close_ms),
            "CLOCK0": dates.clock(close_ms - 15 * MINUTE_MS),
            "SPAN": span,
        }
        event = self._event(group, template, series, ticker, values, times, 2)
        self._fill(event, [(m, Role("up"), {}) for m in template.markets[:1]])
        return group
