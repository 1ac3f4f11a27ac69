"""Test learning from tests of offers."""
