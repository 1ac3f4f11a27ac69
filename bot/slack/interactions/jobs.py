"""Handle the buttons of jobs and of the at-risk lists that they make."""

from typing import Any

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, confirm, listen, once, send_ephemeral, show_modal, submit
from retention.db import Transaction
from retention.db.tables import Cohort, Job, ModelVersion
from retention.registry import champion
from retention.text import gettext
from workers import action_ids, model_decisions, user_roles
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignDraft
from workers.delivery import render
from workers.delivery.job_messages import template_values
from workers.job_requests import CohortCsv, Forget
from workers.queue import jobs
from workers.retrain_request import Retrain

SHOWN = ("id", "size", "tiers", "as_of", "model_version")  # of a list


def register(app: App, services: Services) -> None:
    """Listen to the buttons."""
    clicks = {
        action_ids.CANCEL_JOB: _cancel,
        action_ids.RETRY_JOB: _retry,
        action_ids.COHORT_CSV: _download,
        action_ids.COHORT_DETAILS: _open_details,
        action_ids.DRAFT_CAMPAIGN: _draft,
        action_ids.RETRAIN_MODEL: _retrain,
        action_ids.FORGET: _forget,
    }
    listen(app, services, clicks)


def _cancel(services: Services, click: Click) -> None:
    with once(services, click) as session:
        job = jobs.cancel(session, click.value, click.user)
    deed = "withdraw" if jobs.goes_on(job) else "cancel"
    send_ephemeral(services, click, "bot/job_changed", deed=deed, job=template_values(job))


def _retry(services: Services, click: Click) -> None:
    with once(services, click) as session:
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
    with once(services, click) as session:
        job = model_decisions.retrain(session, click.value, click.user, click.channel)
    confirm(services, click, jobs.Submission(job, created=True), private=False)


def _forget(services: Services, click: Click) -> None:
    submit(services, click, Forget(customer_id=click.value), private=True)


def _open_details(services: Services, click: Click) -> None:
    """Show how an at-risk list was made."""
    with services.database.reading() as session:
        user_roles.require(session, click.user, "viewer", gettext("see how a list was made"))
        cohort = decisions.find_cohort(session, click.value)
        by_rules = cohort.model_version == "rules"
        view = render.view(
            "sweep/details",
            cohort={name: getattr(cohort, name) for name in SHOWN},
            result=_result(session, cohort),
            quality=_quality(session, cohort),
            training=by_rules and jobs.is_kind_open(session, Retrain.kind),
            has_model=by_rules and champion(session, "churn") is not None,
            zone=services.settings.timezone,
        )
    show_modal(services, click, view)


def _result(session: Transaction, cohort: Cohort) -> dict[str, Any]:
    """Return the sweep's result without its customers; empty if the job was deleted."""
    job = session.get(Job, cohort.job_id) if cohort.job_id else None
    result = (job and job.result) or {}
    return {key: value for key, value in result.items() if key != "cohort"}


def _quality(session: Transaction, cohort: Cohort) -> dict[str, float]:
    """Return the figures of the model's last test; empty for rules."""
    row = session.get(ModelVersion, cohort.model_version)
    metrics = (row and row.metrics) or {}
    return {
        name: float(metrics[name])
        for name in ("auc", "top_decile_lift")
        if isinstance(metrics.get(name), int | float)
    }
