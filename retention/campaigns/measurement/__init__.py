"""Measure what campaigns earned against their hold-out groups."""
