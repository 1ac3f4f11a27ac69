"""Send a campaign in killable processes.

Run ``python -m tests.retention.outreach.child HOME PORT REPEATS``. It imports once. For each line
on standard input it forks a sender, prints its process id and waits for its end.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

from retention.campaigns.lifecycle.states import find_campaign
from retention.db import Database
from retention.outreach import sends
from retention.outreach.smtp import SmtpAdapter, parse_smtp_url
from retention.settings import Settings
from tests.retention.outreach import live_campaigns
from tests.world import read


def send(home: str, port: str, repeats: str) -> None:
    """Send what is due; a dead predecessor's lease is over at once."""
    sends.LEASE = timedelta(0)
    settings = Settings(
        home=Path(home), smtp_url="smtp://x", public_url="https://crm.shop.example", _env_file=None
    )
    database = Database.of(settings)
    adapter = SmtpAdapter(parse_smtp_url(f"smtp://127.0.0.1:{port}/?from=offers@shop.example"))
    adapter.drops_duplicates = repeats == "repeats"  # the control: a wrong claim sends duplicates
    campaign = read(database, find_campaign, "c1")
    live_campaigns.deliver_now(
        database, settings, campaign, adapter, live_campaigns.contacts_of(1000)
    )


def main(*given: str) -> None:
    """Fork for each line."""
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            send(*given)
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("over", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
