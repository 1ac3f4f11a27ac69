"""Monitor the champion: compare predictions with outcomes, and measure drift."""

from retention.monitoring.records import described, latest, told_lately

__all__ = ["described", "latest", "told_lately"]
