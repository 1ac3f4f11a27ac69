"""Train new models and promote them where they are better.

Each model is stored and promoted as soon as it is trained. If the job ends early, that model stays in use. A later attempt
of the same job continues with the models that are missing.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.db.tables import Audit
from retention.errors import TooLittleData
from workers import completion, jobs
from workers.requests import Retrain
from workers.tasks.contract import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.registry.retrain import Trained


def run(request: Retrain, context: Context) -> Outcome:
    """Train the requested models and publish each one when it is ready.

    Parameters
    ----------
    request : Retrain
        Names the kinds. Without names both are trained, and one that the data does not suffice for is skipped with the reason.
    context : Context
        Of a running attempt: a model is published only while the job is this attempt's and is not cancelled.

    Returns
    -------
    Outcome
        All models of the job, also those that an earlier attempt has published. There is nothing left to apply.

    Raises
    ------
    Cancelled
        The job was cancelled or taken over.
    TooLittleData
        The data does not suffice for a kind that was named, or for any kind.
    """
    from retention.feedback import doubted
    from retention.lake import Lake
    from retention.lake.coverage import check_trainable
    from retention.progress import part

    settings = context.settings
    lake = Lake.open(settings)
    with context.database.reading() as session:
        before = jobs.published_parts(session, context.job_id)
    # All models of a job have one cutoff, whenever their attempt runs.
    if before:
        cutoff, note = datetime.fromisoformat(before["cutoff"]), before["note"]
    else:
        cutoff, note = _cutoff(request, lake)
    check_trainable(
        lake, cutoff, request.horizon
    )  # before the libraries that learn are loaded: seconds
    from retention.recommend.feedback.feedback_events import gather
    from retention.registry import champion
    from retention.registry import retrain as training

    with context.database.reading() as session:
        used = {kind: champion(session, settings, kind) for kind in request.kinds}
        marked = (
            doubted(session, settings, lake.identities.people())
            if settings.doubted_labels == "drop"
            else ()
        )
        heard = gather(lake, session, settings, cutoff) if "recommend" in request.kinds else None
    asked = training.Asked(
        cutoff,
        request.horizon,
        request.active_within,
        request.model,
        context.requested_by,
        context.job_id,
        marked,
        heard,
        request.tune,
        request.tune_fits,
    )
    data: dict[str, Any] = {
        "models": list(before.get("models", ())),
        "cutoff": cutoff.isoformat(),
        "note": note,
        "untrained": [],
        "horizon_days": request.horizon,
        "active_within_days": request.active_within,
    }
    published = {model["kind"] for model in data["models"]}
    for done, kind in enumerate(used):
        if kind in published:
            continue
        try:
            progress = part(context.progress, done, len(used))
            trained = getattr(training, kind)(settings, lake, used[kind], asked, progress)
        except TooLittleData as refusal:
            if kind in request.models:
                raise
            data["untrained"].append({"kind": kind, "why": str(refusal)})
            continue
        data["models"].append(trained.as_dict())
        completion.publish_part(context, data, partial(_publish, context, trained))
    if not data["models"]:
        reasons = (f"{one['kind'].capitalize()}: {one['why']}" for one in data["untrained"])
        raise TooLittleData(" ".join(reasons))
    return Outcome(data, (Post("retrain/done", data),))


def _publish(context: Context, trained: "Trained", session: Session) -> None:
    """Store a model's row, promote it if it is better, and audit that."""
    from retention.registry import promote

    settings, row = context.settings, trained.row
    session.add(row)
    if trained.promote:
        promote(session, settings, row, context.requested_by)
    session.add(
        Audit(
            team_id=settings.team_id,
            actor=context.requested_by,
            subject=row.version,
            action="model.promote" if trained.promote else "model.train",
            details={"why": trained.why},
        )
    )


def _cutoff(request: Retrain, lake) -> tuple[datetime, str]:
    """As asked; else business time, but no later than the data: who is not in it yet has not left."""
    if request.cutoff is not None:
        return request.cutoff, ""
    moment = lake.as_of(None, request.horizon)
    newest = lake.newest_event(before=moment.at)
    return min(moment.at, newest + timedelta(days=1)) if newest else moment.at, moment.note
