"""A hundred million events on one machine: `make test-slow`."""

import shutil

import pytest

from tests.benchmarks.measure import peak_mb
from tests.benchmarks.volume import MOST_MB, bring, generate


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_imports_a_hundred_million_events(tmp_path):
    if shutil.disk_usage(tmp_path).free < 12 * 2**30:
        pytest.skip("needs 12 GiB of disk")
    rows = 100_000_000
    there = bring(generate(rows, tmp_path / "events.parquet"), tmp_path / "home")
    assert 0.9999 * rows < there <= rows  # some orders have an item twice
    assert peak_mb() < MOST_MB
