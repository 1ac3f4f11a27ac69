"""Train the churn model of several desks here, and let the usual gate judge it."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from retention import clock
from retention.churn.estimators import LogOdds
from retention.churn.model import TrainedChurn, median_customer, with_tiers
from retention.churn.training_set import build_training_set
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import ModelVersion
from retention.errors import Refused
from retention.federation import FEDERATED, terms
from retention.lake import Lake
from retention.privacy import ledger
from retention.progress import Progress, part, silent
from retention.registry import promote
from retention.registry.backtest import backtest, backtest_origins
from retention.registry.model_cache import churn_model
from retention.registry.retrain import RetrainRequest, RetrainResult, judged, privacy_note
from retention.risk.policy import load_policy
from retention.settings import Settings
from retention.text import gettext
from retention.window import Window

Train = Callable[[dict[str, np.ndarray]], dict[str, Any]]


def request(cutoff: datetime, window: Window, by: str) -> RetrainRequest:
    """Return the request of a training outside the queue."""
    return RetrainRequest(cutoff, window, FEDERATED, by, None)


def accept(session: Transaction, loss: dict[str, Any], most: float | None, by: str) -> None:
    """Refuse the server's terms, or write down what they cost: also a training that stops costs.

    `most`: the largest ε to accept; any without it. Only noise is accepted with it, or if this desk
    has a privacy budget.
    """
    if "epsilon" not in loss:
        if most is not None or ledger.is_on(session):
            text = gettext(
                "The server trains without noise, but what leaves this desk must be noisy; ask the "
                "server to add --epsilon."
            )
            raise Refused(text)
        return
    epsilon = loss["epsilon"]
    if most is not None and epsilon > most:
        text = gettext(
            "The server asks for a privacy loss of {epsilon:g}, more than {most:g}; agree on one."
        )
        raise Refused(text.format(epsilon=epsilon, most=most))
    period = f"{FEDERATED}-{secrets.token_hex(4)}"
    ledger.record_training(session, period, by, epsilon, loss["delta"])


def train(
    settings: Settings,
    lake: Lake,
    champion: ModelVersion | None,
    request: RetrainRequest,
    join: Train,
    progress: Progress = silent,
) -> RetrainResult:
    """Train with other desks on the older part of the history, and judge by the newest.

    The other desks' rows cannot be asked for a second time at each origin of the backtest, so all
    origins are newer than what the model learned from.

    `join`: trains on prepared rows and labels; returns weights, desks and rows.
    """
    training = build_training_set(
        lake, cutoff=request.cutoff, window=request.window, progress=part(progress, 0, 3)
    )
    pairs = backtest_origins(training)
    older = pairs[-1][1] if pairs else training
    X = np.concatenate([each.matrix(terms.FEATURES) for each in older.snapshots])
    y = np.concatenate([each.labels for each in older.snapshots])
    ids = np.concatenate([each.frame.customer_id.to_numpy(str) for each in older.snapshots])
    customer = np.unique(ids, return_inverse=True)[1]
    learned = join({"X": terms.prepared(X), "y": y, "customer": customer})
    trained = TrainedChurn(
        model=LogOdds([terms.pipeline(np.array(learned["weights"]))]),
        estimator=FEDERATED,
        columns=terms.FEATURES,
        reference=median_customer(X),
        cutoff=older.cutoff,
        horizon_days=training.horizon_days,
        active_within_days=training.active_within_days,
        rung=_note(learned),
        train_rows=learned.get("rows", 0),
        seed=0,
        calibration=gettext("not on this desk's own customers"),
        parameters=_parameters(learned),
    )
    trained = with_tiers(trained, lake, load_policy(settings).list.customers)
    other = churn_model(settings, champion) if champion else None
    result = backtest(training, trained, other, progress=part(progress, 2, 3))
    is_sound = bool(result.checks) and all(check.passed for check in result.checks)
    if "epsilon" in learned and champion is None and not is_sound:
        # the noise of few customers can make a model worse than none
        why = gettext("A model with noise is used only if it passes all checks.")
        result = replace(result, promote=False, why=why)
    older_request = replace(request, cutoff=older.cutoff)
    return judged(settings, lake, older_request, training, trained, result)


def store(session: Transaction, result: RetrainResult, by: str) -> None:
    """Store and audit the challenger; promote it if the gate says so."""
    session.add(result.row)
    if result.promote:
        promote(session, result.row, by)
    action = "model.promote" if result.promote else "model.train"
    record(session, by, action, result.row.version, clock.now(), {"why": result.why})


def _note(learned: dict[str, Any]) -> str:
    if "epsilon" not in learned:
        text = gettext("Trained together with other desks: {desks} desks, {rows} rows.")
        return text.format(desks=learned["desks"], rows=learned["rows"])
    text = gettext("Trained together with other desks: {desks} desks, about {customers} customers.")
    note = text.format(desks=learned["desks"], customers=learned["customers"])
    return f"{note} {privacy_note(learned)}"


def _parameters(learned: dict[str, Any]) -> dict[str, Any]:
    federation = {key: learned[key] for key in ("desks", "rows", "customers") if key in learned}
    privacy = {key: learned[key] for key in ("epsilon", "delta") if key in learned}
    return {"federation": federation, **({"privacy": privacy} if privacy else {})}
