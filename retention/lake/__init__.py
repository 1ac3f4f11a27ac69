"""Store customer data in Delta tables.

See docs/data.md.
"""

from retention.lake.lake import AsOf, Lake

__all__ = ["AsOf", "Lake"]
