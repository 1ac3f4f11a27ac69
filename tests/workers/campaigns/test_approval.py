"""Test approvals of drafts: roles, deadlines and last checks."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from retention import clock
from retention.campaigns.approval import Changes
from retention.campaigns.states import StaleCampaign
from retention.db.tables import (
    Assignment,
    DirectoryEntry,
    RoleGrant,
)
from retention.errors import BadInput, Conflict, NotAllowed
from tests.workers.campaigns.steps import (
    ANALYST,
    LEAD,
    arms_of,
    campaign_of,
    drafted,
    messages,
    prepared_campaign,
    with_budget,
)
from workers import campaign_clock, campaigns


def test_approval_excludes_customers_of_other_campaigns(desk):
    first, second = drafted(desk), drafted(desk, name="More people")
    with desk.database.transaction() as session:
        audience = session.scalars(select(Assignment).where(Assignment.campaign_id == first)).all()
        for item in audience[:7]:
            session.delete(item)
    for campaign_id in (first, second):
        with desk.database.transaction() as session:
            campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
            campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
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
            campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
            campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
    with desk.database.reading() as session:
        out = select(Assignment.campaign_id, Assignment.customer_id).where(
            Assignment.arm == "excluded"
        )
        assert set(session.execute(out).tuples()) == {(second, ids[40]), (second, ids[41])}


def test_campaign_without_recipients_is_not_approved(desk):
    """It was approved "for 315 customers", and its sending broke."""
    first, second = drafted(desk), drafted(desk, name="The same people")
    for campaign_id in (first, second):
        with desk.database.transaction() as session:
            campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    with desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, first, 1, LEAD)
    with (
        pytest.raises(Conflict, match="would go to nobody"),
        desk.database.transaction() as session,
    ):
        campaigns.approve(session, desk.settings, second, 1, LEAD)
    assert (campaign_of(desk, second).state, set(arms_of(desk, second))) == (
        "submitted",
        {"audience"},
    )


def test_roles_are_checked_and_operator_cannot_approve(desk):
    campaign_id = drafted(desk)
    with pytest.raises(NotAllowed), desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, "U0NOBODY")
    with desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    for user in (ANALYST, "operator"):
        with pytest.raises(NotAllowed), desk.database.transaction() as session:
            campaigns.approve(session, desk.settings, campaign_id, 1, user)
    with desk.database.transaction() as session:
        campaigns.edit(session, desk.settings, campaign_id, 1, LEAD, Changes(discount=0.12))
        campaigns.submit(session, desk.settings, campaign_id, 2, LEAD)
    with pytest.raises(NotAllowed, match="somebody else"), desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 2, LEAD)
    with desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 2, "U0ADMIN")
    with desk.database.reading() as session:
        offers = session.scalars(
            select(Assignment.offer).where(Assignment.campaign_id == campaign_id)
        ).all()
    assert {offer["discount"] for offer in offers if offer["action"] == "coupon"} == {0.12}


@pytest.mark.campaign("approved")
def test_demoted_approver_stops_the_unsent_campaign(desk):
    campaign_id = prepared_campaign(desk)
    with desk.database.transaction() as session:
        session.execute(update(RoleGrant).where(RoleGrant.user_id == LEAD).values(role="viewer"))
    with desk.database.transaction() as session:
        tomorrow = clock.now() + timedelta(days=1)
        assert campaign_clock.schedule(session, desk.settings, tomorrow) == [campaign_id]
        assert campaign_clock.due_requests(session, desk.settings, tomorrow) == []
    assert campaign_of(desk, campaign_id).state == "cancelled"


def test_undecided_campaign_expires_and_can_be_edited(desk):
    campaign_id = drafted(desk)
    with desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    later = clock.now() + timedelta(days=4)
    with desk.database.transaction() as session:
        assert campaign_clock.expire(session, desk.settings, clock.now()) == []
        assert campaign_clock.expire(session, desk.settings, later) == [campaign_id]
    with pytest.raises(StaleCampaign), desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
    with desk.database.transaction() as session:
        assert (
            campaigns.edit(
                session, desk.settings, campaign_id, 1, ANALYST, Changes(name="Again")
            ).version
            == 2
        )


def test_budget_is_checked_at_submission(desk, tmp_path):
    campaign_id = drafted(with_budget(desk, tmp_path, 20))
    with desk.database.transaction() as session:
        campaigns.edit(session, desk.settings, campaign_id, 1, ANALYST, Changes(budget=0.1))
    with pytest.raises(BadInput, match="budget"), desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 2, ANALYST)
    assert campaign_of(desk, campaign_id).state == "draft"
