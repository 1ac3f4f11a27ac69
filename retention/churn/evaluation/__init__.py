"""Evaluate churn models: metrics, rolling origins, calibration, segments."""
