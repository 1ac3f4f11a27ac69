"""A campaign that goes out by e-mail to a real mail server while everything breaks.

It counts what became of each e-mail.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd
from sqlalchemy import select

from retention import clock
from retention.db import Database
from retention.db.tables import RoleGrant, Send
from retention.lake import Lake
from retention.outreach import sends
from retention.settings import Settings
from tests.retention.outreach import live_campaigns
from tests.standins.smtp import Inbox, Mailserver
from tests.workers.harness import ADMIN
from workers.campaigns import messages
from workers.delivery import outbox

CUSTOMERS, RATE = 80, 2.0  # copies a second, so that some are under way while things break
PAUSE = 0.2  # seconds for which a copy is under way: the mail server has it and has not said so


@contextmanager
def mailserver() -> Iterator[tuple[Inbox, dict[str, str]]]:
    """A mail server, and the environment that makes an installation use it."""
    inbox = Inbox(pause=PAUSE)
    server = Mailserver(inbox)
    server.start()
    url = f"smtp://127.0.0.1:{server.port}/?from=offers@shop.example"
    try:
        yield (
            inbox,
            {
                "RETENTION_SMTP_URL": url,
                "RETENTION_PUBLIC_URL": "https://crm.shop.example",
                "RETENTION_SEND_RATE": str(RATE),
            },
        )
    finally:
        server.stop()


def begin(database: Database, settings: Settings) -> None:
    """A campaign that is live, with all its copies still to be sent."""
    people = live_campaigns.contacts_of(CUSTOMERS)
    Lake.open(settings).upsert(
        "customers",
        pd.DataFrame(
            [(who, contact.email, contact.name, True) for who, contact in people.items()],
            columns=["customer_id", "email", "name", "marketing_consent"],
        ),
    )
    with database.transaction() as session:
        session.add(
            RoleGrant(team_id=settings.team_id, user_id="U0LEAD", role="approver", granted_by=ADMIN)
        )
    campaign = live_campaigns.start_campaign(database, settings, CUSTOMERS, now=clock.now())
    with database.transaction() as session:
        outbox.put(session, messages.card_post(session, campaign), default_channel=campaign.channel)


def under_way(database: Database) -> bool:
    """Return whether an e-mail is handed over at this moment.

    Its row was claimed lately, and not by a process that is long dead.
    """
    lately = Send.lease_until > clock.wall() + sends.LEASE - timedelta(seconds=1)
    with database.reading() as session:
        return (
            session.scalar(select(Send.id).where(Send.state == "sending", lately).limit(1))
            is not None
        )


@dataclass(frozen=True, slots=True)
class Copies:
    """What became of the e-mails.

    ``doubt``: held, or still claimed by a process that is dead; at most one a kill.
    """

    states: Counter[str]
    lost: list[str]  # said to be sent and never arrived, or not sent at the end
    doubled: list[str]

    @property
    def doubt(self) -> int:
        """How many nobody knows of."""
        return self.states["held"] + self.states["sending"]


def counted(database: Database, inbox: Inbox) -> Copies:
    """Compare the rows with what arrived."""
    found = live_campaigns.send_states(database)
    arrived = {who: inbox.addresses[f"{who}@example.com"] for who in found}
    lost = [
        who
        for who, state in found.items()
        if (state == "sent" and not arrived[who]) or state not in ("sent", "held", "sending")
    ]
    return Copies(
        Counter(found.values()), lost, [who for who, number in arrived.items() if number > 1]
    )
