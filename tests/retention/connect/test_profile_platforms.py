"""Run the same tests on every mail platform that takes scores and audiences."""

from datetime import UTC, datetime, timedelta

import pytest

from retention import clock
from retention.connect import registry
from retention.connect.connections import Access, check_values
from retention.connect.contract import Profile
from retention.connect.platforms.platform_sync import _sync_list
from retention.errors import BadInput
from tests.retention.connect.failures import failure
from tests.retention.connect.platforms import connected, people
from tests.standins.profile_platforms import PLATFORMS

SINCE = datetime(2026, 2, 1, tzinfo=UTC)
EVERY = pytest.mark.parametrize("kind", PLATFORMS)


@pytest.fixture(params=PLATFORMS)
def platform(request):
    """A connector and its stand-in."""
    with connected(request.param) as pair:
        yield pair


def steps(connector):
    """Return each step of a synchronisation."""
    return {
        "left": lambda: list(connector.left(SINCE)),
        "list_members": lambda: list(connector.list_members("vips")),
        "change_list": lambda: connector.change_list("vips", people(1, 9), people(2)),
        "push_profiles": lambda: connector.push_profiles(people(1, retention_risk="high")),
        "delete_profiles": lambda: delete(connector, 2),
    }


def delete(connector, *numbers):
    everyone = people(*numbers)
    connector.delete_profiles(
        [each.customer_id for each in everyone], [each.email for each in everyone]
    )


def fill(connector, stand_in):
    """Fill a list, and let customers leave."""
    connector.change_list("vips", people(*range(5)), [])
    for what in ("bounced", "unsubscribed", "complained"):
        stand_in.happen(what, "k1", SINCE + timedelta(days=2))
    stand_in.calls.clear()


@pytest.fixture
def filled(platform):
    """A connector and its stand-in with a list of five customers."""
    fill(*platform)
    return platform


def test_connector_declares_its_settings(platform):
    connector, stand_in = platform
    check_values(connector.settings, PLATFORMS[connector.kind].values(stand_in))
    assert connector.missing_settings == ()


def test_scores_become_properties_of_profiles(platform):
    connector, stand_in = platform
    for tier, at in (("low", "2026-03-09"), ("high", None)):
        connector.push_profiles(people(1, 2, retention_risk=tier, retention_next_order=at))
    assert list(stand_in.properties()["k2"].values()).count("high") == 1


def test_list_has_exactly_the_members_that_are_wanted(platform):
    connector, stand_in = platform
    assert list(connector.list_members("vips")) == []
    connector.change_list("vips", people(*range(5)), [])
    connector.change_list("vips", people(9), people(1, 3, 77))
    for _ in range(2):  # repeating changes nothing
        connector.change_list("vips", people(9), people(1, 3))
    assert sorted(connector.list_members("vips")) == ["k0", "k2", "k4", "k9"]
    assert set(stand_in.members()) == {"vips"}


@EVERY
def test_address_of_two_customers_stays_in_the_list_every_night(kind):
    shared = "both@example.com"
    with PLATFORMS[kind].stand_in.start() as stand_in:
        for _ in range(4):
            connector = registry.connector_class(kind)(Access(PLATFORMS[kind].values(stand_in)))
            _sync_list(connector, "hold-out", [Profile("k1", shared)])
            assert len(stand_in.members()["hold-out"]) == 1
            # The contact gets the id of the customer whose profile comes last.
            connector.push_profiles([Profile("k2", shared)])
            connector.close()


@pytest.mark.parametrize("kind", ["brevo", "mailchimp", "sendgrid"])
def test_removed_customer_leaves_an_address_that_stays(kind):
    shared = "both@example.com"
    with connected(kind) as (connector, _):
        connector.change_list("hold-out", [Profile("k1", shared), *people(2)], [])
        connector.push_profiles([Profile("k2", shared)])
        connector.change_list("hold-out", [], people(2), keep=["Both@example.com"])
        assert list(connector.list_members("hold-out", {"k1": shared})) == ["k1"]


def test_name_of_a_list_changes_no_other(platform):
    connector, stand_in = platform
    name = 'a") or equals(name,"b\\'
    connector.change_list(name, people(1), [])
    connector.change_list("other", people(2), [])
    assert list(connector.list_members(name)) == ["k1"]
    assert set(stand_in.members()) == {name, "other"}


def test_bounces_unsubscribes_and_complaints_are_read_back(platform):
    connector, stand_in = platform
    connector.push_profiles(people(*range(1, 6)))
    at = SINCE + timedelta(days=3)
    stand_in.happen("bounced", "k5", SINCE - timedelta(days=1))
    stand_in.happen("opened", "k5", at)
    for number in (1, 2, 3):  # more than one page
        stand_in.happen("bounced", f"k{number}", at)
    stand_in.happen("unsubscribed", "k3", at)
    stand_in.happen("complained", "k4", at)
    expected = [("bounced", f"k{n}@example.com", at) for n in (1, 2, 3)]
    expected += [("complained", "k4@example.com", at), ("unsubscribed", "k3@example.com", at)]
    for _ in range(2):
        assert sorted(set(connector.left(SINCE))) == expected


# ---------------------------------------------------------------- faults


def test_short_pause_of_a_limit_is_waited_for(filled):
    connector, stand_in = filled
    for step in steps(connector).values():
        stand_in.fail("rate_limited", value=0.01)
        step()
    assert stand_in.members()["vips"] == {"k0", "k1", "k3", "k4", "k9"}
    assert "k2" not in stand_in.properties()


@pytest.mark.parametrize(
    "step", ["left", "list_members", "change_list", "push_profiles", "delete_profiles"]
)
def test_long_pause_of_a_limit_ends_the_job_with_its_time(filled, step):
    connector, stand_in = filled
    stand_in.fail("rate_limited", times=9, value=3600)
    error = failure(steps(connector)[step])
    assert error.code == "rate_limited"
    wait = error.retry_at - clock.wall()
    assert timedelta(minutes=59) < wait <= timedelta(hours=1)
    assert len(stand_in.calls) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("unauthorized", "access_denied"),
        ("forbidden", "scope_missing"),
        ("server_error", "unavailable"),
        ("cut_after_effect", "unavailable"),
        ("not_json", "changed_schema"),
    ],
)
def test_fault_has_its_code_and_a_repeat_completes_the_work(filled, fault, code):
    connector, stand_in = filled
    named = ["left", "list_members", "change_list"]
    if fault != "not_json":  # nobody reads the answer to a deletion
        named.append("delete_profiles")
    for step in named:
        stand_in.fail(fault)
        assert failure(steps(connector)[step]).code == code
    for step in steps(connector).values():
        step()
    assert stand_in.members() == {"vips": {"k0", "k1", "k3", "k4", "k9"}}
    assert "k2" not in stand_in.properties()


def test_write_that_was_cut_after_its_effect_can_be_repeated(filled):
    connector, stand_in = filled
    stand_in.fail("cut_after_effect", path="k9")
    assert failure(lambda: steps(connector)["change_list"]()).code == "unavailable"
    steps(connector)["change_list"]()
    assert stand_in.members() == {"vips": {"k0", "k1", "k3", "k4", "k9"}}


@pytest.mark.parametrize(
    ("kind", "step", "name"),
    [
        (kind, step, name)
        for kind, each in PLATFORMS.items()
        for step, names in each.fields.items()
        for name in names.split()
    ],
)
def test_renamed_field_is_a_changed_schema(kind, step, name):
    with connected(kind) as (connector, stand_in):
        fill(connector, stand_in)
        vars(connector).pop("_lists", None)
        stand_in.renamed = {name: f"new_{name}"}
        error = failure(steps(connector)[step])
        assert (error.code, error.detail) == ("changed_schema", name)


def test_next_page_at_another_host_gets_no_key():
    with connected("klaviyo") as (connector, _):
        connector.change_list("vips", people(*range(5)), [])
        connector._base = "https://a.klaviyo.com"  # so the stand-in's links are foreign
        assert failure(lambda: list(connector.list_members("vips"))).code == "changed_schema"


@pytest.mark.parametrize(("kind", "path"), [("brevo", "/contacts"), ("mailchimp", "/members")])
def test_missing_page_of_a_list_is_no_end(kind, path):
    with connected(kind) as (connector, stand_in):
        connector.change_list("vips", people(*range(5)), [])
        stand_in.fail("missing_page", path=path)
        error = failure(lambda: list(connector.list_members("vips")))
        assert (error.code, "missing" in error.detail) == ("changed_schema", True)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("customer.io", {"track_key": "wrong"}), ("mailchimp", {"marketing_key": "wrong-us6"})],
)
def test_wrong_key_for_profiles_is_denied_and_emails_are_not(kind, changes):
    with connected(kind, **changes) as (connector, _):
        connector.check()
        assert failure(connector.check_profiles).code == "access_denied"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("customer.io", {"track_key": ""}, "track_key"),
        ("mailchimp", {"audience": ""}, "audience"),
        ("mailchimp", {"audience": "a1/../b2"}, "a1/../b2"),
        ("mailchimp", {"marketing_key": "abc", "marketing_address": ""}, "data centre"),
        ("mailchimp", {"marketing_key": "a-b.example/x", "marketing_address": ""}, "data centre"),
        ("brevo", {"profiles": "perhaps"}, "perhaps"),
        ("sendgrid", {"profiles": "perhaps"}, "perhaps"),
        ("brevo", {"sender": "Tea Shop"}, "'Tea Shop'"),
    ],
)
def test_wrong_setting_is_named(kind, changes, message):
    with pytest.raises(BadInput, match=message), connected(kind, **changes):
        pass


# ---------------------------------------------------------------- deletion


def test_profile_is_deleted_and_others_stay(platform):
    connector, stand_in = platform
    connector.change_list("vips", people(1, 2, 3), [])
    for _ in range(2):  # profiles that are gone are no error
        delete(connector, 1, 2, 77)
        assert set(stand_in.properties()) == {"k3"}
        assert stand_in.members() == {"vips": {"k3"}}
    stand_in.fail("gone")
    connector.delete_profiles([], ["k1@example.com"])


@pytest.mark.parametrize("kind", ["klaviyo", "customer.io"])
def test_profile_with_an_earlier_address_is_deleted(kind):
    with connected(kind) as (connector, stand_in):
        connector.push_profiles([Profile("k/1", "old@example.com"), *people(2)])
        connector.delete_profiles(["k/1"], ["new@example.com"])
        assert set(stand_in.properties()) == {"k2"}


def test_address_with_special_characters_is_deleted(platform):
    connector, stand_in = platform
    connector.push_profiles([Profile("k1", "Ann+tea/1?@example.com"), *people(2)])
    connector.delete_profiles(["k1"], ["ann+tea/1?@example.com"])
    assert set(stand_in.properties()) == {"k2"}
