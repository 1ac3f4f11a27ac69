"""Plan a campaign: its audience, offers, cost and expected profit."""
