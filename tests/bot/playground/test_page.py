"""Test the page in a browser, by keyboard and by clicks."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from slack_sdk import WebClient

from bot.playground import seed
from bot.playground.page import page_routes
from tests.chromium import page
from tests.standins.slack import StandIn
from tests.workers.harness import wait

pytestmark = pytest.mark.browser

COMMANDS = [
    {"usage": "/retention sweep [--tier high|medium|low]", "help": "Who is at risk, and why."},
    {"usage": "/retention status", "help": "Is everything up?"},
]


@pytest.fixture
def slack() -> Iterator[StandIn]:
    extras = {"commands": COMMANDS, "footer": "Whose data it is."}
    with StandIn.start(strict=False, routes=page_routes(), extras=extras) as started:
        yield started


@pytest.fixture
def see(browser: Any, slack: StandIn) -> Iterator[Callable[..., Any]]:
    """Open the page as a person in a channel."""
    opened = []

    def open_as(person: str, where: str = "crm", **size: Any) -> Any:
        manager = page(browser, f"{slack.url}/#/{person}/{where}", **size)
        shown = manager.__enter__()
        opened.append(manager)
        shown.locator(".channel-head h1").wait_for()
        return shown

    yield open_as
    for manager in opened:
        manager.__exit__(None, None, None)


def text(words: str) -> dict[str, str]:
    return {"type": "plain_text", "text": words}


def section(words: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": words}}


def buttons(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "actions", "block_id": "row", "elements": list(elements)}


def typed(block_id: str, label: str, element: dict[str, Any]) -> dict[str, Any]:
    return {"type": "input", "block_id": block_id, "label": text(label), "element": element}


def modal(title: str, *blocks: dict[str, Any], submit: str = "Save") -> dict[str, Any]:
    words = {"title": text(title), "submit": text(submit)}
    return {"type": "modal", **words, "blocks": list(blocks)}


GO = {"type": "button", "action_id": "go", "text": text("Go on"), "value": "1", "style": "primary"}


def press_go(see, client: WebClient, app, answer: Callable[..., Any]) -> Any:
    """Press a button, which the app answers so."""
    app.answer = answer
    client.chat_postMessage(channel="C0CRM", text="x", blocks=[buttons(GO)])
    shown = see("lead")
    shown.get_by_role("button", name="Go on").click()
    return shown


def open_view(client: WebClient, payload: dict[str, Any], view: dict[str, Any]) -> None:
    client.views_open(trigger_id=payload["trigger_id"], view=view)


def test_completed_command_is_answered_in_the_channel(see, slack: StandIn, app) -> None:
    app.answer = lambda payload: {"text": f"*{payload['text']}* is queued"}
    shown = see("analyst")
    shown.keyboard.type("/retention sw")
    shown.get_by_role("option", name=re.compile("sweep")).wait_for()
    shown.keyboard.press("Tab")
    shown.keyboard.type("--tier high")
    shown.keyboard.press("Enter")
    answer = shown.locator("article.ephemeral")
    answer.wait_for()
    assert "Only visible to you" in answer.inner_text()
    assert answer.locator("b").inner_text() == "sweep --tier high"
    assert shown.locator("#composer-input").input_value() == ""


def test_remote_changes_appear_without_losing_typed_text(
    see, slack: StandIn, client: WebClient
) -> None:
    shown = see("lead")
    shown.locator("#composer-input").click()
    shown.keyboard.type("half a sen")
    working = {"channel": "C0CRM", "text": "working", "blocks": [section("▰▱▱ working")]}
    ts = client.chat_postMessage(**working)["ts"]
    shown.get_by_text("▰▱▱ working").wait_for()
    client.chat_update(channel="C0CRM", ts=ts, text="done", blocks=[section("▰▰▰ done")])
    shown.get_by_text("▰▰▰ done").wait_for()
    shown.keyboard.type("tence")
    assert shown.locator("#composer-input").input_value() == "half a sentence"
    assert "(edited)" not in shown.locator("article").inner_text()
    client.chat_update(channel="C0CRM", ts=ts, text="text alone is marked")
    shown.get_by_text("text alone is marked (edited)").wait_for()
    client.chat_postMessage(channel="D0LEAD", text="for you alone")
    badge = shown.locator(".sidebar .badge")
    badge.wait_for()
    assert badge.inner_text() == "1"
    shown.get_by_role("link", name=re.compile("Retention Desk")).click()
    shown.get_by_text("for you alone").wait_for()
    assert badge.count() == 0


def test_markup_is_escaped(see, client: WebClient) -> None:
    words = (
        "*bold* _it_ ~no~ `a*b*c` <https://example.com/?a=1&amp;b=2|a link> "
        "<@U0LEAD> <#C0CRM> :tada: "
        "&lt;img src=x onerror=alert(1)&gt; <javascript:alert(1)|bad>\n&gt; quoted\n```x = *1*```"
    )
    client.chat_postMessage(channel="C0CRM", text=words)
    message = see("lead").locator("article")
    message.wait_for()
    assert message.locator("b").inner_text() == "bold"
    assert message.locator("i").inner_text() == "it"
    assert message.locator("s").inner_text() == "no"
    assert message.locator("code").inner_text() == "a*b*c"
    assert message.locator("a[target]").get_attribute("href") == "https://example.com/?a=1&b=2"
    assert message.locator(".mention.me").inner_text() == "@Leo Okafor"
    assert message.locator("blockquote").inner_text() == "quoted"
    assert message.locator("pre").inner_text() == "x = *1*"
    assert "🎉" in message.inner_text()
    assert "<img src=x onerror=alert(1)>" in message.inner_text()
    assert message.locator("a").count() == 2  # the link and the channel; the script is no link


def test_button_confirms_presses_once_and_reports_failure(see, client: WebClient, app) -> None:
    words = {"title": "Sure?", "text": "It cannot be undone.", "confirm": "Do it", "deny": "No"}
    confirm = {name: text(said) for name, said in words.items()}
    client.chat_postMessage(channel="C0CRM", text="x", blocks=[buttons({**GO, "confirm": confirm})])
    shown = see("lead")
    shown.get_by_role("button", name="Go on").click()
    shown.get_by_role("dialog", name="Sure?").wait_for()
    shown.keyboard.press("Escape")
    shown.get_by_role("dialog").wait_for(state="detached")
    assert app.received == []
    shown.get_by_role("button", name="Go on").click()
    app.status = 500
    shown.get_by_role("button", name="Do it").click()
    shown.get_by_role("alert").filter(has_text="dispatch_failed").wait_for()
    assert app.received[0]["actions"][0]["action_id"] == "go"
    assert len(app.received) == 1


def test_own_message_scrolls_to_the_answer(see, client: WebClient) -> None:
    for number in range(40):
        client.chat_postMessage(channel="C0CRM", text=f"message {number}")
    shown = see("lead")
    shown.get_by_text("message 39").wait_for()
    shown.locator("#scroll").evaluate("one => (one.scrollTop = 0)")
    box = shown.get_by_role("combobox", name="Message #crm")
    box.fill("my own words")
    box.press("Enter")
    shown.get_by_text("my own words").wait_for()
    left = "one => one.scrollHeight - one.scrollTop - one.clientHeight < 80"
    assert shown.locator("#scroll").evaluate(left)


def test_options_show_names_and_descriptions(see, client: WebClient, app) -> None:
    lead = {"text": {"type": "mrkdwn", "text": "<@U0LEAD>"}, "value": "lead"}
    lead["description"] = text("Approves campaigns.")
    boxes = {"type": "radio_buttons", "action_id": "value", "options": [lead]}
    view = modal("Edit", typed("approver", "Approver", boxes))
    shown = press_go(see, client, app, lambda payload: open_view(client, payload, view))
    choice = shown.get_by_role("dialog", name="Edit").locator(".choice")
    assert choice.inner_text().split("\n") == ["@Leo Okafor", "Approves campaigns."]


def test_modal_works_by_keyboard_and_shows_errors(
    see, slack: StandIn, client: WebClient, app
) -> None:
    why = typed("why", "Reason", {"type": "plain_text_input", "action_id": "value"})
    view = modal("Reject", {**why, "hint": text("The author reads it.")})

    def answer(payload: dict[str, Any]) -> Any:
        if payload["type"] == "block_actions":
            return open_view(client, payload, view)
        words = payload["view"]["state"]["values"]["why"]["value"]["value"]
        errors = {"response_action": "errors", "errors": {"why": "Say more."}}
        return errors if len(words) < 5 else None

    shown = press_go(see, client, app, answer)
    dialog = shown.get_by_role("dialog", name="Reject")
    dialog.wait_for()
    shown.keyboard.press("Enter")
    dialog.get_by_text("Please complete this required field.").wait_for()
    shown.keyboard.type("No")
    shown.keyboard.press("Enter")
    dialog.get_by_text("Say more.").wait_for()
    assert dialog.get_by_label("Reason").input_value() == "No"
    shown.keyboard.type(" budget left")
    shown.keyboard.press("Enter")
    dialog.wait_for(state="detached")
    assert app.received[-1]["view"]["state"]["values"]["why"]["value"]["value"] == "No budget left"


def test_view_is_updated_while_a_person_types(see, client: WebClient, app) -> None:
    """The caret and the scrolled place stay, or nobody could type on."""

    def view(shown: str) -> dict[str, Any]:
        element = {"type": "plain_text_input", "action_id": "typed", "multiline": True}
        element |= {"initial_value": "Hello,"}
        element["dispatch_action_config"] = {"trigger_actions_on": ["on_character_entered"]}
        asks = {"type": "input", "block_id": "copy", "dispatch_action": True, "label": text("Text")}
        filler = [section(f"line {number}") for number in range(40)]
        blocks = [*filler, {**asks, "element": element}, section(f"Preview: {shown}")]
        return modal("Edit", *blocks)

    def answer(payload: dict[str, Any]) -> None:
        if opened := payload.get("view"):
            shown = opened["state"]["values"]["copy"]["typed"]["value"]
            client.views_update(view_id=opened["id"], view=view(shown))
        else:
            open_view(client, payload, view("nothing"))

    shown = press_go(see, client, app, answer)
    dialog = shown.get_by_role("dialog", name="Edit")
    box = dialog.get_by_label("Text")
    box.click()
    box.evaluate("(node) => node.setSelectionRange(5, 5)")
    top = dialog.locator(".modal-body").evaluate("(node) => node.scrollTop")
    shown.keyboard.type(" Ruth")
    dialog.get_by_text("Preview: Hello Ruth,").wait_for()
    shown.keyboard.type(" R")
    dialog.get_by_text("Preview: Hello Ruth R,").wait_for()
    assert box.input_value() == "Hello Ruth R,"
    assert dialog.locator(".modal-body").evaluate("(node) => node.scrollTop") == top > 0


def test_thread_can_be_read_and_answered(see, slack: StandIn, client: WebClient) -> None:
    ts = client.chat_postMessage(channel="C0CRM", text="parent")["ts"]
    client.chat_postMessage(channel="C0CRM", text="first reply", thread_ts=ts)
    shown = see("lead")
    shown.get_by_role("button", name=re.compile("1 reply")).click()
    thread = shown.get_by_role("complementary", name="Thread")
    thread.get_by_text("first reply").wait_for()
    shown.keyboard.type("second reply")
    shown.keyboard.press("Enter")
    thread.get_by_text("second reply").wait_for()
    assert slack.messages("crm")[-1]["thread_ts"] == ts
    shown.keyboard.press("Escape")
    thread.wait_for(state="hidden")
    shown.get_by_role("button", name=re.compile("2 replies")).wait_for()


def test_files_and_images_can_be_viewed_and_downloaded(
    see, client: WebClient, slack: StandIn
) -> None:
    table = 'id,why\n1,"late, very"\n2,quiet\n3,"two\nlines"\n4,x\n5,x\n6,x\n'
    client.files_upload_v2(channel="C0CRM", filename="cohort.csv", content=table)
    shown = see("lead")
    preview = shown.locator(".file-preview")
    preview.get_by_text("late, very").wait_for()
    preview.get_by_text("6 rows").wait_for()  # a cell of two lines is one
    assert preview.locator("tbody tr").nth(2).locator("td").nth(1).inner_text() == "two lines"
    with shown.expect_download() as download:
        shown.get_by_role("link", name="Download cohort.csv").click()
    assert download.value.suggested_filename == "cohort.csv"
    assert download.value.path().read_text().startswith("id,why")


def test_home_tab_shows_the_published_view(see, client: WebClient, app) -> None:
    def answer(payload: dict[str, Any]) -> Any:
        if payload["type"] == "event_callback":
            view = {"type": "home", "blocks": [section("*Your desk*"), buttons(GO)]}
            client.views_publish(user_id=payload["event"]["user"], view=view)
        return {}

    app.answer = answer
    shown = see("analyst", "app")
    shown.get_by_role("tab", name="Home").click()
    shown.get_by_text("Your desk").wait_for()
    shown.get_by_role("button", name="Go on").click()
    wait(lambda: app.received[-1]["type"] == "block_actions")
    assert app.received[-1]["view"]["type"] == "home"


def test_switching_person_shows_their_messages(see, client: WebClient) -> None:
    client.chat_postEphemeral(channel="C0CRM", user="U0LEAD", text="only Leo sees this")
    shown = see("analyst")
    assert shown.get_by_text("only Leo sees this").count() == 0
    shown.locator("#who").click()
    shown.get_by_role("menuitemradio", name=re.compile("Leo Okafor")).click()
    shown.get_by_text("only Leo sees this").wait_for()
    assert "Leo Okafor" in shown.locator("#who").inner_text()


def test_page_fits_a_phone_and_credits_the_data(see, client: WebClient) -> None:
    rows = [[{"type": "raw_text", "text": f"cell {n}"} for n in range(8)]] * 3
    blocks = [{"type": "table", "rows": rows}, buttons(GO)]
    client.chat_postMessage(channel="C0CRM", text="x", blocks=blocks)
    shown = see("lead", width=390, height=844)
    shown.get_by_role("button", name="Go on").wait_for()
    assert shown.evaluate("document.documentElement.scrollWidth") == 390
    shown.get_by_role("button", name="Show channels").click()
    shown.get_by_role("link", name=re.compile("general")).click()
    shown.get_by_role("heading", name="# general", level=2).wait_for()
    credit = shown.get_by_text("Whose data it is.")
    assert not credit.is_visible()  # it is one tap away, to leave room for the messages
    shown.get_by_text("About this data").click()
    assert credit.is_visible()


PHONE = {"width": 390, "height": 844}


def test_toolbar_of_a_message_on_a_phone_needs_a_long_press(see, client: WebClient) -> None:
    client.chat_postMessage(channel="C0CRM", text="107 customers")
    shown = see("lead", **PHONE, touch=True)
    message = shown.locator("article").first
    message.wait_for()
    opacity = "bar => getComputedStyle(bar).opacity"
    bar = message.locator(".hover-bar")
    message.tap()
    assert bar.evaluate(opacity) == "0"
    message.dispatch_event("touchstart")
    shown.locator("article.pressed").wait_for()
    assert bar.evaluate(opacity) == "1"


def test_drawer_of_a_phone_closes_outside_and_by_escape(see) -> None:
    shown = see("lead", **PHONE)
    sidebar = shown.locator("#sidebar")
    for close in (
        lambda: shown.mouse.click(370, 400),
        lambda: shown.keyboard.press("Escape"),
        lambda: sidebar.get_by_role("link", name=re.compile("crm")).click(),
    ):
        shown.get_by_label("Show channels").click()
        sidebar.wait_for(state="visible")
        close()
        sidebar.wait_for(state="hidden")


def test_enter_takes_the_offered_person_before_it_sends(see, slack: StandIn, app) -> None:
    shown = see("analyst")
    shown.locator("#composer-input:focus").wait_for()
    shown.keyboard.type("@ret")
    shown.get_by_role("option", name="Retention Desk", selected=True).wait_for()
    shown.keyboard.press("Enter")
    shown.keyboard.type("who is at risk?")
    with shown.expect_response("**/messages"):
        shown.keyboard.press("Enter")
    shown.locator("article .mention").wait_for()
    assert app.received[0]["event"]["type"] == "app_mention"
    shown.keyboard.type("@Retention De")
    shown.get_by_role("option", name="Retention Desk", selected=True).wait_for()


def test_page_loads_no_foreign_resources(see, slack: StandIn) -> None:
    shown = see("lead")
    header = "answer => answer.headers.get('content-security-policy')"
    policy = shown.evaluate(f"fetch('/').then({header})")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    loaded = shown.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
    assert loaded
    assert all(url.startswith(slack.url) for url in loaded)


def test_every_control_has_an_accessible_name(see, client: WebClient) -> None:
    client.chat_postMessage(channel="C0CRM", text="x", blocks=[buttons(GO)])
    shown = see("lead")
    shown.get_by_role("button", name="Go on").wait_for()
    nameless = shown.evaluate(
        """[...document.querySelectorAll('button, a[href], input, select, textarea')].filter(node =>
          !(node.getAttribute('aria-label') || node.textContent.trim() || node.title
            || node.labels?.length)
        ).map(node => node.outerHTML)"""
    )
    assert nameless == []
    assert seed.BOT.name in shown.locator(".sidebar").inner_text()


@pytest.mark.nightly
def test_late_event_of_the_last_advance_does_not_end_the_current_one(
    see, slack: StandIn, client: WebClient
) -> None:
    current = {"type": "clock", "now": "2017-10-02T09:00:00+00:00", "stepping": False}
    shown, held = see("analyst"), []
    shown.route("**/playground/clock", lambda route: held.append(route))
    slack.workspace.notify(current)
    shown.locator("#next-week").click()
    shown.locator("#clock.moving").wait_for()
    slack.workspace.notify(current)
    client.chat_postMessage(channel="C0CRM", text="said after it")
    shown.get_by_text("said after it").wait_for()
    assert shown.locator("#next-week").is_disabled()
    held[0].fulfill(json={"now": "2017-10-09T09:00:00+00:00"})
    shown.locator("#clock:not(.moving) #next-week:enabled").wait_for()


def test_file_is_attached_and_reaches_the_app(see, http: httpx2.Client, app) -> None:
    shown = see("admin", "app")
    with shown.expect_file_chooser() as chooser:
        shown.get_by_role("button", name="Attach a file").click()
    content = b"code,used at\nK7M2-9QRT,2025-07-01\n"
    chooser.value.set_files({"name": "codes.csv", "mimeType": "text/csv", "buffer": content})
    shown.locator(".file-name", has_text="codes.csv").wait_for()
    shown.locator(".file-preview td", has_text="K7M2-9QRT").wait_for()
    wait(lambda: app.received)
    event = app.received[0]["event"]
    assert (event["subtype"], event["channel_type"]) == ("file_share", "im")
    (file,) = event["files"]
    assert http.get(file["url_private_download"]).headers["content-type"].startswith("text/html")
    bearer = {"authorization": f"Bearer {seed.BOT_TOKEN}"}
    assert http.get(file["url_private_download"], headers=bearer).content == content
