"""The codes or the call list of a live campaign, as a file to who asked; the thread says who took how many rows."""

from collections.abc import Collection
from typing import Any

from sqlalchemy.orm import Session

from retention.text import gettext
from workers import campaigns
from workers.requests import CampaignCsv
from workers.tasks.contract import Attachment, Context, Outcome, Post


def run(request: CampaignCsv, context: Context) -> Outcome:
    """Make the file. Nobody who is held out, or does not want to be written to (any more), is in it."""
    from retention.campaigns.spec import Body
    from retention.csv import to_csv
    from retention.lake import Lake
    from retention.outreach.contacts import find_contacts

    lake = Lake.open(context.settings)
    campaign, rows, unwilling = _wanted(request, context, lake)
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
        apply=lambda session: _taken(session, request, context, len(rows), unwilling),
    )


def _wanted(
    request: CampaignCsv, context: Context, lake: Any
) -> tuple[Any, list[dict[str, Any]], Collection[str]]:
    """The campaign, its rows for the file, and who of them does not want to be written to any more."""
    from retention.campaigns import sending
    from retention.errors import BadInput
    from retention.outreach import send_summary
    from retention.outreach.contacts import customers_without_consent
    from retention.risk.policy import load_policy

    policy, called = load_policy(context.settings), request.part == "calls"
    with context.database.reading() as session:
        campaign = _running(session, context, request)
        gone = send_summary.cancelled_customers(session, campaign.id)  # erased since, say
        rows = [
            row
            for row in sending.recipient_rows(session, campaign)
            if (row["offer"]["action"] == "call") == called and row["customer_id"] not in gone
        ]
        given = {row["customer_id"]: row["offer"] for row in rows}
        no = customers_without_consent(lake, session, context.settings, policy, given)
    rows = [row for row in rows if row["customer_id"] not in no]
    if not rows:
        raise BadInput(
            gettext("Campaign {name!r} has nobody to {value}.").format(
                name=campaign.name, value="call" if called else "write to"
            )
        )
    return campaign, rows, no


def _taken(
    session: Session, request: CampaignCsv, context: Context, rows: int, unwilling: Collection[str]
) -> tuple[Post, ...]:
    """Note who took how many rows, in the ledger and in the thread."""
    from retention.db.audit import record
    from retention.outreach import sends

    settings, who, now = context.settings, context.requested_by, context.business_at
    campaign = _running(session, context, request, lock=True)  # it may have been stopped meanwhile
    details = {
        "rows": rows,
        "part": request.part,
        "version": campaign.version,
        "job": context.job_id,
    }
    channel = "call" if request.part == "calls" else "csv"
    record(session, settings, who, f"campaign.{channel}", campaign.id, now, details)
    sends.cancel_sends_to(session, campaign.id, unwilling, "no_consent")
    sends.mark_file_taken(session, campaign.id, context.job_id, now, channel)
    told = campaigns.line(settings, campaign, "csv", who, rows=rows, part=request.part)
    return (
        Post(
            told.template,
            told.values,
            f"{told.key}:{context.job_id}",
            told.channel,
            told.thread_key,
        ),
    )


def _running(
    session: Session, context: Context, request: CampaignCsv, *, lock: bool = False
) -> Any:
    """The campaign, whose codes are worth something.

    Raises
    ------
    BadInput
        They are not.
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


def _codes(settings: Any, body: Any, rows: list[dict[str, Any]], reach: dict[str, Any]) -> Any:
    """One row for each customer who is written to, with the text that they shall read."""
    import pandas as pd

    from retention.campaigns import wording
    from retention.campaigns.compose import message_text, placeholder_values
    from retention.campaigns.offers import public_terms
    from retention.outreach.messages import Contact

    table = []
    for row in rows:
        offer, told, person = (
            row["offer"],
            public_terms(row["offer"]),
            reach.get(row["customer_id"], Contact()),
        )
        values = placeholder_values(settings, person.name, row)
        text = wording.fill_text(message_text(body, offer), values)
        table.append(
            {
                "customer_id": row["customer_id"],
                "name": values["name"],
                "email": person.email,
                "offer": offer["rule"],
                "action": offer["action"],
                "discount": offer["discount"],
                "amount": told["amount"] or 0.0,
                "min_order": offer.get("min_order") or 0.0,
                "category": told["category"] or "",
                "code": row["code"] or "",
                "expires": values["expires"],
                "items": values["items"],
                "text": text,
            }
        )
    # The code first: whoever opens the file, or sees its beginning in Slack, looks for it.
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


def _calls(settings: Any, body: Any, rows: list[dict[str, Any]], reach: dict[str, Any]) -> Any:
    """One row for each customer who is called, the most valuable first, with what to talk about."""
    import pandas as pd

    from retention.campaigns import wording
    from retention.campaigns.compose import message_text, placeholder_values
    from retention.outreach.messages import Contact

    table = []
    for row in sorted(rows, key=lambda row: -row["expected_value"]):
        person = reach.get(row["customer_id"], Contact())
        values = placeholder_values(settings, person.name, row)
        table.append(
            {
                "customer_id": row["customer_id"],
                "name": values["name"],
                "phone": person.phone,
                "expected_value": round(row["expected_value"], 2),
                "tier": row["tier"],
                "items": values["items"],
                "talk": wording.fill_text(message_text(body, row["offer"]), values),
            }
        )
    return pd.DataFrame(
        table, columns=["customer_id", "name", "phone", "expected_value", "tier", "items", "talk"]
    )
