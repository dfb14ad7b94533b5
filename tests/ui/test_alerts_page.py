"""Alerts on the pages, with real processes: rules edited; alerts counted, notified and listed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.alerts.world import Server, a_server
from tests.chromium import clipped, launched, overflow, serious, watched
from tests.support import Runner, eventually
from tests.ui.stage import MATCH, NASTY, Stage, quote

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TICKER = f"{MATCH}-VAN"
SECRET = "s3cr3tT0ken"
OURS = {"X-Kalshi-Bus": "command"}
LONG_MS = 30_000


class Desk:
    """The dashboard and the alerts, over HTTP."""

    def __init__(self, runner: Runner, stage: Stage, server: Server) -> None:
        self.runner = runner
        self.stage = stage
        self.server = server
        self.url = f"http://127.0.0.1:{runner.ui_port}"
        urls = runner.folder / "urls"
        urls.touch(mode=0o600)
        urls.write_text(
            f"mine json://127.0.0.1:{server.port}/{SECRET}\nbad json://127.0.0.1:1/{SECRET}\n{SECRET}\n"
        )
        runner.env |= {"KALSHI_BUS_ALERTS": "yes", "KALSHI_BUS_ALERTS_URLS": str(urls)}
        stage.open()
        stage.start_feed()
        stage.start_query()
        self.alerts = runner.start("alerts")
        runner.start("ui")
        eventually(lambda: self.look().get("answers"), 30, "the dashboard has heard of the alerts")
        eventually(self.knows, 30, "the dashboard has the catalogue")

    def get(self, path: str) -> requests.Response | None:
        try:
            return requests.get(self.url + path, timeout=5)
        except requests.RequestException:
            return None

    def look(self, query: str = "") -> dict[str, Any]:
        answer = self.get(f"/api/alerts{query}")
        found: dict[str, Any] = {} if answer is None else answer.json()
        return found

    def knows(self) -> bool:
        answer = self.get(f"/m/{TICKER}")
        return answer is not None and answer.status_code == 200

    def do(self, op: str, body: Any, **headers: str) -> requests.Response:
        return requests.post(f"{self.url}/api/alerts/{op}", json=body, headers=OURS | headers, timeout=10)

    def bid(self, bid_e4: int) -> None:
        self.stage.commit(quote(TICKER, (bid_e4, 100), (bid_e4 + 200, 100), self.stage.clock.now_ms()))


@pytest.fixture
def desk(runner: Runner, stage: Stage) -> Iterator[Desk]:
    with a_server() as server:
        yield Desk(runner, stage, server)


def test_commands_are_checked_like_all_others_and_no_url_is_revealed(desk: Desk) -> None:
    rule = {"kind": "price", "ticker": TICKER.lower(), "at_dollars": "0.6000"}
    assert desk.do("set_rule", {"rule": rule}, Origin="http://evil.example").status_code == 403
    assert desk.do("set_rule", {"rule": rule}, **{"X-Kalshi-Bus": ""}).status_code == 403
    plain = requests.post(f"{desk.url}/api/alerts/test", data="{}", headers=OURS, timeout=10)
    assert plain.status_code == 415
    assert requests.get(f"{desk.url}/api/alerts/set_rule", timeout=10).status_code == 405
    for body, names in (
        ({"rule": {"kind": "x"}}, "kind"),
        ({"rule": {**rule, "ticker": "KXNONE"}}, "ticker"),
        ({"rule": {**rule, "at_dollars": "7"}}, "at_dollars"),
        ({"surprise": 1}, "surprise"),
    ):
        refused = desk.do("set_rule", body)
        assert (refused.status_code, refused.json()["error"]["parameter"]) == (400, names)
    assert desk.do("set_quiet", {"quiet": {"begins": "8", "ends": "9", "zone": "UTC"}}).status_code == 400
    assert desk.do("remove_rule", {"number": 5}).status_code == 409
    assert desk.do("set_rule", {"rule": rule}).json() == {"number": 1}
    (row,) = desk.look()["rules"]
    assert (row["rule"]["ticker"], row["rule"]["series"]) == (TICKER, "KXMLSGAME"), "any ticker in any case"
    assert desk.look("?after=0") == {
        "on": True, "answers": True, "last": 0, "quiet_now": False, "messages": []
    }  # fmt: skip
    answer = desk.get("/api/alerts?after=x")
    assert answer is not None
    assert answer.status_code == 400
    page = desk.get("/alerts")
    assert page is not None
    assert "urls, line 3: " in page.text
    assert SECRET not in page.text + str(desk.look())

    desk.alerts.kill()
    eventually(lambda: not desk.look()["answers"], 30)
    page = desk.get("/alerts")
    assert page is not None
    assert "The alerts do not answer: no rule is checked" in page.text
    assert desk.do("test", {}).status_code == 503
    outputs = "".join(process.output() for process in desk.runner.processes)
    assert SECRET not in outputs


def test_if_alerts_are_off_the_page_says_how_to_turn_them_on(stage: Stage, runner: Runner) -> None:
    stage.open()
    runner.start("ui")
    url = f"http://127.0.0.1:{runner.ui_port}"

    def page() -> str:
        try:
            return requests.get(f"{url}/alerts", timeout=5).text
        except requests.RequestException:
            return ""

    assert "KALSHI_BUS_ALERTS=yes" in eventually(page, 30)
    assert "data-alerts" not in page()
    assert requests.get(f"{url}/api/alerts", timeout=5).json() == {"on": False, "answers": False}
    refused = requests.post(f"{url}/api/alerts/test", json={}, headers=OURS, timeout=5)
    assert (refused.status_code, "KALSHI_BUS_ALERTS" in refused.text) == (503, True)


NOTED = """window.noted = []; window.Notification = class extends EventTarget {
  static get permission() { return localStorage.permission ?? "default"; }
  static async requestPermission() { return (localStorage.permission = "granted"); }
  constructor(title, options) { super(); window.noted.push(`${title}: ${options.body}`); }
};"""
"""Records notifications, which a headless browser does not show."""


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS_DIR"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.chromium
def test_a_rule_is_edited_on_the_page_and_its_alert_reaches_every_tab(desk: Desk) -> None:
    with launched() as chromium, watched(chromium, desk.url, f"/alerts?ticker={TICKER}") as page:
        page.context.add_init_script(NOTED)
        page.reload()
        expect(page.locator("#alert-form")).to_be_visible()
        expect(page.locator("#alert-form [name=ticker]")).to_have_value(TICKER)
        page.get_by_role("button", name="Allow notifications").click()
        expect(page.locator("#alerts-notify-note")).to_contain_text("shows notifications")
        page.get_by_role("button", name="Sound: off").click()
        expect(page.locator("#alerts-sound")).to_have_attribute("aria-pressed", "true")
        page.locator("#alert-form [name=at]").fill("60")
        page.locator("#alert-form [name=note]").fill(NASTY[:60].replace("\u202e", ""))
        page.get_by_role("button", name="Add", exact=True).click()
        row = page.locator(".alert-rules tbody tr")
        expect(row).to_contain_text(f"{TICKER}: bid of YES above 60c", timeout=LONG_MS)
        expect(row).to_contain_text("watching", timeout=LONG_MS)

        other = page.context.new_page()
        other.goto(desk.url + "/system")
        desk.bid(6_500)
        told = page.locator("section[aria-labelledby=told]")
        expect(told).to_contain_text("bid of YES is 65c, above 60c", timeout=LONG_MS)
        expect(told).to_contain_text("mine delivered", timeout=LONG_MS)
        noted = eventually(lambda: [*page.evaluate("noted"), *other.evaluate("noted")], 30, "it is noted")
        assert [text.split(" ")[:3] for text in noted] == [["kalshi-bus:", "Price", "crosses:"]]
        ways = page.locator("section[aria-labelledby=ways]")
        expect(ways.locator(".state.bad")).to_be_visible(timeout=LONG_MS)
        page.goto(desk.url + "/system")
        desk.do("test", {"number": 1})
        expect(other.locator("#alerts-count")).to_be_visible(timeout=LONG_MS)
        expect(page.locator("#alerts-count")).to_be_visible(timeout=LONG_MS)
        eventually(lambda: page.title().startswith("("), 10, "the title counts")

        def tests_noted() -> list[str]:
            noted = [*page.evaluate("noted"), *other.evaluate("noted")]
            return [text for text in noted if "Test of rule 1" in text]

        eventually(tests_noted, 30, "the test is noted")
        assert len(tests_noted()) == 1, "once, whichever tab it is"
        page.goto(desk.url + "/alerts")
        expect(page.locator("#alerts-count")).to_be_hidden(timeout=LONG_MS)
        assert not page.title().startswith("(")
        row.get_by_role("button", name="Edit rule 1").click()
        expect(page.locator("#alert-form [name=at]")).to_have_value("60")
        page.locator("#alert-form [name=at]").fill("70")
        page.locator("#alert-form [name=urgent]").check()
        page.get_by_role("button", name="Save", exact=True).first.click()
        expect(row).to_contain_text("above 70c", timeout=LONG_MS)
        expect(row).to_contain_text("urgent")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": 1440, "height": 900})
            shoot(page, f"alerts-{scheme}")
            if scheme == "dark":
                assert serious(page) == []
            for width in (2_560, 1_070, 641, 375):
                page.set_viewport_size({"width": width, "height": 812})
                assert (width, overflow(page), clipped(page)) == (width, 0, [])
            shoot(page, f"alerts-{scheme}-375")
        row.get_by_role("button", name="Remove rule 1").click()
        expect(row.get_by_role("button", name="Remove rule 1")).to_contain_text("Remove?")
        row.get_by_role("button", name="Remove rule 1").click()
        expect(page.locator("section[aria-labelledby=rules]")).to_contain_text(
            "No rules yet", timeout=LONG_MS
        )
        other.close()
