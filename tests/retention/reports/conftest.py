"""A lake of a few events at known times."""

from datetime import UTC, datetime, timedelta

import pytest

UNTIL = datetime(2025, 6, 2, 9, tzinfo=UTC)


def bought(customer: str, *days: float, **more) -> list[dict]:
    """Purchases so many days before the moment the tests look from."""
    return [
        {
            "customer_id": customer,
            "event_type": "purchase",
            "occurred_at": UNTIL - timedelta(days=day),
            "order_id": f"{customer}-{day}",
            "item_id": "i1",
            "amount": 10.0,
            "source": "till",
            **more,
        }
        for day in days
    ]


@pytest.fixture
def lake_of(settings, database, tmp_path):
    """Import events and give the lake."""
    import pandas as pd

    from retention.lake import Lake
    from retention.lake.importing import import_files

    lake = Lake.open(settings)

    def load(*groups: list[dict]):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        pd.DataFrame([event for group in groups for event in group]).to_parquet(file)
        import_files(lake, database, settings, "events", [str(file)])
        return lake

    return load
