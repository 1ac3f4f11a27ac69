"""Apply people's decisions about campaigns and show them in Slack.

Every function runs in the caller's session. The change, its audit row and the messages are one
transaction. The steps that wait for no person are in `workers.campaigns.due_steps`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle import decisions
from retention.campaigns.lifecycle.decisions import Changes
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import STOPPABLE, Step, find_campaign
from retention.campaigns.lifecycle.versions import NextVersion
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Campaign, CampaignEditor, Cohort
from retention.errors import BadInput, Conflict, NotAllowed
from retention.outreach import sends
from retention.text import gettext
from workers import user_roles
from workers.campaigns import messages

UNAPPROVED = ("draft", "submitted")
MAX_MESSAGED = 5  # approvers who get a direct message; more are mentioned in the thread

if TYPE_CHECKING:
    from retention.campaigns.planning.draft import Draft


def submit(session: Transaction, step: Step, channel: str | None = None) -> Campaign:
    """Submit a draft for approval."""
    user_roles.require(session, step.actor, "analyst", gettext("submit a campaign"))
    campaign = decisions.submit(session, step, channel)
    possible = approvers_of(session, campaign)
    wanted = Body.of(campaign).approver
    asked = [wanted] if wanted in possible else possible
    return _ask(session, campaign, "submitted", step.actor, asked)


def _ask(
    session: Transaction, campaign: Campaign, event: str, user: str, approvers: Sequence[str]
) -> Campaign:
    """Show a change, and ask approvers to decide: by direct message, or many in the thread."""
    by_message = 0 < len(approvers) <= MAX_MESSAGED
    mentioned = None if by_message else approvers
    messages.show_change(session, campaign, event, user, approvers=mentioned)
    for person in approvers if by_message else ():
        messages.put(
            session, campaign, messages.decision_post(session, campaign, person, "request")
        )
    return campaign


def approvers_of(session: Transaction, campaign: Campaign, editor: str | None = None) -> list[str]:
    """Return who can still approve a version: no author, and not approved yet.

    ``editor`` is about to write the next version.
    """
    editors = select(CampaignEditor.user_id).where(CampaignEditor.campaign_id == campaign.id)
    excluded = {*session.scalars(editors), *campaign.approved_by, editor}
    return [user for user in user_roles.holders(session, "approver") if user not in excluded]


def approve(session: Transaction, step: Step, call_owner: str | None = None) -> Campaign:
    """Approve a version that other people wrote.

    The last approval starts the clearance time.

    `call_owner`: Slack user id of the person who makes the campaign's calls.
    """
    if step.actor == user_roles.OPERATOR:
        raise NotAllowed(
            gettext(
                "The terminal's operator cannot approve; somebody with the role approver has "
                "to, by name."
            )
        )
    user_roles.require(session, step.actor, "approver", gettext("approve a campaign"))
    if call_owner is not None:
        _require_caller(session, call_owner)
    campaign, sizes = decisions.approve(session, step, call_owner)
    if campaign.state != "approved":
        # Whoever was asked before keeps that message.
        return _ask(session, campaign, "first", step.actor, approvers_of(session, campaign))
    messages.show_change(session, campaign, "approved", step.actor, left_out=sizes["excluded"])
    messages.put(
        session,
        campaign,
        messages.clearance_post(session.settings, campaign, treated=sizes["treatment"]),
    )
    return campaign


def reject(session: Transaction, step: Step, reason: str) -> Campaign:
    user_roles.require(session, step.actor, "approver", gettext("reject a campaign"))
    campaign = decisions.reject(session, step, reason)
    return messages.show_change(session, campaign, "rejected", step.actor)


def stop(session: Transaction, step: Step, reason: str) -> Campaign:
    """Stop a campaign and invalidate its codes."""
    before = find_campaign(session, step.campaign_id)
    states = stoppable_states(session, before, step.actor)
    campaign = decisions.stop(session, step, reason, states)
    messages.refresh_counts(session, campaign)
    return messages.show_change(session, campaign, "cancelled", step.actor)


def stoppable_states(session: Transaction, campaign: Campaign, user: str) -> Collection[str]:
    """Return the campaign states a person may stop.

    An approver and its author may stop it in all of them, and everyone else after its approval.
    """
    if campaign.drafted_by == user or user_roles.allows(
        user_roles.role_of(session, user), "approver"
    ):
        return STOPPABLE
    if campaign.state in UNAPPROVED:
        deed = gettext("stop a campaign of someone else before its approval")
        user_roles.require(session, user, "approver", deed)
    return [state for state in STOPPABLE if state not in UNAPPROVED]


def edit(session: Transaction, step: Step, changes: Changes) -> Campaign:
    """Write the next version, which must be submitted again."""
    user_roles.require(session, step.actor, "analyst", gettext("edit a campaign"))
    before = Body.of(find_campaign(session, step.campaign_id))
    if changes.approver and changes.approver != before.approver:
        _require_approver(session, step, changes.approver)
    return _show_next_version(session, step, decisions.edit(session, step, changes))


def _show_next_version(session: Transaction, step: Step, written: NextVersion) -> Campaign:
    """Show what differs from the version before in the campaign's thread."""
    return messages.show_change(
        session, written.campaign, "edited", step.actor, changes=written.changes
    )


def _require_caller(session: Transaction, person: str) -> None:
    """Reject a person who may not see the customers to call."""
    if not user_roles.allows(user_roles.role_of(session, person), "analyst"):
        problem = gettext(
            "The person {person} may not see customers' names and numbers. Choose someone "
            "with the role analyst or approver; an admin can grant it with `/retention role "
            "grant`."
        )
        raise BadInput(problem.format(person=person), field="calls_by")


def _require_approver(session: Transaction, step: Step, approver: str) -> None:
    """Reject a person who could not approve the edited version."""
    if not user_roles.allows(user_roles.role_of(session, approver), "approver"):
        problem = gettext(
            "The person {person} cannot approve campaigns. Choose someone with the role "
            "approver; an admin can grant it with `/retention role grant`."
        )
        raise BadInput(problem.format(person=approver), field="approver")
    wrote = session.get(CampaignEditor, (step.campaign_id, approver)) is not None
    if wrote or approver == step.actor:
        problem = gettext(
            "The person {person} drafted or edited this campaign. Choose someone who did not."
        )
        raise BadInput(problem.format(person=approver), field="approver")


def widen(session: Transaction, step: Step, drafted: "Draft") -> Campaign:
    """Write the next version with a wider audience; it must be submitted again."""
    from retention.campaigns.planning.replace_audience import replace_audience

    user_roles.require(session, step.actor, "analyst", gettext("edit a campaign"))
    return _show_next_version(session, step, replace_audience(session, step, drafted))


def release(
    session: Transaction, campaign_id: str, user: str, *, again: bool, copy: int | None = None
) -> int:
    """Retry held e-mails, or count them as sent.

    `copy`: number of one e-mail. Without it, all held ones.
    """
    user_roles.require(session, user, "approver", gettext("release held copies"))
    campaign = find_campaign(session, campaign_id, lock=True)
    names = {"copy": copy, "name": campaign.name, "id": campaign.id}
    if again and campaign.state != "live":
        problem = gettext(
            "Campaign {name!r} is {state}, so nothing of it is sent any more; let what is "
            "held count as sent: campaign release {id} sent."
        )
        raise Conflict(problem.format(state=campaign.state, **names))
    released = sends.release_held(session, campaign_id, again, copy)
    if not released:
        problem = gettext(
            "No copy of campaign {name!r} is held; `campaign held {id}` lists those that are."
        )
        if copy is not None:
            problem = gettext(
                "Copy {copy} of campaign {name!r} is not held; `campaign held {id}` lists "
                "those that are."
            )
        raise Conflict(problem.format(**names))
    now, state = clock.now(), "queued" if again else "sent"
    details = {"copies": released, "as": state, "copy": copy, "version": campaign.version}
    record(session, user, "campaign.release", campaign.id, now, details)
    post = messages.thread_post(
        session.settings, campaign, "released", user, copies=released, again=again
    )
    # A version may be released more than once.
    unique = replace(post, key=f"{post.key}:{now.isoformat()}")
    messages.put(session, campaign, unique, messages.delivery_post(session, campaign))
    return released


def find_cohort(session: Transaction, cohort_id: str) -> Cohort:
    """Return a cohort of a sweep."""
    cohort = session.get(Cohort, cohort_id)
    if cohort is None or cohort.team_id != session.settings.team_id:
        problem = gettext(
            "There is no list {cohort_id!r} (any more); run `/retention sweep` for a new one."
        )
        raise BadInput(problem.format(cohort_id=cohort_id))
    return cohort
