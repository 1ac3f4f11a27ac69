"""Tasks about shops and mail platforms."""
