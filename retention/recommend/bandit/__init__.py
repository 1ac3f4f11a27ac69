"""Choose lists and offers with an evaluated bandit."""
