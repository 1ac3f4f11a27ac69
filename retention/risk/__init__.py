"""Who is at risk: tiers, sweeps, and the policy that says what to do about it."""
