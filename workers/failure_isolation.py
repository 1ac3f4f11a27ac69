"""Due things, each on its own: what fails is undone, logged, told once a day, and tried again; the others go on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from retention import clock
from retention.errors import Refused
from retention.settings import Settings
from workers import completion
from workers.delivery import outbox
from workers.tasks.contract import Post

log = logging.getLogger(__name__)


@contextmanager
def apart(
    session: Session,
    settings: Settings,
    what: str,
    *,
    channel: str | None,
    thread_key: str | None = None,
) -> Iterator[None]:
    """Do one due thing within the caller's transaction, so that its failure is nobody else's.

    Parameters
    ----------
    what : str
        Its name: in the log, and (with the day) what the failure is told once by.
    channel, thread_key : str or None
        Where its failure is told; without a channel in the log alone.

    Raises
    ------
    OperationalError
        The database is away, which is no fault of the thing.
    """
    try:
        with session.begin_nested():
            yield
    except OperationalError:
        raise
    except Exception as error:
        reference = completion.reference()
        log.exception("%s is due and failed; reference %s", what, reference)
        why = str(error) if isinstance(error, Refused) else "Something went wrong on our side."
        key = f"due:{what}:{clock.now().astimezone(settings.zone):%Y-%m-%d}"
        if outbox.channel_of(session, key) is None:
            told = Post(
                "job/due", {"why": why, "reference": reference}, key=key, thread_key=thread_key
            )
            outbox.put(session, settings, told, default_channel=channel)
