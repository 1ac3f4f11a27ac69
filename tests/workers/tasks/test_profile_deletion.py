"""Test that an erasure has mail platforms delete the customer's profiles."""

from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from bot import terminal
from bot.terminal.terminal_runner import printed
from retention import clock
from retention.connect import connections
from retention.connect.contract import Profile
from retention.connect.platforms import profile_deletion
from retention.connect.registry import connector, connector_class
from retention.db.tables import Audit, Job, Outbox, ProfileDeletion
from retention.keys import Keys
from tests import shop as tiny
from tests.standins.profile_platforms import PLATFORMS
from tests.workers import harness
from tests.world import add, execute, scalars
from workers.job_requests import Forget, PlatformSync, Tidy
from workers.schedule import tick as schedule
from workers.tasks.runner import run_job

ADMIN = "U0ADMIN"


@pytest.fixture
def shop(admin_shop) -> tiny.Shop:
    return admin_shop


@pytest.fixture
def someone(shop) -> tuple[str, str]:
    """A customer's id and address."""
    customers = shop.lake.table("customers").execute().sort_values("customer_id")
    row = customers[customers["email"].notna()].iloc[0]
    return row["customer_id"], row["email"]


@pytest.fixture
def platforms(shop, someone):
    """All mail platforms, connected under the names of their kinds, each with two profiles."""
    with ExitStack() as stack:
        found = {}
        for kind, each in PLATFORMS.items():
            found[kind] = stack.enter_context(each.stand_in.start())
            connect(shop, kind, each.values(found[kind]))
        yield found


def connect(shop, kind, values):
    with shop.database.transaction() as session:
        declared = connector_class(kind).settings
        row = connections.add(session, kind, kind, declared, values, channel="C0CRM", by=ADMIN)
        platform = connector(kind, connections.access(shop.settings, row))
    if not platform.missing_settings:
        customers = shop.lake.table("customers").execute().set_index("customer_id")["email"]
        owned = sorted(customers.dropna().items())[:2]
        platform.push_profiles([Profile(*each) for each in owned])
    platform.close()


def run(shop, job) -> Job:
    run_job(shop.database, job if isinstance(job, str) else job.id, "test")
    return harness.job(shop.database, job if isinstance(job, str) else job.id)


def forget(shop, customer, key="forget") -> Job:
    request = Forget(customer_id=customer)
    return run(shop, harness.ask(shop.database, request, key, channel=ADMIN))


def states(job) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["state"], each["code"]) for each in job.result["platforms"]}


def tick(shop) -> None:
    """Run the requests that are due."""
    for job_id in schedule.tick(shop.database):
        if harness.job(shop.database, job_id).kind == "delete_profile":
            assert run(shop, job_id).error is None


def make_due(shop, **values) -> None:
    with shop.database.transaction() as session:
        now = clock.wall() - timedelta(seconds=1)
        session.execute(update(ProfileDeletion).values(retry_at=now, **values))


def rows(shop) -> list[ProfileDeletion]:
    return scalars(shop.database, select(ProfileDeletion).order_by(ProfileDeletion.id))


def test_erasure_deletes_profiles_everywhere_and_asks_again_where_it_failed(
    shop, someone, platforms
):
    customer, email = someone
    platforms["klaviyo"].fail("server_error", times=2, path="data-privacy")
    platforms["brevo"].fail("rate_limited", value=3600)
    job = forget(shop, customer)
    assert job.error is None
    assert job.result["erased"]["customers"] == 1
    waiting = {"klaviyo": ("waiting", "unavailable"), "brevo": ("waiting", "rate_limited")}
    assert states(job) == dict.fromkeys(PLATFORMS, ("deleted", "")) | waiting
    shown = str(harness.row(shop.database, f"job:{job.id}").payload)
    assert all(name in shown.lower() for name in PLATFORMS)
    by_name = {row.name: row for row in rows(shop)}
    assert by_name["brevo"].retry_at > clock.wall() + timedelta(minutes=59)
    assert [name for name, row in by_name.items() if row.sealed] == ["brevo", "klaviyo"]
    assert not any(email.encode() in row.sealed for row in by_name.values())

    make_due(shop)
    tick(shop)  # Klaviyo is still down
    assert {row.name: row.state for row in rows(shop)}["klaviyo"] == "waiting"
    tick(shop)  # nothing is due
    assert {row.attempts for row in rows(shop) if row.name == "klaviyo"} == {2}
    make_due(shop)
    tick(shop)
    assert {(row.state, row.sealed) for row in rows(shop)} == {("deleted", b"")}
    for platform in platforms.values():
        assert customer not in platform.properties()
        assert len(platform.properties()) == 1
    audit = scalars(shop.database, select(Audit).where(Audit.action == "customer.forget_profile"))
    replies = scalars(shop.database, select(Outbox).where(Outbox.thread_key == f"job:{job.id}"))
    assert sorted(row.details["connection"] for row in audit) == sorted(PLATFORMS)
    assert {row.details["result"] for row in audit} == {"deleted"}
    assert len(replies) == 3  # the certificate, and an answer of each that was asked again
    stored = [str(vars(row)) for row in (*audit, *replies)]
    assert not [text for text in stored if email in text or customer in text]


@pytest.fixture
def klaviyo(shop, someone):
    with PLATFORMS["klaviyo"].stand_in.start() as stand_in:
        connect(shop, "klaviyo", PLATFORMS["klaviyo"].values(stand_in))
        yield stand_in


def test_platform_that_refuses_for_a_week_is_left_to_an_admin(shop, someone, by_hand):
    (row,) = rows(shop)
    assert (row.state, row.error_code) == ("by_hand", "scope_missing")
    message = harness.row(shop.database, f"profile-deletion:{by_hand}")
    assert message.channel == ADMIN
    assert "Klaviyo" in message.payload["text"]
    assert someone[1] not in str(message.payload)
    assert "source erasures" in str(message.payload)
    make_due(shop)
    tick(shop)
    assert rows(shop)[0].attempts == row.attempts


@pytest.fixture
def by_hand(shop, someone, klaviyo) -> int:
    """The number of a profile that is left to an admin."""
    klaviyo.fail("forbidden", times=9)
    assert states(forget(shop, someone[0])) == {"klaviyo": ("waiting", "scope_missing")}
    make_due(shop, created_at=clock.wall() - profile_deletion.ASKED_FOR)
    tick(shop)
    (row,) = rows(shop)
    return row.id


def test_admin_sees_whom_to_delete_by_hand_until_it_is_done(
    shop, someone, by_hand, monkeypatch, capsys
):
    monkeypatch.setenv("RETENTION_HOME", str(shop.settings.home))
    monkeypatch.delenv("RETENTION_DATABASE_URL", raising=False)

    def typed(*options):
        status = terminal.run(["source", "erasures", *options])
        return status, "".join(capsys.readouterr())

    status, listed = typed()
    assert status == 0
    assert someone[0] in listed
    assert someone[1] in listed
    assert typed("--done", "999")[0] != 0
    assert rows(shop)[0].sealed
    assert someone[1] not in typed("--done", str(by_hand))[1]
    assert rows(shop)[0].sealed == b""
    with shop.database.reading() as session:
        done = session.scalars(select(Audit).order_by(Audit.id.desc())).first()
    assert done.details["result"] == "deleted_by_hand"


def test_profile_of_a_lost_key_is_listed_without_its_address(shop, by_hand):
    execute(shop.database, update(ProfileDeletion).values(sealed=b"of another key"))
    with shop.database.reading() as session:
        (listed,) = profile_deletion.left(session)
    assert (listed["number"], listed["ids"], listed["emails"]) == (by_hand, [], [])


def test_profile_left_to_an_admin_is_forgotten_after_30_days(shop, by_hand):
    for due, kept in ((clock.wall() + timedelta(days=29), True), (clock.wall(), False)):
        execute(shop.database, update(ProfileDeletion).values(retry_at=due))
        run(shop, harness.ask(shop.database, Tidy(), f"tidy {kept}"))
        assert bool(rows(shop)[0].sealed) == kept


def test_connection_with_a_new_key_is_asked_again(shop, someone, klaviyo):
    klaviyo.fail("unauthorized")
    assert states(forget(shop, someone[0])) == {"klaviyo": ("waiting", "access_denied")}
    with shop.database.transaction() as session:
        session.delete(connections.find(session, "klaviyo"))
    make_due(shop)
    tick(shop)
    assert [(row.state, row.error_code) for row in rows(shop)] == [("waiting", "access_denied")]
    with shop.database.transaction() as session:
        values = PLATFORMS["klaviyo"].values(klaviyo)
        declared = connector_class("klaviyo").settings
        connections.add(session, "klaviyo", "klaviyo", declared, values, channel=None, by=ADMIN)
    make_due(shop)
    tick(shop)
    assert [row.state for row in rows(shop)] == ["deleted"]


def test_request_waits_while_a_hand_over_could_write_the_profile_again(shop, someone, klaviyo):
    begun = {"state": "running", "attempt": 1, "lease_until": clock.wall() + timedelta(minutes=5)}
    hand_over = PlatformSync(connection_id=1, snapshot_id=1)
    add(shop.database, harness.job_row(shop.settings, "sync", hand_over, **begun))
    assert states(forget(shop, someone[0])) == {"klaviyo": ("waiting", "busy")}
    assert someone[0] in klaviyo.properties()
    execute(shop.database, update(Job).where(Job.id == "sync").values(state="done"))
    make_due(shop)
    tick(shop)
    assert someone[0] not in klaviyo.properties()


def test_platform_without_access_to_profiles_is_named(shop, someone):
    with PLATFORMS["customer.io"].stand_in.start() as stand_in:
        values = PLATFORMS["customer.io"].values(stand_in)
        del values["site_id"], values["track_key"]
        connect(shop, "customer.io", values)
        job = forget(shop, someone[0])
        assert states(job) == {"customer.io": ("by_hand", "no_access")}
        assert not stand_in.calls
    assert "Customer.io" in printed("forget", job.result, shop.settings)


def test_second_attempt_still_knows_the_address(shop, someone, klaviyo):
    with shop.database.transaction() as session:
        for contacts in ([someone[1]], []):
            known = lambda _, found=contacts: found  # noqa: E731
            session.add_all(profile_deletion.plan(session, "j", [someone[0]], known))
    (row,) = rows(shop)
    assert profile_deletion.ask(shop.database, row.id) == ("", None)
    assert someone[0] not in klaviyo.properties()


@pytest.mark.parametrize("state", ["waiting", "by_hand"])
def test_rotation_keeps_what_waits_or_is_left_to_an_admin(shop, someone, klaviyo, state):
    klaviyo.fail("server_error")
    forget(shop, someone[0])
    make_due(shop, state=state)
    old = shop.settings.keys.all
    settings = shop.settings.model_copy()
    settings.__dict__["keys"] = Keys((b"n" * 32, *old))
    with shop.database.using(settings).transaction() as session:
        connections.rotate_all(session)
        profile_deletion.rotate_all(session)
    settings.__dict__["keys"] = Keys((b"n" * 32,))
    (row,) = rows(shop)
    renewed = shop.database.using(settings)
    assert profile_deletion.ask(renewed, row.id) == ("", None)


def test_without_a_platform_the_answer_says_so(shop, someone):
    job = forget(shop, someone[0])
    assert job.result["platforms"] == []
    assert harness.row(shop.database, f"job:{job.id}").payload["blocks"]


def test_erasure_by_a_shop_leaves_the_requests_to_the_tick(shop, someone, klaviyo):
    request = Forget(customer_id=someone[0], more_ids=("unknown",))
    job = run(shop, harness.ask(shop.database, request, "redact", channel=None))
    assert states(job) == {"klaviyo": ("waiting", "")}
    assert someone[0] in klaviyo.properties()
    make_due(shop)
    tick(shop)
    assert someone[0] not in klaviyo.properties()
