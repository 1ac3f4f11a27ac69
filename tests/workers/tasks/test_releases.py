"""Test what leaves the desk with noise: the digest of a channel, and the sizes of audiences."""

import csv
import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from retention import clock
from retention.connect.platforms import profiles
from retention.db.tables import Outbox, PrivacyRelease
from retention.errors import BadInput, Refused
from retention.lake import Lake
from retention.privacy import extra, ledger
from retention.registry import ChurnDefinition, change_definition
from retention.reports.week import capped_sales, week
from tests.retention.privacy.stand_in import numpy_noise  # noqa: F401 - a fixture
from tests.workers.harness import CHANNEL, ask, job
from tests.world import change, read, scalars
from workers.delivery import render
from workers.job_requests import Digest, ReleaseCounts, Retrain
from workers.tasks.runner import run_inline, run_job


@pytest.fixture
def desk(admin_shop, numpy_noise):  # noqa: F811
    """A shop with a privacy budget of 1."""
    settings = admin_shop.settings.model_copy(update={"privacy_budget": 1.0, "privacy_spend": 20})
    change(admin_shop.database, change_definition, ChurnDefinition(28, 56, "person"), "operator")
    return admin_shop.database.using(settings)


def publish(database, **audiences):
    snapshot = profiles.write_snapshot(
        database, "job-1", datetime(2025, 3, 1, tzinfo=UTC), "m1", [], audiences
    )
    change(database, profiles.complete, snapshot)


def post_digest(database, key, channel):
    asked = ask(database, Digest(), key, channel=channel)
    run_job(database, asked.id, "task")
    done = job(database, asked.id)
    return done, scalars(database, select(Outbox).where(Outbox.key.startswith(f"job:{asked.id}")))


def test_digest_of_a_channel_has_only_noisy_figures(desk):
    done, (post,) = post_digest(desk, "k1", CHANNEL)
    assert done.state == "done"
    (row,) = scalars(desk, select(PrivacyRelease))
    assert (row.subject, row.epsilon, row.by) == ("digest", 0.25, "U0ADMIN")
    text = json.dumps(post.payload, ensure_ascii=False)
    assert "likely between" in text
    assert f"{row.figures[0]['value']:,}" in text
    exact = done.result["customers"]
    assert [figure["value"] for figure in row.figures[:2]] != [exact["active"], exact["lapsed"]]


@pytest.mark.nightly
def test_digest_of_a_direct_message_is_exact_and_free(desk):
    done, posts = post_digest(desk, "k1", "U0ADMIN")
    assert (done.state, len(posts) > 1) == ("done", True)
    assert scalars(desk, select(PrivacyRelease)) == []


def test_second_digest_of_the_week_shows_the_same_figures_at_no_cost(desk):
    for key, channel in (("k1", CHANNEL), ("k2", "C0OTHER")):
        post_digest(desk, key, channel)
    assert read(desk, ledger.summary)["spent"] == 0.25


def test_digest_beyond_the_budget_is_refused_in_one_sentence(desk):
    change(desk, ledger.record_training, "churn-1", "U1", 0.9, 1e-6)
    done, _ = post_digest(desk, "k1", CHANNEL)
    assert done.state == "failed"
    assert done.error.startswith("This needs 0.25 of the privacy budget, and 0.1 of 1 is left")


def test_sales_count_each_customer_up_to_the_cap(desk):
    lake, end = Lake.open(desk.settings), clock.now()
    shown = week(lake, end, 28)
    high, low = (capped_sales(lake, shown.since, shown.until, cap) for cap in (10**6, 20))
    assert high == pytest.approx(shown.revenue, rel=0.01)
    assert 0 < low <= 20 * shown.active
    assert low < high


def test_sizes_of_audiences_are_released_once_a_week_and_never_negative(desk):
    publish(desk, vips=[f"c{number}" for number in range(40)], few=["c1"])
    first, second = (run_inline(desk, ReleaseCounts(), user="operator") for _ in range(2))
    assert first == second
    assert {figure["name"] for figure in first["figures"]} == {"few", "vips"}
    assert all(0 <= one["low"] <= one["value"] <= one["high"] for one in first["figures"])
    rows = list(csv.DictReader(ledger.figures_csv(first["figures"]).splitlines()))
    assert [row["name"] for row in rows] == ["few", "vips"]
    render.message("privacy/released", **first, zone="UTC")


def test_release_without_audiences_budget_or_extra_says_what_to_do(desk, admin_shop, monkeypatch):
    with pytest.raises(BadInput, match=r"No audience is published yet"):
        run_inline(desk, ReleaseCounts(), user="operator")
    with pytest.raises(Refused, match=r"set RETENTION_PRIVACY_BUDGET"):
        read(admin_shop.database, ReleaseCounts().check)
    monkeypatch.setattr(extra, "is_installed", lambda: False)
    with pytest.raises(BadInput, match=r"retention-desk\[privacy\]"):
        read(desk, ReleaseCounts().check)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "private"}, "--epsilon is missing; .* --epsilon 2"),
        ({"model": "logistic", "epsilon": 2}, "--epsilon is 2, which only --model private uses"),
        ({"model": "private", "epsilon": 2, "tune_fits": 3}, "--tune tries .* leave it out"),
    ],
)
def test_options_of_a_private_model_are_checked(fields, says):
    with pytest.raises(BadInput, match=says):
        Retrain(models=("churn",), **fields)


def test_private_training_beyond_the_budget_is_refused_before_it_starts(desk):
    request = Retrain(models=("churn",), model="private", epsilon=2)
    with pytest.raises(Refused, match=r"needs 2 of the privacy budget"):
        read(desk, request.check)


@pytest.mark.nightly
def test_private_training_is_in_the_ledger(desk):
    request = Retrain(models=("churn",), model="private", epsilon=0.5)
    result = run_inline(desk, request, user="operator")
    (row,) = scalars(desk, select(PrivacyRelease))
    assert (row.subject, row.epsilon, row.delta) == ("model", 0.5, 1e-6)
    assert row.period == result["models"][0]["version"]
