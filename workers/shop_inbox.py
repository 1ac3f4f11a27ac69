"""Start the import of webhooks soon after they arrive."""

from retention import clock
from retention.connect import webhook_inbox
from retention.db import Database
from retention.settings import Settings
from workers import jobs, roles
from workers.requests import ShopInbox


def submit_due(database: Database, settings: Settings) -> str | None:
    """Submit a job if webhooks wait and no such job is open.

    Parameters
    ----------
    database : Database
        The database.
    settings : Settings
        Of the installation.

    Returns
    -------
    str or None
        Id of the job.
    """
    with database.reading() as session:
        if not webhook_inbox.is_waiting(session, settings):
            return None
        if jobs.is_kind_open(session, settings, ShopInbox.kind):
            return None
    with database.transaction() as session:
        submission = jobs.submit(
            session,
            settings,
            ShopInbox(),
            requested_by=roles.OPERATOR,
            channel=None,
            idem_key=f"shop_inbox:{clock.wall().timestamp():.0f}",
            announce=False,
            limited=False,
        )
    jobs.wake(settings, submission.job)
    return submission.job.id
