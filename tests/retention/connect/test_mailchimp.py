"""Test what only Mailchimp has: an audience with subscriptions, and rejects without pages."""

from datetime import UTC, datetime, timedelta

import pytest

from retention.connect.contract import Profile
from retention.connect.platforms import mailchimp as connect
from retention.connect.platforms.contacts import FIELDS
from retention.connect.platforms.mailchimp import TAGS, address_of
from tests.retention.connect.failures import failure
from tests.retention.connect.platforms import connected, people

SINCE = datetime(2026, 2, 1, tzinfo=UTC)


def contact(stand_in, number, status):
    """Add a contact that the desk did not create."""
    address = f"k{number}@example.com"
    stand_in.contacts[address] = {
        "email_address": address,
        "status": status,
        "merge_fields": {"FNAME": "Ann"},
        "last_changed": "2020-01-01T00:00:00+00:00",
    }


def statuses(stand_in):
    return {address[:2]: each["status"] for address, each in stand_in.contacts.items()}


def test_every_property_has_a_merge_tag():
    assert set(TAGS) == set(FIELDS)
    assert all(len(tag) <= 10 for tag in TAGS.values())


def test_nobody_is_subscribed_or_unsubscribed_by_the_desk():
    before = ("subscribed", "unsubscribed", "transactional", "pending", "cleaned", "archived")
    with connected("mailchimp") as (connector, stand_in):
        for number, status in enumerate(before):
            contact(stand_in, number, status)
        for _ in range(2):
            connector.change_list("vips", people(*range(7), retention_risk="high"), [])
        expected = {f"k{number}": status for number, status in enumerate(before)}
        assert statuses(stand_in) == expected | {"k6": "transactional"}
        assert stand_in.members()["vips"] == {"k0", "k2", "k6"}
        fields = stand_in.contacts["k0@example.com"]["merge_fields"]
        assert fields == {"FNAME": "Ann", "RET_ID": "k0", "RET_RISK": "high"}
        assert stand_in.tags == {"FNAME", "LNAME", *TAGS.values()}


@pytest.mark.parametrize(
    ("before", "status"),
    [
        ("subscribed", "unsubscribed"),
        *(("transactional", each) for each in ("subscribed", "unsubscribed", "cleaned", "pending")),
    ],
)
def test_status_that_changes_during_a_write_stays(before, status):
    with connected("mailchimp") as (connector, stand_in):
        contact(stand_in, 1, before)
        connector.push_profiles(people(2))  # reads the statuses
        stand_in.contacts["k1@example.com"]["status"] = status
        connector.push_profiles(people(1, retention_risk="high"))
        assert statuses(stand_in)["k1"] == status
        assert stand_in.properties()["k1"]["RET_RISK"] == "high"


def test_update_that_is_refused_for_every_contact_is_an_error():
    with connected("mailchimp") as (connector, stand_in):
        many = people(*range(10))
        connector.push_profiles(many)
        stand_in.tags.remove("RET_ID")
        assert failure(lambda: connector.push_profiles(many)).code == "refused"


def test_long_list_of_items_ends_after_a_whole_item():
    with connected("mailchimp") as (connector, stand_in):
        connector.push_profiles(people(1, retention_items=["i" * 60] * 5))
        text = stand_in.contacts["k1@example.com"]["merge_fields"]["RET_ITEMS"]
        assert text == ", ".join(["i" * 60] * 4)


def test_address_of_two_customers_is_written_once():
    with connected("mailchimp") as (connector, stand_in):
        two = [Profile("k1", "ann@example.com"), Profile("k2", "Ann@example.com")]
        connector.push_profiles(two)
        assert len(stand_in.contacts) == 1


def test_cleaned_contact_is_a_bounce_and_a_soft_bounce_is_not():
    at = SINCE + timedelta(days=1)
    with connected("mailchimp") as (connector, stand_in):
        connector.push_profiles(people(1, 2))
        stand_in.happen("soft", "k1", at)
        stand_in.contacts["k2@example.com"] |= {"status": "cleaned", "last_changed": at.isoformat()}
        assert list(connector.left(SINCE)) == [("bounced", "k2@example.com", at)]


def test_long_list_of_rejects_is_exported(monkeypatch):
    monkeypatch.setattr(connect, "MOST_REJECTS", 3)
    at = SINCE + timedelta(days=1)
    with connected("mailchimp") as (connector, stand_in):
        stand_in.most_rejects = 3
        connector.push_profiles(people(*range(5)))
        for number in range(5):
            stand_in.happen("bounced", f"k{number}", at)
        assert sorted(connector.left(SINCE)) == [
            ("bounced", f"k{number}@example.com", at) for number in range(5)
        ]


def test_connection_without_an_audience_reports_rejects_only():
    with connected("mailchimp", marketing_key="", audience="") as (connector, stand_in):
        assert connector.missing_settings == ("marketing_key", "audience")
        connector.check_profiles()
        assert list(connector.left(SINCE)) == []
        assert {call.path for call in stand_in.calls} == {"/api/1.3/rejects/list"}


def test_address_is_that_of_the_data_centre():
    assert address_of("abc-us21") == "https://us21.api.mailchimp.com"
