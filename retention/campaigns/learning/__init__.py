"""Learn from tests which offer earns most, and propose it as a change of the policy."""
