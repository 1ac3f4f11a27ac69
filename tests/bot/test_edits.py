"""Editing a campaign, by its window and in words; campaigns of several offers."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from retention import clock
from retention.campaigns.spec import OfferLine
from retention.campaigns.states import find_campaign
from retention.campaigns.view import campaign_data
from retention.db.tables import Assignment, Audit, Campaign
from retention.templating import text
from tests.bot.campaign import drafted, fill, message, opened, stands
from tests.bot.test_slash import all_jobs
from tests.bot.wire import ADMIN, ANALYST, VIEWER, words
from workers import ids


def _line(rule, action, **terms) -> OfferLine:
    return OfferLine(
        **{
            "rule": rule,
            "action": action,
            "discount": 0.0,
            "customers": 25,
            "sales": 1250.0,
            "base_sales": 500.0,
            "base": 10.0,
            **terms,
        }
    )


SEVERAL = (
    _line("Fiver", "coupon", face=5.0, min_order=30.0),
    _line("Tenner", "coupon", face=10.0, min_order=60.0),
    _line("Parcel", "free_shipping", face=5.0, min_order=50.0),
    _line("Eight", "coupon", discount=0.08),
)


def test_edit_opens_a_modal_with_what_it_says_now_and_writes_the_next_version(
    workspace, database, submitted, api
):
    workspace.press(ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    initial = stands(view)
    assert initial == {
        "name": "May",
        "discount": "10",
        "holdout": "15",
        "expires": "28",
        "copy": "Hello {name}: {code}",
        "offer": None,
        "amount": None,
        "min_order": None,
        "budget": "1000",
        "send_on": None,
    }
    assert "draft again" in words(view["blocks"])
    for _ in range(2):  # Slack delivers it twice
        answer = fill(
            workspace,
            ids.EDIT_VIEW,
            view["private_metadata"],
            ANALYST,
            **{**initial, "name": "June <!here>", "discount": "12,5 %", "holdout": "20"},
        )
        assert answer.status == 200
        assert not answer.body
    with database.reading() as session:
        campaign = session.scalar(select(Campaign))
        assert (campaign.version, campaign.state, campaign.name) == (2, "draft", "June <!here>")
        assert campaign.body["offers"][0]["discount"] == 0.125
        assert campaign.body["holdout"] == 0.2
        assert {offer["discount"] for offer in session.scalars(select(Assignment.offer))} == {0.125}
    assert "version 2" in message(database)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"discount": "lots"}, "lots"),
        ({"discount": "60"}, "margin"),
        ({"holdout": "50"}, "hold-out"),
        ({"expires": "soon"}, "soon"),
        ({"copy": "Dear {nobody}"}, "{nobody}"),
        ({"budget": "2000"}, "at most €1,000"),
        ({"budget": "-1"}, "more than 0"),
        ({"send_on": "tomorrow"}, "write it like"),
        ({"amount": "x"}, "12.50"),
        ({"send_on": "2001-01-01 09:00"}, "over already"),
    ],
)
def test_a_bad_value_stays_in_the_modal_with_its_sentence(workspace, database, draft, typed, says):
    values = {
        "name": "May",
        "discount": "10",
        "holdout": "15",
        "expires": "28",
        "copy": "Hello",
        **typed,
    }
    answer = fill(workspace, ids.EDIT_VIEW, "c7:1:C0CRM", ANALYST, **values)
    refused = json.loads(answer.body)
    assert refused["response_action"] == "errors"
    assert set(refused["errors"]) == set(typed)
    assert says in next(iter(refused["errors"].values()))
    with database.reading() as session:
        assert session.scalar(select(Campaign.version)) == 1


def test_several_offers_keep_each_its_own_where_something_else_is_edited(
    workspace, database, settings, api
):
    """The window stood at the first one's money and order value, and saved them for all: €10 off became €5, a parcel free from €30 on."""
    drafted(database, settings, offers=SEVERAL)
    workspace.press(ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    initial = stands(view)
    assert (initial["amount"], initial["min_order"], initial["discount"]) == (None, None, "8")
    fill(workspace, ids.EDIT_VIEW, view["private_metadata"], ANALYST, **{**initial, "name": "June"})
    with database.reading() as session:
        campaign = session.scalar(select(Campaign))
        assert (campaign.version, campaign.name) == (2, "June")
        assert [OfferLine(**line) for line in campaign.body["offers"]] == [*SEVERAL]


@pytest.mark.parametrize(
    ("offers", "told"),
    [(SEVERAL, True), ((_line("Due", "reminder"), _line("VIPs", "call", contact=4.0)), False)],
    ids=["coupons", "none"],
)
def test_the_card_tells_of_codes_only_where_there_are_any(database, settings, offers, told):
    drafted(database, settings, offers=offers)
    assert ("Codes expire 28 days after sending." in message(database)) is told


def test_of_two_who_edit_at_once_the_second_keeps_what_they_typed(
    workspace, database, settings, api
):
    """The window closed over it, be it two thousand characters."""
    drafted(database, settings)
    edit = {"name": "May", "holdout": "15", "expires": "28", "budget": "1000"}
    first = fill(
        workspace, ids.EDIT_VIEW, "c7:1:C0CRM", ADMIN, "h1", **edit, copy="Hello from Ada {code}"
    )
    second = fill(
        workspace, ids.EDIT_VIEW, "c7:1:C0CRM", ANALYST, "h2", **edit, copy="Hello from Ana {code}"
    )
    assert (first.status, first.body) == (200, "")
    refused = json.loads(second.body)
    assert refused["response_action"] == "errors"
    (said,) = refused["errors"].values()
    assert "has been edited since (it is at version 2)" in said
    assert "Copy what you typed" in said
    with database.transaction() as session:
        assert session.scalar(select(Campaign.body))["copy_text"] == "Hello from Ada {code}"
        session.execute(update(Campaign).values(state="live"))
    late = fill(workspace, ids.EDIT_VIEW, "c7:2:C0CRM", ANALYST, "h3", **edit, copy="Hello")
    assert (late.status, late.body) == (200, "")  # there is nothing left to edit
    assert "already live" in api.wait("chat.postEphemeral")["text"]


@pytest.mark.parametrize("typed", ["June \ud83c", "June \0"], ids=["half an emoji", "NUL"])
def test_what_no_database_keeps_is_shown_as_unknown(workspace, database, settings, typed):
    """A field that was cut within an emoji, or a NUL on PostgreSQL, gave a reference number and nothing else."""
    drafted(database, settings)
    answer = fill(workspace, ids.EDIT_VIEW, "c7:1:C0CRM", ANALYST, name=typed, copy="Hello")
    assert (answer.status, answer.body) == (200, "")
    with database.reading() as session:
        assert session.scalar(select(Campaign.name)) == "June \N{REPLACEMENT CHARACTER}"
    assert "version 2" in words(workspace.run("campaign show c7")["blocks"])


def test_the_name_of_a_draft_is_one_that_can_be_edited(workspace, database, settings, api):
    """Slack opens no window whose field begins with more than it takes: the draft could not be edited by its button."""
    said = words(workspace.run(f"campaign draft --name {81 * 'x'}")["blocks"])
    assert "1 to 80 characters; this one has 81" in said
    assert not all_jobs(database)
    drafted(database, settings)
    with database.transaction() as session:
        session.execute(update(Campaign).values(name=200 * "x"))  # of a version before
    workspace.press(ids.EDIT_CAMPAIGN, "c7:1", ANALYST)
    view = opened(api)
    assert len(view["blocks"][0]["element"]["initial_value"]) <= 80


def test_the_terminal_says_of_each_offer_what_it_is_to_a_customer(database, settings):
    """A free parcel was told as money off: what it costs the shop."""
    drafted(database, settings, offers=SEVERAL)
    with database.reading() as session:
        told = campaign_data(find_campaign(session, settings, "c7"))
    shown = text("terminal/campaign/show.txt.j2", campaign=told, history=[], zone="UTC")
    assert "Parcel: free shipping on orders from €50.00 on, 25 customers" in shown
    assert "Fiver: coupon, €5.00 off orders from €30.00 on, 25 customers" in shown


@pytest.mark.parametrize("command", ["preview", "misuse"])
def test_of_a_campaign_that_there_is_not_nothing_is_queued(workspace, database, command):
    assert "There is no campaign 'nope'" in words(
        workspace.run(f"campaign {command} nope")["blocks"]
    )
    assert not all_jobs(database)


def test_another_offer_and_a_moment_by_command(workspace, database, draft):
    day = f"{clock.now() + timedelta(days=30):%Y-%m-%d}"
    line = f'campaign edit c7 --offer amount --amount 5 --min-order 40 --budget 500 --send-on "{day} 09:00"'
    assert "version 2" in words(workspace.run(line)["blocks"])
    shown = words(workspace.run("campaign show c7", VIEWER)["blocks"])
    assert "coupon, €5.00 off orders from €40.00 on" in shown
    with database.reading() as session:
        body = session.scalar(select(Campaign.body))
        edited = session.scalars(select(Audit).where(Audit.action == "campaign.edit")).one()
    assert (body["budget"], body["send_on"]) == (500.0, f"{day}T09:00:00Z")
    assert edited.details["changed"] == ["offers", "budget", "send_on"]
    assert "From order value" in words(
        workspace.run("campaign edit c7 --offer amount --min-order 0")["blocks"]
    )
    assert "share" in words(workspace.run("campaign edit c7 --offer gift")["blocks"])


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "--offer reminder --discount 10",
            "--discount is for --offer share, not for --offer reminder",
        ),
        (
            "--offer amount --amount 5 --min-order 40 --discount 10",
            "--discount is for --offer share",
        ),
        ("--offer share --discount 10 --amount 5", "--amount is for --offer amount"),
        (
            "--offer reminder --min-order 40",
            "--min-order is for --offer amount or --offer free_shipping, not for --offer reminder",
        ),
    ],
)
def test_a_term_that_the_offer_has_not_is_refused_and_not_forgotten(
    workspace, database, draft, typed, says
):
    assert says in words(workspace.run(f"campaign edit c7 {typed}")["blocks"])
    with database.reading() as session:
        assert session.scalar(select(Campaign.version)) == 1


def test_an_id_in_capitals_names_its_campaign(workspace, database, draft):
    assert "version 2" in words(workspace.run("campaign edit C7 --holdout 20")["blocks"])
    assert "version 2" in words(workspace.run("campaign show C7", VIEWER)["blocks"])
    with database.reading() as session:
        assert (
            session.scalars(select(Audit).where(Audit.action == "campaign.edit")).one().subject
            == "c7"
        )
