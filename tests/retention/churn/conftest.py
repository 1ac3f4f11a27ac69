"""Fixtures: a churn model of the tiny shop."""

from datetime import datetime, timedelta

import pytest

from retention.churn.model import TrainedChurn, train
from retention.window import Window


@pytest.fixture(scope="session")
def learned_at(shop) -> datetime:
    """Return a cutoff between the shop's middle and its end."""
    return shop.begin + timedelta(days=130)


@pytest.fixture(scope="session")
def trained(shop, learned_at) -> TrainedChurn:
    """Return a logistic regression trained at the cutoff."""
    return train(shop.lake, cutoff=learned_at, model="logistic", window=Window(21, 42))
