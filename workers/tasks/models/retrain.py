"""Train models and promote better ones.

Each model is stored and promoted when it is trained. If the job ends early, that model stays in
use. A later attempt of the same job continues with the missing models.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.errors import TooLittleData
from retention.feedback import doubted_scores
from retention.lake import Lake, coverage
from retention.lake.coverage import check_trainable
from retention.privacy import ledger
from retention.progress import part
from retention.recommend.responses import load_feedback
from retention.registry import champion, promote
from retention.registry import retrain as training
from retention.registry.churn_definition import (
    ChurnDefinition,
    ensure_definition,
    resolve_definition,
)
from retention.text import gettext
from retention.texts import signals
from workers.job_requests import Retrain
from workers.queue import completion
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.registry.retrain import RetrainResult


def run(request: Retrain, context: Context) -> Outcome:
    """Train and publish the requested models.

    `request`: names the kinds. Without names both are trained. A kind with too little data is then
    skipped with the reason.
    """
    settings = context.settings
    lake = Lake.open(settings)
    signals.update(lake, context.progress)
    with context.database.reading() as session:
        before = completion.published_parts(session, context.job_id)
    # All models of a job have one cutoff and definition, also those of later attempts.
    if before:
        cutoff, note = datetime.fromisoformat(before["cutoff"]), before["note"]
        definition = ChurnDefinition(before["horizon_days"], before["active_within_days"])
    else:
        definition = resolve_definition(
            ensure_definition(lake, context.database), request.horizon, request.active_within
        )
        cutoff, note = training_cutoff(request, lake, definition.horizon_days)
    check_trainable(lake, cutoff, definition.horizon_days)  # fails before the slow imports

    with context.database.reading() as session:
        champions = {kind: champion(session, kind) for kind in request.kinds}
        doubted_labels: tuple[tuple[str, datetime], ...] = ()
        if settings.doubted_labels == "drop":
            doubted_labels = doubted_scores(session, lake.identities.canonical_ids())
        feedback = load_feedback(lake, session, cutoff) if "recommend" in request.kinds else None
    training_request = training.RetrainRequest(
        cutoff,
        definition.window,
        request.model,
        context.requested_by,
        context.job_id,
        doubted_labels,
        feedback,
        request.tune,
        request.tune_fits,
        request.epsilon,
    )
    data: dict[str, Any] = {
        "models": list(before.get("models", ())),
        "cutoff": cutoff.isoformat(),
        "note": note,
        "untrained": [],
        "first": before.get("first", "churn" in champions and champions["churn"] is None),
        "announced": before.get("announced", False),
        "horizon_days": definition.horizon_days,
        "active_within_days": definition.active_within_days,
    }
    published = {model["kind"] for model in data["models"]}
    for done, kind in enumerate(champions):
        if kind in published:
            continue
        try:
            progress = part(context.progress, done, len(champions))
            trained = getattr(training, kind)(
                settings, lake, champions[kind], training_request, progress
            )
        except TooLittleData as refusal:
            if kind in request.models:
                raise
            data["untrained"].append({"kind": kind, "why": str(refusal)})
            continue
        data["models"].append(trained.as_dict())
        # The model is used from now on, and the other models may take long: announce it now.
        early = _post(data) if done + 1 < len(champions) else None
        posts: tuple[Post, ...] = ()
        if early and early.template == "retrain/first" and not data["announced"]:
            data["announced"] = True
            posts = (replace(early, key=_announcement(context)),)
        completion.publish_part(context, data, partial(_publish, context, trained), posts)
    if not data["models"]:
        text = gettext("{kind}: {reason}")
        reasons = (
            text.format(kind=skipped["kind"].capitalize(), reason=skipped["why"])
            for skipped in data["untrained"]
        )
        raise TooLittleData(" ".join(reasons))
    post = _post(data)
    if data["announced"]:  # completes the message
        post = replace(post, key=_announcement(context))
    return Outcome(data, (post,))


def _announcement(context: Context) -> str:
    return f"job:{context.job_id}:first"


def _post(data: dict[str, Any]) -> Post:
    """Return the message: for the first churn model in use, what changes with it."""
    for model in data["models"]:
        if data["first"] and model["kind"] == "churn" and model["promoted"]:
            return Post("retrain/first", {**data, "churn": model})
    return Post("retrain/done", data)


def _publish(context: Context, trained: "RetrainResult", session: Transaction) -> None:
    """Store, audit and maybe promote a model."""
    row = trained.row
    session.add(row)
    if trained.promote:
        promote(session, row, context.requested_by)
    if loss := row.parameters.get("privacy"):
        who = context.requested_by
        ledger.record_training(session, row.version, who, loss["epsilon"], loss["delta"])
    action = "model.promote" if trained.promote else "model.train"
    record(session, context.requested_by, action, row.version, clock.now(), {"why": trained.why})


def training_cutoff(request: Retrain, lake: "Lake", horizon_days: int) -> tuple[datetime, str]:
    """Return the cutoff and a note about it.

    It is the requested one, else business time, but no later than the data. A customer with missing
    data has not left.
    """
    if request.cutoff is not None:
        return request.cutoff, ""

    moment = lake.as_of(None, horizon_days)
    return coverage.training_cutoff(lake, moment.at), moment.note
