"""Monitor the champion: compare predictions with outcomes, and measure drift."""

from retention.monitoring.records import describe, latest, was_alerted

__all__ = ["describe", "latest", "was_alerted"]
