"""Promote, roll back and retrain models on request.

Roles are checked and actions audited. Every function runs in the caller's session. The change and
its audit row are one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from retention import clock, monitoring, registry
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.tables import Job, ModelHealth, ModelVersion
from retention.errors import BadInput, Conflict
from retention.text import gettext
from workers import user_roles
from workers.delivery import outbox
from workers.job_requests import title_of
from workers.queue import jobs
from workers.retrain_request import Retrain
from workers.tasks.interface import Post

ROLE = "admin"


@dataclass(frozen=True, slots=True)
class UsabilityCheck:
    """Result of reading a model's artefact before a transaction."""

    version: str | None
    fault: BadInput | None = None

    def verify(self, row: ModelVersion) -> None:
        """Raise unless this version was read and is usable."""
        if row.version != self.version:
            text = gettext(
                "Another model was put into use just now, so {version} was not; try again."
            )
            raise Conflict(text.format(version=row.version))
        if self.fault:
            raise self.fault


def check_usable(
    database: Database, chosen: Callable[[Transaction], ModelVersion | None]
) -> UsabilityCheck:
    """Read the chosen version's artefact outside of any transaction.

    The file may be on a remote storage.

    Returns: to be passed to `promote` or `roll_back`.
    """
    with database.reading() as session:
        row = chosen(session)
    if row is None:
        return UsabilityCheck(None)
    try:
        registry.check_usable(database.settings, row)
    except BadInput as fault:
        return UsabilityCheck(row.version, fault)
    return UsabilityCheck(row.version)


def promote(
    session: Transaction, version: str, user: str, check: UsabilityCheck
) -> tuple[ModelVersion, bool]:
    user_roles.require(session, user, ROLE, gettext("promote a model"))
    row = registry.find(session, version)
    if row.state == "champion":
        return row, False
    check.verify(row)
    before = registry.champion(session, row.kind)
    registry.promote(session, row, user)
    _audit(session, user, "model.promote", row, before)
    return row, True


def roll_back(session: Transaction, kind: str, user: str, check: UsabilityCheck) -> ModelVersion:
    """Withdraw the champion and restore the one before it."""
    user_roles.require(session, user, ROLE, gettext("roll back a model"))
    row, before = registry.roll_back(session, kind, user)
    check.verify(row)
    _audit(session, user, "model.rollback", row, before)
    return row


def retrain(session: Transaction, check_job: str, user: str, channel: str | None) -> Job:
    """Retrain a decayed model once. The message of the check then names the person."""
    health = session.scalar(
        select(ModelHealth).where(
            ModelHealth.team_id == session.settings.team_id, ModelHealth.job_id == check_job
        )
    )
    if health is None:
        raise BadInput(
            gettext(
                "This look at the model is gone; run `/retention models check` for a fresh one."
            )
        )
    row = registry.find(session, health.version)
    request = Retrain(
        models=("churn",), horizon=row.horizon_days, active_within=row.active_within_days
    )
    user_roles.require(session, user, request.role, request.deed)
    if row.state != "champion":
        text = gettext(
            "{version} is no longer in use, so there is nothing to mend; see `/retention models`."
        )
        raise Conflict(text.format(version=row.version))
    submission = jobs.submit(
        session,
        request,
        requested_by=user,
        channel=channel or user,
        idem_key=f"decay:{check_job}:retrain",
    )
    job = submission.job
    if submission.joined:
        sentence = gettext("The same {title} job is already under way, so wait for its result.")
        raise Conflict(sentence.format(title=title_of(job.kind)))
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
    why = "; ".join(reason["text"] for reason in health.reasons)
    details = {"job": job.id, "why": why}
    record(session, user, "model.retrain", row.version, clock.now(), details)
    _show_retraining(session, health, job)
    return job


def _show_retraining(session: Transaction, health: ModelHealth, job: Job) -> None:
    """Replace the button by the requester."""
    check_job = session.get_one(Job, health.job_id)
    is_scheduled = check_job.args.get("scheduled")
    template, key = (
        ("alert", decay_key(check_job.id)) if is_scheduled else ("health", f"job:{check_job.id}")
    )
    values = {
        "health": monitoring.describe(health),
        "job_id": health.job_id,
        "retraining": {"by": job.requested_by, "job": job.id},
    }
    outbox.put(session, Post(f"monitor/{template}", values, key=key), default_channel=None)


def decay_key(job_id: str) -> str:
    """Return the outbox key of the warning of a scheduled check."""
    return f"decay:{job_id}"


def _audit(
    session: Transaction, user: str, action: str, row: ModelVersion, before: ModelVersion | None
) -> None:
    details = {"before": before.version if before else None}
    record(session, user, action, row.version, clock.now(), details)
