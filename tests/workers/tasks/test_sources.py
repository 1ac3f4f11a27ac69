"""Test when sources are pulled, what a pull stores, and what people hear."""

import json
import os
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from bot.commands.source import _without_password, read_secret
from bot.terminal import run
from retention import clock
from retention.connect import connections
from retention.connect.sources import source_records
from retention.db.tables import Connection, Job, Outbox, Source, SourceRun
from retention.errors import BadInput, Conflict, Refused
from retention.lake import Lake
from tests.bot.wire import words
from tests.retention.connect.shops import SHOPS, connected
from tests.workers.harness import CHANNEL
from tests.world import change, one, read, scalars
from workers import action_ids
from workers.campaigns.job_requests import ShopReconcile
from workers.data.source_pulls import next_pull, parse_interval, period
from workers.schedule import due_shop_checks, tick
from workers.tasks import runner
from workers.tasks.data import source_pull
from workers.tasks.runner import run_inline

WITHOUT_SECRET = {"webhook_secret": ""}
NOON = datetime(2025, 7, 21, 12, 0, tzinfo=UTC)
MAP = """[events]
customer_id = "customer"
occurred_at = "at"
order_id    = "id"
amount      = "paid"
event_type  = { value = "purchase" }
"""


def lines(start: int, stop: int, head: str = "id,customer,at,paid") -> str:
    rows = [f"o{n},c{n % 7},2025-07-01 10:{n % 60:02}:00,{n}.5" for n in range(start, stop)]
    return "\n".join([head, *rows]) + "\n"


class Desk:
    """An installation with one source of files, and its clock."""

    def __init__(self, settings, database, folder, monkeypatch) -> None:
        self.settings, self.database, self.folder = settings, database, folder
        self.stamp = 0
        self.folder.mkdir()
        (folder / "map.toml").write_text(MAP)
        monkeypatch.setenv("RETENTION_HOME", str(settings.home))

    def write(self, name: str, text: str) -> None:
        self.stamp += 10
        (self.folder / name).write_text(text)
        os.utime(self.folder / name, (self.stamp, self.stamp))

    def add(self, *options: str) -> int:
        place = str(self.folder / "*.csv")
        given = ["--map", str(self.folder / "map.toml"), "--channel", CHANNEL, *options]
        return run(["source", "add", "orders", place, "--every", "hour", *given])

    def at(self, moment: datetime) -> list[str]:
        """Let the tick and the worker do what is due at a moment; returns the outcomes."""
        clock.configure(fixed=moment)
        tick.tick(self.database)
        queued = scalars(
            self.database, select(Job.id).where(Job.kind == "source_pull", Job.state == "queued")
        )
        return [runner.run_job(self.database, one, "t") for one in queued]

    def source(self) -> Source:
        return read(self.database, source_records.find, "orders")

    def runs(self) -> list[SourceRun]:
        return scalars(self.database, select(SourceRun).order_by(SourceRun.id))

    def posts(self) -> list[str]:
        rows = scalars(self.database, select(Outbox).order_by(Outbox.id))
        return [words(row.payload["blocks"]) for row in rows]


@pytest.fixture
def desk(settings, database, tmp_path, monkeypatch):
    clock.configure(fixed=NOON)
    monkeypatch.setenv("RETENTION_NOW", NOON.isoformat())
    one = Desk(settings, database, tmp_path / "export", monkeypatch)
    one.write("a.csv", lines(0, 40))
    return one


def events(settings) -> int:
    return int(Lake.open(settings).table("events").count().execute())


def test_due_source_is_pulled_once_per_slot(desk):
    assert desk.add() == 0
    assert desk.at(NOON + timedelta(minutes=59)) == []
    assert desk.at(NOON + timedelta(hours=1)) == ["done"]
    assert desk.at(NOON + timedelta(hours=1, minutes=1)) == []
    desk.write("b.csv", lines(40, 45))
    assert desk.at(NOON + timedelta(hours=2)) == ["done"]
    counts = [(one.rows_accepted, one.rows_duplicate) for one in desk.runs()]
    assert counts == [(40, 0), (5, 0)]
    assert events(desk.settings) == 45
    assert desk.posts() == []


def test_crash_before_the_watermark_is_stored_repeats_nothing(desk, monkeypatch):
    desk.add()
    stored = source_pull._store

    def crash(*_args):
        raise SystemExit  # as a killed worker

    monkeypatch.setattr(source_pull, "_store", crash)
    with pytest.raises(SystemExit):
        desk.at(NOON + timedelta(hours=1))
    monkeypatch.setattr(source_pull, "_store", stored)
    assert (events(desk.settings), desk.source().watermark) == (40, {})
    assert desk.at(NOON + timedelta(hours=2)) == ["done"]
    assert (events(desk.settings), desk.runs()[-1].rows_duplicate) == (40, 40)


@pytest.mark.nightly
def test_problem_is_posted_once_on_entry_and_once_when_over(desk):
    desk.add()
    desk.at(NOON + timedelta(hours=1))
    desk.write("b.csv", lines(40, 80, "id,customer,at,total"))
    for hour in (2, 3, 4):
        assert desk.at(NOON + timedelta(hours=hour)) == ["done"]
    (problem,) = desk.posts()
    assert "paid is gone (now perhaps total)" in problem
    assert desk.source().problem == "schema_changed"
    assert events(desk.settings) == 40
    desk.write("b.csv", lines(40, 80))
    desk.at(NOON + timedelta(hours=5))
    assert "imported again" in desk.posts()[-1]
    assert len(desk.posts()) == 2
    assert (desk.source().problem, events(desk.settings)) == (None, 80)


@pytest.mark.nightly
def test_silent_source_is_posted_once(desk):
    desk.add()
    for hour in (1, 2, 3):
        desk.write(f"n{hour}.csv", lines(100 * hour, 100 * hour + 3))
        desk.at(NOON + timedelta(hours=hour))
    for hour in range(4, 10):
        desk.at(NOON + timedelta(hours=hour))
    (silent,) = desk.posts()
    assert "no new row since" in silent
    desk.write("late.csv", lines(900, 903))
    desk.at(NOON + timedelta(hours=10))
    assert "brings new rows again" in desk.posts()[-1]


def test_database_that_is_away_is_posted_after_three_pulls(desk, tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE orders (id, customer, at, paid)"))
        connection.execute(sa.text("INSERT INTO orders VALUES ('o1','c1','2025-07-01 10:00:00',2)"))
    map_path = str(desk.folder / "map.toml")
    query = ["--query", "SELECT * FROM orders", "--every", "hour", "--map", map_path]
    assert run(["source", "add", "orders", url, *query, "--channel", CHANNEL]) == 0
    desk.at(NOON + timedelta(hours=1))
    (tmp_path / "shop.db").rename(tmp_path / "away.db")
    moments = [NOON + timedelta(hours=2, minutes=10 * number) for number in range(4)]
    for moment in moments[:2]:
        desk.at(moment)
    assert desk.posts() == []
    for moment in moments[2:]:
        desk.at(moment)
    (post,) = desk.posts()
    assert "does not answer" in post


def test_shrunk_source_has_a_button_that_imports_anyway(desk):
    desk.add()
    desk.at(NOON + timedelta(hours=1))
    desk.write("a.csv", lines(0, 10))
    desk.at(NOON + timedelta(hours=2))
    row = one(desk.database, select(Outbox))
    assert action_ids.SOURCE_ACCEPT in json.dumps(row.payload)
    assert run(["source", "run", "orders"]) == 2
    assert run(["source", "run", "orders", "--accept-shrunk"]) == 0
    assert desk.source().problem is None


def test_paused_source_is_not_pulled(desk):
    desk.add()
    assert run(["source", "pause", "orders"]) == 0
    assert desk.at(NOON + timedelta(hours=5)) == []
    assert run(["source", "resume", "orders"]) == 0
    assert desk.at(NOON + timedelta(hours=6)) == ["done"]
    assert run(["source", "remove", "orders"]) == 0
    assert desk.at(NOON + timedelta(hours=9)) == []
    assert events(desk.settings) == 40


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["b", "/nowhere/*.csv"], "matches no file"),
        (["b", "postgresql://h/d"], "--query"),
        (["b!", "{csv}"], "cannot name a source"),
        (["b", "{csv}", "--every", "sometimes"], "`hour` and `night`"),
        (["b", "{csv}", "--set", "endpoint"], "key=value"),
        (["b", "{csv}", "--watermark", "at"], "--query"),
        (["b", "nosuch://x/*.csv"], "no object store"),
        (["b", "{csv}", "--map", "{wrong}"], 'asks for the column "kunde"'),
    ],
)
def test_unusable_source_is_refused(desk, capsys, arguments, named):
    wrong = desk.folder / "wrong.toml"
    wrong.write_text(MAP.replace('"customer"', '"kunde"'))
    fields = {"csv": desk.folder / "a.csv", "wrong": wrong}
    given = [one.format(**fields) for one in arguments]
    given += [] if "--map" in given else ["--map", str(desk.folder / "map.toml")]
    assert run(["source", "add", *given]) == 2
    assert named in capsys.readouterr().err
    assert scalars(desk.database, select(Source)) == []


def test_names_are_unique_and_errors_name_the_nearest(desk, capsys):
    assert desk.add() == 0
    assert desk.add() == 2
    assert "already" in capsys.readouterr().err
    assert run(["source", "show", "orderz"]) == 2
    assert "Did you mean orders?" in capsys.readouterr().err


def test_second_shop_is_refused_before_its_secrets_are_asked_for(desk, capsys):
    with desk.database.transaction() as session:
        new = source_records.NewSource("first", "shop", "shopify", "hour", "UTC", NOON)
        source_records.add(session, new, by="U1")
        with pytest.raises(Conflict):
            source_records.add(session, replace(new, name="second"), by="U1")
    assert run(["source", "add", "second", "woocommerce", "--set", "shop=https://b.example"]) == 2
    assert "'first'" in capsys.readouterr().err


def test_password_of_a_database_is_read_from_a_file_and_encrypted(desk, tmp_path, monkeypatch):
    new = source_records.NewSource("db", "query", "postgresql://u:***@h/d", "hour", "UTC", NOON)
    with desk.database.transaction() as session:
        whole = "postgresql://u:geheim@h/d"
        row = source_records.add(session, replace(new, secrets={"url": whole}), by="U1")
        assert b"geheim" not in row.secrets
        assert "geheim" not in json.dumps(source_records.summary(session, row))
        assert source_records.rotate_all(session) == 1
        place = source_records.place_of(row)
        assert connections.decrypt(desk.settings.keys, row.secrets, place) == {"url": whole}
        elsewhere = place | {"location": "postgresql://u:***@evil.example/d"}
        with pytest.raises(Refused):
            connections.decrypt(desk.settings.keys, row.secrets, elsewhere)
    (tmp_path / "pw").write_text("geheim\n")
    monkeypatch.setenv("PASSWORD_FILE", str(tmp_path / "pw"))
    secret = {"password": read_secret("password")}
    shown, stored = _without_password("postgresql://u@h/d?sslpassword=x", secret)
    assert (shown, stored["url"].partition("?")[0]) == ("postgresql://u:***@h/d", whole)


def test_intervals_and_next_pulls():
    stored = {"hour": "hour", "Night": "daily 03:00", "mon 9:00": "mon 09:00"}
    assert {text: parse_interval(text) for text in stored} == stored
    with pytest.raises(BadInput, match="`hour` and `night`"):
        parse_interval("often")
    assert next_pull("hour", "UTC", NOON) == NOON + timedelta(hours=1)
    night = next_pull("daily 03:00", "America/New_York", NOON)
    assert night == datetime(2025, 7, 22, 7, tzinfo=UTC)
    assert [period(every).days for every in ("daily 03:00", "mon 09:00", "1st 09:00")] == [1, 7, 31]


def test_large_shop_is_loaded_by_several_pulls(desk, monkeypatch):
    monkeypatch.setattr(source_pull, "MAX_SECONDS", 0.0)
    with connected("woocommerce") as (connector, stand_in):
        with desk.database.transaction() as session:
            own = connector.settings, SHOPS["woocommerce"].values(stand_in)
            shop = connections.add(session, "orders", "woocommerce", *own, channel=None, by="U1")
            place = ("orders", "shop", "woocommerce", "daily 03:00", "UTC", NOON)
            new = source_records.NewSource(*place)
            source_records.add(session, new, by="U1", connection=shop)
        assert desk.at(NOON) == ["done"]
        assert desk.source().next_at == NOON + timedelta(minutes=10)
        monkeypatch.setattr(source_pull, "MAX_SECONDS", 600.0)
        assert desk.at(NOON + timedelta(minutes=10)) == ["done"]
        assert desk.source().next_at == datetime(2025, 7, 22, 3, tzinfo=UTC)
        assert events(desk.settings) == 46
        assert {one.problem for one in desk.runs()} == {None}


@contextmanager
def new_shop(kind, folder, monkeypatch, name="shop", **changes):
    """Yield a stand-in and the options that connect it; secrets are in files."""
    with connected(kind) as (connector, stand_in):
        options = []
        values = SHOPS[kind].values(stand_in) | changes
        for setting in connector.settings:
            value = values.get(setting.key, "")
            if setting.is_secret and not (setting.is_made and not value):
                (folder / setting.key).write_text(value)
                monkeypatch.setenv(f"{setting.key.upper()}_FILE", str(folder / setting.key))
            elif value:
                options += ["--set", f"{setting.key}={value}"]
        yield stand_in, ["source", "add", name, kind, *options]


def subscribed(stand_in) -> list[dict]:
    return getattr(stand_in, "subscriptions", None) or stand_in.webhooks


@pytest.mark.parametrize(("kind", "changes"), [("shopify", {}), ("woocommerce", WITHOUT_SECRET)])
def test_new_shop_is_asked_for_webhooks_once_and_at_night_for_those_it_dropped(
    desk, tmp_path, monkeypatch, capsys, kind, changes
):
    monkeypatch.setenv("RETENTION_PUBLIC_URL", "https://desk.example")
    with new_shop(kind, tmp_path, monkeypatch, **changes) as (stand_in, command):
        assert run(command) == 0
        assert "at once at https://desk.example/hooks/shop" in capsys.readouterr().out
        hooks = len(subscribed(stand_in))
        assert hooks >= 6
        assert run(["source", "webhooks", "shop"]) == 0
        assert len(subscribed(stand_in)) == hooks
        assert all(len(hook["secret"]) == 64 for hook in subscribed(stand_in) if changes)
        subscribed(stand_in).pop()
        expected = {"added": 1, "present": hooks - 1}
        if kind == "woocommerce":
            stand_in.webhooks[0]["status"] = "disabled"
            expected["switched_on"] = 1
        (shop,) = scalars(desk.database, select(Connection))
        (night,) = read(desk.database, due_shop_checks.due, NOON)
        assert night.id == shop.id
        request = ShopReconcile(connection_id=shop.id)
        assert run_inline(desk.database, request, user="U0ADMIN")["webhooks"] == expected
        assert len(subscribed(stand_in)) == hooks


def test_shop_that_is_connected_again_signs_with_the_new_secret(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("RETENTION_PUBLIC_URL", "https://desk.example")
    with new_shop("woocommerce", tmp_path, monkeypatch, **WITHOUT_SECRET) as (stand_in, command):
        assert run(command) == 0
        before = {hook["secret"] for hook in stand_in.webhooks}
        stand_in.webhooks[0]["status"] = "disabled"  # after failed deliveries
        assert [run(["source", "remove", "shop"]), run(command)] == [0, 0]
        after = {hook["secret"] for hook in stand_in.webhooks}
        assert (len(stand_in.webhooks), len(after), before & after) == (6, 1, set())
        assert {hook["status"] for hook in stand_in.webhooks} == {"active"}


def test_new_shop_without_public_address_says_how_to_add_webhooks(
    desk, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("RETENTION_PUBLIC_URL", raising=False)
    with new_shop("shopify", tmp_path, monkeypatch) as (stand_in, command):
        assert run(command) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "retention source webhooks shop --address" in shown
        assert not stand_in.subscriptions


def test_shop_without_a_scope_is_not_stored(desk, tmp_path, monkeypatch, capsys):
    needed = "read_orders", "read_customers", "read_products", "write_discounts"
    with new_shop("shopify", tmp_path, monkeypatch) as (stand_in, command):
        for scope in needed:
            stand_in.scopes.remove(scope)
            assert run(command) == 2
            assert f"lacks {scope}, so nothing was stored" in capsys.readouterr().err
            stand_in.scopes.append(scope)
        assert not stand_in.subscriptions
    assert not scalars(desk.database, select(Connection))
    assert not scalars(desk.database, select(Source))


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("kind", SHOPS)
def test_shop_is_connected_pulled_and_says_when_its_key_was_revoked(
    desk, tmp_path, monkeypatch, kind
):
    with new_shop(kind, tmp_path, monkeypatch, name="orders") as (stand_in, command):
        assert run([*command, "--every", "hour", "--channel", CHANNEL]) == 0
        assert desk.at(NOON + timedelta(hours=1)) == ["done"], desk.posts()
        assert desk.runs()[0].rows_accepted > 0
        before = events(desk.settings)
        assert before > 0
        desk.at(NOON + timedelta(hours=2))
        assert (events(desk.settings), desk.runs()[-1].rows_accepted) == (before, 0)
        stand_in.fail("unauthorized", 100)
        desk.at(NOON + timedelta(hours=3))
        (post,) = desk.posts()
        assert "refused access" in post


def test_overdue_source_does_not_hide_a_later_one(settings, database):
    for name, hours in (("overdue", -3), ("later", 1)):
        at = NOON + timedelta(hours=hours)
        new = source_records.NewSource(name, "files", "*.csv", "hour", "UTC", at)
        change(database, source_records.add, new, by="operator")
    assert read(database, tick.next_due, NOON) == NOON + timedelta(hours=1)
