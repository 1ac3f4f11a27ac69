"""Keep the lake on disk."""
