"""How somebody wants pages to look: time zone, theme, density. The browser keeps it, in one cookie.

The server has to know it to make the first page right, and nothing else needs it: so it is no setting, and in
no file. What cannot be understood counts as not said, part by part: no cookie breaks a page.
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
"""So long a cookie is read: none of ours is half as long."""

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

    `unknown`: what was chosen is not in this machine's database, so that times are UTC.
    """

    word: ZoneWord = "utc"
    name: str = "Etc/UTC"
    unknown: str = ""

    @property
    def info(self) -> tzinfo:
        """The zone itself."""
        return UTC if self.name == "Etc/UTC" else ZoneInfo(self.name)

    def short(self, now_ms: int) -> str:
        """Return what it is called now, in a few letters: ``UTC``, ``EST``, ``CET``, ``+0545``."""
        return datetime.fromtimestamp(now_ms / 1000, self.info).strftime("%Z") or self.name

    def words(self, now_ms: int) -> str:
        """Return what it is called now: ``UTC``, ``US Eastern (EST, UTC-05:00)``."""
        if self.unknown:
            return f"UTC: this machine does not know the zone {self.unknown}"
        if self.info is UTC:
            return "UTC"
        at = datetime.fromtimestamp(now_ms / 1000, self.info)
        name = "US Eastern" if self.word == "et" else self.name.replace("_", " ")
        short, ahead = at.strftime("%Z"), at.utcoffset() or timedelta()
        minutes = abs(ahead) // timedelta(minutes=1)
        offset = f"UTC{'-' if ahead < timedelta() else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
        return f"{name} ({short}, {offset})" if short.isalpha() else f"{name} ({offset})"


class Preferences(msgspec.Struct, frozen=True):
    """How pages are to look."""

    zone: Zone = Zone()
    theme: Theme = "system"
    density: Density = "comfortable"

    @property
    def key(self) -> str:
        """The same text for the same pages."""
        return f"{self.zone.word}:{self.zone.unknown or self.zone.name} {self.theme} {self.density}"


USUAL: Final = Preferences()


def parse_preferences(cookie: str | None) -> Preferences:
    """Return what a cookie says, as ``zone=local:Europe/Berlin&theme=dark&density=compact``."""
    if not cookie or len(cookie) > COOKIE_MAX:
        return USUAL
    said = dict(parse_qsl(cookie))
    return Preferences(
        zone=_zone(said.get("zone", "")),
        theme=_THEMES.get(said.get("theme", ""), USUAL.theme),
        density=_DENSITIES.get(said.get("density", ""), USUAL.density),
    )


def zone_named(name: str) -> ZoneInfo | None:
    """Return a zone of the IANA database, None if this machine knows none of this name."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no zone; a folder of them
        return None


def _zone(text: str) -> Zone:
    said, _, name = text.partition(":")
    word: ZoneWord = "et" if said == "et" else "local"
    if word == "et":
        name = ET
    elif said != word or not _NAME.fullmatch(name):
        return USUAL.zone
    return Zone(word, unknown=name) if zone_named(name) is None else Zone(word, name)
