"""Train one churn model by several desks, without moving their rows."""
