"""Predict the uplift of offers and allocate them.

Models are fitted on campaigns with a hold-out. `metrics` measures rankings, `learners` fit them,
`evaluation` selects among them, `past_campaigns` reads campaigns from the lake, `targeting`
allocates offers under a budget.
"""

from retention.uplift.evaluation import evaluate

__all__ = ["evaluate"]
