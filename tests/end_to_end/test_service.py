"""Test the chat in the browser: ask, get an answer, ask for a person, get their reply, close.

The pictures go to ``RETENTION_PICTURES``, by default ``build/pictures``.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.axe import barriers
from tests.chromium import page
from tests.end_to_end.playground_client import PlaygroundClient, demo, has_button
from tests.end_to_end.screen import Screen
from workers import action_ids

pytestmark = [pytest.mark.browser, pytest.mark.desk, pytest.mark.nightly]
MILLISECONDS = 90_000


@pytest.fixture(scope="module")
def desk(tmp_path_factory: Any) -> Iterator[PlaygroundClient]:
    folder = tmp_path_factory.mktemp("demo")
    with demo(folder / "home", log=folder / "demo.log") as started:
        yield started


def ask(shown: Any, text: str) -> None:
    shown.get_by_label("Your message").fill(text)
    shown.get_by_role("button", name="Send").click()


def see(shown: Any, text: str) -> None:
    shown.get_by_role("log").get_by_text(text).first.wait_for(timeout=MILLISECONDS)


@pytest.mark.timeout(900)
def test_shopper_gets_an_answer_and_then_a_person(desk: PlaygroundClient, browser: Any) -> None:
    url = f"{str(desk.http.base_url).rstrip('/')}/shop"
    with page(browser, url) as shown:
        shown.get_by_role("button", name="Chat").click()
        ask(shown, "What did I order last?")
        see(shown, "Your orders")
        Screen(shown).picture("chat_orders")
        ask(shown, "<img src=x onerror=alert(1)>")
        see(shown, "<img src=x")
        shown.get_by_role("button", name="Talk to a person").click()
        see(shown, "I have called a colleague")
        root = desk.wait(_with_close)
        with page(browser, str(desk.http.base_url)) as slack:
            _reply(Screen(slack), "Hello, this is Ann. How can I help?")
        see(shown, "this is Ann")
        ask(shown, "Where is my parcel?")
        desk.wait(lambda messages: any("Where is my parcel" in str(one) for one in messages))
        assert barriers(shown) == []
        Screen(shown).picture("chat_person")
        desk.press("analyst", root, action_ids.CLOSE_CHAT)
        see(shown, "has ended")
        shown.keyboard.press("Escape")
        assert shown.get_by_role("button", name="Chat").evaluate("b => b.matches(':focus')")
        shown.reload()
        shown.get_by_role("button", name="Chat").click()
        see(shown, "this is Ann")
    with page(browser, url, width=390, height=844, touch=True) as shown:
        shown.get_by_role("button", name="Chat").click()
        assert shown.evaluate("document.documentElement.scrollWidth") == 390
        Screen(shown).picture("chat_phone")


def _reply(slack: Screen, text: str) -> None:
    """Write into the chat's thread on the Slack page."""
    slack.become("Ana")
    slack.message(having=action_ids.CLOSE_CHAT).get_by_role(
        "button", name=re.compile("repl")
    ).click()
    slack.shown.locator("#thread-input").fill(text)
    slack.shown.keyboard.press("Enter")
    slack.shown.get_by_role("complementary", name="Thread").get_by_text(text).wait_for()
    slack.picture("chat_thread")


def _with_close(messages: list[dict[str, Any]]) -> Any:
    return next((one for one in messages if has_button(one, action_ids.CLOSE_CHAT)), None)
