"""Small models for tests of estimators and of their explanations."""

import numpy as np

from retention.churn.estimators import Examples, LogOdds, fit_member, members_of


def fitted(name, X, y, *, columns=(), **options) -> LogOdds:
    """Return a model of all members of an estimator, with equal weights."""
    examples = Examples(X, y, columns=columns)
    return LogOdds([fit_member(member, examples, **options) for member in members_of(name)])


def assert_adds_up(explanation, margin) -> None:
    """Check that base and contributions add up to the log-odds of a model."""
    total = explanation.base + explanation.phi.sum(axis=1)
    np.testing.assert_allclose(explanation.margin, margin, atol=1e-5)
    np.testing.assert_allclose(total, explanation.margin, atol=1e-6)
