"""Test the nightly publication of scores and audiences for other systems."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, func, select

from retention import clock, erasure
from retention.connect import connections
from retention.connect.contract import READ_UNTIL, ConnectorError, ListUnavailable
from retention.connect.platforms import profiles, reactions
from retention.connect.platforms.contacts import MailPlatform
from retention.connect.readers import api_keys
from retention.connect.registry import connector_class
from retention.db.tables import Audience, AudienceMember, Job, Profile, ProfileSnapshot
from retention.lake import Lake
from retention.outreach.consent import suppressed_customers
from tests import readonly
from tests import shop as tiny
from tests.standins.profile_platforms import PLATFORMS
from tests.world import add, change, execute, read, scalars
from workers.job_requests import PlatformSync, PublishProfiles
from workers.schedule import due_publishing, tick
from workers.tasks.runner import run_inline
from workers.tasks.shops import mail_platforms as task
from workers.tasks.shops.mail_platforms import left_since

ADMIN = "U0ADMIN"
OTHERS_READ = [  # what differs by platform has tests of its own
    pytest.param(kind, marks=pytest.mark.nightly) for kind in ("brevo", "customer.io", "mailchimp")
]
ONE = pytest.mark.nightly_after(1)  # what differs by platform has tests of its own


def audience(shop: tiny.Shop, name: str) -> Audience:
    saved = {"expression": "risk >= low", "customers": 0, "saved_by": ADMIN}
    return Audience(team_id=shop.settings.team_id, name=name, counted_as_of=shop.end, **saved)


@pytest.fixture(scope="module")
def with_audience(shop, tmp_path_factory) -> Iterator[tiny.Shop]:
    """The session's shop, with one audience of all who may be at risk."""
    copy = readonly.copy_of(shop, tmp_path_factory.mktemp("audience") / "home")
    add(copy.database, audience(copy, "all-risks"))
    with readonly.shared(copy) as shared:
        yield shared


@pytest.fixture(scope="module")
def published(with_audience, tmp_path_factory) -> Iterator[tiny.Shop]:
    """The same with a publication."""
    folder = tmp_path_factory.mktemp("published")
    copy = readonly.copy_of(with_audience, folder / "home", admins=ADMIN)
    clock.configure(fixed=copy.end)
    publish(copy)
    with readonly.shared(copy) as shared:
        yield shared


@pytest.fixture
def desk(request, tmp_path) -> Iterator[tiny.Shop]:
    """A copy of this test's own, with a publication where a platform is to get it."""
    made = "published" if "platform" in request.fixturenames else "with_audience"
    copy = readonly.copy_of(request.getfixturevalue(made), tmp_path / "home", admins=ADMIN)
    clock.configure(fixed=copy.end)
    yield copy
    copy.database.dispose()


def publish(desk) -> dict:
    return run_inline(desk.database, PublishProfiles(), user=ADMIN)


def counted(session, table) -> int:
    return session.scalar(select(func.count()).select_from(table))


def test_publication_has_every_score_and_every_member(desk):
    data = publish(desk)
    assert data["customers"] > 0
    assert data["audiences"] == {"all-risks": data["customers"]}
    with desk.database.reading() as session:
        snapshot = profiles.newest_snapshot(session)
        assert snapshot.customers == data["customers"] == counted(session, Profile)
        assert counted(session, AudienceMember) == data["customers"]
        customer = session.scalar(select(Profile.customer_id).order_by(Profile.customer_id))
        found = profiles.customer_profile(session, customer)
    assert found["risk"]["tier"] in ("high", "medium", "low")
    assert 0 <= found["risk"]["churn_probability"] <= 1
    assert found["audiences"] == ["all-risks"]


def test_two_publications_are_kept_and_lose_erased_customers(desk):
    for _ in range(3):
        publish(desk)
    with desk.database.transaction() as session:
        assert counted(session, ProfileSnapshot) == 2
        customer = session.scalar(select(Profile.customer_id))
        erasure.erase_from_sql(session, [customer])
        for table in (Profile, AudienceMember):
            assert session.scalar(select(table).where(table.customer_id == customer)) is None


def test_nothing_is_published_while_nobody_reads(database):
    assert set(due_publishing.TAKERS) == set(PLATFORMS)  # each would read
    assert read(database, due_publishing.due, clock.now()) is None
    assert read(database, due_publishing.next_moment, clock.now()) is None


def test_publication_is_due_with_the_first_key_and_every_night(database, settings):
    zone = ZoneInfo(settings.timezone)
    noon = datetime(2026, 3, 1, 12, tzinfo=zone)
    clock.configure(fixed=noon)
    change(database, api_keys.add, "crm", ADMIN)
    for at, jobs in ((noon, 1), (noon + timedelta(hours=3), 1), (noon + timedelta(hours=17), 2)):
        clock.configure(fixed=at)
        tick.tick(database)
        with database.reading() as session:
            found = session.scalars(select(Job).where(Job.kind == "publish_profiles")).all()
            assert len(found) == jobs
            upcoming = due_publishing.next_moment(session, at)
        assert upcoming.astimezone(zone).hour == 4
        assert upcoming > at


# ---------------------------------------------------------------- mail platforms


def connect(desk, kind, values):
    with desk.database.transaction() as session:
        declared = connector_class(kind).settings
        connections.add(session, "mail", kind, declared, values, channel="C0CRM", by=ADMIN)


@pytest.fixture(params=PLATFORMS)
def platform(request, desk):
    """The desk with a publication, connected to a stand-in of a mail platform."""
    kind = request.param
    with PLATFORMS[kind].stand_in.start() as stand_in:
        connect(desk, kind, PLATFORMS[kind].values(stand_in))
        yield stand_in


def synchronise(desk) -> dict:
    (connection,) = read(desk.database, connections.connections)
    snapshot = read(desk.database, profiles.newest_snapshot)
    request = PlatformSync(connection_id=connection.id, snapshot_id=snapshot.id)
    return run_inline(desk.database, request, user=ADMIN)


def test_platform_gets_scores_and_audiences_of_customers_with_consent(desk, platform):
    for _ in range(2):
        tick.tick(desk.database)
        assert len(sync_keys(desk)) == 1  # each publication goes there once
    told = synchronise(desk)
    properties = platform.properties()
    assert 0 < told["profiles"] == len(properties)
    assert told["without_consent"] > 0
    values = map(str, next(iter(properties.values())).values())
    assert {"high", "medium", "low"}.intersection(values)
    ((name, members),) = platform.members().items()
    assert name == "Retention: all-risks"
    assert members == set(properties)
    assert told["lists"][name] == {"added": len(members), "removed": 0}


@ONE
@pytest.mark.parametrize("kind", ["customer.io", "klaviyo"])
def test_consent_to_emails_hands_over_no_phone_number(desk, kind):
    lake = Lake.open(desk.settings)
    customers = lake.table("customers").execute()
    lake.upsert("customers", customers.assign(phone="+447400123456"))
    with PLATFORMS[kind].stand_in.start() as stand_in:
        connect(desk, kind, PLATFORMS[kind].values(stand_in))
        publish(desk)
        assert synchronise(desk)["profiles"] > 0
        assert not any(b"7400123456" in call.body for call in stand_in.calls)


@pytest.mark.nightly
@ONE
def test_later_synchronisation_only_changes_what_changed_and_empties_deleted_lists(desk, platform):
    synchronise(desk)
    name = "Retention: all-risks"
    wanted = set(platform.members()[name])
    platform.take_out(name, min(wanted))
    assert synchronise(desk)["lists"] == {name: {"added": 1, "removed": 0}}
    assert platform.members()[name] == wanted
    outsider = AudienceMember.customer_id == min(wanted)
    execute(desk.database, delete(AudienceMember).where(outsider))
    assert synchronise(desk)["lists"] == {name: {"added": 0, "removed": 1}}
    assert platform.members()[name] == wanted - {min(wanted)}
    execute(desk.database, delete(Audience))
    assert synchronise(desk)["lists"] == {name: {"added": 0, "removed": len(wanted) - 1}}
    assert platform.members() == {name: set()}
    assert synchronise(desk)["lists"] == {}


@pytest.mark.nightly
def test_unsubscribe_at_the_platform_counts_here(desk, platform):
    synchronise(desk)
    platform.happen("unsubscribed", min(platform.properties()), desk.end)
    for expected in (1, 0):
        told = synchronise(desk)
        assert told["unsubscribed"] == expected
        assert told["lists"]["Retention: all-risks"]["removed"] == expected


def test_reading_back_overlaps_and_covers_an_outage():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    overlap = timedelta(days=15)
    assert left_since(None, now) == now - timedelta(days=180)
    yesterday, last_month = now - timedelta(days=1), now - timedelta(days=31)
    for read_until in (yesterday, last_month):
        assert left_since(read_until.isoformat(), now) == read_until - overlap


@ONE
def test_unsubscribe_of_before_the_connection_counts(desk, platform):
    synchronise(desk)
    with desk.database.transaction() as session:
        (connection,) = connections.connections(session)
        config = dict(connection.config)
        del config[READ_UNTIL]
        connection.config = config
    at = desk.end - timedelta(days=100)
    platform.happen("unsubscribed", min(platform.properties()), at)
    assert synchronise(desk)["unsubscribed"] == 1


@pytest.mark.parametrize("platform", ["klaviyo", *OTHERS_READ], indirect=True)
def test_reactions_of_before_a_known_consent_are_not_stored(desk, platform):
    hour = timedelta(hours=1)

    def reactions_after(*ages, consents) -> int:
        for age in ages:
            platform.happen("opened", min(platform.properties()), clock.now() - age)
            platform.happen("clicked", min(platform.properties()), clock.now() - age)
        agree_to_tracking(desk, consents)
        return synchronise(desk)["reactions"]

    assert reactions_after(consents=True) == 0
    platform.happen("opened", min(platform.properties()), clock.now() - hour)
    clock.configure(fixed=desk.end + 24 * hour)
    assert reactions_after(hour, consents=False) == 0
    clock.configure(fixed=desk.end + 48 * hour)
    assert reactions_after(hour, 26 * hour, consents=True) == 2
    clock.configure(fixed=desk.end + 72 * hour)
    assert reactions_after(consents=True) == 0


def agree_to_tracking(desk, consents: bool) -> None:
    people = desk.lake.table("customers").execute().astype(object)
    people = people.where(people.notna(), None)
    desk.lake.upsert("customers", people.assign(tracking_consent=consents))


@pytest.fixture
def reacting(desk, platform):
    """A platform where two customers opened and clicked since the last synchronisation."""
    agree_to_tracking(desk, True)
    synchronise(desk)
    clock.configure(fixed=desk.end + timedelta(days=1))
    for customer in sorted(platform.properties())[:2]:
        for what in ("opened", "clicked"):
            platform.happen(what, customer, clock.now() - timedelta(hours=1))
    return platform


def unread(desk):
    (connection,) = read(desk.database, connections.connections)
    return connection.config[due_publishing.UNREAD]


@pytest.mark.parametrize("platform", ["klaviyo", *OTHERS_READ], indirect=True)
def test_reading_without_time_goes_on_in_the_next_hour_alone(desk, reacting, monkeypatch):
    real = task.read_reactions
    with monkeypatch.context() as late:
        late.setattr(task, "read_reactions", lambda *given: real(*given[:-1], -1.0))
        counts = [synchronise(desk)]
    assert counts[0]["profiles"] > 0
    assert unread(desk)
    tick.tick(desk.database)
    assert [key.count(":") for key in sync_keys(desk)] == [3]
    counts.append(synchronise(desk))
    assert (counts[1]["profiles"], counts[1]["is_complete"], unread(desk)) == (0, True, None)
    assert sum(each["reactions"] for each in counts) == 4
    assert synchronise(desk)["reactions"] == 0


@pytest.mark.parametrize("platform", ["klaviyo"], indirect=True)
def test_long_hand_over_leaves_some_time_for_reading(desk, reacting, monkeypatch):
    monkeypatch.setattr(task, "MOST_WORK", -1.0)
    told = synchronise(desk)
    assert (told["is_complete"], told["reactions"], unread(desk)) == (False, 4, None)


@pytest.mark.parametrize("platform", ["klaviyo"], indirect=True)
def test_reading_that_is_killed_goes_on_where_it_was(desk, reacting, monkeypatch):
    real, stored = reactions.store_reactions, []

    def store(*given):
        if stored:
            raise KeyboardInterrupt
        stored.append(real(*given))
        return stored[0]

    with monkeypatch.context() as killed:
        killed.setattr(reactions, "MOST_STORED", 1)
        killed.setattr(reactions, "store_reactions", store)
        with pytest.raises(KeyboardInterrupt):
            synchronise(desk)
    told = synchronise(desk)
    assert (stored[0], told["reactions"], told["profiles"]) == (2, 2, 0)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(
    ("kind", "optional"),
    [("customer.io", ("site_id", "track_key")), ("mailchimp", ("marketing_key", "audience"))],
)
def test_connection_without_optional_settings_only_reads_back(desk, kind, optional):
    with PLATFORMS[kind].stand_in.start() as stand_in:
        values = PLATFORMS[kind].values(stand_in)
        connect(desk, kind, {key: value for key, value in values.items() if key not in optional})
        publish(desk)
        told = synchronise(desk)
        assert (told["missing_settings"], told["error"]) == ([*optional], None)
        assert (told["profiles"], stand_in.properties(), stand_in.members()) == (0, {}, {})
        assert {call.path for call in stand_in.calls} <= {"/v1/messages", "/api/1.3/rejects/list"}


@ONE
def test_problem_of_a_platform_is_told_once_and_when_it_is_over(desk, platform):
    for wrong in (True, True, False, False):
        if wrong:
            platform.fail("unauthorized")
        told = synchronise(desk)
        assert told["error"] == ("access_denied" if wrong else None)
        with desk.database.transaction() as session:
            (connection,) = connections.connections(session)
            assert connection.error_code == told["error"]
            repeated = ConnectorError("access_denied") if wrong else None
            assert not connections.note_error(connection, repeated)


@ONE
def test_unsubscribes_are_read_although_the_platform_refuses_scores(desk, platform):
    synchronise(desk)
    platform.happen("unsubscribed", min(platform.properties()), desk.end)
    platform.fail("forbidden", path="churn")
    told = synchronise(desk)
    assert (told["error"], told["unsubscribed"]) == ("scope_missing", 1)


@ONE
def test_unsubscribe_is_stored_although_the_hand_over_is_killed(desk, platform, monkeypatch):
    synchronise(desk)
    customer = min(platform.properties())
    platform.happen("unsubscribed", customer, desk.end)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "sync_platform", killed)
    with pytest.raises(KeyboardInterrupt):
        synchronise(desk)
    assert customer in read(desk.database, suppressed_customers)


def sync_keys(desk) -> list[str]:
    due = select(Job.idem_key).where(Job.idem_key.startswith("platform_sync:"))
    return scalars(desk.database, due)


@ONE
def test_hand_over_without_time_continues_in_the_next_hour(desk, platform, monkeypatch):
    monkeypatch.setattr(task, "MOST_WORK", -1.0)
    told = synchronise(desk)
    assert (told["is_complete"], told["error"], platform.members()) == (False, None, {})
    numbers = []
    for _ in range(2):
        tick.tick(desk.database)
        numbers.append([key.count(":") for key in sync_keys(desk)])
    assert numbers == [[3], [3]]  # the key of an hour, once
    monkeypatch.undo()
    assert synchronise(desk)["is_complete"]
    (connection,) = read(desk.database, connections.connections)
    assert connection.config[due_publishing.UNFINISHED] is None


@ONE
def test_later_job_hands_over_the_rest_only(desk, platform):
    name = "Retention: all-risks"
    synchronise(desk)
    customers = sorted(platform.properties())
    with desk.database.transaction() as session:
        (connection,) = connections.connections(session)
        rest = {
            "snapshot_id": profiles.newest_snapshot(session).id,
            "done_lists": [name],
            "pushed_until": customers[-3],
        }
        connection.config = {**connection.config, due_publishing.UNFINISHED: rest}
    told = synchronise(desk)
    assert (told["profiles"], told["lists"], told["is_complete"]) == (2, {}, True)
    assert synchronise(desk)["profiles"] == len(customers)


@ONE
def test_list_that_cannot_be_read_blocks_no_other(desk, platform, monkeypatch):
    add(desk.database, audience(desk, "a-list"))
    publish(desk)
    real = MailPlatform.list_members

    def members(self, name, addresses=None):
        if name == "Retention: a-list":
            raise ListUnavailable("rate_limited", "the export still runs")
        return real(self, name, addresses)

    monkeypatch.setattr(MailPlatform, "list_members", members)
    told = synchronise(desk)
    assert (told["error"], told["is_complete"]) == ("rate_limited", False)
    assert told["profiles"] > 0
    assert set(platform.members()) == {"Retention: all-risks"}
    monkeypatch.undo()
    told = synchronise(desk)
    assert (set(told["lists"]), told["profiles"]) == ({"Retention: a-list"}, 0)


@ONE
def test_platform_that_does_not_answer_gets_it_again_next_hour(desk, platform):
    platform.fail("server_error", times=99)
    assert synchronise(desk)["error"] == "unavailable"
    numbers = []
    for hours in (0, 0, 1):
        clock.configure(fixed=desk.end + timedelta(hours=hours))
        tick.tick(desk.database)
        numbers.append(len(sync_keys(desk)))
    assert numbers == [1, 1, 2]
