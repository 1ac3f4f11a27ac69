"""Test weekly checks of the model in a shop that changes."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from sqlalchemy import select

from bot.http.health import champions
from retention import clock
from retention.churn.evaluation.uncertainty import Interval
from retention.churn.model_features import meaning
from retention.db.tables import Audit, Job, ModelHealth, ModelVersion, Outbox
from retention.errors import Conflict, NotAllowed
from retention.monitoring import latest
from retention.monitoring.health import _loss_reasons
from retention.monitoring.outcome import Outcome
from retention.templating import text
from tests import readonly
from tests import shop as tiny
from tests.workers.harness import ADMIN, ANALYST, CHANNEL, VIEWER, ask, grant, job
from tests.world import add, change, one, read, scalars
from workers import action_ids, model_decisions
from workers.delivery.render import message
from workers.job_requests import Monitor, Sweep
from workers.retrain_request import Retrain
from workers.schedule import tick
from workers.tasks.runner import run_job

LEARNT, CHANGED, SEEN = 110, 114, 140  # days
HORIZON = 21
LEARN = Retrain(models=("churn",), horizon=HORIZON, active_within=2 * HORIZON, model="stacked")
OUTCOME = Outcome(
    "v", "run", datetime(2025, 5, 31, 20, tzinfo=UTC), 900, {}, {}, Interval(0.5, 0.48, 0.52)
)


def at(day: float):
    return tiny.BEGIN + timedelta(days=day)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """Make a shop that loses three in four customers, with an older model and a sweep."""
    whole = tiny.frames(days=SEEN)
    events = whole["events"]
    leaves = events.customer_id.str[-2:].astype(int) % 4 != 0
    whole["events"] = events[~(leaves & (events.occurred_at >= pd.Timestamp(at(CHANGED))))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "frames", lambda **_: whole)
        own = tiny.build(tmp_path_factory.mktemp("changes") / "home", admins=ADMIN)
    add(own.database, grant(own.settings, ANALYST, "analyst"))
    clock.configure(fixed=at(LEARNT))
    run(own, LEARN, "learn")
    clock.configure(fixed=at(LEARNT + 1))
    run(own, Sweep(tier="low"), "sweep")
    with readonly.shared(own) as shared:
        yield shared


@pytest.fixture
def shop_that_changes(changed, tmp_path):
    """A copy of that shop."""
    copy = readonly.copy_of(changed, tmp_path / "home", admins=ADMIN)
    yield copy
    copy.database.dispose()


def run(own, request, key: str) -> Job:
    requested = ask(own.database, request, key, user=ANALYST)
    assert run_job(own.database, requested.id, "task") == "done"
    return job(own.database, requested.id)


def champion(own) -> ModelVersion:
    return one(own.database, select(ModelVersion).where(ModelVersion.state == "champion"))


def alerts(own) -> list[Outbox]:
    decayed = select(Outbox).where(Outbox.key.like("decay:%"))
    return scalars(own.database, decayed.order_by(Outbox.id))


def looks(own) -> list[ModelHealth]:
    return scalars(own.database, select(ModelHealth).order_by(ModelHealth.id))


@pytest.mark.nightly
def test_decay_is_reported_once_shown_on_request_and_fixed_by_a_click(shop_that_changes):
    own = shop_that_changes
    model = champion(own)

    # Nothing has matured in the first week: a scheduled look says nothing.
    clock.configure(fixed=at(LEARNT + 8))
    (first,) = tick.tick(own.database)
    assert tick.tick(own.database) == []  # once a week
    assert run_job(own.database, first, "task") == "done"
    assert looks(own)[0].scored_as_of is None

    # A month later the sweep's predictions have come out, worse than promised.
    clock.configure(fixed=at(SEEN))
    (second,) = tick.tick(own.database)
    assert run_job(own.database, second, "task") == "done"
    recorded = looks(own)[-1]
    expected = ("decayed", model.version, model.version)
    assert (recorded.state, recorded.version, recorded.scored_version) == expected
    assert recorded.source == f"{_sweep(own)}-1"
    assert recorded.scored_as_of == at(LEARNT + 1)
    promised = recorded.promised["log_loss"]
    assert recorded.metrics["log_loss_interval"]["low"] > promised
    assert promised == model.metrics["pooled"]["log_loss"]
    assert {"auc", "brier", "ece"} <= set(recorded.metrics)
    assert {"recency", "rfm_logistic", "bg_nbd"} == set(recorded.baselines)
    assert "log_loss" in [reason["check"] for reason in recorded.reasons]
    assert recorded.drift["score_psi"] > 0
    assert "recency_days" in recorded.drift["features"]
    assert "tenure_days" in recorded.drift["features"]
    told_of = {item["feature"]: item["meaning"] for item in recorded.drift["most"]}
    assert len(told_of) == 5
    assert not {"tenure_days", "orders_all"} & set(told_of)  # everybody's grow, whatever happens
    assert not set(told_of) & set(told_of.values())

    # The channel is told, with a button; the status says so as well.
    shown = alerts(own)[-1]
    assert (shown.channel, recorded.alerted) == (CHANNEL, True)
    said = json.dumps(shown.payload, ensure_ascii=False)
    assert model.version in said
    assert "came out worse than promised" in said
    assert action_ids.RETRAIN_MODEL in said
    (line,) = read(own.database, champions)
    assert line["health"]["state"] == "decayed"

    # The same warning is not repeated within a horizon.
    before = len(alerts(own))
    clock.configure(fixed=at(SEEN + 7))
    (third,) = tick.tick(own.database)
    assert run_job(own.database, third, "task") == "done"
    assert looks(own)[-1].state == "decayed"
    assert len(alerts(own)) == before

    # Who asks for a look sees the figures.
    asked = run(own, Monitor(), "look")
    health = asked.result["health"]
    assert (health["state"], health["promised"]["log_loss"]) == ("decayed", promised)
    assert health["metrics"]["log_loss"] > promised
    assert read(own.database, latest, health["version"]).job_id == asked.id
    own_message = one(own.database, select(Outbox).where(Outbox.key == f"job:{asked.id}"))
    said = json.dumps(own_message.payload, ensure_ascii=False)
    wanted = (
        "Predictions of",
        "at training",
        "RFM logistic",
        "Change of the risk of all customers",
    )
    assert [word for word in (*wanted, action_ids.RETRAIN_MODEL) if word not in said] == []

    # A viewer may not mend it; an analyst may, once; the message says who did.
    with own.database.transaction() as session, pytest.raises(NotAllowed):
        model_decisions.retrain(session, second, VIEWER, CHANNEL)
    requested = change(own.database, model_decisions.retrain, second, ANALYST, CHANNEL)
    assert (requested.args["horizon"], requested.args["active_within"]) == (HORIZON, 2 * HORIZON)
    with own.database.transaction() as session, pytest.raises(Conflict, match="already"):
        model_decisions.retrain(session, second, ANALYST, CHANNEL)
    shown = json.dumps(alerts(own)[-1].payload)
    assert action_ids.RETRAIN_MODEL not in shown
    assert f"<@{ANALYST}>" in shown
    deeds = scalars(own.database, select(Audit.action).where(Audit.subject == model.version))
    assert "model.retrain" in deeds


@pytest.mark.nightly
def test_unchanged_shop_is_healthy_and_silent(tmp_path):
    # Customers join in the first 60% of the days. A shop without new customers is not unchanged.
    own = tiny.build(tmp_path / "home", customers=450, days=int(SEEN / 0.6), admins=ADMIN)
    add(own.database, grant(own.settings, ANALYST, "analyst"))
    clock.configure(fixed=at(LEARNT))
    run(own, LEARN, "learn")
    clock.configure(fixed=at(SEEN))
    (requested,) = tick.tick(own.database)  # nobody swept: the model is asked about then
    assert run_job(own.database, requested, "task") == "done"
    (recorded,) = looks(own)
    assert (recorded.state, recorded.source) == ("healthy", "recomputed")
    assert recorded.scored_as_of == at(SEEN - HORIZON)
    assert alerts(own) == []


def test_decay_date_uses_the_shops_timezone():
    """Scored at one in the morning in Kolkata, they were told of the day before."""
    row = ModelVersion(version="v", metrics={"pooled": {"log_loss": 0.3}})
    lake = SimpleNamespace(local=lambda at: at.astimezone(ZoneInfo("Asia/Kolkata")))
    (reason,) = _loss_reasons(OUTCOME, row, lake)
    assert "its predictions of 2025-06-01 came out worse" in reason["text"]


@pytest.mark.parametrize(
    ("promised", "reasons"),
    [
        ({"log_loss": 0.47}, ["log_loss"]),  # stored before versions had an interval
        ({"log_loss": 0.47, "log_loss_interval": {"low": 0.46, "high": 0.48}}, ["log_loss"]),
        ({"log_loss": 0.47, "log_loss_interval": {"low": 0.44, "high": 0.50}}, []),
        ({"log_loss": 0.49}, []),
        ({}, []),
    ],
)
def test_loss_must_exceed_the_promise_beyond_the_chance_of_both(promised, reasons):
    row = ModelVersion(version="v", metrics={"pooled": promised})
    lake = SimpleNamespace(local=lambda at: at)
    assert [reason["check"] for reason in _loss_reasons(OUTCOME, row, lake)] == reasons


@pytest.mark.parametrize("drift", [True, False])
def test_warning_names_drifted_features(drift):
    health = {"version": "churn-1", "at": "2025-06-01T00:00:00+00:00", "state": "decayed"}
    health |= {"metrics": {}, "reasons": [{"check": "log_loss", "text": "came out worse"}]}
    health["drift"] = {}
    if drift:
        features = {"orders_2h": 0.51, "gap_cv": 0.04}
        health["drift"] = {"customers": 9, "score_psi": 0.3, "limit": 0.25, "features": features}
        health["drift"] |= {
            "moved": ["orders_2h"],
            "most": [
                {"feature": name, "meaning": meaning(name, 28), "psi": psi}
                for name, psi in features.items()
            ],
        }
    context = {"health": health, "retraining": None, "job_id": "1", "zone": "UTC"}
    alert, looked = (str(message(f"monitor/{name}", **context)) for name in ("alert", "health"))
    printed = text("terminal/monitor.txt.j2", **context)
    for said in (alert, looked, printed):
        assert ("orders in the last 56 days" in said.lower()) == drift
        assert "orders_2h" not in said
    assert meaning("gap_cv", 28) not in alert  # has not moved beyond the limit


def test_without_a_model_nothing_is_due(database):
    assert tick.tick(database) == []


def _sweep(own) -> str:
    return one(own.database, select(Job.id).where(Job.kind == "sweep"))
