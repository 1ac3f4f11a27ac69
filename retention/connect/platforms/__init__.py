"""Mail platforms: send through them, and keep profiles and lists there."""
