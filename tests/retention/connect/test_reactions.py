"""Test reading opens and clicks back from mail platforms, into the lake."""

import json
import time
from datetime import timedelta

import pandas as pd
import pytest

from retention import clock
from retention.connect.platforms import reactions
from retention.connect.platforms.reactions import store_reactions
from retention.db.tables import MessageEvent, Send
from retention.lake import Lake, customer_directory
from tests.retention.connect.platforms import connected, people
from tests.world import add, campaign

DAY = timedelta(days=1)


READ = pytest.mark.parametrize("kind", ["brevo", "customer.io", "klaviyo", "mailchimp"])


def reacting(connector, stand_in, at) -> list:
    """Let customers open and click, and return what people did in the two days from then on."""
    connector.push_profiles(people(1, 2, 3, 4))
    for number in (1, 2, 3):
        stand_in.happen("opened", f"k{number}", at + timedelta(hours=number))
    stand_in.happen("clicked", "k1", at + DAY)
    stand_in.happen("preloaded", "k4", at + timedelta(hours=9))
    for early_or_late in (at - timedelta(seconds=1), at + 2 * DAY):
        stand_in.happen("opened", "k4", early_or_late)
    opens = [
        ("open", f"k{number}@example.com", at + timedelta(hours=number)) for number in (1, 2, 3)
    ]
    return [("click", "k1@example.com", at + DAY), *opens]


def some_time_ago():
    return (clock.now() - 3 * DAY).replace(microsecond=0)


@READ
def test_platform_reports_what_people_did(kind):
    at = some_time_ago()
    with connected(kind) as (connector, stand_in):
        expected = reacting(connector, stand_in, at)
        found = [each for rows, *_ in reactions._pages(connector, period(at)) for each in rows]
    assert sorted(one for one in found if at <= one[2] < at + 2 * DAY) == sorted(expected)


def period(at, rest=None) -> reactions.Reading:
    return reactions.Reading.resumed(at, at + 2 * DAY, rest)


def with_consent(settings, database) -> Lake:
    lake = Lake.open(settings)
    rows = [{"customer_id": each.customer_id, "email": each.email} for each in people(1, 2, 3, 4)]
    lake.upsert("customers", pd.DataFrame(rows).assign(tracking_consent=True))
    customer_directory.sync(lake, database)
    return lake


@pytest.mark.nightly
@READ
def test_reading_goes_on_in_later_jobs_and_loses_and_doubles_nothing(database, settings, kind):
    lake, at, rest, jobs, new = with_consent(settings, database), some_time_ago(), None, 0, 0
    with connected(kind) as (connector, stand_in):
        expected = reacting(connector, stand_in, at)
        while jobs == 0 or rest:
            reading = period(at, rest)
            own = database.using(settings)
            new += sum(reactions.read_reactions(own, connector, reading, clock.now(), -1.0))
            rest, jobs = json.loads(json.dumps(reading.rest())), jobs + 1
            assert jobs < 99
    events = lake.table("events").execute()
    assert jobs > 2
    assert new == len(events) == len(expected)


@pytest.mark.nightly
@READ
def test_reading_stores_in_batches_and_again_changes_nothing(database, settings, kind, monkeypatch):
    lake, at = with_consent(settings, database), some_time_ago()
    monkeypatch.setattr(reactions, "MOST_STORED", 2)
    with connected(kind) as (connector, stand_in):
        reacting(connector, stand_in, at)
        for expected in (4, 0):
            own, reading, end = database.using(settings), period(at), time.monotonic() + 99
            counts = [*reactions.read_reactions(own, connector, reading, clock.now(), end)]
            assert (sum(counts), len(counts) > 1, reading.rest()) == (expected, True, None)
    assert len(lake.table("events").execute()) == 4


def test_brevo_is_asked_for_no_longer_time_than_it_allows():
    at = some_time_ago()
    with connected("brevo") as (connector, stand_in):
        reacting(connector, stand_in, at)
        outage = reactions.Reading(at - 200 * DAY, at + 2 * DAY)
        assert len([each for rows, *_ in reactions._pages(connector, outage) for each in rows]) == 6


def test_sendgrid_is_not_read_back():
    with connected("sendgrid") as (connector, stand_in):
        assert [*reactions._pages(connector, period(some_time_ago()))] == stand_in.calls == []


def test_mailchimp_reports_are_read_only_where_there_is_news():
    with connected("mailchimp") as (connector, stand_in):
        reacting(connector, stand_in, at := some_time_ago())
        stand_in.calls.clear()
        for since, parts in ((at, ["c1 click", "c1 open"]), (at + 9 * DAY, [])):
            assert sorted(connector.reaction_parts(since, since + DAY)) == parts
        assert {call.path for call in stand_in.calls} == {"/3.0/reports"}


def test_only_customers_with_consent_reach_the_lake_once(database, settings):
    lake, at = Lake.open(settings), clock.now() - DAY
    people = {"customer_id": ["a", "b"], "email": ["a@x.example", "b@x.example"]}
    lake.upsert("customers", pd.DataFrame({**people, "tracking_consent": [True, None]}))
    customer_directory.sync(lake, database)
    names = ("A@x.example", "b@x.example", "stranger@x.example")
    found = [("open", name, at) for name in names] + [("click", names[0], at)]
    stored = [
        store_reactions(database.using(settings), "klaviyo", found, clock.now()) for _ in range(2)
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
    found = [
        ("open", person["email"], at + hour),
        ("open", person["email"], at + 2 * hour),
        ("click", person["email"], at),
    ]
    store_reactions(database.using(settings), "klaviyo", found, clock.now())
    events = lake.table("events").order_by("occurred_at").execute()
    assert [*events.event_type] == ["email_click", "email_open"]
