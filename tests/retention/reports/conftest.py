"""A lake of a few events at known times."""

import pytest

from tests.retention.reports.samples import event_importer


@pytest.fixture
def lake_of(settings, database):
    """Import events and give the lake."""
    return event_importer(settings, database)
