"""Choose lists and offers with a bandit that is evaluated before it may act."""
