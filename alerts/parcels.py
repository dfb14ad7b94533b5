"""What passes between this process and a sender, and the words for what went wrong: none has a URL in it."""

import re
from typing import Final, Literal

import msgspec

NO_APPRISE: Final = "Apprise is not installed: pip install 'kalshi-bus[alerts]'"
UNKNOWN_URL: Final = "no URL that Apprise can use"
NOT_TAKEN: Final = "it was not taken"
ELSEWHERE: Final = "it sends us to another place, which is not followed"
SILENT: Final = "it does not answer in time"
UNREACHED: Final = "it cannot be reached, or ends the connection"
CERTIFICATE: Final = "its certificate is not accepted"
EXCHANGE: Final = "it leads to the exchange, which is not spoken to"

_EXCHANGE: Final = re.compile(r"(?:^|[./@])kalshi\.com?\.?(?:$|[:/?#])", re.ASCII | re.IGNORECASE)
"""The exchange's own domains: only publisher and order gateway speak to it."""


class Order(msgspec.Struct, frozen=True):
    """What is to be sent: "tell" title and body, or "beat"."""

    do: Literal["tell", "beat"]
    url: str
    title: str = ""
    body: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What has become of it: None, or why it was not delivered, in words of ours."""

    error: str | None


def is_exchange(url: str) -> bool:
    """Tell whether a URL leads to the exchange's own domains."""
    return _EXCHANGE.search(url) is not None
