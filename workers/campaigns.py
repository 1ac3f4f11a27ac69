"""Apply people's decisions about campaigns and show them in Slack.

Every function runs in the caller's session. The change, its audit row and the messages are one
transaction. The steps that wait for no person are in `workers.campaign_clock`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import approval
from retention.campaigns.approval import Changes
from retention.campaigns.states import STOPPABLE, find_campaign
from retention.campaigns.versions import NextVersion
from retention.db.audit import record
from retention.db.tables import Campaign, CampaignEditor, Cohort
from retention.errors import BadInput, Conflict, NotAllowed
from retention.outreach import sends
from retention.settings import Settings
from retention.text import gettext
from workers import roles
from workers.campaign_messages import (
    clearance_post,
    decision_post,
    delivery_post,
    refresh_counts,
    show_change,
    thread_post,
)
from workers.delivery import outbox

UNAPPROVED = ("draft", "submitted")
MAX_MESSAGED = 5  # approvers who get a direct message; more are mentioned in the thread

if TYPE_CHECKING:
    from retention.campaigns.draft import Draft


def submit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    channel: str | None = None,
) -> Campaign:
    """Submit a draft for approval.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    channel : str, optional
        Where it was submitted. A campaign drafted in the terminal gets this channel.

    Returns
    -------
    Campaign
        The submitted campaign.

    Raises
    ------
    NotAllowed
        The person is no analyst.
    """
    roles.require(session, settings, user, "analyst", gettext("submit a campaign"))
    campaign = approval.submit(session, settings, campaign_id, version, user, clock.now())
    approver = campaign.body.get("approver")
    if campaign.channel is None and channel is not None:
        campaign.channel = channel
        session.flush()
    possible = approvers_of(session, settings, campaign)
    asked = [approver] if approver in possible else possible
    return _ask(session, settings, campaign, "submitted", user, asked)


def _ask(
    session: Session,
    settings: Settings,
    campaign: Campaign,
    event: str,
    user: str,
    approvers: Sequence[str],
) -> Campaign:
    """Show a change, and ask approvers to decide: by direct message, or many in the thread."""
    by_message = 0 < len(approvers) <= MAX_MESSAGED
    mentioned = None if by_message else approvers
    show_change(session, settings, campaign, event, user, approvers=mentioned)
    for person in approvers if by_message else ():
        request = decision_post(settings, campaign, campaign.version, person, "request", session)
        outbox.put(session, settings, request, default_channel=person)
    return campaign


def approvers_of(
    session: Session, settings: Settings, campaign: Campaign, editor: str | None = None
) -> list[str]:
    """Return who can still approve a version: no author, and not approved yet.

    ``editor`` is about to write the next version.
    """
    wrote = set(
        session.scalars(
            select(CampaignEditor.user_id).where(CampaignEditor.campaign_id == campaign.id)
        )
    )
    holders = roles.holders(session, settings, "approver")
    return [user for user in holders if user not in {*wrote, *campaign.approved_by, editor}]


def approve(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    call_owner: str | None = None,
) -> Campaign:
    """Approve a version that other people wrote.

    The last approval starts the clearance time.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    call_owner : str, optional
        Slack user id of the person who makes the campaign's calls. By default the choice of an
        earlier approval, else the approver.

    Returns
    -------
    Campaign
        The campaign after the approval.

    Raises
    ------
    NotAllowed
        The person is no approver, or is the terminal's operator.
    BadInput
        The chosen person may not see whom to call.
    """
    if user == roles.OPERATOR:
        raise NotAllowed(
            gettext(
                "The terminal's operator cannot approve; somebody with the role approver has "
                "to, by name."
            )
        )
    roles.require(session, settings, user, "approver", gettext("approve a campaign"))
    if call_owner is not None:
        _require_caller(session, settings, call_owner)
    campaign, sizes = approval.approve(session, settings, campaign_id, version, user, clock.now())
    if any(offer["action"] == "call" for offer in campaign.body["offers"]):
        campaign.call_owner = call_owner or campaign.call_owner or user
        session.flush()
    if campaign.state != "approved":
        # Whoever was asked before keeps that message.
        return _ask(
            session, settings, campaign, "first", user, approvers_of(session, settings, campaign)
        )
    show_change(session, settings, campaign, "approved", user, left_out=sizes["excluded"])
    opened = clearance_post(settings, campaign, version, treated=sizes["treatment"])
    outbox.put(session, settings, opened, default_channel=campaign.channel)
    return campaign


def reject(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, reason: str
) -> Campaign:
    """Reject a version.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    reason : str
        Shown in the thread.

    Returns
    -------
    Campaign
        The rejected campaign.

    Raises
    ------
    NotAllowed
        The person is no approver.
    """
    roles.require(session, settings, user, "approver", gettext("reject a campaign"))
    campaign = approval.reject(session, settings, campaign_id, version, user, reason, clock.now())
    return show_change(session, settings, campaign, "rejected", user)


def stop(
    session: Session, settings: Settings, campaign_id: str, user: str, reason: str
) -> Campaign:
    """Stop a campaign and invalidate its codes.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    user : str
        Slack user id, or `roles.OPERATOR`.
    reason : str
        Shown in the thread.

    Returns
    -------
    Campaign
        The stopped campaign.

    Raises
    ------
    NotAllowed
        The person may not stop it in its present state.
    """
    before = find_campaign(session, settings, campaign_id)
    states = stoppable_states(session, settings, before, user)
    campaign = approval.stop(session, settings, campaign_id, user, reason, clock.now(), states)
    refresh_counts(session, settings, campaign)
    return show_change(session, settings, campaign, "cancelled", user)


def stoppable_states(
    session: Session, settings: Settings, campaign: Campaign, user: str
) -> Collection[str]:
    """Return the campaign states a person may stop.

    An approver and its author may stop it in all of them, and everyone else after its approval.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    user : str
        Slack user id, or `roles.OPERATOR`.

    Returns
    -------
    Collection[str]
        States of a campaign.

    Raises
    ------
    NotAllowed
        The person may not stop it in its present state.
    """
    if roles.allows(roles.role_of(session, settings, user), "approver"):
        return STOPPABLE
    if campaign.drafted_by == user:
        return STOPPABLE
    if campaign.state in UNAPPROVED:
        deed = gettext("stop a campaign of someone else before its approval")
        roles.require(session, settings, user, "approver", deed)
    return [state for state in STOPPABLE if state not in UNAPPROVED]


def edit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    changes: Changes,
) -> Campaign:
    """Write the next version, which must be submitted again.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    changes : Changes
        The fields to change.

    Returns
    -------
    Campaign
        The edited campaign.

    Raises
    ------
    NotAllowed
        The person is no analyst.
    """
    roles.require(session, settings, user, "analyst", gettext("edit a campaign"))
    before = find_campaign(session, settings, campaign_id)
    if changes.approver and changes.approver != before.body.get("approver"):
        _require_approver(session, settings, campaign_id, changes.approver, user)
    now = clock.now()
    return _show_next_version(
        session,
        settings,
        user,
        approval.edit(session, settings, campaign_id, version, user, changes, now),
    )


def _show_next_version(
    session: Session,
    settings: Settings,
    user: str,
    written: NextVersion,
) -> Campaign:
    """Show what differs from the version before in the campaign's thread."""
    return show_change(session, settings, written.campaign, "edited", user, changes=written.changes)


def _require_caller(session: Session, settings: Settings, person: str) -> None:
    """Reject a person who may not see the customers to call."""
    if not roles.allows(roles.role_of(session, settings, person), "analyst"):
        raise BadInput(
            gettext(
                "The person {person} may not see customers' names and numbers. Choose someone "
                "with the role analyst or approver; an admin can grant it with `/retention role "
                "grant`."
            ).format(person=person),
            field="calls_by",
        )


def _require_approver(
    session: Session, settings: Settings, campaign_id: str, approver: str, editor: str
) -> None:
    """Reject a person who could not approve the edited version."""
    if not roles.allows(roles.role_of(session, settings, approver), "approver"):
        raise BadInput(
            gettext(
                "The person {person} cannot approve campaigns. Choose someone with the role "
                "approver; an admin can grant it with `/retention role grant`."
            ).format(person=approver),
            field="approver",
        )
    wrote = select(CampaignEditor.user_id).where(
        CampaignEditor.campaign_id == campaign_id, CampaignEditor.user_id == approver
    )
    if approver == editor or session.scalar(wrote) is not None:
        raise BadInput(
            gettext(
                "The person {person} drafted or edited this campaign. Choose someone who did not."
            ).format(person=approver),
            field="approver",
        )


def widen(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    drafted: "Draft",
) -> Campaign:
    """Write the next version with a wider audience; it must be submitted again.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    version : int
        The version that the person saw.
    user : str
        Slack user id, or `roles.OPERATOR`.
    drafted : Draft
        The wider audience.

    Returns
    -------
    Campaign
        The edited campaign.

    Raises
    ------
    NotAllowed
        The person is no analyst.
    """
    from retention.campaigns.redraft import replace_audience

    roles.require(session, settings, user, "analyst", gettext("edit a campaign"))
    now = clock.now()
    return _show_next_version(
        session,
        settings,
        user,
        replace_audience(session, settings, campaign_id, version, user, drafted, now),
    )


def release(
    session: Session,
    settings: Settings,
    campaign_id: str,
    user: str,
    *,
    again: bool,
    copy: int | None = None,
) -> int:
    """Retry held e-mails, or count them as sent.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.
    user : str
        Slack user id, or `roles.OPERATOR`.
    again : bool
        Send them once more. Otherwise they count as sent.
    copy : int, optional
        Number of one e-mail. Without it, all held ones.

    Returns
    -------
    int
        Number of released e-mails.

    Raises
    ------
    Conflict
        None is held, or the campaign is over and cannot send again.
    """
    roles.require(session, settings, user, "approver", gettext("release held copies"))
    campaign = find_campaign(session, settings, campaign_id, lock=True)
    if again and campaign.state != "live":
        raise Conflict(
            gettext(
                "Campaign {name!r} is {state}, so nothing of it is sent any more; let what is "
                "held count as sent: campaign release {id} sent."
            ).format(name=campaign.name, state=campaign.state, id=campaign.id)
        )
    released = sends.release_held(session, campaign_id, again, copy)
    if not released:
        raise Conflict(
            (
                gettext(
                    "No copy of campaign {name!r} is held; `campaign held {id}` lists those that "
                    "are."
                )
                if copy is None
                else gettext(
                    "Copy {copy} of campaign {name!r} is not held; `campaign held {id}` lists "
                    "those that are."
                )
            ).format(copy=copy, name=campaign.name, id=campaign.id)
        )
    now = clock.now()
    details = {
        "copies": released,
        "as": "queued" if again else "sent",
        "copy": copy,
        "version": campaign.version,
    }
    record(session, settings, user, "campaign.release", campaign.id, now, details)
    post = thread_post(settings, campaign, "released", user, copies=released, again=again)
    # A version may be released more than once.
    unique = replace(post, key=f"{post.key}:{now.isoformat()}")
    for post in (unique, delivery_post(session, settings, campaign)):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    return released


def find_cohort(session: Session, settings: Settings, cohort_id: str) -> Cohort:
    """Return a cohort of a sweep.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    cohort_id : str
        Id of the cohort.

    Returns
    -------
    Cohort
        The cohort.

    Raises
    ------
    BadInput
        There is no such cohort, or it was deleted.
    """
    cohort = session.get(Cohort, cohort_id)
    if cohort is None or cohort.team_id != settings.team_id:
        raise BadInput(
            gettext(
                "There is no list {cohort_id!r} (any more); run `/retention sweep` for a new one."
            ).format(cohort_id=cohort_id)
        )
    return cohort
