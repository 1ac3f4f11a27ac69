"""Handle the select and the Details button of an at-risk list."""

from typing import Any

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, listen, show_modal
from retention.db import Transaction
from retention.db.tables import Cohort, Job, ModelVersion
from retention.registry import champion
from retention.text import gettext
from workers import ids, roles
from workers.campaigns import decisions
from workers.delivery import render
from workers.queue import jobs
from workers.requests import Retrain

SHOWN = ("id", "size", "tiers", "as_of", "model_version")


def register(app: App, services: Services) -> None:
    """Listen to the list's buttons."""
    listen(app, services, {ids.COHORT_DETAILS: _open_details})


def _open_details(services: Services, click: Click) -> None:
    with services.database.reading() as session:
        roles.require(session, click.user, "viewer", gettext("see how a list was made"))
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
