"""Test approvals of drafts: roles, deadlines and last checks."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from retention import clock
from retention.campaigns.lifecycle.states import StaleCampaign, Step
from retention.campaigns.lifecycle.transitions import Changes
from retention.db.tables import Assignment, DirectoryEntry, RoleGrant
from retention.errors import BadInput, Conflict, NotAllowed
from tests.workers.campaigns.steps import (
    ANALYST,
    LEAD,
    arms_of,
    campaign_of,
    drafted,
    messages,
    offers_of,
    prepared_campaign,
    with_budget,
)
from tests.world import change, execute
from workers.campaigns import decisions, due_steps


def test_approval_excludes_customers_of_other_campaigns(desk):
    first, second = drafted(desk), drafted(desk, name="More people")
    with desk.database.transaction() as session:
        audience = session.scalars(select(Assignment).where(Assignment.campaign_id == first)).all()
        for item in audience[:7]:
            session.delete(item)
    for campaign_id in (first, second):
        with desk.database.transaction() as session:
            decisions.submit(session, Step(campaign_id, ANALYST, 1))
            decisions.approve(session, Step(campaign_id, LEAD, 1))
    assert set(arms_of(desk, first)) == {"treatment", "control"}
    counts = Counter(arms_of(desk, second))
    assert counts["excluded"] == len(audience) - 7
    assert counts["treatment"] + counts["control"] == 7
    assert f"{counts['excluded']} customers joined another campaign since the draft" in messages(
        desk, f"campaign:{second}:approved:1"
    )
    shown = messages(desk, f"campaign:{second}:clearance:1")
    assert f"The file with {counts['treatment']} customer" in shown


@pytest.mark.nightly
def test_approval_excludes_merged_customers_of_other_campaigns(desk):
    """Merged customers got both campaigns, because raw ids were compared."""
    first, second = drafted(desk), drafted(desk, name="More people")
    with desk.database.transaction() as session:
        ids = sorted(
            session.scalars(select(Assignment.customer_id).where(Assignment.campaign_id == first))
        )
        stored = {first: ids[:40], second: ids[40:]}
        for campaign_id, mine in stored.items():
            session.execute(
                delete(Assignment).where(
                    Assignment.campaign_id == campaign_id, Assignment.customer_id.not_in(mine)
                )
            )
        merged = {ids[0]: ids[40], ids[41]: ids[1]}  # of the two the one is an id of the other
        for merged_id, canonical_id in merged.items():
            entry = update(DirectoryEntry).where(DirectoryEntry.customer_id == merged_id)
            session.execute(entry.values(canonical_id=canonical_id))
    for campaign_id in (first, second):
        with desk.database.transaction() as session:
            decisions.submit(session, Step(campaign_id, ANALYST, 1))
            decisions.approve(session, Step(campaign_id, LEAD, 1))
    with desk.database.reading() as session:
        out = select(Assignment.campaign_id, Assignment.customer_id).where(
            Assignment.arm == "excluded"
        )
        assert set(session.execute(out).tuples()) == {(second, ids[40]), (second, ids[41])}


def test_campaign_without_recipients_is_not_approved(desk):
    """It was approved "for 315 customers", and its sending broke."""
    first, second = drafted(desk), drafted(desk, name="The same people")
    for campaign_id in (first, second):
        change(desk.database, decisions.submit, Step(campaign_id, ANALYST, 1))
    change(desk.database, decisions.approve, Step(first, LEAD, 1))
    with (
        pytest.raises(Conflict, match="would go to nobody"),
        desk.database.transaction() as session,
    ):
        decisions.approve(session, Step(second, LEAD, 1))
    assert (campaign_of(desk, second).state, set(arms_of(desk, second))) == (
        "submitted",
        {"audience"},
    )


def test_roles_are_checked_and_operator_cannot_approve(desk):
    campaign_id = drafted(desk)
    with pytest.raises(NotAllowed), desk.database.transaction() as session:
        decisions.submit(session, Step(campaign_id, "U0NOBODY", 1))
    change(desk.database, decisions.submit, Step(campaign_id, ANALYST, 1))
    for user in (ANALYST, "operator"):
        with pytest.raises(NotAllowed), desk.database.transaction() as session:
            decisions.approve(session, Step(campaign_id, user, 1))
    with desk.database.transaction() as session:
        decisions.edit(session, Step(campaign_id, LEAD, 1), Changes(discount=0.12))
        decisions.submit(session, Step(campaign_id, LEAD, 2))
    with pytest.raises(NotAllowed, match="somebody else"), desk.database.transaction() as session:
        decisions.approve(session, Step(campaign_id, LEAD, 2))
    change(desk.database, decisions.approve, Step(campaign_id, "U0ADMIN", 2))
    offers = offers_of(desk, campaign_id)
    assert {offer["discount"] for offer in offers if offer["action"] == "coupon"} == {0.12}


@pytest.mark.campaign("approved")
def test_demoted_approver_stops_the_unsent_campaign(desk):
    campaign_id = prepared_campaign(desk)
    execute(desk.database, update(RoleGrant).where(RoleGrant.user_id == LEAD).values(role="viewer"))
    with desk.database.transaction() as session:
        tomorrow = clock.now() + timedelta(days=1)
        assert due_steps.schedule(session, tomorrow) == [campaign_id]
        assert due_steps.due_requests(session, tomorrow) == []
    assert campaign_of(desk, campaign_id).state == "cancelled"


def test_undecided_campaign_expires_and_can_be_edited(desk):
    campaign_id = drafted(desk)
    change(desk.database, decisions.submit, Step(campaign_id, ANALYST, 1))
    later = clock.now() + timedelta(days=4)
    with desk.database.transaction() as session:
        assert due_steps.expire(session, clock.now()) == []
        assert due_steps.expire(session, later) == [campaign_id]
    with pytest.raises(StaleCampaign), desk.database.transaction() as session:
        decisions.approve(session, Step(campaign_id, LEAD, 1))
    assert (
        change(
            desk.database, decisions.edit, Step(campaign_id, ANALYST, 1), Changes(name="Again")
        ).version
        == 2
    )


def test_budget_is_checked_at_submission(desk, tmp_path):
    campaign_id = drafted(with_budget(desk, tmp_path, 20))
    change(desk.database, decisions.edit, Step(campaign_id, ANALYST, 1), Changes(budget=0.1))
    with pytest.raises(BadInput, match="budget"), desk.database.transaction() as session:
        decisions.submit(session, Step(campaign_id, ANALYST, 2))
    assert campaign_of(desk, campaign_id).state == "draft"
