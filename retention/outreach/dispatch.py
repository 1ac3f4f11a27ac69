"""Send the due e-mails of a campaign through its channel.

Each e-mail is claimed, composed, handed over and settled. The process may die at any point.
Unclaimed e-mails are sent by the next run. At most one e-mail is claimed and not settled; its
delivery is uncertain (`sends.recover`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import SecretStr

from retention import clock
from retention.db import Database
from retention.db.tables import Send
from retention.outreach import sends
from retention.outreach.consent import public_url
from retention.outreach.messages import Adapter, Contact, Message, Unreachable, Verdict
from retention.outreach.smtp import Smtp, parse
from retention.outreach.webhook import Webhook
from retention.progress import Progress, silent
from retention.settings import Settings

Make = Callable[[Send, Contact], Message]
Allowed = Callable[[Contact, datetime], datetime]


@dataclass(slots=True)
class Report:
    """Result of one run.

    ``counts`` maps the new state to attempts. ``stopped`` says why the run ended early, or is
    empty.
    """

    counts: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    hung_up_on: Send | None = (
        None  # the copy before, where the other side ended the connection on it
    )

    def add(self, state: str) -> None:
        """Count an attempt."""
        self.counts[state] = self.counts.get(state, 0) + 1


def deliver(
    database: Database,
    campaign_id: str,
    job_id: str,
    adapter: Adapter,
    contacts: Mapping[str, Contact],
    make: Make,
    *,
    allowed: Allowed,
    rate: float,
    seconds: float,
    now: Callable[[], datetime] = clock.now,
    progress: Progress = silent,
) -> Report:
    """Send until nothing is due, time is up or the server refuses.

    Parameters
    ----------
    database : Database
        Database of the installation.
    campaign_id : str
        Campaign id.
    job_id : str
        Job that sends.
    adapter : Adapter
        Channel to send through.
    contacts : mapping
        Contact by customer id. Sends to other customers wait for the next run.
    make : Make
        Composes the message of a send.
    allowed : Allowed
        Returns the first moment (business time) outside the contact's quiet hours.
    rate : float
        E-mails per second, at most.
    seconds : float
        Time after which no further e-mail is started.
    now : callable, optional
        Returns the business time.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    Report
    """
    report, began, after = Report(), time.monotonic(), 0.0
    if _over(database, campaign_id):
        return report
    try:
        adapter.open()
        with database.transaction() as session:
            sends.recover(session, campaign_id, repeats=adapter.repeats)
            sends.leave_out_suppressed(session, campaign_id)
            for moment, whose in _asleep(contacts, allowed, now()).items():
                sends.put_off(session, campaign_id, whose, moment)
            waiting = sends.counts(session, campaign_id).get("queued", 0)
        while time.monotonic() - began < seconds:
            progress(sum(report.counts.values()), max(waiting, 1), "sending")
            time.sleep(max(after - time.monotonic(), 0))
            with database.transaction() as session:
                send = sends.claim(session, campaign_id, job_id, now())
            if send is None:
                break
            if _one(database, send, adapter, contacts, make, allowed, now, report):
                after = time.monotonic() + 1 / rate
    except Unreachable as reason:
        report.stopped = str(reason)
        if reason.until is not None:
            with database.transaction() as session:
                sends.pause(session, campaign_id, reason.until)
    finally:
        adapter.close()
    _over(database, campaign_id)  # it may have been stopped meanwhile
    return report


def _over(database: Database, campaign_id: str) -> bool:
    with database.transaction() as session:
        return sends.give_up_where_over(session, campaign_id)


def _asleep(
    contacts: Mapping[str, Contact], allowed: Allowed, now: datetime
) -> dict[datetime, list[str]]:
    """Customers in quiet hours, by the end of these."""
    found: dict[datetime, list[str]] = {}
    for customer_id, contact in contacts.items():
        if (moment := allowed(contact, now)) > now:
            found.setdefault(moment, []).append(customer_id)
    return found


def _one(
    database: Database,
    send: Send,
    adapter: Adapter,
    contacts: Mapping[str, Contact],
    make: Make,
    allowed: Allowed,
    now: Callable[[], datetime],
    report: Report,
) -> bool:
    """Process one claimed send; True if the server was contacted."""
    contact = contacts.get(send.customer_id)
    if contact is None:
        # Released, or taken over from a dead run, since: their address and consent were not looked at.
        with database.transaction() as session:
            sends.put_back(session, send, said=send.error)
        return False
    at = now()
    if (later := allowed(contact, at)) > at:
        with database.transaction() as session:
            sends.put_back(session, send, not_before=later)
        report.add("waiting")
        return False
    if not contact.email:
        verdict = Verdict("failed", "the customer has no e-mail address")
    else:
        try:
            verdict = adapter.send(make(send, contact))
        except Unreachable as reason:
            with database.transaction() as session:
                sends.put_back(session, send, said=str(reason))
            raise
    _settle(database, send, adapter, verdict, at, report)
    return True


def _settle(
    database: Database, send: Send, adapter: Adapter, verdict: Verdict, at: datetime, report: Report
) -> None:
    """Store the result of an attempt.

    If this e-mail is not at fault, the attempt does not count and the run stops.
    """
    if verdict.retry_at is not None:
        with database.transaction() as session:
            sends.put_back(session, send, said=verdict.said)
        raise Unreachable(f"{verdict.said[:1].upper()}{verdict.said[1:]}.", verdict.retry_at)
    before, report.hung_up_on = report.hung_up_on, send if verdict.hung_up else None
    if verdict.hung_up and before is not None:  # it is not about either of them
        with database.transaction() as session:
            sends.put_back(session, send, said=verdict.said)
            sends.forgive(session, before)
        raise Unreachable(f"Nothing is taken at present: {verdict.said}.")
    with database.transaction() as session:
        if (verdict.of_message or verdict.of_all) and not sends.taken(session, send.campaign_id):
            sends.put_back(session, send, said=verdict.said)
        else:
            report.add(sends.settle(session, send, verdict, at, repeats=adapter.repeats))
            return
    # Were it taken for the recipient's, a filter that dislikes the text would make a whole campaign bounce, and so would a
    # platform that cannot read any of what we tell it.
    raise Unreachable(f"None of this campaign's e-mails is taken so far: {verdict.said}.")


def channel(settings: Settings) -> str:
    """Return the configured channel: ``webhook``, ``email`` or ``csv``.

    The webhook wins over SMTP. With ``csv``, a person downloads a file.
    """
    if settings.webhook_url:
        return "webhook"
    return "email" if settings.smtp_url else "csv"


def adapter(settings: Settings, name: str) -> Adapter:
    """Return the adapter of a channel.

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    name : str
        ``webhook`` or ``email``.

    Returns
    -------
    Adapter

    Raises
    ------
    BadInput
        A setting of the channel is missing.
    """
    if name == "webhook":
        return Webhook(_secret(settings.webhook_url), _secret(settings.webhook_key).encode())
    return Smtp(parse(_secret(settings.smtp_url)))


def check(settings: Settings) -> None:
    """Check that the configured channel can send.

    Raises
    ------
    BadInput
        A setting is missing.
    """
    if (name := channel(settings)) != "csv":
        adapter(settings, name)
        public_url(settings)


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
