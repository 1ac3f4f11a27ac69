"""Handle the select and the Details button of an at-risk list."""

from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot.interactions import Click
from bot.services import Services
from retention.db.tables import Cohort, Job, ModelVersion
from retention.text import gettext
from workers import campaigns, ids, jobs, roles
from workers.delivery import render
from workers.requests import Retrain

ROLE = "analyst"


def register(app: App, services: Services) -> None:
    """Listen to the list's buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.COHORT_DETAILS)
    def details(ack: Ack, body: dict[str, Any]) -> None:
        from retention.registry import champion

        ack()
        click = Click.of(body)
        settings = services.settings
        with services.database.reading() as session:
            roles.require(
                session, settings, click.user, "viewer", gettext("see how a list was made")
            )
            cohort = campaigns.find_cohort(session, settings, click.value)
            by_rules = cohort.model_version == "rules"
            view = render.view(
                "sweep/details",
                cohort=_cohort(cohort),
                result=_result(session, cohort),
                quality=_quality(session, cohort),
                training=by_rules and jobs.is_kind_open(session, settings, Retrain.kind),
                has_model=by_rules and champion(session, settings, "churn") is not None,
                zone=settings.timezone,
            )
        services.client.views_open(trigger_id=click.trigger_id or "", view=view)


def _cohort(cohort: Cohort) -> dict[str, Any]:
    return {
        "id": cohort.id,
        "size": cohort.size,
        "tiers": cohort.tiers,
        "as_of": cohort.as_of,
        "model_version": cohort.model_version,
    }


def _result(session: Session, cohort: Cohort) -> dict[str, Any]:
    """Return the sweep's result without its customers; empty if the job was deleted."""
    job = session.get(Job, cohort.job_id) if cohort.job_id else None
    result = (job and job.result) or {}
    return {key: value for key, value in result.items() if key != "cohort"}


def _quality(session: Session, cohort: Cohort) -> dict[str, float]:
    """Return the figures of the model's last test; empty for rules."""
    row = session.get(ModelVersion, cohort.model_version)
    metrics = (row and row.metrics) or {}
    return {
        name: float(metrics[name])
        for name in ("auc", "top_decile_lift")
        if isinstance(metrics.get(name), int | float)
    }
