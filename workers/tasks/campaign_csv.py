"""The codes of a live campaign, as a file to the direct message of who asked; the thread says who took how many rows."""

from typing import Any

from sqlalchemy.orm import Session

from workers import campaigns, roles
from workers.requests import CampaignCsv
from workers.tasks.contract import Attachment, Context, Outcome, Post


def run(request: CampaignCsv, context: Context) -> Outcome:
    """Make the file. Nobody who is held out is in it."""
    from retention.campaigns import sending
    from retention.campaigns.states import record
    from retention.errors import BadInput
    from retention.lake import Lake
    from retention.outreach import sends
    from retention.reports.csv import to_csv

    settings, who, now = context.settings, context.requested_by, context.business_at
    with context.database.reading() as session:
        roles.require(session, settings, who, request.role, request.deed)
        campaign = sending.find(session, settings, request.campaign_id)
        if campaign.state not in ("live", "measuring"):
            raise BadInput(
                f"Campaign {campaign.name!r} is {campaign.state}; its codes can be downloaded while it is live."
            )
        rows = sending.codes(session, campaign)
    frame = _table(Lake.open(settings), campaign, rows, settings.zone)
    file = Attachment(f"{campaign.id}-codes.csv", "text/csv", to_csv(frame), sensitive=True)

    def apply(session: Session) -> tuple[Post, ...]:
        details = {"rows": len(rows), "version": campaign.version, "job": context.job_id}
        record(session, settings, who, "campaign.csv", campaign.id, now, details)
        sends.taken_as_file(session, campaign.id, context.job_id, now)
        told = campaigns.line(settings, campaign, "csv", who, rows=len(rows))
        return (
            Post(told.template, told.values, f"{told.key}:{context.job_id}", told.channel, told.thread_key),
        )

    to_person = Post(
        "campaign/csv", {"campaign": {"name": campaign.name}, "rows": len(rows)},
        key=f"campaign:{campaign.id}:file:{context.job_id}", channel=who, file=file,
    )  # fmt: skip
    return Outcome({"campaign_id": campaign.id, "rows": len(rows)}, posts=(to_person,), apply=apply)


def _table(lake: Any, campaign: Any, rows: list[dict[str, Any]], zone: Any) -> Any:
    """One row for each treated customer, with the text that they shall read."""
    import pandas as pd

    from retention.campaigns import wording
    from retention.campaigns.body import Body
    from retention.templating import day, percent

    body = Body.model_validate(campaign.body)
    customers = (
        lake.table("customers", identity="stored")
        .select("customer_id", "name", "email")
        .execute()
        .set_index("customer_id")
    )
    known = {
        who: {k: v if isinstance(v, str) else "" for k, v in row.items()}
        for who, row in customers.to_dict("index").items()
    }
    table = []
    for row in rows:
        offer, person = row["offer"], known.get(row["customer_id"], {})
        items = "; ".join(item["title"] for item in offer["items"])
        values = {
            "name": person.get("name"), "discount": percent(offer["discount"]), "code": row["code"],
            "expires": day(row["expires_at"], str(zone)) if row["expires_at"] else "", "items": items,
        }  # fmt: skip
        text = body.copy_text if offer["action"] == "coupon" else wording.default("reminder")
        table.append(
            {
                "customer_id": row["customer_id"], "name": person.get("name", ""), "email": person.get("email", ""),
                "offer": offer["rule"], "discount": offer["discount"], "code": row["code"] or "",
                "expires": values["expires"], "items": items, "text": wording.filled(text, values),
            }
        )  # fmt: skip
    columns = ["customer_id", "name", "email", "offer", "discount", "code", "expires", "items", "text"]
    return pd.DataFrame(table, columns=columns)
