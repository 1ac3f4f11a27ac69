"""Train one churn model by several desks, without moving their rows."""

FEDERATED = "federated"  # the estimator's name
