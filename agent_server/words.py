"""Wording and bounds of answers to agents: ages, exchange, problems. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from bus.health import Health
from markets.units import DAY_MS, HOUR_MS, MINUTE_MS, format_count, format_money, format_price, format_time

MAX_BYTES: Final = 24_000
"""The longest answer: about 8,000 tokens."""

TEXT_MAX: Final = 4_000
"""The longest text from the exchange in an answer, such as rules."""

TITLE_MAX: Final = 300
PROBLEMS_MAX: Final = 3

EXCHANGES: Final = {
    "sim": "a simulated exchange: no real money",
    "demo": "Kalshi's demo exchange: no real money",
    "prod": "Kalshi",
}

_encode: Final = msgspec.json.Encoder().encode


def data_words(health: Health, now_ms: int) -> str:
    """Return the age of the data, and the warnings that must come before anything else."""
    if not health.epoch:
        return "there is no data yet"
    age = "of unknown age" if health.age_ms is None else f"{age_words(health.age_ms)} old"
    said = f"data is {age}"
    if health.source != "live":
        said = f"REPLAY of a recording, at {format_time(now_ms)}: this is not the present; {said} there"
    if health.stale:
        said = f"STALE, do not rely on it: {said}; more than {health.stale_after_ms / 1000:g} s is stale"
    if health.feed == "lost":
        said += "; nothing is heard from the publisher"
    elif health.feed == "resyncing":
        said += "; complete, but not the latest: missed changes are being fetched"
    return said


def doubts(health: Health) -> list[str]:
    """Return the first problems with data and exchange."""
    problems = [problem.text for problem in health.problems()]
    return problems[:PROBLEMS_MAX]


def age_words(age_ms: int) -> str:
    """Return an age in words: "3.2 s", "14 min", "5 h", "3 d"."""
    if age_ms < 2 * MINUTE_MS:
        return f"{max(0, age_ms) / 1000:.1f} s"
    for unit_ms, unit, most in ((MINUTE_MS, "min", 2 * HOUR_MS), (HOUR_MS, "h", 2 * DAY_MS)):
        if age_ms < most:
            return f"{age_ms // unit_ms} {unit}"
    return f"{age_ms // DAY_MS} d"


def until_words(time_ms: int | None, now_ms: int) -> str | None:
    """Return how far away a time is, or how long ago it was."""
    if time_ms is None:
        return None
    far_ms = time_ms - now_ms
    return f"in {age_words(far_ms)}" if far_ms >= 0 else f"{age_words(-far_ms)} ago"


def price(price_e4: int | None) -> str | None:
    return None if price_e4 is None else format_price(price_e4)


def count(count_e2: int | None) -> str | None:
    return None if count_e2 is None else format_count(count_e2)


def money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)


def time(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_time(time_ms)


def text(said: object, most: int = TITLE_MAX) -> str:
    """Return foreign text on one line, without invisible characters, and cut; "" for anything but text."""
    if not isinstance(said, str):
        return ""
    shown = "".join(char if char.isprintable() else " " for char in said[: 2 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else f"{shown[: most - 15]}... (cut here)"


def encoded(answer: Mapping[str, Any]) -> str:
    """Return an answer as compact JSON of at most `MAX_BYTES`.

    If it would be longer, its longest list is cut at the end, and `left_out` says by how many.
    """
    answer = dict(answer)
    left_out = 0
    while len(body := _encode(answer)) > MAX_BYTES:
        name = max(_lists(answer), key=lambda name: len(_encode(answer[name])), default=None)
        if name is None or not answer[name]:
            return _encode({"error": "the answer would be too long: ask for less"}).decode()
        rows: Sequence[Any] = answer[name]
        keep = min(len(rows) - 1, len(rows) * MAX_BYTES // (len(body) + 1))
        left_out += len(rows) - keep
        answer |= {name: rows[:keep], "left_out": left_out}
    return body.decode()


def _lists(answer: Mapping[str, Any]) -> Iterator[str]:
    return (name for name, value in answer.items() if isinstance(value, list))
