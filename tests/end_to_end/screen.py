"""Use the playground's page by clicks, as one person after another."""

import os
import re
from pathlib import Path
from typing import Any

SLOW = 900_000  # milliseconds: a retrain on a busy machine
PICTURES = Path(os.environ.get("RETENTION_PICTURES", "build/pictures"))
DECODE = "Promise.all([...document.images].map(one => one.decode().catch(() => null)))"


class Screen:
    """The page, used by one person after another."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def become(self, name: str) -> None:
        """Switch to another person by the menu."""
        self.shown.locator("#who").click()
        self.shown.get_by_role("menuitemradio", name=re.compile(name)).click()
        self.shown.locator("#who", has_text=name).wait_for()

    def type(self, line: str) -> None:
        """Type a line and send it."""
        self.shown.locator("#composer-input").click()
        self.shown.keyboard.type(line)
        self.shown.keyboard.press("Escape")
        self.shown.keyboard.press("Enter")

    def message(self, says: str = "", having: str | None = None) -> Any:
        """Wait for the latest message with a text and a button."""
        article = self.shown.locator("#messages article", has_text=re.compile(says, re.I))
        if having:
            article = article.filter(has=self.button(having))
        article.last.wait_for(timeout=SLOW)
        return article.last

    def button(self, action_id: str) -> Any:
        return self.shown.locator(f'[data-action-id="{action_id}"]')

    def press(self, message: Any, action_id: str, sure: str = "") -> None:
        """Press a button of a message, and confirm it if it asks."""
        message.locator(f'[data-action-id="{action_id}"]').first.click()
        if sure:
            self.shown.get_by_role("dialog").get_by_role("button", name=sure, exact=True).click()

    def go(self, place: str) -> None:
        """Open a conversation by the sidebar."""
        self.shown.locator(".sidebar").get_by_role("link", name=re.compile(place)).click()

    def show(self, message: Any) -> None:
        """Scroll a message to the top."""
        message.evaluate("node => node.scrollIntoView({block: 'start'})")

    def picture(self, name: str, message: Any = None) -> None:
        """Take a screenshot from the top of a message on."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        if message is not None:
            self.shown.mouse.move(640, 20)
            self.show(message)
        self.shown.evaluate(DECODE)
        self.shown.screenshot(path=PICTURES / f"{name}.png")

    def weeks(self, number: int) -> None:
        """Advance the clock by weeks."""
        for _ in range(number):
            self.shown.locator("#next-week").click()
            self.shown.locator("#clock:not(.moving) #next-week:enabled").wait_for(timeout=SLOW)
