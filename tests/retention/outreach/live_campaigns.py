"""Start live campaigns for tests and deliver their e-mails."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select

from retention.campaigns.lifecycle import launch
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.customer_message import message_composer
from retention.db import Database
from retention.db.tables import Campaign, Send
from retention.outreach.adapter import Adapter, Contact, Message
from retention.outreach.dispatch import DeliveryReport, Mailing, deliver
from retention.settings import Settings
from tests.retention.campaigns.samples import NOW, approve_draft, audience_rows, go_live
from tests.world import rows, scalars


def offer_of(number: int) -> dict:
    return {
        "rule": "High risk",
        "action": "coupon" if number % 2 else "reminder",
        "discount": 0.1 if number % 2 else 0.0,
        "items": [{"item_id": "i1", "title": "Tea & <b>Co</b>"}],
    }


def start_campaign(
    database: Database,
    settings: Settings,
    customers: int,
    campaign_id: str = "c1",
    now: datetime = NOW,
    message_channel: str = "email",
) -> Campaign:
    """Draft, approve and send at one moment; a tenth is held out."""
    text = "Hello {name},\n\n{discount} off with {code}: {items}"
    options = {"copy_text": text, "message_channel": message_channel}
    approve_draft(database, campaign_id, audience_rows(customers, offer_of), now, **options)
    return go_live(database, campaign_id, now)


def contacts_of(customers: int) -> dict[str, Contact]:
    return {f"k{n}": Contact(f"k{n}@example.com", f"K {n}") for n in range(customers)}


def composer(
    database: Database, settings: Settings, campaign: Campaign
) -> Callable[[Send, Contact], Message]:
    with database.reading() as session:
        offers = {row["customer_id"]: row for row in launch.recipient_rows(session, campaign)}
    return message_composer(settings, Body.model_validate(campaign.body), offers)


def deliver_now(
    database: Database,
    settings: Settings,
    campaign: Campaign,
    adapter: Adapter,
    people: dict[str, Contact] | None = None,
    *,
    rounds: int = 1,
    seconds: float = 60.0,
    now: Callable[[], datetime] = lambda: NOW,
    job_id: str = "j1",
    **how,
) -> DeliveryReport:
    """Send the due e-mails; in further rounds those that wait, too. Return the last report."""
    usual = {"allowed_from": lambda contact, at: at, "rate": 1000.0}
    usual["compose"] = composer(database, settings, campaign)
    mailing = Mailing(adapter, people or contacts_of(100), **usual | how)
    for number in range(rounds):
        if number:
            end_waits(database)
        report = deliver(database, campaign.id, job_id, mailing, seconds=seconds, now=now)
    return report


def send_states(database: Database) -> dict[str, str]:
    """Return the state of each customer's send."""
    return dict(rows(database, select(Send.customer_id, Send.state)))


def end_waits(database: Database) -> None:
    """Make all postponed retries due."""
    with database.transaction() as session:
        for send in session.scalars(select(Send).where(Send.retry_at.is_not(None))):
            send.retry_at -= timedelta(days=1)


class LiveCampaign:
    """A live campaign whose e-mails a test sends."""

    def __init__(self, database: Database, settings: Settings, customers: int, **how) -> None:
        self.database, self.settings = database, settings
        self.row = start_campaign(database, settings, customers, **how)

    def deliver(
        self, adapter: Adapter, people: dict[str, Contact] | None = None, **how
    ) -> DeliveryReport:
        return deliver_now(self.database, self.settings, self.row, adapter, people, **how)

    def by_customer(self) -> dict[str, str]:
        return send_states(self.database)

    def states(self) -> set[str]:
        return set(self.by_customer().values())

    def attempts(self) -> set[int]:
        return set(scalars(self.database, select(Send.attempts)))

    def end_waits(self) -> None:
        end_waits(self.database)
