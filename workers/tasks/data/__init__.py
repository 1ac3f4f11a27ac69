"""Tasks about imports and data quality."""
