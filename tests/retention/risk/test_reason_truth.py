"""Reasons are true and agree with the tier, in twelve shops of differing shape."""

import re
from datetime import timedelta

import numpy as np
import pytest

from retention.churn.model import train
from retention.churn.training_set import snapshot_moments
from retention.risk import sweep as sweeps
from retention.risk.policy import Policy
from retention.window import Window
from tests import shops
from tests.retention.risk import clause_truth, raw_rows
from tests.retention.risk.made_up_shops import SHOPS

UNRECORDED = {  # column or event type → words that only a shop with it may show
    "item_id": r"different item|bought regularly",
    "amount": r"\bspen[dt]s?\b|off on average",
    "discount": r"off on average",
    "channel": r"\bonline\b|channel",
    "return": r"\breturns?\b in the",
    "view": r"page view",
    "cart": r"into the cart",
    "email_open": r"e-mail",
    "support": r"support",
    "coupon_redeem": r"redeemed",
}
DIRECTIONS = {"high": {"raises"}, "medium": {"raises", "lowers"}, "low": {"lowers"}}
DAILY = "first hours"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name == DAILY else pytest.mark.nightly) for name in SHOPS
    ],
)
def made_up(request, tmp_path_factory):
    """A shop, its rows, and its sweeps by a model and by the rules."""
    shop = SHOPS[request.param]
    rows = shop.rows()
    folder = tmp_path_factory.mktemp("made-up")
    lake = shops.lake(folder, rows.assign(source="shop"))
    window = Window(shop.horizon, shop.active_within)
    trained = train(lake, cutoff=shop.end, model=shop.model, window=window)
    swept = {
        version: sweeps.sweep(lake, model, Policy(), as_of=shop.end, tier="low", window=window)
        for version, model in (("model", trained), ("rules", None))
    }
    return shop, rows, swept


def test_each_reason_and_clause_is_what_the_raw_rows_say(made_up):
    shop, rows, swept = made_up
    history = (shop.end - rows.occurred_at.min()) / timedelta(days=1)
    moments = snapshot_moments(shop.end, history, shop.horizon)
    own = raw_rows.features(rows, shop.end, shop.horizon)
    active = own[own.recency_days <= (shop.active_within or np.inf)]
    everyone = (rows, moments, shop.horizon, shop.active_within)
    churn_rate, typical = raw_rows.churn_rate(*everyone), raw_rows.typical(*everyone)
    raw = clause_truth.RawFacts(typical, active, churn_rate, shop.horizon)
    for result in swept.values():
        assert set(result.cohort.customer_id) == set(active.index)
        assert result.cohort.reasons.map(len).min() > 0
        for customer in result.cohort.itertuples():
            for reason in customer.reasons:
                raw.check_reason(reason, own.loc[customer.customer_id])
        assert set(result.evidence) == set(result.cohort.customer_id.head(sweeps.MAX_EVIDENCE))
        for customer_id, evidence in result.evidence.items():
            row = own.loc[customer_id]
            assert evidence.silent_days == pytest.approx(row.recency_days, abs=1e-6)
            for clause in evidence.clauses:
                clause_truth.check(clause, row, shop.horizon)
            groups = [group for clause in evidence.clauses for group in clause.groups]
            assert len(groups) == len(set(groups))


def test_each_row_has_reasons_that_agree_with_its_tier(made_up):
    _, _, swept = made_up
    for result in swept.values():
        for customer in result.cohort.itertuples():
            assert 1 <= len(customer.reasons) <= 3
            assert {reason["direction"] for reason in customer.reasons} <= DIRECTIONS[customer.tier]
            texts = [reason["text"] for reason in customer.reasons]
            assert len(set(texts)) == len(texts)


def test_no_reason_comes_from_what_the_shop_does_not_record(made_up):
    _, rows, swept = made_up
    recorded = {*rows.columns, *rows.event_type.unique()}
    texts = {
        reason["text"]
        for result in swept.values()
        for reasons in result.cohort.reasons
        for reason in reasons
    }
    for name, words in UNRECORDED.items():
        if name not in recorded:
            assert not [text for text in texts if re.search(words, text)]
    assert {result.has_amounts for result in swept.values()} == {"amount" in recorded}
