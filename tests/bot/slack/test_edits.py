"""Test edits of a campaign by modal and by command, also with several offers."""

import json
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from bot.slack.interactions.campaigns import input_of
from retention import clock
from retention.campaigns.lifecycle.edits import Changes, apply_changes, normalize_name
from retention.campaigns.lifecycle.spec import OfferLine
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.db.tables import Assignment, Audit, Campaign
from retention.errors import BadInput
from retention.risk.policy import load_policy
from retention.risk.strategy import Rule
from retention.templating import text
from tests.bot.campaign import drafted, fill, message, opened, refused_inputs, stands
from tests.bot.slack.test_slash import all_jobs
from tests.bot.wire import ADMIN, ANALYST, VIEWER, words
from tests.retention.campaigns.samples import a_body
from tests.world import execute, one, read, scalar, scalars
from workers import action_ids


def _line(rule, action, **terms) -> OfferLine:
    totals = {"customers": 25, "sales": 1250.0, "base_sales": 500.0, "base": 10.0}
    return OfferLine(**{"rule": rule, "action": action, "discount": 0.0, **totals, **terms})


SEVERAL = (
    _line("Fiver", "coupon", face=5.0, min_order=30.0),
    _line("Tenner", "coupon", face=10.0, min_order=60.0),
    _line("Parcel", "free_shipping", face=5.0, min_order=50.0),
    _line("Eight", "coupon", discount=0.08),
)


def test_edit_opens_a_filled_modal_and_writes_the_next_version(workspace, database, submitted, api):
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    initial = stands(view)
    filled = {"name": "May", "discount": "10", "holdout": "15", "expires": "28", "budget": "1000"}
    empty = ("offer", "amount", "min_order", "send_on", "approver")
    assert initial == {**filled, "copy": "Hello {name}: {code}", **dict.fromkeys(empty)}
    assert "draft again" in words(view["blocks"])
    for _ in range(2):  # Slack delivers it twice
        typed = initial | {"name": "June <!here>", "discount": "12,5 %", "holdout": "20"}
        answer = fill(workspace, action_ids.EDIT_VIEW, view["private_metadata"], ANALYST, **typed)
        assert (answer.status, answer.body) == (200, "")
    campaign = scalar(database, select(Campaign))
    assert (campaign.version, campaign.state, campaign.name) == (2, "draft", "June <!here>")
    assert campaign.body["offers"][0]["discount"] == 0.125
    assert campaign.body["holdout"] == 0.2
    offers = scalars(database, select(Assignment.offer))
    assert {offer["discount"] for offer in offers} == {0.125}
    assert "version 2" in message(database)


def test_edit_offers_what_the_policy_says_in_words(workspace, settings, draft, api, monkeypatch):
    mug = Rule(name="Mug", tiers=("high",), action="gift", what="a mug", cost=2.5, min_order=30)
    policy = load_policy(settings)
    policy = policy.model_copy(update={"rules": (*policy.rules, mug)})
    monkeypatch.setattr("bot.slack.interactions.campaigns.load_policy", lambda _: policy)
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    (offer,) = (one for one in opened(api)["blocks"] if one.get("block_id") == "offer")
    assert offer["element"]["options"][-1]["value"] == "gift"
    assert "a mug" in offer["element"]["options"][-1]["text"]["text"]


@pytest.mark.parametrize(
    "bad",
    [
        {
            "name": (81 * "x", "1 to 80 characters"),
            "discount": ("lots", "'lots'"),
            "holdout": ("50", "use 10 to 20"),
            "expires": ("0", "use 1 to 365"),
            "copy": ("Dear {nobody}", "{nobody}"),
            "budget": ("2000", "at most €1,000"),
            "send_on": ("tomorrow", "write it like"),
            "amount": ("5", "for no offer of this campaign"),
            "min_order": ("x", "12.50"),
        },
        {
            "discount": ("60", "margin"),
            "holdout": ("x", "write a number like 15"),
            "expires": ("soon", "soon"),
            "copy": ("", "empty"),
            "budget": ("x", "12.50"),
            "amount": ("x", "12.50"),
            "min_order": ("40", "for no offer of this campaign"),
            "send_on": ("2001-01-01 09:00", "over already"),
        },
        {"discount": ("0", "use 1 to 99"), "budget": ("-1", "more than 0")},
        {"copy": ("", "empty")},
    ],
    ids=["values", "more values", "numbers", "one"],
)
def test_modal_shows_all_errors_together_under_their_inputs(workspace, database, draft, bad):
    """It showed one, and the next only after that one was put right."""
    good = {"name": "May", "discount": "10", "holdout": "15", "expires": "28", "copy": "Hello"}
    errors = refused_inputs(workspace, **good | {name: typed for name, (typed, _) in bad.items()})
    assert {*errors} == {*bad}
    assert [name for name, (_, says) in bad.items() if says not in errors[name]] == []
    assert scalar(database, select(Campaign.version)) == 1


def test_input_that_cannot_be_read_gets_only_its_own_error(workspace, draft):
    """What follows from it would confuse: "money off of 0 is none"."""
    typed = {"name": "May", "copy": "Hello", "offer": "amount", "amount": "x", "min_order": "40"}
    errors = refused_inputs(workspace, **typed)
    assert {*errors} == {"amount"}
    assert "'x'" in errors["amount"]


NOW = datetime(2025, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"discount": 0.0}, "discount"),
        ({"discount": 0.28}, "discount"),
        ({"holdout": 0.5}, "holdout"),
        ({"expires_days": 0}, "expires_days"),
        ({"offer": "amount", "amount": 0.0}, "amount"),
        ({"offer": "amount", "amount": 5.0}, "min_order"),
        ({"offer": "amount", "amount": 5.0, "min_order": 6.0}, "min_order"),
        ({"offer": "free_shipping"}, "min_order"),
        ({"amount": 5.0}, "amount"),
        ({"min_order": 40.0}, "min_order"),
        ({"budget": 2000.0}, "budget"),
        ({"send_on": "tomorrow"}, "send_on"),
        ({"send_on": "2001-01-01 09:00"}, "send_on"),
        ({"send_on": "2026-03-29 02:30"}, "send_on"),
        ({"send_on": "2026-10-25 02:30"}, "send_on"),
        ({"send_on": "2099-01-01 09:00"}, "send_on"),
        ({"copy_text": " "}, "copy_text"),
        ({"copy_text": 3000 * "x"}, "copy_text"),
        ({"copy_text": "Dear {nobody}"}, "copy_text"),
    ],
)
def test_refused_value_names_its_field(changes, field):
    with pytest.raises(BadInput) as refusal:
        apply_changes(a_body(), Changes(**changes), ZoneInfo("Europe/Berlin"), NOW)
    assert refusal.value.field == field


def test_refused_name_names_its_field():
    with pytest.raises(BadInput) as refusal:
        normalize_name(81 * "x")
    assert refusal.value.field == "name"


@pytest.mark.parametrize(
    ("changes", "says"),
    [(Changes(offer="share"), "not said"), (Changes(discount=0.1), "carries a discount")],
)
def test_discount_that_no_offer_has_is_refused_under_its_input(changes, says):
    body = a_body(offers=(_line("Due", "reminder"),))
    with pytest.raises(BadInput, match=says) as refusal:
        apply_changes(body, changes, ZoneInfo("UTC"), NOW)
    assert refusal.value.field == "discount"


def test_every_field_of_an_edit_has_an_input_in_the_modal(workspace, database, settings, api):
    drafted(database, settings, offers=(*a_body().offers, _line("Late", "reminder")))
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    names = {field.name for field in fields(Changes)} - {"messages", "test"}  # of other windows
    assert {*stands(opened(api))} == {input_of(name) for name in names}


@pytest.mark.parametrize(
    ("field", "shown_at"), [("budget", "budget"), (None, "name"), ("holdout", "name")]
)
def test_field_decides_about_the_input_else_the_first(
    workspace, draft, monkeypatch, field, shown_at
):
    """Even if the message names another."""

    def refuse(*_):
        raise BadInput("The holdout and the budget do not fit.", field=field)

    monkeypatch.setattr("workers.campaigns.decisions.edit", refuse)
    errors = refused_inputs(workspace, name="May", budget="10")
    assert errors == {shown_at: "The holdout and the budget do not fit."}


def test_other_edits_keep_the_terms_of_each_offer(workspace, database, settings, api):
    """The modal showed the first offer's terms and saved them for all offers."""
    drafted(database, settings, offers=SEVERAL)
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    initial = stands(view)
    assert (initial["amount"], initial["min_order"], initial["discount"]) == (None, None, "8")
    typed = initial | {"name": "June"}
    fill(workspace, action_ids.EDIT_VIEW, view["private_metadata"], ANALYST, **typed)
    campaign = scalar(database, select(Campaign))
    assert (campaign.version, campaign.name) == (2, "June")
    assert [OfferLine(**line) for line in campaign.body["offers"]] == [*SEVERAL]


WITH_CALL = (
    _line("VIPs", "call", customers=1, sales=50.0, base_sales=20.0, base=0.4, contact=4.0),
    _line("High risk", "coupon", discount=0.15, customers=24),
    _line("Tea", "coupon", discount=0.1, categories=("tea",)),
    _line("Fiver", "coupon", face=5.0, min_order=30.0),
    _line("Due", "reminder", own=3),
)


def test_offer_for_all_applies_to_every_customer_in_one_row(workspace, database, settings, api):
    """It left "a personal call, 1 customer" and four equal rows."""
    drafted(database, settings, offers=WITH_CALL)
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    typed = {**stands(view), "offer": "share", "discount": "12"}
    fill(workspace, action_ids.EDIT_VIEW, view["private_metadata"], ANALYST, **typed)
    card = message(database)
    assert "*Draft: 12% coupon for 85 customers.*" in card
    (offers,) = re.findall(r"\*Offer\*(.*?)Codes expire", card)
    assert offers.split() == ["12%", "coupon."]
    assert "personal call" not in card
    with database.reading() as session:
        campaign = session.scalar(select(Campaign))
        stored = [OfferLine(**line) for line in campaign.body["offers"]]
        assert [line.rule for line in stored] == [line.rule for line in WITH_CALL]
        terms = {(line.action, line.discount, line.contact) for line in stored}
        assert terms == {("coupon", 0.12, None)}
        (row,) = campaign_data(campaign)["offers"]
    assert (row["customers"], row["base"]) == (100, pytest.approx(40.4))


def test_offer_for_all_lifts_the_limit_to_a_category():
    body = a_body(offers=(_line("Tea", "coupon", discount=0.1, categories=("tea",)),))
    zone = ZoneInfo("UTC")
    (one,) = apply_changes(body, Changes(discount=0.2), zone, NOW).offers
    assert one.categories == ("tea",)
    (everywhere,) = apply_changes(body, Changes(offer="share", discount=0.2), zone, NOW).offers
    assert everywhere.categories == ()


def test_calls_stay_calls_unless_the_offer_is_for_all():
    body = a_body(offers=WITH_CALL)
    (call, *_) = apply_changes(body, Changes(discount=0.2), ZoneInfo("UTC"), NOW).offers
    assert (call.action, call.contact) == ("call", 4.0)


@pytest.mark.parametrize(
    ("offers", "result"),
    [(SEVERAL, True), ((_line("Due", "reminder"), _line("VIPs", "call", contact=4.0)), False)],
    ids=["coupons", "none"],
)
def test_card_mentions_codes_only_if_there_are_any(database, settings, offers, result):
    drafted(database, settings, offers=offers)
    assert ("Codes expire 28 days after sending." in message(database)) is result


def test_second_concurrent_edit_keeps_the_typed_values(workspace, database, settings, api):
    """The modal closed and lost them."""
    drafted(database, settings)
    edit = {"name": "May", "holdout": "15", "expires": "28", "budget": "1000"}
    window = (workspace, action_ids.EDIT_VIEW, "c7:1:C0CRM")
    first = fill(*window, ADMIN, "h1", **edit, copy="Hello from Ada {code}")
    second = fill(*window, ANALYST, "h2", **edit, copy="Hello from Ana {code}")
    assert (first.status, first.body) == (200, "")
    (reply,) = json.loads(second.body)["errors"].values()
    assert "has been edited since (it is at version 2)" in reply
    assert "Copy what you typed" in reply
    assert scalar(database, select(Campaign.body))["copy_text"] == "Hello from Ada {code}"
    execute(database, update(Campaign).values(state="live"))
    late = fill(workspace, action_ids.EDIT_VIEW, "c7:2:C0CRM", ANALYST, "h3", **edit, copy="Hello")
    assert (late.status, late.body) == (200, "")  # there is nothing left to edit
    assert "already live" in api.wait("chat.postEphemeral")["text"]


@pytest.mark.parametrize("typed", ["June \ud83c", "June \0"], ids=["half an emoji", "NUL"])
def test_unstorable_characters_are_replaced(workspace, database, settings, typed):
    """Such a character gave a reference number instead of an answer."""
    drafted(database, settings)
    answer = fill(workspace, action_ids.EDIT_VIEW, "c7:1:C0CRM", ANALYST, name=typed, copy="Hello")
    assert (answer.status, answer.body) == (200, "")
    assert scalar(database, select(Campaign.name)) == "June �"
    assert "version 2" in workspace.says("campaign show c7")


def test_draft_name_fits_the_edit_modal(workspace, database, settings, api):
    """Slack opens no modal with a too long initial value."""
    reply = workspace.says(f"campaign draft --name {81 * 'x'}")
    assert "1 to 80 characters; this one has 81" in reply
    assert not all_jobs(database)
    drafted(database, settings)
    execute(database, update(Campaign).values(name=200 * "x"))  # of a version before
    workspace.press(action_ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    assert len(view["blocks"][0]["element"]["initial_value"]) <= 80


def test_terminal_describes_each_offer_for_customers(database, settings):
    """Free shipping was shown as money off."""
    drafted(database, settings, offers=SEVERAL)
    result = campaign_data(read(database, find_campaign, "c7"))
    shown = text("terminal/campaign/show.txt.j2", campaign=result, history=[], zone="UTC")
    assert "Parcel: free shipping on orders from €50.00 on, 21 customers" in shown
    assert "Fiver: coupon, €5.00 off orders from €30.00 on, 21 customers" in shown


@pytest.mark.parametrize("command", ["preview", "misuse"])
def test_unknown_campaign_queues_nothing(workspace, database, command):
    reply = workspace.says(f"campaign {command} nope")
    assert "There is no campaign 'nope'" in reply
    assert not all_jobs(database)


def test_edit_command_changes_offer_and_send_time(workspace, database, draft):
    day = f"{clock.now() + timedelta(days=30):%Y-%m-%d}"
    line = f'--offer amount --amount 5 --min-order 40 --budget 500 --send-on "{day} 09:00"'
    assert "version 2" in workspace.says(f"campaign edit c7 {line}")
    shown = workspace.says("campaign show c7", VIEWER)
    assert "€5 off orders from €40" in shown
    body = scalar(database, select(Campaign.body))
    edited = one(database, select(Audit).where(Audit.action == "campaign.edit"))
    assert (body["budget"], body["send_on"]) == (500.0, f"{day}T09:00:00Z")
    assert edited.details["changed"] == ["offers", "budget", "send_on"]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("reminder --discount 10", "--discount is for --offer share, not for --offer reminder"),
        ("amount --amount 5 --min-order 40 --discount 10", "--discount is for --offer share"),
        ("share --discount 10 --amount 5", "--amount is for --offer amount"),
        ("reminder --min-order 40", "--offer amount or --offer free_shipping, not for --offer rem"),
        ("voucher", "share"),
        ("gift", "the policy has none"),
        ("amount --amount 5 --min-order 0", "From order value"),
    ],
)
def test_term_that_does_not_fit_the_offer_is_refused(workspace, database, draft, typed, says):
    assert says in workspace.says(f"campaign edit c7 --offer {typed}")
    assert scalar(database, select(Campaign.version)) == 1


def test_campaign_id_is_case_insensitive(workspace, database, draft):
    assert "version 2" in workspace.says("campaign edit C7 --holdout 20")
    assert "version 2" in workspace.says("campaign show C7", VIEWER)
    assert one(database, select(Audit).where(Audit.action == "campaign.edit")).subject == "c7"
