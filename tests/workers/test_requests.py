"""Test the checks of requests."""

import pytest

from retention.errors import BadInput
from retention.recommend.models import MODELS
from workers.retrain_request import RECOMMENDERS, Retrain


def test_recommender_names_of_requests_match_the_models():
    assert set(RECOMMENDERS) == set(MODELS)


def test_model_name_of_another_kind_is_refused_with_the_fix():
    with pytest.raises(BadInput, match="retrain recommend --model bpr"):
        Retrain(model="bpr")
    with pytest.raises(BadInput, match="retrain churn --model forest"):
        Retrain(models=("recommend",), model="forest")
    with pytest.raises(BadInput, match="one of auto, blend"):
        Retrain(models=("recommend",), model="magic")
    assert Retrain(models=("recommend",), model="bpr").model == "bpr"
