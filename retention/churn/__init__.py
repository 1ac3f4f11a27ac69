"""Churn: will an active customer order nothing within the horizon? Labels, models, calibration, evaluation, reasons."""

from retention.churn.evaluate import evaluate
from retention.churn.model import TrainedChurn, train
from retention.churn.score import score

__all__ = ["TrainedChurn", "evaluate", "score", "train"]
