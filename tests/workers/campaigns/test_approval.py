"""Test approvals of drafts: roles, deadlines and last checks."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from retention import clock
from retention.campaigns.lifecycle.decisions import Changes
from retention.db.tables import Assignment, DirectoryEntry, RoleGrant
from retention.errors import BadInput, Conflict, NotAllowed
from tests.workers.campaigns.desk import ANALYST, LEAD
from workers.campaigns import decisions, due_steps


def _approve(desk, *campaigns: str) -> None:
    for campaign_id in campaigns:
        desk.decide(decisions.submit, ANALYST, campaign_id=campaign_id)
        desk.decide(decisions.approve, LEAD, campaign_id=campaign_id)


def _drop(desk, campaign_id: str, customers: list[str]) -> None:
    """Leave customers out of a campaign."""
    mine = (Assignment.campaign_id == campaign_id, Assignment.customer_id.in_(customers))
    desk.execute(delete(Assignment).where(*mine))


@pytest.mark.campaign("draft")
def test_approval_excludes_customers_of_other_campaigns(desk):
    first, second = desk.campaign_id, desk.drafted(name="More people")
    audience = desk.arms(first)["audience"]
    _drop(desk, first, audience[:7])
    _approve(desk, first, second)
    assert desk.arms(first).keys() == {"treatment", "control"}
    groups = desk.arms(second)
    assert groups["excluded"] == audience[7:]
    assert sorted(groups["treatment"] + groups.get("control", [])) == audience[:7]
    joined = f"{len(audience) - 7} customers joined another campaign since the draft"
    assert joined in desk.thread("approved", campaign_id=second)
    shown = desk.thread("clearance", campaign_id=second)
    assert f"The file with {len(groups['treatment'])} customer" in shown


@pytest.mark.nightly
@pytest.mark.campaign("draft")
def test_approval_excludes_merged_customers_of_other_campaigns(desk):
    """Merged customers got both campaigns, because raw ids were compared."""
    first, second = desk.campaign_id, desk.drafted(name="More people")
    ids = desk.arms(first)["audience"]
    _drop(desk, first, ids[40:])
    _drop(desk, second, ids[:40])
    merged = {ids[0]: ids[40], ids[41]: ids[1]}  # of the two the one is an id of the other
    for merged_id, canonical_id in merged.items():
        entry = update(DirectoryEntry).where(DirectoryEntry.customer_id == merged_id)
        desk.execute(entry.values(canonical_id=canonical_id))
    _approve(desk, first, second)
    assert "excluded" not in desk.arms(first)
    assert desk.arms(second)["excluded"] == ids[40:42]


@pytest.mark.campaign("draft")
def test_campaign_without_recipients_is_not_approved(desk):
    """It was approved "for 315 customers", and its sending broke."""
    first, second = desk.campaign_id, desk.drafted(name="The same people")
    _approve(desk, first)
    with pytest.raises(Conflict, match="would go to nobody"):
        _approve(desk, second)
    assert desk.campaign(second).state == "submitted"
    assert desk.arms(second).keys() == {"audience"}


@pytest.mark.campaign("draft")
def test_roles_are_checked_and_operator_cannot_approve(desk):
    with pytest.raises(NotAllowed):
        desk.decide(decisions.submit, "U0NOBODY")
    desk.decide(decisions.submit, ANALYST)
    for user in (ANALYST, "operator"):
        with pytest.raises(NotAllowed):
            desk.decide(decisions.approve, user)
    desk.decide(decisions.edit, LEAD, Changes(discount=0.12))
    desk.decide(decisions.submit, LEAD)
    with pytest.raises(NotAllowed, match="somebody else"):
        desk.decide(decisions.approve, LEAD)
    desk.decide(decisions.approve, "U0ADMIN")
    offers = desk.offers().values()
    assert {offer["discount"] for offer in offers if offer["action"] == "coupon"} == {0.12}


@pytest.mark.campaign("approved")
def test_demoted_approver_stops_the_unsent_campaign(desk):
    desk.execute(update(RoleGrant).where(RoleGrant.user_id == LEAD).values(role="viewer"))
    tomorrow = clock.now() + timedelta(days=1)
    assert desk.change(due_steps.schedule, tomorrow) == [desk.campaign_id]
    assert desk.change(due_steps.due_requests, tomorrow) == []
    assert desk.campaign().state == "cancelled"


def test_budget_is_checked_at_submission(desk):
    desk.with_budget(20).drafted()
    desk.decide(decisions.edit, ANALYST, Changes(budget=0.1))
    with pytest.raises(BadInput, match="budget"):
        desk.decide(decisions.submit, ANALYST)
    assert desk.campaign().state == "draft"
