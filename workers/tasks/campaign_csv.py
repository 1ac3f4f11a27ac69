"""Send a campaign's codes or call list.

The thread shows the recipient and the number of rows.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.text import gettext
from workers import campaign_messages
from workers.requests import CampaignCsv
from workers.tasks.interface import Attachment, Context, Outcome, Post

if TYPE_CHECKING:
    from retention.lake import Lake


def run(request: CampaignCsv, context: Context) -> Outcome:
    """Make the file without held-out and unsubscribed customers.

    Parameters
    ----------
    request : CampaignCsv
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        A file by direct message and a line in the thread.

    Raises
    ------
    BadInput
        The campaign is not live, or the file would be empty.
    """
    from retention.campaigns.spec import Body
    from retention.csv import to_csv
    from retention.lake import Lake
    from retention.outreach.contacts import find_contacts

    lake = Lake.open(context.settings)
    campaign, rows, unwilling = _selected(request, context, lake)
    make = _calls if request.part == "calls" else _codes
    reach = find_contacts(lake, [row["customer_id"] for row in rows])
    frame = make(context.settings, Body.model_validate(campaign.body), rows, reach)
    file = Attachment(
        f"{campaign.id}-{request.part}.csv", "text/csv", to_csv(frame), sensitive=True
    )
    to_person = Post(
        "campaign/csv",
        {"campaign": {"name": campaign.name}, "rows": len(rows), "part": request.part},
        key=f"campaign:{campaign.id}:file:{context.job_id}",
        channel=context.requested_by,
        file=file,
    )
    return Outcome(
        {"campaign_id": campaign.id, "rows": len(rows)},
        posts=(to_person,),
        apply=lambda session: _record_download(session, request, context, rows, unwilling),
    )


def _selected(
    request: CampaignCsv, context: Context, lake: "Lake"
) -> tuple[Any, list[dict[str, Any]], Collection[str]]:
    """Return the campaign, its rows, and newly unsubscribed customers."""
    from retention.campaigns import launch, shop_codes
    from retention.errors import BadInput
    from retention.outreach import send_summary
    from retention.outreach.contacts import customers_without_consent
    from retention.risk.policy import load_policy

    policy, is_call_list = load_policy(context.settings), request.part == "calls"
    with context.database.reading() as session:
        campaign = _live_campaign(session, context, request)
        if not is_call_list:
            shop_codes.require_made(session, campaign)
        left_out = send_summary.cancelled_customers(session, campaign.id)
        refused = shop_codes.unmade_codes(session, campaign.id)
        rows = [
            row
            for row in launch.recipient_rows(session, campaign)
            if (row["offer"]["action"] == "call") == is_call_list
            and row["customer_id"] not in left_out
            and not (row["code"] and row["code"] in refused)
        ]
        offers = {row["customer_id"]: row["offer"] for row in rows}
        unsubscribed = customers_without_consent(
            lake,
            session,
            context.settings,
            policy,
            offers,
            campaign.body.get("message_channel", "email"),
        )
    rows = [row for row in rows if row["customer_id"] not in unsubscribed]
    if not rows:
        raise BadInput(
            (
                gettext("Campaign {name!r} has nobody to call.")
                if is_call_list
                else gettext("Campaign {name!r} has nobody to write to.")
            ).format(name=campaign.name)
        )
    return campaign, rows, unsubscribed


def _record_download(
    session: Session,
    request: CampaignCsv,
    context: Context,
    rows: list[dict[str, Any]],
    unwilling: Collection[str],
) -> tuple[Post, ...]:
    """Record the download in ledger and thread."""
    from retention.db.audit import record
    from retention.outreach import sends

    settings, user, now = context.settings, context.requested_by, context.business_at
    # It may have been stopped since.
    campaign = _live_campaign(session, context, request, lock=True)
    details = {
        "rows": len(rows),
        "part": request.part,
        "version": campaign.version,
        "job": context.job_id,
    }
    channel = "call" if request.part == "calls" else "csv"
    record(session, settings, user, f"campaign.{channel}", campaign.id, now, details)
    sends.cancel_sends_to(session, campaign.id, unwilling, "no_consent")
    sends.mark_file_taken(session, campaign.id, context.job_id, now, channel)
    post = campaign_messages.thread_post(
        settings, campaign, "csv", user, rows=len(rows), part=request.part
    )
    return (
        campaign_messages.card_post(settings, campaign, session),
        *_call_list(session, context, campaign, rows, request.part),
        Post(
            post.template,
            post.values,
            f"{post.key}:{context.job_id}",
            post.channel,
            post.thread_key,
        ),
    )


def _call_list(
    session: Session, context: Context, campaign: Any, rows: list[dict[str, Any]], part: str
) -> tuple[Post, ...]:
    """Put the customers on the campaign's call list, and show it to the person."""
    from datetime import timedelta

    from retention.outreach import calls
    from workers import call_lists

    if part != "calls":
        return ()
    settings, now = context.settings, context.business_at
    due_on = (now + timedelta(days=calls.DUE_DAYS)).date()
    customers = [row["customer_id"] for row in rows]
    calls.add_entries(
        session,
        settings,
        campaign.id,
        customers,
        context.requested_by,
        now,
        due_on,
        owner=campaign.call_owner,
    )
    if context.channel is None:
        return ()
    return (call_lists.list_post(session, settings, campaign, context.requested_by),)


def _live_campaign(
    session: Session, context: Context, request: CampaignCsv, *, lock: bool = False
) -> Any:
    """Return the campaign while its codes are valid.

    Raises
    ------
    BadInput
        The campaign is not live.
    """
    from retention.campaigns.states import find_campaign
    from retention.errors import BadInput

    campaign = find_campaign(session, context.settings, request.campaign_id, lock=lock)
    if campaign.state not in ("live", "measuring"):
        raise BadInput(
            gettext(
                "Campaign {name!r} is {state}; its codes can be downloaded while it is live."
            ).format(name=campaign.name, state=campaign.state)
        )
    return campaign


def _codes(settings: Any, body: Any, rows: list[dict[str, Any]], contacts: dict[str, Any]) -> Any:
    """Return the texts to send, by customer."""
    import pandas as pd

    from retention.campaigns import text_placeholders
    from retention.campaigns.email_content import (
        customer_wording,
        message_text,
        placeholder_values,
    )
    from retention.campaigns.offers import public_terms
    from retention.campaigns.text_message import text_content
    from retention.outreach.adapter import Contact
    from retention.outreach.channels import is_text
    from retention.templating import strip_controls

    table = []
    for row in rows:
        offer, offer_terms, person = (
            row["offer"],
            public_terms(row["offer"]),
            contacts.get(row["customer_id"], Contact()),
        )
        wording = customer_wording(settings, body, offer, person.locale)
        values = placeholder_values(settings, person.name, row, wording)
        if is_text(body.message_channel):
            content = text_content(settings, body, row, name=person.name, locale=person.locale)
            text, email = content.text, ""
        else:
            typed = message_text(settings, body, offer, wording)
            text, email = text_placeholders.fill_text(typed, values), person.email
        table.append(
            {
                "customer_id": row["customer_id"],
                "name": strip_controls(person.name),
                "email": email,
                "offer": offer["rule"],
                "action": offer["action"],
                "discount": offer["discount"],
                "amount": offer_terms["amount"] or 0.0,
                "min_order": offer.get("min_order") or 0.0,
                "category": offer_terms["category"] or "",
                "code": row["code"] or "",
                "expires": values["expires"],
                "items": values["items"],
                "text": text,
            }
        )
    # The code comes early, because the preview in Slack only shows the first columns.
    columns = [
        "customer_id",
        "name",
        "email",
        "code",
        "expires",
        "offer",
        "action",
        "discount",
        "amount",
        "min_order",
        "category",
        "items",
        "text",
    ]
    return pd.DataFrame(table, columns=columns)


def _calls(settings: Any, body: Any, rows: list[dict[str, Any]], contacts: dict[str, Any]) -> Any:
    """Return the call list, most valuable first."""
    import pandas as pd

    from retention.campaigns import text_placeholders
    from retention.campaigns.email_content import message_text, placeholder_values
    from retention.campaigns.email_text import load_wording
    from retention.outreach.adapter import Contact

    table, wording = [], load_wording(settings)
    for row in sorted(rows, key=lambda row: -row["expected_value"]):
        person = contacts.get(row["customer_id"], Contact())
        values = placeholder_values(settings, person.name, row, wording)
        text = message_text(settings, body, row["offer"], wording)
        table.append(
            {
                "customer_id": row["customer_id"],
                "name": values["name"],
                "phone": person.phone,
                "expected_value": round(row["expected_value"], 2),
                "tier": row["tier"],
                "items": values["items"],
                "talk": text_placeholders.fill_text(text, values),
            }
        )
    return pd.DataFrame(
        table, columns=["customer_id", "name", "phone", "expected_value", "tier", "items", "talk"]
    )
