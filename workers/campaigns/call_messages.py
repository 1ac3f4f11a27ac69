"""A campaign's call list as a direct message, and the modal of one call.

Functions that take a session run in the caller's transaction.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle.spec import Body
from retention.db import Transaction
from retention.db.tables import Assignment, CallEntry, Campaign, Outbox
from retention.lake import customer_directory
from retention.outreach import calls
from retention.privacy import pseudonym
from workers import user_roles
from workers.delivery import outbox, render
from workers.tasks.interface import Post

TO_DO = "to_do"  # option of a call that was not made
MAX_SHOWN = 20  # rows of the message; the file has all


def list_post(session: Transaction, campaign: Campaign, user: str) -> Post:
    """Return a campaign's call list for one person."""
    entries = calls.entries(session, campaign.id)
    values = {
        "campaign": {"id": campaign.id, "name": campaign.name},
        "counts": calls.count_outcomes(session, campaign.id),
        "calls": _rows(session, campaign.id, entries[:MAX_SHOWN]),
        "currency": Body.of(campaign).currency,
    }
    return Post("campaign/calls", values, key=f"calls:{campaign.id}:{user}", channel=user)


def _rows(session: Transaction, campaign_id: str, entries: list[CallEntry]) -> list[dict[str, Any]]:
    ids = [entry.customer_id for entry in entries]
    names = customer_directory.display_names(session, ids)
    listed = (Assignment.campaign_id == campaign_id, Assignment.customer_id.in_(ids))
    values = select(Assignment.customer_id, Assignment.expected_value).where(*listed)
    worth = dict(session.execute(values).tuples().all())
    return [
        {
            "customer_id": entry.customer_id,
            "pseudonym": (hidden := pseudonym(session.settings.key, entry.customer_id)),
            "name": names.get(entry.customer_id) or hidden,
            "worth": worth.get(entry.customer_id),
            "owner": entry.owner,
            "due_on": _day(entry),
            "done": entry.outcome is not None,
            "outcome": calls.outcome_text(entry.outcome),
        }
        for entry in entries
    ]


def _day(entry: CallEntry) -> str | None:
    return entry.due_on.isoformat() if entry.due_on else None


def open_calls(session: Transaction, user: str) -> list[dict[str, Any]]:
    """Return the calls that a person has to make.

    ``name`` is for the person only. Where others read, show the pseudonym.
    """
    listed = calls.open_entries(session, user)[:MAX_SHOWN]
    ids = {entry.campaign_id for entry in listed}
    named = select(Campaign.id, Campaign.name).where(Campaign.id.in_(ids))
    names = dict(session.execute(named).tuples().all())
    people = customer_directory.display_names(session, (entry.customer_id for entry in listed))
    return [
        {
            "pseudonym": pseudonym(session.settings.key, entry.customer_id),
            "name": people.get(entry.customer_id, ""),
            "campaign_id": entry.campaign_id,
            "campaign": names.get(entry.campaign_id, ""),
            "due_on": _day(entry),
        }
        for entry in listed
    ]


def notify_owner(session: Transaction, entry: CallEntry, by: str, known_owner: str | None) -> None:
    """Tell a person of a call that somebody else gave them, and close the message once it is made.

    `entry`: after the change.
    `known_owner`: owner before the change.
    """
    name = pseudonym(session.settings.key, entry.customer_id)
    key = f"call:{entry.campaign_id}:{name}:{entry.owner}"
    is_new = entry.owner not in (None, by, known_owner) and entry.outcome is None
    if entry.owner is None or not (is_new or outbox.channel_of(session, key)):
        return
    campaign = session.get(Campaign, entry.campaign_id) if entry.campaign_id else None
    may_see = user_roles.allows(user_roles.role_of(session, entry.owner), "analyst")
    people = customer_directory.display_names(session, [entry.customer_id]) if may_see else {}
    values = {
        "by": by,
        "pseudonym": name,
        "name": people.get(entry.customer_id) or name,
        "campaign_id": entry.campaign_id,
        "campaign": campaign.name if campaign else "",
        "due_on": _day(entry),
        "note": entry.note,
        "open": entry.outcome is None,
        "outcome": calls.outcome_text(entry.outcome),
    }
    post = Post("campaign/call_assigned", values, key=key, channel=entry.owner)
    outbox.put(session, post, default_channel=None)


def refresh(session: Transaction, campaign_id: str) -> None:
    """Update every person's message with a campaign's call list.

    `campaign_id`: the campaign; empty for calls that belong to none.
    """
    campaign = session.get(Campaign, campaign_id) if campaign_id else None
    if campaign is None:
        return
    prefix = f"calls:{campaign_id}:"
    for key in session.scalars(select(Outbox.key).where(Outbox.key.startswith(prefix))).all():
        post = list_post(session, campaign, key.removeprefix(prefix))
        outbox.put(session, post, default_channel=post.channel)


def window_values(
    session: Transaction, *, campaign_id: str, customer_id: str, card: str, owner: str
) -> dict[str, Any]:
    """Return the values of the window in which a person makes, plans or records a call.

    The phone number is in the lake, so a worker adds it (`workers.tasks.customers.call_details`).

    `card`: job of the card to update; may be empty.
    `owner`: who calls, unless the entry names someone.
    """
    entry = calls.find_entry(session, campaign_id, customer_id)
    due = (entry and entry.due_on) or (clock.now() + timedelta(days=calls.DUE_DAYS)).date()
    outcomes = [(TO_DO, calls.outcome_text(None))]
    outcomes += [(code, calls.outcome_text(code)) for code in calls.OUTCOMES]
    name = pseudonym(session.settings.key, customer_id)
    return {
        "value": f"{campaign_id}|{name}|{card}",
        "pseudonym": name,
        "name": customer_directory.display_names(session, [customer_id]).get(customer_id) or name,
        "owner": (entry and entry.owner) or owner,
        "due": due.isoformat(),
        "outcomes": outcomes,
        "outcome": (entry and entry.outcome) or TO_DO,
        "note": entry.note if entry else "",
        "is_looking_up": True,
        "phone": "",
        "talk": "",
    }


def window(values: dict[str, Any]) -> dict[str, Any]:
    """Return the window of `window_values`."""
    return render.view("campaign/call", **values)
