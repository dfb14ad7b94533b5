"""What a trader on an exchange needs first: whose account the order gateway has, and the account's journal.

A journal belongs to one exchange and one account. A new simulated exchange counts as another one: its account
begins a new journal, and the old one is kept beside it under a name that contains its exchange.
"""

import contextlib
import re
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog

from bus.clock import Clock, Rng
from bus.process.lifecycle import Stop
from bus.process.locks import hold_role, private_dir
from bus.protocol.answers import Refusal
from bus.trading.gateway import AccountAnswer, AccountAsk, GatewayStatus
from bus.trading.shapes import told
from markets.errors import DecodeError, StartupError
from trader.journal.schema import Opening, journal_path, read_only

log = structlog.get_logger()

AGAIN_S: Final = 0.5
PATIENCE: Final = 20
"""A question is repeated after this many questions whether the gateway is there."""

ALIVE: Final = {"op": "gateway"}
SAY_EVERY: Final = 20
"""After this many unanswered questions, the log says what is being waited for."""

LOOK_BACK_MS: Final = 3_600_000
"""How far back cash movements are listed; those already in the opening are recognised by id."""

T = TypeVar("T")


class GatewayPort(Protocol):
    """The part of bus.trading.link.GatewayLink that the trader needs."""

    def ask(self, id_: int, question: Mapping[str, Any]) -> None: ...

    def take(self) -> list[tuple[int, dict[str, Any]]]: ...

    def take_hint(self) -> bool: ...


class Books(msgspec.Struct, frozen=True):
    """The path and owner of an exchange account's journal, and what a new one begins with."""

    path: Path
    exchange: str
    account: str
    opening: Opening


def open_books(
    port: GatewayPort,
    data_dir: Path,
    mode: str,
    env: str,
    clock: Clock,
    rng: Rng,
    stop: Stop,
    again_s: float = AGAIN_S,
) -> Books | None:
    """Wait until the order gateway has told what is needed to begin; None if `stop` was set before.

    Raises:
        StartupError: the existing journal belongs to another exchange, and this one is not simulated.
    """
    status = _wait_for(port, {"op": "gateway"}, GatewayStatus, _knows_account, stop, again_s)
    if status is None:
        return None
    path = journal_path(data_dir, mode, env, _plain(status.account))
    if path.exists():
        meta = _meta_of(path)
        began_on = meta.get("exchange", "")
        if began_on == status.exchange:
            known = Opening(journal_id=meta["id"], cash_e6=0)
            return Books(path, status.exchange, status.account, known)
        if env != "sim":
            raise StartupError(
                f"{path}: belongs to exchange {began_on!r}, the order gateway is on {status.exchange!r}:"
                " use another data directory"
            )
        _set_aside(path, began_on)
    journal_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    ask = AccountAsk(journal=journal_id, since_ms=max(0, clock.now_ms() - LOOK_BACK_MS))
    listed = _wait_for(port, msgspec.to_builtins(ask), AccountAnswer, _is_quiet, stop, again_s, PATIENCE)
    if listed is None:
        return None
    opening = Opening(
        journal_id=journal_id,
        cash_e6=sum(shard.cash_e6 for shard in listed.shards),
        heard=listed.last_event,
        positions=listed.positions,
        movements=tuple(movement.id for movement in listed.movements),
    )
    log.info(
        "journal.begins",
        path=str(path),
        exchange=status.exchange,
        account=status.account,
        cash_e6=opening.cash_e6,
        positions=len(opening.positions),
    )
    return Books(path, status.exchange, status.account, opening)


def newest_journal(data_dir: Path, mode: str, env: str) -> Path:
    """Return the journal that a command concerns when no gateway says whose account it is."""
    if mode == "paper":
        return journal_path(data_dir, mode, env, "paper")
    # Journals that were set aside have the exchange's name after a dot.
    found = [path for path in data_dir.glob(f"trader-{mode}-{env}-*.sqlite") if "." not in path.stem]
    return max(
        found, key=lambda path: path.stat().st_mtime, default=journal_path(data_dir, mode, env, "none")
    )


def _knows_account(status: GatewayStatus) -> bool:
    return bool(status.account and status.exchange)


def _is_quiet(listed: AccountAnswer) -> bool:
    return not listed.in_flight and not listed.missing


def _wait_for(
    port: GatewayPort,
    question: Mapping[str, Any],
    type_: type[T],
    enough: Callable[[T], bool],
    stop: Stop,
    again_s: float,
    patience: int = 1,
) -> T | None:
    asked, wait = 0, 0
    said = "nothing yet"
    while not stop.is_set():
        # Asking the exchange takes time, and meanwhile a socket without any answer would be thrown away.
        asked += 1
        port.ask(asked if not wait else -asked, question if not wait else ALIVE)
        wait = (wait + 1) % patience
        stop.wait(again_s)
        for id_, answer in port.take():
            if id_ < 0:
                continue
            try:
                found = told(answer, type_)
            except (Refusal, DecodeError) as error:
                said, wait = str(error), 0
                continue
            if enough(found):
                return found
            trouble = found.error if isinstance(found, GatewayStatus) else None
            said, wait = (trouble or f"not enough yet: {found}")[:300], 0
        if asked % SAY_EVERY == 1:
            log.warning("gateway.waited_for", op=question["op"], answer=said)
    return None


def _meta_of(path: Path) -> dict[str, str]:
    try:
        with contextlib.closing(read_only(path)) as db:
            return dict(db.execute("SELECT key, value FROM meta"))
    except sqlite3.Error as error:
        raise StartupError(f"{path}: cannot be read: {error}: restore a copy of it") from error


def _set_aside(path: Path, exchange: str) -> None:
    """Keep a journal under another name; first the contents of its log are moved into the file."""
    kept = path.with_name(f"{path.stem}.{_plain(exchange)}.sqlite")
    private_dir(path.parent)
    try:
        with hold_role(path.parent, path.name):
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                db.execute("PRAGMA journal_mode=DELETE")
            path.rename(kept)
    except (sqlite3.Error, OSError) as error:
        raise StartupError(f"{path}: cannot be set aside for a new exchange: {error}") from error
    log.warning("journal.begins_anew", because="another exchange", kept=str(kept))


def _plain(name: str) -> str:
    """Return a name without characters that a file name must not have."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:80] or "none"
