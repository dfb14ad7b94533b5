"""What browsers are sent: nothing from elsewhere, nothing inline, and not much."""

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

UI = Path(str(files("ui")))
STATIC = sorted(path for path in (UI / "static").iterdir() if path.is_file())
SCRIPTS = [path for path in STATIC if path.suffix == ".js"]
TEMPLATES = sorted((UI / "templates").glob("*.html"))


@pytest.mark.parametrize("path", STATIC + TEMPLATES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert re.findall(r"https?:|['\"(]//|@import|url\(['\"]?[^'\")]", text.replace("url_for(", "")) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_inline_script_or_style_and_never_switch_escaping_off(path: Path) -> None:
    text = path.read_text()

    assert re.findall(r"\sstyle=|\son[a-z]+=|<style|javascript:|\|\s*safe\b|autoescape", text) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_put_text_into_the_page_and_never_markup(path: Path) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b"

    assert re.findall(markup, path.read_text()) == []


def test_the_scripts_stay_small() -> None:
    assert 0 < sum(len(path.read_text().splitlines()) for path in SCRIPTS) <= 2_000


def test_vendored_files_are_exactly_as_released() -> None:
    vendor = UI / "static" / "vendor"
    manifest = json.loads((vendor / "manifest.json").read_text())

    for package in manifest.values():
        assert package["version"]
        assert package["licence"] in ("MIT", "0BSD")
        for name, digest in package["files"].items():
            assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
    named = {name for package in manifest.values() for name in package["files"]}
    assert {path.name for path in vendor.iterdir()} == named | {"manifest.json"}
