"""Train the churn model of several desks here, and let the usual gate judge it."""

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
from retention.federation import terms
from retention.lake import Lake
from retention.progress import Progress, part, silent
from retention.registry import promote
from retention.registry.backtest import backtest, backtest_origins
from retention.registry.model_cache import churn_model
from retention.registry.retrain import RetrainRequest, RetrainResult, judged
from retention.risk.policy import load_policy
from retention.settings import Settings
from retention.text import gettext
from retention.window import Window

Train = Callable[[np.ndarray, np.ndarray], dict[str, Any]]


def request(cutoff: datetime, window: Window, by: str) -> RetrainRequest:
    """Return the request of a training outside the queue."""
    return RetrainRequest(cutoff, window, "federated", by, None)


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
    X, y = older.stacked(terms.FEATURES)
    learned = join(terms.prepared(X), y)
    text = gettext("Trained together with other desks: {desks} desks, {rows} rows.")
    trained = TrainedChurn(
        model=LogOdds([terms.pipeline(np.array(learned["weights"]))]),
        estimator="federated",
        columns=terms.FEATURES,
        reference=median_customer(X),
        cutoff=older.cutoff,
        horizon_days=training.horizon_days,
        active_within_days=training.active_within_days,
        rung=text.format(desks=learned["desks"], rows=learned["rows"]),
        train_rows=learned["rows"],
        seed=0,
        calibration=gettext("not on this desk's own customers"),
        parameters={"federation": {name: learned[name] for name in ("desks", "rows")}},
    )
    trained = with_tiers(trained, lake, load_policy(settings).list.customers)
    other = churn_model(settings, champion) if champion else None
    result = backtest(training, trained, other, progress=part(progress, 2, 3))
    older_request = replace(request, cutoff=older.cutoff)
    return judged(settings, lake, older_request, training, trained, result)


def store(session: Transaction, result: RetrainResult, by: str) -> None:
    """Store and audit the challenger; promote it if the gate says so."""
    session.add(result.row)
    if result.promote:
        promote(session, result.row, by)
    action = "model.promote" if result.promote else "model.train"
    record(session, by, action, result.row.version, clock.now(), {"why": result.why})
