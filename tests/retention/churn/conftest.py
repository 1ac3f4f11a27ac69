"""Fixtures: a churn model of the tiny shop."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from retention.churn.model import TrainedChurn, fit, with_tiers
from retention.churn.training_set import TrainingSet, build_training_set
from retention.lake import Lake
from retention.window import Window
from tests import readonly
from tests import shop as tiny


@pytest.fixture(scope="session")
def learned_at(shop) -> datetime:
    """Return a cutoff between the shop's middle and its end."""
    return shop.begin + timedelta(days=130)


@pytest.fixture(scope="session")
def truncated(tmp_path_factory, learned_at) -> Iterator[Lake]:
    """Return the lake of the same shop without events at or after the cutoff."""
    lake = tiny.build(tmp_path_factory.mktemp("truncated") / "home", until=learned_at).lake
    with readonly.protected(lake.root):
        yield lake


@pytest.fixture(scope="session")
def training(shop, learned_at) -> TrainingSet:
    """Return the training set at the cutoff. It only keeps fits, which are the same each time."""
    return build_training_set(shop.lake, cutoff=learned_at, window=Window(21, 42))


@pytest.fixture(scope="session")
def trained(shop, training) -> TrainedChurn:
    """Return a logistic regression trained at the cutoff."""
    return with_tiers(fit(training, model="logistic"), shop.lake)
