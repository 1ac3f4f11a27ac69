"""Test the window Edit text: parts, blocks and offer groups, and the commands for them."""

import json

import pytest
from sqlalchemy import select

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.parts import show_blocks
from retention.db.tables import Assignment, Campaign
from tests.bot.campaign import drafted, message, opened, reply
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ANALYST, words
from tests.retention.campaigns.samples import a_body, a_line
from tests.world import scalar
from workers import action_ids

LATE = "2"  # the number of the second group


@pytest.fixture
def two_groups(database, settings):
    """Half of the customers get a reminder."""
    late = a_line(rule="Late", action="reminder", discount=0.0)
    drafted(database, settings, offers=(*a_body().offers, late))
    with database.transaction() as session:
        for row in session.scalars(select(Assignment).where(Assignment.customer_id >= "k5")):
            row.offer = {**row.offer, "rule": "Late", "action": "reminder", "discount": 0.0}


def _state(inputs: dict) -> dict:
    """The inputs of the window: a text, a list of blocks, or the number of a group."""

    def element(block: str, value) -> dict:
        if isinstance(value, list):
            return {"selected_options": [{"value": one} for one in value]}
        if block.endswith(("group", "source", "count")):
            return {"selected_option": {"value": value}}
        return {"value": value}

    return {
        "values": {
            block: {action_ids.PREVIEW_COPY: element(block, value)}
            for block, value in inputs.items()
        }
    }


def _save(workspace, **inputs) -> dict:
    state = _state({"copy": "Hello {name}: {code}", **inputs})
    blocks = [{"type": "input", "block_id": block} for block in inputs]
    view = {"state": state, "blocks": blocks}
    return workspace.submit(action_ids.COPY_VIEW, "c7:1:C0CRM", {}, **view)


def _type(workspace, api, action=action_ids.PREVIEW_COPY, **inputs) -> dict[str, dict]:
    """The blocks of the window after typing, by id."""

    def change(payload):
        state = _state({"copy": "Hello {name}: {code}", **inputs})
        payload["view"] = {"id": "V1", "private_metadata": "c7:1:C0CRM", "state": state}
        payload["actions"][0] |= {"action_id": action, "value": "c7:1"}

    api.calls.clear()
    workspace.interact("block_actions.json", ANALYST, change)
    view = api.wait("views.update")["view"]
    blocks = (json.loads(view) if isinstance(view, str) else view)["blocks"]
    return {block.get("block_id", str(number)): block for number, block in enumerate(blocks)}


def _body(database) -> Body:
    return Body.model_validate(scalar(database, select(Campaign.body)))


def test_window_saves_parts_and_the_order_of_blocks(workspace, database, two_groups):
    blocks = {"blocks": ["products", "text", "code", "button"], "count": "4", "label": "See them"}
    details = {"source": "category", "category": "Tea", "page": ""}
    _save(workspace, subject="Tea for {name}", sender_name="Ann", **blocks, **details)
    body = _body(database)
    assert (body.message.subject, body.message.sender_name) == ("Tea for {name}", "Ann")
    shown = "products:category=Tea:4, text, code, button|See them"
    assert show_blocks(body.message.blocks) == shown
    assert shown in message(database, "campaign:c7:edited:2")


def test_window_keeps_a_category_with_the_marks_of_commands(workspace, database, two_groups):
    details = {"source": "category", "category": "Red|white:4", "heading": "Tea, text"}
    _save(workspace, blocks=["text", "code", "products"], **details)
    products = _body(database).message.products
    assert (products.category, products.count) == ("Red|white:4", 0)
    assert products.label == "Tea, text"


def test_unchanged_blocks_stay_the_default(workspace, database, two_groups, api):
    workspace.press(action_ids.CAMPAIGN_MENU, "copy|c7:1", ANALYST)
    blocks = {block["block_id"]: block for block in opened(api)["blocks"] if "block_id" in block}
    options = blocks["blocks"]["element"]["initial_options"]
    kinds = [option["value"] for option in options]
    source = blocks["source"]["element"]["initial_option"]["value"]
    _save(workspace, subject="Hello", blocks=kinds, source=source, label=None, page=None)
    assert _body(database).message.blocks == ()


def test_group_has_inputs_of_its_own(workspace, database, two_groups, api):
    blocks = _type(workspace, api, group=LATE)
    assert {"2:subject", "2:copy_text", "2:blocks"} <= blocks.keys()
    assert "initial_value" not in blocks["2:copy_text"]["element"]
    own = {"2:subject": "We miss you, {name}", "2:copy_text": "Come back, {name}"}
    shown = words([*_type(workspace, api, group=LATE, **own).values()])
    assert shown.count("Come back, …") == 3
    assert shown.count("We miss you, …") == 3
    _save(workspace, group=LATE, **own)
    body = _body(database)
    assert body.copy_text == "Hello {name}: {code}"
    assert {*body.group_messages} == {"Late"}
    assert body.group_messages["Late"].text == "Come back, {name}"


def test_errors_are_shown_while_typing_and_under_their_inputs(workspace, database, two_groups, api):
    typed = {"subject": "{secret}", "preheader": "Ours", "blocks": ["text", "picture"]}
    shown = _type(workspace, api, **typed)
    assert "{secret}" in words([*shown.values()])
    assert "Ours" in words([*shown.values()])
    assert "picture" in shown
    answer = _save(workspace, group=LATE, **{"2:subject": "{secret}", "2:greeting": "{b}"})
    assert answer["errors"].keys() == {"2:subject", "2:greeting"}
    assert scalar(database, select(Campaign.version)) == 1


def test_products_of_another_source_are_not_named_in_the_window(workspace, two_groups, api):
    inputs = {"copy": "{items} {code}", "blocks": ["text", "code", "products"], "source": "viewed"}
    assert "… XXXX" in words([*_type(workspace, api, **inputs).values()])


def test_send_to_me_has_what_was_typed_for_the_group(
    workspace, database, two_groups, api, monkeypatch
):
    monkeypatch.setattr("retention.outreach.dispatch.configured_channel", lambda _: "email")
    profile = {"email": "ana@shop.example", "real_name": "Ana"}
    api.answers["users.info"] = {"ok": True, "user": {"id": ANALYST, "profile": profile}}
    typed = {"group": LATE, "2:subject": "We miss you"}
    _type(workspace, api, action_ids.SEND_TO_ME, **typed)
    (job,) = until(lambda: all_jobs(database))
    assert (job.args["group"], job.args["typed"]["subject"]) == ("Late", "We miss you")


def test_commands_write_parts_for_all_and_for_a_group(workspace, database, two_groups):
    reply(workspace, "edit c7 --subject 'Tea for {name}' --blocks 'text,products:new:4,code'")
    reply(workspace, "edit c7 --group Late --copy 'Come back' --greeting 'Dear {name},'")
    body = _body(database)
    assert body.message.subject == "Tea for {name}"
    assert show_blocks(body.message.blocks) == "text, products:new:4, code"
    late = body.group_messages["Late"]
    assert (late.text, late.greeting) == ("Come back", "Dear {name},")
    assert body.copy_text == "Hello {name}: {code}"
    assert "Late" in reply(workspace, "edit c7 --group Lost --subject Hello")


def test_preview_command_takes_a_group(workspace, database, two_groups):
    reply(workspace, "preview c7 --group Late")
    (job,) = until(lambda: all_jobs(database))
    assert (job.kind, job.args["group"]) == ("campaign_preview", "Late")
