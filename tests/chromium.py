"""Pages in Debian's Chromium, watched: what they wrote to the console, asked of others, or made too wide."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

T = TypeVar("T")
SETTLE_S = 20.0
"""Only failures wait this long, here as for what is expected of a page without a limit of its own."""

expect.set_options(timeout=1_000 * SETTLE_S)

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""Which of axe's rules: without this, those that came with WCAG 2.2 are left out."""

UNANSWERED = "net::ERR_"
"""The browser's own words for a request that nobody answered: not our page's error."""


@contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def watched(
    browser: Browser,
    origin: str,
    path: str = "/",
    complaints: int = 0,
    ignored: str | None = None,
    **options: Any,
) -> Iterator[Page]:
    """Open a page; fail at its end if it wrote errors to the console or asked another host for anything.

    Args:
        complaints: how many errors are expected.
        ignored: errors that hold this text do not count.
    """
    context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
    page = context.new_page()
    errors: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(origin) else foreign.append(asked.url))
    try:
        page.goto(origin + path)
        yield page
        counted = [text for text in errors if ignored is None or ignored not in text]
        assert len(counted) <= complaints, counted
        assert foreign == []
    finally:
        context.close()


def serious(page: Page, rule: str | None = None) -> list[str]:
    """What axe finds by the rules of WCAG 2.2, A and AA, and those of good practice: all of it is serious.

    Args:
        rule: by this one alone.
    """
    only = {"type": "tag", "values": RULES} if rule is None else {"type": "rule", "values": [rule]}
    options = {"resultTypes": ["violations"], "runOnly": only}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]} {node.get('failureSummary', '')[:200]}"
        for one in found
        for node in one["nodes"]
    ]


def settled(page: Page, look: Callable[[], T]) -> T:
    """What `look` finds at fault once a page has taken its new size: nothing, or what is there in the end.

    Scripts hear of a size a moment after it has changed; charts are drawn anew only then.
    """
    end = time.monotonic() + SETTLE_S
    while (found := look()) and time.monotonic() < end:
        page.wait_for_timeout(50)
    return found


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the screen."""
    script = "Math.max(0, document.documentElement.scrollWidth - window.innerWidth)"
    return settled(page, lambda: int(page.evaluate(script)))


def clipped(page: Page) -> list[str]:
    """Boxes that would have to be scrolled sideways to be read."""
    wide = "box => box.scrollWidth > box.clientWidth"
    script = f"boxes => boxes.filter({wide}).map(box => box.innerHTML.slice(0, 200))"
    return settled(page, lambda: list[str](page.eval_on_selector_all(".scroll, pre", script)))
