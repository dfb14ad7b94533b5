"""The terms on which orders can be sent: whose account, at which exchange, what the key may do, which limits.

Asked before anything is sent, and again now and then.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import structlog

from bus.clock import Clock, Rng
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from markets.errors import BadRecord, StartupError
from markets.json.decoding import JSON_FAULTS
from markets.json.pages import Tier, decode_tier, decode_write_tier
from publisher.kalshi import faults
from publisher.kalshi.budget import BASIC, PUBLISHER_SHARE, Budget
from publisher.kalshi.client import Client, ExchangeError, KeyRefused, NotFound, Stopped
from publisher.kalshi.faults import Place
from publisher.kalshi.hosts import endpoints
from publisher.kalshi.signing import KeySource

log = structlog.get_logger()

WATCHDOG_SHARE: Final = 0.03
"""The watchdog's share of the account's reads."""

READ_SHARE: Final = 1 - PUBLISHER_SHARE - WATCHDOG_SHARE
"""The gateway's share."""

AGAIN_S: Final = 1.0
REFUSED_S: Final = 10.0
"""How long to wait before a refused key is shown again: an exchange may shut out who insists."""

EVERY_S: Final = 600.0
LOOK_S: Final = 2.0
"""How often to check whether a simulated exchange is still the same one."""

BASIC_WRITE: Final = Tier(100, 100)
"""The limits of a new account, also assumed if the exchange does not say."""


class Terms(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        exchange: names the exchange: "kalshi-prod", "kalshi-demo", a host, or the id of a simulated one.
        account: a short name derived from the key's id without revealing it.
        folder: where its log lies.
        barred: why this key can place no order, None if nothing is known against it.
        warning: which of its orders will be refused, in a sentence; None for none.
        subaccount: the one it trades for, None if that is not known.
    """

    exchange: str
    account: str
    folder: Path
    read: Tier = BASIC
    write: Tier = BASIC_WRITE
    barred: str | None = None
    warning: str | None = None
    subaccount: int | None = None


class Rights(NamedTuple):
    """What the key may do: the members of `Terms` of the same name."""

    barred: str | None = None
    warning: str | None = None
    subaccount: int | None = None


class _Stats(msgspec.Struct):
    exchange_id: str


class _Key(msgspec.Struct):
    api_key_id: str = ""
    scopes: list[str] | None = None
    subaccount: int | None = None


class _Keys(msgspec.Struct):
    api_keys: list[_Key] = []
    api_key_region_expiration_ts: float | None = None


_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_stats: Final = msgspec.json.Decoder(_Stats)
_keys: Final = msgspec.json.Decoder(_Keys)


class TermsSource:
    """Asks for the terms. One thread.

    Attributes:
        problem: why there are none yet, in a sentence with its remedy; None if nothing is wrong.
    """

    def __init__(self, settings: Settings, keys: KeySource, clock: Clock, rng: Rng, stop: Stop) -> None:
        self.problem: str | None = None
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._stop = stop
        self._said = Rights()
        base = endpoints(settings).rest
        self._place = Place.of(settings.env, base)
        # A handful of requests in ten minutes: the full bucket, so that the first need not wait.
        budget = Budget(BASIC, rng, clock.monotonic_ns() / 1e9, share=1.0)
        self._client = Client(base, keys, budget, clock, rng, stop)
        root = base.removesuffix(urlsplit(base).path)
        self._beside = Client(root, KeySource(None, None, None), budget, clock, rng, stop)

    def wait(self) -> Terms | None:
        """Return the terms as soon as the exchange states them; None if the stop came first."""
        while not self._stop.is_set():
            pause_s = AGAIN_S
            try:
                if self._keys.wait(self._stop):
                    found = self.ask()
                    self.problem = None
                    return found
            except Stopped:
                return None
            except (ExchangeError, StartupError) as error:
                self._say(error)
                pause_s = REFUSED_S if isinstance(error, KeyRefused) else AGAIN_S
            self._stop.wait(pause_s)
        return None

    def follow(self, known: Terms, changed: Callable[[Terms], None]) -> None:
        """Check again now and then until the stop, and report what has changed."""
        due_ns = self._clock.monotonic_ns() + int(EVERY_S * 1e9)
        simulated = self._settings.env == "sim"
        while not self._stop.wait(LOOK_S if simulated else EVERY_S):
            try:
                whole = self._clock.monotonic_ns() >= due_ns
                if not whole and (not simulated or self._exchange() == known.exchange):
                    continue
                found = self.ask()
            except Stopped:
                return
            except (ExchangeError, StartupError) as error:
                log.info("terms.unknown", error=str(error))
                continue
            due_ns = self._clock.monotonic_ns() + int(EVERY_S * 1e9)
            if found != known:
                known = found
                changed(found)

    def ask(self) -> Terms:
        """Return the terms as they are now.

        Raises:
            ExchangeError: the exchange does not say, or refuses the key.
            StartupError: the key cannot be used.
            Stopped: the process is to stop.
        """
        key = self._keys.current()
        if key is None:
            raise StartupError("no key is configured: orders cannot be sent without one")
        exchange = self._exchange()
        (read, write), _ = self._client.get("/account/limits", read=_tiers, attempts=2)
        account = account_name(key.key_id)
        folder = self.folder_of(exchange, account)
        return Terms(exchange, account, folder, read, write, *self._rights(key.key_id))

    def folder_of(self, exchange: str, account: str) -> Path:
        """Return where the log of an account lies; a new simulated exchange has a new one."""
        env = self._settings.env
        suffix = f"-{exchange[:8]}" if env == "sim" else ""
        return self._settings.data_dir / f"orders-{env}-{account}{suffix}"

    def _exchange(self) -> str:
        """Return the exchange's name."""
        if self._settings.env != "sim":
            host = urlsplit(endpoints(self._settings).rest).hostname or ""
            kalshi = host.endswith((".kalshi.com", ".kalshi.co"))
            return f"kalshi-{self._settings.env}" if kalshi else host
        try:
            return self._beside.get("/sim/stats", read=exchange_id, attempts=1)[0]
        except NotFound:
            return "sim"

    def _rights(self, key_id: str) -> Rights:
        """Return what the key may do, as the exchange has said last; nothing before it has."""
        try:
            found, _ = self._client.get("/api_keys", read=keys_of, attempts=1)
        except KeyRefused:
            raise
        except ExchangeError as error:
            log.info("key.rights_unknown", error=str(error))
        else:
            self._said = rights(found, key_id, self._clock.now_ms())
        return self._said

    def words(self, error: ExchangeError | StartupError) -> str:
        """Return an error's meaning and its remedy."""
        if not isinstance(error, ExchangeError):
            return str(error)
        said = f"{faults.lead(error.outcome, self._place)} ({error})"
        return f"{said}. {faults.remedy(error.outcome, str(error), self._place)}"

    def _say(self, error: ExchangeError | StartupError) -> None:
        said = self.words(error)
        if said != self.problem:
            log.warning("orders.waiting", error=said)
        self.problem = said


def account_name(key_id: str) -> str:
    """Return the name of a key's account: always the same, and giving no hint of the key."""
    return hashlib.blake2s(key_id.encode(), digest_size=5, person=b"account").hexdigest()


def rights(keys: _Keys, key_id: str, now_ms: int) -> Rights:
    """Return what a list of keys says of one."""
    key = next((key for key in keys.api_keys if key.api_key_id == key_id), None)
    scopes = None if key is None else key.scopes
    barred = None
    if scopes is not None and not {"write", "write::trade"}.intersection(scopes):
        said = faults.printable(", ".join(scopes)) or "none"
        barred = f"the API key may not trade (scopes: {said}): make one with the scope write at Kalshi"
    warning = None
    until_s = keys.api_key_region_expiration_ts
    if until_s is not None and until_s * 1000 <= now_ms:
        warning = (
            "the API key's attestation of where you are has run out: orders in Sports, Elections and "
            "Entertainment are refused until you renew it at Kalshi"
        )
    return Rights(barred, warning, None if key is None else key.subaccount or 0)


def _tiers(body: bytes) -> tuple[Tier, Tier]:
    read = decode_tier(body)
    try:
        return read, decode_write_tier(body)
    except BadRecord as error:
        log.warning("limits.write_unknown", error=str(error))
        return read, BASIC_WRITE


def exchange_id(body: bytes) -> str:
    """Return a simulated exchange's id, of which folders are named.

    Raises:
        BadRecord: it is not stated, or is none.
    """
    try:
        found = _stats.decode(body).exchange_id
    except JSON_FAULTS as error:
        raise BadRecord("exchange_id", body[:50], str(error)) from None
    if not _ID.fullmatch(found):
        raise BadRecord("exchange_id", found, "letters and digits")
    return found


def keys_of(body: bytes) -> _Keys:
    """Return what the exchange lists of the account's keys.

    Raises:
        BadRecord: it cannot be read; the text has nothing of it.
    """
    try:
        return _keys.decode(body)
    except JSON_FAULTS as error:
        raise BadRecord("api_keys", "", str(error)) from None
