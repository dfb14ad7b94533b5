"""The pages in a real browser: live updates, stale data, search, keyboard, phones, accessibility (axe).

Screenshots of every state go to the folder named by SCREENSHOTS_DIR (default: the test's temporary folder).
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zmq
from playwright.sync_api import Browser, Page, expect

from bus.protocol.messages import PublisherHealth
from snapshot_server.docs_page import page as api_page
from tests.chromium import clipped, launched, overflow, serious, watched
from tests.geometry import faults_at
from tests.support import Process, Runner, eventually
from tests.ui.browsers import FAST
from tests.ui.browsers import Browser as Client
from tests.ui.stage import MATCH, PAIR, Stage, event, market, quote

pytestmark = [pytest.mark.e2e, pytest.mark.chromium, pytest.mark.timeout(120)]

Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


class Stack:
    """A publisher, a snapshot server and the dashboard's process."""

    def __init__(self, runner: Runner, stage: Stage) -> None:
        self.runner = runner
        self.stage = stage
        self.client = Client(runner.ui_port)

    def start(self, **env: str) -> Process:
        ui = self.runner.start("ui", env=env)
        eventually(self.client.answers, what="the dashboard answers")
        return ui

    def raise_curtain(self) -> None:
        self.stage.open()
        self.stage.start_feed()
        self.stage.start_query()
        eventually(lambda: self.client.json("/api/opportunities")["total_tradable"], what="the scan is done")


@pytest.fixture
def own(runner: Runner, stage: Stage) -> Stack:
    """A stack for one test alone, with nothing started."""
    return Stack(runner, stage)


@pytest.fixture(scope="module")
def shared() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    context = zmq.Context[Any]()
    runner = Runner(folder)
    stage = Stage(context, runner.run_dir)
    stack = Stack(runner, stage)
    stack.start()
    stack.raise_curtain()
    yield stack
    stage.close()
    runner.close()
    context.term()
    shutil.rmtree(folder)


@pytest.fixture
def live(shared: Stack) -> Stage:
    """The stage of the shared stack, back in its first state."""
    stage = shared.stage
    stage.reset()
    keys = {f"no_basket:{MATCH}", f"yes_basket:{PAIR}"}

    def is_reset() -> bool:
        found = shared.client.json("/api/opportunities")["opportunities"]
        problems = shared.client.json("/api/status")["problems"]
        return keys <= {one["key"] for one in found} and not problems

    eventually(is_reset, what="the first state is back")
    return stage


@pytest.fixture
def opened(chromium: Browser, request: pytest.FixtureRequest) -> Open:
    """Open a page; fail at its end if it wrote errors to the console or contacted another host."""
    stack: Stack = request.getfixturevalue("own" if "own" in request.fixturenames else "shared")
    return partial(watched, chromium, f"http://127.0.0.1:{stack.runner.ui_port}")


@pytest.fixture
def shoot(tmp_path: Path) -> Callable[[Page, str], None]:
    folder = Path(os.environ.get("SCREENSHOTS_DIR", tmp_path))

    def take(page: Page, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return take


def basket(page: Page) -> Any:
    return page.locator(f'#list tr[data-key="{MATCH}"]')


def test_a_price_moves_on_the_page_without_a_reload(live: Stage, opened: Open) -> None:
    with opened(f"/m/{PAIR}-CHI") as page:
        page.evaluate("window.sameDocument = true")
        expect(page.locator(".tiles dd").nth(1)).to_have_text("50¢")
        live.stream(quote(f"{PAIR}-CHI", (4_700, 20_000), (4_800, 15_000), live.clock.now_ms()))
        expect(page.locator(".tiles dd").nth(1)).to_have_text("48¢")
        assert page.evaluate("window.sameDocument")


def test_only_changed_rows_of_a_page_are_sent(live: Stage, opened: Open) -> None:
    with opened(f"/e/{MATCH}") as page:
        sent: list[str] = []

        def note(answer: Any) -> None:
            if answer.request.resource_type == "fetch" and answer.url.endswith(f"/e/{MATCH}"):
                sent.append(answer.text())

        page.on("response", note)
        bids = page.locator(".markets tbody tr td:nth-child(2)")
        for price_e4 in (3_900, 3_800, 3_700):
            live.stream(quote(f"{MATCH}-VAN", (price_e4, 50_000), (4_200, 30_000), live.clock.now_ms()))
            expect(bids.filter(has_text=f"{price_e4 // 100}¢")).to_have_count(1)
        expect(page.locator(".markets tbody tr")).to_have_count(3)
        expect(page.locator(".markets tbody")).to_contain_text("Houston")
        assert "Houston" in sent[0]  # whole, since the page has no name for what it has yet
        assert f'data-key="{MATCH}-HOU" data-same' in sent[-1]
        assert f'data-key="{MATCH}-VAN" data-ages' in sent[-1]


def test_the_chart_ends_at_the_quote_beside_it_and_its_range_is_in_the_address(
    live: Stage, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    with opened(f"/m/{PAIR}-CHI?chart=1h") as page:
        expect(page.locator("#chart canvas")).to_have_count(2)
        expect(page.locator("#chart-words")).to_contain_text("to 49.5¢")
        live.stream(quote(f"{PAIR}-CHI", (4_700, 20_000), (4_800, 15_000), live.clock.now_ms()))
        expect(page.locator(".tiles dd").nth(1)).to_have_text("48¢")
        expect(page.locator("#chart-words")).to_contain_text("to 47.5¢")
        expect(page.locator('[data-range="1h"]')).to_have_attribute("aria-current", "true")
        page.locator('[data-range="1d"]').click()
        page.wait_for_url("**?chart=1d")
        expect(page.locator('[data-range="1d"]')).to_have_attribute("aria-current", "true")
        expect(page.locator("#chart canvas")).to_have_count(2)
        page.locator("#chart .u-over").first.hover()
        expect(page.locator("#chart-at")).to_contain_text("bid 47¢, ask 48¢")
        shoot(page, "chart-light")
        # With one side alone there is no midpoint: the line ends, and what there is stays.
        live.stream(quote(f"{PAIR}-CHI", (4_700, 20_000), None, live.clock.now_ms()))
        expect(page.locator(".tiles dd").nth(1)).to_have_text("\u2013")
        page.locator("#chart .u-over").first.hover(position={"x": 600, "y": 20})
    with opened(f"/e/{MATCH}", color_scheme="dark") as page:
        expect(page.locator("#chart canvas")).to_have_count(1)
        expect(page.locator("#chart-words .swatch")).to_have_count(3)
        expect(page.locator("#chart-words")).to_contain_text("Vancouver 41¢ to 41¢")
        shoot(page, "chart-event-dark")
        assert serious(page) == []


def test_a_hidden_tab_fetches_once_when_it_is_shown(live: Stage, opened: Open) -> None:
    """However much happened meanwhile, it shows a snapshot and not a backlog."""
    with opened(f"/m/{PAIR}-CHI") as page:
        expect(page.locator(".tiles dd").nth(1)).to_have_text("50¢")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.resource_type))
        hide = """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        page.evaluate(hide, True)
        page.wait_for_timeout(700)  # let a fetch that was already due finish
        asked.clear()
        for price_e4 in range(4_000, 4_900, 10):
            at_ms = live.clock.now_ms()
            live.stream(quote(f"{PAIR}-CHI", (price_e4 - 100, 20_000), (price_e4, 15_000), at_ms))
        live.stream(quote(f"{PAIR}-CHI", (4_700, 20_000), (4_800, 15_000), live.clock.now_ms()))
        live.commit()
        page.wait_for_timeout(700)
        assert asked == []

        page.evaluate(hide, False)
        expect(page.locator(".tiles dd").nth(1)).to_have_text("48¢")
        page.wait_for_timeout(700)
        assert asked.count("eventsource") == 1
        assert asked.count("fetch") <= 3  # one at once, and more for the new stream's first events


def test_opportunities_come_and_go_live(live: Stage, opened: Open) -> None:
    with opened() as page:
        expect(basket(page)).to_contain_text("Vancouver vs Houston")
        live.stream(quote(f"{MATCH}-HOU", (1_500, 40_000), (3_700, 30_000), live.clock.now_ms()))
        expect(basket(page)).to_have_count(0)
        live.reset()  # all legs again, since their prices must be of one time
        expect(basket(page)).to_have_count(1)


def test_rows_do_not_move_under_the_pointer(live: Stage, opened: Open) -> None:
    with opened() as page:
        basket(page).locator("> td.num").first.hover()
        live.stream(quote(f"{MATCH}-HOU", (1_500, 40_000), (3_700, 30_000), live.clock.now_ms()))
        expect(page.locator("#apply")).to_be_visible()
        expect(page.locator("#apply")).to_contain_text("waiting")
        expect(basket(page)).to_have_class("gone")
        page.mouse.move(5, 5)
        expect(basket(page)).to_have_count(0)
        expect(page.locator("#apply")).to_be_hidden()


def test_focus_and_open_details_stay_through_updates(live: Stage, opened: Open) -> None:
    with opened() as page:
        basket(page).locator("summary").click()
        page.keyboard.press("Escape")
        link = basket(page).locator("a.go")
        link.focus()
        live.stream(quote(f"{MATCH}-VAN", (4_000, 50_000), (4_300, 30_000), live.clock.now_ms()))
        live.commit()
        expect(page.locator("#strip")).to_contain_text("live")
        expect(link).to_be_focused()
        expect(basket(page).locator("details")).to_have_attribute("open", "")
        expect(basket(page).locator(".legs")).to_contain_text("Gross edge")


def test_stale_data_is_grey_and_said_to_be_stale(
    own: Stack, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    own.start(**FAST)
    own.raise_curtain()
    with opened("/?why_not=1") as page:
        expect(basket(page)).to_be_visible()
        page.evaluate(
            "window.said = []; new MutationObserver(() => said.push(announce.textContent))"
            ".observe(announce, {childList: true})"
        )
        own.stage.stop("feed")
        expect(page.locator("#announce")).to_contain_text("The data is old", timeout=20_000)
        expect(basket(page)).to_have_class("rejected stale very-stale", timeout=20_000)
        expect(basket(page)).to_contain_text("the data of a leg is too old")
        expect(page.locator("#strip")).to_contain_text("stale")
        expect(page.locator('[data-code="feed_lost"]')).to_be_visible()
        shoot(page, "stale-light")
        # It kept growing older, but was announced when it became stale, not on each tick.
        assert 1 <= len(page.evaluate("said")) <= 3
        assert serious(page) == []

        own.stage.start_feed()
        own.stage.commit()
        expect(page.locator('[data-code="feed_lost"]')).to_have_count(0, timeout=20_000)
        expect(basket(page)).not_to_have_class("stale")


def test_a_dashboard_that_restarts_is_found_again(
    own: Stack, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    ui = own.start()
    own.raise_curtain()
    with opened(complaints=100) as page:
        expect(basket(page)).to_be_visible()
        ui.stop()
        expect(page.locator("#offline")).to_contain_text("has not answered", timeout=20_000)
        shoot(page, "unreachable-light")
        own.start()
        expect(page.locator("#offline")).to_be_hidden(timeout=30_000)
        own.stage.stream(quote(f"{MATCH}-HOU", (1_500, 40_000), (3_700, 30_000), own.stage.clock.now_ms()))
        expect(basket(page)).to_have_count(0)


def test_search_and_keyboard(live: Stage, opened: Open, shoot: Callable[[Page, str], None]) -> None:
    with opened() as page:
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type("new orl")
        expect(page.locator("#hits li")).to_have_count(3)
        expect(page.locator("#search")).to_have_attribute("aria-expanded", "true")
        assert serious(page) == []
        shoot(page, "search-light")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Escape")
        expect(page.locator("#hits")).to_be_hidden()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        first = page.locator("[data-rows] a.go").first
        expect(first).to_be_focused()
        page.keyboard.press("j")
        expect(page.locator("[data-rows] a.go").nth(1)).to_be_focused()
        page.keyboard.press("k")
        expect(first).to_be_focused()
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()
        page.keyboard.press("f")
        expect(page.locator("#filters [name=q]")).to_be_focused()
        page.keyboard.type("jk")
        expect(page.locator("#filters [name=q]")).to_have_value("jk")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type(f"{PAIR}-chi")
        expect(page.locator("#hits li")).to_have_count(1)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/m/{PAIR}-CHI")


def test_a_star_puts_a_market_on_every_page_and_a_filter_needs_no_page_load(
    live: Stage, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    with opened() as page:
        page.keyboard.press("e")
        page.wait_for_url("**/explore")
        page.evaluate("window.sameDocument = true")
        expect(page.locator("#watched")).to_be_hidden()
        row = page.locator(f'tr[data-key="{PAIR}-CHI"]')
        row.locator(".star").click()
        expect(row.locator(".star")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#watched a").first).to_contain_text("Chicago 49¢ / 50¢")
        page.locator("#filters [name=q]").fill("vancuver")
        page.wait_for_url("**/explore?q=vancuver")
        expect(page.locator("#list")).to_contain_text("read as “vancouver”")
        page.locator("thead button", has_text="YES bid").click()
        page.wait_for_url("**/explore?q=vancuver&sort=-bid")
        expect(page.locator("#csv")).to_have_attribute("href", "/explore.csv?q=vancuver&sort=-bid")
        assert page.evaluate("window.sameDocument")
        page.locator("#filters a", has_text="Reset").click()
        page.locator(".tabs a", has_text="Watchlist").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        shoot(page, "watchlist-light")
        row.locator(".star").press("Enter")
        expect(page.locator("#list")).to_contain_text("Your watchlist is empty")
        expect(page.locator("#watched")).to_be_hidden()


def test_enter_opens_the_focused_row(live: Stage, opened: Open) -> None:
    with opened("/?kind=no_basket") as page:
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/e/{MATCH}")
        expect(page.locator("h1")).to_have_text("Vancouver vs Houston")
        expect(page.locator(".markets tbody tr")).to_have_count(3)


def test_filters_and_sorting_live_in_the_address(live: Stage, opened: Open) -> None:
    with opened() as page:
        page.locator("[name=kind]").select_option("no_basket")
        page.wait_for_url("**/?kind=no_basket")
        expect(page.locator("[data-rows] > tr")).to_have_count(1)
        expect(page.locator("#csv")).to_have_attribute("href", "/opportunities.csv?kind=no_basket")
        page.go_back()
        expect(page.locator("[data-rows] > tr")).not_to_have_count(1)
        page.get_by_role("button", name="Capital").click()
        page.wait_for_url("**/?sort=-capital")
        heading = page.get_by_role("columnheader", name="Capital")
        expect(heading).to_have_attribute("aria-sort", "descending")
        page.get_by_role("button", name="Capital").click()
        page.wait_for_url("**/?sort=capital")
        expect(heading).to_have_attribute("aria-sort", "ascending")
        page.locator("#filters [name=q]").fill("zzzz")
        expect(page.locator("#list")).to_contain_text("Nothing matches these filters")
        page.locator("#reset").click()
        expect(page.locator("[data-rows] > tr")).not_to_have_count(0)


def test_pins_and_columns_live_in_the_address_too(live: Stage, opened: Open) -> None:
    with opened("/?kind=yes_basket") as page:
        page.goto(page.url.replace("kind=yes_basket", "sort=kind"))
        expect(page.locator("[data-rows] > tr").first).to_have_attribute("data-key", MATCH)
        page.locator(f'#list tr[data-key="{PAIR}"] .pin').click()
        page.wait_for_url("**pin=yes_basket**")
        first = page.locator("[data-rows] > tr").first
        expect(first).to_have_attribute("data-key", PAIR)
        page.locator("[name=kind]").select_option("no_basket")
        expect(page.locator("[data-rows] > tr")).to_have_count(2)
        expect(first).to_have_attribute("data-key", PAIR)
        expect(page.locator("#csv")).to_have_attribute("href", "/opportunities.csv?kind=no_basket&sort=kind")

        page.locator("#filters .menu summary").click()
        page.locator('#filters .menu [value="ev"]').check()
        page.locator('.menu [value="age"]').check()
        page.wait_for_url("**cols=ev%2Cage**")
        expect(page.locator(".opps > thead th")).to_have_text(["Opportunity", "EV", "Age"])
        assert serious(page) == []
        page.reload()
        expect(page.locator(".opps > thead th")).to_have_count(3)
        expect(first).to_contain_class("pinned")
        first.locator(".pin").click()
        expect(page.locator("[data-rows] > tr")).to_have_count(1)
        page.locator("#reset").click()
        page.wait_for_url("**/")
        expect(page.locator(".opps > thead th")).not_to_have_count(3)


def test_the_page_of_the_api_is_no_wider_than_a_phone(chromium: Browser) -> None:
    page = chromium.new_page(viewport={"width": 360, "height": 812})
    try:
        page.set_content(api_page().decode())
        assert overflow(page) == 0
    finally:
        page.close()


@pytest.mark.parametrize(
    "path", ["/", "/?why_not=1", f"/m/{MATCH}-VAN", f"/e/{MATCH}", "/search?q=will", "/system", "/explore"]
)
def test_nothing_is_wider_than_a_phone(
    live: Stage, opened: Open, shoot: Callable[[Page, str], None], path: str
) -> None:
    for scheme in ("light", "dark"):
        viewport = {"width": 375, "height": 812}
        with opened(path, viewport=viewport, color_scheme=scheme, has_touch=True) as page:
            if path == "/":
                basket(page).locator("summary").click()
            assert overflow(page) <= 0
            assert clipped(page) == []
            if scheme == "light":
                assert serious(page) == []
            shoot(
                page, f"phone-{path.strip('/?=').replace('/', '-').replace('?', '-') or 'overview'}-{scheme}"
            )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("overview", "/"),
        ("why-not", "/?why_not=1&sort=-ev"),
        ("market", f"/m/{MATCH}-VAN"),
        ("event", f"/e/{PAIR}"),
        ("explore", "/explore?category=Sports&series=KXMLSGAME"),
        ("system", "/system?level=debug"),
    ],
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_passes_axe_in_both_schemes(
    live: Stage, opened: Open, shoot: Callable[[Page, str], None], name: str, path: str, scheme: str
) -> None:
    with opened(path, color_scheme=scheme) as page:
        expect(page.locator("h1")).to_be_visible()
        if name == "overview":
            basket(page).locator("summary").click()
        shoot(page, f"{name}-{scheme}")
        assert serious(page) == []
        assert overflow(page) <= 0
        assert clipped(page) == []


def test_trouble_and_emptiness_read_well(
    live: Stage, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    live.health = PublisherHealth(0, 12_000, "failed", "refused", True, "401 Unauthorized")
    live.stream(
        quote(f"{MATCH}-HOU", (1_500, 40_000), (3_700, 30_000), live.clock.now_ms()),
        quote(f"{PAIR}-CHI", (4_900, 20_000), (5_600, 15_000), live.clock.now_ms()),
    )
    for scheme in ("light", "dark"):
        with opened(color_scheme=scheme) as page:
            expect(page.locator('[data-code="key_refused"]')).to_be_visible()
            expect(page.locator(".empty h2")).to_be_visible()
            shoot(page, f"empty-{scheme}")
            assert serious(page) == []


def test_a_replay_is_marked_as_such_and_obeys_its_bar(
    own: Stack, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    own.start()
    own.raise_curtain()
    file = str(own.runner.folder / "day.mcap")
    recorder = own.runner.start("bus", "record", file)
    recorder.wait_event("feed.live")
    for size in range(10_000, 10_800, 100):  # enough to play for some seconds
        own.stage.stream(quote(f"{PAIR}-CHI", (4_900, size), (5_000, 15_000), own.stage.clock.now_ms()))
        eventually(lambda: own.client.json("/api/status")["seq"] == own.stage.writer.state.seq)
    assert recorder.stop() == 0
    own.stage.close()
    own.runner.start("bus", "replay", file, "--paused")
    own.stage.start_query()
    with opened() as page:
        expect(page.locator(".watermark")).to_be_visible(timeout=20_000)
        expect(page.locator(".badge.replay")).to_have_text("REPLAY")
        expect(page.locator("#replay-bar")).to_be_visible()
        expect(page.locator("#replay-time")).to_contain_text("paused")
        page.locator("#replay-pause").click()
        expect(page.locator("#replay-pause")).to_have_text("Pause")
        expect(page.locator("#replay-time")).to_contain_text("the end", timeout=20_000)
        page.locator("#replay-speed").select_option("0")
        page.locator("#replay-at").focus()
        page.keyboard.press("Home")
        expect(page.locator("#replay-time")).to_contain_text("the end", timeout=20_000)
        shoot(page, "replay-light")
        assert serious(page) == []
        assert page.evaluate("getComputedStyle(document.querySelector('.watermark')).pointerEvents") == "none"


def test_before_any_data_the_page_says_so_and_updates_by_itself(
    own: Stack, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    own.start()
    with opened() as page:
        expect(page.locator(".empty")).to_contain_text("Waiting for the first complete snapshot")
        shoot(page, "starting-light")
        assert serious(page) == []
        own.raise_curtain()
        expect(basket(page)).to_be_visible(timeout=30_000)


def test_without_scripts_everything_can_be_read(live: Stage, opened: Open) -> None:
    with opened("/", java_script_enabled=False) as page:
        expect(basket(page)).to_be_visible()
        expect(page.locator("#offline")).to_be_hidden()
        page.locator("[name=kind]").select_option("yes_basket")
        page.locator("#go").click()
        page.wait_for_url("**kind=yes_basket**")
        expect(basket(page)).to_have_count(0)
        page.get_by_role("button", name="Capital").click()
        page.wait_for_url("**sort=-capital**")
        page.locator("#search").fill("chicago")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=chicago")
        expect(page.locator("main")).to_contain_text(f"{PAIR}-CHI")


def test_a_missing_page_is_a_page(live: Stage, opened: Open) -> None:
    with opened("/m/NOPE", complaints=1) as page:
        expect(page.locator("h1")).to_have_text("Not found")
        assert serious(page) == []


def test_kill_and_release_by_keyboard_and_pointer(
    own: Stack, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    own.start()
    own.raise_curtain()
    within = {"KALSHI_BUS_LIMIT_PAYOUT_HOURS": "100"}  # the match is tomorrow
    own.runner.start("trader", env=within).wait_event("trader.ready")
    with opened("/trader") as page:
        expect(page.locator("#trader-state")).to_contain_text("running", timeout=20_000)
        kill = page.locator("#kill")
        kill.click()
        expect(page.locator("#result")).to_contain_text("Hold for a second")
        page.keyboard.press("Escape")
        page.keyboard.press("x")
        expect(kill).to_be_focused()
        page.keyboard.down(" ")
        expect(page.locator("#result")).to_contain_text("Killed", timeout=20_000)
        page.keyboard.up(" ")
        expect(page.locator('[data-code="killed"]')).to_be_visible(timeout=20_000)
        expect(page.locator("#curve canvas").first).to_be_visible(timeout=20_000)
        shoot(page, "trader-killed")
        assert serious(page) == []
        kill.click()
        expect(page.locator("#release-go")).to_be_disabled()
        page.locator("#release-word").fill("UNLOCK")
        expect(page.locator("#release-go")).to_be_enabled(timeout=20_000)
        page.keyboard.press("Enter")
        expect(page.locator('[data-code="killed"]')).to_have_count(0, timeout=20_000)
        expect(kill).to_have_text("Kill")


def test_tickets_buy_sell_cancel_and_flatten(
    own: Stack, opened: Open, shoot: Callable[[Page, str], None]
) -> None:
    own.start()
    own.raise_curtain()
    env = {
        "KALSHI_BUS_MIN_EDGE": "500",  # strategies buy nothing
        "KALSHI_BUS_LIMIT_PAYOUT_HOURS": "100",
        "KALSHI_BUS_STALE_AFTER_S": "300",
        "KALSHI_BUS_LIMIT_LEG_AGE_S": "300",
    }
    own.runner.start("trader", env=env).wait_event("trader.ready")
    market = f"{MATCH}-VAN"
    with opened(f"/m/{market}", color_scheme="dark") as page:
        expect(page.locator("#trader-state")).to_contain_text("running", timeout=20_000)
        expect(page.locator("#ticket-form [name=limit]")).to_have_value("42")
        page.locator("#ticket-form [name=count]").fill("20")
        page.get_by_role("button", name="Prepare").click()
        expect(page.locator("#ticket-figures")).to_contain_text("a total loss: $8.41 at most", timeout=20_000)
        expect(page.locator("#ticket-figures .good")).to_contain_text("passed")
        shoot(page, "ticket-dark")
        assert serious(page) == []
        page.locator("#ticket-confirm").click()
        expect(page.locator("#result")).to_contain_text(" placed.", timeout=20_000)
        expect(page.locator("#own-title + p")).to_contain_text("Holds 20 YES", timeout=20_000)
        page.locator("#ticket-form [name=count]").fill("900000")
        page.get_by_role("button", name="Prepare").click()
        expect(page.locator("#ticket-figures .bad")).to_contain_text("refused:", timeout=20_000)
        expect(page.locator("#ticket-confirm")).to_be_hidden()
        shoot(page, "ticket-refused-dark")
    for width, scheme in ((360, "dark"), (1_400, "light")):
        viewport = {"width": width, "height": 812}
        with opened("/results", viewport=viewport, color_scheme=scheme) as page:
            risk = page.locator(f'tr[data-key="{MATCH}"]')
            expect(risk).to_contain_text("1 leg, trade 1, manual", timeout=20_000)
            expect(risk.locator('[data-label="Worst"]')).to_have_text("−$8.40")  # noqa: RUF001
            expect(risk.locator('[data-label="Best"]')).to_have_text("+$11.60")
            assert (overflow(page), clipped(page), serious(page)) == (0, [], [])
            shoot(page, f"results-{width}-{scheme}")
    with opened(f"/m/{market}", color_scheme="dark") as page:
        expect(page.locator("#trader-state")).to_contain_text("running", timeout=20_000)
        page.locator("#ticket-form [name=count]").fill("7")
        page.locator("#ticket-form [name=limit]").fill("33")
        page.locator("#ticket-form [name=rest]").select_option("3600")
        page.get_by_role("button", name="Prepare").click()
        page.locator("#ticket-confirm").click()
        cancel = page.get_by_role("button", name="Cancel order")
        expect(cancel).to_have_count(1, timeout=20_000)
        expect(page.locator(".own tbody tr").first).to_contain_text("0 of 7")
    with opened("/trader", color_scheme="light") as page:
        doing, go = page.locator("#doing"), page.locator("#doing-go")
        figures = page.locator("#doing-figures")
        sell = page.get_by_role("button", name="Sell Vancouver")
        sell.click()
        expect(figures).to_contain_text(
            f"sell 20 YES of Vancouver ({market}) at 40¢ or better", timeout=20_000
        )
        expect(figures).to_contain_text("−$0.40 after all fees")  # noqa: RUF001
        expect(figures).to_contain_text("−$8.40 now, −$0.40 after the sale")  # noqa: RUF001
        expect(page.locator("#doing-no")).to_be_focused()
        shoot(page, "sell-light")
        assert serious(page) == []
        page.locator("#doing-sale [name=count]").fill("5")
        expect(go).to_be_hidden()
        page.locator("#doing-sale [name=least]").fill("39")
        page.keyboard.press("Enter")
        expect(figures).to_contain_text(
            f"sell 5 YES of Vancouver ({market}) at 39¢ or better", timeout=20_000
        )
        go.click()
        expect(page.locator("#result")).to_contain_text("Selling: order", timeout=20_000)
        expect(doing).to_be_hidden()
        page.mouse.move(0, 0)  # rows under the pointer would not move
        row = page.locator(f'tr[data-key="{market}:yes"]')
        expect(row.locator('[data-label="Contracts"]')).to_have_text("15", timeout=20_000)

        sell.click()
        expect(figures).to_contain_text(f"sell 15 YES of Vancouver ({market}) at 40¢", timeout=20_000)
        now_ms = own.stage.clock.now_ms()
        own.stage.stream(quote(market, (3_800, 50_000), (4_200, 50_000), now_ms))
        eventually(lambda: own.client.json("/api/status")["seq"] == own.stage.writer.state.seq)
        eventually(lambda: own.client.json("/api/trader")["status"]["seq"] == own.stage.writer.state.seq)
        go.click()
        expect(figures).to_contain_text(
            "Not done: the best price is worse than the limit, or than the one shown", timeout=20_000
        )
        expect(go).to_be_hidden()
        page.get_by_role("button", name="Prepare again").click()
        expect(figures).to_contain_text(f"sell 15 YES of Vancouver ({market}) at 38¢", timeout=20_000)
        page.locator("#doing-no").click()
        expect(row.locator('[data-label="Contracts"]')).to_have_text("15")

        working = page.locator(".working tbody tr")
        expect(working).to_contain_text("0 of 7")
        working.get_by_role("button", name="Cancel order").click()
        expect(figures).to_contain_text(f"7 YES of Vancouver ({market}) at 33¢", timeout=20_000)
        expect(figures).to_contain_text("0 contracts are ahead of it")
        shoot(page, "cancel-light")
        page.locator("#doing-no").click()
        expect(working).to_have_count(1)
        working.get_by_role("button", name="Cancel order").click()
        expect(go).to_contain_text("Confirm: cancel order", timeout=20_000)
        go.click()
        expect(page.locator("#result")).to_contain_text("Cancelling order", timeout=20_000)
        expect(working).to_have_count(0, timeout=20_000)

        page.get_by_role("button", name="Flatten").click()
        expect(page.locator("#doing-lines")).to_contain_text("15 of 15", timeout=20_000)
        expect(go).to_contain_text("Confirm: cancel 0, sell 1")
        expect(figures.locator(".good")).to_contain_text("passed")
        shoot(page, "flatten-light")
        assert (overflow(page), serious(page)) == (0, [])
        expect(page.locator("#trader-state")).to_contain_text("running")
        go.click()
        expect(page.locator("#main")).to_contain_text("Flattened: no positions", timeout=20_000)
        expect(page.locator("#trader-state")).to_contain_text("paused", timeout=20_000)
        shoot(page, "flattened-light")
    with opened("/trader", viewport={"width": 360, "height": 740}, color_scheme="dark") as page:
        page.get_by_role("button", name="Flatten").click()
        expect(page.locator("#doing-figures")).to_contain_text("none held", timeout=20_000)
        shoot(page, "flatten-empty-360-dark")
        assert (overflow(page), clipped(page), serious(page)) == (0, [], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_trader_its_page_fits_a_phone_and_passes_axe(
    live: Stage, opened: Open, shoot: Callable[[Page, str], None], scheme: str
) -> None:
    for width in (375, 1440):
        with opened("/trader", viewport={"width": width, "height": 812}, color_scheme=scheme) as page:
            expect(page.locator(".empty")).to_contain_text("make run starts it")
            shoot(page, f"trader-none-{width}-{scheme}")
            assert overflow(page) <= 0
            assert serious(page) == []


def test_zone_theme_and_density_are_chosen_by_keyboard_and_all_times_follow(
    live: Stage, opened: Open
) -> None:
    with opened(f"/m/{PAIR}-CHI", timezone_id="Australia/Adelaide", color_scheme="light") as page:
        expect(page.locator("footer")).to_contain_text("Times are in UTC.")
        page.keyboard.press("v")
        expect(page.locator("#view-local")).to_have_text("(Australia/Adelaide)")
        for name in ("This browser's (Australia/Adelaide)", "Dark", "Compact"):
            page.get_by_role("radio", name=name).press("Space")
        assert faults_at(page, (360, 1_440)) == []
        page.get_by_role("button", name="Done").press("Enter")
        html = page.locator("html")
        expect(html).to_have_attribute("data-zone", "Australia/Adelaide")
        expect(html).to_have_attribute("data-density", "compact")
        expect(page.locator("footer")).to_contain_text("Australia/Adelaide (ACDT, UTC+10:30)")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 17, 23)"
        # The chart's last point and the time that the server wrote have the same day and hour.
        there = page.evaluate("new Date().toLocaleString('en-GB', {hour: '2-digit', day: 'numeric'})")
        expect(page.locator("#chart-words")).to_contain_text(
            re.compile(r"\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d to ")
        )
        assert there.split(", ")[-1] in page.locator("#chart-words").inner_text()
        assert faults_at(page, (360, 768, 1_440)) == []
        assert serious(page) == []


def test_a_view_is_saved_under_a_name_and_invalid_stored_views_break_nothing(
    live: Stage, opened: Open
) -> None:
    with opened("/?kind=no_basket&sort=-ev") as page:
        for wrong in (
            "{",
            "[1, null, {}]",
            '[{"name": "x", "query": "javascript:0"}]',
            '"' + "x" * 100_000 + '"',
        ):
            page.evaluate("text => localStorage.setItem('kalshi-bus-views', text)", wrong)
            page.reload()
            page.locator("#views > summary").press("Enter")
            expect(page.locator("#views-form [name=name]")).to_be_visible()
            expect(page.locator("#views-list li")).to_have_count(0)
        page.locator("#views-form [name=name]").fill("Baskets <b>")
        page.keyboard.press("Enter")
        expect(page.locator("#views-list a")).to_have_text("Baskets <b>")
        assert faults_at(page, (360, 1_440)) == []
        page.goto(page.url.partition("?")[0])
        page.locator("#views > summary").press("Enter")
        page.get_by_role("link", name="Baskets").press("Enter")
        page.wait_for_url("**/?kind=no_basket&sort=-ev")
        page.locator("#views > summary").press("Enter")
        expect(page.locator("#views-list a")).to_have_attribute("aria-current", "true")
        page.get_by_role("button", name="Remove the view").press("Enter")
        expect(page.locator("#views-list li")).to_have_count(0)


def test_one_row_of_a_table_is_in_the_tab_order_and_arrows_reach_the_others(
    live: Stage, opened: Open
) -> None:
    with opened(f"/e/{MATCH}") as page:
        rows = page.locator(".markets a.go")
        rows.first.focus()
        page.keyboard.press("ArrowDown")
        expect(rows.nth(1)).to_be_focused()
        live.stream(quote(f"{MATCH}-VAN", (3_900, 50_000), (4_200, 30_000), live.clock.now_ms()))
        expect(page.locator(".markets tbody")).to_contain_text("39¢")
        expect(rows.nth(1)).to_be_focused()
        expect(rows.first).to_have_attribute("tabindex", "-1")
        page.keyboard.press("End")
        expect(rows.last).to_be_focused()
        page.keyboard.press("Tab")
        assert page.evaluate("!document.activeElement.closest('.markets')")
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.closest('tr').rowIndex") == rows.count()


def test_hostile_titles_long_rules_and_a_market_without_times_fit_every_width(
    live: Stage, opened: Open
) -> None:
    now_ms = live.clock.now_ms()
    word = "Donaudampfschifffahrt" * 12
    strange = (
        "\u202e\u2067<script>alert(1)</script> \u05e9\u05dc\u05d5\u05dd Z\u0335\u0321\u0315\u034a\u0300a"
    )
    title = f"{word} {strange} {word}"
    times = dict.fromkeys(
        (
            "created_ms",
            "open_ms",
            "close_ms",
            "expected_expiration_ms",
            "latest_expiration_ms",
            "settlement_timer_s",
        )
    )
    name = "KXHOSTILE-" + "A" * 60
    rules = ("If it is so, YES. " * 600)[:10_000]
    raw = b'{"ticker":"x","rules_primary":"%b","rules_secondary":"%b"}' % (rules.encode(), word.encode())
    fine = ((0, 1_000, 1), (1_000, 9_000, 100), (9_000, 10_000, 1))
    live.stream(event(name, title, sub_title=title))
    for n in range(3):
        live.stream(market(name, f"T{n}", title, now_ms, title, price_ranges=fine, raw=raw, **times))
        live.stream(quote(f"{name}-T{n}", (1, 12_345_678_901), (9_999, 1), now_ms))
    for path in (f"/m/{name}-T0", f"/e/{name}", "/search?q=kxhostile", f"/m/{name}-X"):
        with opened(path, complaints=1) as page:
            expect(page.locator("h1")).to_be_visible()
            assert (path, faults_at(page, (360, 768, 1_440))) == (path, [])
