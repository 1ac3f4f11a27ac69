"""Test what Brevo and SendGrid do differently from other platforms with contacts and lists."""

from datetime import UTC, datetime, timedelta

import pytest

from retention import clock
from retention.connect import web
from retention.connect.contract import Profile
from retention.connect.platforms import brevo, contacts, sendgrid
from tests.retention.connect.failures import failure
from tests.retention.connect.platforms import connected, people

SINCE = datetime(2026, 2, 1, tzinfo=UTC)
SCORES = {
    "retention_risk": "high",
    "retention_churn_probability": 0.81,
    "retention_expected_value": 42.5,
    "retention_next_order": "2026-03-09",
    "retention_items": ["TEA-1", "TEA-2"],
    "retention_as_of": "2026-02-01T00:00:00+00:00",
}
EVERY = pytest.mark.parametrize("kind", ["brevo", "sendgrid"])


# ---------------------------------------------------------------- both


@EVERY
@pytest.mark.parametrize("value", ["", "no"])
def test_contacts_are_handed_over_only_if_a_setting_says_so(kind, value):
    with connected(kind, profiles=value) as (connector, _):
        assert connector.missing_settings == ("profiles",)


@EVERY
def test_scores_arrive_with_their_types_in_fields_that_are_created_once(kind):
    with connected(kind) as (connector, stand_in):
        for _ in range(2):
            connector.push_profiles(people(1, **SCORES))
            vars(connector).pop("_fields", None)
        (properties,) = stand_in.properties().values()
        found = {name.lower(): value for name, value in properties.items()}
        assert set(found) == set(contacts.FIELDS)
        assert found["retention_churn_probability"] == 0.81
        assert found["retention_items"] == "TEA-1, TEA-2"
        assert found["retention_next_order"].startswith("2026-03-09")
        paths = [call.path for call in stand_in.calls if call.method == "POST"]
        created = [path for path in paths if "/normal/" in path or "field_def" in path]
        assert len(created) == len(contacts.FIELDS)


@EVERY
def test_large_batch_is_split_by_its_size(kind, monkeypatch):
    with connected(kind) as (connector, stand_in):
        monkeypatch.setattr({"brevo": brevo, "sendgrid": sendgrid}[kind], "MOST_BYTES", 500)
        connector.change_list("vips", people(*range(20), **SCORES), [])
        imports = [call for call in stand_in.calls if b"k19@" in call.body or b"k0@" in call.body]
        assert len(imports) == 2
        assert len(stand_in.members()["vips"]) == 20


@EVERY
def test_new_address_of_a_customer_joins_the_list(kind):
    with connected(kind) as (connector, stand_in):
        connector.change_list("vips", people(1, 2), [])
        addresses = {"k1": "new@example.com", "k2": "K2@Example.com"}
        assert list(connector.list_members("vips", addresses)) == ["k2"]
        connector.change_list("vips", [Profile("k1", "new@example.com")], [])
        assert set(connector.list_members("vips", addresses)) == {"k1", "k2"}
        connector.change_list("vips", [], [Profile("k1", "")])
        assert stand_in.members()["vips"] == {"k2"}


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("retry-after", lambda _: "90", 90),
        ("x-sib-ratelimit-reset", lambda _: "90", 90),
        ("x-ratelimit-reset", lambda now: f"{now.timestamp() + 90:.0f}", 90),
        ("x-ratelimit-reset", lambda _: "soon", web.DEFAULT_PAUSE.total_seconds()),
    ],
)
def test_each_header_of_a_limit_is_read(name, value, seconds):
    now = clock.wall()
    wait = web.retry_at({name: value(now)}) - now
    assert timedelta(seconds=seconds - 1) <= wait <= timedelta(seconds=seconds + 5)


# ---------------------------------------------------------------- Brevo


def test_unsubscribes_and_blocks_by_the_staff_are_read_at_brevo():
    with connected("brevo") as (connector, stand_in):
        connector.push_profiles(people(1, 2, 3))
        at = SINCE + timedelta(days=3)
        stand_in.happen("unsubscribed", "k3", at)
        stand_in.blocked[0]["reason"]["code"] = "adminBlocked"
        stand_in.blocklist("k1", at)
        stand_in.blocklist("k2", at)  # Brevo blocklists whoever bounces
        stand_in.happen("bounced", "k2", at)
        assert sorted(connector.left(SINCE)) == [
            ("bounced", "k2@example.com", at),
            ("unsubscribed", "k1@example.com", at),
            ("unsubscribed", "k3@example.com", at),
        ]


def test_old_bounce_at_brevo_is_never_an_unsubscribe():
    with connected("brevo") as (connector, stand_in):
        connector.push_profiles(people(1))
        at = SINCE + timedelta(days=3)
        stand_in.happen("bounced", "k1", at)
        stand_in.blocklist("k1", at)
        connector.push_profiles(people(1))  # modifies the contact
        assert list(connector.left(at + timedelta(days=16))) == []


def test_lists_are_in_a_folder_of_their_own():
    with connected("brevo") as (connector, stand_in):
        for name in ("vips", "loyal"):
            connector.change_list(name, people(1), [])
        assert sorted(stand_in.folders.values()) == ["Retention", "Your first folder"]
        connector._remove("1", ["999"])  # a contact that left the list meanwhile
        assert stand_in.members() == {"vips": {"k1"}, "loyal": {"k1"}}


# ---------------------------------------------------------------- SendGrid


@pytest.mark.parametrize("is_compressed", [True, False])
def test_members_are_read_from_a_file_when_it_is_ready(is_compressed):
    with connected("sendgrid") as (connector, stand_in):
        connector.change_list("vips", people(1, 2), [])
        stand_in.polls_until_done, stand_in.compresses = 1, is_compressed
        assert list(connector.list_members("vips")) == ["k1", "k2"]


def test_one_export_serves_reading_and_removing():
    with connected("sendgrid") as (connector, stand_in):
        connector.change_list("vips", people(1, 2), [])
        list(connector.list_members("vips"))
        connector.change_list("vips", [], people(1))
        assert len([call for call in stand_in.calls if call.path.endswith("/exports")]) == 1
        assert list(connector.list_members("vips")) == ["k2"]


def test_export_that_fails_or_still_runs_ends_the_job(monkeypatch):
    monkeypatch.setattr(sendgrid, "EXPORT_WAIT", 0.0)
    with connected("sendgrid") as (connector, stand_in):
        connector.change_list("vips", people(1), [])
        stand_in.failing = "export"
        assert failure(lambda: list(connector.list_members("vips"))).code == "unavailable"
        stand_in.polls_until_done = 9
        error = failure(lambda: list(connector.list_members("vips")))
        assert error.is_temporary
        assert error.retry_at
        assert error.retry_at > clock.wall()


def test_export_without_our_column_is_a_changed_schema():
    with connected("sendgrid") as (connector, stand_in):
        connector.change_list("vips", people(1), [])
        stand_in.fields = {
            key: (name.replace("customer_id", "customer"), kind)
            for key, (name, kind) in stand_in.fields.items()
        }
        error = failure(lambda: list(connector.list_members("vips")))
        assert (error.code, error.detail) == ("changed_schema", "retention_customer_id")


def test_import_that_fails_is_reported():
    with connected("sendgrid") as (connector, stand_in):
        stand_in.failing = "import"
        assert failure(lambda: connector.push_profiles(people(1))).code == "refused"


def test_bounces_without_paging_and_invalid_addresses_are_read_once():
    with connected("sendgrid") as (connector, stand_in):
        connector.push_profiles(people(1, 2, 3))
        for number in (1, 2, 3):
            stand_in.happen("bounced", f"k{number}", SINCE + timedelta(days=1))
        row = {"created": int(SINCE.timestamp()) + 60, "email": "k4@example.com"}
        stand_in.suppressions["invalid_emails"].append(row)
        stand_in.pages = False
        assert [what for what, _, _ in connector.left(SINCE)] == ["bounced"] * 4
