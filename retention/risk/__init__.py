"""Risk tiers, sweeps, and the policy that chooses actions."""
