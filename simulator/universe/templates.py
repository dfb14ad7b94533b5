"""Recorded payloads become templates: the same JSON with holes where a clone differs.

A hole is a ``%(NAME)s`` of Python's formatting, so one operation renders a whole market. Texts keep every
recorded word except names of competitors and cities, dates and strikes.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from markets.errors import StartupError
from markets.units import parse_count_e2, parse_price_e4, parse_time_ms
from simulator.floor.grid import Grid, grid_of

from .dates import HOUR_MS
from .questions import Question

BUNDLED: Final = Path(__file__).parent / "data" / "catalogue.json.gz"
"""The recorded payloads that ship with the simulator; see the README.md beside it."""

START_BEFORE_OCCURRENCE_MS: Final = 3 * HOUR_MS
"""A match's `occurrence_datetime` is its scheduled start plus 3 h (contract 7.10, measured Aug 2026)."""

_LEAGUE_WORDS: Final = (
    r"WTA 125K Modena|Challenger WTA|WTA Challenger|[Pp]rofessional MLS soccer|Major League Soccer|MLS"
    r"|[Pp]rofessional [Bb]aseball|[Pp]rofessional [Ff]ootball|[Cc]ollege football|NCAA Football"
    r"|Canadian Football|[Pp]rofessional CFL football|CFL"
    r"|[Ww]omen's Pro Basketball|women's professional basketball"
    r"|Pro Basketball \(W\)|Pro Basketball|Pro Football|Pro Baseball"
)
_DATE: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{1,2}, \d{4}"
_LONG_DATE: Final = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
    r" \d{1,2}, \d{4}"
)
_CLOCK: Final = r"\d{1,2}:\d{2} [AP]M E[DS]T"

_TEXTS: Final = (
    "title",
    "subtitle",
    "yes_sub_title",
    "no_sub_title",
    "rules_primary",
    "rules_secondary",
    "early_close_condition",
)
_STRIKE_TEXTS: Final = ("title", "subtitle", "yes_sub_title", "no_sub_title", "rules_primary")
_TEXT_FIELDS: Final = {
    "close_time": "close", "created_time": "created", "updated_time": "updated", "open_time": "open",
    "expected_expiration_time": "expected", "expiration_time": "latest", "latest_expiration_time": "latest",
    "occurrence_datetime": "occurrence", "status": "status", "result": "result", "expiration_value": "value",
    "yes_bid_dollars": "yb", "yes_ask_dollars": "ya", "no_bid_dollars": "nb", "no_ask_dollars": "na",
    "yes_bid_size_fp": "ybs", "yes_ask_size_fp": "yas", "last_price_dollars": "last", "volume_fp": "vol",
    "volume_24h_fp": "vol24", "open_interest_fp": "oi", "previous_price_dollars": "pp",
    "previous_yes_bid_dollars": "pyb", "previous_yes_ask_dollars": "pya", "ticker": "ticker",
    "event_ticker": "event", "price_level_structure": "grid",
}  # fmt: skip
_RAW_FIELDS: Final = {"exchange_index": "shard", "price_ranges": "ranges"}


@dataclass(frozen=True, slots=True)
class Role:
    """What makes a market resolve YES, in terms of its group's latent process.

    `kind`: win, tie, margin, total, count (of a player), option (of a list), above, below, between, up,
    combo.
    `key` names the competitor ("A" or "B"), player or option.
    """

    kind: str
    key: str = ""
    floor: float = 0.0
    cap: float = 0.0


@dataclass(frozen=True, slots=True)
class MarketTemplate:
    """One recorded market. `suffix` is the ticker's tail after the event's; prices as recorded."""

    suffix: str
    body: str
    role: Role
    grid: Grid
    mid_e4: int
    spread_e4: int
    size_e2: int
    volume_e2: int
    open_interest_e2: int


@dataclass(frozen=True, slots=True)
class EventTemplate:
    """One recorded event. `offsets` are its times less its anchor (start of the match, else close), ms.

    `sources` are its settlement sources as JSON.
    """

    series: str
    kind: str
    body: str
    exclusive: bool
    timer_s: int
    clocked: bool
    offsets: dict[str, int]
    sources: str
    markets: tuple[MarketTemplate, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Everything the simulator knows from recordings."""

    events: dict[str, tuple[EventTemplate, ...]]
    series: dict[str, dict[str, Any]]
    milestones: tuple[dict[str, Any], ...]
    live_data: dict[str, Any]
    schedule: dict[str, Any]
    tags_by_categories: dict[str, Any]
    structured_target: dict[str, Any]
    raw: dict[str, dict[str, Any]]
    """The first recorded event of each kind, as it came."""


def load(directory: Path | None = None) -> Recorded:
    """Read recorded payloads: `directory`/catalogue.json[.gz], or what ships with the simulator.

    Raises:
        StartupError: the file is missing or is not a catalogue.
    """
    path = BUNDLED
    if directory is not None:
        found = [p for p in (directory / "catalogue.json.gz", directory / "catalogue.json") if p.is_file()]
        if not found:
            raise StartupError(
                f"--catalogue {directory}: expected a file catalogue.json or catalogue.json.gz in it"
            )
        path = found[0]
    try:
        data = path.read_bytes()
        document = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        events: dict[str, list[EventTemplate]] = {}
        raw: dict[str, dict[str, Any]] = {}
        for event in document["events"]:
            template = event_template(event)
            events.setdefault(event["series_ticker"], []).append(template)
            raw.setdefault(template.kind, event)
        if not events:
            raise StartupError(f"{path}: there are no events in it")
        return Recorded(
            events={series: tuple(templates) for series, templates in events.items()},
            series={series["ticker"]: series for series in document["series"]},
            milestones=tuple(document["milestones"]),
            live_data=document["live_data"],
            schedule=document["schedule"],
            tags_by_categories=document["tags_by_categories"],
            structured_target=document["structured_target"]["structured_target"],
            raw=raw,
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartupError(f"{path}: not a readable catalogue ({type(error).__name__}: {error})") from error


def _hole(name: str) -> str:
    return f"\x00{name}\x01"


def _open(text: str) -> str:
    """Turn marked text into a format string."""
    return text.replace("%", "%%").replace("\\u0000", "%(").replace("\\u0001", ")s")


def _dump(value: Any) -> str:
    return _open(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


class _Rewriter:
    """Replaces what differs between clones in texts; also finds competitors by name."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.rules: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = []
        self.codes: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.league_words: list[str] = []

    def add(self, pattern: str, hole: str) -> None:
        self.rules.append((re.compile(pattern), lambda _match: _hole(hole)))

    def league(self, match: re.Match[str]) -> str:
        return _hole("LEAGUE:" + match[0])

    def __call__(self, text: str) -> str:
        for pattern, replacement in self.rules:
            text = pattern.sub(replacement, text)
        return text


def _sides(event: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Return side letter -> (name, short name, code) of a match event: A away (or first), B home."""
    shorts = re.match(r"(.+?) vs (.+?)(?:: .*)?$", event["title"])
    if shorts is None:
        raise ValueError(f"{event['event_ticker']}: the title names no two sides")
    tail = event["event_ticker"].split("-")[1]
    letters = re.sub(r"^\d{2}[A-Z]{3}\d{2}(\d{4})?", "", tail)
    labels = [m["yes_sub_title"] for m in event["markets"]]
    out = {}
    for side, short in zip("AB", shorts.groups(), strict=True):
        name = next((label for label in labels if label.endswith(short) and " wins" not in label), short)
        codes = [
            m["ticker"].rsplit("-", 1)[1] for m in event["markets"] if m["yes_sub_title"].startswith(name)
        ]
        code = re.sub(r"\d+$", "", codes[0]) if codes else ""
        if not (letters.startswith(code) if side == "A" else letters.endswith(code)) or not code:
            pair = re.match(r"([A-Z]+) vs ([A-Z]+) ", event["sub_title"])
            code = pair[1 if side == "A" else 2] if pair else ""
        out[side] = (name, short, code)
    if not out["A"][2]:
        out["A"] = (*out["A"][:2], letters.removesuffix(out["B"][2]))
    if not out["B"][2]:
        out["B"] = (*out["B"][:2], letters.removeprefix(out["A"][2]))
    return out


def _match_role(market: dict[str, Any], sides: dict[str, tuple[str, str, str]]) -> Role:
    label = market["yes_sub_title"]
    if label == "Tie":
        return Role("tie")
    for side, (name, _short, _code) in sides.items():
        if label == name:
            return Role("win", side)
        if label.startswith(name + " wins"):
            return Role("margin", side, float(market["floor_strike"]))
    if label.startswith("Over "):
        return Role("total", floor=float(market["floor_strike"]))
    return Role("count", label.split(":")[0], float(market["floor_strike"]))


def _kind(event: dict[str, Any]) -> str:
    strikes = [market.get("strike_type") for market in event["markets"]]
    if "mve_collection_ticker" in event["markets"][0]:
        return "combo"
    if (event.get("product_metadata") or {}).get("cadence") == "fifteen_min":
        return "updown"
    if " vs " in event["title"]:
        return "match"
    if "between" in strikes:
        return "range"
    if event["mutually_exclusive"]:
        return "options"
    return "ladder" if set(strikes) <= {"greater", "greater_or_equal"} else "options"


def event_template(event: dict[str, Any]) -> EventTemplate:
    """Make a template from one recorded event with nested markets.

    Raises:
        KeyError, ValueError, TypeError: the payload lacks what a market must have.
    """
    kind = _kind(event)
    rewrite = _Rewriter(event)
    first = event["markets"][0]
    sides: dict[str, tuple[str, str, str]] = {}
    if kind == "match":
        sides = _sides(event)
        texts = sorted(
            (
                (text, side + which)
                for side, (name, short, _) in sides.items()
                for text, which in ((name, ""), (short, "s"))
            ),
            key=lambda pair: -len(pair[0]),
        )
        for text, hole in texts:
            rewrite.add(rf"(?<![\w]){re.escape(text)}(?![\w])", hole)
        rewrite.rules.append((re.compile(_LEAGUE_WORDS), rewrite.league))
        rewrite.add(_DATE, "DATE")
        rewrite.add(_CLOCK, "CLOCK")
    elif kind == "range":
        rewrite.add(_LONG_DATE, "LONGDATE")
        rewrite.add(_DATE, "DATE")
        rewrite.add("Central Park, New York", "STATION")
        rewrite.add("NYC", "CITY")
    elif kind == "updown":
        rewrite.add(re.escape(first["yes_sub_title"].split(": ")[-1]), "TARGET")
        rewrite.add(r"\$[\d,.]+(?= target)", "TARGET")
        rewrite.add(r"(?<=at )8:00 AM EDT", "CLOCK")
        rewrite.add(r"(?<=at )7:45 AM EDT", "CLOCK0")
        rewrite.add(_LONG_DATE, "LONGDATE")
        rewrite.add(_DATE, "DATE")
        rewrite.add(r"Aug 5 - 7:45AM EDT to 8:00AM EDT", "SPAN")
        rewrite.add(r"GOLD", "ASSETCODE")
        rewrite.add(r"Gold", "ASSET")

    times = {
        "created": first["created_time"], "open": first["open_time"], "close": first["close_time"],
        "expected": first.get("expected_expiration_time") or first["latest_expiration_time"],
        "latest": first["latest_expiration_time"], "occurrence": first.get("occurrence_datetime"),
        "strike": event.get("strike_date"),
    }  # fmt: skip
    at = {name: parse_time_ms(text) for name, text in times.items() if text}
    anchor = at["occurrence"] - START_BEFORE_OCCURRENCE_MS if kind == "match" else at["close"]
    templates = tuple(
        _market_template(market, event, kind, rewrite, sides, index)
        for index, market in enumerate(event["markets"])
    )
    return EventTemplate(
        series=event["series_ticker"],
        kind=kind,
        body=_event_body(event, rewrite, kind, sides),
        exclusive=event["mutually_exclusive"],
        timer_s=first["settlement_timer_seconds"],
        clocked=bool(re.match(r"\d{2}[A-Z]{3}\d{6}", event["event_ticker"].split("-")[1])),
        offsets={name: time - anchor for name, time in at.items()},
        sources=json.dumps(event["settlement_sources"], ensure_ascii=False, separators=(",", ":")),
        markets=templates,
    )


def question_template(original: dict[str, Any], question: Question) -> EventTemplate:
    """Make a template for a question, modelled on a recorded event with options or strikes.

    Its one market has holes for an answer (O its text, OC its letters, OI its id) or a strike (K the number,
    KT its text); the event has S (the subject) and Y (the year).
    """
    recorded = event_template(original)

    def marked(text: str) -> str:
        return re.sub(r"\{(\w)\}", lambda hole: _hole({"K": "KT"}.get(hole[1], hole[1])), text)

    market = dict(original["markets"][0])
    choice = bool(question.subjects[0].answers or question.answers)
    label = "{O}" if choice else question.market
    reached = "" if choice else f"If {question.rules} is {label[0].lower()}{label[1:]}"
    market.update(
        title=marked(question.market if choice else question.title),
        yes_sub_title=marked(label),
        no_sub_title=marked(label),
        rules_primary=marked(f"{question.rules if choice else reached}, then the market resolves to Yes."),
    )
    if "subtitle" in market:
        market["subtitle"] = marked(label)
    market["ticker"] = f"{original['event_ticker']}-{_hole('OC' if choice else 'K')}"
    if not choice:
        market["floor_strike"] = _hole("K")
    elif question.category == "Sports":
        market["strike_type"], market["custom_strike"] = "structured", {_hole("KIND"): _hole("OI")}
    else:
        market["strike_type"], market["custom_strike"] = "custom", {question.kind: _hole("O")}
    event = {key: value for key, value in original.items() if key != "product_metadata"}
    event.update(title=marked(question.title), sub_title=_hole("Y"))
    if question.category == "Sports" and "product_metadata" in original:
        event["product_metadata"] = {"competition": _hole("S"), "competition_scope": "Future"}
    plain = _Rewriter(event)
    return replace(
        recorded,
        body=_event_body(event, plain, "options", {}),
        markets=(_market_template(market, event, "options", plain, {}, 0),),
    )


def _event_body(
    event: dict[str, Any], rewrite: _Rewriter, kind: str, sides: dict[str, tuple[str, str, str]]
) -> str:
    body = {key: value for key, value in event.items() if key != "markets" and value is not None}
    for key in ("title", "sub_title"):
        text = body[key]
        if kind == "match":
            text = re.sub(r"\([A-Z][a-z]{2} \d{1,2}\)", f"({_hole('DAY')})", text)
            for side, (_name, _short, code) in sides.items() if key == "sub_title" else ():
                text = re.sub(rf"^{code}(?= vs )|(?<= vs ){code}(?= \()", _hole(side + "C"), text)
        body[key] = rewrite(text)
    if kind == "match" and "product_metadata" in body:
        body["product_metadata"] = {
            key: re.sub(_LEAGUE_WORDS, rewrite.league, value) if isinstance(value, str) else value
            for key, value in body["product_metadata"].items()
        }
    body["event_ticker"], body["series_ticker"] = _hole("event"), _hole("series")
    body["last_updated_ts"], body["category"] = _hole("event_updated"), _hole("category")
    if "strike_date" in body:
        body["strike_date"] = _hole("strike")
    body["exchange_index"] = _hole("shard")
    body["settlement_sources"] = _hole("sources")
    body["markets"] = _hole("markets")
    text = _dump(body)
    # Holes for non-strings lose their quotes; nested markets vanish with their key if not asked for.
    text = text.replace('"%(sources)s"', "%(sources)s").replace('"%(shard)s"', "%(shard)s")
    return text.replace('"markets":"%(markets)s",', "%(fees)s%(markets)s")


def _market_template(
    market: dict[str, Any],
    event: dict[str, Any],
    kind: str,
    rewrite: _Rewriter,
    sides: dict[str, tuple[str, str, str]],
    index: int,
) -> MarketTemplate:
    body = dict(market)
    for key in _TEXTS:
        if isinstance(body.get(key), str):
            if kind in ("options", "ladder") and key != "title":
                continue  # recorded ones stay as they are, the others come from `question_template`
            body[key] = rewrite(body[key])
    suffix = market["ticker"].removeprefix(event["event_ticker"] + "-")
    if kind == "match":
        role = _match_role(market, sides)
        for side, (_name, _short, code) in sides.items():
            if suffix.startswith(code) and (
                role.kind == "count" or suffix.removeprefix(code).isdigit() or suffix == code
            ):
                suffix = _hole(side + "C") + suffix.removeprefix(code)
                break
        if role.kind in ("win", "margin") and isinstance(body.get("custom_strike"), dict):
            body["custom_strike"] = {key: _hole(role.key + "I") for key in body["custom_strike"]}
    elif kind in ("range", "ladder"):
        role, suffix = _strike_holes(body, market, suffix)
    elif kind == "combo":
        role, suffix = Role("combo"), _hole("COMBO")
        body["title"] = body["yes_sub_title"] = body["no_sub_title"] = _hole("NAMES")
        body["custom_strike"], body["mve_selected_legs"] = _hole("STRIKE"), _hole("LEGS")
    elif kind == "updown":
        role, suffix = Role("up"), _hole("MINUTE")
        body["floor_strike"] = _hole("STRIKE")
    else:
        role = Role("option", str(index))

    fields = []
    for key in sorted(body):
        if key in ("settlement_ts", "settlement_value_dollars") or (
            key == "occurrence_datetime" and body[key] is None
        ):
            continue
        if key in _TEXT_FIELDS:
            fields.append(f'"{key}":"%({_TEXT_FIELDS[key]})s"')
        elif key in _RAW_FIELDS:
            fields.append(f'"{key}":%({_RAW_FIELDS[key]})s')
        else:
            fields.append(f'"{key}":{_dump(body[key])}')
        if key == "settlement_timer_seconds":
            fields[-1] += "%(settled)s"
    text = "{" + ",".join(fields) + "}"
    text = text.replace('"floor_strike":"%(STRIKE)s",', "%(STRIKE)s")
    text = text.replace('"%(STRIKE)s"', "%(STRIKE)s").replace('"%(LEGS)s"', "%(LEGS)s")
    text = re.sub(r'"(floor|cap)_strike":"%\((K\d?)\)s"', r'"\1_strike":%(\2)s', text)
    bid, ask = parse_price_e4(market["yes_bid_dollars"]), parse_price_e4(market["yes_ask_dollars"])
    ask = ask or 10_000
    sizes = [parse_count_e2(market[key]) for key in ("yes_bid_size_fp", "yes_ask_size_fp")]
    return MarketTemplate(
        suffix=_open(json.dumps(suffix)[1:-1]),
        body=text,
        role=role,
        grid=grid_of(market["price_level_structure"], market["price_ranges"]),
        mid_e4=(bid + ask) // 2,
        spread_e4=max(ask - bid, 100),
        size_e2=max(*sizes, 100),
        volume_e2=parse_count_e2(market["volume_fp"]),
        open_interest_e2=parse_count_e2(market["open_interest_fp"]),
    )


def _strike_holes(body: dict[str, Any], market: dict[str, Any], suffix: str) -> tuple[Role, str]:
    """Open the numeric strikes of a ladder or range market: K the strike, K1 below it, K2 above it."""
    kind = {"less": "below", "between": "between"}.get(market["strike_type"], "above")
    strike = market["cap_strike"] if kind == "below" else market["floor_strike"]
    numbers = {strike: "K", strike - 1: "K1", strike + 1: "K2"}
    for key in _STRIKE_TEXTS:
        if isinstance(body.get(key), str):
            for number, hole in numbers.items():
                body[key] = re.sub(rf"(?<![\w.,]){number:g}(?![\w]|\.\d)(?!, )", _hole(hole), body[key])
    for key in ("floor_strike", "cap_strike"):
        if key in body:
            body[key] = _hole(numbers[body[key]])
    suffix = re.sub(rf"{strike:g}", _hole("K"), suffix)
    return Role(kind, floor=float(strike), cap=float(market.get("cap_strike") or 0)), suffix


def league_phrases(body: str) -> set[str]:
    """Return the league phrases a template's body has holes for, such as ``Pro Football``."""
    return set(re.findall(r"%\(LEAGUE:([^)]*(?:\([A-Z]\))?)\)s", body))


def all_phrases(templates: Iterable[EventTemplate]) -> set[str]:
    """Return every league phrase of `templates`."""
    return {
        phrase
        for t in templates
        for body in (t.body, *(m.body for m in t.markets))
        for phrase in league_phrases(body)
    }
