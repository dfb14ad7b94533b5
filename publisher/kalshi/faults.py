"""What an unusable answer means, and what to do about it: a sentence each. Pure.

Nothing here repeats a key, an id, a signature, or the user and password of a URL.

Source: Kalshi API reference, API keys and errors (spec 3.34.0), and the 401 bodies recorded at the demo
exchange: details NOT_FOUND (of another environment, or deleted) and INCORRECT_API_KEY_SIGNATURE, code
header_timestamp_expired (more than some seconds off).
"""

import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from bus.process.logs import redact
from bus.process.programs import to_type
from bus.process.settings import variable_of

SKEWED_S: Final = 5.0
"""From here on a clock counts as wrong: Kalshi was seen to accept 5 s and to refuse 30."""

LIKELY_SKEWED_S: Final = 3.0
"""Enough to be mentioned when a signature was refused."""

SAID_MAX: Final = 200

_TITLE: Final = re.compile(rb"<title[^>]*>\s*(.{1,500}?)\s*</title", re.IGNORECASE | re.DOTALL)
_HTML: Final = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml|<!--)", re.IGNORECASE)

_LEADS: Final = {
    "key_refused": "{host} refuses the API key",
    "clock_off": "{host} refuses the API key because this machine's clock is wrong",
    "key_unusable": "the API key cannot be used",
    "blocked": "something in front of {host} refuses this machine",
    "moved": "{host} is not the exchange any more, or never was",
    "unresolved": "the name {host} cannot be resolved",
    "unreachable": "{host} cannot be reached",
    "tls": "no secure connection to {host} can be made",
    "timeout": "{host} does not answer",
    "bad_reply": "{host} answers with something that is not the exchange's",
    "not_found": "{host} does not know what the exchange has",
    "server_error": "{host} has a fault of its own",
    "rate_limited": "{host} refuses for now because the account's requests are used up",
    "cursor_loop": "{host} has a list without an end",
    "refused": "{host} refuses the request",
}
"""Outcome of a request -> its meaning."""


class Place(NamedTuple):
    """Where the exchange was looked for: the name of the setting env, and the host of the REST base."""

    env: str
    host: str

    @classmethod
    def of(cls, env: str, url: str) -> "Place":
        """Return the place of a base URL; what could be a secret in it is left out."""
        return cls(env, host_of(url))


def lead(outcome: str, place: Place) -> str:
    """Return the meaning of an outcome, without a full stop."""
    return _LEADS.get(outcome, "the exchange gave no usable answer").format(host=place.host)


def remedy(outcome: str, message: str, place: Place) -> str:
    """Return what to do about a request that failed.

    Args:
        outcome, message: those of the ExchangeError.
    """
    api_url, key_id, key_path = (variable_of(key) for key in ("api_url", "api_key_id", "private_key_path"))
    simulated = place.env == "sim"
    if outcome == "key_refused" and simulated:
        return (
            "Restart the simulator and the publisher together: the key in the run dir belongs to another one."
        )
    if outcome == "key_refused" and "INCORRECT_API_KEY_SIGNATURE" in message:
        return f"Let {key_path} name the private key that was made together with {key_id}."
    if outcome == "key_refused":
        other = "demo" if place.env == "prod" else "prod"
        return (
            f"Check {key_id} and {key_path}, and that the key was made at Kalshi's {place.env}: "
            f"a key of {other} is unknown there (then set {variable_of('env')}={other})."
        )
    if outcome in ("unresolved", "unreachable", "timeout"):
        if simulated:
            return f"Start the simulator ({to_type('run')} does), or correct {api_url}."
        what = "network, DNS" if outcome == "unresolved" else "network, firewall"
        return f"Check this machine's {what} and VPN, and {api_url} if it is set; it is tried again."
    return _REMEDIES.get(outcome, "Nothing needs to be done now: it is tried again.").format(
        api_url=api_url, key_id=key_id, key_path=key_path
    )


_REMEDIES: Final = {
    "clock_off": "Set this machine's clock, for instance with: sudo timedatectl set-ntp true",
    "key_unusable": "Put a usable key in its place; it is read again when the file changes.",
    "blocked": "Try another network, without VPN or proxy: Kalshi is not open to every address and country.",
    "moved": "Set {api_url} to the address it has moved to if you trust it, or unset it for Kalshi's own.",
    "tls": "Find out who answers there: a proxy or portal in between, or a wrong clock? Check {api_url}.",
    "bad_reply": "Open the address in a browser: a network's sign-in page does that; then check {api_url}.",
    "not_found": "Check {api_url}: it ends in /trade-api/v2 at Kalshi. Unset it for Kalshi's own.",
    "server_error": "Wait: it is tried again. Kalshi pauses on Thursdays from 3 to 5 a.m. New York time.",
    "rate_limited": "Wait, or stop other programs that use this key or this address: it is tried again.",
    "refused": "Look up the status at Kalshi; if the key may not read, make one with the scope read.",
}


def host_of(url: str) -> str:
    """Return host and port of a URL, and nothing else that may be in it."""
    try:
        return printable(_netloc(urlsplit(url))) or "the address that is set"
    except ValueError:
        return "the address that is set"


def moved_to(location: str) -> str:
    """Return where a redirect points, without user, password, query or fragment."""
    try:
        parts = urlsplit(location)
        host = _netloc(parts)
    except ValueError:
        return "a place that cannot be read"
    if not host:
        return printable(parts.path) or "nowhere"
    return printable(f"{parts.scheme or 'https'}://{host}{parts.path}")


def _netloc(parts: SplitResult) -> str:
    """Return host and port of a URL; raises ValueError if the port is not one."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if host and parts.port else host


def said(body: bytes) -> str:
    """Return the exchange's own words for an error, in whichever of its shapes they come."""
    if not body.strip():
        return ""
    if _HTML.match(body):
        title = _TITLE.search(body[:20_000])
        text = printable(unescape(title[1].decode("utf-8", "replace"))) if title else ""
        return f'with a web page, "{text}"' if text else "with a web page"
    try:
        told = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return f"(not JSON: {redact(body[:1_000].decode('utf-8', 'backslashreplace'))[:60]!r})"
    for name in ("error", "msg"):
        if isinstance(told, dict) and name in told:
            told = told[name]
    if isinstance(told, dict):
        told = " ".join(str(told[name]) for name in ("code", "message", "details") if told.get(name))
    return printable(str(told))


def is_page(body: bytes) -> bool:
    """Tell whether this is a web page."""
    return _HTML.match(body) is not None


def printable(text: str) -> str:
    """Return at most SAID_MAX characters of a text, on one line and without secrets."""
    shown = "".join(character if character.isprintable() else " " for character in text[: 4 * SAID_MAX])
    return redact(" ".join(shown.split()))[:SAID_MAX]


def stated_s(headers: Mapping[str, str]) -> int | None:
    """Return the exchange's time by an answer's headers, None if they state none.

    It is that of Date, in whole seconds, plus the Age of an answer from a cache.
    """
    try:
        date = parsedate_to_datetime(headers.get("Date", ""))
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        age = headers.get("Age", "")
        return int(date.timestamp()) + (int(age[:6]) if age.isascii() and age.isdigit() else 0)
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None


def clock_offset_s(headers: Mapping[str, str], sent_ms: int, received_ms: int) -> float | None:
    """Return how far our clock is certainly ahead of the exchange's (below 0: behind).

    The time the answer took counts for neither side. None if it states no time.
    """
    theirs_s = stated_s(headers)
    if theirs_s is None:
        return None
    if sent_ms / 1000 > theirs_s + 1:
        return sent_ms / 1000 - theirs_s - 1
    return min(0.0, received_ms / 1000 - theirs_s)


DOUBT_MS: Final = 2_000
"""An answer that differs by more from what is known of the exchange's clock may be wrong."""


class Ahead:
    """How far our clock is ahead of the exchange's, as far as the Dates of its answers prove. Any thread.

    Each proves it to a second; many of them, to about the time that an answer takes. One that is far from
    what the others prove counts once the next one agrees: a proxy's or a single machine's Date may be wrong.
    """

    def __init__(self) -> None:
        self.ms = 0
        self._doubted_ms: int | None = None

    def note(self, headers: Mapping[str, str], sent_ms: int, received_ms: int) -> None:
        """Take an answer. What a cache has had says nothing: its Age is not exact."""
        theirs_s = None if "Age" in headers else stated_s(headers)
        if theirs_s is not None:
            least_ms, most_ms = sent_ms - 1000 * (theirs_s + 1), received_ms - 1000 * theirs_s
            doubted_ms, self._doubted_ms = self._doubted_ms, None
            if not least_ms - DOUBT_MS <= self.ms <= most_ms + DOUBT_MS and (
                doubted_ms is None or abs(least_ms - doubted_ms) > DOUBT_MS
            ):
                self._doubted_ms = least_ms
                return
            self.ms = max(0, min(max(self.ms, least_ms), most_ms))


def clock_words(offset_s: float) -> str:
    """Say by how much this machine's clock is wrong."""
    return f"this machine's clock differs by {offset_s:+.0f} s: set it"


def connection_outcome(error: BaseException) -> str:
    """Return a word for why there is no connection: the library wraps the cause four times."""
    found: set[type[BaseException]] = set()
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        cause = waiting.pop()
        if not isinstance(cause, BaseException) or type(cause) in found:
            continue
        found.add(type(cause))
        waiting += [getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args]
    if any(issubclass(kind, ssl.SSLError) for kind in found):
        return "tls"
    if any(issubclass(kind, socket.gaierror) for kind in found):
        return "unresolved"
    if any(issubclass(kind, TimeoutError) for kind in found):
        return "timeout"
    return "unreachable"
