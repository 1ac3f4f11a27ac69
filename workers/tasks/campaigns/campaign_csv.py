"""Send a campaign's codes or call list.

The thread shows the recipient and the number of rows.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd

from retention.campaigns.codes import shop_code_queue
from retention.campaigns.lifecycle import launch
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.message.email_content import email_content, placeholder_values
from retention.campaigns.message.merged_message import customer_wording, message_text, own_parts
from retention.campaigns.message.text_message import text_content
from retention.campaigns.message.wording import fill_text, load_wording
from retention.campaigns.planning.block_products import with_products
from retention.campaigns.planning.offer_terms import public_terms
from retention.csv_text import to_csv
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Campaign
from retention.errors import BadInput
from retention.lake import Lake
from retention.outreach import calls, send_summary, sends
from retention.outreach.adapter import Contact, is_text
from retention.outreach.consent import customers_without_consent
from retention.outreach.contacts import find_contacts
from retention.risk.policy import load_policy
from retention.templating import strip_controls
from retention.text import gettext
from workers.campaigns import call_messages, messages
from workers.campaigns.job_requests import CampaignCsv
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: CampaignCsv, context: Context) -> Outcome:
    """Make the file without held-out and unsubscribed customers.

    Raises `BadInput`: the campaign is not live, or the file would be empty.
    """
    lake = Lake.open(context.settings)
    campaign, rows, unwilling = _selected(request, context, lake)
    make = _calls if request.part == "calls" else _codes
    reach = find_contacts(lake, [row["customer_id"] for row in rows])
    settings, body = context.settings, Body.of(campaign)
    shown = with_products(lake, settings, body, rows, context.business_at)
    frame = make(settings, body, shown, reach)
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
) -> tuple[Campaign, list[dict[str, Any]], Collection[str]]:
    """Return the campaign, its rows, and newly unsubscribed customers."""
    is_call_list = request.part == "calls"
    with context.database.reading() as session:
        campaign = _live_campaign(session, request)
        body = Body.of(campaign)
        policy = load_policy(context.settings).for_kind(body.kind, body.offers[0].rule)
        if not is_call_list:
            shop_code_queue.require_made(session, campaign)
        left_out = send_summary.cancelled_customers(session, campaign.id)
        refused = shop_code_queue.unmade_codes(session, campaign.id)
        rows = [
            row
            for row in launch.recipient_rows(session, campaign)
            if (row["offer"]["action"] == "call") == is_call_list
            and row["customer_id"] not in left_out
            and not (row["code"] and row["code"] in refused)
        ]
        offers = {row["customer_id"]: row["offer"] for row in rows}
        unsubscribed = customers_without_consent(
            lake, session, policy, offers, body.message_channel
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
    session: Transaction,
    request: CampaignCsv,
    context: Context,
    rows: list[dict[str, Any]],
    unwilling: Collection[str],
) -> tuple[Post, ...]:
    """Record the download in ledger and thread."""
    settings, user, now = context.settings, context.requested_by, context.business_at
    part, job = request.part, context.job_id
    campaign = _live_campaign(session, request, lock=True)  # it may have been stopped since
    channel = "call" if part == "calls" else "csv"
    details = {"rows": len(rows), "part": part, "version": campaign.version, "job": job}
    record(session, user, f"campaign.{channel}", campaign.id, now, details)
    sends.cancel_sends_to(session, campaign.id, unwilling, "no_consent")
    sends.mark_file_taken(session, campaign.id, job, now, channel)
    post = messages.thread_post(settings, campaign, "csv", user, rows=len(rows), part=part)
    lists = _call_list(session, context, campaign, rows) if part == "calls" else ()
    card = messages.card_post(session, campaign)
    return card, *lists, replace(post, key=f"{post.key}:{job}")


def _call_list(
    session: Transaction, context: Context, campaign: Campaign, rows: list[dict[str, Any]]
) -> tuple[Post, ...]:
    """Put the customers on the campaign's call list, and show it to the person."""
    now, user = context.business_at, context.requested_by
    due_on = (now + timedelta(days=calls.DUE_DAYS)).date()
    ids = [row["customer_id"] for row in rows]
    calls.add_entries(session, campaign.id, ids, user, now, due_on, owner=campaign.call_owner)
    return () if context.channel is None else (call_messages.list_post(session, campaign, user),)


def _live_campaign(session: Transaction, request: CampaignCsv, *, lock: bool = False) -> Campaign:
    """Return the campaign while its codes are valid."""
    campaign = find_campaign(session, request.campaign_id, lock=lock)
    if campaign.state not in ("live", "measuring"):
        text = gettext(
            "Campaign {name!r} is {state}; its codes can be downloaded while it is live."
        )
        raise BadInput(text.format(name=campaign.name, state=campaign.state))
    return campaign


def _codes(settings: Any, body: Any, rows: list[dict[str, Any]], contacts: dict[str, Any]) -> Any:
    """Return the texts to send, by customer."""
    table = []
    for row in rows:
        offer, terms = row["offer"], public_terms(row["offer"])
        person = contacts.get(row["customer_id"], Contact())
        own = own_parts(settings, body, offer)
        wording = customer_wording(settings, body, offer, person.locale, own)
        values = placeholder_values(settings, person.name, row, wording)
        if is_text(body.message_channel):
            subject, email = "", ""
            text = text_content(settings, body, row, person).text
        else:
            content = email_content(settings, body, row, person)
            subject, text, email = content.subject, content.text, person.email
        table.append(
            {
                "customer_id": row["customer_id"],
                "name": strip_controls(person.name),
                "email": email,
                # The code comes early: the preview in Slack only shows the first columns.
                "code": row["code"] or "",
                "expires": values["expires"],
                "offer": offer["rule"],
                "action": offer["action"],
                "discount": offer["discount"],
                "amount": terms["amount"] or 0.0,
                "min_order": offer.get("min_order") or 0.0,
                "category": terms["category"] or "",
                "items": values["items"],
                "text": text,
                "subject": subject,
            }
        )
    return pd.DataFrame(table)


def _calls(settings: Any, body: Any, rows: list[dict[str, Any]], contacts: dict[str, Any]) -> Any:
    """Return the call list, most valuable first."""
    table, wording = [], load_wording(settings)
    for row in sorted(rows, key=lambda row: -row["expected_value"]):
        person = contacts.get(row["customer_id"], Contact())
        values = placeholder_values(settings, person.name, row, wording)
        own = own_parts(settings, body, row["offer"])
        text = message_text(body, row["offer"], wording, own)
        table.append(
            {
                "customer_id": row["customer_id"],
                "name": values["name"],
                "phone": person.phone,
                "expected_value": round(row["expected_value"], 2),
                "tier": row["tier"],
                "items": values["items"],
                "talk": fill_text(text, values),
            }
        )
    return pd.DataFrame(table)
