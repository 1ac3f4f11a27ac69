"""Take campaigns through their steps with the real tasks."""

import csv
import io
from datetime import timedelta

import pandas as pd
from sqlalchemy import select

from retention import clock
from retention.campaigns import closing
from retention.campaigns.file_imports import LISTENER
from retention.campaigns.prior import prior_from_campaigns
from retention.campaigns.states import find_campaign
from retention.campaigns.view import campaign_data
from retention.db.tables import (
    Assignment,
    Campaign,
    File,
    Job,
    Outbox,
)
from retention.lake.importing import import_files
from retention.recommend.bandit.decisions import logged_decisions
from retention.risk.policy import load_policy
from tests import shop as tiny
from workers import campaigns, jobs
from workers.delivery import render
from workers.requests import CampaignCsv, CampaignDraft, CampaignMeasure, CampaignSend
from workers.tasks.runner import run_job

ANALYST, LEAD, CHANNEL = "U0ANALYST", "U0LEAD", "C0CRM"
AFTER_CLEARANCE = timedelta(hours=5)  # from the approval to the sending
POLICY = """
[campaign]
budget = 5000
quiet_hours = ""
[[rules]]
name = "All"
tiers = ["high", "medium", "low"]
action = "coupon"
discount = 0.1
[[rules]]
name = "Buys on discount"
tiers = ["high", "medium", "low"]
reasons = ["discounts"]
action = "reminder"
"""


def run(desk, request, user, channel=CHANNEL, key=None) -> Job:
    with desk.database.transaction() as session:
        job = jobs.submit(
            session,
            desk.settings,
            request,
            requested_by=user,
            channel=channel,
            idem_key=key or f"k{request!r}{user}",
        ).job
    run_job(desk.settings, desk.database, job.id, "test")
    with desk.database.reading() as session:
        return session.get_one(Job, job.id)


def drafted(desk, **options) -> str:
    job = run(desk, CampaignDraft(tier="low", **options), ANALYST)
    assert job.error is None
    return job.result["campaign_id"]


def approved(desk) -> str:
    campaign_id = drafted(desk)
    with desk.database.transaction() as session:
        campaigns.submit(session, desk.settings, campaign_id, 1, ANALYST)
    with desk.database.transaction() as session:
        campaigns.approve(session, desk.settings, campaign_id, 1, LEAD)
    return campaign_id


def live(desk) -> str:
    campaign_id = approved(desk)
    clock.configure(fixed=clock.now() + AFTER_CLEARANCE)
    job = run(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD)
    assert job.error is None
    return campaign_id


def prepared_campaign(desk) -> str:
    """The id of the campaign that ``@pytest.mark.campaign`` put into the shop."""
    with desk.database.reading() as session:
        return session.scalars(select(Campaign.id)).one()


def go_on(desk, **time) -> None:
    """Advance time; a customer outside of all campaigns buys at its end."""
    clock.configure(fixed=clock.now() + timedelta(**time))
    bring(desk, "purchase", clock.now() - timedelta(minutes=1), ["passer-by"])


def bring(desk, event_type, at, customers) -> None:
    """Events of these customers at a moment are imported."""
    rows = {"customer_id": customers, "event_type": event_type, "occurred_at": at, "source": "shop"}
    if event_type == "purchase":
        order = f"{at:%Y%m%d%H%M}"
        rows |= {
            "order_id": [f"{order}-{user}" for user in customers],
            "amount": 50.0,
            "currency": "EUR",
        }
    file = desk.settings.home / f"{event_type}-{at:%Y%m%d%H%M}.parquet"
    pd.DataFrame(rows).to_parquet(file)
    import_files(desk.lake, desk.database, desk.settings, "events", [str(file)], listener=LISTENER)


def campaign_of(desk, campaign_id) -> Campaign:
    with desk.database.reading() as session:
        return find_campaign(session, desk.settings, campaign_id)


def messages(desk, key=None) -> str:
    with desk.database.reading() as session:
        rows = session.scalars(
            select(Outbox).where(Outbox.key == key) if key else select(Outbox)
        ).all()
    return "\n".join(str(row.payload) for row in rows)


def details(desk, campaign_id) -> str:
    """Text of the window behind *Details*."""
    campaign = campaign_data(campaign_of(desk, campaign_id))
    return str(render.view("campaign/details", campaign=campaign, history=[], zone="UTC"))


def items_offered(desk, campaign_id) -> dict[str, list[str]]:
    """Treated customer → the items of their offer."""
    treated = (Assignment.campaign_id == campaign_id, Assignment.arm == "treatment")
    with desk.database.reading() as session:
        rows = session.execute(select(Assignment.customer_id, Assignment.offer).where(*treated))
        return {user: [item["item_id"] for item in offer["items"]] for user, offer in rows}


def rows_of_file(desk, campaign_id) -> set[str]:
    """Whom the file of codes that is taken now names."""
    job = run(
        desk, CampaignCsv(campaign_id=campaign_id), LEAD, channel=LEAD, key=f"file {clock.wall()}"
    )
    assert job.error is None
    with desk.database.reading() as session:
        sent = session.scalars(
            select(Outbox).where(Outbox.key == f"campaign:{campaign_id}:file:{job.id}")
        ).one()
        content = session.get_one(File, sent.payload["file"]).content.decode("utf-8-sig")
    return {row["customer_id"] for row in csv.DictReader(io.StringIO(content))}


def measured(desk, campaign_id, at) -> str:
    """The campaign's state after it was looked at at a moment."""
    clock.configure(fixed=at)
    job = run(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key=f"measure {at}")
    assert job.error is None
    return campaign_of(desk, campaign_id).state


def teaches_nothing(desk, campaign_id) -> None:
    with desk.database.reading() as session:
        assert closing.uninformative_campaigns(session, desk.settings) == {campaign_id}
        assert logged_decisions(
            desk.lake,
            session,
            desk.settings,
            clock.now(),
            closing.uninformative_campaigns(session, desk.settings),
        ).empty
        assert (
            prior_from_campaigns(session, desk.settings, load_policy(desk.settings)).campaigns == 0
        )
    job = run(desk, CampaignDraft(tier="low"), ANALYST, key="the next one")
    assert job.error is None
    assert job.result["targeting"]["why"] == "none"


def arms_of(desk, campaign_id) -> list[str]:
    with desk.database.reading() as session:
        return list(
            session.scalars(select(Assignment.arm).where(Assignment.campaign_id == campaign_id))
        )


def with_policy(desk, folder, text: str) -> tiny.Shop:
    """The desk with another policy file."""
    policy = folder / "policy.toml"
    policy.write_text(text)
    return tiny.Shop(
        desk.settings.model_copy(update={"policy": policy}),
        desk.database,
        desk.lake,
        desk.begin,
        desk.end,
    )


def with_budget(desk, folder, budget) -> tiny.Shop:
    return with_policy(
        desk,
        folder,
        f"[campaign]\nbudget = {budget}\n"
        '[[rules]]\nname = "All"\ntiers = ["high", "medium", "low"]\n'
        'action = "coupon"\ndiscount = 0.1\n',
    )
