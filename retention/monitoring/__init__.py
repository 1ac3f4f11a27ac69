"""Monitor the champion's predictions and its customers' drift."""

from retention.monitoring.records import describe, latest, was_alerted

__all__ = ["describe", "latest", "was_alerted"]
