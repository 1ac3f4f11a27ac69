"""Test the check for hold-out customers who got the campaign's e-mail anyway."""

from datetime import timedelta

import pandas as pd
import pytest
from sqlalchemy import case, update

from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.measurement.outcomes import leak_check
from retention.db.tables import Assignment
from retention.lake import Lake
from tests.retention.campaigns.samples import NOW as SENT
from tests.retention.outreach.live_campaigns import start_campaign
from tests.shop import import_frame
from tests.world import execute


@pytest.fixture
def campaign(settings, database) -> str:
    """A live campaign of nine customers, three of them held out."""
    campaign = start_campaign(database, settings, customers=9)
    held_out = Assignment.customer_id.in_(["k6", "k7", "k8"])
    arm = case((held_out, "control"), else_="treatment")
    execute(database, update(Assignment).values(arm=arm))
    return campaign.id


@pytest.fixture
def checked(settings, database, campaign):
    """``checked(*rows)``: the result of the check after these events."""

    def check(*rows):
        columns = ["customer_id", "event_type", "occurred_at", "query"]
        lake, frame = Lake.open(settings), pd.DataFrame(rows, columns=columns)
        import_frame(lake, database, frame.assign(source="mail"))
        with database.reading() as session:
            return leak_check(lake, session, find_campaign(session, campaign))

    return check


def test_only_hold_out_customers_with_an_email_of_this_campaign_count(checked, campaign):
    day = timedelta(days=1)
    found = checked(
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


def test_without_leaks_the_result_is_not_understated(checked):
    found = checked(("k7", "email_open", SENT, "newsletter"))
    assert (found["control"], found["understated"]) == (0, None)
