"""Test `models`: list, show, compare, promote, roll back."""

import hashlib
from csv import DictReader
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from bot import terminal
from bot.slack.app import build_app
from retention import clock
from retention.db import audit
from retention.db.tables import Audit, Job, ModelHealth, ModelVersion
from retention.errors import Conflict, NotAllowed
from retention.feedback import Subject, record
from retention.registry import store
from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import ADMIN, ANALYST, VIEWER, Workspace, stored
from tests.workers.harness import set_job
from tests.world import add, change, execute
from workers import action_ids, model_decisions

METRICS = {"auc": 0.8, "log_loss": 0.3}


def _version(name: str, **changes) -> ModelVersion:
    origins = [{"cutoff": "2025-06-01T00:00:00+00:00", "metrics": changes.pop("judged", METRICS)}]
    checks = [{"name": "ece", "passed": True, "text": "calibration error 0.010, limit 0.050"}]
    values = {
        "kind": "churn",
        "estimator": "logistic",
        "cutoff": clock.now(),
        "horizon_days": 28,
        "active_within_days": 56,
        "features": ["recency_days"],
        "rung": "The ensemble.",
        "metrics": {**METRICS, "origins": origins, "checks": checks},
        "data_fingerprint": "f" * 16,
        "code_version": "1",
        "seed": 0,
        "artefact": f"churn/{name}.model",
        "sha256": "a" * 64,
        "hmac": "b" * 64,
        "created_by": ANALYST,
    }
    return ModelVersion(version=name, **{**values, **changes})


def _recommender(name: str, cutoff: datetime, metrics: dict) -> ModelVersion:
    changes = {"active_within_days": None, "cutoff": cutoff, "metrics": metrics}
    return _version(name, kind="recommend", **changes)


@pytest.fixture
def three(database, settings) -> None:
    """A champion, its predecessor and a candidate, with artefacts."""

    def saved(name: str, **changes) -> ModelVersion:
        file = settings.home / "models" / "churn" / f"{name}.model"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
        digest = hashlib.sha256(name.encode()).hexdigest()
        row = _version(name, sha256=digest, **changes)
        row.hmac = store._seal(settings.key, settings, row)
        return row

    for name, state in (("churn-1", "retired"), ("churn-2", "champion")):
        add(database, saved(name, state=state, promoted_at=clock.now(), promoted_by=ADMIN))
    better = {"auc": 0.82, "log_loss": 0.28}
    add(database, saved("churn-3", judged=better, estimator="ensemble"))


def states(database) -> dict[str, str]:
    return {row.version: row.state for row in stored(database, ModelVersion)}


def deeds(database) -> list[tuple[str, str, str]]:
    """What was done to models; a promoted model's definition of churn has an entry of its own."""
    entries = stored(database, Audit, Audit.action != "churn.definition")
    return [(entry.actor, entry.action, entry.subject) for entry in entries]


def test_a_model_is_shown_with_its_checks_and_its_history(workspace, three):
    workspace.run("models promote churn-3", ADMIN)
    reply = workspace.says("models show churn-3", VIEWER)
    said = ("churn-3", "ensemble", "calibration error 0.010", "on 1 period of later data", "Seed")
    for word in (*said, f"<@{ADMIN}>", "promote"):
        assert word in reply


def test_two_models_are_compared_on_the_origins_they_share(workspace, three):
    reply = workspace.says("models compare churn-2 churn-3")
    assert "AUC 0.8 0.82 (better)" in reply
    assert "log-loss 0.3 0.28 (better)" in reply
    assert "Estimator logistic ensemble" in reply


def test_models_of_one_day_share_their_origin(workspace, database, three):
    """Without a cutoff, each training uses data up to its own moment."""
    judged = {"customers": 2211, "base_rate": 0.134, "metrics": METRICS}
    moments = ("2025-06-01T13:00:55.439732+00:00", "2025-06-01T13:02:07.676014+00:00")
    first, second = moments
    for name, at, customers in (("a", first, 2211), ("b", second, 2211), ("c", first, 2209)):
        origins = [{**judged, "cutoff": at, "customers": customers}]
        metrics, cutoff = {**METRICS, "origins": origins}, datetime.fromisoformat(at)
        add(database, _version(f"churn-{name}", cutoff=cutoff, metrics=metrics))
    reply = workspace.says("models compare churn-a churn-b")
    assert "AUC 0.8 0.8" in reply
    assert "on 1 period that" in reply
    assert ".439732" not in reply
    assert "Cutoff Sun 1 Jun 2025" in reply
    other = workspace.says("models compare churn-b churn-c")
    assert "not judged on the same periods" in other  # other customers were judged there


def test_models_with_different_churn_definitions_share_no_origin(workspace, database, three):
    """Silence of 14 days and of 28 days are different outcomes."""
    add(database, _version("churn-short", horizon_days=14, judged={"auc": 0.7, "log_loss": 0.5}))
    reply = workspace.says("models compare churn-2 churn-short")
    assert "better" not in reply
    assert "count as lost after a different time" in reply
    assert "Horizon days 28 14" in reply


def test_two_models_of_different_kinds_are_not_compared(workspace, database, three):
    add(database, _version("recommend-1", kind="recommend"))
    reply = workspace.says("models compare churn-2 recommend-1")
    assert "churn-2 is a churn model and recommend-1 is a recommend model" in reply
    assert "; compare two of one kind" in reply


def test_recommenders_are_compared_on_their_common_horizon(workspace, database, three):
    """`compare` showed none of their metrics."""
    judged = {"ndcg": 0.41, "recall": 0.11, "map": 0.2, "coverage": 0.25, "customers": 512}
    morning = datetime(2025, 6, 2, 8, tzinfo=UTC)
    other = {**judged, "ndcg": 0.2, "coverage": 0.3, "customers": 700}
    models = (("r-ranked", 0, judged), ("r-als", 9, other), ("r-older", -7 * 24, judged))
    for name, hours, figures in models:
        metrics = {**figures, "baselines": {"popular": judged}}
        add(database, _recommender(name, morning + timedelta(hours=hours), metrics))
    reply = workspace.says("models compare r-ranked r-als")
    assert "NDCG 0.41 (better) 0.2" in reply
    assert "coverage 0.25 0.3 (better)" in reply
    assert "on 1 period that" in reply
    assert "Customers 512 700" in reply
    other = workspace.says("models compare r-ranked r-older")
    assert "not judged on the same periods" in other


def test_the_horizon_of_a_recommender_begins_at_the_shops_midnight(settings, database, api):
    """One afternoon in California can be two days in UTC."""
    own = settings.model_copy(update={"timezone": "America/Los_Angeles"})
    workspace = Workspace(build_app(own, database), api)
    noon = datetime(2025, 6, 2, 19, tzinfo=UTC)
    for name, hours in (("r-three", 3), ("r-six", 6), ("r-day-before", -13)):
        figures = {"ndcg": 0.4, "customers": 512 + abs(hours)}
        add(database, _recommender(name, noon + timedelta(hours=hours), figures))
    assert "on 1 period that" in workspace.says("models compare r-three r-six")
    other = workspace.says("models compare r-three r-day-before")
    assert "not judged on the same periods" in other


def test_unknown_model_is_refused_with_the_nearest_and_queues_no_card(workspace, database, three):
    """It was queued and failed minutes later."""
    reply = workspace.run("models card churn-22")["text"]
    assert "There is no model 'churn-22'. Did you mean churn-2?" in reply
    assert "? `/retention models` shows all." in reply
    assert "Did you mean churn-3?" in workspace.run("models show churn-33")["text"]
    assert all_jobs(database) == []
    workspace.run("models card churn-2")
    assert [job.kind for job in all_jobs(database)] == ["model_card"]


def test_item_feedback_names_the_item(database, settings, three, monkeypatch, cli, tmp_path):
    """Two items had two equal lines, like feedback on the score."""
    monkeypatch.setenv("RETENTION_HOME", str(settings.home))
    for item in ("", "i1", "i2"):
        subject = Subject("c1", "churn-2", clock.now(), item, 1 if item else None)
        change(database, record, subject, "wrong", ANALYST, "" if item else "they moved")
    result = cli.text(f"models feedback --csv {tmp_path / 'said.csv'}")
    assert [f"c1, item {item}  by" in result for item in ("i1", "i2")] == [True, True]
    assert "c1  by" in result
    with (tmp_path / "said.csv").open() as file:
        assert sorted(row["item_id"] for row in DictReader(file)) == ["", "i1", "i2"]
    assert "There is no model 'churn-9'" in cli.error("models feedback churn-9")


def test_second_promotion_changes_nothing(workspace, database, three):
    assert "is in use now" in workspace.says("models promote churn-3", ADMIN)
    again = workspace.says("models promote churn-3", ADMIN)
    assert "is in use already" in again
    assert f"<@{ADMIN}>" in again
    assert states(database) == {"churn-1": "retired", "churn-2": "retired", "churn-3": "champion"}
    assert deeds(database) == [(ADMIN, "model.promote", "churn-3")]


@pytest.mark.parametrize(
    ("typed", "broken"), [("promote churn-3", "churn-3"), ("rollback", "churn-1")]
)
def test_unreadable_model_is_not_promoted(workspace, three, database, settings, typed, broken):
    file = settings.home / "models" / "churn" / f"{broken}.model"
    file.write_bytes(b"something else")
    assert "is not what was saved" in workspace.run(f"models {typed}", ADMIN, trigger="t1")["text"]
    file.unlink()
    assert "is missing" in workspace.run(f"models {typed}", ADMIN, trigger="t2")["text"]
    assert states(database)["churn-2"] == "champion"
    assert deeds(database) == []


@pytest.mark.parametrize(
    ("typed", "old"), [("promote churn-3", "churn-3"), ("rollback", "churn-1")]
)
def test_model_with_removed_features_is_not_promoted(workspace, three, database, typed, old):
    gone = update(ModelVersion).values(features=["recency_days", "bygone"])
    execute(database, gone.where(ModelVersion.version == old))
    reply = workspace.run(f"models {typed}", ADMIN)["text"]
    assert f"Model {old} asks for features that this version no longer computes (bygone)" in reply
    assert states(database)["churn-2"] == "champion"
    assert deeds(database) == []


@pytest.mark.parametrize("typed", ["promote churn-3", "rollback"])
def test_artefact_is_read_outside_the_write_transaction(
    workspace, three, database, monkeypatch, typed
):
    """Another transaction that starts meanwhile is not locked out."""

    def load(settings, row):
        with database.transaction() as session:
            audit.record(session, ADMIN, "meanwhile", "x", clock.now(), {})

    monkeypatch.setattr(store, "load", load)
    workspace.run(f"models {typed}", ADMIN)
    assert states(database)["churn-2"] != "champion"
    assert {action for _, action, _ in deeds(database)} > {"meanwhile"}


def test_only_the_verified_artefact_is_promoted(database, settings, three):
    checked = model_decisions.UsabilityCheck("churn-0")
    with pytest.raises(Conflict, match="try again"):
        change(database, model_decisions.roll_back, "churn", "operator", checked)
    assert states(database)["churn-2"] == "champion"


def test_rollback_goes_back_one_step_each_time(workspace, database, three):
    workspace.run("models promote churn-3", ADMIN)
    reply = workspace.says("models rollback", ADMIN, trigger="t1")
    assert "`churn-2`" in reply
    workspace.run("models rollback", ADMIN, trigger="t1")  # the same command, delivered again
    assert states(database) == {"churn-1": "retired", "churn-2": "champion", "churn-3": "withdrawn"}
    workspace.run("models rollback churn", ADMIN)
    gone = dict.fromkeys(("churn-2", "churn-3"), "withdrawn")
    assert states(database) == {"churn-1": "champion", **gone}
    assert "nothing to go back to" in workspace.run("models rollback", ADMIN)["text"]
    assert [action for _, action, _ in deeds(database)] == [
        "model.promote",
        *2 * ["model.rollback"],
    ]


@pytest.mark.parametrize("typed", ["models promote churn-3", "models rollback"])
def test_only_an_admin_changes_the_champion(workspace, database, three, typed):
    assert "you need admin" in workspace.run(typed, ANALYST)["text"]
    assert states(database)["churn-2"] == "champion"
    assert deeds(database) == []


def test_promotion_itself_checks_the_role(database, settings, three):
    checked = model_decisions.UsabilityCheck("churn-3")
    with pytest.raises(NotAllowed):
        change(database, model_decisions.promote, "churn-3", ANALYST, checked)


@pytest.mark.parametrize(
    "typed", ["show churn-3", "compare churn-2 churn-3", "rollback", "promote churn-3"]
)
def test_terminal_prints_text_or_one_json_object(
    database, settings, three, typed, monkeypatch, cli, capsys
):
    monkeypatch.setenv("RETENTION_HOME", str(settings.home))
    assert cli.json(f"models {typed}")
    # A second roll-back has nothing before it.
    assert terminal.run(["models", *typed.split()]) in (0, 2)
    assert "churn-" in "".join(capsys.readouterr())


def test_retrain_button_queues_one_job(workspace, database, three, api):
    look = {"id": "look1", "kind": "monitor", "queue": "batch", "args": {"scheduled": True}}
    add(database, Job(**look, idem_key="look", requested_by="operator", state="done"))
    reasons = [{"check": "log_loss", "text": "it came out worse than promised"}]
    health = {"version": "churn-2", "at": clock.now(), "state": "decayed", "reasons": reasons}
    add(database, ModelHealth(**health, job_id="look1", alerted=True))
    workspace.press(action_ids.RETRAIN_MODEL, "look1", VIEWER)
    assert "you need analyst" in api.wait("response_url")["text"]
    for _ in range(2):
        workspace.press(action_ids.RETRAIN_MODEL, "look1", at="7.7")
    (job,) = until(lambda: [row for row in all_jobs(database) if row.kind == "retrain"])
    until(lambda: "start" in api.named("response_url")[-1]["text"])
    assert (job.requested_by, job.channel, job.args["models"]) == (ANALYST, "C0CRM", ["churn"])
    until(lambda: len(deeds(database)) == 2)  # a refused attempt is stored after its answer
    refused = (VIEWER, "attempt.refused", action_ids.RETRAIN_MODEL)
    assert {*deeds(database)} == {refused, (ANALYST, "model.retrain", "churn-2")}
    workspace.press(action_ids.RETRAIN_MODEL, "look1", ADMIN)
    until(lambda: "asked for already" in api.named("response_url")[-1]["text"])
    reply = workspace.says("status")
    assert "no longer predicts well" in reply
    assert "It came out worse than promised" in reply
    set_job(database, job.id, state="cancelled")
    # The button is gone, so an old copy of it has to say what to do now.
    workspace.press(action_ids.RETRAIN_MODEL, "look1", at="8.8")
    until(lambda: "is cancelled" in api.named("response_url")[-1]["text"])
    retry = f"`/retention jobs retry {job.id}` runs it again"
    assert retry in api.named("response_url")[-1]["text"]
