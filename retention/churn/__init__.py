"""Churn models: labels, features, training, calibration, evaluation, explanations.

A customer churns by placing no order within the horizon.
"""

from retention.churn.evaluate import evaluate
from retention.churn.model import TrainedChurn, train
from retention.churn.score import score

__all__ = ["TrainedChurn", "evaluate", "score", "train"]
