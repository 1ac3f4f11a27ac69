"""Check the playground's page, e-mails, the unsubscribe page and the reports with axe-core."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from slack_sdk import WebClient

from bot.playground import seed
from bot.playground.page import page_routes
from retention import templating
from retention.campaigns.message.customer_message import compose_message
from retention.campaigns.message.unsubscribe_page import render_page
from retention.db.tables import Send
from retention.outreach.adapter import Contact
from retention.text import use_language
from tests.axe import barriers
from tests.bot.message_samples import samples
from tests.bot.report_samples import report_pages
from tests.bot.slack.test_messages import messages
from tests.chromium import page
from tests.retention.campaigns.samples import a_body
from tests.standins.slack import StandIn
from workers.delivery import render

pytestmark = pytest.mark.browser
DESKTOP, PHONE = 1280, 390
SAMPLES = samples()


@pytest.fixture(scope="module")
def slack() -> Iterator[StandIn]:
    """A workspace whose channel has every message that we send."""
    commands = [{"usage": "/retention sweep [--tier high]", "help": "Who is at risk, and why."}]
    extras = {"commands": commands, "footer": "Whose data it is."}
    with StandIn.start(strict=False, routes=page_routes(), extras=extras) as started:
        web = WebClient(token=seed.BOT_TOKEN, base_url=started.api_url, retry_handlers=[])
        for name in messages():
            message = render.message(name, **SAMPLES[name])
            blocks = _with_pictures(message.blocks, started.url)
            web.chat_postMessage(channel="C0CRM", text=message.text, blocks=blocks)
        web.chat_postMessage(channel="D0ANALYST", text="hello")
        home = render.message("campaign/list", **SAMPLES["campaign/list"]).blocks
        web.views_publish(user_id="U0ANALYST", view={"type": "home", "blocks": home})
        yield started


def _with_pictures(node: Any, url: str) -> Any:
    """Replace uploaded pictures, which this workspace lacks."""
    if isinstance(node, list):
        return [_with_pictures(one, url) for one in node]
    if not isinstance(node, dict):
        return node
    if "slack_file" in node:
        rest = {key: value for key, value in node.items() if key != "slack_file"}
        return {**rest, "image_url": f"{url}/page/bot.svg"}
    return {key: _with_pictures(value, url) for key, value in node.items()}


@pytest.fixture(params=[DESKTOP, PHONE])
def open_page(request, browser: Any, slack: StandIn) -> Iterator[Any]:
    """Open the page of the analyst at a place, on a desktop and on a phone."""
    with page(browser, "about:blank", width=request.param) as shown:

        def go(place: str) -> Any:
            shown.goto(f"{slack.url}/#/analyst/{place}")
            shown.locator(".channel-head h1").wait_for()
            return shown

        yield go


@pytest.mark.nightly
def test_every_message_is_free_of_barriers(open_page):
    shown = open_page("crm")
    shown.locator("#messages article").first.wait_for()
    assert shown.locator("#messages article").count() == len(messages())
    assert barriers(shown) == []


@pytest.mark.nightly
def test_completion_person_menu_and_thread_are_free_of_barriers(open_page):
    shown = open_page("app")
    shown.locator("#composer-input").fill("/retention sw")
    shown.locator("#composer [role=option]").first.wait_for()
    assert barriers(shown) == []
    shown.locator("#composer-input").fill("")
    shown.locator("#who").click()
    assert barriers(shown) == []
    shown.keyboard.press("Escape")
    shown.locator("#messages article").last.hover()
    shown.get_by_role("button", name="Reply in thread").last.click()
    shown.locator("#thread-input").wait_for()
    assert barriers(shown) == []


def test_app_home_is_free_of_barriers(open_page):
    shown = open_page("app")
    shown.get_by_role("tab", name="Home").click()
    shown.locator(".home .block").first.wait_for()
    assert barriers(shown) == []


FIELDS: list[dict[str, Any]] = [
    {"type": "plain_text_input"},
    {"type": "plain_text_input", "multiline": True},
    {"type": "number_input", "is_decimal_allowed": True},
    *({"type": kind} for kind in ("datepicker", "datetimepicker", "users_select")),
]
CHOICES = ("static_select", "checkboxes", "radio_buttons")


def plain(text: str) -> dict[str, str]:
    return {"type": "plain_text", "text": text}


def test_modal_with_every_input_is_free_of_barriers(open_page, slack: StandIn):
    options = [{"text": plain(tier), "value": tier} for tier in ("high", "medium")]
    fields = [*FIELDS, *({"type": kind, "options": options} for kind in CHOICES)]
    blocks = [
        {
            "type": "input",
            "block_id": f"b{number}",
            "label": plain(f"Input {number}"),
            "hint": plain("A hint."),
            "optional": number % 2 == 0,
            "element": {"action_id": "value", **element},
        }
        for number, element in enumerate(fields)
    ]
    words = {"title": plain("Edit"), "submit": plain("Save")}
    view = {"id": "V1", "type": "modal", **words, "blocks": blocks}
    shown = open_page("general")
    shown.evaluate("view => import('/page/modal.js').then(modal => modal.showView(view))", view)
    shown.get_by_role("dialog", name="Edit").wait_for()
    assert barriers(shown) == []


@pytest.mark.parametrize("action", ["coupon", "free_shipping", "reminder"])
@pytest.mark.nightly_after(1)
def test_email_is_free_of_barriers(action, settings, browser):
    terms = {
        "action": action,
        "discount": 0.1 if action == "coupon" else 0.0,
        "items": [{"item_id": str(number), "title": f"Tea {number}"} for number in range(3)],
    }
    code = {"code": "TEA-7F3A", "expires_at": datetime(2025, 6, 1, tzinfo=UTC)}
    offer = {"offer": terms, **(code if action != "reminder" else dict.fromkeys(code))}
    send = Send(id=5, campaign_id="c1", customer_id="k")
    contact = Contact("a@b.example", "Ann")
    body = a_body(copy_text="")
    message = compose_message(settings, body, send, contact, offer, "https://x.example/u")
    _check_page(browser, message.html)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("what", ["ask", "done", "unknown", "later"])
def test_unsubscribe_page_is_free_of_barriers(what, settings, browser):
    html = render_page(settings.model_copy(update={"shop": "Journey Grocers"}), what)
    _check_page(browser, html)


@pytest.mark.nightly
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["digest", "at_risk", "model_card", "quality", "recommendations"])
def test_report_page_is_free_of_barriers(name, language, browser):
    with use_language(language):
        page_html = templating.html(f"reports/{name}.html.j2", **report_pages()[name])
    _check_page(browser, page_html)


def _check_page(browser: Any, html: str) -> None:
    for width in (DESKTOP, PHONE):
        with page(browser, "about:blank", width=width) as shown:
            shown.set_content(html)
            assert barriers(shown) == []
