"""Processes on the system page."""

import os
from pathlib import Path

from bus.process.locks import hold_role
from bus.process.supervised import Supervised
from ui.pages.system import process_rows


def test_a_process_started_by_hand_is_found_by_its_role_lock(tmp_path: Path) -> None:
    with hold_role(tmp_path, "trader"):
        rows = {row.name: row for row in process_rows(tmp_path, None)}
    assert (rows["trader"].state, rows["trader"].pid) == ("by hand", os.getpid())
    assert (rows["trader"].descriptors or 0) > 2
    assert (rows["trader"].memory_bytes or 0) > 1_000_000
    assert rows["trader"].uptime_seconds is not None
    assert (rows["ui"].state, rows["ui"].pid, rows["ui"].sign) == ("not running", None, "idle")


def test_supervisord_s_states_are_shown_with_their_trouble(tmp_path: Path) -> None:
    supervised = {
        "publisher": Supervised("FATAL", None, None, 2, 9, "is fatal: no key"),
        "simulator": Supervised("STOPPED", None, None, 0, 0, None),
        "ui": Supervised("RUNNING", os.getpid(), 5.0, 1, 0, None),
    }
    rows = {row.name: row for row in process_rows(tmp_path, supervised)}
    assert [(row.state, row.sign) for row in rows.values()] == [
        ("fatal", "bad"), ("stopped", "idle"), ("running", "good"),
    ]  # fmt: skip
    assert (rows["publisher"].trouble, rows["publisher"].restarts) == ("is fatal: no key", 2)
    assert (rows["ui"].uptime_seconds, rows["ui"].restarts) == (5.0, 1)
