"""Handle the buttons that start, cancel or retry jobs."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm, send_ephemeral
from bot.services import Services
from retention.db.tables import Audit
from workers import campaigns, ids, jobs, models
from workers.job_messages import template_values
from workers.requests import CampaignDraft, CohortCsv, Forget, Request, title_of


def register(app: App, services: Services) -> None:
    """Listen to the buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """
    _register_jobs(app, services)
    _register_cohorts(app, services)
    _register_models(app, services)
    _register_erasure(app, services)


def _register_jobs(app: App, services: Services) -> None:
    @app.action(ids.CANCEL_JOB)
    def cancel(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            job = jobs.cancel(session, services.settings, click.value, click.user)
        deed = "withdraw" if jobs.goes_on(job) else "cancel"
        send_ephemeral(services, click, "bot/job_changed", deed=deed, job=template_values(job))

    @app.action(ids.RETRY_JOB)
    def retry(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            job = jobs.retry(session, services.settings, click.value, click.user)
        woken = services.queue.wake(job)
        if not woken:
            send_ephemeral(
                services, click, "bot/job_changed", deed="retry", job=template_values(job)
            )


def _register_cohorts(app: App, services: Services) -> None:
    @app.action(ids.COHORT_CSV)
    def download(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        request = CohortCsv(cohort_id=click.value)
        _submit_for_cohort(services, click, request, channel=click.user, action="cohort.download")

    @app.action(ids.DRAFT_CAMPAIGN)
    def draft(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        request = CampaignDraft(cohort_id=click.value)
        _submit_for_cohort(
            services, click, request, channel=click.channel or click.user, action="campaign.draft"
        )


def _submit_for_cohort(
    services: Services, click: Click, request: Request, *, channel: str, action: str
) -> None:
    """Queue and confirm a request about a cohort.

    An audit row is written once.
    """
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        cohort = campaigns.find_cohort(session, services.settings, click.value)
        submission = jobs.submit(
            session,
            services.settings,
            request,
            requested_by=click.user,
            channel=channel,
            idem_key=click.key,
        )
        session.add(
            Audit(
                team_id=services.settings.team_id,
                actor=click.user,
                action=action,
                subject=cohort.id,
                details={"job": submission.job.id},
            )
        )
    confirm(services, click, submission, private=channel == click.user)


def _register_models(app: App, services: Services) -> None:
    @app.action(ids.RETRAIN_MODEL)
    def retrain(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            job = models.retrain(session, services.settings, click.value, click.user, click.channel)
        woken = services.queue.wake(job)
        send_ephemeral(
            services,
            click,
            "bot/queued",
            job={"id": job.id, "title": title_of(job.kind)},
            stranger=False,
            private=False,
            woken=woken,
        )


def _register_erasure(app: App, services: Services) -> None:
    @app.action(ids.FORGET)
    def forget(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            submission = jobs.submit(
                session,
                services.settings,
                Forget(customer_id=click.value),
                requested_by=click.user,
                channel=click.user,
                idem_key=click.key,
            )
        confirm(services, click, submission, private=True)
