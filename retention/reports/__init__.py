"""Digests, charts, model cards and data quality."""
