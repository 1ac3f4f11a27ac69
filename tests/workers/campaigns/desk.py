"""A shop with people who take campaigns through their steps with the real tasks."""

import csv
import io
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pandas as pd
from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle import closing
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
from retention.campaigns.planning.targeting import prior_from_campaigns
from retention.db.tables import Assignment, Campaign, File, Job, Outbox
from retention.recommend.bandit.decisions import logged_decisions
from retention.risk.policy import load_policy
from tests import world
from tests.shop import Shop, import_frame, purchases
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignCsv, CampaignDraft, CampaignMeasure, CampaignSend
from workers.delivery import render
from workers.job_requests import Sweep
from workers.queue import jobs
from workers.schedule import tick
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
LOW = CampaignDraft(tier="low")  # a draft for everybody


@dataclass(frozen=True)
class Desk(Shop):
    """A shop with one analyst and one approver.

    Where a method takes a campaign's id, it means the only campaign by default.
    """

    def change(self, deed, *args, **options) -> Any:
        return world.change(self.database, deed, *args, **options)

    def read(self, query, *args, **options) -> Any:
        return world.read(self.database, query, *args, **options)

    def execute(self, statement) -> None:
        world.execute(self.database, statement)

    def scalar(self, statement) -> Any:
        return world.scalar(self.database, statement)

    def scalars(self, statement) -> list[Any]:
        return world.scalars(self.database, statement)

    def one(self, statement) -> Any:
        return world.one(self.database, statement)

    def rows(self, statement) -> list[Any]:
        return world.rows(self.database, statement)

    def table(self, name: str) -> pd.DataFrame:
        """A table of the lake."""
        return self.lake.table(name).execute()

    def bring_table(self, name: str, frame: pd.DataFrame) -> None:
        """Rows are imported, as from a file."""
        import_frame(self.lake, self.database, frame, name, listener=LISTENER)

    def bring(self, event_type: str, at: datetime, customers: list[str]) -> None:
        """Events of these customers at a moment are imported."""
        rows = purchases(at, customers).assign(source="shop")
        if event_type != "purchase":
            rows = rows[["customer_id", "occurred_at", "source"]].assign(event_type=event_type)
        self.bring_table("events", rows)

    def go_on(self, **time: float) -> None:
        """Advance time; a customer outside of all campaigns buys at its end."""
        self.wait(**time)
        self.bring("purchase", clock.now() - timedelta(minutes=1), ["passer-by"])

    def wait(self, **time: float) -> None:
        """Advance time; nobody buys."""
        clock.configure(fixed=clock.now() + timedelta(**time))

    def with_settings(self, **changes: Any) -> Self:
        """The desk with other settings."""
        return replace(self, settings=self.settings.model_copy(update=changes))

    def with_policy(self, text: str) -> Self:
        """The desk with another policy file."""
        policy: Path = self.settings.home / f"{uuid4().hex}.toml"
        policy.write_text(text, encoding="utf-8")
        return self.with_settings(policy=policy)

    def with_budget(self, budget: float) -> Self:
        rule = 'name = "All"\ntiers = ["high", "medium", "low"]\naction = "coupon"\ndiscount = 0.1'
        return self.with_policy(f"[campaign]\nbudget = {budget}\n[[rules]]\n{rule}\n")

    def submit(self, request, user: str = LEAD, channel: str | None = CHANNEL) -> str:
        """Id of a new job."""
        options = {"requested_by": user, "channel": channel, "idem_key": uuid4().hex}
        return self.change(jobs.submit, request, **options).job.id

    def run(self, request, user: str = LEAD, channel: str | None = CHANNEL) -> Job:
        return self.run_jobs([self.submit(request, user, channel)])[0]

    def done(self, request, user: str = LEAD, channel: str | None = CHANNEL) -> Job:
        """A job that must succeed."""
        job = self.run(request, user, channel)
        assert job.error is None
        return job

    def run_jobs(self, job_ids: list[str]) -> list[Job]:
        for job_id in job_ids:
            run_job(self.database, job_id, "test")
        with self.database.reading() as session:
            return [session.get_one(Job, job_id) for job_id in job_ids]

    def tick(self) -> list[Job]:
        """What the tick submits, run."""
        return self.run_jobs(tick.tick(self.database))

    def drafted(self, **options: Any) -> str:
        request = CampaignDraft(**{"tier": "low", **options})
        return self.done(request, ANALYST).result["campaign_id"]

    def listed(self) -> str:
        """A draft for the customers of an at-risk list."""
        cohort_id = self.done(Sweep(), ANALYST).result["cohort_id"]
        return self.done(CampaignDraft(cohort_id=cohort_id), ANALYST).result["campaign_id"]

    def approved(self, **options: Any) -> str:
        campaign_id = self.drafted(**options)
        self.decide(decisions.submit, ANALYST, campaign_id=campaign_id)
        self.decide(decisions.approve, LEAD, campaign_id=campaign_id)
        return campaign_id

    def live(self) -> str:
        campaign_id = self.approved()
        self.send_now(campaign_id)
        return campaign_id

    def closed(self) -> None:
        """A campaign whose file was taken, with its result."""
        self.live()
        self.file()
        self.result_after(days=29)

    @property
    def campaign_id(self) -> str:
        """The id of the only campaign."""
        return self.one(select(Campaign.id))

    def campaign(self, campaign_id: str | None = None) -> Campaign:
        return self.read(find_campaign, campaign_id or self.campaign_id)

    def body(self, campaign_id: str | None = None) -> Body:
        return Body.of(self.campaign(campaign_id))

    def decide(self, deed, user: str, *more, campaign_id: str | None = None) -> Campaign:
        """A person's decision on the present version."""
        campaign = self.campaign(campaign_id)
        return self.change(deed, Step(campaign.id, user, campaign.version), *more)

    def sending(self, campaign_id: str | None = None) -> CampaignSend:
        return CampaignSend(campaign_id=campaign_id or self.campaign_id, version=1)

    def send_now(self, campaign_id: str | None = None) -> Job:
        """Send an approved campaign once its clearance time is over."""
        clock.configure(fixed=clock.now() + AFTER_CLEARANCE)
        return self.done(self.sending(campaign_id))

    def stop(self, why: str = "wrong price", campaign_id: str | None = None) -> None:
        self.decide(decisions.stop, LEAD, why, campaign_id=campaign_id)

    def measure(self, campaign_id: str | None = None) -> Job:
        return self.run(CampaignMeasure(campaign_id=campaign_id or self.campaign_id))

    def measured(self, at: datetime) -> str:
        """The campaign's state after it was looked at at a moment."""
        clock.configure(fixed=at)
        assert self.measure().error is None
        return self.campaign().state

    def result_after(self, **time: float) -> dict[str, Any]:
        """The campaign's result once its orders are imported."""
        self.go_on(**time)
        job = self.measure()
        assert job.error is None
        return job.result

    def arms(self, campaign_id: str | None = None) -> dict[str, list[str]]:
        """Group → its customers, in order."""
        columns = select(Assignment.arm, Assignment.customer_id)
        mine = columns.where(Assignment.campaign_id == (campaign_id or self.campaign_id))
        groups: dict[str, list[str]] = {}
        for arm, customer in self.rows(mine.order_by(Assignment.customer_id)):
            groups.setdefault(arm, []).append(customer)
        return groups

    def offers(self, campaign_id: str | None = None) -> dict[str, dict[str, Any]]:
        """Customer → their offer."""
        columns = select(Assignment.customer_id, Assignment.offer)
        mine = Assignment.campaign_id == (campaign_id or self.campaign_id)
        return dict(self.rows(columns.where(mine)))

    def items_offered(self) -> dict[str, list[str]]:
        """Treated customer → the items of their offer."""
        treated, offers = self.arms()["treatment"], self.offers()
        return {user: [item["item_id"] for item in offers[user]["items"]] for user in treated}

    def messages(self, key: str | None = None) -> str:
        """Text of the message with a key, or of all."""
        posts = select(Outbox).where(Outbox.key == key) if key else select(Outbox)
        return "\n".join(str(row.payload) for row in self.scalars(posts))

    def thread(self, what: str, version: int = 1, campaign_id: str | None = None) -> str:
        """Text of one message in the campaign's thread."""
        return self.messages(f"campaign:{campaign_id or self.campaign_id}:{what}:{version}")

    def card(self, campaign_id: str | None = None) -> str:
        """Text of the campaign's own message."""
        return self.messages(self.campaign(campaign_id).post_key)

    def details(self, campaign_id: str | None = None) -> str:
        """Text of the window behind *Details*."""
        campaign = campaign_data(self.campaign(campaign_id))
        return str(render.view("campaign/details", campaign=campaign, history=[], zone="UTC"))

    def download(self, part: str = "codes") -> Job:
        """The file with codes or calls, by direct message."""
        return self.run(CampaignCsv(campaign_id=self.campaign_id, part=part), channel=LEAD)

    def file(self, part: str = "codes") -> list[dict[str, str]]:
        """Rows of the file that is taken now."""
        job = self.download(part)
        assert job.error is None
        key = f"campaign:{self.campaign_id}:file:{job.id}"
        file_id = self.one(select(Outbox.payload).where(Outbox.key == key))["file"]
        content = self.one(select(File.content).where(File.id == file_id))
        return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))

    def customers_of_file(self) -> set[str]:
        return {row["customer_id"] for row in self.file()}

    def decisions_to_learn_from(self, at: datetime | None = None) -> pd.DataFrame:
        with self.database.reading() as session:
            unusable = closing.uninformative_campaigns(session)
            return logged_decisions(self.lake, session, at or clock.now(), unusable)

    def assert_teaches_nothing(self) -> None:
        unusable = self.read(closing.uninformative_campaigns)
        assert unusable == {self.campaign_id}
        assert self.decisions_to_learn_from().empty
        policy = load_policy(self.settings)
        assert self.read(prior_from_campaigns, policy, unusable).campaigns == 0
        assert self.done(LOW, ANALYST).result["targeting"]["why"] == "none"
