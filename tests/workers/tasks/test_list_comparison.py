"""Test that lists by rules are not compared with those of a model without a word."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from retention.campaigns.planning.offer_terms import next_step
from retention.db.tables import Cohort
from retention.reports import digest as reports
from retention.reports.outlook import Risk
from retention.settings import Settings
from tests.bot.message_samples import samples
from tests.world import add, cohort
from workers.delivery import render
from workers.tasks.customers import sweep

MONDAY = datetime(2017, 10, 9, 13, tzinfo=UTC)
WEEK = timedelta(days=7)
LISTED = {"id": "a", "size": 334, "tiers": ["high"], "model_version": "rules"} | {
    "as_of": MONDAY.isoformat()
}


def _cohort(name: str, as_of: datetime, **more) -> Cohort:
    values = {"model_version": "rules", "size": 334, "horizon_days": 28} | more
    return cohort(Settings(_env_file=None), name, as_of, **values)


@pytest.mark.parametrize(
    ("as_of", "more", "by_model"),
    [
        (MONDAY - WEEK, {}, {"customers": 334, "by_model": 103}),
        (MONDAY - timedelta(days=4), {}, {"customers": 334, "by_model": None}),
        (MONDAY - WEEK, {"model_version": "churn-1"}, None),
        (MONDAY - WEEK, {"tiers": []}, {"customers": 334, "by_model": None}),
        (MONDAY - WEEK, {"tiers": ["high", "medium"]}, None),
        (MONDAY - 3 * WEEK, {}, None),
    ],
)
def test_digest_finds_the_last_list_if_rules_made_it(database, settings, as_of, more, by_model):
    add(database, _cohort("a", as_of, **more))
    with database.reading() as session:
        listed = reports._list_by_rules(session, MONDAY)
        before = Risk({"high": 103, "medium": 431, "low": 1672}, 1.0, ())
        compared = reports._compared(listed, before, MONDAY)
    assert by_model == (compared and {k: v for k, v in compared.items() if k != "as_of"})


def test_digest_says_what_the_model_would_have_listed():
    values = samples()["digest/week"] | {"zone": "UTC", "demo": False}
    listed = {"as_of": "2017-10-02T13:00:00+00:00", "customers": 334, "by_model": 103}
    text = str(render.message("digest/week", **values | {"list_by_rules": listed}).blocks)
    assert "The list of 2 Oct 2017 had 334 customers by simple rules" in text
    assert "would have listed 103" in text
    unknown = {**listed, "by_model": None}
    text = str(render.message("digest/week", **values | {"list_by_rules": unknown}).blocks)
    assert "Do not compare" in text


def test_first_list_of_a_model_says_that_rules_made_the_last_one(database):
    add(database, _cohort("a", MONDAY - WEEK))
    now = _cohort("b", MONDAY - WEEK, model_version="churn-1")  # of the same day
    with database.reading() as session:
        listed = sweep._list_by_rules(session, now)
        assert (listed.id, listed.size) == ("a", 334)
        assert sweep._list_by_rules(session, _cohort("c", MONDAY)) is None
    add(database, _cohort("d", MONDAY, model_version="churn-1"))
    with database.reading() as session:
        later = _cohort("e", MONDAY + WEEK, model_version="churn-1")
        assert sweep._list_by_rules(session, later) is None
    values = samples()["sweep/cohort"] | {"zone": "UTC", "demo": False}
    values["list_by_rules"] = {"as_of": "2017-10-02T13:00:00+00:00", "customers": 334}
    text = json.dumps(render.message("sweep/cohort", **values).blocks)
    assert "had 334 customers by simple rules" in text


@pytest.mark.parametrize(
    ("training", "has_model", "says"),
    [
        (True, False, "is being trained, usually in less than an hour"),
        (False, False, "/retention retrain"),
        (False, True, "New lists use the trained model"),
    ],
)
def test_details_of_a_list_by_rules_tell_one_story(training, has_model, says):
    view = render.view(
        "sweep/details",
        cohort=LISTED,
        result={"selection_note": "`/retention retrain` makes one."},
        quality={},
        training=training,
        has_model=has_model,
        zone="UTC",
    )
    text = json.dumps(view)
    assert says in text
    assert text.count("/retention retrain") == (not training and not has_model)
    assert "a rank, not a probability" in text
    assert "risk score" not in text


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("too_few", "alone are too few to measure."),
        ("no_profit", "alone would bring no profit."),
        ("earns_less", "alone would bring less profit."),
        (None, "alone are too few to measure, or bring less profit."),
    ],
)
def test_widened_draft_says_why_and_whom_it_leaves_out(why, says):
    values = samples()["campaign/card"] | {"zone": "UTC", "demo": False}
    asked = {"tier": "high", "customers": 281, "why": why, "excluded": {"no_consent": 53}}
    offers = [{**values["campaign"]["offers"][0], "rule": f"rule {n}"} for n in range(4)]
    changes = {"asked": asked, "state": "draft", "excluded": {"no_consent": 179}, "audience": 1009}
    changed = {**values["campaign"], **changes, "offers": offers, "tiers": {"medium": 728}}
    text = str(render.message("campaign/card", **values | {"campaign": changed}).blocks)
    assert "(334 − 53 without consent) " + says in text
    assert "1,188 − 179 without consent = 1,009" in text
    assert "rule 3" in text
    assert "more offer" not in text


def test_missing_offer_has_its_reason():
    says = {"given": "", "refused": ": no consent", "unknown": ": consent unknown"}
    for consent, reason in says.items():
        assert next_step(None, "USD", consent) == f"no offer{reason}"


@pytest.mark.parametrize("has_amounts", [True, False])
def test_details_of_a_lapsed_list_do_not_describe_the_churn_model(has_amounts):
    view = render.view(
        "sweep/details",
        cohort={**LISTED, "size": 50, "tiers": ["lapsed"], "model_version": "churn-1"},
        result={
            "has_amounts": has_amounts,
            "groups": {"active": 9, "lapsed": 61, "one_time": 7},
            "definition": {"horizon_days": 90, "active_within_days": 180},
            "tiers": {"high": 1, "medium": 2, "low": 6},
            "customers": 9,
            "main_reasons": [("recency", 3)],
            "selection_note": "logistic",
            "note": "The data is old.",
        },
        quality={"auc": 0.8, "top_decile_lift": 2.0},
        zone="UTC",
    )
    text = json.dumps(view, ensure_ascii=False)
    assert "61 lapsed" in text
    assert "within 90 days" in text
    assert "The data is old." in text
    assert ("each customer who returns" in text) is has_amounts
    for word in ("churn-1", "logistic", "6 low", "highest risk", "long silence", "churn prob"):
        assert word not in text
