"""A churn model of the tiny shop."""

from datetime import datetime, timedelta

import pytest

from retention.churn import TrainedChurn, train


@pytest.fixture(scope="session")
def learned_at(shop) -> datetime:
    """Between the shop's half and its end, so that there is something to learn from and something to foretell."""
    return shop.begin + timedelta(days=130)


@pytest.fixture(scope="session")
def trained(shop, learned_at) -> TrainedChurn:
    """Logistic regression by name, learned from what was known then."""
    return train(
        shop.lake, cutoff=learned_at, model="logistic", horizon_days=21, active_within_days=42
    )
