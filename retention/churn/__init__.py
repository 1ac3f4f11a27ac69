"""Churn models: labels, features, training, calibration, evaluation, explanations.

A customer churns by placing no order within the horizon. Import from the modules: scoring by rules
needs none of the libraries that models need.
"""
