"""Handle the buttons that start, cancel or retry jobs."""

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, confirm, listen, send_ephemeral, submit
from workers import ids, model_changes
from workers.campaigns import decisions
from workers.campaigns.requests import CampaignDraft
from workers.delivery.job_messages import template_values
from workers.queue import jobs
from workers.requests import CohortCsv, Forget


def register(app: App, services: Services) -> None:
    """Listen to the buttons."""
    clicks = {
        ids.CANCEL_JOB: _cancel,
        ids.RETRY_JOB: _retry,
        ids.COHORT_CSV: _download,
        ids.DRAFT_CAMPAIGN: _draft,
        ids.RETRAIN_MODEL: _retrain,
        ids.FORGET: _forget,
    }
    listen(app, services, clicks)


def _cancel(services: Services, click: Click) -> None:
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        job = jobs.cancel(session, click.value, click.user)
    deed = "withdraw" if jobs.goes_on(job) else "cancel"
    send_ephemeral(services, click, "bot/job_changed", deed=deed, job=template_values(job))


def _retry(services: Services, click: Click) -> None:
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        job = jobs.retry(session, click.value, click.user)
    if not services.queue.wake(job):
        send_ephemeral(services, click, "bot/job_changed", deed="retry", job=template_values(job))


def _download(services: Services, click: Click) -> None:
    request, check = CohortCsv(cohort_id=click.value), decisions.find_cohort
    submit(services, click, request, private=True, check=check, audited="cohort.download")


def _draft(services: Services, click: Click) -> None:
    request = CampaignDraft(cohort_id=click.value)
    submit(services, click, request, check=decisions.find_cohort, audited="campaign.draft")


def _retrain(services: Services, click: Click) -> None:
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        job = model_changes.retrain(session, click.value, click.user, click.channel)
    confirm(services, click, jobs.Submission(job, created=True), private=False)


def _forget(services: Services, click: Click) -> None:
    submit(services, click, Forget(customer_id=click.value), private=True)
