"""Is the model in use still good? Matured labels score what was predicted; drift shows where customers have moved."""

from retention.monitoring.records import described, latest, told_lately

__all__ = ["described", "latest", "told_lately"]
