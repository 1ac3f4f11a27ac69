"""A shop whose customers change: the model in use is looked at each week, its decay is told once, and mended by a click."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from sqlalchemy import select

from bot.health import champions
from retention import clock
from retention.churn.model_features import MEANING
from retention.churn.uncertainty import Interval
from retention.db.tables import Audit, Job, ModelHealth, ModelVersion, Outbox, RoleGrant
from retention.errors import Conflict, NotAllowed
from retention.monitoring import latest
from retention.monitoring.health import _worse
from retention.monitoring.outcome import Outcome
from retention.templating import text
from tests import readonly
from tests import shop as tiny
from tests.workers.harness import ADMIN, ANALYST, CHANNEL, VIEWER, ask, job
from workers import ids, models, schedule
from workers.delivery.render import message
from workers.requests import Monitor, Retrain, Sweep
from workers.tasks.runner import run_job

LEARNT, CHANGED, SEEN = 110, 114, 140  # days
HORIZON = 21


def at(day: float):
    return tiny.BEGIN + timedelta(days=day)


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """From one day on, three in four customers never come again. A model learnt before; a sweep by it, published."""
    whole = tiny.frames(days=SEEN)
    events = whole["events"]
    leaves = events.customer_id.str[-2:].astype(int) % 4 != 0
    whole["events"] = events[~(leaves & (events.occurred_at >= pd.Timestamp(at(CHANGED))))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "frames", lambda **_: whole)
        own = tiny.build(tmp_path_factory.mktemp("changes") / "home", admins=ADMIN)
    with own.database.transaction() as session:
        session.add(RoleGrant(team_id="local", user_id=ANALYST, role="analyst", granted_by=ADMIN))
    clock.configure(fixed=at(LEARNT))
    run(
        own,
        Retrain(models=("churn",), horizon=HORIZON, active_within=2 * HORIZON, model="stacked"),
        "learn",
    )
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
    asked = ask(own.database, own.settings, request, key, user=ANALYST)
    assert run_job(own.settings, own.database, asked.id, "task") == "done"
    return job(own.database, asked.id)


def champion(own) -> ModelVersion:
    with own.database.reading() as session:
        return session.scalars(select(ModelVersion).where(ModelVersion.state == "champion")).one()


def alerts(own) -> list[Outbox]:
    with own.database.reading() as session:
        return list(
            session.scalars(select(Outbox).where(Outbox.key.like("decay:%")).order_by(Outbox.id))
        )


def looks(own) -> list[ModelHealth]:
    with own.database.reading() as session:
        return list(session.scalars(select(ModelHealth).order_by(ModelHealth.id)))


def test_decay_is_found_told_once_and_mended_by_a_click(shop_that_changes):
    own = shop_that_changes
    model = champion(own)

    # Nothing has matured in the first week: a scheduled look says nothing.
    clock.configure(fixed=at(LEARNT + 8))
    (first,) = schedule.tick(own.database, own.settings)
    assert schedule.tick(own.database, own.settings) == []  # once a week
    assert run_job(own.settings, own.database, first, "task") == "done"
    assert looks(own)[0].scored_as_of is None

    # A month later the sweep's predictions have come out, worse than promised.
    clock.configure(fixed=at(SEEN))
    with own.database.reading() as session:
        assert schedule.next_due(
            session, own.settings, at(LEARNT + 8)
        ) == model.promoted_at + timedelta(14)
    (second,) = schedule.tick(own.database, own.settings)
    assert run_job(own.settings, own.database, second, "task") == "done"
    seen = looks(own)[-1]
    assert (seen.state, seen.version, seen.scored_version) == (
        "decayed",
        model.version,
        model.version,
    )
    assert seen.source == f"{_sweep(own)}-1"
    assert seen.scored_as_of == at(LEARNT + 1)
    assert (
        seen.metrics["log_loss_interval"]["low"]
        > seen.promised["log_loss"]
        == model.metrics["pooled"]["log_loss"]
    )
    assert {"auc", "brier", "ece"} <= set(seen.metrics)
    assert {"recency", "rfm_logistic", "bg_nbd"} == set(seen.baselines)
    assert "log_loss" in [reason["check"] for reason in seen.reasons]
    assert seen.drift["score_psi"] > 0
    assert "recency_days" in seen.drift["features"]
    assert "tenure_days" in seen.drift["features"]
    told_of = {one["feature"]: one["meaning"] for one in seen.drift["most"]}
    assert len(told_of) == 5
    assert not {"tenure_days", "orders_all"} & set(told_of)  # everybody's grow, whatever happens
    assert not set(told_of) & set(told_of.values())

    # The channel is told, with a button; the status says so as well.
    told = alerts(own)[-1]
    assert (told.channel, seen.alerted) == (CHANNEL, True)
    said = json.dumps(told.payload, ensure_ascii=False)
    assert model.version in said
    assert "came out worse than promised" in said
    assert ids.RETRAIN_MODEL in said
    with own.database.reading() as session:
        (line,) = champions(session, own.settings)
    assert line["health"]["state"] == "decayed"

    # The same warning is not repeated within a horizon.
    before = len(alerts(own))
    clock.configure(fixed=at(SEEN + 7))
    (third,) = schedule.tick(own.database, own.settings)
    assert run_job(own.settings, own.database, third, "task") == "done"
    assert looks(own)[-1].state == "decayed"
    assert len(alerts(own)) == before

    # A viewer may not mend it; an analyst may, once; the message says who did.
    with own.database.transaction() as session, pytest.raises(NotAllowed):
        models.retrain(session, own.settings, second, VIEWER, CHANNEL)
    with own.database.transaction() as session:
        asked = models.retrain(session, own.settings, second, ANALYST, CHANNEL)
    assert (asked.args["horizon"], asked.args["active_within"]) == (HORIZON, 2 * HORIZON)
    with own.database.transaction() as session, pytest.raises(Conflict, match="already"):
        models.retrain(session, own.settings, second, ANALYST, CHANNEL)
    told = json.dumps(alerts(own)[-1].payload)
    assert ids.RETRAIN_MODEL not in told
    assert f"<@{ANALYST}>" in told
    with own.database.reading() as session:
        deeds = session.scalars(select(Audit.action).where(Audit.subject == model.version)).all()
    assert "model.retrain" in deeds


def test_who_asks_is_answered_with_figures(shop_that_changes):
    own = shop_that_changes
    clock.configure(fixed=at(SEEN + 8))
    looked = run(own, Monitor(), "look")
    data = looked.result["health"]
    assert data["state"] == "decayed"
    assert data["metrics"]["log_loss"] > data["promised"]["log_loss"]
    with own.database.reading() as session:
        shown = session.scalars(select(Outbox).where(Outbox.key == f"job:{looked.id}")).one()
        assert latest(session, own.settings, data["version"]).job_id == looked.id
    said = json.dumps(shown.payload, ensure_ascii=False)
    for word in (
        "What came true",
        "promised",
        "RFM logistic",
        "PSI of the scores",
        ids.RETRAIN_MODEL,
    ):
        assert word in said


def test_an_unchanged_shop_stays_healthy_and_nobody_is_disturbed(tmp_path):
    own = tiny.build(tmp_path / "home", days=SEEN, admins=ADMIN)
    with own.database.transaction() as session:
        session.add(RoleGrant(team_id="local", user_id=ANALYST, role="analyst", granted_by=ADMIN))
    clock.configure(fixed=at(LEARNT))
    run(
        own,
        Retrain(models=("churn",), horizon=HORIZON, active_within=2 * HORIZON, model="stacked"),
        "learn",
    )
    clock.configure(fixed=at(SEEN))
    (asked,) = schedule.tick(
        own.database, own.settings
    )  # nobody swept: the model is asked about then
    assert run_job(own.settings, own.database, asked, "task") == "done"
    (seen,) = looks(own)
    assert (seen.state, seen.source) == ("healthy", "recomputed")
    assert seen.scored_as_of == at(SEEN - HORIZON)
    assert alerts(own) == []


def test_the_day_of_worse_predictions_is_the_shops():
    """Scored at one in the morning in Kolkata, they were told of the day before."""
    outcome = Outcome(
        "v", "run", datetime(2025, 5, 31, 20, tzinfo=UTC), 900, {}, {}, Interval(0.5, 0.48, 0.52)
    )
    row = ModelVersion(version="v", metrics={"pooled": {"log_loss": 0.3}})
    (reason,) = _worse(
        outcome, row, SimpleNamespace(local=lambda at: at.astimezone(ZoneInfo("Asia/Kolkata")))
    )
    assert "its predictions of 2025-06-01 came out worse" in reason["text"]


@pytest.mark.parametrize("drift", [True, False])
def test_a_warning_says_what_has_moved_in_the_words_of_the_catalogue(drift):
    health = {
        "version": "churn-1",
        "at": "2025-06-01T00:00:00+00:00",
        "state": "decayed",
        "metrics": {},
        "reasons": [{"check": "log_loss", "text": "came out worse"}],
        "drift": {},
    }
    if drift:
        names, psis = ("orders_2h", "gap_cv"), (0.51, 0.04)
        health["drift"] = {
            "customers": 9,
            "score_psi": 0.3,
            "limit": 0.25,
            "moved": ["orders_2h"],
            "features": dict(zip(names, psis, strict=True)),
            "most": [
                {"feature": name, "meaning": MEANING[name], "psi": psi}
                for name, psi in zip(names, psis, strict=True)
            ],
        }
    context = {"health": health, "retraining": None, "job_id": "1", "zone": "UTC"}
    alert, looked = (str(message(f"monitor/{name}", **context)) for name in ("alert", "health"))
    printed = text("terminal/monitor.txt.j2", **context)
    for said in (alert, looked, printed):
        assert ("0.51  orders in the last 2H" in said) == drift
        assert ("H is the horizon" in said) == drift
        assert "orders_2h" not in said
    assert MEANING["gap_cv"] not in alert  # has not moved beyond the limit


def test_without_a_model_nothing_is_due(database, settings):
    assert schedule.tick(database, settings) == []


def _sweep(own) -> str:
    with own.database.reading() as session:
        return session.scalars(select(Job.id).where(Job.kind == "sweep")).one()
