"""Tests that training is reproducible across processes."""

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from retention.lake import Lake
from retention.window import Window
from tests.shop import BEGIN

pytestmark = pytest.mark.nightly

IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from retention.lake import Lake
from retention.settings import Settings
from tests.retention.registry.test_same_bytes import predictions

lake = Lake.open(Settings(home=Path(sys.argv[1]), _env_file=None))
sys.stdout.buffer.write(predictions(lake).tobytes())
"""


def predictions(lake: Lake) -> np.ndarray:
    """What the ensemble, trained here and now, says of the newest customers."""
    from retention.churn.model import fit
    from retention.churn.training_set import build_training_set

    training = build_training_set(lake, cutoff=BEGIN + timedelta(days=110), window=Window(21, 42))
    return fit(training, model="ensemble", seed=7).predict(training.newest)


def test_two_processes_train_identical_models(shop):
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(shop.settings.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        first = predictions(shop.lake).tobytes()
        second, _ = other.communicate(timeout=120)
    assert len(first) > 8 * 50
    assert second == first
