"""Questions to clone long-lived events with: who wins it, when does it happen, how high does it get.

Facts only, nothing about prices. In texts ``{S}`` is the subject, ``{Y}`` the year, ``{O}`` an answer and
``{K}`` a strike; in series tickers ``{s}`` are the subject's letters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from .vocabulary import LEAGUES, Side


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question is about. `lowest` and `step` say where the strikes of a ladder begin and continue.

    `league` is the code of the league its `answers` play in, `kind` says what they are: ``football_team``.
    `month` is the one in which it happens, 1 to 12, or 0.
    """

    letters: str
    name: str
    lowest: int = 0
    step: int = 0
    answers: tuple[Side, ...] = ()
    league: str = ""
    kind: str = ""
    month: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A question about any of its subjects: which of `answers`, or (in `LADDERS`) above which strike.

    `months` are the first and the last in which it is decided, unless the subject has one.
    """

    category: str
    code: str
    series: str
    title: str
    market: str
    rules: str
    subjects: tuple[Subject, ...]
    answers: tuple[Side, ...] = ()
    kind: str = "Outcome"
    months: tuple[int, int] | None = None

    def decided(self, subject: Subject) -> tuple[int, int] | None:
        """Return the first and last month of the year in which it is decided, None if it may be any."""
        return (subject.month, subject.month) if subject.month else self.months


def _letters(name: str, length: int) -> str:
    return "".join(c for c in name.upper() if c.isascii() and c.isalnum())[:length]


def _answers(text: str) -> tuple[Side, ...]:
    """Make answers from names, each with unique letters."""
    sides, taken = [], set[str]()
    for name in text.split(", "):
        words = name.split()
        short = words[0][:1] + words[-1] if len(words) > 1 else name
        code = next(c for n in count(4) if (c := _letters(short, n) + ("9" if n > 12 else "")) not in taken)
        taken.add(code)
        sides.append(Side(name, name, code))
    return tuple(sides)


def _subjects(text: str, lowest: int = 0, step: int = 0) -> tuple[Subject, ...]:
    """Make subjects from names; letters may follow after ``=``, else they are the name's own."""
    pairs = (entry.partition("=") for entry in text.split(", "))
    return tuple(Subject(code or _letters(name, 9), name, lowest, step) for name, _, code in pairs)


def _measured(text: str) -> tuple[Subject, ...]:
    """Make subjects from ``name=letters:lowest:step``."""
    parts = (entry.replace("=", ":").split(":") for entry in text.split(", "))
    return tuple(Subject(code, name, int(lowest), int(step)) for name, code, lowest, step in parts)


_STATES: Final = _subjects(
    "Georgia=GA, Texas=TX, Arizona=AZ, Michigan=MI, Pennsylvania=PA, Ohio=OH, Florida=FL, Nevada=NV, "
    "Wisconsin=WI, "
    "North Carolina=NC, New York=NY, California=CA, Virginia=VA, Colorado=CO, Minnesota=MN, New Jersey=NJ, "
    "Washington=WA, Oregon=OR, Iowa=IA, Maine=ME, New Hampshire=NH, Illinois=IL, Indiana=IN, Kansas=KS, "
    "Kentucky=KY, Louisiana=LA, Maryland=MD, Massachusetts=MA, Missouri=MO, Montana=MT, Nebraska=NE, "
    "New Mexico=NM, Oklahoma=OK, South Carolina=SC, Tennessee=TN, Utah=UT, Alabama=AL, Alaska=AK, "
    "Arkansas=AR, "
    "Connecticut=CT, Delaware=DE, Hawaii=HI, Idaho=ID, Mississippi=MS, North Dakota=ND, Rhode Island=RI, "
    "South Dakota=SD, Vermont=VT, West Virginia=WV, Wyoming=WY"
)
_NATIONS: Final = (
    "Canada, Germany, Japan, United Kingdom, France, Australia, Brazil, India, Italy, Spain, Mexico, "
    "South Korea, "
    "Netherlands, Sweden, Poland, Turkey, Argentina, Norway, Switzerland, Israel, Portugal, Greece, "
    "Ireland, Chile, "
    "Colombia, Denmark, Finland, Austria, Belgium, Hungary, Romania, Thailand, Indonesia, Philippines, "
    "Vietnam, "
    "South Africa, Egypt, Nigeria, Kenya, New Zealand"
)
_COUNTRIES: Final = _subjects(_NATIONS)
_CITY_NAMES: Final = (
    "New York, Chicago, Miami, Denver, Boston, Seattle, Austin, Houston, Philadelphia, Los Angeles, "
    "Atlanta, Phoenix, "
    "Dallas, Minneapolis, Detroit, Cleveland, Portland, Nashville, Salt Lake City, San Francisco, "
    "Buffalo, St. Louis, "
    "Tampa, San Diego, Las Vegas, Anchorage"
)
_ARTISTS: Final = (
    "Taylor Swift, Bad Bunny, Drake, The Weeknd, Billie Eilish, Ariana Grande, Bruno Mars, Kendrick Lamar, "
    "Sabrina Carpenter, Ed Sheeran, Rihanna, Coldplay, Lady Gaga, Post Malone, Dua Lipa, Olivia Rodrigo, "
    "SZA, "
    "Justin Bieber, Travis Scott, Zach Bryan, Morgan Wallen, Chappell Roan, Karol G, Harry Styles, Doja "
    "Cat, Beyonce, "
    "Adele, Imagine Dragons, Peso Pluma, Charli XCX"
)
_FIRMS: Final = (
    "NVIDIA, Apple, Microsoft, Alphabet, Amazon, Meta, Tesla, Broadcom, Netflix, Oracle, Salesforce, "
    "Intel, AMD, "
    "Adobe, IBM, Uber, Airbnb, Spotify, Disney, Nike, Starbucks, Walmart, Costco, Target, Boeing, Ford, "
    "General Motors, Coinbase, Robinhood, Palantir, Micron, Qualcomm, PayPal, Visa, Mastercard, Eli "
    "Lilly, Pfizer, "
    "Exxon Mobil, Chevron, Delta"
)
_LABS: Final = (
    "OpenAI, Google, Anthropic, xAI, Meta, DeepSeek, Alibaba, Mistral, Microsoft, Amazon, NVIDIA, Cohere"
)
_MONTHS: Final = tuple(
    replace(subject, month=number)
    for number, subject in enumerate(
        _subjects(
            "January=JAN, February=FEB, March=MAR, April=APR, May=MAY, June=JUN, July=JUL, August=AUG, "
            "September=SEP, October=OCT, November=NOV, December=DEC"
        ),
        1,
    )
)
_PARTIES: Final = _answers("Democratic, Republican, Independent, Libertarian, Green")
_QUARTERS: Final = (
    Side("First quarter", "First quarter", "Q1"),
    Side("Second quarter", "Second quarter", "Q2"),
    Side("Third quarter", "Third quarter", "Q3"),
    Side("Fourth quarter", "Fourth quarter", "Q4"),
    Side("Not that year", "Not that year", "NO"),
)
_CITIES: Final = _answers(_CITY_NAMES)
_LEAGUE_NAMES: Final = {
    "MLB": "Pro Baseball",
    "NFL": "Pro Football",
    "WNBA": "Women's Pro Basketball",
    "MLS": "Major League Soccer",
    "CFL": "CFL",
}
_TEAM_LEAGUES: Final = tuple(
    Subject(
        league.code,
        league.name or _LEAGUE_NAMES[league.code],
        answers=league.sides,
        league=league.code,
        kind=f"{league.sport}_team",
    )
    for league in LEAGUES
    if not league.tennis
)
_TOURS: Final = tuple(
    Subject(f"{tour}{letters}", f"{who} {name}", 0, 0, league.sides, tour, "tennis_competitor", month)
    for name, letters, month in (
        ("Australian Open", "AUS", 1),
        ("French Open", "FRA", 6),
        ("Wimbledon", "WIM", 7),
        ("US Open", "USO", 9),
        ("Indian Wells", "IW", 3),
        ("Miami Open", "MIA", 3),
        ("Madrid Open", "MAD", 5),
        ("Italian Open", "ITA", 5),
        ("Canadian Open", "CAN", 8),
        ("Cincinnati Open", "CIN", 8),
    )
    for tour, who in (("ATP", "Men's"), ("WTA", "Women's"))
    for league in LEAGUES
    if league.code == tour
)
_TEAMS: Final = tuple(
    Subject(f"{subject.letters}{side.code}", f"{side.name} ({subject.name})", lowest, step)
    for place in range(34)
    for subject, lowest, step in zip(
        _TEAM_LEAGUES, (60, 4, 12, 20, 4, 24, 30, 8, 30), (5, 1, 3, 5, 1, 4, 6, 1, 6), strict=False
    )
    if place < len(subject.answers)
    for side in (subject.answers[place],)
)

CHOICES: Final = (
    Question(
        "Sports",
        "{s}BEST",
        "{S} best record",
        "Best {S} regular season record in {Y}",
        "Will {O} have the best {S} regular season record in {Y}?",
        "If {O} finishes the {Y} {S} regular season with the best record",
        _TEAM_LEAGUES,
    ),
    Question(
        "Elections",
        "GOVPARTY{s}",
        "{S} governor",
        "{S} Governor winner in {Y}?",
        "Will the {O} candidate win the {Y} {S} governor race?",
        "If the {O} candidate is elected Governor of {S} in the {Y} election",
        _STATES,
        _PARTIES,
        "Party",
    ),
    Question(
        "Entertainment",
        "TOPARTIST{s}",
        "Top artist on {S}",
        "Top artist on {S} in {Y}?",
        "Will {O} be the top artist on {S} in {Y}?",
        "If {O} is the most streamed artist on {S} in {Y}",
        _subjects("Spotify, Apple Music, YouTube, Billboard, Shazam, Deezer, Amazon Music, Tidal, Pandora"),
        _answers(_ARTISTS),
        "Artist",
    ),
    Question(
        "Sports",
        "{s}",
        "{S} winner",
        "{Y} {S} winner",
        "Will {O} win the {Y} {S}?",
        "If {O} wins the {Y} {S} singles title",
        _TOURS,
    ),
    Question(
        "Science and Technology",
        "TOPMODEL{s}",
        "Top AI model for {S}",
        "Which company has the best AI model for {S} at the end of {Y}?",
        "Will {O} have the top AI model for {S} at the end of {Y}?",
        "If {O} owns the highest ranked model for {S} on December 31, {Y}",
        _subjects("text, coding, math, vision, search, video, images, speech, agents"),
        _answers(_LABS),
        "Company",
        months=(12, 12),
    ),
    Question(
        "Politics",
        "NEXTELECTION{s}",
        "Next election in {S}",
        "When in {Y} will {S} hold a general election?",
        "{S} general election in {Y}: {O}?",
        "If the next general election of {S} is held in {Y}, {O}",
        _COUNTRIES,
        _QUARTERS,
        "Period",
        months=(1, 12),
    ),
    Question(
        "Companies",
        "LARGEST{s}",
        "Largest company ({S})",
        "Largest company in {S} {Y}?",
        "Will {O} be the largest company by market value at the end of {S} {Y}?",
        "If {O} has the highest market capitalization at the end of {S} {Y}",
        _MONTHS,
        _answers(_FIRMS),
        "Company",
    ),
    Question(
        "Climate and Weather",
        "MOSTSNOW{s}",
        "Snowiest city ({S})",
        "Which city gets the most snow in {S} {Y}?",
        "Will {O} get the most snow in {S} {Y}?",
        "If {O} records more inches of snow in {S} {Y} than any other listed city",
        _MONTHS,
        _CITIES,
        "City",
    ),
    Question(
        "Sports",
        "{s}COACH",
        "{S} head coach out",
        "Next {S} head coach out in {Y}?",
        "Will {O} be the next {S} team to change its head coach in {Y}?",
        "If {O} is the next {S} team to announce the departure of its head coach in {Y}",
        _TEAM_LEAGUES,
    ),
    Question(
        "Elections",
        "SENATE{s}",
        "{S} senate race",
        "{S} Senate winner in {Y}?",
        "Will the {O} candidate win the {Y} {S} Senate race?",
        "If the {O} candidate is elected to the Senate for {S} in the {Y} election",
        _STATES,
        _PARTIES,
        "Party",
    ),
    Question(
        "Entertainment",
        "GRAM{s}",
        "Best {S} Album",
        "Best {S} Album at the {Y} Grammys?",
        "Will {O} win Best {S} Album at the {Y} Grammys?",
        "If {O} wins the Grammy for Best {S} Album in {Y}",
        _subjects("Pop Vocal, Rap, Country, R&B=RB, Rock, Alternative, Dance, Latin Pop, Jazz Vocal, Folk"),
        _answers(_ARTISTS),
        "Artist",
        months=(2, 2),
    ),
    Question(
        "World",
        "MEDALS{s}",
        "Medal table of the {S} world championships",
        "Most medals at the {Y} {S} world championships?",
        "Will {O} win the most medals at the {Y} {S} world championships?",
        "If {O} leads the medal table of the {Y} {S} world championships",
        _subjects(
            "athletics, swimming, gymnastics, rowing, cycling, judo, wrestling, fencing, skiing, biathlon, "
            "weightlifting, sailing, archery, shooting, boxing"
        ),
        _answers(_NATIONS),
        "Country",
    ),
    Question(
        "Financials",
        "BESTSTOCK{s}",
        "Best performing stock ({S})",
        "Best performing stock in {S} {Y}?",
        "Will {O} be the best performing large stock in {S} {Y}?",
        "If the shares of {O} gain more in {S} {Y} than those of any other listed company",
        _MONTHS,
        _answers(_FIRMS),
        "Company",
    ),
    Question(
        "Sports",
        "{s}WORST",
        "{S} worst record",
        "Worst {S} regular season record in {Y}",
        "Will {O} have the worst {S} regular season record in {Y}?",
        "If {O} finishes the {Y} {S} regular season with the worst record",
        _TEAM_LEAGUES,
    ),
    Question(
        "Politics",
        "FINMIN{s}",
        "New finance minister in {S}",
        "When in {Y} does {S} get a new finance minister?",
        "New finance minister of {S} in {Y}: {O}?",
        "If a new finance minister of {S} takes office in {Y}, {O}",
        _COUNTRIES,
        _QUARTERS,
        "Period",
        months=(1, 12),
    ),
    Question(
        "Elections",
        "HOUSESEATS{s}",
        "Most House seats in {S}",
        "Most House seats in {S} in {Y}?",
        "Will the {O} party win the most House seats in {S} in {Y}?",
        "If the {O} party wins the most House seats in {S} in the {Y} election",
        _STATES,
        _PARTIES,
        "Party",
    ),
    Question(
        "Sports",
        "{s}TOPSCORE",
        "{S} top scoring team",
        "Highest scoring {S} team in {Y}",
        "Will {O} be the highest scoring {S} team in {Y}?",
        "If {O} scores more in the {Y} {S} regular season than any other team",
        _TEAM_LEAGUES,
    ),
    Question(
        "Companies",
        "NEXTCEO{s}",
        "Next CEO change ({S})",
        "Which company announces a new CEO in {S} {Y}?",
        "Will {O} be the first to announce a new CEO in {S} {Y}?",
        "If {O} is the first listed company to announce a new chief executive in {S} {Y}",
        _MONTHS,
        _answers(_FIRMS),
        "Company",
    ),
    Question(
        "World",
        "RATECUT{s}",
        "Central bank of {S}",
        "When in {Y} will {S}'s central bank cut rates?",
        "First rate cut in {S} in {Y}: {O}?",
        "If the first rate cut by the central bank of {S} in {Y} falls in: {O}",
        _COUNTRIES,
        _QUARTERS,
        "Period",
        months=(1, 12),
    ),
    Question(
        "Climate and Weather",
        "HOTTEST{s}",
        "Hottest city ({S})",
        "Which city will be the hottest in {S} {Y}?",
        "Will {O} record the highest temperature in {S} {Y}?",
        "If {O} records the highest temperature of the listed cities in {S} {Y}",
        _MONTHS,
        _CITIES,
        "City",
    ),
)
"""Questions with many answers, at most one of which comes true. Empty `answers`: those of the subject."""

LADDERS: Final = (
    Question(
        "Financials",
        "{s}MAX",
        "{S} high",
        "How high will {S} get in {Y}?",
        "Above {K}",
        "the highest close of {S} in {Y}",
        _measured(
            "the S&P 500=INX:6000:250, the Nasdaq-100=NASDAQ100:22000:1000, Bitcoin=BTC:90000:10000, "
            "Ethereum=ETH:3000:500, gold=GOLD:3600:200, the Dow=DJI:42000:1500, the Russell "
            "2000=RUT:2100:100, "
            "silver=SILVER:36:4, Solana=SOL:140:25, the Nikkei 225=NIKKEI:40000:2000, the DAX=DAX:22000:1000"
        ),
    ),
    Question(
        "Economics",
        "CPI{s}",
        "{S} inflation",
        "How high will inflation in {S} get in {Y}?",
        "Above {K}%",
        "the highest annual inflation rate of {S} published in {Y}",
        _subjects(_NATIONS, 1, 1),
    ),
    Question(
        "Companies",
        "MCAP{s}",
        "{S} market value",
        "{S} market value at the end of {Y}?",
        "Above ${K} billion",
        "the market capitalization of {S} on the last trading day of {Y}",
        _subjects(_FIRMS, 200, 100),
        months=(12, 12),
    ),
    Question(
        "Sports",
        "WINS{s}",
        "{S} wins",
        "How many games will {S} win in {Y}?",
        "Above {K} wins",
        "the number of regular season wins of {S} in {Y}",
        _TEAMS,
    ),
    Question(
        "Climate and Weather",
        "RAIN{s}",
        "Rain in {S}",
        "How much rain will {S} get in {Y}?",
        "Above {K} inches",
        "the total precipitation recorded in {S} in {Y}",
        _subjects(_CITY_NAMES, 16, 4),
    ),
    Question(
        "Entertainment",
        "LISTENERS{s}",
        "{S} monthly listeners",
        "How many monthly listeners will {S} have in {Y}?",
        "Above {K} million",
        "the peak number of monthly listeners of {S} in {Y}",
        _subjects(_ARTISTS, 50, 5),
    ),
    Question(
        "Politics",
        "BILLS{s}",
        "Laws passed in {S}",
        "How many laws will {S} enact in {Y}?",
        "Above {K}",
        "the number of laws enacted by {S} in {Y}",
        tuple(Subject(s.letters, s.name, 100, 50) for s in _STATES),
    ),
    Question(
        "Economics",
        "U3{s}",
        "{S} unemployment",
        "How high will unemployment in {S} get in {Y}?",
        "Above {K}%",
        "the highest unemployment rate of {S} published in {Y}",
        _subjects(_NATIONS, 3, 1),
    ),
    Question(
        "Science and Technology",
        "LAUNCHES{s}",
        "{S} rocket launches",
        "How many rockets will {S} launch in {Y}?",
        "Above {K} launches",
        "the number of orbital launch attempts of {S} in {Y}",
        _measured(
            "SpaceX=SPACEX:130:10, Rocket Lab=ROCKETLAB:12:3, China=CHINA:70:5, Russia=RUSSIA:12:2, "
            "ULA=ULA:4:2, India=INDIA:3:1, Europe=EUROPE:3:1, Japan=JAPAN:2:1, Blue Origin=BLUEORIGIN:1:1"
        ),
    ),
    Question(
        "World",
        "GDP{s}",
        "{S} growth",
        "How fast will the economy of {S} grow in {Y}?",
        "Above {K}%",
        "the real growth of gross domestic product of {S} in {Y}",
        _subjects(_NATIONS, 0, 1),
    ),
)
"""Questions with strikes; `market` is the label of a strike, `rules` says what is measured."""


def all_asked(questions: tuple[Question, ...]) -> tuple[tuple[Question, Subject], ...]:
    """Return every question with each of its subjects: first all first subjects, then all second ones."""
    return tuple(
        (question, question.subjects[place])
        for place in range(max(len(question.subjects) for question in questions))
        for question in questions
        if place < len(question.subjects)
    )


def fill(text: str, subject: Subject, year: int) -> str:
    """Put subject and year into a text."""
    return text.replace("{S}", subject.name).replace("{s}", subject.letters).replace("{Y}", str(year))


def _kinds(subjects: Iterable[Subject], topics: str) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    return tuple(subjects), tuple(topics.split(", "))


_PEOPLE: Final = _subjects(_ARTISTS)
_COMPANIES: Final = _subjects(_FIRMS)
_THEMES: Final = {
    "Sports": _kinds(
        _TEAMS, "playoff seed, division, draft pick, trade, head coach, attendance, winning streak, injuries"
    ),
    "Entertainment": _kinds(
        _PEOPLE,
        "new album, tour, first week sales, Grammy nominations, number one hit, chart weeks, "
        "guest appearance, top song, streams, video views, award show, festival headliner, film role",
    ),
    "Politics": _kinds(
        _STATES,
        "approval, budget, special session, ballot measure, recall, minimum wage, tax rate, gas tax, "
        "sports betting law, redistricting, voter turnout, court ruling, shutdown",
    ),
    "Elections": _kinds(
        _STATES,
        "primary, attorney general, secretary of state, margin of victory, runoff, "
        "first district, second district, third district, turnout",
    ),
    "Financials": _kinds(
        _COMPANIES, "close above, weekly range, stock split, dividend, short interest, best month"
    ),
    "Economics": _kinds(
        _COUNTRIES, "trade balance, retail sales, payrolls, wages, housing starts, debt, exchange rate"
    ),
    "Climate and Weather": _kinds(
        _subjects(_CITY_NAMES), "low temperature, snow, wind, first frost, heat wave, hurricane"
    ),
    "Companies": _kinds(
        _COMPANIES, "earnings, layoffs, deliveries, CEO, acquisition, headcount, new product"
    ),
    "Science and Technology": _kinds(
        _subjects(_LABS), "model release, benchmark, outage, users, valuation, lawsuit"
    ),
    "World": _kinds(_COUNTRIES, "visit, treaty, leader out, ceasefire, sanctions, World Cup, Olympics"),
}
_SPANS: Final = ("", "weekly", "monthly", "quarterly", "annual", "daily")


def series_names(category: str) -> Iterator[tuple[str, str]]:
    """Yield (ticker, title) for endless series of a category; tickers differ, titles are plain."""
    subjects, topics = _THEMES[category]
    for turn in count():
        span = _SPANS[turn] if turn < len(_SPANS) else f"week {turn - len(_SPANS) + 1}"
        for topic in topics:
            for subject in subjects:
                tail = f" ({span})" if span else ""
                yield f"KX{_letters(topic + subject.letters + span, 30)}", f"{subject.name} {topic}{tail}"
