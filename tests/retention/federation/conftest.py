"""Fixtures of a shop at an earlier moment."""

from tests.retention.churn.conftest import learned_at, truncated  # noqa: F401 - fixtures
