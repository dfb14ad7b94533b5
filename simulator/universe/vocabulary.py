"""Names to clone recorded events with: leagues, teams, players, cities. Facts only, nothing about prices."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Side:
    """A competitor: its full name, its short name (a player's surname) and its letters in tickers."""

    name: str
    short: str
    code: str


def _teams(text: str) -> tuple[Side, ...]:
    pairs = (entry.rsplit(" ", 1) for entry in text.split(", "))
    return tuple(Side(name, name, code) for name, code in pairs)


def _players(text: str) -> tuple[Side, ...]:
    names = (entry.rsplit(" ", 1) for entry in text.split(", "))
    return tuple(Side(f"{first} {last}", last, last[:3].upper()) for first, last in names)


_PRO_BASKETBALL = _teams(
    "Atlanta ATL, Boston BOS, Brooklyn BKN, Charlotte CHA, Chicago CHI, Cleveland CLE, Dallas DAL, "
    "Denver DEN, Detroit DET, Golden State GSW, Houston HOU, Indiana IND, Los Angeles C LAC, Los "
    "Angeles L LAL, Memphis MEM, Miami MIA, Milwaukee MIL, Minnesota MIN, New Orleans NOP, New York "
    "NYK, Oklahoma City OKC, Orlando ORL, Philadelphia PHI, Phoenix PHX, Portland POR, Sacramento SAC, "
    "San Antonio SAS, Toronto TOR, Utah UTA, Washington WAS"
)
_PRO_FOOTBALL = _teams(
    "Arizona ARI, Atlanta ATL, Baltimore BAL, Buffalo BUF, Carolina CAR, Chicago CHI, Cincinnati CIN, "
    "Cleveland CLE, Dallas DAL, Denver DEN, Detroit DET, Green Bay GB, Houston HOU, Indianapolis IND, "
    "Jacksonville JAC, Kansas City KC, Las Vegas LV, Los Angeles C LAC, Los Angeles R LA, Miami MIA, "
    "Minnesota MIN, New England NE, New Orleans NO, New York G NYG, New York J NYJ, Philadelphia PHI, "
    "Pittsburgh PIT, San Francisco SF, Seattle SEA, Tampa Bay TB, Tennessee TEN, Washington WAS"
)
_PRO_BASEBALL = _teams(
    "A's ATH, Arizona AZ, Atlanta ATL, Baltimore BAL, Boston BOS, Chicago C CHC, Chicago WS CWS, "
    "Cincinnati CIN, Cleveland CLE, Colorado COL, Detroit DET, Houston HOU, Kansas City KC, Los Angeles "
    "A LAA, Los Angeles D LAD, Miami MIA, Milwaukee MIL, Minnesota MIN, New York M NYM, New York Y NYY, "
    "Philadelphia PHI, Pittsburgh PIT, San Diego SD, San Francisco SF, Seattle SEA, St. Louis STL, "
    "Tampa Bay TB, Texas TEX, Toronto TOR, Washington WSH"
)
_COLLEGE_FOOTBALL = _teams(
    "Alabama BAMA, Arizona St. ASU, Auburn AUB, Baylor BAY, BYU BYU, Clemson CLEM, Florida FLA, Georgia "
    "UGA, Houston HOU, Illinois ILL, Indiana IND, Iowa IOWA, Iowa St. ISU, Kansas St. KSU, Louisville "
    "LOU, LSU LSU, Miami (FL) MIA, Michigan MICH, Michigan St. MSU, Nebraska NEB, Notre Dame ND, Ohio "
    "St. OSU, Oklahoma OKLA, Ole Miss MISS, Oregon ORE, Penn St. PSU, South Carolina SC, Tennessee "
    "TENN, Texas TEX, Texas A&M TXAM, Texas Tech TTU, USC USC, Utah UTAH"
)
_WOMENS_BASKETBALL = _teams(
    "Atlanta ATL, Chicago CHI, Connecticut CONN, Dallas DAL, Golden State GS, Indiana IND, Las Vegas "
    "LV, Los Angeles LA, Minnesota MIN, New York NY, Phoenix PHX, Portland POR, Seattle SEA, Toronto "
    "TOR, Washington WSH"
)
_CANADIAN_FOOTBALL = _teams(
    "British Columbia Lions BC, Calgary Stampeders CGY, Edmonton Elks EDM, Hamilton Tiger-Cats HAM, "
    "Montreal Alouettes MTL, Ottawa Redblacks OTT, Saskatchewan Roughriders SSK, Toronto Argonauts TOR, "
    "Winnipeg Blue Bombers WPG"
)
_US_SOCCER = _teams(
    "Atlanta ATL, Austin ATX, Charlotte CLT, Chicago CHI, Cincinnati CIN, Colorado COL, Columbus CLB, "
    "Dallas DAL, D.C. United DC, Houston HOU, Inter Miami MIA, Kansas City SKC, Los Angeles F LAFC, Los "
    "Angeles G LAG, Minnesota MIN, Montreal MTL, Nashville NSH, New England NE, New York City NYC, New "
    "York RB RBNY, Orlando ORL, Philadelphia PHI, Portland POR, Salt Lake RSL, San Diego FC SD, San "
    "Jose SJ, Seattle SEA, St. Louis STL, Toronto TOR, Vancouver VAN"
)
_ENGLISH_SOCCER = _teams(
    "Arsenal ARS, Aston Villa AVL, Bournemouth BOU, Brentford BRE, Brighton BRI, Chelsea CFC, Coventry "
    "COV, Crystal Palace CRY, Everton EVE, Fulham FUL, Hull HUL, Ipswich IPS, Leeds LEE, Liverpool LFC, "
    "Manchester City MCI, Manchester Utd MUN, Newcastle NEW, Nottingham NFO, Sunderland SUN, Tottenham "
    "TOT"
)
_SPANISH_SOCCER = _teams(
    "Alaves ALA, Athletic ATH, Atletico ATM, Barcelona BAR, Betis BET, Celta CEL, Elche ELC, Espanyol "
    "ESP, Getafe GET, Girona GIR, Levante LEV, Mallorca MLL, Osasuna OSA, Oviedo OVI, Rayo RAY, Real "
    "Madrid RMA, Real Sociedad RSO, Sevilla SEV, Valencia VAL, Villarreal VIL"
)
_WTA = _players(
    "Aryna Sabalenka, Iga Swiatek, Coco Gauff, Jessica Pegula, Madison Keys, Mirra Andreeva, Elena "
    "Rybakina, Amanda Anisimova, Jasmine Paolini, Emma Navarro, Belinda Bencic, Elina Svitolina, Naomi "
    "Osaka, Clara Tauson, Linda Noskova, Paula Badosa, Diana Shnaider, Karolina Muchova, Victoria "
    "Mboko, Marta Kostyuk, Leylah Fernandez, Sorana Cirstea, Varvara Lepchenko, Anna Kalinskaya, Donna "
    "Vekic, Maria Sakkari, Barbora Krejcikova, Beatriz Haddad, Emma Raducanu, Daria Kasatkina"
)
_ATP = _players(
    "Jannik Sinner, Carlos Alcaraz, Novak Djokovic, Alexander Zverev, Taylor Fritz, Ben Shelton, Jack "
    "Draper, Lorenzo Musetti, Holger Rune, Andrey Rublev, Casper Ruud, Daniil Medvedev, Tommy Paul, "
    "Frances Tiafoe, Karen Khachanov, Jakub Mensik, Arthur Fils, Joao Fonseca, Felix Auger, Ugo "
    "Humbert, Stefanos Tsitsipas, Hubert Hurkacz, Grigor Dimitrov, Sebastian Korda, Alex Michelsen, "
    "Learner Tien, Tomas Machac, Flavio Cobolli, Jiri Lehecka, Brandon Nakashima"
)


@dataclass(frozen=True, slots=True)
class League:
    """A league whose matches are cloned.

    Attributes:
        code: letters of its series tickers, ``KX<code>GAME``.
        name: its name in titles; None keeps the recorded phrase.
        sport: key of `latent.SPORTS`.
        sides: its competitors.
        events: (end of the series ticker, recorded series to clone) for each event of a match.
        weight: how frequent its matches are relative to other leagues.
    """

    code: str
    name: str | None
    sport: str
    sides: tuple[Side, ...]
    events: tuple[tuple[str, str], ...]
    weight: int

    @property
    def tennis(self) -> bool:
        """Whether two players meet rather than two teams."""
        return self.sport in ("tennis", "tie_break")


_BASEBALL = (
    ("GAME", "KXMLBGAME"),
    ("SPREAD", "KXMLBSPREAD"),
    ("TOTAL", "KXMLBTOTAL"),
    ("HIT", "KXMLBHIT"),
    ("HR", "KXMLBHR"),
)
_GRIDIRON = (("GAME", "KXNFLGAME"), ("SPREAD", "KXCFLSPREAD"))
_BASKETBALL = (("GAME", "KXWNBAGAME"), ("SPREAD", "KXWNBASPREAD"), ("TOTAL", "KXWNBATOTAL"))
_SOCCER = (("GAME", "KXMLSGAME"),)
_TENNIS = (("MATCH", "KXWTACHALLENGERMATCH"),)

LEAGUES: Final = (
    League("MLB", None, "baseball", _PRO_BASEBALL, _BASEBALL, 8),
    League("NFL", "Pro Football", "football", _PRO_FOOTBALL, _GRIDIRON, 5),
    League("WNBA", None, "basketball", _WOMENS_BASKETBALL, _BASKETBALL, 4),
    League("MLS", None, "soccer", _US_SOCCER, _SOCCER, 6),
    League(
        "NCAAF",
        "College Football",
        "football",
        _COLLEGE_FOOTBALL,
        (("GAME", "KXNCAAFGAME"), ("SPREAD", "KXCFLSPREAD")),
        6,
    ),
    League("NBA", "Pro Basketball", "basketball", _PRO_BASKETBALL, _BASKETBALL, 4),
    League("WTACHALLENGER", None, "tennis", _WTA, _TENNIS, 5),
    League("EPL", "Premier League", "soccer", _ENGLISH_SOCCER, _SOCCER, 5),
    League("ATP", "ATP", "tennis", _ATP, _TENNIS, 5),
    League(
        "CFL", None, "football", _CANADIAN_FOOTBALL, (("GAME", "KXNFLGAME"), ("SPREAD", "KXCFLSPREAD")), 2
    ),
    League("LALIGA", "La Liga", "soccer", _SPANISH_SOCCER, _SOCCER, 4),
    League("WTA", "WTA", "tennis", _WTA, _TENNIS, 5),
    League("TBT", "Tie Break Tens", "tie_break", _ATP, _TENNIS, 8),
)

EDITIONS: Final = (
    ("CUP", "Cup"),
    ("PRE", "Preseason"),
    ("U23", "Under-23"),
    ("YTH", "Youth"),
    ("RES", "Reserves"),
    ("SUM", "Summer"),
    ("INV", "Invitational"),
    ("U21", "Under-21"),
    ("CH", "Challenger"),
    ("DEV", "Development"),
    ("OPEN", "Open"),
    ("U19", "Under-19"),
    ("WIN", "Winter"),
    ("REG", "Regional"),
    ("MAS", "Masters"),
    ("U17", "Under-17"),
)
"""(letters, words) of the further competitions to which a league's matches are cloned, if there are many."""

CITIES: Final = (
    ("NY", "NYC", "Central Park, New York", 62, "OKX", "NYC"),
    ("CHI", "Chicago", "Chicago Midway, Illinois", 58, "LOT", "MDW"),
    ("MIA", "Miami", "Miami International Airport, Florida", 84, "MFL", "MIA"),
    ("AUS", "Austin", "Austin Bergstrom, Texas", 78, "EWX", "AUS"),
    ("DEN", "Denver", "Denver, Colorado", 60, "BOU", "DEN"),
    ("LAX", "Los Angeles", "Los Angeles Airport, California", 72, "LOX", "LAX"),
    ("PHIL", "Philadelphia", "Philadelphia International Airport, Pennsylvania", 63, "PHI", "PHL"),
    ("HOU", "Houston", "Houston Hobby, Texas", 80, "HGX", "HOU"),
    ("TBOS", "Boston", "Boston Logan, Massachusetts", 57, "BOX", "BOS"),
    ("TSEA", "Seattle", "Seattle-Tacoma, Washington", 56, "SEW", "SEA"),
    ("TATL", "Atlanta", "Atlanta, Georgia", 71, "FFC", "ATL"),
    ("TPHX", "Phoenix", "Phoenix Sky Harbor, Arizona", 86, "PSR", "PHX"),
)
"""(letters of KXHIGH<letters>, name, station, typical high in degrees F, weather office and its letters)."""

FIFTEEN_MINUTES: Final = (
    ("GOLD", "Gold", "Commodities", 4_300.0),
    ("BTC", "Bitcoin", "Crypto", 112_000.0),
    ("ETH", "Ethereum", "Crypto", 4_100.0),
    ("SOL", "Solana", "Crypto", 190.0),
    ("SILVER", "Silver", "Commodities", 48.0),
    ("XRP", "XRP", "Crypto", 2.6),
)
"""(letters of KX<letters>15M, name, category, opening price in dollars)."""
