"""Test that the guided path needs no mouse: from the command to the result by keys alone."""

import re
from typing import Any

import pytest

from tests.chromium import chromium, page
from tests.end_to_end.playground_client import PlaygroundClient
from workers import action_ids

pytestmark = [pytest.mark.browser, pytest.mark.desk, pytest.mark.nightly]
SLOW = 480_000  # milliseconds: the weeks of a campaign on a busy machine
PRESSES = 300  # of Tab, for once around the page


class Keys:
    """A person without a mouse."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def press(self, *keys: str) -> None:
        for key in keys:
            self.shown.keyboard.press(key)

    def reach(self, selector: str, key: str = "Shift+Tab") -> None:
        """Press Tab until the last match has focus, and check that the focus is visible."""
        self.shown.locator(selector).last.wait_for(timeout=SLOW)
        for _ in range(PRESSES):
            if self.shown.evaluate(
                "css => document.activeElement === [...document.querySelectorAll(css)].at(-1)",
                selector,
            ):
                break
            self.press(key)
        else:
            raise AssertionError(f"{selector} is out of reach")
        assert self.shown.evaluate(
            """() => {
              const {outlineStyle, boxShadow, backgroundColor} =
                getComputedStyle(document.activeElement);
              const box = document.activeElement.closest('.composer-box');
              return outlineStyle !== 'none' || boxShadow !== 'none' || box !== null
                || document.activeElement.matches('[role^=menuitem]');
            }"""
        ), f"the focus on {selector} is invisible"

    def button(self, action_id: str) -> str:
        return f'#messages [data-action-id="{action_id}"]'

    def activate(self, action_id: str) -> None:
        """Press the latest button of this kind."""
        self.reach(self.button(action_id))
        self.press("Enter")

    def dialog(self, name: str) -> Any:
        """Wait for a dialog, whose focus cannot leave it."""
        opened = self.shown.get_by_role("dialog", name=name)
        opened.wait_for(timeout=SLOW)
        return opened

    def become(self, handle: str) -> None:
        """Switch to another person by the menu."""
        self.reach("#who")
        self.press("Enter")
        for _ in range(10):
            if self.shown.evaluate("document.activeElement.dataset.person") == handle:
                break
            self.press("ArrowDown")
        self.press("Enter")
        self.shown.wait_for_url(re.compile(f"#/{handle}/"))
        self.shown.locator("#composer-input:focus").wait_for()


@pytest.mark.timeout(1800)
def test_guided_path_works_by_the_keyboard_alone(desk: PlaygroundClient) -> None:
    with chromium() as browser, page(browser, str(desk.http.base_url)) as shown:
        keys = Keys(shown)
        shown.get_by_text("I find customers at risk of leaving").first.wait_for()
        shown.locator("#composer-input:focus").wait_for()
        _sweep_and_draft(keys)
        _edit(keys)
        _submit_and_approve(keys)
        _see_the_result(keys)


def _sweep_and_draft(keys: Keys) -> None:
    keys.shown.keyboard.type("/retention sweep --tier high")
    keys.press("Escape", "Enter")
    keys.activate(action_ids.DRAFT_CAMPAIGN)
    keys.shown.locator(keys.button(action_ids.SUBMIT_CAMPAIGN)).last.wait_for(timeout=SLOW)


def _edit(keys: Keys) -> None:
    keys.activate(action_ids.EDIT_CAMPAIGN)
    dialog = keys.dialog("Edit campaign")
    holdout = dialog.get_by_label("Hold-out %")
    holdout.wait_for(timeout=SLOW)
    for _ in range(PRESSES):
        if holdout.evaluate("node => node === document.activeElement"):
            break
        keys.press("Tab")
        assert dialog.evaluate("box => box.contains(document.activeElement)")
    keys.press("Control+a")
    keys.shown.keyboard.type("15")
    keys.press("Enter")
    dialog.wait_for(state="detached", timeout=SLOW)
    assert keys.shown.evaluate("document.activeElement !== document.body")
    keys.shown.get_by_text(re.compile(r"\(15%\)")).last.wait_for(timeout=SLOW)


def _submit_and_approve(keys: Keys) -> None:
    keys.activate(action_ids.SUBMIT_CAMPAIGN)
    keys.shown.locator(keys.button(action_ids.APPROVE_CAMPAIGN)).last.wait_for(timeout=SLOW)
    keys.become("lead")
    keys.activate(action_ids.APPROVE_CAMPAIGN)
    dialog = keys.shown.get_by_role("dialog")
    dialog.wait_for()
    keys.press("Escape")  # first thoughts
    dialog.wait_for(state="detached")
    assert (
        keys.shown.evaluate("document.activeElement.dataset.actionId")
        == action_ids.APPROVE_CAMPAIGN
    )
    keys.press("Enter")
    dialog.wait_for()
    keys.press("Enter")
    keys.shown.locator(keys.button(action_ids.APPROVE_CAMPAIGN)).last.wait_for(
        state="detached", timeout=SLOW
    )


def _see_the_result(keys: Keys) -> None:
    keys.reach("#next-week")
    for _ in range(5):
        keys.press("Enter")
        keys.shown.locator("#clock.moving").wait_for()
        keys.shown.locator("#clock:not(.moving) #next-week:focus").wait_for(timeout=SLOW)
    text = re.compile("Promised", re.IGNORECASE)
    card = keys.shown.locator("#messages article", has_text=text).last
    card.wait_for(timeout=SLOW)
    keys.reach(f'#messages article[data-ts="{card.get_attribute("data-ts")}"] .replies')
    keys.press("Enter")
    keys.shown.locator("#thread-input:focus").wait_for()
    thread = keys.shown.get_by_role("complementary", name="Thread")
    thread.get_by_text(re.compile("Advice")).first.wait_for(timeout=SLOW)
    keys.press("Escape")
    assert keys.shown.evaluate("document.activeElement.matches('.replies')")
