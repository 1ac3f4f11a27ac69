"""Predict the uplift of offers from campaigns with a hold-out, and allocate offers.

`metrics` measures rankings, `learners` fit them, `evaluation` selects among them, `past_campaigns`
reads campaigns from the lake, `targeting` allocates offers under a budget.
"""

from retention.uplift.evaluation import evaluate

__all__ = ["evaluate"]
