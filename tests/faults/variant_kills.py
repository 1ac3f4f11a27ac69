"""Kill the jobs of a test of variants.

The jobs send a campaign with two variants through a real mail server, decide the test, and send
the winner to the rest. Each is a process that ends with SIGKILL at a random moment. Meanwhile
customers open the e-mails and click in them, and the bot that counts it is killed, too.

Lost: a treated customer with consent whose e-mail never arrived, though its row says so or nobody
sends it any more. Doubled: an e-mail that arrived twice without anybody's doubt. Unapproved: an
e-mail to the hold-out group or without consent, one that came to the rest before the decision, or
one with the subject of another variant. An open or click that the bot answered counts as lost
without its row, and as doubled if it counts more often than it was asked for.
"""

import os
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
from sqlalchemy import select, update

from retention import clock
from retention.campaigns.lifecycle.copy_test import CopyTest, changed_test
from retention.campaigns.message.parts import PartChanges
from retention.db import Database
from retention.db.tables import Assignment, Campaign, Send
from retention.lake import Lake
from retention.settings import Settings
from tests.faults import killed_jobs, mailing
from tests.faults.frame import Counts
from tests.faults.reading import Readers, readers
from tests.retention.campaigns.samples import approve_draft, audience_rows, go_live, write_home
from tests.retention.outreach.live_campaigns import end_waits, offer_of
from tests.standins.smtp import Inbox
from tests.world import change, rows, scalars
from workers.campaigns.job_requests import CampaignDecide, CampaignDeliver
from workers.job_request_base import Request

CUSTOMERS, WITHOUT_CONSENT = 40, 3  # of a campaign
SUBJECT = "Only for you"
OVER = timedelta(days=5)  # since the end of the test; no orders are imported here
MODULES = (
    "tests.faults.variant_kills",
    "workers.tasks.campaigns.campaign_deliver",
    "workers.tasks.campaigns.campaign_measure",
    "matplotlib.backends.backend_agg",  # of the campaign's picture
    "matplotlib.figure",
    "matplotlib.font_manager",
)


@dataclass(frozen=True, slots=True)
class VariantCounts:
    """What arrived in the end; ``doubt`` counts e-mails of which nobody knows, and no loss."""

    kills: int
    campaigns: int
    emails: int
    doubt: int
    lost: int
    doubled: int
    unapproved: int
    read: int

    @property
    def line(self) -> str:
        """One row of the table."""
        return (
            f"{'e-mails of tests of variants':32} {self.emails:4}   (kills {self.kills}, "
            f"campaigns {self.campaigns}, in doubt {self.doubt}, lost {self.lost}, "
            f"doubled {self.doubled}, unapproved {self.unapproved}; opens and clicks {self.read})"
        )


def count(kills: int, seed: int) -> VariantCounts:
    """Kill jobs so many times, and count."""
    chance, number, killed = random.Random(seed), 0, 0
    found = {"emails": 0, "doubt": 0, "lost": 0, "doubled": 0, "unapproved": 0, "read": 0}
    with mailing.mailserver() as (inbox, environment):
        inbox.pause = 0.01
        os.environ.update({**environment, "RETENTION_SEND_RATE": "1000"})
        with (
            killed_jobs.installation(*MODULES) as (settings, database),
            readers(settings, inbox) as reading,
        ):
            write_home(settings, "brand.toml", 'website = "https://tea.example"')  # links to click
            while killed < kills:
                number += 1
                killed += _campaign(settings, database, reading, number, chance, found)
    return VariantCounts(killed, number, **found)


def count_row(injections: int, seed: int) -> Counts:
    """Count for the harness."""
    kills = count(injections, seed)
    return Counts.of_kills(kills, "emails", killed_jobs.attempts["kills"])


def _campaign(
    settings: Settings,
    database: Database,
    reading: Readers,
    number: int,
    chance: random.Random,
    found: dict[str, int],
) -> int:
    """Send one campaign among kills; add what arrived to the counts, and return the kills."""
    name, now, inbox = f"c{number}", clock.now(), reading.inbox
    own = [f"k{number}x{each}" for each in range(CUSTOMERS)]
    _bring(settings, own)
    test = changed_test(
        CopyTest(variants=(), share=0.5), variant="B", message=PartChanges(subject=SUBJECT)
    )
    people = audience_rows(CUSTOMERS, offer_of, own.__getitem__)
    text = "Hello {name},\n\n{discount} off with {code}: {items}"
    approve_draft(database, name, people, now, copy_text=text, test=test)
    go_live(database, name, now)
    before = inbox.addresses.total()
    killed = _killed(settings, database, CampaignDeliver(campaign_id=name), chance, 3)
    reading.restart()
    early = {one.split("@")[0] for one in inbox.addresses if one.startswith(f"k{number}x")}
    waiting = scalars(
        database,
        select(Assignment.customer_id).where(
            Assignment.campaign_id == name, Assignment.variant.is_(None)
        ),
    )
    found["unapproved"] += len(early.intersection(waiting))
    ended = update(Campaign).where(Campaign.id == name).values(test_ends_at=now - OVER)
    change(database, lambda session: session.execute(ended))
    killed += _killed(settings, database, CampaignDecide(campaign_id=name), chance, 2)
    killed += _killed(settings, database, CampaignDeliver(campaign_id=name), chance, 3)
    _add(database, inbox, name, found)
    read, lost, doubled = reading.count(database, name, f"k{number}x")
    found["read"] += read
    found["lost"] += lost
    found["doubled"] += doubled
    found["emails"] += inbox.addresses.total() - before
    return killed


def _bring(settings: Settings, customers: list[str]) -> None:
    consents = [number >= WITHOUT_CONSENT for number in range(len(customers))]
    people = {"customer_id": customers, "name": customers, "marketing_consent": consents}
    people["tracking_consent"] = [True] * len(customers)
    frame = pd.DataFrame(people).assign(email=[f"{one}@example.com" for one in customers])
    Lake.open(settings).upsert("customers", frame)


def _killed(
    settings: Settings, database: Database, request: Request, chance: random.Random, times: int
) -> int:
    """Kill a job some times, then let it end; return how often it was still running."""
    killed = 0
    for _ in range(times):
        job = killed_jobs.start(settings, database, request, _prepare)
        killed += job.kill_after(chance.uniform(0, 0.5))
        _end_leases(database)
    for _ in range(2):  # the second finds what the first may retry
        killed_jobs.start(settings, database, request, _prepare).process.join()
        end_waits(database)
    return killed


def _prepare(_told: Any) -> None:
    """Begin at once."""


def _end_leases(database: Database) -> None:
    """Let the claims of dead processes be over."""
    over = update(Send).where(Send.state == "sending").values(lease_until=clock.wall() - OVER / 5)
    change(database, lambda session: session.execute(over))


def _add(database: Database, inbox: Inbox, name: str, found: dict[str, int]) -> None:
    people = rows(
        database,
        select(Assignment.customer_id, Assignment.arm, Assignment.variant, Send.state)
        .outerjoin(
            Send,
            (Send.campaign_id == Assignment.campaign_id)
            & (Send.customer_id == Assignment.customer_id),
        )
        .where(Assignment.campaign_id == name),
    )
    subject_of = {mail["To"].addresses[0].addr_spec: mail["Subject"] for mail in inbox.mails}
    for customer, arm, variant, state in people:
        address = f"{customer}@example.com"
        arrived, has_consent = (
            inbox.addresses[address],
            int(customer.split("x")[1]) >= WITHOUT_CONSENT,
        )
        if arm != "treatment" or not has_consent:
            found["unapproved"] += arrived > 0
            continue
        found["doubt"] += state in ("held", "sending")
        found["doubled"] += arrived > 1
        is_sent = state == "sent" and arrived
        found["lost"] += not is_sent and state not in ("held", "sending")
        if arrived:
            is_other = (SUBJECT in subject_of[address]) != (variant == "B")
            found["unapproved"] += is_other
