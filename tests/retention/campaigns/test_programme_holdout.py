"""Test the programme's hold-out: who is in it, and what it measures."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention import clock
from retention.campaigns.measurement.programme_result import programme_result
from retention.campaigns.planning.programme_holdout import (
    Holdout,
    holdout_in_force,
    note_policy,
    set_share,
)
from retention.errors import BadInput
from retention.risk.policy import Policy, load_policy
from tests import shop as tiny

DAY = timedelta(days=1)
IDS = [f"c{number:05d}" for number in range(20_000)]


def policy_with(settings, share: float) -> Policy:
    policy = load_policy(settings)
    campaign = policy.campaign.model_copy(update={"programme_holdout": share})
    return policy.model_copy(update={"campaign": campaign})


def test_larger_share_keeps_all_customers_of_a_smaller_one():
    small, large = Holdout(0.05, "salt", None), Holdout(0.2, "salt", None)
    inside, more = small.members(IDS), large.members(IDS)
    assert inside < more
    assert len(inside) / len(IDS) == pytest.approx(0.05, abs=0.006)
    assert len(more) / len(IDS) == pytest.approx(0.2, abs=0.012)
    assert Holdout(0.05, "other", None).members(IDS) != inside
    assert not Holdout(0.0, "salt", None).members(IDS)


def test_command_overrides_the_policy_and_customers_stay_the_same(database, settings):
    policy = policy_with(settings, 0.1)
    with database.transaction() as session:
        from_policy = holdout_in_force(session, policy)
        assert (from_policy.share, from_policy.since) == (0.1, None)
        note_policy(session, policy, clock.now())
        noted = holdout_in_force(session, policy)
        assert noted.since is not None
        assert noted.members(IDS) == from_policy.members(IDS)
        by_command = set_share(session, 0.05, "U0ADMIN")
        assert by_command.members(IDS) < noted.members(IDS)
        note_policy(session, policy, clock.now())
        assert holdout_in_force(session, policy).share == 0.05
        with pytest.raises(BadInput, match="40%"):
            set_share(session, 0.4, "U0ADMIN")


def test_changed_share_of_the_policy_starts_a_new_period(database, settings):
    with database.transaction() as session:
        note_policy(session, policy_with(settings, 0.1), clock.now())
        first = holdout_in_force(session, policy_with(settings, 0.1))
        changed = policy_with(settings, 0.2)
        assert holdout_in_force(session, changed).since is None
        note_policy(session, changed, clock.now() + DAY)
        later = holdout_in_force(session, changed)
        assert later.since > first.since
        assert later.salt == first.salt


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A shop of its own, whose customers do not lapse faster at the end."""
    return tiny.build(tmp_path_factory.mktemp("programme") / "home", customers=400)


def measured(shop, extra: float, salt: str = "salt"):
    """The programme's result where everyone outside spends more by ``extra`` each week."""
    since = shop.end - 56 * DAY
    holdout = Holdout(0.3, salt, since)
    if extra:
        people = shop.lake.table("events", before=since).customer_id.execute().unique()
        outside = set(people) - holdout.members(people)
        weeks = (since + timedelta(days=7 * week + 1) for week in range(8))
        tiny.add(shop, pd.concat([tiny.purchases(at, outside, extra) for at in weeks]))
    with shop.database.reading() as session:
        return programme_result(shop.lake, session, holdout, shop.end, 0.3)


def test_programme_without_effect_is_inconclusive_each_month(steady):
    result = measured(steady, 0)
    assert result.verdict == "inconclusive"
    assert [month.month for month in result.months] == ["2025-05", "2025-06", "2025-07"]
    assert result.months[-1].days == 55
    assert result.held_out / (result.treated + result.held_out) == pytest.approx(0.3, abs=0.08)
    assert all(month.low < 0 < month.high for month in result.months)


@pytest.mark.nightly
def test_chance_rarely_looks_like_a_gain_or_loss(steady):
    verdicts = [measured(steady, 0, f"salt{seed}").verdict for seed in range(10)]
    assert sum(verdict != "inconclusive" for verdict in verdicts) <= 1


def test_programme_that_earns_shows_its_cumulative_gain(shop_copy):
    result = measured(shop_copy, 60.0)
    assert result.verdict == "gain"
    truth = result.treated * 8 * 60.0 * 0.3
    last = result.months[-1]
    assert last.low < truth < last.high
    assert np.all(np.diff([month.profit for month in result.months]) > 0)


def test_later_orders_change_nothing_about_an_earlier_report(shop_copy):
    since, now = shop_copy.end - 56 * DAY, shop_copy.end - 20 * DAY
    holdout = Holdout(0.3, "salt", since)

    def report():
        with shop_copy.database.reading() as session:
            return programme_result(shop_copy.lake, session, holdout, now, 0.3)

    before = report()
    customers = [f"c{number:04d}" for number in range(200)]
    tiny.add(shop_copy, tiny.purchases(now + DAY, customers, 900.0))
    after = report()
    for one, other in zip(after.months, before.months, strict=True):
        figures = (one.profit, one.low, one.high)
        assert figures == pytest.approx((other.profit, other.low, other.high))
    assert (after.treated, after.held_out) == (before.treated, before.held_out)
