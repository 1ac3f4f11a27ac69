from datetime import UTC, datetime
from types import SimpleNamespace

import pandas as pd

from retention.risk.sweep import change_since

BEFORE = datetime(2025, 1, 1, tzinfo=UTC)


def _sweep(tiers, listed=("high",)):
    scores = pd.DataFrame({"customer_id": list(tiers), "tier": list(tiers.values())})
    cohort = scores[scores.tier.isin(listed)]
    fields = {"scores": scores, "cohort": cohort, "cohort_tiers": listed}
    return SimpleNamespace(**fields, model_version="churn-1")


def test_new_recovered_and_lapsed_customers_are_counted():
    columns = {"customer_id": list("abcde"), "tier": ["high", "high", "high", "low", "medium"]}
    earlier = pd.DataFrame(columns)
    swept = _sweep({"a": "high", "b": "low", "d": "high", "f": "high"})
    change = change_since(swept, earlier, as_of=BEFORE, model_version="churn-0")
    assert change.as_dict() == {
        "since": BEFORE.isoformat(),
        "before": 3,
        "new": 2,  # d and f
        "recovered": 1,  # b; e was not on the list
        "lapsed": 1,  # c
        "same_model": False,
    }


def test_lapsed_customers_recover_by_an_order_and_do_not_lapse_again():
    ids = list("abc")
    earlier = pd.DataFrame({"customer_id": ids, "tier": "lapsed", "list_rank": [1.0, 2.0, 3.0]})
    swept = _sweep({"b": "low", "x": "high"}, ("lapsed",))  # c fell off the list
    swept.cohort = pd.DataFrame({"customer_id": ["a", "d"]})
    change = change_since(swept, earlier, as_of=BEFORE, model_version="churn-1")
    assert (change.new, change.recovered, change.lapsed) == (1, 1, 0)


def test_deleted_scores_give_no_change():
    empty = pd.DataFrame({"customer_id": [], "tier": []})
    assert change_since(_sweep({}), empty, as_of=BEFORE, model_version="churn-1") is None
