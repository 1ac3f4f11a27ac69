"""Test what only Customer.io has: a Track API with an access and limits of its own."""

import json

import pytest

from retention.connect.contract import ConnectorError
from tests.retention.connect.platforms import connected, people


def sizes(stand_in, path):
    """Return the bytes of each request to a path."""
    return [len(call.body) for call in stand_in.calls if call.path == path]


def test_batches_stay_below_500_kilobytes():
    with connected("customer.io") as (connector, stand_in):
        connector.push_profiles(people(*range(1_000), retention_items=["i" * 200] * 5))
        assert len(stand_in.people) == 1_000
        assert len(sizes(stand_in, "/api/v2/batch")) > 1
        assert max(sizes(stand_in, "/api/v2/batch")) < 500_000


def test_large_segment_changes_in_requests_of_1000():
    with connected("customer.io") as (connector, stand_in):
        stand_in.page_size = 5_000
        connector.change_list("vips", people(*range(2_500)), [])
        connector.change_list("vips", [], people(*range(2_400)))
        ids = [len(json.loads(c.body)["ids"]) for c in stand_in.calls if "_customers" in c.path]
        assert ids == [1_000, 1_000, 500, 1_000, 1_000, 400]
        assert len(stand_in.members()["vips"]) == 100


def test_empty_property_is_cleared():
    with connected("customer.io") as (connector, stand_in):
        for value in ("2026-03-01", None):
            connector.push_profiles(people(0, retention_next_order=value))
        assert stand_in.people["k0"]["retention_next_order"] == ""


def test_wrong_profile_does_not_keep_back_the_others():
    with connected("customer.io") as (connector, stand_in):
        stand_in.refused = {"k0", "k3"}
        connector.push_profiles(people(*range(3)))
        assert set(stand_in.people) == {"k1", "k2"}
        with pytest.raises(ConnectorError, match="email is not an address") as caught:
            connector.push_profiles(people(0, 3))
        assert caught.value.code == "refused"


def test_connection_without_the_track_api_takes_no_profiles():
    with connected("customer.io", site_id="", track_key="") as (connector, stand_in):
        assert connector.missing_settings == ("site_id", "track_key")
        connector.check_profiles()
        assert not stand_in.calls


def test_dynamic_segment_of_the_same_name_is_left_alone():
    with connected("customer.io") as (connector, stand_in):
        connector.change_list("Signed up", people(*range(2)), [])
        assert stand_in.segments[1] == ("Signed up", {"k0"})
        assert stand_in.members() == {"Signed up": {"k0", "k1"}}
