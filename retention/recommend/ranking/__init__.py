"""Rank candidates with a model that is trained on past horizons."""
