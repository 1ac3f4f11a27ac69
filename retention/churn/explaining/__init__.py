"""Explain churn scores: contributions, facts and reasons in words."""
