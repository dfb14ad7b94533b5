"""The files on disk, intact and damaged."""

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from alerts.kept import Rules, Told, rules_file, told_file
from alerts.outbox import Kept, Message
from bus.alerting import PriceRule, Quiet
from tests.alerts.world import NOW_MS, TICKER
from tests.bus.trading.disk import full_disk

RULES = Rules((PriceRule(number=3, ticker=TICKER, at_dollars="0.6000"),), Quiet("22:00", "07:00", "UTC"), 9)


def test_rules_are_stored_privately_and_read_again(tmp_path: Path) -> None:
    file = rules_file(tmp_path)
    assert file.read(NOW_MS) == Rules()
    assert file.write(RULES)
    assert rules_file(tmp_path).read(NOW_MS) == RULES
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["rules.json"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[", b"[" * 100_000, b"null", b"\xff\xfe", b'{"rules": 7}', b'{"rulez": []}',
        b'{"rules": [{"kind": "price"}], "last": 1}',
        b'{"rules": [{"kind": "nothing", "number": 1}]}',
        b'{"rules": [{"kind": "fill", "number": 0}]}',
        b'{"rules": [{"kind": "fill", "number": 1}, {"kind": "fill", "number": 1}]}',
        b'{"rules": [{"kind": "limit", "number": 1, "percent": 1e400}]}',
        b'{"quiet": {"begins": "25:00", "ends": "07:00", "zone": "UTC"}}',
        b'{"quiet": {"begins": "22:00", "ends": "07:00", "zone": "../../etc/passwd"}}',
    ],
)  # fmt: skip
def test_an_unreadable_file_is_renamed_and_reported(tmp_path: Path, body: bytes) -> None:
    file = rules_file(tmp_path)
    file.path.parent.mkdir(mode=0o700)
    file.path.write_bytes(body)
    assert file.read(NOW_MS) == Rules()
    assert file.aside is not None
    assert "starting without it" in file.aside
    (aside,) = file.path.parent.iterdir()
    assert aside.read_bytes() == body
    assert file.write(RULES)
    assert rules_file(tmp_path).read(NOW_MS) == RULES


def test_a_file_too_large_to_read_is_not_written_and_the_old_one_stays(tmp_path: Path) -> None:
    file = told_file(tmp_path)
    few = Told(file.read(NOW_MS).memory, Kept(last=7))
    assert file.write(few)
    many = [Message(number, NOW_MS, 1, "", "x" * 1_000_000, urgent=False) for number in range(20)]
    assert not file.write(Told(few.memory, Kept(messages=many)))
    assert file.problem is not None
    assert "bytes" in file.problem
    again = told_file(tmp_path)
    assert again.read(NOW_MS) == few
    assert again.aside is None
    assert file.write(few)
    assert file.problem is None


def test_a_folder_in_place_of_the_file_does_no_harm(tmp_path: Path) -> None:
    file = told_file(tmp_path)
    file.path.mkdir(parents=True)
    assert file.read(NOW_MS) == Told(file.read(NOW_MS).memory, Kept())
    assert file.aside is not None


def test_a_full_disk_is_reported_and_the_old_file_stays(tmp_path: Path) -> None:
    file = rules_file(tmp_path)
    assert file.write(RULES)
    with capture_logs(), full_disk():
        assert not file.write(Rules())
    assert file.problem is not None
    assert "cannot be written" in file.problem
    assert rules_file(tmp_path).read(NOW_MS) == RULES
    assert file.write(Rules())
    assert file.problem is None


def test_files_of_this_version_are_read_for_ever(tmp_path: Path) -> None:
    rules, told = rules_file(tmp_path), told_file(tmp_path)
    rules.path.parent.mkdir(mode=0o700)
    rules.path.write_bytes(
        b'{"rules":[{"kind":"price","number":3,"on":true,"urgent":false,"ends":false,"note":"","ticker":"'
        + TICKER.encode()
        + b'","of":"bid","crosses":"above","at_dollars":"0.6000","back_dollars":"0.0100","series":""}],'
        b'"quiet":{"begins":"22:00","ends":"07:00","zone":"UTC"},"last":9}'
    )
    told.path.write_bytes(
        b'{"memory":{"rules":{"3":{"about":"x","armed":true,"absent_ms":null,"held":{"price":{"text":"t",'
        b'"since_ms":1,"over_ms":null}}}},"journals":{"j":{"fill":4,"settlement":2,"refused":[7]}},'
        b'"restarts":{"ui":1}},"outbox":{"last":1,"messages":[{"number":1,"at_ms":1,"rule":3,"title":"t",'
        b'"text":"x","urgent":false,"quiet":false,"told":1,"ways":{"a":"delivered"},"error":null}],'
        b'"storms":{"3":{"since_ms":1,"count":1,"folded":0,"title":"","text":"","urgent":false}},'
        b'"digest":["d"],"digest_more":0,"ways":{"a":{"failures":0,"next_ms":0,"error":null,"since_ms":1}}}}'
    )
    assert rules.read(NOW_MS) == RULES
    kept = told.read(NOW_MS)
    assert (told.aside, kept.memory.journals["j"].refused, kept.outbox.digest) == (None, [7], ["d"])
    assert (kept.memory.rules[3].held["price"].since_ms, kept.outbox.messages[0].ways) == (
        1, {"a": "delivered"}
    )  # fmt: skip


def test_messages_survive_a_restart(tmp_path: Path) -> None:
    file = told_file(tmp_path)
    told = file.read(NOW_MS)
    told.outbox.messages.append(Message(1, NOW_MS, 1, "t", "x", urgent=False, ways={"a": "waits"}))
    assert file.write(told)
    assert told_file(tmp_path).read(NOW_MS) == told
