"""Take campaigns through their steps with the real tasks."""

import csv
import io
from dataclasses import replace
from datetime import timedelta

import pandas as pd
from sqlalchemy import select

from retention import clock
from retention.campaigns.codes.file_imports import LISTENER
from retention.campaigns.lifecycle import closing
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.planning.prior import prior_from_campaigns
from retention.db.tables import Assignment, Campaign, File, Job, Outbox
from retention.lake.importing.import_files import import_files
from retention.recommend.bandit.decisions import logged_decisions
from retention.risk.policy import load_policy
from tests import shop as tiny
from tests.world import change, one, read, scalars
from workers.campaigns import decisions
from workers.campaigns.requests import CampaignCsv, CampaignDraft, CampaignMeasure, CampaignSend
from workers.delivery import render
from workers.queue import jobs
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
    job = change(
        desk.database,
        jobs.submit,
        request,
        requested_by=user,
        channel=channel,
        idem_key=key or f"k{request!r}{user}",
    ).job
    run_job(desk.database, job.id, "test")
    with desk.database.reading() as session:
        return session.get_one(Job, job.id)


def done(desk, request, user, channel=CHANNEL, key=None) -> Job:
    """A job that must succeed."""
    job = run(desk, request, user, channel, key)
    assert job.error is None
    return job


def drafted(desk, **options) -> str:
    return done(desk, CampaignDraft(tier="low", **options), ANALYST).result["campaign_id"]


def approved(desk, **options) -> str:
    campaign_id = drafted(desk, **options)
    change(desk.database, decisions.submit, Step(campaign_id, ANALYST, 1))
    change(desk.database, decisions.approve, Step(campaign_id, LEAD, 1))
    return campaign_id


def live(desk) -> str:
    campaign_id = approved(desk)
    send_now(desk, campaign_id)
    return campaign_id


def send_now(desk, campaign_id, key=None) -> Job:
    """Send an approved campaign once its clearance time is over."""
    clock.configure(fixed=clock.now() + AFTER_CLEARANCE)
    return done(desk, CampaignSend(campaign_id=campaign_id, version=1), LEAD, key=key)


def with_settings(desk, **changes) -> tiny.Shop:
    """The desk with other settings."""
    return replace(desk, settings=desk.settings.model_copy(update=changes))


def stop_now(desk, campaign_id, why="wrong price") -> None:
    change(desk.database, decisions.stop, Step(campaign_id, LEAD), why)


def treated_of(desk, campaign_id) -> list[str]:
    """Treated customers in order."""
    treated = (Assignment.campaign_id == campaign_id, Assignment.arm == "treatment")
    chosen = select(Assignment.customer_id).where(*treated)
    return scalars(desk.database, chosen.order_by(Assignment.customer_id))


def offers_of(desk, campaign_id) -> list[dict]:
    of_campaign = Assignment.campaign_id == campaign_id
    return scalars(desk.database, select(Assignment.offer).where(of_campaign))


def prepared_campaign(desk) -> str:
    """The id of the campaign that ``@pytest.mark.campaign`` put into the shop."""
    return one(desk.database, select(Campaign.id))


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
    return read(desk.database, find_campaign, campaign_id)


def messages(desk, key=None) -> str:
    rows = scalars(
        desk.database, select(Outbox).where(Outbox.key == key) if key else select(Outbox)
    )
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
    done(desk, CampaignMeasure(campaign_id=campaign_id), LEAD, key=f"measure {at}")
    return campaign_of(desk, campaign_id).state


def teaches_nothing(desk, campaign_id) -> None:
    with desk.database.reading() as session:
        assert closing.uninformative_campaigns(session) == {campaign_id}
        assert logged_decisions(
            desk.lake, session, clock.now(), closing.uninformative_campaigns(session)
        ).empty
        assert prior_from_campaigns(session, load_policy(desk.settings)).campaigns == 0
    job = done(desk, CampaignDraft(tier="low"), ANALYST, key="the next one")
    assert job.result["targeting"]["why"] == "none"


def arms_of(desk, campaign_id) -> list[str]:
    return list(
        scalars(desk.database, select(Assignment.arm).where(Assignment.campaign_id == campaign_id))
    )


def with_policy(desk, folder, text: str) -> tiny.Shop:
    """The desk with another policy file."""
    policy = folder / "policy.toml"
    policy.write_text(text)
    return with_settings(desk, policy=policy)


def with_budget(desk, folder, budget) -> tiny.Shop:
    return with_policy(
        desk,
        folder,
        f"[campaign]\nbudget = {budget}\n"
        '[[rules]]\nname = "All"\ntiers = ["high", "medium", "low"]\n'
        'action = "coupon"\ndiscount = 0.1\n',
    )
