"""The customer data: Delta tables, read and transformed through Ibis. See docs/data.md."""

from retention.lake.lake import AsOf, Lake

__all__ = ["AsOf", "Lake"]
