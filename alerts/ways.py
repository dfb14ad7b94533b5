"""The ways out: a file of URLs, one per line. They are secrets, and only the sender is given one.

``NAME URL`` or ``URL``; ``#`` starts a comment. The name ``heartbeat`` is for the dead man's switch: an
http(s) URL. A wrong line is reported by its number and never repeated. A way without a name is named by its
scheme and a short hash.
"""

import hashlib
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from bus.process.echo import shown_path
from bus.process.locks import open_private_file
from bus.process.settings import Settings, variable_of
from markets.errors import StartupError

from .parcels import is_exchange

HEARTBEAT: Final = "heartbeat"
MAX_BYTES: Final = 100_000
WAYS_MOST: Final = 20
URL_MOST: Final = 2_000

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,30}", re.ASCII)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]{0,30})://[^\s/]", re.ASCII | re.IGNORECASE)


class Way(NamedTuple):
    """A way out. Its representation omits the URL."""

    name: str
    scheme: str
    url: str

    def __repr__(self) -> str:
        """Return a text that may be logged."""
        return f"Way({self.name}, {self.scheme})"


class Ways(NamedTuple):
    """The content of a file of URLs; `problems` has an entry for each wrong line."""

    ways: tuple[Way, ...] = ()
    heartbeat: Way | None = None
    problems: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all ways by which alerts are sent."""
        return tuple(way.name for way in self.ways)


def read_ways(path: Path | None, refused: Collection[str] = ()) -> Ways:
    """Return the ways out listed in a file; a wrong line affects only itself.

    Args:
        refused: network locations (host, or host:port) of the exchange in the settings.
    """
    if path is None:
        return Ways()
    setting = variable_of("alerts_urls")
    try:
        fd = open_private_file(path, setting)
        with os.fdopen(fd, "rb") as file:
            body = file.read(MAX_BYTES + 1)
    except StartupError as error:
        return Ways(problems=(str(error),))
    except OSError as error:
        return Ways(problems=(f"{shown_path(path)}: cannot be read: {error.strerror}",))
    if len(body) > MAX_BYTES:
        return Ways(problems=(f"{shown_path(path)}: more than {MAX_BYTES} bytes, expected one URL per line",))
    ways: dict[str, Way] = {}
    problems = []
    for number, line in enumerate(body.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _way(line.split())
        why = found if isinstance(found, str) else _refusal(found, ways, refused)
        if why is not None or isinstance(found, str):
            problems.append(f"{path.name}, line {number}: {why}")
        else:
            ways[found.name] = found
    heartbeat = ways.pop(HEARTBEAT, None)
    return Ways(tuple(ways.values()), heartbeat, tuple(problems))


def _way(words: list[str]) -> Way | str:
    if len(words) > 2:
        return "expected NAME URL, or URL"
    url = words[-1]
    found = _SCHEME.match(url)
    if found is None or not url.isprintable() or len(url) > URL_MOST:
        return f"expected a URL such as ntfy://TOPIC, of at most {URL_MOST} printable characters"
    scheme = found[1].lower()
    if len(words) == 2:
        if not _NAME.fullmatch(words[0]):
            return "the name before the URL: expected 1 to 30 letters, digits, - and _"
        return Way(words[0], scheme, url)
    return Way(f"{scheme}-{hashlib.sha256(url.encode()).hexdigest()[:6]}", scheme, url)


def _refusal(way: Way, ways: Collection[str], refused: Collection[str]) -> str | None:
    try:
        place = urlsplit(way.url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return "expected a URL"
    if is_exchange(way.url) or place in refused:
        return "that is the exchange, which only publisher and order gateway may contact"
    if way.name == HEARTBEAT and way.scheme not in ("http", "https"):
        return "heartbeat: expected an http:// or https:// URL"
    if way.name in ways:
        return "the name is used twice"
    return f"more than {WAYS_MOST} ways" if len(ways) >= WAYS_MOST else None


def exchange_of(settings: Settings) -> frozenset[str]:
    """Return the network locations of the exchange in the settings."""
    urls = filter(None, (settings.api_url, settings.ws_url))
    return frozenset(urlsplit(url).netloc.lower() for url in urls)
