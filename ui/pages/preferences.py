"""Display settings: time zone, theme, density. The browser keeps them, in one cookie.

Only the server needs them, to render the first page right, so they are neither a setting nor in a file. Each
part that cannot be understood counts as not given: no cookie breaks a page.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import msgspec

COOKIE: Final = "kalshi-bus-preferences"
COOKIE_MAX: Final = 200
"""Longer cookies are ignored: ours are less than half as long."""

ZoneWord = Literal["utc", "local", "et"]
Theme = Literal["system", "light", "dark"]
Density = Literal["comfortable", "compact"]

_THEMES: Final[Mapping[str, Theme]] = {"light": "light", "dark": "dark"}
_DENSITIES: Final[Mapping[str, Density]] = {"compact": "compact"}

ET: Final = "America/New_York"
"""US Eastern, the zone of Kalshi's rules and of most of its users."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,3}")


class Zone(msgspec.Struct, frozen=True):
    """A time zone: what was chosen, and its name in the IANA database.

    `unknown`: the chosen name, if this machine's database does not have it; times are then in UTC.
    """

    word: ZoneWord = "utc"
    name: str = "Etc/UTC"
    unknown: str = ""

    @property
    def info(self) -> tzinfo:
        """The zone itself."""
        return UTC if self.name == "Etc/UTC" else ZoneInfo(self.name)

    def short(self, now_ms: int) -> str:
        """Return its present abbreviation: ``UTC``, ``EST``, ``CET``, ``+0545``."""
        return datetime.fromtimestamp(now_ms / 1000, self.info).strftime("%Z") or self.name

    def words(self, now_ms: int) -> str:
        """Return its present name: ``UTC``, ``US Eastern (EST, UTC-05:00)``."""
        if self.unknown:
            return f"UTC, because this machine does not know the zone {self.unknown}"
        if self.info is UTC:
            return "UTC"
        at = datetime.fromtimestamp(now_ms / 1000, self.info)
        name = "US Eastern" if self.word == "et" else self.name.replace("_", " ")
        short, ahead = at.strftime("%Z"), at.utcoffset() or timedelta()
        minutes = abs(ahead) // timedelta(minutes=1)
        offset = f"UTC{'-' if ahead < timedelta() else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
        return f"{name} ({short}, {offset})" if short.isalpha() else f"{name} ({offset})"


class Preferences(msgspec.Struct, frozen=True):
    """The display settings of one browser."""

    zone: Zone = Zone()
    theme: Theme = "system"
    density: Density = "comfortable"

    @property
    def key(self) -> str:
        """A text that is equal for equal settings."""
        return f"{self.zone.word}:{self.zone.unknown or self.zone.name} {self.theme} {self.density}"


USUAL: Final = Preferences()


def parse_preferences(cookie: str | None) -> Preferences:
    """Return the settings in a cookie such as ``zone=local:Europe/Berlin&theme=dark&density=compact``."""
    if not cookie or len(cookie) > COOKIE_MAX:
        return USUAL
    said = dict(parse_qsl(cookie))
    return Preferences(
        zone=_zone(said.get("zone", "")),
        theme=_THEMES.get(said.get("theme", ""), USUAL.theme),
        density=_DENSITIES.get(said.get("density", ""), USUAL.density),
    )


def zone_named(name: str) -> ZoneInfo | None:
    """Return a zone of the IANA database; None if this machine does not know the name."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a zone; a folder of zones
        return None


def _zone(text: str) -> Zone:
    said, _, name = text.partition(":")
    word: ZoneWord = "et" if said == "et" else "local"
    if word == "et":
        name = ET
    elif said != word or not _NAME.fullmatch(name):
        return USUAL.zone
    return Zone(word, unknown=name) if zone_named(name) is None else Zone(word, name)
