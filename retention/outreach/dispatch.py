"""Send a campaign's copies, one after the other, at a pace: claim, make, hand over, settle.

It may die between any two lines. What was not claimed is sent by the next run; what was claimed and not settled is one
copy at most, and in doubt (`sends.recover`).
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
    """What one run did: ``counts`` of tries by the state they led to, and why it ended early (else empty)."""

    counts: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    hung_up_on: Send | None = (
        None  # the copy before, where the other side ended the connection on it
    )

    def add(self, state: str) -> None:
        """Count a try."""
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
    """Send what is due until nothing is, the time is up, or the other side takes no more.

    Parameters
    ----------
    contacts : mapping
        Customer id → how to reach them, of all whose copies this run may send; a copy of anybody else is left to the next.
    make : callable
        The copy of a send.
    allowed : callable
        The first moment (business time) at which a contact may be written to: quiet hours.
    rate : float
        Copies a second, at most.
    seconds : float
        After so long no further copy is begun.

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
    """Who is not to be disturbed now, by the moment at which that is over."""
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
    """See one claimed copy through; whether the other side was troubled with it."""
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
    """Write what became of a try; where it was no fault of this copy, it does not count, and the others wait as well."""
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
    """``webhook`` or ``email`` where one is configured (the platform, where both are), else ``csv``: a person takes the file."""
    if settings.webhook_url:
        return "webhook"
    return "email" if settings.smtp_url else "csv"


def adapter(settings: Settings, name: str) -> Adapter:
    """The carrier of a channel.

    Raises
    ------
    BadInput
        What it needs is not configured (any more).
    """
    if name == "webhook":
        return Webhook(_secret(settings.webhook_url), _secret(settings.webhook_key).encode())
    return Smtp(parse(_secret(settings.smtp_url)))


def check(settings: Settings) -> None:
    """Refuse to begin what could not be sent.

    Raises
    ------
    BadInput
    """
    if (name := channel(settings)) != "csv":
        adapter(settings, name)
        public_url(settings)


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
