"""What both dashboard and snapshot server read in the headers of a request."""

import re
from collections.abc import Iterable
from typing import Final

_OURS: Final = re.compile(
    r"(localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE
)
_BEFORE_HOSTS: Final = ("1", "1.0")
"""HTTP/1.0, which knows no Host, as servers write it."""


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their lower-case names. The values of a repeated one are joined by commas.

    So it reads as a list where a list is meant (RFC 9110, 5.3), and never as just one of its values.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def names_this_machine(host: str, version: str) -> bool:
    """Tell whether a request with this Host header may be answered; "" means that there is none.

    A page of another site whose name was rebound to this machine sends that name. A missing Host is accepted
    in HTTP/1.0 only, which no browser speaks.
    """
    return bool(_OURS.fullmatch(host)) or (not host and version in _BEFORE_HOSTS)
