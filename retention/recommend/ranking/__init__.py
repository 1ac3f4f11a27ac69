"""Rank candidates with models trained on past horizons."""
