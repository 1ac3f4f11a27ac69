"""What came true of earlier flags, and how the risk moved."""

from datetime import timedelta

import pandas as pd
import pytest

from retention.db.tables import Run
from retention.registry import ChurnDefinition
from retention.reports.outlook import latest_outcome, risk
from retention.risk.policy import load_policy
from tests.retention.reports.samples import UNTIL, bought
from tests.world import add, cohort, read


@pytest.fixture
def flag(settings, database):
    """Publish a sweep, so many days ago, that flagged these customers as high or low risk."""

    def publish(lake, days, *, high, low=(), run_id="r1", published=True):
        as_of = UNTIL - timedelta(days=days)
        people = [(customer, "high", 0.75) for customer in high]
        people += [(customer, "low", 0.1) for customer in low]
        frame = pd.DataFrame(people, columns=["customer_id", "tier", "churn_probability"])
        lake.write_scores(run_id, lambda: [frame.assign(as_of=as_of, model_version="m1")])
        sizes = {"size": len(high), "model_version": "m1"}
        add(database, cohort(settings, run_id, as_of, **sizes))
        if published:
            add(database, Run(run_id=run_id, job_id="j", table_name="scores"))

    return publish


def checked(lake, database, at=UNTIL):
    return read(database, lambda session: latest_outcome(lake, session, at))


def test_outcome_is_share_of_flagged_without_purchase_in_the_horizon(lake_of, flag, database):
    lake = lake_of(bought("a", 31, 60), bought("b", 20), bought("c", 5), bought("d", 25))
    flag(lake, 30, high=["a", "b", "c"], low=["d", "e"])
    outcome = checked(lake, database)
    # "c" bought on day 25, "a" only before
    assert (outcome.flagged, outcome.lapsed, outcome.days) == (3, 1, 28)
    assert outcome.share == pytest.approx(1 / 3)
    assert outcome.others == 0.5
    assert outcome.expected == pytest.approx(0.75)
    assert outcome.as_dict()["finished"]


def test_purchase_after_the_horizon_does_not_count(lake_of, flag, database):
    lake = lake_of(bought("a", 1))
    flag(lake, 30, high=["a"])
    outcome = checked(lake, database)
    assert (outcome.lapsed, outcome.others) == (1, None)


def test_unfinished_horizon_reports_its_days(lake_of, flag, database):
    lake = lake_of(bought("a", 5))
    flag(lake, 10, high=["a", "b"], low=["c"])
    outcome = checked(lake, database).as_dict()
    figures = [outcome[name] for name in ("days", "horizon_days", "finished", "lapsed")]
    assert figures == [10, 28, False, 1]


def test_weekly_digests_follow_one_sweep_until_its_horizon_is_over(lake_of, flag, database):
    lake = lake_of(bought("a", 5))
    for week in range(8, -1, -1):  # a sweep each Monday
        flag(lake, 7 * week, high=["a"] * (9 - week), run_id=f"w{week}")
    outcomes = [
        checked(lake, database, UNTIL - timedelta(days=7 * week)) for week in range(7, -1, -1)
    ]
    begin = UNTIL - timedelta(days=56)
    assert [(found.flagged_on - begin).days for found in outcomes] == [0, 0, 0, 0, 28, 28, 28, 28]
    assert [found.days for found in outcomes] == [7, 14, 21, 28] * 2


def test_later_sweep_of_an_earlier_date_does_not_replace_the_cohort(lake_of, flag, database):
    lake = lake_of(bought("a", 5))
    flag(lake, 14, high=["a"], run_id="followed")
    flag(lake, 60, high=["a", "b"], run_id="hindsight")
    assert checked(lake, database).flagged == 1


def test_finished_sweep_is_shown_until_the_next_is_a_week_old(lake_of, flag, database):
    lake = lake_of(bought("a", 50))
    flag(lake, 40, high=["a", "b"], run_id="finished")
    flag(lake, 8, high=["a"], run_id="next")
    shown = [checked(lake, database, UNTIL - timedelta(days=days)).flagged for days in (2, 1)]
    assert shown == [2, 1]


def test_unpublished_and_recent_sweeps_are_ignored(lake_of, flag, database):
    lake = lake_of(bought("a", 5))
    flag(lake, 30, high=["a"], run_id="half", published=False)
    flag(lake, 3, high=["a"], run_id="fresh")
    assert checked(lake, database) is None


def test_risk_by_rules_counts_all_active_customers(shop):
    policy = load_policy(shop.settings)
    at_risk = risk(shop.lake, None, policy, shop.end, ChurnDefinition())
    assert sum(at_risk.tiers.values()) > 50
    assert len(at_risk.high) == at_risk.tiers["high"] == len(set(at_risk.high))
    assert at_risk.revenue_at_risk >= 0
    assert risk(shop.lake, None, policy, shop.begin - timedelta(days=1), ChurnDefinition()) is None
