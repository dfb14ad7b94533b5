"""Who settles a series, and which tags it has: by its category and its words."""

import re
from typing import Any, Final

Source = dict[str, str]
"""A settlement source: its name and url."""

_BY_CATEGORY: Final = {
    "Sports": ("ESPN", "https://www.espn.com"),
    "Elections": ("The Associated Press", "https://apnews.com"),
    "Politics": ("Reuters", "https://www.reuters.com"),
    "World": ("Reuters", "https://www.reuters.com"),
    "Economics": ("The OECD", "https://www.oecd.org"),
    "Entertainment": ("Billboard", "https://www.billboard.com"),
    "Financials": ("The Wall Street Journal", "https://www.wsj.com"),
    "Companies": ("The Wall Street Journal", "https://www.wsj.com"),
    "Climate and Weather": ("National Weather Service", "https://www.weather.gov"),
    "Science and Technology": ("Ars Technica", "https://arstechnica.com"),
    "Crypto": ("CF Benchmarks", "https://www.cfbenchmarks.com"),
    "Commodities": ("Pyth", "https://app.pyth.com/explore"),
}

LEAGUES: Final = {
    "MLB": ("the Governing League", "https://www.mlb.com/"),
    "NFL": ("the Governing League", "https://www.nfl.com/"),
    "WNBA": ("the Governing League", "https://www.wnba.com/"),
    "NBA": ("the Governing League", "https://www.nba.com/"),
    "MLS": ("MLS", "https://www.mlssoccer.com/"),
    "NCAAF": ("the NCAA", "https://www.ncaa.com/sports/football/fbs"),
    "EPL": ("Premier League", "https://www.premierleague.com/"),
    "LALIGA": ("La Liga", "https://www.laliga.com/"),
    "CFL": ("CFL", "https://www.cfl.ca/"),
    "WTA": ("WTA", "https://www.wtatennis.com/"),
    "WTACHALLENGER": ("WTA", "https://www.wtatennis.com/"),
    "ATP": ("ATP", "https://www.atptour.com/"),
}
"""Code of a league -> who reports how its matches ended."""

_TAGS: Final = tuple(
    (category, re.compile(words, re.IGNORECASE), tag)
    for category, words, tag in (
        ("Sports", r"basketball|\bW?NBA\b", "Basketball"),
        ("Sports", r"football|\b(NFL|CFL|NCAAF)\b", "Football"),
        ("Sports", r"baseball|\bMLB\b", "Baseball"),
        ("Sports", r"soccer|premier league|la liga|\bMLS\b", "Soccer"),
        (
            "Sports",
            r"tennis|\b(ATP|WTA)\b|wimbledon|roland|(australian|french|us|u\.s\.) open|tie break",
            "Tennis",
        ),
        ("Entertainment", r"chart|number one|top (artist|song)|listeners|streams", "Music charts"),
        ("Entertainment", r"tour|festival", "Live Music"),
        ("Entertainment", r"gramm|award|best .* album", "Awards"),
        ("Entertainment", r"album|sales|video", "Music"),
        ("Entertainment", r"film", "Movies"),
        ("Economics", r"inflation|CPI", "Inflation"),
        ("Economics", r"unemployment|payrolls|wages", "Employment"),
        ("Economics", r"growth|retail|trade balance", "Growth"),
        ("Economics", r"housing", "Housing"),
        ("Financials", r"S&P", "S&P"),
        ("Financials", r"nasdaq", "Nasdaq"),
        ("Financials", r"close above|range", "Daily"),
        ("Climate and Weather", r"temperature|frost|heat", "Daily temperature"),
        ("Climate and Weather", r"snow|rain", "Snow and rain"),
        ("Climate and Weather", r"hurricane", "Hurricanes"),
        ("Companies", r"CEO", "CEOs"),
        ("Companies", r"layoffs|headcount", "Layoffs"),
        ("Companies", r"product", "Product launches"),
        ("Companies", r"earnings|deliveries|value|largest", "KPIs"),
        ("Politics", r"law|shutdown|court", "Policy"),
        ("Politics", r"minister", "Cabinet"),
        ("Politics", r"election in", "Foreign Elections"),
        ("Science and Technology", r"\bAI\b|model|benchmark", "AI"),
        ("Science and Technology", r"rocket|launch", "Space"),
        ("Crypto", r"bitcoin", "BTC"),
        ("Crypto", r"ethereum", "ETH"),
        ("Crypto", r"solana", "SOL"),
    )
)


def tags_of(category: str, title: str) -> list[str] | None:
    """Return the tags of a series, None if none fits, as the exchange sends it."""
    for of, words, tag in _TAGS:
        if of == category and words.search(title):
            return [tag]
    return [title.split(" ", 1)[0]] if category == "Commodities" else None


def sources_of(category: str, league: str = "") -> list[Source]:
    """Return who settles a series of a category, or of a league."""
    name, url = LEAGUES.get(league) or _BY_CATEGORY[category]
    return [{"name": name, "url": url}]


def of_city(office: str, station: str) -> list[Source]:
    """Return who settles a city's temperatures: the climatological report of its weather office."""
    url = f"https://forecast.weather.gov/product.php?site={office}&product=CLI&issuedby={station}"
    return [{"name": "NWS Climatological Report", "url": url}]


def described(body: dict[str, Any], category: str, title: str, sources: list[Source]) -> None:
    """Make the body of a series fit its category and title."""
    body["title"], body["category"], body["categories"] = title, category, [category]
    body["tags"], body["settlement_sources"] = tags_of(category, title), sources
