"""The whole stack as started by ``make run``, in Chromium: live, stale, recovering, and the kill switch."""

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from tests.chromium import UNANSWERED, launched, serious, watched
from tests.e2e.conftest import START_S, Hammer, Stack
from tests.geometry import TURNS, WIDTHS, faults_at
from tests.support import Runner, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.chromium, pytest.mark.timeout(180)]

LONG_MS = 1_000 * START_S


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module", name="stack")
def _stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner = Runner(folder)
    stack = Stack(runner, markets=400)  # so many that there always is an opportunity to look at
    runner.start("bus.process.supervise")
    try:
        stack.wait_working(2 * START_S)
        stack.send_rivals_away()
        eventually(lambda: stack.journal().fills, 3 * START_S, "the trader has traded")
        yield stack
    finally:
        runner.close()
        shutil.rmtree(folder)


def pid_of(stack: Stack, name: str) -> int:
    def known() -> int | None:
        found: Any = (stack.health().get("processes") or {}).get(name) or {}
        return found.get("pid") if found.get("state") == "RUNNING" else None

    return eventually(known, START_S, f"{name} runs") or 0


def kill_outright(stack: Stack, name: str) -> None:
    """SIGKILL a process and wait until it is gone; supervisord starts the next."""
    pid = pid_of(stack, name)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid))


def trader_state(page: Page) -> Locator:
    return page.locator("#trader-state")


def expect_well(page: Page) -> None:
    """Wait until the page reports no problem (repeated ends of processes stay on it for a minute)."""
    expect(page.locator("#offline")).to_be_hidden(timeout=2 * LONG_MS)
    expect(page.locator("#banners [data-code]:not([data-code^=process_])")).to_have_count(
        0, timeout=2 * LONG_MS
    )
    expect(page.locator("#strip .stale, #strip .bad")).to_have_count(0, timeout=2 * LONG_MS)
    expect(trader_state(page)).to_have_attribute("data-state", "running", timeout=2 * LONG_MS)


def test_the_page_updates_and_obeys_the_keyboard(stack: Stack, chromium: Browser) -> None:
    with watched(chromium, stack.ui_url, "/") as page:
        page.evaluate("window.sameDocument = true")
        seq = page.locator("#strip > div", has_text="Seq").locator("dd")
        for _ in range(3):
            expect(seq).not_to_have_text(seq.inner_text(), timeout=LONG_MS)
        assert page.evaluate("window.sameDocument")
        page.keyboard.press("t")
        page.wait_for_url("**/trader")
        expect(page.locator("#positions")).to_contain_text(re.compile("[1-9]"), timeout=LONG_MS)
        expect(page.locator("#curve canvas").first).to_be_visible(timeout=LONG_MS)
        page.keyboard.press("j")
        expect(page.locator("a.go:focus")).to_have_count(1)
        page.keyboard.press("Enter")
        page.wait_for_url(
            re.compile("/[me]/")
        )  # a resting order links to its market, a held trade to its event
        expect(page.locator("h1")).to_be_visible()
        page.keyboard.press("s")
        page.wait_for_url("**/system")
        expect(page.locator("#main")).to_contain_text("FETCHING FROM KALSHI")
        expect(page.locator("#main table").first.locator(".state.good")).to_have_count(7, timeout=LONG_MS)
        page.keyboard.press("g")
        page.wait_for_url(stack.ui_url + "/")
        page.keyboard.press("/")
        page.keyboard.type("will")
        expect(page.locator("#hits [aria-selected=true]")).to_be_visible()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/[me]/"))


@pytest.mark.timeout(600)
def test_every_page_passes_the_ruler_at_every_width(stack: Stack, chromium: Browser) -> None:
    """One page after the other in one tab, resized, with folded parts open.

    Pages that no other test checks with axe in both schemes are checked here.
    """
    _, _, event, ticker, *_ = next(iter(stack.journal().orders.values()))
    eventually(lambda: requests.get(f"{stack.ui_url}/past", timeout=20).ok, START_S, "something is recorded")
    at_all_widths = ("/", "/trader")
    measured = (
        "/?why_not=1", f"/m/{ticker}", f"/e/{event}", "/system", "/search?q=will", "/tradr", "/alerts",
        "/explore?show=movers-1h",
    )  # fmt: skip
    for_axe = ("/trader", "/results", "/past", f"/m/{ticker}X", "/explore")
    missing = "status of 404"
    found: list[str] = []
    with watched(chromium, stack.ui_url, "/", ignored=missing, reduced_motion="reduce") as page:
        for path in dict.fromkeys(at_all_widths + measured + for_axe):
            page.goto(stack.ui_url + path)
            expect(page.locator("h1")).to_be_visible()
            folded = page.locator("main details:visible")
            if folded.count():
                folded.first.locator("> summary").click()
            widths = WIDTHS if path in at_all_widths else TURNS
            found += [f"{path} {fault}" for fault in faults_at(page, widths)]
            if path in for_axe:
                page.emulate_media(color_scheme="light")
                found += [f"{path} {fault}" for fault in serious(page)]
                page.emulate_media(color_scheme="dark")
                found += [f"{path} dark: {fault}" for fault in serious(page, "color-contrast")]
        page.goto(stack.ui_url + "/")
        for key, dialog in (("?", "#help"), ("v", "#view")):
            page.keyboard.press(key)
            expect(page.locator(dialog)).to_be_visible()
            found += [f"{dialog} {fault}" for fault in faults_at(page, (360, 1_440))]
            page.keyboard.press("Escape")
    assert not found, "\n".join(found)


def test_a_frozen_publisher_greys_the_page_and_everything_recovers(stack: Stack, chromium: Browser) -> None:
    with watched(chromium, stack.ui_url, "/?why_not=1") as page:
        expect_well(page)
        age = page.locator("#strip [data-age]")
        rows = page.locator("[data-rows] > tr")
        expect(rows).not_to_have_count(0)
        publisher = pid_of(stack, "publisher")
        os.kill(publisher, signal.SIGSTOP)
        try:
            expect(age).to_contain_text("stale", timeout=LONG_MS)
            expect(page.locator('[data-code="feed_lost"]')).to_be_visible(timeout=LONG_MS)
            expect(page.locator("[data-rows] > tr:not(.stale)")).to_have_count(0, timeout=LONG_MS)
            expect(trader_state(page)).to_have_attribute(
                "data-state", re.compile("stale|gap"), timeout=LONG_MS
            )
            expect(age).not_to_have_text(age.inner_text())
            orders = stack.trader()["orders"]
            expect(page.locator("[data-rows] > tr.very-stale").first).to_be_visible(timeout=LONG_MS)
            assert stack.trader()["orders"] == orders
            assert serious(page) == []
        finally:
            os.kill(publisher, signal.SIGCONT)
        expect_well(page)
        expect(page.locator("[data-rows] > tr:not(.stale)")).not_to_have_count(0, timeout=LONG_MS)


def test_processes_killed_under_load_come_back_on_the_open_page(stack: Stack, chromium: Browser) -> None:
    urls = [f"{stack.snapshot_url}/markets?limit=100", f"{stack.ui_url}/trader", f"{stack.ui_url}/"]
    with (
        watched(chromium, stack.ui_url, "/trader", ignored=UNANSWERED) as page,
        Hammer(urls, clients=2),
    ):
        expect_well(page)
        for name in ("publisher", "snapshot_server", "trader", "ui"):
            before = stack.journal()
            kill_outright(stack, name)
            stack.wait_working(START_S, f"all works after kill -9 of {name}")
            stack.journal().assert_continues(before)
            expect_well(page)
        held = {f"{ticker}:{side}" for ticker, side in before.held()}

        def shown() -> set[str]:
            keys: list[str] = page.eval_on_selector_all(
                "section[aria-labelledby=positions] tbody > tr", "rows => rows.map(row => row.dataset.key)"
            )
            return set(keys)

        settled = stack.journal().settled
        eventually(lambda: {one for one in held if one.partition(":")[0] not in settled} <= shown(), START_S)


def test_the_kill_switch_survives_restarts_whoever_set_it(stack: Stack, chromium: Browser) -> None:
    with watched(chromium, stack.ui_url, "/trader", ignored=UNANSWERED) as page:
        expect_well(page)
        kill = page.locator("#kill")
        kill.hover()
        page.mouse.down()
        expect(page.locator("#result")).to_contain_text("Killed", timeout=LONG_MS)
        page.mouse.up()
        banner = page.locator('#banners [data-code="killed"]')
        expect(banner).to_contain_text("by hand on the dashboard", timeout=LONG_MS)
        eventually(lambda: not stack.trader().get("open_orders", 1))
        orders = stack.trader()["orders"]
        for name in ("trader", "ui"):
            kill_outright(stack, name)
            eventually(lambda: stack.trader().get("state") == "killed", START_S)
            expect(page.locator("#offline")).to_be_hidden(timeout=2 * LONG_MS)
            expect(banner).to_be_visible(timeout=LONG_MS)
        assert stack.trader()["orders"] == orders
        kill.click()
        page.locator("#release-word").fill("UNLOCK")
        expect(page.locator("#release-go")).to_be_enabled(timeout=LONG_MS)
        page.keyboard.press("Enter")
        expect_well(page)

        assert stack.trader_command("kill", "from the shell").returncode == 0
        expect(banner).to_contain_text("from the shell", timeout=LONG_MS)
        expect(kill).to_have_text("Release")
        kill_outright(stack, "trader")
        eventually(lambda: stack.trader().get("state") == "killed", START_S)
        expect(banner).to_contain_text("from the shell", timeout=LONG_MS)
        assert serious(page) == []
        assert stack.trader_command("resume", "UNLOCK").returncode == 0
        expect_well(page)
