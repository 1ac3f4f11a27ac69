"""Start live campaigns for tests and deliver their e-mails."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from retention.campaigns import approval, launch
from retention.campaigns.compose import message_composer
from retention.campaigns.draft import Draft, store
from retention.campaigns.spec import Body
from retention.db import Database
from retention.db.tables import Campaign, Send
from retention.outreach.adapter import Adapter, Contact, Message
from retention.outreach.dispatch import DeliveryReport, deliver
from retention.settings import Settings
from tests.retention.campaigns.samples import a_body

NOW = datetime(2025, 5, 1, 9, tzinfo=UTC)


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
    rows = [
        {
            "customer_id": f"k{number}",
            "arm": "audience",
            "bucket": (2 * number + 1) * 10_000 // (2 * customers),
            "tier": "high",
            "churn_probability": 0.6,
            "expected_value": 50.0,
            "offer": offer_of(number),
        }
        for number in range(customers)
    ]
    body = a_body(
        clearance_hours=0,
        holdout=0.1,
        copy_text="Hello {name},\n\n{discount} off with {code}: {items}",
        message_channel=message_channel,
    )
    drafted = Draft(campaign_id, "salt", "May", None, body, rows)
    with database.transaction() as session:
        store(
            session,
            settings,
            drafted,
            author="U0ANALYST",
            channel="C0CRM",
            post_key=f"job:{campaign_id}",
            now=now,
        )
        approval.submit(session, settings, campaign_id, 1, "U0ANALYST", now)
        approval.approve(session, settings, campaign_id, 1, "U0LEAD", now)
        launch.begin_sending(session, settings, campaign_id, 1, "U0LEAD", now)
    assert list(launch.reserve_all_codes(database, settings, campaign_id, 1))
    with database.transaction() as session:
        return launch.go_live(session, settings, campaign_id, 1, "U0LEAD", now).campaign


def contacts_of(customers: int) -> dict[str, Contact]:
    return {
        f"k{number}": Contact(f"k{number}@example.com", f"K {number}")
        for number in range(customers)
    }


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
    people: dict[str, Contact],
    **options,
) -> DeliveryReport:
    """Send the due e-mails."""
    defaults = {
        "allowed_from": lambda contact, at: at,
        "rate": 1000.0,
        "seconds": 60.0,
        "now": lambda: NOW,
        "job_id": "j1",
        "compose": composer(database, settings, campaign),
    }
    arguments = defaults | options
    return deliver(
        database,
        campaign.id,
        arguments.pop("job_id"),
        adapter,
        people,
        **arguments,
    )


def send_states(database: Database) -> dict[str, str]:
    """Return the state of each customer's send."""
    with database.reading() as session:
        return dict(session.execute(select(Send.customer_id, Send.state)).tuples().all())


def end_waits(database: Database) -> None:
    """Make all postponed retries due."""
    with database.transaction() as session:
        for send in session.scalars(select(Send).where(Send.retry_at.is_not(None))):
            send.retry_at -= timedelta(days=1)
