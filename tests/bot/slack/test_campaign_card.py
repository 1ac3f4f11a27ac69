"""Test the card of a campaign: what it shows, its windows and its pictures."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from retention import clock
from retention.campaigns.lifecycle.copy_test import CopyTest, Variant
from retention.campaigns.lifecycle.spec import Body, Overlap, Targeting
from retention.campaigns.lifecycle.states import STATES
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.parts import MessageParts, parse_blocks
from retention.campaigns.message.preview import masked_messages, preview_rows
from retention.campaigns.planning.remedies import WARNINGS, campaign_warnings
from retention.db.tables import Assignment, Campaign, File, Outbox
from tests import world
from tests.bot.campaign import (
    KEY,
    approve,
    campaign_row,
    drafted,
    edit,
    fill,
    message,
    opened,
    refused_inputs,
    state,
    submit,
    whispered,
)
from tests.bot.slack.test_messages import size_of
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ADMIN, ANALYST, CHANNEL, LEAD, VIEWER, stored, words
from tests.retention.campaigns.samples import a_body
from tests.world import scalar
from workers import action_ids
from workers.campaigns.follow_ups import follow_up_request
from workers.delivery import render

TOTALS = {"total": 80.0, "total_low": -40.0, "total_high": 200.0}
EFFECT = {**TOTALS, "per_customer": 0.9, "low": -0.5, "high": 2.3, "standard_error": 0.7}
RESULT = {
    "advice": "undecided",
    "effects": dict.fromkeys(("profit", "buyers", "orders", "revenue"), EFFECT),
    "sample_ratio": {"treated": 85, "control": 15, "believable": True, "p_value": 1.0},
    "cost": 20.0,
    "redeemed": 3,
    "simulated": None,
}


def _save_texts(workspace, **texts: str) -> None:
    """Submit the window of the text."""
    values = {name: {action_ids.PREVIEW_COPY: {"value": text}} for name, text in texts.items()}
    workspace.submit(action_ids.COPY_VIEW, "c7:1:C0CRM", {}, state={"values": values})


def _inputs(api) -> dict[str, dict]:
    """The inputs of the window that was opened."""
    blocks = opened(api)["blocks"]
    return {block["block_id"]: block["element"] for block in blocks if block["type"] == "input"}


def _campaign(in_state: str = "draft", result=None, **body) -> Campaign:
    moments = ("decided_at", "expires_at", "clears_at", "send_at", "sent_at", "window_ends_at")
    return campaign_row(
        state=in_state,
        submitted_by=ANALYST,
        approved_by=[LEAD] if in_state not in ("draft", "submitted") else [],
        decided_by=LEAD,
        reason="wrong price",
        result=result,
        body=a_body(**body),
        **dict.fromkeys(moments, clock.wall()),
    )


def _card(campaign: Campaign, **more) -> list[dict]:
    data = campaign_data(campaign) | more
    return render.message("campaign/card", campaign=data, demo=True, zone="UTC").blocks


def _buttons(blocks: list[dict]) -> list[str]:
    rows = (block["elements"] for block in blocks if block["type"] == "actions")
    elements = (element for row in rows for element in row)
    return [element["action_id"] for element in elements if element["type"] == "button"]


def _lines(blocks: list[dict]) -> list[str]:
    texts = [words([b]) for b in blocks if b["type"] in ("section", "context")]
    return [line for text in texts for line in text.strip().split("\n")]


@pytest.mark.parametrize("in_state", STATES)
@pytest.mark.parametrize("result", [None, RESULT], ids=["unmeasured", "measured"])
def test_card_has_at_most_three_buttons_and_ten_lines(in_state, result):
    assumed = {"assumed": ("margin",), "untitled": 3, "scores_age_days": 9}
    size = size_of(render.Message("", _card(_campaign(in_state, result, **assumed))))
    assert (size.buttons, size.pictures) <= (3, 1)
    assert size.lines <= 10
    assert size.words <= 130


@pytest.mark.parametrize(
    ("in_state", "says"),
    [
        ("draft", "*Draft: 10% coupon for 85 customers.* Expected profit €31, likely between"),
        ("submitted", "*Waiting for approval: 10% coupon for 85 customers.*"),
        ("approved", "Anyone can stop it until then."),
        ("live", "*Live: 10% coupon for 85 customers.* Result on "),
        ("rejected", f"*Rejected by <@{LEAD}>:* wrong price"),
        ("cancelled", f"*Stopped by <@{LEAD}>:* wrong price"),
    ],
)
def test_first_line_says_the_state_and_the_answer(in_state, says):
    assert says in _lines(_card(_campaign(in_state)))[0]


def test_first_line_of_a_losing_draft_says_so():
    first = _lines(_card(_campaign(contact_cost=2.0)))[0]
    assert "Expected to lose €1" in first


def test_first_line_of_an_inconclusive_result_names_the_needed_size():
    data = campaign_data(_campaign("closed", RESULT))
    first = _lines(_card(_campaign("closed", RESULT)))[0]
    assert "*Inconclusive: profit €80*, likely between −\u2060€40 and €200." in first
    assert f"About {data['verdict']['needed']:,} customers would be conclusive." in first


@pytest.mark.parametrize("advice", ["repeat", "stop", "cheaper", "undecided"])
def test_result_without_a_measurable_next_draft_has_no_button(advice):
    blocks = _result(None, 37, 37, advice=advice)
    assert action_ids.FOLLOW_UP not in _buttons(blocks)
    assert "37 customers can get it" in words(blocks)


def _result(action: str | None, customers: int, reachable: int, **changes) -> list[dict]:
    """The card of a closed campaign with what the next draft would have."""
    follow = {"action": action, "customers": customers, "reachable": reachable}
    return _card(_campaign("closed", {**RESULT, "follow": follow, **changes}))


@pytest.mark.parametrize(("action", "number"), [("repeat", 450), ("medium", 900)])
def test_result_says_how_many_customers_the_next_draft_has(action, number):
    blocks = _result(action, number, number, advice="repeat")
    assert f'"c7:1:{action}"' in json.dumps(blocks)
    assert f"{number} customers" in words(blocks)


def test_result_that_needs_more_customers_than_the_shop_has_says_what_to_do():
    assert "larger audience" not in words(_result("repeat", 37, 150))
    first = _lines(_result(None, 37, 150))[0]
    assert "only 150 customers can get an offer now" in first
    assert "such campaigns" in first


def test_result_shows_promise_and_measurement_and_its_next_step():
    blocks = _card(_campaign("closed", RESULT))
    assert "*Promised against measured* Promised €31" in words(blocks)
    assert _buttons(blocks) == [action_ids.FOLLOW_UP]
    assert '"c7:1:larger"' in json.dumps(blocks)


def test_only_the_most_important_warning_is_shown():
    overlap = Overlap(campaign_id="c8", name="June", state="draft", customers=5, left_out=False)
    costs = {"budget": 1.0, "contact_cost": 2.0, "assumed": ("margin",), "unmade": ("coupon",)}
    notes = {"scores_age_days": 9, "overlaps": (overlap,), "untitled": 2, "copy_text": "Hello"}
    body = a_body(**costs, **notes, targeting=Targeting(by="risk", why="failed"))
    assert campaign_warnings(body, body.plan(), lacks_address=True) == WARNINGS
    text = words(_card(_campaign(**body.model_dump())))
    assert text.count(":warning:") == 1
    assert "above the budget of €1" in text
    assert "Details has 9 more notes" in text
    data = campaign_data(_campaign(**body.model_dump())) | {"warnings": list(WARNINGS)}
    view = render.view("campaign/details", campaign=data, history=[], zone="UTC")
    assert words(view["blocks"]).count("•") >= len(WARNINGS)


def test_sms_have_no_warnings_about_emails():
    body = a_body(message_channel="sms", untitled=2)
    warnings = campaign_warnings(body, body.plan(), lacks_address=True)
    assert not {"no_address", "untitled"} & set(warnings)


def test_warning_and_remedy_of_a_draft_stand_at_its_top():
    remedy = {"action_id": "campaign.widen", "value": "x", "text": "Widen to medium risk"}
    blocks = _card(_campaign(), warning="Too small.", remedy=[remedy])
    assert "Too small." in words(blocks[:1])
    usual = [action_ids.SUBMIT_CAMPAIGN, action_ids.EDIT_CAMPAIGN]
    assert _buttons(blocks) == ["campaign.widen", *usual]


def test_picture_is_stored_once_per_version(workspace, database, draft, settings):
    workspace.press(action_ids.SUBMIT_CAMPAIGN, "c7:1", ANALYST)
    until(lambda: state(database) == "submitted")
    files = select(func.count()).select_from(File)
    assert scalar(database, files) == 1
    world.execute(database, update(File).values(content=None))  # dropped after the upload
    approve(database)
    assert scalar(database, files) == 1
    edit(database, holdout=0.2)
    assert scalar(database, files) == 2


def test_details_open_for_everyone(workspace, draft, api):
    workspace.press(action_ids.CAMPAIGN_MENU, "details|c7:1", VIEWER)
    shown = words(opened(api)["blocks"])
    assert "Excluded: 7 without consent" in shown
    assert "drafted it" in shown


def test_details_show_all_that_is_approved():
    long = "x" * 1_900
    message = MessageParts(subject="Hello", text=long, blocks=parse_blocks("text,button|Go"))
    test = CopyTest(variants=(Variant(name="B", message=message, discount=0.2),))
    body = a_body(copy_text=f"{long} & {{code}}", group_messages={"High risk": message}, test=test)
    values = {"campaign": campaign_data(_campaign(**body.model_dump())), "zone": "UTC"}
    details = words(render.view("campaign/details", **values, history=[])["blocks"])
    answer = words(render.message("campaign/variants", **values).blocks)
    assert (details.count(long), details.count("button|Go")) == (3, 2)
    assert (answer.count(long), answer.count("button|Go"), "20%" in answer) == (1, 1, True)


def test_menu_opens_the_form_of_the_next_variant(workspace, draft, api):
    workspace.press(action_ids.CAMPAIGN_MENU, "test|c7:1", ANALYST)
    blocks = {block.get("block_id"): block for block in opened(api)["blocks"]}
    chosen = blocks["campaign variants:variant"]["element"]["initial_option"]["value"]
    assert (chosen, "campaign variants:subject" in blocks) == ("B", True)


def test_menu_of_another_version_is_explained(workspace, draft, api):
    workspace.press(action_ids.CAMPAIGN_MENU, "dance|c7:1", ANALYST)
    assert "another version of the desk" in whispered(api)


def test_preview_opens_a_window_that_a_job_fills(workspace, database, draft, api):
    workspace.press(action_ids.PREVIEW_EMAIL, "c7:1", ANALYST)
    assert "Writing the message" in words(opened(api)["blocks"])
    (job,) = until(lambda: all_jobs(database))
    assert (job.kind, job.channel, job.thread_key) == ("campaign_preview", None, None)
    assert job.args["view_id"] is not None


def test_result_so_far_is_in_the_thread_of_the_card(workspace, database, draft):
    workspace.press(action_ids.CAMPAIGN_MENU, "look|c7:1", ANALYST)
    (job,) = until(lambda: all_jobs(database))
    assert (job.kind, job.channel, job.thread_key) == ("campaign_look", CHANNEL, KEY)
    assert [row.key for row in stored(database, Outbox)] == [KEY]  # no progress beside the card


def test_preview_of_an_older_version_updates_the_card(workspace, database, draft, settings, api):
    edit(database, holdout=0.2)
    workspace.press(action_ids.PREVIEW_EMAIL, "c7:1", ANALYST)
    assert "has been edited since" in whispered(api)
    assert not all_jobs(database)


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        ("repeat", {"tier": "high"}),
        ("larger", {"tier": "medium"}),
        ("cheaper", {"tier": "high", "discount": 0.05}),
        ("reminder", {"tier": "high", "offer": "reminder"}),
    ],
)
def test_advice_has_a_button_that_drafts_it(workspace, database, draft, following, expected):
    request = follow_up_request(campaign_data(_campaign()), following)
    assert request.model_dump(exclude_defaults=True) | {"tier": request.tier} == expected
    workspace.press(action_ids.FOLLOW_UP, f"c7:1:{following}", ANALYST)
    (job,) = until(lambda: all_jobs(database))
    assert job.kind == "campaign_draft"
    assert job.args["discount"] == expected.get("discount")


# ---------------------------------------------------------------- edits


def test_edit_window_uses_pickers_instead_of_text(workspace, draft, api):
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    kinds = {name: element["type"] for name, element in _inputs(api).items()}
    numbers = ("discount", "amount", "min_order", "holdout", "budget", "expires")
    assert {kinds[name] for name in numbers} == {"number_input"}
    chosen = [kinds[name] for name in ("send_on", "approver", "offer")]
    assert chosen == ["datetimepicker", "radio_buttons", "static_select"]


def test_chosen_time_and_approver_are_stored_and_shown(workspace, database, settings, draft, api):
    at = (clock.now() + timedelta(days=3)).replace(microsecond=0, second=0)
    typed = {"name": "May", "holdout": "20", "expires": "28", "budget": "1000"}
    typed |= {"copy": "Hello {name}: {code}", "approver": {"selected_option": {"value": LEAD}}}
    typed["send_on"] = {"selected_date_time": int(at.timestamp())}
    assert fill(workspace, action_ids.EDIT_VIEW, "c7:1:C0CRM", ANALYST, **typed).body == ""
    body = scalar(database, select(Campaign.body))
    assert (body["approver"], body["send_on"]) == (LEAD, at.isoformat().replace("+00:00", "Z"))
    diff = message(database, "campaign:c7:edited:2")
    assert "Hold-out group: 15% \\u2192 20%" in diff
    assert f"Approver: anyone \\u2192 <@{LEAD}>" in diff
    assert f"<@{ANALYST}> edited it" in diff
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:2", ANALYST)
    assert _inputs(api)["send_on"]["initial_date_time"] == int(at.timestamp())
    submit(database, 2)
    assert "waits for your decision" in message(database, f"campaign:c7:request:2:{LEAD}")


def test_removing_the_time_sends_as_soon_as_possible(workspace, database, settings, draft):
    at = clock.now() + timedelta(days=3)
    edit(database, send_on=f"{at:%Y-%m-%d %H:%M}")
    typed = {"name": "May", "copy": "Hello", "soon": {"selected_options": [{"value": "soon"}]}}
    typed["send_on"] = {"selected_date_time": int(at.timestamp())}
    assert fill(workspace, action_ids.EDIT_VIEW, "c7:2:C0CRM", ANALYST, **typed).body == ""
    assert scalar(database, select(Campaign.body))["send_on"] is None


def offered_approvers(workspace, api, user) -> list[str]:
    api.calls.clear()
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", user)
    return [option["value"] for option in _inputs(api)["approver"]["options"]]


def test_window_offers_only_people_who_can_approve(workspace, database, draft, api):
    assert offered_approvers(workspace, api, ANALYST) == ["anyone", ADMIN, LEAD]
    assert offered_approvers(workspace, api, LEAD) == ["anyone", ADMIN]  # LEAD would be an author


def test_choosing_any_approver_removes_the_chosen_one(workspace, database, settings, draft):
    edit(database, approver=LEAD)
    typed = {"name": "May", "copy": "Hi", "approver": {"selected_option": {"value": "anyone"}}}
    assert fill(workspace, action_ids.EDIT_VIEW, "c7:2:C0", ANALYST, **typed).body == ""
    assert scalar(database, select(Campaign.body))["approver"] is None


@pytest.mark.parametrize(
    ("user", "approver", "says"),
    [
        (ANALYST, VIEWER, "cannot approve"),
        (ANALYST, ANALYST, "cannot"),
        (LEAD, LEAD, "drafted or edited"),
    ],
)
def test_approver_who_could_not_approve_is_refused(
    workspace, database, draft, user, approver, says
):
    typed = {"name": "May", "copy": "Hello", "approver": {"selected_user": approver}}
    assert says in refused_inputs(workspace, user, **typed)["approver"]
    assert scalar(database, select(Campaign.version)) == 1


def test_approve_shows_what_changed_since_the_submission(workspace, database, settings, submitted):
    assert "Changed since" not in message(database)
    for version, discount in ((1, 0.12), (2, 0.15)):
        edit(database, version, discount=discount, name=15 * "Long ")
    submit(database, 3)
    payload = scalar(database, select(Outbox.payload).where(Outbox.key == KEY))
    buttons = {element["action_id"]: element for element in payload["blocks"][-1]["elements"]}
    approve = buttons[action_ids.APPROVE_CAMPAIGN]
    text = approve["confirm"]["text"]["text"]
    assert "Changed since version 1: Offer: 10% coupon → 15% coupon" in text
    assert len(text) <= 300


# ---------------------------------------------------------------- text


def _typed(workspace, action: str, text: str, user: str = ANALYST, target="c7:1:C0CRM"):
    def change(payload):
        state = {"values": {"copy": {action_ids.PREVIEW_COPY: {"value": text}}}}
        payload["view"] = {"id": "V1", "private_metadata": target, "state": state}
        payload["actions"][0] |= {"action_id": action, "value": "c7:1"}

    return workspace.interact("block_actions.json", user, change)


def _updated(api) -> str:
    view = api.wait("views.update")["view"]
    return words((json.loads(view) if isinstance(view, str) else view)["blocks"])


def test_text_window_previews_three_customers(workspace, draft, api):
    workspace.press(action_ids.CAMPAIGN_MENU, "copy|c7:1", ANALYST)
    shown = words(opened(api)["blocks"])
    assert shown.count("Hello …: XXXX-XXXX-XXXX") == 3
    assert "{expires}" in shown
    assert "k1" not in shown.split()
    _typed(workspace, action_ids.PREVIEW_COPY, "Dear {name}, {discount}")
    assert _updated(api).count("Dear …, 10") == 3


def test_text_window_names_customers_without_a_value(workspace, database, draft, api):
    (row,) = stored(database, Assignment, Assignment.customer_id == "k5")
    unnamed = update(Assignment).values(offer={**row.offer, "named": False})
    world.execute(database, unnamed.where(Assignment.customer_id == "k5"))
    _typed(workspace, action_ids.PREVIEW_COPY, "Hello {name}, {items}")
    shown = _updated(api)
    assert "`{name}` is empty for 1 of 100 customers" in shown
    assert "`{items}` is empty for 100 of 100 customers" in shown


def test_unknown_variable_is_explained_in_the_window(workspace, database, draft, api):
    _typed(workspace, action_ids.PREVIEW_COPY, "Dear {nobody}")
    assert "{nobody}" in _updated(api)
    _typed(workspace, action_ids.SEND_TO_ME, "Dear {nobody}")
    assert not all_jobs(database)


@pytest.fixture
def mail_server(monkeypatch):
    monkeypatch.setattr("retention.outreach.dispatch.configured_channel", lambda _: "email")


def _profile(api, **profile: str) -> None:
    """What Slack tells of the analyst."""
    api.answers["users.info"] = {"ok": True, "user": {"id": ANALYST, "profile": profile}}


@pytest.mark.parametrize("missing", ["users:read.email", "RETENTION_SMTP_URL"])
def test_send_to_me_says_at_once_why_it_cannot(workspace, database, draft, api, missing):
    _profile(api, **({} if missing.startswith("users") else {"email": "ana@shop.example"}))
    _typed(workspace, action_ids.SEND_TO_ME, "Dear {name}")
    shown = _updated(api)
    assert "No test e-mail was sent" in shown
    assert missing in shown
    assert "A direct message says" not in shown
    assert all_jobs(database) == []


def test_send_to_me_sends_a_test_to_the_own_address(workspace, database, draft, api, mail_server):
    _profile(api, email="ana@shop.example", real_name="Ana Moreau")
    _typed(workspace, action_ids.SEND_TO_ME, "Dear {name}")
    (job,) = until(lambda: all_jobs(database))
    asked = (job.kind, job.channel, job.args["copy_text"])
    assert asked == ("campaign_preview", ANALYST, "Dear {name}")
    assert (job.args["address"], job.args["person"]) == ("ana@shop.example", "Ana Moreau")
    assert "the test e-mail to ana@shop.example was sent, or why not" in _updated(api)


def test_preview_command_sends_a_test_to_the_own_address(
    workspace, database, draft, api, mail_server
):
    api.answers["users.info"] = {"ok": False, "error": "missing_scope"}
    refused = workspace.run("campaign preview c7 --to me", ANALYST)
    assert "users:read.email" in words(refused["blocks"])
    _profile(api, email="ana@shop.example")
    workspace.run("campaign preview c7 --to me", ANALYST)
    (job,) = until(lambda: all_jobs(database))
    assert (job.channel, job.args["to_me"]) == (ANALYST, True)
    assert job.args["address"] == "ana@shop.example"


def test_saved_text_is_the_next_version(workspace, database, draft):
    _save_texts(workspace, copy="Dear {name}")
    campaign = scalar(database, select(Campaign))
    assert (campaign.version, campaign.body["copy_text"]) == (2, "Dear {name}")
    assert "Text: \\u201cHello {name}: {code}\\u201d" in message(database, "campaign:c7:edited:2")


def _with_a_reminder(database, settings) -> None:
    """Half of the customers get no code."""
    late = a_body().offers[0].model_copy(update={"rule": "Late", "action": "reminder"})
    drafted(database, settings, offers=(*a_body().offers, late))
    with database.transaction() as session:
        for row in session.scalars(select(Assignment).where(Assignment.customer_id >= "k5")):
            row.offer = {**row.offer, "action": "reminder", "discount": 0.0}


def test_reminder_has_a_text_of_its_own_in_the_window(workspace, database, settings, api):
    _with_a_reminder(database, settings)
    workspace.press(action_ids.CAMPAIGN_MENU, "copy|c7:1", ANALYST)
    assert _inputs(api).keys() >= {"copy", "reminder"}
    texts = ("Dear {name}: {code}", "We miss you, {name}")
    _save_texts(workspace, copy=texts[0], reminder=texts[1])
    campaign = world.one(database, select(Campaign))
    body = Body.model_validate(campaign.body)
    assert (body.copy_text, body.reminder_text) == texts
    rows = world.read(database, preview_rows, campaign, 100)
    shown = zip(rows, masked_messages(settings, body, rows, clock.now()), strict=True)
    texts = {(row["offer"]["action"], message["text"]) for row, message in shown}
    assert texts == {("coupon", "Dear …: XXXX-XXXX-XXXX"), ("reminder", "We miss you, …")}


def test_unchanged_reminder_in_the_window_stays_the_default(workspace, database, settings, api):
    _with_a_reminder(database, settings)
    own = settings.home / "email_text" / "en.toml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text('[text]\nreminder = "Dear {name}, our own words."\n', encoding="utf-8")
    workspace.press(action_ids.CAMPAIGN_MENU, "copy|c7:1", ANALYST)
    reminder = _inputs(api)["reminder"]["initial_value"]
    _save_texts(workspace, copy="Dear {name}: {code}", reminder=reminder)
    body = Body.model_validate(scalar(database, select(Campaign.body)))
    assert "our own words" in reminder
    assert (body.copy_text, body.reminder_text) == ("Dear {name}: {code}", "")


def test_reminder_command_writes_and_resets_the_text(workspace, database, settings):
    _with_a_reminder(database, settings)
    for typed, text in (("'We miss you'", "We miss you"), ("''", "")):
        workspace.run(f"campaign edit c7 --reminder-copy {typed}", ANALYST)
        assert scalar(database, select(Campaign.body))["reminder_text"] == text


def test_text_without_a_code_is_warned_of(workspace, database, draft, api):
    """The window called it complete: every variable has a value."""
    _typed(workspace, action_ids.PREVIEW_COPY, "Dear {name}")
    shown = _updated(api)
    assert "no `{code}`" in shown
    assert "Every variable has a value" not in shown
    answer = words(workspace.run("campaign edit c7 --copy 'Dear {name}'", ANALYST))
    assert "no `{code}`" in answer
    assert "no `{code}`" in words(workspace.run("campaign submit c7", ANALYST))
    assert "no `{code}`" in message(database, KEY)
