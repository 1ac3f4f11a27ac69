"""Test that migrations create the tables of the models, on both databases."""

import json
import threading
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import OperationalError

from retention import clock
from retention.connect import connections
from retention.db import Base, migrate
from retention.db.insert import insert_once, upsert
from retention.db.migrate import upgrade
from retention.db.tables import (
    SLACK_BOTS,
    SLACK_INSTALLATIONS,
    Campaign,
    Connection,
    Delivery,
    Job,
    Process,
    Send,
    Suppression,
)
from retention.encryption import decrypt_bot_token
from retention.errors import Refused
from retention.settings import Settings
from tests.databases import create_tables


def test_migrations_equal_the_models(empty, database):
    assert upgrade(empty) == upgrade(empty) != ""  # the second one changes nothing
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_concurrent_upgrades(empty, database):
    threads = [threading.Thread(target=upgrade, args=(empty,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables = set(inspect(database.engine).get_table_names())
    assert set(Base.metadata.tables) <= tables
    assert upgrade(empty) != ""


def test_upgrade_cancels_stopped_campaigns_and_keeps_approvals(empty, database):
    """Upgrading from a version with one approver must not expire approvals."""
    upgrade(empty, "0005_sends")
    insert = text(
        "INSERT INTO campaigns (id, name, state, version, post_key, body, salt, drafted_by, "
        "decided_by, team_id, created_at, send_at, expires_at) "
        "VALUES (:id, 'May', :state, 1, 'k', '{}', 's', 'U0ANA', :by, 'local', :at, :at, :at)"
    )
    moment = "2025-05-01 09:00:00"
    with database.engine.begin() as connection:
        for number, (state, by) in enumerate(
            (("stopped", "U0LEAD"), ("approved", "U0LEAD"), ("draft", None))
        ):
            values = {"id": f"c{number}", "state": state, "by": by, "at": moment}
            connection.execute(insert, values)
    upgrade(empty)
    with database.reading() as session:
        stopped, approved, draft = session.scalars(select(Campaign).order_by(Campaign.id))
        assert (stopped.state, approved.state, draft.state) == ("cancelled", "approved", "draft")
        assert (approved.approved_by, draft.approved_by) == (["U0LEAD"], [])
        assert approved.clears_at == approved.send_at
        assert approved.expires_at is None


# Models have columns that the tables of older versions lack.
OLD_CAMPAIGN = text(
    "INSERT INTO campaigns (id, name, state, version, post_key, body, salt, drafted_by, "
    "approved_by, team_id, created_at) "
    "VALUES (:id, 'May', :state, 1, :id, '{}', 's', 'U0ANA', '[]', 'local', :at)"
)
OLD_JOB = text(
    "INSERT INTO jobs (id, kind, queue, args, idem_key, state, attempt, requested_by, "
    "progress_done, progress_total, progress_text, worker, business_at, created_at, team_id) "
    "VALUES (:id, 'sweep', 'batch', '{}', :id, 'queued', 0, 'U0ANA', "
    "0, 0, '', '', :at, :at, 'local')"
)


def test_upgrade_dates_waiting_jobs_from_their_creation(empty, database):
    upgrade(empty, "0009_erasures")
    with database.engine.begin() as connection:
        connection.execute(OLD_JOB, {"id": "j", "at": "2025-05-01 09:00:00"})
    upgrade(empty)
    with database.reading() as session:
        job = session.get_one(Job, "j")
        assert (job.queued_at, job.lost) == (job.created_at, 0)


def test_upgrade_keeps_old_references_and_takes_trace_ids(empty, database):
    upgrade(empty, "0043_audit_links")
    with database.engine.begin() as connection:
        connection.execute(OLD_JOB, {"id": "j", "at": "2025-05-01 09:00:00"})
        connection.execute(text("UPDATE jobs SET reference = '1A2B3C4D'"))
    upgrade(empty)
    with database.transaction() as session:
        job = session.get_one(Job, "j")
        assert (job.reference, job.traceparent) == ("1A2B3C4D", None)
        job.reference, job.traceparent = "a" * 32, f"00-{'a' * 32}-{'b' * 16}-01"


def test_old_version_can_store_jobs_during_an_upgrade(empty, database):
    """The old version does not set two columns; their defaults must exist."""
    upgrade(empty)
    with database.engine.begin() as connection:
        connection.execute(OLD_JOB, {"id": "j", "at": "2025-05-01 09:00:00"})
    with database.reading() as session:
        job = session.get_one(Job, "j")
        assert abs(job.queued_at - clock.wall()) < timedelta(hours=1)
        assert job.lost == 0


def test_upgrade_requeues_unsent_files_of_measured_campaigns(empty, database):
    """The file may have been sent another way, so its customers are not cancelled."""
    upgrade(empty, "0012_slack_oauth")
    over = "not sent before the window was over"
    at = datetime(2025, 5, 1, tzinfo=UTC)
    with database.transaction() as session:
        for name in ("measuring", "closed", "cancelled"):
            session.execute(OLD_CAMPAIGN, {"id": name, "state": name, "at": at})
            for who, channel, error in (
                *(("file", "csv", over), ("call", "call", over), ("mail", "email", over)),
                *(("refused", "csv", "no consent any more"), ("erased-0a", "csv", over)),
            ):
                send = {"campaign_id": name, "customer_id": who, "channel": channel}
                send |= {"state": "cancelled", "error": error, "queued_at": at}
                session.execute(insert(Send).values(send))
    upgrade(empty, "0013_files_nobody_took")
    with database.reading() as session:
        waiting = select(Send.campaign_id, Send.customer_id)
        waiting = waiting.filter_by(state="queued", error=None)
        sends = set(session.execute(waiting).tuples())
        assert sends == {("measuring", "file"), ("measuring", "call")}


def test_upgrade_derives_codes_from_stored_errors_of_sends(empty, database):
    expected = {
        ("bounced", "550 5.1.1 …: user unknown"): "address_refused",
        ("bounced", "550 no such user"): "address_refused",
        ("bounced", "the platform refuses the customer (422)"): "address_refused",
        ("bounced", "the mail server takes no international addresses"): "address_refused",
        ("bounced", "bounced later"): "reported_later",
        ("bounced", "554 5.7.1 spam"): "delivery_refused",
        ("bounced", "550 5.7.1 policy"): "delivery_refused",
        ("bounced", "the message was refused: 554 5.1.1 spam"): "message_refused",
        ("bounced", None): None,
        ("cancelled", "no consent any more"): "no_consent",
        ("cancelled", "unsubscribed since"): "unsubscribed",
        ("cancelled", "the campaign was stopped"): "campaign_stopped",
        ("cancelled", "the campaign is over"): "campaign_over",
        ("cancelled", "not sent before the window was over"): "window_over",
        ("cancelled", "erased"): "erased",
        ("cancelled", None): None,
        ("queued", "450 4.2.1 try later"): None,
        ("sent", "450 4.2.1 try later"): None,
    }
    upgrade(empty, "0016_request_limits")
    at = datetime(2025, 5, 1, tzinfo=UTC)
    with database.transaction() as session:
        session.execute(OLD_CAMPAIGN, {"id": "c1", "state": "live", "at": at})
        for number, (state, error) in enumerate(expected):
            send = {"campaign_id": "c1", "customer_id": f"k{number}", "channel": "email"}
            send |= {"state": state, "error": error, "queued_at": at}
            session.execute(insert(Send).values(send))
    upgrade(empty)
    with database.reading() as session:
        rows = session.execute(select(Send.state, Send.error, Send.error_code)).tuples()
        assert {(state, error): code for state, error, code in rows} == expected


def test_insert_once_and_upsert(database):
    create_tables(database)
    with database.transaction() as session:
        assert insert_once(session, Delivery, key="k")
        assert not insert_once(session, Delivery, key="k")
        for pid in (1, 2):
            upsert(session, Process, {"name": "tick@here"}, role="tick", details={"pid": pid})
        session.expire_all()
        assert session.get_one(Process, "tick@here").details == {"pid": 2}


def test_unsubscribes_of_an_earlier_version_are_of_emails(empty, database):
    upgrade(empty, "0032_profiles")
    with database.engine.begin() as connection:
        row = "('k1', 'unsubscribe', '2025-05-01 09:00:00', 'local')"
        columns = "customer_id, source, at, team_id"
        connection.execute(text(f"INSERT INTO suppressions ({columns}) VALUES {row}"))
    upgrade(empty)
    with database.transaction() as session:
        (row,) = session.scalars(select(Suppression))
        assert (row.customer_id, row.channel) == ("k1", "email")
        session.add(Suppression(customer_id="k1", channel="sms", source="unsubscribe"))


def test_upgrade_encrypts_stored_bot_tokens(empty, database):
    upgrade(empty, "0041_variants")
    token = "xoxb-" + "1234567890" * 12
    values = {"client_id": "1.2", "app_id": "A1", "is_enterprise_install": False, "user_id": "U1"}
    values |= {"installed_at": datetime(2025, 5, 1), "bot_token": token, "team_id": "T0SHOP"}
    with database.engine.begin() as connection:
        for table in (SLACK_BOTS, SLACK_INSTALLATIONS):
            own = {name: value for name, value in values.items() if name in table.c}
            connection.execute(insert(table).values([own, own | {"bot_token": None}]))
    database.engine.dispose()
    upgrade(empty)
    for table in (SLACK_BOTS, SLACK_INSTALLATIONS):
        with database.engine.connect() as connection:
            stored, none = connection.scalars(select(table.c.bot_token).order_by(table.c.id))
        assert (decrypt_bot_token(empty.keys, stored), none) == (token, None)
    database.engine.dispose()
    if database.is_sqlite:
        files = [file.read_bytes() for file in empty.home.rglob("*") if file.is_file()]
        assert len(files) >= 2  # state.db and secret.key
        assert not any(token.encode() in content for content in files)


def test_upgrade_binds_stored_secrets_to_their_place(empty, database):
    upgrade(empty, "0044_traces")
    key = urlsafe_b64encode(
        HKDF(SHA256(), 32, None, b"retention: secrets of connections").derive(empty.key)
    )
    sealed = Fernet(key).encrypt(json.dumps({"token": "t", "secret": "s"}).encode())
    config = {"shop": "a.example", "webhooks_at": "https://desk.example"}
    common = {"team_id": empty.team_id, "name": "shop", "kind": "shopify", "created_by": "U1"}
    common |= {"created_at": datetime(2025, 5, 1, tzinfo=UTC), "config": config, "secrets": sealed}
    with database.engine.begin() as connection:
        connection.execute(insert(Connection), common | {"state": "active"})
    database.engine.dispose()
    upgrade(empty)
    with database.transaction() as session:
        row = connections.find(session, "shop")
        assert dict(connections.access(empty, row).values) == config | {"token": "t", "secret": "s"}
        row.config = config | {"webhooks_at": "https://new.example"}
        assert connections.access(empty, row)["token"] == "t"
        row.config = config | {"shop": "evil.example"}
        with pytest.raises(Refused):
            connections.access(empty, row)


def _absent() -> OperationalError:
    return OperationalError("", {}, psycopg.OperationalError("connection refused"))


def test_start_waits_for_a_database_that_is_not_up_yet(monkeypatch, postgres_url, tmp_path):
    settings = Settings(home=tmp_path, database_url=postgres_url, _env_file=None)
    answers = iter([_absent(), _absent(), "newest"])

    def upgrade(_settings):
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    monkeypatch.setattr(migrate, "upgrade", upgrade)
    monkeypatch.setattr(migrate.time, "sleep", lambda _seconds: None)
    assert migrate.upgrade_when_up(settings) == "newest"


def test_start_does_not_wait_for_a_refusal_nor_for_ever(postgres_url, tmp_path):
    closed = "postgresql://me@127.0.0.1:9/desk"
    unknown = postgres_url.replace("/postgres?", "/nowhere?")
    assert unknown != postgres_url
    for url, patience in ((unknown, 600.0), (closed, 0.0)):
        settings = Settings(home=tmp_path, database_url=url, _env_file=None)
        with pytest.raises(OperationalError):
            migrate.upgrade_when_up(settings, patience)
