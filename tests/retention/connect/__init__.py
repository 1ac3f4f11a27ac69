"""Tests of retention.connect."""
