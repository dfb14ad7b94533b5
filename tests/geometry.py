"""What a page looks like to a ruler: what is too wide, cut off, broken, too small to hit, or a trap.

One page in one tab, whatever its width: `faults` looks at everything that is shown.
"""

from pathlib import Path

from playwright.sync_api import Page

from tests.chromium import settled

WIDTHS = (360, 480, 641, 768, 1_024, 1_070, 1_440, 1_920, 2_560)
"""A small phone, a large one, the first width that is no phone, tablets and half screens, desks."""

TURNS = (360, 641, 1_024, 1_440)
"""Those at which pages change most, for pages that have nothing of their own at the others."""

HEIGHT = 812

_SCRIPT = Path(__file__).with_suffix(".js").read_text()


def faults(page: Page) -> list[str]:
    """Return what is wrong with the page as it stands in its window, at its top and at its end."""
    found: list[str] = page.evaluate(_SCRIPT)
    return found


def faults_at(page: Page, widths: tuple[int, ...]) -> list[str]:
    """Return what is wrong with the page at each width, in as few sentences as they have in common."""
    found: dict[str, list[int]] = {}
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for fault in settled(page, lambda: faults(page)):
            found.setdefault(fault, []).append(width)
    return [f"{fault} at {', '.join(map(str, widths))} px" for fault, widths in found.items()]
