"""Past campaigns of any shape teach something or nothing, but never stop a draft."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retention.uplift import evaluation
from retention.uplift.experiment import Experiment
from retention.uplift.learners import LEARNERS
from retention.uplift.offer_effects import fit_offer_models
from retention.uplift.past_campaigns import fit_experiment

SHAPES = {
    "customers": st.integers(1, 400),
    "treated": st.sampled_from([0.0, 0.5, 0.7, 0.95, 1.0]),
    "ordered": st.sampled_from([0.0, 0.02, 0.4, 1.0]),
    "offers": st.integers(1, 3),
    "overlap": st.sampled_from(["all", "few", "none"]),
    "columns": st.sampled_from(["varied", "alike", "missing", "none"]),
    "seed": st.integers(0, 5),
}


def _past(customers, treated, ordered, offers, overlap, columns, seed):
    """Simulate campaigns in which the offer follows ``policy`` as far as ``overlap`` says."""
    rng = np.random.default_rng(seed)
    policy = rng.integers(0, offers, customers)
    kind = np.where(
        rng.random(customers) < {"all": 1, "few": 0.05, "none": 0}[overlap],
        rng.integers(0, offers, customers),
        policy,
    )
    gets_offer = rng.random(customers) < treated
    likes = rng.random(customers) < 0.5
    buys = rng.random(customers) < np.clip(ordered + 0.5 * ordered * likes * gets_offer, 0, 1)
    features = {
        "varied": {"policy": policy + rng.normal(0, 0.01, customers), "likes": likes.astype(float)},
        "alike": {"policy": np.ones(customers)},
        "missing": {"policy": np.full(customers, np.nan)},
        "none": {},
    }[columns]
    trial = Experiment(
        pd.DataFrame(features, index=range(customers)),
        buys.astype(float),
        gets_offer.astype(float),
        np.full(customers, gets_offer.mean()),
    )
    return trial, np.where(gets_offer, kind.astype(str), "")


DEFAULT = {"customers": 400, "treated": 0.7, "ordered": 0.4, "offers": 2, "overlap": "all",
           "columns": "varied", "seed": 0}  # fmt: skip


@pytest.mark.nightly
@settings(max_examples=3, deadline=None)
@given(**SHAPES)
@example(**DEFAULT)
@example(**{**DEFAULT, "overlap": "none"})  # no common support
@example(**{**DEFAULT, "treated": 1.0})
@example(**{**DEFAULT, "treated": 0.0})
@example(**{**DEFAULT, "ordered": 0.0})
@example(**{**DEFAULT, "columns": "none"})
@example(**{**DEFAULT, "columns": "alike"})
@example(**{**DEFAULT, "customers": 1})
def test_past_campaigns_of_any_shape_give_a_model(**shape):
    trial, kinds = _past(**shape)
    with pytest.MonkeyPatch.context() as patch:  # the choice of a learner takes seconds
        few = {name: LEARNERS[name] for name in evaluation.SEQUENTIAL_LEARNERS}
        patch.setattr(evaluation, "LEARNERS", few)
        model = fit_experiment(trial, kinds, 1)
    assert (model.learner is not None) == (model.why == "learnt")


@pytest.mark.nightly
@settings(max_examples=3, deadline=None)
@given(**SHAPES)
@example(**DEFAULT)
@example(**{**DEFAULT, "overlap": "none"})
@example(**{**DEFAULT, "overlap": "few"})
def test_offers_of_any_overlap_have_finite_levels(**shape):
    trial, kinds = _past(**shape)
    if trial.features.empty or not 0 < trial.treated.mean() < 1:
        return  # `fit_experiment` does not ask for offers then
    offers = fit_offer_models(trial, kinds, "t_logistic")
    for model in offers.models.values() if offers else ():
        assert np.isfinite([model.level, model.mean, model.slope]).all()
