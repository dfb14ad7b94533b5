"""``kalshi-bus backup FOLDER`` and ``restore FOLDER``: what in the data directory must not be lost.

SQLite copies journals while they are written to, each as of one moment; other files are copied as they stand.
History, which fills again by itself, is left out; recordings are included on request, segment by segment.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.process.echo import shown_path
from bus.process.locks import STACK, holder, private_dir
from bus.process.settings import Settings
from markets.errors import StartupError

LIST: Final = "backup.json"
FORMAT: Final = 1
ROLES: Final = (STACK, "publisher", "snapshot_server", "trader", "orders", "forwarder", "alerts")
_REMADE: Final = frozenset({"history", "recording", "prometheus"})
"""Folders that are not in a backup; the recording is, when asked for."""

_BUSY_S: Final = 30.0
_SQLITE: Final = b"SQLite format 3\0"


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a backup: each file by its path in the data directory, with its SHA-256."""

    format: int
    files: dict[str, str]


def backup(settings: Settings, folder: Path, *, recording: bool = False, replace: bool = False) -> int:
    """Copy what must not be lost into a new folder; return the number of files.

    The folder is made completely or not at all. With `replace` it takes the place of an older backup.

    Raises:
        StartupError: the folder exists, or a file cannot be read, copied or written.
    """
    if not settings.data_dir.is_dir():
        raise StartupError(f"{shown_path(settings.data_dir)}: is no directory: there is nothing to back up")
    draft = folder.with_name(f".{folder.name}.new")
    try:
        if folder.exists() and not (replace and (folder / LIST).is_file()):
            remedy = "--replace replaces it" if (folder / LIST).is_file() else "name a new folder"
            raise StartupError(f"{shown_path(folder)}: is there already: {remedy}")
        shutil.rmtree(draft, ignore_errors=True)
        private_dir(draft)
        files = {}
        for path in _sources(settings, recording=recording):
            target = draft / path.relative_to(settings.data_dir)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _copied(path, target):
                files[str(path.relative_to(settings.data_dir))] = _sha256(target)
        (draft / LIST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1))
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise StartupError(f"{shown_path(folder)}: no backup was made: {error}") from None
    return len(files)


def restore(settings: Settings, folder: Path) -> int:
    """Put a backup in the place of the data directory, which is kept beside it; return the number of files.

    Raises:
        StartupError: something still runs, the folder is not a complete backup, or it cannot be written.
    """
    for role in ROLES:
        if (pid := holder(settings.run_dir, role)) is not None:
            raise StartupError(f"{role} runs, pid {pid}: stop everything first")
    listed = check(folder)
    data_dir = settings.data_dir
    draft = data_dir.with_name(f"{data_dir.name}.restored")
    kept = data_dir.with_name(f"{data_dir.name}.before-restore")
    if kept.exists():
        raise StartupError(f"{shown_path(kept)}: is there from a restore before: move it away first")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        private_dir(draft)
        for name in listed.files:
            target = draft / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _copy(folder / name, target)
        if data_dir.exists():
            data_dir.rename(kept)
        draft.rename(data_dir)
    except OSError as error:
        raise StartupError(f"{shown_path(data_dir)}: not restored: {error.strerror or error}") from None
    return len(listed.files)


def check(folder: Path) -> Listed:
    """Return the contents of a backup, after checking every file.

    Raises:
        StartupError: it is not a backup, or a file is missing or differs.
    """
    try:
        # By the standard library, because names of files need not be UTF-8.
        listed = msgspec.convert(json.loads((folder / LIST).read_bytes()), Listed)
    except (OSError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise StartupError(f"{shown_path(folder)}: no backup: {LIST}: {error}") from None
    if listed.format != FORMAT:
        raise StartupError(f"{shown_path(folder)}: a backup of format {listed.format}, expected {FORMAT}")
    for name, digest in listed.files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise StartupError(f"{shown_path(folder)}: {LIST} names a file elsewhere: {name!r:.100}")
        try:
            found = _sha256(path)
        except OSError as error:
            raise StartupError(f"{shown_path(path)}: {error.strerror}: the backup is not whole") from None
        if found != digest:
            raise StartupError(f"{shown_path(path)}: not what was backed up")
    return listed


def _sources(settings: Settings, *, recording: bool) -> Iterator[Path]:
    left_out = _REMADE - {"recording"} if recording else _REMADE
    waiting = [settings.data_dir]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if path.parent != settings.data_dir or entry.name not in left_out:
                        waiting.append(path)
                elif entry.is_file(follow_symlinks=False) and not _is_beside(entry.name):
                    yield path


def _is_beside(name: str) -> bool:
    """Tell whether a file is part of another (SQLite's, whose copy includes it), or a draft, or a lock."""
    return name.endswith(("-wal", "-shm", "-journal", ".new", ".tmp", ".lock"))


def _copied(source: Path, target: Path) -> bool:
    """Copy a file; return False if it has disappeared meanwhile, as a segment of a recording may."""
    try:
        with source.open("rb") as file:
            is_journal = file.read(len(_SQLITE)) == _SQLITE
        if is_journal:
            _copy_journal(source, target)
        else:
            _copy(source, target)
    except FileNotFoundError:
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as written, source.open("rb") as read:
        shutil.copyfileobj(read, written, 1_048_576)
        written.flush()
        os.fsync(written.fileno())


def _copy_journal(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    uri = f"{source.absolute().as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as read,
        contextlib.closing(sqlite3.connect(target)) as written,
    ):
        read.backup(written)
        problem: Any = written.execute("PRAGMA integrity_check").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(f"{source.name}: {problem}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
