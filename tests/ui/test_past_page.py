"""The page of past moments: the time machine's answers, with banner and slider."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bus.protocol.messages import encode_map, unpack_map
from snapshot_server.past.machine import Machine
from snapshot_server.past.run import PastAnswers
from tests.bus.tape.remembered import Remembered
from tests.ui.joined import joined, shown
from ui.app import make_app
from ui.desk import Desk


def client_of(folder: Path) -> Any:
    service, replica = joined()
    shown(service, replica, Desk())
    answers = PastAnswers(Machine(folder, 30_000))

    def then(question: Mapping[str, Any]) -> dict[str, Any]:
        return unpack_map(answers.answer(encode_map({"id": 1, **question}), 0)[0])

    return make_app(service, print, then=then).test_client()


def test_markets_are_shown_as_they_were_below_a_banner_with_the_time(short_dir: Path) -> None:
    recorded = Remembered(short_dir / "day")
    recorded.segment(30)
    recorded.folder.close()
    client = client_of(short_dir / "day")
    _, epoch, seq = recorded.heard[len(recorded.heard) // 2]

    for query in ("", "&ticker=A-1-X", "&event=A-1"):
        page = client.get(f"/past?at={epoch}:{seq}{query}")
        assert page.status_code == 200, page.text
        assert "As it was at" in page.text
        assert f"epoch {epoch}, seq {seq:,}" in page.text
        assert 'type="range"' in page.text
        assert f"/past?ticker=A-1-X&amp;at={epoch}:{seq}" in page.text.replace("%3A", ":")
    assert "data-still" in page.text, "it is not kept current"
    assert "A-1-X" in client.get(f"/past?at={epoch}:{seq}&ticker=a-1-x").text, "in any case"
    latest = client.get("/past")
    assert latest.status_code == 200
    assert (
        "There was no such market or event at that time."
        in client.get(f"/past?ticker=NO-1&at={epoch}:{seq}").text
    )
    for at, status in (("noon", 400), ("1", 404), (f"{epoch}:999999", 404)):
        refused = client.get(f"/past?at={at}")
        assert (refused.status_code, "at:" in refused.text) == (status, True), at
    assert client.get("/past?colour=red").status_code == 400
    assert "zone:" in client.get("/past?zone=Mars/Olympus").text


@pytest.mark.parametrize(
    ("at", "zone", "asked"),
    [
        ("2026-11-29T12:00:00", "America/New_York", "2026-11-29T17:00:00+00:00"),
        ("2026-11-29 12:00", "America/New_York", "2026-11-29T17:00:00+00:00"),
        ("2026-11-29T12:00:00Z", "America/New_York", "2026-11-29T12:00:00Z"),
        ("2026-11-29T12:00:00", "", "2026-11-29T12:00:00"),
        ("1789999000000:4711", "America/New_York", "1789999000000:4711"),
        ("1789999000000", "America/New_York", "1789999000000"),
        ("20261129", "America/New_York", "20261129"),  # ms, not a day
        ("noon", "America/New_York", "noon"),
        ("0001-01-01T00:00:00", "Asia/Kathmandu", "0001-01-01T00:00:00"),
    ],
)
def test_a_time_is_read_in_the_zone_of_the_form(at: str, zone: str, asked: str) -> None:
    service, replica = joined()
    shown(service, replica, Desk())
    questions: list[Mapping[str, Any]] = []

    def then(question: Mapping[str, Any]) -> dict[str, Any]:
        questions.append(question)
        return {"ok": question["op"] == "span", "begin_ms": 0, "end_ms": 1}

    make_app(service, print, then=then).test_client().get(f"/past?at={at}&zone={zone}")
    assert questions[-1]["at"] == asked


@pytest.mark.parametrize("path", ["/", "/past"])
def test_if_nothing_is_recorded_the_page_says_so_and_nothing_else_changes(path: str) -> None:
    service, replica = joined()
    client = shown(service, replica, Desk())
    page = client.get(path)
    assert page.status_code == (200 if path == "/" else 404)
    assert 'href="/past"' in page.text
    if path == "/past":
        assert "Nothing is being recorded" in page.text
