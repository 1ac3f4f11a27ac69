"""New models, promoted where they are better; their figures beside the baselines'."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from retention.db.tables import Audit
from retention.errors import TooLittleData
from workers.requests import Retrain
from workers.tasks.contract import Context, Outcome, Post


def run(request: Retrain, context: Context) -> Outcome:
    """Train what was asked for; rows are added and promoted in the finishing transaction.

    What the data cannot carry is told beside the rest, where nobody named it: a shop that knows no items has customers to
    keep, too.

    Raises
    ------
    TooLittleData
        Where the data cannot carry what was named, or nothing at all.
    """
    from retention.feedback import doubted
    from retention.lake import Lake
    from retention.lake.covered import learnable
    from retention.progress import part

    settings = context.settings
    lake = Lake.open(settings)
    cutoff, note = _cutoff(request, lake)
    learnable(lake, cutoff, request.horizon)  # before the libraries that learn are loaded: seconds
    from retention.recommend.feedback.heard import gather
    from retention.registry import champion, promote
    from retention.registry import retrain as training

    with context.database.reading() as session:
        used = {kind: champion(session, settings, kind) for kind in request.kinds}
        marked = (
            doubted(session, settings, lake.identities.people()) if settings.doubted_labels == "drop" else ()
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
    trained, untrained = [], {}
    for done, kind in enumerate(used):
        try:
            progress = part(context.progress, done, len(used))
            trained.append(getattr(training, kind)(settings, lake, used[kind], asked, progress))
        except TooLittleData as refusal:
            if kind in request.models:
                raise
            untrained[kind] = str(refusal)
    if not trained:
        raise TooLittleData(" ".join(f"{kind.capitalize()}: {why}" for kind, why in untrained.items()))

    def publish(session: Session) -> None:
        for model in trained:
            session.add(model.row)
            if model.promote:
                promote(session, settings, model.row, context.requested_by)
            session.add(
                Audit(
                    team_id=settings.team_id, actor=context.requested_by, subject=model.row.version,
                    action="model.promote" if model.promote else "model.train", details={"why": model.why},
                )
            )  # fmt: skip

    data = {"models": [model.as_dict() for model in trained], "cutoff": cutoff.isoformat(), "note": note,
            "untrained": [{"kind": kind, "why": why} for kind, why in untrained.items()],
            "horizon_days": request.horizon, "active_within_days": request.active_within}  # fmt: skip
    return Outcome(data, (Post("retrain/done", data),), apply=publish)


def _cutoff(request: Retrain, lake) -> tuple[datetime, str]:
    """As asked; else business time, but no later than the data: who is not in it yet has not left."""
    if request.cutoff is not None:
        return request.cutoff, ""
    moment = lake.as_of(None, request.horizon)
    newest = lake.newest_event(before=moment.at)
    return min(moment.at, newest + timedelta(days=1)) if newest else moment.at, moment.note
