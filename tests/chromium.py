"""Headless Chromium of Debian for tests that look at the page.

They are skipped where it is missing, unless it is required.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; every page of it fails the test on a script error."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("RETENTION_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{CHROMIUM} is missing and RETENTION_REQUIRE_BROWSER is set")
        pytest.skip(f"{CHROMIUM} is missing; install Debian's chromium to run this test")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page(
    browser: Any, url: str, *, width: int = 1280, height: int = 800, touch: bool = False
) -> Iterator[Any]:
    """A page whose script errors and refused resources are told at the end."""
    problems: list[str] = []
    shown = browser.new_page(
        viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch
    )
    shown.on("pageerror", lambda error: problems.append(f"script: {error}"))
    shown.on(
        "console",
        lambda told: problems.append(f"console: {told.text}") if told.type == "error" else None,
    )
    shown.goto(url)
    yield shown
    shown.close()
    assert problems == []
