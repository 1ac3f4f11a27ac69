"""Test changes of the policy on top of its file: versions, errors by setting, the way back."""

import pytest
from sqlalchemy import select

from retention.db.tables import Audit
from retention.errors import BadInput, Conflict
from retention.risk.policy import load_policy
from retention.risk.policy_edits import change_policy, roll_back, value_at, versions
from tests.world import change, scalars

BY = "U0ADMIN"
BUDGET, DISCOUNT = "campaign.budget", "rules.High risk.discount"


def test_change_holds_on_top_of_the_file_until_it_is_taken_back(database, settings):
    of_file = load_policy(settings)
    change(database, change_policy, {BUDGET: 5_000, DISCOUNT: 0.12}, BY)
    changed = load_policy(settings)
    assert changed.campaign.budget == 5_000
    assert changed.rule("High risk").discount == 0.12
    assert changed.offer == of_file.offer
    change(database, change_policy, {BUDGET: None}, BY)
    assert load_policy(settings).campaign.budget == of_file.campaign.budget
    change(database, roll_back, 1, BY)
    assert load_policy(settings) == changed
    change(database, roll_back, 0, BY)
    assert load_policy(settings) == of_file
    with database.reading() as session:
        listed = versions(session)
    assert [one["version"] for one in listed] == [4, 3, 2, 1]
    assert [one["place"] for one in listed[2]["changes"]] == [BUDGET]
    audited = scalars(database, select(Audit.action))
    assert audited == ["policy.change"] * 4


def test_offer_of_a_kind_is_changed_where_the_file_says_nothing_of_it(database, settings):
    place = "kinds.second_order.discount"
    assert value_at(load_policy(settings), place) == 0.1
    change(database, change_policy, {place: 0.15}, BY)
    changed = load_policy(settings)
    assert changed.kinds.second_order.discount == value_at(changed, place) == 0.15
    with pytest.raises(BadInput) as refusal:
        change(database, change_policy, {place: 1.5}, BY)
    assert refusal.value.field == place


def test_wrong_values_are_named_together_and_change_nothing(database, settings):
    with pytest.raises(BadInput) as refusal:
        change(
            database,
            change_policy,
            {"campaign.holdout": 0.5, "offer.items": -1, "campaign.quiet_hours": "late"},
            BY,
        )
    assert {error.field for error in refusal.value.errors} == {
        "campaign.holdout",
        "offer.items",
        "campaign.quiet_hours",
    }
    with pytest.raises(BadInput) as refusal:  # the whole policy, not one value
        change(database, change_policy, {"second_approver.cost": 1.0, DISCOUNT: 1.5}, BY)
    assert refusal.value.field == DISCOUNT
    assert load_policy(settings).campaign.holdout == 0.15


def test_change_of_a_version_that_is_over_is_refused(database, settings):
    change(database, change_policy, {BUDGET: 5_000}, BY, 0)
    with pytest.raises(Conflict):
        change(database, change_policy, {BUDGET: 6_000}, BY, 0)
    assert load_policy(settings).campaign.budget == 5_000
    with pytest.raises(BadInput) as refusal:
        change(database, roll_back, 7, BY)
    assert refusal.value.field == "version"


def test_change_of_a_rule_that_the_file_lost_says_what_to_take_back(database, settings, tmp_path):
    change(database, change_policy, {DISCOUNT: 0.12}, BY)
    path = tmp_path / "policy.toml"
    path.write_text("[campaign]\nbudget = 1000\n", encoding="utf-8")
    other = settings.model_copy(update={"policy": path})
    with pytest.raises(BadInput) as refusal:
        load_policy(other)
    assert refusal.value.field == DISCOUNT
    change(database.using(other), change_policy, {DISCOUNT: None}, BY)
    assert load_policy(other).campaign.budget == 1_000
    with pytest.raises(BadInput) as refusal:
        change(database, change_policy, {"campaign.budgt": None}, BY)
    assert refusal.value.field == "campaign.budgt"
