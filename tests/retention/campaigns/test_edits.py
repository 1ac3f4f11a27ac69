"""Test edits: other offers, budget, send time, and their limits."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from retention.campaigns.lifecycle import decisions, due
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.email_content import email_content
from retention.campaigns.message.wording import default_text
from retention.db.tables import Assignment, Audit
from retention.errors import BadInput
from tests import world
from tests.retention.campaigns.samples import NOW, audience_rows, offer_of, store_draft, write_home
from tests.retention.campaigns.test_states import ANALYST, SENDS, attempt, step


def edited(database, by, changes) -> Body:
    """The next version."""
    return Body.of(world.change(database, decisions.edit, by, changes).campaign)


@pytest.mark.parametrize(
    ("changes", "action", "terms"),
    [
        (Changes(offer="amount", amount=5, min_order=40), "coupon", (0.0, 5.0, 40.0)),
        (Changes(offer="free_shipping", min_order=30), "free_shipping", (0.0, 6.0, 30.0)),
        (Changes(offer="reminder"), "reminder", (0.0, 0.0, 0.0)),
        (Changes(offer="share"), "coupon", (0.1, 0.0, 0.0)),
        (Changes(offer="share", discount=0.2), "coupon", (0.2, 0.0, 0.0)),
    ],
)
def test_edit_can_replace_all_offers(database, settings, changes, action, terms):
    world.change(database, store_draft, shipping_cost=6.0)
    body = edited(database, ANALYST, changes)
    offers = world.scalars(database, select(Assignment.offer))
    (line,) = body.offers
    assert (line.action, (line.discount, line.face, line.min_order)) == (action, terms)
    assert {offer["action"] for offer in offers} == {action}
    if changes != Changes(offer="share"):
        assert {(o["discount"], o["amount"], o["min_order"]) for o in offers} == {terms}
    unchanged = action == "coupon"
    assert body.copy_text == ("Hello {name}: {code}" if unchanged else default_text(action))


def test_links_have_the_name_that_was_approved(database, settings):
    world.change(database, store_draft)
    body = edited(database, ANALYST, Changes(name="Große Wäsche & Co."))
    assert body.utm_campaign == "grosse-wasche-co-c1"
    write_home(settings, "brand.toml", 'website = "https://tea.example"')
    for version, campaign in (
        (body, "grosse-wasche-co-c1"),
        (body.model_copy(update={"utm_campaign": ""}), "c1"),  # approved by an earlier version
    ):
        offer = {"offer": {"action": "reminder", "items": []}, "code": None, "expires_at": None}
        shown = email_content(settings, version, offer, campaign_id="c1")
        assert shown.home.endswith(f"utm_campaign={campaign}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes(reminder_text="We miss you"), "leave the reminder's text empty"),
        (Changes(offer="amount"), "Money off of 0"),
        (Changes(offer="amount", amount=5), "From order value"),
        (
            Changes(offer="amount", amount=5, min_order=10),
            "€5.00 off orders from €10.00 on (High risk)",
        ),
        (Changes(offer="amount", amount=5, min_order=10), "use it from €20.00 on"),
        (
            Changes(offer="free_shipping", min_order=4),
            "Free shipping (€6.00 a parcel) on orders from €4.00 on",
        ),
        (Changes(discount=0), "A discount of 0% is none"),
        (Changes(offer="free_shipping"), "From order value"),
        (Changes(amount=80), "Money off 80 is for no offer"),
        (Changes(min_order=40), "From order value 40 is for no offer"),
        (
            Changes(budget=1e9),
            "A budget of €1,000,000,000 is outside the policy; use more than 0 and at most €1,000",
        ),
        (Changes(send_on="at night"), "write it like"),
        (Changes(send_on="2025-04-30 09:00"), "over already"),
        (
            Changes(send_on="2099-01-01"),
            "'2099-01-01' is more than 90 days ahead; use one up to 2025-07-30 09:00",
        ),
        (Changes(send_on="2025-07-30 09:01"), "more than 90 days ahead"),
    ],
)
def test_invalid_offer_is_rejected(database, settings, changes, says):
    world.change(database, store_draft, shipping_cost=6.0)
    refusal = attempt(database, decisions.edit, ANALYST, changes)
    assert isinstance(refusal, BadInput)
    assert says in str(refusal)


def test_offer_for_all_removes_the_category_of_each_customer(database, settings):
    rows = audience_rows(offer=lambda number: offer_of(number) | {"category": "tea"})
    world.change(database, store_draft, rows=rows)
    edited(database, ANALYST, Changes(offer="share", discount=0.2))
    offers = world.scalars(database, select(Assignment.offer))
    assert {(offer["discount"], offer["category"]) for offer in offers} == {(0.2, None)}


@pytest.fixture
def london(database, settings):
    """The database of a shop in London, with a draft."""
    database = database.using(settings.model_copy(update={"timezone": "Europe/London"}))
    world.change(database, store_draft)
    return database


def test_campaign_is_sent_at_the_chosen_time(london):
    wanted = datetime(2025, 5, 3, 8, tzinfo=UTC)
    with london.transaction() as session:
        decisions.edit(session, ANALYST, Changes(send_on="2025-05-03 09:00"))
        decisions.submit(session, step("U0ANALYST", 2))
        campaign, _ = decisions.approve(session, step(version=2))
        assert (campaign.clears_at, campaign.send_at) == (SENDS, wanted)
        assert campaign.expires_at == wanted + timedelta(hours=72)
        decisions.schedule(session, "c1", SENDS)
    assert world.read(london, due.due_jobs, wanted - timedelta(seconds=1)) == []
    assert [job.kind for job in world.read(london, due.due_jobs, wanted)] == ["campaign_send"]
    assert edited(london, step("U0ANALYST", 2), Changes(send_on="soon")).send_on is None


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "2025-03-30 01:30",
            "is skipped by the clock of Europe/London that day; use 2025-03-30 02:30 instead",
        ),
        (
            "2025-10-26 01:30",
            "comes twice by the clock of Europe/London that day; "
            "write 2025-10-26 01:30+01:00 or 2025-10-26 01:30+00:00",
        ),
    ],
)
def test_skipped_and_ambiguous_local_times_are_rejected(london, typed, says):
    before = datetime.fromisoformat(typed).replace(tzinfo=UTC) - timedelta(days=30)
    changes = Changes(send_on=typed)
    assert says in str(attempt(london, decisions.edit, step("U0ANALYST", 1, before), changes))


def test_resubmitting_an_ambiguous_send_time_keeps_it(london):
    october = datetime(2025, 10, 1, tzinfo=UTC)
    second = Changes(send_on="2025-10-26 01:30+00:00")
    edited(london, step("U0ANALYST", 1, october), second)
    shown = Changes(send_on="2025-10-26 01:30", holdout=0.2)
    body = edited(london, step("U0ANALYST", 2, october), shown)
    assert body.send_on == datetime(2025, 10, 26, 1, 30, tzinfo=UTC)


def test_submit_rejects_a_send_time_too_far_ahead(database, settings):
    world.change(database, store_draft, send_on=NOW + timedelta(days=91))
    refusal = attempt(database, decisions.submit, ANALYST)
    assert isinstance(refusal, BadInput)
    assert "is more than 90 days ahead" in str(refusal)
    tomorrow = step("U0ANALYST", at=NOW + timedelta(days=1))
    assert attempt(database, decisions.submit, tomorrow) is None


def test_free_shipping_rejects_money_off_and_accepts_an_order_value(database, settings):
    """Unused values must not be dropped silently."""
    world.change(database, store_draft, shipping_cost=6.0)
    edited(database, ANALYST, Changes(offer="free_shipping", min_order=30))
    second = step("U0ANALYST", 2)
    refusal = attempt(database, decisions.edit, second, Changes(amount=5))
    assert "Money off 5 is for no offer" in str(refusal)
    assert edited(database, second, Changes(min_order=45)).offers[0].min_order == 45


def test_edit_returns_the_differences_that_the_audit_log_has(database, settings):
    world.change(database, store_draft)
    changes = Changes(holdout=0.2, name="Autumn")
    written = world.change(database, decisions.edit, ANALYST, changes)
    details = world.one(database, select(Audit.details).where(Audit.action == "campaign.edit"))
    assert details["changes"] == written.changes
    by_field = {change["field"]: change["after"] for change in written.changes}
    assert (by_field["name"], by_field["holdout"]) == ("Autumn", 0.2)
