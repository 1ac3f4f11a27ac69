"""Test reading opens and clicks back from mail platforms, into the lake."""

from datetime import timedelta

import pandas as pd
import pytest

from retention import clock
from retention.connect.platforms.platform_sync import store_reactions
from retention.db.tables import MessageEvent, Send
from retention.lake import Lake, customer_directory
from tests.retention.connect.platforms import connected, people
from tests.world import add, campaign

DAY = timedelta(days=1)


@pytest.mark.parametrize("kind", ["klaviyo", "brevo"])
def test_platform_reports_what_people_did(kind):
    at = (clock.wall() - 3 * DAY).replace(microsecond=0)
    with connected(kind) as (connector, stand_in):
        connector.push_profiles(people(1, 2, 3, 4))
        for number in (1, 2, 3):
            stand_in.happen("opened", f"k{number}", at)
        stand_in.happen("clicked", "k1", at + DAY)
        stand_in.happen("preloaded", "k4", at - DAY)
        found = [*connector.reactions(at - 2 * DAY)]
    expected = [("open", f"k{number}@example.com", at) for number in (1, 2, 3)]
    assert sorted(found) == sorted([*expected, ("click", "k1@example.com", at + DAY)])


@pytest.mark.parametrize("kind", ["customer.io", "mailchimp", "sendgrid"])
def test_other_platforms_are_not_read_back(kind):
    with connected(kind) as (connector, _):
        assert [*connector.reactions(clock.wall())] == []


def test_only_customers_with_consent_reach_the_lake_once(database, settings):
    lake, at = Lake.open(settings), clock.now() - DAY
    people = {"customer_id": ["a", "b"], "email": ["a@x.example", "b@x.example"]}
    lake.upsert("customers", pd.DataFrame({**people, "tracking_consent": [True, None]}))
    customer_directory.sync(lake, database)
    names = ("A@x.example", "b@x.example", "stranger@x.example")
    reactions = [("open", name, at) for name in names] + [("click", names[0], at)]
    stored = [
        store_reactions(database.using(settings), "klaviyo", reactions, clock.now())
        for _ in range(2)
    ]
    events = lake.table("events").execute()
    assert stored == [2, 0]
    assert sorted(zip(events.customer_id, events.event_type, strict=True)) == [
        ("a", "email_click"),
        ("a", "email_open"),
    ]
    known_before = lake.table("events", before=clock.now() - timedelta(hours=1)).execute()
    assert known_before.empty  # the shop did not know it then


def test_open_that_the_desk_saw_counts_once(database, settings):
    lake, at, hour = Lake.open(settings), clock.now() - DAY, timedelta(hours=1)
    person = {"customer_id": "a", "email": "a@x.example", "tracking_consent": True}
    lake.upsert("customers", pd.DataFrame([person]))
    customer_directory.sync(lake, database)
    own = {"team_id": settings.team_id, "campaign_id": "c", "customer_id": "a"}
    add(database, campaign("c", team_id=settings.team_id, state="live", sent_at=at))
    add(database, Send(id=1, **own, channel="platform", state="sent"))
    add(database, MessageEvent(send_id=1, **own, kind="open", at=at))
    reactions = [
        ("open", person["email"], at + hour),
        ("open", person["email"], at + 2 * hour),
        ("click", person["email"], at),
    ]
    store_reactions(database.using(settings), "klaviyo", reactions, clock.now())
    events = lake.table("events").order_by("occurred_at").execute()
    assert [*events.event_type] == ["email_click", "email_open"]
