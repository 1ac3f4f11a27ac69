"""Store customer data in Delta tables and read it through Ibis.

See docs/data.md.
"""

from retention.lake.lake import AsOf, Lake

__all__ = ["AsOf", "Lake"]
