"""Promote, roll back and retrain models on request.

Roles are checked and actions audited. Every function runs in the caller's session. The change and
its audit row are one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import monitoring, registry
from retention.db import Database
from retention.db.tables import Audit, Job, ModelHealth, ModelVersion
from retention.errors import BadInput, Conflict
from retention.settings import Settings
from retention.text import gettext
from workers import jobs, roles
from workers.delivery import outbox
from workers.requests import Retrain, title_of
from workers.tasks.interface import Post
from workers.tasks.monitor import alert_key

ROLE = "admin"


@dataclass(frozen=True, slots=True)
class UsabilityCheck:
    """Result of reading a model's artefact before a transaction.

    Parameters
    ----------
    version : str or None
        The version that was read.
    fault : BadInput, optional
        The reason if no customer can be scored with it.
    """

    version: str | None
    fault: BadInput | None = None

    def verify(self, row: ModelVersion) -> None:
        """Raise unless this version was read and is usable."""
        if row.version != self.version:
            raise Conflict(
                gettext(
                    "Another model was put into use just now, so {version} was not; try again."
                ).format(version=row.version)
            )
        if self.fault:
            raise self.fault


def check_usable(
    database: Database, settings: Settings, chosen: Callable[[Session], ModelVersion | None]
) -> UsabilityCheck:
    """Read the chosen version's artefact outside of any transaction.

    The file may be on a remote storage.

    Parameters
    ----------
    database : Database
        Holds jobs, campaigns and messages.
    settings : Settings
        Of the installation.
    chosen : callable
        Selects the version; None if there is none.

    Returns
    -------
    UsabilityCheck
        To be passed to `promote` or `roll_back`.
    """
    with database.reading() as session:
        row = chosen(session)
    if row is None:
        return UsabilityCheck(None)
    try:
        registry.check_usable(settings, row)
    except BadInput as fault:
        return UsabilityCheck(row.version, fault)
    return UsabilityCheck(row.version)


def promote(
    session: Session, settings: Settings, version: str, user: str, check: UsabilityCheck
) -> tuple[ModelVersion, bool]:
    """Promote a version to champion.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    version : str
        Version of the model.
    user : str
        Slack user id, or `roles.OPERATOR`.
    check : UsabilityCheck
        Result of `check_usable`.

    Returns
    -------
    tuple[ModelVersion, bool]
        The version, and False if it already was the champion. Then nothing is written.

    Raises
    ------
    BadInput
        There is no such version, or it is not usable.
    """
    roles.require(session, settings, user, ROLE, gettext("promote a model"))
    row = registry.find(session, settings, version)
    if row.state == "champion":
        return row, False
    check.verify(row)
    before = registry.champion(session, settings, row.kind)
    registry.promote(session, settings, row, user)
    _audit(session, settings, user, "model.promote", row, before)
    return row, True


def roll_back(
    session: Session, settings: Settings, kind: str, user: str, check: UsabilityCheck
) -> ModelVersion:
    """Withdraw the champion and restore the one before it.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    kind : str
        Kind of the model.
    user : str
        Slack user id, or `roles.OPERATOR`.
    check : UsabilityCheck
        Result of `check_usable`.

    Returns
    -------
    ModelVersion
        The restored version.

    Raises
    ------
    BadInput
        There is no earlier version, or it is not usable.
    """
    roles.require(session, settings, user, ROLE, gettext("roll back a model"))
    row, before = registry.roll_back(session, settings, kind, user)
    check.verify(row)
    _audit(session, settings, user, "model.rollback", row, before)
    return row


def retrain(
    session: Session, settings: Settings, check_job: str, user: str, channel: str | None
) -> Job:
    """Retrain a decayed model once.

    The message of the check then names the person.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    check_job : str
        Job id of the health check.
    user : str
        Slack user id, or `roles.OPERATOR`.
    channel : str or None
        Destination of the result, by default the person.

    Returns
    -------
    Job
        The submitted job.

    Raises
    ------
    NotAllowed
        The person may not retrain.
    Conflict
        The retraining was requested already, or another model is in use now.
    BadInput
        There is no such health check.
    """
    health = session.scalar(
        select(ModelHealth).where(
            ModelHealth.team_id == settings.team_id, ModelHealth.job_id == check_job
        )
    )
    if health is None:
        raise BadInput(
            gettext(
                "This look at the model is gone; run `/retention models check` for a fresh one."
            )
        )
    row = registry.find(session, settings, health.version)
    request = Retrain(
        models=("churn",), horizon=row.horizon_days, active_within=row.active_within_days
    )
    roles.require(session, settings, user, request.role, request.deed)
    if row.state != "champion":
        raise Conflict(
            gettext(
                "{version} is no longer in use, so there is nothing to mend; see `/retention "
                "models`."
            ).format(version=row.version)
        )
    submission = jobs.submit(
        session,
        settings,
        request,
        requested_by=user,
        channel=channel or user,
        idem_key=f"decay:{check_job}:retrain",
    )
    job = submission.job
    if submission.joined:
        raise Conflict(
            gettext("The same {title} job is already under way, so wait for its result.").format(
                title=title_of(job.kind)
            )
        )
    if not submission.created:
        can_retry = job.state in ("failed", "cancelled")
        raise Conflict(
            (
                gettext(
                    "That was asked for already: job {id} is {state}; `/retention jobs retry {id}` "
                    "runs it again."
                )
                if can_retry
                else gettext("That was asked for already: job {id} is {state}.")
            ).format(id=job.id, state=job.state)
        )
    session.add(
        Audit(
            team_id=settings.team_id,
            actor=user,
            action="model.retrain",
            subject=row.version,
            details={"job": job.id, "why": "; ".join(reason["text"] for reason in health.reasons)},
        )
    )
    _show_retraining(session, settings, health, job)
    return job


def _show_retraining(session: Session, settings: Settings, health: ModelHealth, job: Job) -> None:
    """Replace the button by the requester."""
    check_job = session.get_one(Job, health.job_id)
    is_scheduled = check_job.args.get("scheduled")
    template, key = (
        ("alert", alert_key(check_job.id)) if is_scheduled else ("health", f"job:{check_job.id}")
    )
    values = {
        "health": monitoring.describe(health),
        "job_id": health.job_id,
        "retraining": {"by": job.requested_by, "job": job.id},
    }
    outbox.put(
        session, settings, Post(f"monitor/{template}", values, key=key), default_channel=None
    )


def _audit(
    session: Session,
    settings: Settings,
    user: str,
    action: str,
    row: ModelVersion,
    before: ModelVersion | None,
) -> None:
    session.add(
        Audit(
            team_id=settings.team_id,
            actor=user,
            action=action,
            subject=row.version,
            details={"before": before.version if before else None},
        )
    )
