"""Store a shop's data in Delta tables.

Import: `reading` (rows as in the source) → `mapping`, `map_compiler` (canonical rows) → `cleaning`
→ `import_writer`, `store`. `importing` runs it. Bad rows: `quarantine`, `release`. Reading: `lake`.
One customer's ids: `identity`. See docs/operator/data_model.md.
"""

from retention.lake.lake import AsOf, Lake

__all__ = ["AsOf", "Lake"]
