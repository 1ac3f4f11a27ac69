"""Slack messages of a campaign: its main message, its thread and the reminders.

Every function that takes a session runs in the caller's transaction.
"""

from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import shop_code_queue
from retention.campaigns.lifecycle.states import CLOCK, IN_CLEARANCE, find_campaign
from retention.campaigns.lifecycle.versions import changes_since_submission
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement import money_picture
from retention.campaigns.planning.remedies import WIDEN
from retention.db import Transaction
from retention.db.tables import Campaign, Outbox
from retention.outreach import send_summary
from retention.settings import Settings
from retention.text import gettext
from workers import action_ids
from workers.delivery import outbox
from workers.tasks.interface import Attachment, Post
from workers.user_roles import OPERATOR


def card_post(session: Transaction, campaign: Campaign) -> Post:
    """Return the campaign's main message with its buttons."""
    data = campaign_data(campaign, session.settings, session)
    data["remedy"] = _remedy_buttons(data)
    data["shop_codes"] = shop_code_queue.waiting(session, campaign.id)
    since = changes_since_submission(session, campaign)
    values = {"campaign": data, "demo": session.settings.demo, "since": since}
    return Post("campaign/card", values, campaign.post_key, images={"money": _picture(data)})


def _picture(data: dict[str, Any]) -> Attachment:
    """Describe cost and profit for the sender, who draws; the name identifies the content."""
    measured = "-measured" if data["verdict"] else ""
    name = f"{data['campaign_id']}-v{data['version']}{measured}.png"
    alt_text = gettext("Cost and profit with their ranges")
    return Attachment(name, money_picture.MONEY, money_picture.describe_money(data), alt_text)


def _remedy_buttons(data: dict[str, Any]) -> list[dict[str, str]]:
    """Return the button for the change that helps a draft, if one does."""
    suggestion = data["suggestion"]
    if suggestion is None:
        return []
    action = (
        action_ids.WIDEN_CAMPAIGN if suggestion["action"] == WIDEN else action_ids.CHEAPER_CAMPAIGN
    )
    return [{"action_id": action, "value": f"{data['campaign_id']}:{data['version']}"}]


def thread_post(
    settings: Settings, campaign: Campaign, event: str, actor: str, **values: Any
) -> Post:
    """Return a message for the campaign's thread.

    `actor`: user id, or `CLOCK`.
    """
    data, key = (
        campaign_data(campaign, settings),
        f"campaign:{campaign.id}:{event}:{campaign.version}",
    )
    shown = {"what": event, "who": actor, "campaign": data, "at": clock.now(), **values}
    return Post("campaign/line", shown, key, campaign.channel, campaign.post_key)


def clearance_post(
    settings: Settings, campaign: Campaign, version: int | None = None, treated: int | None = None
) -> Post:
    """Return the thread message about the clearance time.

    It shows the audience and a Stop button during the clearance time, then the outcome.
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


def delivery_post(session: Transaction, campaign: Campaign, stopped: str = "") -> Post:
    """Return the thread message that counts the sent e-mails.

    `stopped`: the reason if sending has stopped, else empty.
    """
    counts = send_summary.counts(session, campaign.id)
    values = {"counts": counts, "stopped": stopped}
    return thread_post(session.settings, campaign, "delivered", CLOCK, **values)


def next_step_posts(
    settings: Settings, campaign: Campaign, files: dict[str, int]
) -> tuple[Post, ...]:
    """Return the direct message that tells the drafter which files wait for a download.

    `campaign`: after it went live.
    `files`: customers by channel, as of `send_summary.waiting_in_files`.
    Returns: empty without a file, or if the operator drafted it.
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

    `campaign`: after it was measured.
    Returns: one for the channel, and one each for the drafter and the approvers.
    """
    key = f"campaign:{campaign.id}:measured:{campaign.version}"
    values = {"campaign": campaign_data(campaign, settings), "measured": result}
    people = sorted({campaign.drafted_by, *campaign.approved_by} - {OPERATOR, CLOCK})
    return (
        Post("campaign/measured", values, key, campaign.channel),
        *(Post("campaign/measured", values, f"{key}:{user}", channel=user) for user in people),
    )


def decision_post(
    session: Transaction, campaign: Campaign, user: str, kind: str, version: int | None = None
) -> Post:
    """Return the direct message that asks one approver to decide.

    ``kind`` is "request" or "reminder": two messages, because an edit notifies no one. Its buttons
    go when no decision is possible.
    """
    version = version or campaign.version
    values = {
        "campaign": campaign_data(campaign, session.settings, session),
        "version": version,
        "user": user,
        "kind": kind,
        "since": changes_since_submission(session, campaign),
    }
    key = f"campaign:{campaign.id}:{kind}:{version}:{user}"
    return Post("campaign/reminder", values, key, channel=user)


def put(session: Transaction, campaign: Campaign, *posts: Post) -> None:
    """Put messages into the outbox, by default for the campaign's channel."""
    for post in posts:
        outbox.put(session, post, default_channel=campaign.channel)


def show_change(
    session: Transaction, campaign: Campaign, event: str, actor: str, **values: Any
) -> Campaign:
    """Show a change in the main message and in the thread.

    Buttons that no longer decide anything are removed.

    `actor`: user id, or `CLOCK`.
    """
    line = thread_post(session.settings, campaign, event, actor, **values)
    put(session, campaign, card_post(session, campaign), line)
    _disarm(session, campaign)
    return campaign


def refresh_card(session: Transaction, campaign_id: str) -> Campaign:
    """Update the campaign's main message."""
    campaign = find_campaign(session, campaign_id)
    put(session, campaign, card_post(session, campaign))
    return campaign


def refresh_counts(session: Transaction, campaign: Campaign) -> None:
    """Update the count of e-mails in the main message and in the thread."""
    if send_summary.counts(session, campaign.id):
        put(session, campaign, delivery_post(session, campaign), card_post(session, campaign))


def _disarm(session: Transaction, campaign: Campaign) -> None:
    """Remove buttons that no longer decide anything."""
    prefix = f"campaign:{campaign.id}:"
    keys = session.scalars(select(Outbox.key).where(Outbox.key.startswith(prefix))).all()
    for key in keys:
        match key.removeprefix(prefix).split(":"):
            # Older versions have no buttons left.
            case ["request" | "reminder" as kind, version, user] if (
                int(version) >= campaign.version - 1
            ):
                post = decision_post(session, campaign, user, kind, int(version))
            case ["clearance", version] if campaign.state not in IN_CLEARANCE:
                post = clearance_post(session.settings, campaign, int(version))
            case _:
                continue
        put(session, campaign, post)
