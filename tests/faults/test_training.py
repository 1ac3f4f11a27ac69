"""Kill -9 a training between its two models: nothing is lost, trained twice or published twice."""

import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import select

from retention.db.tables import Audit, Job, ModelVersion
from tests import shop as tiny
from tests.workers.harness import ADMIN, ask, failure, job, over, running, wait
from tests.world import change
from workers.queue import completion, jobs
from workers.retrain_request import Retrain

pytestmark = pytest.mark.desk
STAND_INS = Path(__file__).parent / "blocked_training"


@pytest.fixture
def shop(tmp_path, monkeypatch) -> tiny.Shop:
    monkeypatch.setenv("TRAINING_FAULTS", str(tmp_path))
    return tiny.build(tmp_path / "home", customers=120, days=80, admins=ADMIN)


def start(shop: tiny.Shop, folder: Path, block: str) -> Job:
    """Ask for a training and wait until it stands at the block."""
    (folder / block).touch()
    queued_job = ask(shop.database, Retrain(horizon=14, cutoff=shop.end), "k")
    wait(lambda: jobs.wake(shop.settings, queued_job))
    wait(lambda: (folder / "blocked").exists(), 480)
    (folder / block).unlink()
    return job(shop.database, queued_job.id)


def kill(worker: str) -> None:
    os.kill(int(worker.rsplit(":", 3)[1]), signal.SIGKILL)


def versions(shop: tiny.Shop) -> list[tuple[str, str]]:
    with shop.database.reading() as session:
        rows = session.execute(
            select(ModelVersion.kind, ModelVersion.state).order_by(ModelVersion.kind)
        )
        return [(kind, state) for kind, state in rows]


@pytest.mark.nightly
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("block", "before", "trained"),
    [
        pytest.param(  # trained, but not yet published
            "block-after-churn", [], ["churn", "churn", "recommend"]
        ),
        ("block-before-recommend", [("churn", "champion")], ["churn", "recommend", "recommend"]),
    ],
)
def test_killed_training_continues_after_the_published_model(
    shop, tmp_path, block, before, trained
):
    with running(shop.settings, shop.database, "worker", "tick", stand_ins=STAND_INS):
        stopped = start(shop, tmp_path, block)
        assert versions(shop) == before
        kill(stopped.worker)
        ended = over(shop.database, stopped.id, 480)
    assert (ended.state, ended.attempt) == ("done", 2)
    assert versions(shop) == [("churn", "champion"), ("recommend", "champion")]
    assert (tmp_path / "trained").read_text().split() == trained
    assert [model["kind"] for model in ended.result["models"]] == ["churn", "recommend"]
    with shop.database.reading() as session:
        assert len(session.scalars(select(Audit).where(Audit.action == "model.promote")).all()) == 2
        stored = set(session.scalars(select(ModelVersion.version)))
    assert {model["version"] for model in ended.result["models"]} == stored


@pytest.mark.timeout(1500)
@pytest.mark.nightly
def test_published_model_stays_in_use_when_the_job_fails(shop, tmp_path):
    with running(shop.settings, shop.database, "worker", "tick", stand_ins=STAND_INS):
        stopped = start(shop, tmp_path, "block-before-recommend")
        completion.fail(shop.database, stopped, "The machine ran out of memory.")
        kill(stopped.worker)
        report = failure(shop.database, stopped.id).payload["text"]
        assert (
            "The machine ran out of memory. The churn model trained before that, churn-" in report
        )
        assert report.endswith("stays in use.")
        assert versions(shop) == [("churn", "champion")]
        again = change(shop.database, jobs.retry, stopped.id, ADMIN)
        wait(lambda: jobs.wake(shop.settings, again))
        assert over(shop.database, stopped.id, 480).state == "done"
    assert versions(shop) == [("churn", "champion"), ("recommend", "champion")]
    assert (tmp_path / "trained").read_text().split() == ["churn", "recommend", "recommend"]
