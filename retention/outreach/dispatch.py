"""Send the due messages of a campaign through its channel.

Each message is claimed, composed, handed over and settled. The process may die at any point.
Unclaimed e-mails are sent by the next run. At most one e-mail is claimed and not settled; its
delivery is uncertain (`sends.recover_lost`).
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import SecretStr

from retention import clock
from retention.db import Database
from retention.db.tables import Send
from retention.outreach import send_summary, sends
from retention.outreach.adapter import (
    MESSAGE_REFUSED,
    Adapter,
    Contact,
    Message,
    ServerUnavailable,
    Verdict,
    as_sentence,
    is_text,
)
from retention.outreach.smtp import SmtpAdapter, parse_smtp_url
from retention.outreach.webhook import WebhookAdapter
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

ComposeMessage = Callable[[Send, Contact], Message]
AllowedFrom = Callable[[Contact, datetime], datetime]


@dataclass(slots=True)
class DeliveryReport:
    """Result of one run.

    ``counts`` maps the new state to attempts. ``stopped`` says why the run ended early, or is
    empty.
    """

    counts: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    hung_up_on: Send | None = None  # the previous send, if the server hung up on it

    def add(self, state: str) -> None:
        """Count an attempt."""
        self.counts[state] = self.counts.get(state, 0) + 1


@dataclass(frozen=True, slots=True)
class Mailing:
    """What a campaign sends, to whom and how.

    `allowed_from`: returns the first moment (business time) outside the contact's quiet hours.
    `rate`: messages per second, at most.
    """

    adapter: Adapter
    contacts: Mapping[str, Contact]
    compose: ComposeMessage
    allowed_from: AllowedFrom
    rate: float


def deliver(
    database: Database,
    campaign_id: str,
    job_id: str,
    mailing: Mailing,
    *,
    seconds: float,
    now: Callable[[], datetime] = clock.now,
    progress: Progress = silent,
) -> DeliveryReport:
    """Send until nothing is due, time is up or the server refuses.

    `seconds`: time after which no further e-mail is started.
    """
    report, started, next_start = DeliveryReport(), time.monotonic(), 0.0
    adapter = mailing.adapter
    if _close_if_over(database, campaign_id):
        return report
    try:
        adapter.open()
        with database.transaction() as session:
            sends.recover_lost(session, campaign_id, may_repeat=adapter.drops_duplicates)
            sends.cancel_suppressed(session, campaign_id)
            asleep = _customers_in_quiet_hours(mailing, now())
            for moment, customer_ids in asleep.items():
                sends.postpone(session, campaign_id, customer_ids, moment)
            queued = send_summary.counts(session, campaign_id).get("queued", 0)
        while time.monotonic() - started < seconds:
            progress(sum(report.counts.values()), max(queued, 1), gettext("sending"))
            time.sleep(max(next_start - time.monotonic(), 0))
            with database.transaction() as session:
                send = sends.claim(session, campaign_id, job_id, now())
            if send is None:
                break
            if _deliver_one(database, send, mailing, now, report):
                next_start = time.monotonic() + 1 / mailing.rate
    except ServerUnavailable as error:
        report.stopped = str(error)
        if error.until is not None:
            with database.transaction() as session:
                sends.pause(session, campaign_id, error.until)
    finally:
        adapter.close()
    _close_if_over(database, campaign_id)  # it may have been stopped meanwhile
    return report


def _close_if_over(database: Database, campaign_id: str) -> bool:
    with database.transaction() as session:
        return sends.close_if_over(session, campaign_id)


def _customers_in_quiet_hours(mailing: Mailing, now: datetime) -> dict[datetime, list[str]]:
    """Customers in quiet hours, by the end of these."""
    by_end: dict[datetime, list[str]] = {}
    for customer_id, contact in mailing.contacts.items():
        if (end := mailing.allowed_from(contact, now)) > now:
            by_end.setdefault(end, []).append(customer_id)
    return by_end


def _deliver_one(
    database: Database,
    send: Send,
    mailing: Mailing,
    now: Callable[[], datetime],
    report: DeliveryReport,
) -> bool:
    """Process one claimed send; True if the server was contacted."""
    adapter, contact = mailing.adapter, mailing.contacts.get(send.customer_id)
    if contact is None:
        # Released or recovered after contacts and consent were looked up.
        with database.transaction() as session:
            sends.release_claim(session, send, error=send.error)
        return False
    at = now()
    if (later := mailing.allowed_from(contact, at)) > at:
        with database.transaction() as session:
            sends.release_claim(session, send, not_before=later)
        report.add("waiting")
        return False
    if is_text(send.channel) and not contact.phone:
        verdict = Verdict("failed", gettext("the customer has no usable phone number"))
    elif not is_text(send.channel) and not contact.email:
        verdict = Verdict("failed", gettext("the customer has no e-mail address"))
    else:
        try:
            message = mailing.compose(send, contact)
        except Exception:
            log.exception("the message of send %s cannot be written", send.id)
            detail = gettext("the message could not be written; the log has the reason")
            verdict = Verdict("again", detail, is_about_all=True)
            _settle(database, send, adapter, verdict, at, report)
            return False
        except BaseException:  # the process ends; nothing was handed over
            with database.transaction() as session:
                sends.release_claim(session, send, error=send.error)
            raise
        try:
            verdict = adapter.send(message)
        except ServerUnavailable as error:
            with database.transaction() as session:
                sends.release_claim(session, send, error=str(error))
            raise
    _settle(database, send, adapter, verdict, at, report)
    return True


def _settle(
    database: Database,
    send: Send,
    adapter: Adapter,
    verdict: Verdict,
    at: datetime,
    report: DeliveryReport,
) -> None:
    """Store the result of an attempt.

    If this e-mail is not at fault, the attempt does not count and the run stops.
    """
    if verdict.retry_at is not None:
        with database.transaction() as session:
            sends.release_claim(session, send, error=verdict.detail)
        raise ServerUnavailable(as_sentence(verdict.detail), verdict.retry_at)
    previous, report.hung_up_on = report.hung_up_on, send if verdict.has_hung_up else None
    if verdict.has_hung_up and previous is not None:  # neither of the two e-mails is at fault
        with database.transaction() as session:
            sends.release_claim(session, send, error=verdict.detail)
            sends.undo_attempt(session, previous)
        sentence = gettext("Nothing is taken at present: {detail}.")
        raise ServerUnavailable(sentence.format(detail=verdict.detail))
    concerns_all = verdict.code == MESSAGE_REFUSED or verdict.is_about_all
    with database.transaction() as session:
        if not concerns_all or send_summary.has_accepted_send(session, send.campaign_id):
            report.add(
                sends.settle(session, send, verdict, at, may_repeat=adapter.drops_duplicates)
            )
            return
        sends.release_claim(session, send, error=verdict.detail)
    # A filter that dislikes the content, or a platform that cannot read our requests, would
    # otherwise make the whole campaign bounce.
    sentence = gettext("None of this campaign's e-mails is taken so far: {detail}.")
    raise ServerUnavailable(sentence.format(detail=verdict.detail))


# Names in ``sends.channel``, of at most eight characters, with their settings. The first one that
# is switched on is used.
CHANNELS = {"platform": "mail_connection", "webhook": "webhook_url", "email": "smtp_url"}


def configured_channel(settings: Settings) -> str:
    """Return the configured channel: one of `CHANNELS`, or ``csv``.

    With ``csv``, a person downloads a file.
    """
    switched_on = (name for name, one in CHANNELS.items() if settings.is_switched_on(one))
    return next(switched_on, "csv")


def sending_channel(settings: Settings, message_channel: str) -> str:
    """Return what ``sends.channel`` holds for the messages of a campaign.

    `message_channel`: the campaign's, one of `retention.outreach.adapter.MESSAGE_CHANNELS`.
    """
    return message_channel if is_text(message_channel) else configured_channel(settings)


def open_adapter(settings: Settings, name: str) -> Adapter:
    """Return the adapter of a channel; a connection has another one.

    `name`: ``webhook``, ``email``, ``sms`` or ``whatsapp``. The address for texts is no way to send
    e-mails.
    Raises `BadInput`: a setting is missing or wrong.
    """
    if name == "email":
        return SmtpAdapter(parse_smtp_url(_secret(settings.smtp_url)))
    url, variable = settings.webhook_url, "RETENTION_WEBHOOK_URL"
    if is_text(name):
        url, variable = settings.sms_webhook_url, "RETENTION_SMS_WEBHOOK_URL"
    return WebhookAdapter(_secret(url), _secret(settings.webhook_key).encode(), setting=variable)


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
