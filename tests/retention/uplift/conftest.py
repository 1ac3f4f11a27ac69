"""One repeat of the folds and half the bootstrap draws: what is tested does not depend on their number."""

import sys

import pytest

import retention.uplift  # noqa: F401 - so that its modules are there


@pytest.fixture(autouse=True, scope="package")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        evaluating = sys.modules[
            "retention.uplift.evaluate"
        ]  # the package's `evaluate` is the function
        patch.setattr(evaluating, "REPEATS", 1)
        patch.setattr(evaluating, "REPLICATES", 100)
        yield
