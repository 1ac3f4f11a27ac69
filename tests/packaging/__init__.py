"""Tests of the wheel, its metadata and its dependencies."""
