"""Test the check for hold-out customers who got the campaign's e-mail anyway."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import update

from retention.campaigns.measurement.outcomes import leak_check
from retention.db.tables import Assignment, Campaign
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from tests.retention.outreach.live_campaigns import start_campaign

SENT = datetime(2025, 5, 1, 9, tzinfo=UTC)


@pytest.fixture
def campaign(settings, database) -> str:
    """A live campaign of nine customers, three of them held out."""
    start_campaign(database, settings, customers=9)
    with database.transaction() as session:
        session.execute(
            update(Campaign).values(sent_at=SENT, window_ends_at=SENT + timedelta(days=28))
        )
        found = session.query(Campaign).one().id
        held_out = Assignment.customer_id.in_(["k6", "k7", "k8"])
        session.execute(update(Assignment).values(arm="treatment"))
        session.execute(update(Assignment).where(held_out).values(arm="control"))
    return found


def checked(settings, database, tmp_path, *rows):
    columns = ["customer_id", "event_type", "occurred_at", "query"]
    frame = pd.DataFrame(rows, columns=columns).assign(source="mail")
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"], utc=True)
    frame.to_parquet(tmp_path / "events.parquet")
    lake = Lake.open(settings)
    import_files(lake, database, settings, "events", [str(tmp_path / "events.parquet")])
    with database.reading() as session:
        return leak_check(lake, session, session.query(Campaign).one())


def test_only_hold_out_customers_with_an_email_of_this_campaign_count(
    settings, database, tmp_path, campaign
):
    day = timedelta(days=1)
    found = checked(
        settings,
        database,
        tmp_path,
        ("k7", "email_open", SENT + day, campaign),
        ("k7", "email_click", SENT + day, campaign.upper()),  # the same customer
        ("k8", "email_open", SENT + day, "newsletter"),
        ("k8", "email_open", SENT - day, campaign),  # before it was sent
        ("k6", "email_open", SENT + 28 * day, campaign),  # after its window
        ("k6", "view", SENT + day, campaign),
        ("k1", "email_open", SENT + day, campaign),
        ("stranger", "email_open", SENT + day, campaign),
    )
    assert (found["treatment"], found["control"]) == (1, 1)
    assert found["understated"] == pytest.approx(1 / 2)  # a third of the group, so 1 / (1 - 1/3)


def test_without_leaks_the_result_is_not_understated(settings, database, tmp_path, campaign):
    found = checked(settings, database, tmp_path, ("k7", "email_open", SENT, "newsletter"))
    assert (found["control"], found["understated"]) == (0, None)
