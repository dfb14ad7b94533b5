"""The kill switch holds whatever the disk does, and says what it lost."""

import json
from pathlib import Path

import pytest

from bus.trading.killswitch import Killed, KillOutcome, KillSwitch
from tests.bus.trading.disk import full_disk


@pytest.fixture
def switch(tmp_path: Path) -> KillSwitch:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return KillSwitch(folder)


def test_it_holds_with_its_reason_until_it_is_cleared(switch: KillSwitch) -> None:
    assert switch.read() is None
    assert switch.set("enough") == KillOutcome(holds=True, trouble=None)

    killed = switch.read()
    assert killed is not None
    assert killed.reason == "enough"
    assert killed.at_ms == int(switch.path.stat().st_mtime * 1000)
    switch.clear()
    switch.clear()
    assert switch.read() is None


@pytest.mark.parametrize("reason", ["st\udcf6p", "\ud83d\ude00\ud83d", "x" * 1_000_000])
def test_any_reason_is_kept_as_far_as_everything_can_carry_it(switch: KillSwitch, reason: str) -> None:
    cut = "only the first 300 characters of the reason count" if len(reason) > 300 else None
    assert switch.set(reason) == KillOutcome(holds=True, trouble=cut)

    shown = {"st\udcf6p": "st\ufffdp", "\ud83d\ude00\ud83d": "😀\ufffd"}.get(reason, "x" * 300)
    for _ in range(2):  # as we write it, then as another program may have written it
        killed = switch.read()
        assert killed is not None
        assert killed.reason == shown
        switch.path.write_text(json.dumps({"reason": reason[:600]}))


def test_a_full_disk_costs_the_reason_but_not_the_kill(switch: KillSwitch) -> None:
    with full_disk():
        outcome = switch.set("enough")

    assert outcome.holds
    assert outcome.trouble is not None
    assert "its reason may be lost" in outcome.trouble
    killed = switch.read()
    assert killed is not None
    assert killed.reason == "the kill file is there"


def test_one_that_cannot_be_set_does_not_hold_and_says_so(switch: KillSwitch) -> None:
    switch.path.parent.chmod(0o755)  # others may enter: nothing of ours is written there

    outcome = switch.set("enough")

    assert not outcome.holds
    assert outcome.trouble is not None
    assert "cannot be set" in outcome.trouble
    assert "chmod 700" in outcome.trouble


def test_what_cannot_be_read_counts_as_killed(switch: KillSwitch) -> None:
    switch.path.mkdir()

    killed = switch.read()

    assert killed == Killed(None, f"{switch.path}: is a directory, expected a file")
    assert switch.set("enough").holds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "the kill file is there"),
        (b"lunch\n", "lunch"),
        (b'{"reason": 7}', "7"),
        (b'{"why": "x"}', '{"why": "x"}'),
        (b"[1]", "[1]"),
        (b"\xff", "\ufffd"),
        (b"[" * 100_000, "[" * 300),
        (json.dumps({"reason": "x" * 301}).encode(), "x" * 300),
    ],
)
def test_whatever_is_in_the_file_is_the_reason(switch: KillSwitch, text: bytes, reason: str) -> None:
    switch.path.write_bytes(text)

    killed = switch.read()

    assert killed is not None
    assert killed.reason == reason
