"""Slack messages of a campaign: its main message, its thread and the reminders.

Every function that takes a session runs in the caller's transaction.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import pictures, shop_codes
from retention.campaigns.changes import changes_since_submission
from retention.campaigns.remedies import WIDEN
from retention.campaigns.states import CLOCK, IN_CLEARANCE, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.tables import Campaign, Outbox
from retention.outreach import send_summary
from retention.settings import Settings
from retention.text import gettext
from workers import ids
from workers.delivery import outbox
from workers.roles import OPERATOR
from workers.tasks.interface import Attachment, Post


def card_post(settings: Settings, campaign: Campaign, session: Session | None = None) -> Post:
    """Return the campaign's main message with its buttons.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    session : Session, optional
        The caller's transaction. With it, the counts are the database's, *Approve* shows what
        changed since the last submission, and a live campaign says that it waits for the shop's
        codes.

    Returns
    -------
    Post
        A post under the campaign's key.
    """
    data = campaign_data(campaign, settings, session)
    data["remedy"] = _remedy_buttons(data)
    data["shop_codes"] = shop_codes.waiting(session, campaign.id) if session is not None else None
    since = changes_since_submission(session, campaign) if session is not None else None
    return Post(
        "campaign/card",
        {"campaign": data, "demo": settings.demo, "since": since},
        key=campaign.post_key,
        images={"money": _picture(data)},
    )


def _picture(data: dict[str, Any]) -> Attachment:
    """Describe cost and profit for the sender, who draws; the name identifies the content."""
    measured = "-measured" if data["verdict"] else ""
    name = f"{data['campaign_id']}-v{data['version']}{measured}.png"
    alt_text = gettext("Cost and profit with their ranges")
    return Attachment(name, pictures.MONEY, pictures.describe_money(data), alt_text)


def _remedy_buttons(data: dict[str, Any]) -> list[dict[str, str]]:
    """Return the button for the change that helps a draft, if one does."""
    suggestion = data["suggestion"]
    if suggestion is None:
        return []
    action = ids.WIDEN_CAMPAIGN if suggestion["action"] == WIDEN else ids.CHEAPER_CAMPAIGN
    return [{"action_id": action, "value": f"{data['campaign_id']}:{data['version']}"}]


def thread_post(
    settings: Settings, campaign: Campaign, event: str, actor: str, **values: Any
) -> Post:
    """Return a message for the campaign's thread.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    event : str
        Kind of the message, a part of its key: there is one per version.
    actor : str
        User id, or `CLOCK`.
    **values : Any
        More values for the template.

    Returns
    -------
    Post
        A post under its own key.
    """
    return Post(
        "campaign/line",
        {
            "what": event,
            "who": actor,
            "campaign": campaign_data(campaign, settings),
            "at": clock.now(),
            **values,
        },
        key=f"campaign:{campaign.id}:{event}:{campaign.version}",
        channel=campaign.channel,
        thread_key=campaign.post_key,
    )


def clearance_post(
    settings: Settings, campaign: Campaign, version: int | None = None, treated: int | None = None
) -> Post:
    """Return the thread message about the clearance time.

    It shows the audience and a Stop button during the clearance time, then the outcome.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    version : int, optional
        By default the campaign's.
    treated : int, optional
        Size of the treatment group.

    Returns
    -------
    Post
        A post under its own key.
    """
    version = version or campaign.version
    values = {
        "campaign": campaign_data(campaign, settings),
        "version": version,
        "treated": treated,
        "open": campaign.state in IN_CLEARANCE and campaign.version == version,
    }
    key = f"campaign:{campaign.id}:clearance:{version}"
    return Post("campaign/clearance", values, key, campaign.channel, campaign.post_key)


def delivery_post(
    session: Session, settings: Settings, campaign: Campaign, stopped: str = ""
) -> Post:
    """Return the thread message that counts the sent e-mails.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    stopped : str, optional
        The reason if sending has stopped, else empty.

    Returns
    -------
    Post
        A post for the thread.
    """
    counts = send_summary.counts(session, campaign.id)
    return thread_post(settings, campaign, "delivered", CLOCK, counts=counts, stopped=stopped)


def next_step_posts(
    settings: Settings, campaign: Campaign, files: dict[str, int]
) -> tuple[Post, ...]:
    """Return the direct message that tells the drafter which files wait for a download.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        After it went live.
    files : dict of str to int
        Customers by channel, as of `send_summary.waiting_in_files`.

    Returns
    -------
    tuple of Post
        Empty without a file, or if the operator drafted it.
    """
    if campaign.call_owner:  # who gets the call list without asking for it
        files = {**files, "call": 0}
    if not any(files.values()) or campaign.drafted_by in (OPERATOR, CLOCK):
        return ()
    key = f"campaign:{campaign.id}:next:{campaign.version}"
    values = {"campaign": campaign_data(campaign, settings), "files": files}
    return (Post("campaign/next", values, key, channel=campaign.drafted_by),)


def measured_posts(
    settings: Settings, campaign: Campaign, result: dict[str, Any]
) -> tuple[Post, ...]:
    """Return new messages about a result: the card that shows it may be weeks up the channel.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    campaign : Campaign
        After it was measured.
    result : dict
        The result.

    Returns
    -------
    tuple of Post
        One for the channel, and one each for the drafter and the approvers.
    """
    key = f"campaign:{campaign.id}:measured:{campaign.version}"
    values = {"campaign": campaign_data(campaign, settings), "measured": result}
    people = sorted({campaign.drafted_by, *campaign.approved_by} - {OPERATOR, CLOCK})
    return (
        Post("campaign/measured", values, key, campaign.channel),
        *(Post("campaign/measured", values, f"{key}:{user}", channel=user) for user in people),
    )


def decision_post(
    settings: Settings,
    campaign: Campaign,
    version: int,
    user: str,
    kind: str,
    session: Session | None = None,
) -> Post:
    """Return the direct message that asks one approver to decide.

    ``kind`` is "request" or "reminder": two messages, because an edit notifies no one. Its buttons
    go when no decision is possible. ``session`` is as for `card_post`.
    """
    since = changes_since_submission(session, campaign) if session is not None else None
    values = {
        "campaign": campaign_data(campaign, settings, session),
        "version": version,
        "user": user,
        "kind": kind,
        "since": since,
    }
    key = f"campaign:{campaign.id}:{kind}:{version}:{user}"
    return Post("campaign/reminder", values, key, channel=user)


def show_change(
    session: Session, settings: Settings, campaign: Campaign, event: str, actor: str, **values: Any
) -> Campaign:
    """Show a change in the main message and in the thread.

    Buttons that no longer decide anything are removed.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        After the change.
    event : str
        Kind of the thread's message.
    actor : str
        User id, or `CLOCK`.
    **values : Any
        More values for the thread's template.

    Returns
    -------
    Campaign
        The same campaign.
    """
    for post in (
        card_post(settings, campaign, session),
        thread_post(settings, campaign, event, actor, **values),
    ):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    _disarm(session, settings, campaign)
    return campaign


def refresh_card(session: Session, settings: Settings, campaign_id: str) -> Campaign:
    """Update the campaign's main message.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign_id : str
        Id of the campaign.

    Returns
    -------
    Campaign
        The campaign.
    """
    campaign = find_campaign(session, settings, campaign_id)
    post = card_post(settings, campaign, session)
    outbox.put(session, settings, post, default_channel=campaign.channel)
    return campaign


def refresh_counts(session: Session, settings: Settings, campaign: Campaign) -> None:
    """Update the count of e-mails in the main message and in the thread.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    campaign : Campaign
        As stored.
    """
    if send_summary.counts(session, campaign.id):
        for post in (
            delivery_post(session, settings, campaign),
            card_post(settings, campaign, session),
        ):
            outbox.put(session, settings, post, default_channel=campaign.channel)


def _disarm(session: Session, settings: Settings, campaign: Campaign) -> None:
    """Remove buttons that no longer decide anything."""
    prefix = f"campaign:{campaign.id}:"
    keys = session.scalars(select(Outbox.key).where(Outbox.key.startswith(prefix))).all()
    for key in keys:
        match key.removeprefix(prefix).split(":"):
            # Older versions have no buttons left.
            case ["request" | "reminder" as kind, version, user] if (
                int(version) >= campaign.version - 1
            ):
                post = decision_post(settings, campaign, int(version), user, kind, session)
            case ["clearance", version] if campaign.state not in IN_CLEARANCE:
                post = clearance_post(settings, campaign, int(version))
            case _:
                continue
        outbox.put(session, settings, post, default_channel=post.channel)
