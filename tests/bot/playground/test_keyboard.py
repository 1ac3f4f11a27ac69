"""Test the page's menus, modals, tabs and threads with the keyboard alone."""

from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient

from bot.playground.page import page_routes
from tests.bot.playground.test_page import GO, buttons, modal, section, text, typed
from tests.chromium import page
from tests.standins.slack import StandIn

pytestmark = pytest.mark.browser

WHY = typed("why", "Reason", {"type": "plain_text_input", "action_id": "value"})
MODAL = modal("Reject", WHY)
FRUIT = [{"text": text(name), "value": name} for name in ("Apple", "Pear", "Plum")]


@pytest.fixture
def slack() -> Iterator[StandIn]:
    extras = {"commands": [], "footer": ""}
    with StandIn.start(strict=False, routes=page_routes(), extras=extras) as started:
        yield started


@pytest.fixture
def shown(browser: Any, slack: StandIn) -> Iterator[Any]:
    """The channel, with focus in the message box."""
    with page(browser, f"{slack.url}/#/lead/crm") as opened:
        opened.locator("#composer-input:focus").wait_for()
        yield opened


def focused(shown: Any) -> str:
    """Return the name of the element with focus."""
    return shown.evaluate(
        "document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"
    )


def tab_to(shown: Any, name: str, key: str = "Shift+Tab") -> None:
    """Press Tab until an element has focus, and check that one can see it."""
    for _ in range(30):
        shown.keyboard.press(key)
        if focused(shown) == name:
            assert visibly_focused(shown)
            return
    raise AssertionError(f"{name} is out of reach")


def visibly_focused(shown: Any) -> bool:
    return shown.evaluate(
        """() => {
          const style = getComputedStyle(document.activeElement);
          const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
          return outlined || style.boxShadow !== 'none';
        }"""
    )


def test_modal_keeps_focus_and_returns_it_to_its_button(shown, client: WebClient, app):
    def answer(payload: dict[str, Any]) -> None:
        if payload["type"] == "block_actions":
            client.views_open(trigger_id=payload["trigger_id"], view=MODAL)

    app.answer = answer
    post = client.chat_postMessage(channel="C0CRM", text="x", blocks=[buttons(GO)])
    shown.get_by_role("button", name="Go on").wait_for()
    tab_to(shown, "Go on")
    shown.keyboard.press("Enter")
    dialog = shown.get_by_role("dialog", name="Reject")
    dialog.wait_for()
    for key in ["Tab"] * 6 + ["Shift+Tab"] * 6:
        shown.keyboard.press(key)
        assert dialog.evaluate("box => box.contains(document.activeElement)")
    shown.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert focused(shown) == "Go on"
    shown.keyboard.press("Enter")
    dialog.wait_for()
    changed = [section("New"), buttons(GO)]
    client.chat_update(channel="C0CRM", ts=post["ts"], text="y", blocks=changed)
    shown.get_by_text("New").wait_for()
    shown.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert focused(shown) == "Go on"  # the new one


def test_menu_moves_by_arrows_and_returns_focus(shown, client: WebClient, app):
    menu = {"type": "overflow", "action_id": "more", "options": FRUIT}
    client.chat_postMessage(channel="C0CRM", text="x", blocks=[buttons(menu)])
    shown.get_by_role("button", name="More actions").wait_for()
    tab_to(shown, "More actions")
    shown.keyboard.press("Enter")
    assert focused(shown) == "Apple"
    shown.keyboard.press("ArrowUp")
    assert focused(shown) == "Plum"
    shown.keyboard.press("Escape")
    assert focused(shown) == "More actions"
    shown.keyboard.press("Enter")
    shown.keyboard.press("ArrowDown")
    with shown.expect_response("**/actions"):
        shown.keyboard.press("Enter")
    assert app.received[0]["actions"][0]["selected_option"]["value"] == "Pear"
    assert focused(shown) == "More actions"


def test_list_acts_on_enter_not_on_each_arrow(shown, client: WebClient, app):
    choice = {"type": "static_select", "action_id": "pick", "options": FRUIT}
    choice["placeholder"] = text("Fruit")
    client.chat_postMessage(channel="C0CRM", text="x", blocks=[buttons(choice)])
    shown.get_by_label("Fruit").wait_for()
    tab_to(shown, "Fruit")
    for _ in range(3):
        shown.keyboard.press("ArrowDown")
    with shown.expect_response("**/actions"):
        shown.keyboard.press("Enter")
    (received,) = app.received
    assert received["actions"][0]["selected_option"]["value"] == "Plum"


def test_thread_and_person_menu_return_focus(shown, client: WebClient):
    post = client.chat_postMessage(channel="C0CRM", text="root")
    client.chat_postMessage(channel="C0CRM", text="reply", thread_ts=post["ts"])
    replies = shown.get_by_role("button", name="1 reply")
    replies.wait_for()
    replies.focus()
    shown.keyboard.press("Enter")
    shown.locator("#thread-input:focus").wait_for()
    shown.keyboard.press("Escape")
    shown.locator("#thread").wait_for(state="hidden")
    assert focused(shown).startswith("1 reply")
    shown.locator("#who").focus()
    shown.keyboard.press("Enter")
    shown.keyboard.press("Escape")
    assert "You act as Leo Okafor" in focused(shown)


def test_tabs_of_the_app_move_by_arrows(browser: Any, slack: StandIn, client: WebClient):
    home = {"type": "home", "blocks": [section("Your desk"), buttons(GO)]}
    client.views_publish(user_id="U0LEAD", view=home)
    with page(browser, f"{slack.url}/#/lead/app") as shown:
        shown.get_by_role("tab", name="Messages").focus()
        shown.keyboard.press("ArrowLeft")
        shown.keyboard.press("Enter")
        shown.get_by_text("Your desk").wait_for()
        assert focused(shown) == "Home"
        tab_to(shown, "Go on", "Tab")
        again = {"type": "home", "blocks": [section("Your new desk"), buttons(GO)]}
        client.views_publish(user_id="U0LEAD", view=again)
        shown.get_by_text("Your new desk").wait_for()
        assert focused(shown) == "Go on"
