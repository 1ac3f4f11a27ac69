"""Run one repeat of the folds and half the bootstrap draws, which tests do not depend on."""

import pytest

from retention.uplift import evaluation


@pytest.fixture(autouse=True, scope="package")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "REPEATS", 1)
        patch.setattr(evaluation, "REPLICATES", 100)
        yield
