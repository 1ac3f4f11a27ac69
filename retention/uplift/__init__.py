"""Uplift: for whom an offer makes the difference, learnt from campaigns with a hold-out; and whom to give it to.

`metrics` measures rankings, `learners` make them, `evaluate` chooses among them by cross-validation, `experiments`
reads past campaigns from the lake, `targeting` spends a budget where it earns most.
"""

from retention.uplift.evaluate import evaluate

__all__ = ["evaluate"]
