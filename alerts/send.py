"""``python -m alerts.send``: sends one message, or one heartbeat, to one URL, and ends.

If it hangs, the process that started it kills it, and nothing else is delayed. The URL comes by standard
input, so that it is in no list of processes; errors go back in our own words, so that no text of a library or
a server, which may contain the URL, ever does. Redirects are not followed.
"""

import logging
import os
import sys
from typing import Any, Final

import msgspec
import requests

from bus.process.child import die_with_parent

from .parcels import (
    CERTIFICATE,
    ELSEWHERE,
    EXCHANGE,
    NO_APPRISE,
    NOT_TAKEN,
    SILENT,
    UNKNOWN_URL,
    UNREACHED,
    Order,
    Outcome,
    is_exchange,
)

CONNECT_S: Final = 5.0
READ_S: Final = 10.0
READ_MOST: Final = 65_536


class _Refused(requests.RequestException):
    """A request that was not made."""


class Watch:
    """Makes every request of this process follow no redirects, avoid the exchange, and record its outcome.

    Attributes:
        said: what went wrong with the last request, None if nothing did.
    """

    def __init__(self) -> None:
        self.said: str | None = None

    def begin(self) -> None:
        """Replace `requests.Session.send`, which Apprise's plugins use, too."""
        send = requests.Session.send

        def watched(
            session: requests.Session, request: requests.PreparedRequest, **kwargs: Any
        ) -> requests.Response:
            if is_exchange(request.url or ""):
                self.said = EXCHANGE
                raise _Refused
            try:
                reply = send(session, request, **{**kwargs, "allow_redirects": False})
            except requests.RequestException as error:
                self.said = words_of(error)
                raise
            if 300 <= reply.status_code < 400:
                self.said = ELSEWHERE
                raise requests.TooManyRedirects
            self.said = None if reply.ok else f"it answered {reply.status_code}"
            return reply

        requests.Session.send = watched  # type: ignore[assignment, method-assign]


def words_of(error: requests.RequestException) -> str:
    """Return the meaning of an error in our own words."""
    if isinstance(error, requests.Timeout):
        return SILENT
    if isinstance(error, requests.exceptions.SSLError):
        return CERTIFICATE
    if isinstance(error, requests.ConnectionError):
        return UNREACHED
    return ELSEWHERE if isinstance(error, requests.TooManyRedirects) else NOT_TAKEN


def beat(url: str, watch: Watch) -> str | None:
    """Request a URL; return why that failed, None if it did not."""
    try:
        with requests.get(url, timeout=(CONNECT_S, READ_S), stream=True) as reply:
            reply.raw.read(READ_MOST)
            return watch.said
    except Exception as error:  # noqa: BLE001 - urllib3 has its own errors; all contain the URL
        return watch.said or (words_of(error) if isinstance(error, requests.RequestException) else UNREACHED)


def tell(url: str, title: str, body: str, watch: Watch) -> str | None:
    """Send a message by Apprise; return why that failed, None if it did not."""
    try:
        import apprise
    except ImportError:
        return NO_APPRISE
    try:
        asset = apprise.AppriseAsset(app_id="kalshi-bus", app_desc="kalshi-bus", app_url="", async_mode=False)
        told = apprise.Apprise(asset=asset)
        if not told.add(url):
            return UNKNOWN_URL
        done = told.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
    except Exception:  # noqa: BLE001 - a plugin's own error; its text may contain the URL
        return watch.said or NOT_TAKEN
    return None if done else watch.said or NOT_TAKEN


def main() -> int:
    """Read an order, carry it out, write its outcome."""
    die_with_parent(os.getppid())
    logging.disable(logging.CRITICAL)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    watch = Watch()
    watch.begin()
    error = beat(order.url, watch) if order.do == "beat" else tell(order.url, order.title, order.body, watch)
    sys.stdout.buffer.write(msgspec.json.encode(Outcome(error)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
