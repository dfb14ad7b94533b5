"""What passes between this process and a sender, and the texts for errors, none of which contains a URL."""

import re
from typing import Final, Literal

import msgspec

from bus.process.programs import to_install

NO_APPRISE: Final = f"Apprise is not installed: {to_install('alerts')}"
UNKNOWN_URL: Final = "Apprise cannot use this URL"
NOT_TAKEN: Final = "the message was not accepted"
ELSEWHERE: Final = "it redirects elsewhere, which is not followed"
SILENT: Final = "it did not answer in time"
UNREACHED: Final = "it cannot be reached, or closed the connection"
CERTIFICATE: Final = "its certificate was not accepted"
EXCHANGE: Final = "it leads to the exchange, which alerts must not contact"

_EXCHANGE: Final = re.compile(r"(?:^|[./@])kalshi\.com?\.?(?:$|[:/?#])", re.ASCII | re.IGNORECASE)
"""The exchange's own domains, which only publisher and order gateway contact."""


class Order(msgspec.Struct, frozen=True):
    """What to send: "tell" for title and body, or "beat"."""

    do: Literal["tell", "beat"]
    url: str
    title: str = ""
    body: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome: None, or why it was not delivered, in our own words."""

    error: str | None


def is_exchange(url: str) -> bool:
    """Return whether a URL leads to the exchange's own domains."""
    return _EXCHANGE.search(url) is not None
