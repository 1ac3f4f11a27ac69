"""Import files and live events into the lake."""
