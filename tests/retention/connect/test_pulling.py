"""Test pulling from files, object stores and databases."""

import gzip
import io
import os
import socket
import zipfile
from pathlib import Path
from unittest.mock import Mock

import fsspec
import pytest
import sqlalchemy as sa

from retention.connect import connections
from retention.connect.sources import places, public_web, query_source
from retention.connect.sources.pulling import Pull
from retention.connect.sources.source_records import place_of
from retention.db.tables import Source
from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from tests.postgres import postgres
from tests.retention.connect.failures import failure

MAP = """[events]
customer_id = "customer"
occurred_at = "at"
order_id    = "id"
amount      = "paid"
event_type  = { value = "purchase" }
"""
HEAD = "id,customer,at,paid"


class Place:
    """One source that is pulled again and again, as a job does it."""

    def __init__(self, settings, kind, location, **values) -> None:
        self.settings, self.lake = settings, Lake.open(settings)
        row = {"name": "orders", "table_name": "events", "map_text": MAP}
        row |= {"watermark": {}, "columns": {}, "config": {}}
        row |= {"kind": kind, "location": str(location)}
        secrets = values.pop("secrets", {})
        self.source = Source(**row | values)
        self.encrypt(secrets)

    def encrypt(self, secrets) -> None:
        place = place_of(self.source)
        self.source.secrets = connections.encrypt(self.settings.keys, secrets, place)

    def pull(self, *, accepts_shrunk=False, crash=False):
        """Pull once; a crash loses the watermark, not the import."""

        def importer(table, files, map_path, **options):
            return import_files(self.lake, None, self.settings, table, files, map_path, **options)

        one = Pull(self.settings, self.lake, self.source, None, importer, None, accepts_shrunk)
        total = None
        for batch in one.batches():
            total = total.plus(batch) if total else batch
            if crash:
                raise KeyboardInterrupt
            self.source.watermark = batch.watermark
            self.source.columns = batch.columns or self.source.columns
        return total

    def events(self) -> int:
        return int(self.lake.table("events").count().execute())


def lines(start: int, stop: int, *, day: int = 1) -> str:
    rows = [
        f"o{number},c{number % 7},2025-07-{day:02} 10:{number % 60:02}:00,{number}.5"
        for number in range(start, stop)
    ]
    return "\n".join([HEAD, *rows]) + "\n"


def write(path: Path, text: str, at: int) -> None:
    """Write a file with a time of its own, because a quick test writes twice in one tick."""
    path.write_text(text)
    os.utime(path, (at, at))


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "export").mkdir()
    return tmp_path / "export"


@pytest.fixture
def place(settings, folder) -> Place:
    """A folder of which twenty orders were pulled."""
    write(folder / "a.csv", lines(0, 20), 1)
    place = Place(settings, "files", folder / "*.csv")
    assert place.pull().accepted == 20
    return place


def test_pull_imports_new_and_changed_files_only(place, folder):
    assert place.pull() is None
    write(folder / "b.csv", lines(20, 25, day=2), 2)
    write(folder / "a.csv", lines(0, 22), 3)
    total = place.pull()
    assert (total.accepted, total.duplicate, place.events()) == (7, 20, 27)


def test_crash_between_import_and_watermark_neither_doubles_nor_loses(settings, folder):
    write(folder / "a.csv", lines(0, 20), 1)
    place = Place(settings, "files", folder / "*.csv")
    with pytest.raises(KeyboardInterrupt):
        place.pull(crash=True)
    assert (place.events(), place.source.watermark) == (20, {})
    again = place.pull()
    assert (again.accepted, again.duplicate, place.events()) == (0, 20, 20)
    assert place.pull() is None


def test_renamed_column_stops_the_pull_and_is_named(place, folder):
    write(folder / "b.csv", lines(20, 40).replace("paid", "total_paid"), 2)
    error = failure(place.pull)
    assert (error.code, error.facts["gone"]) == ("schema_changed", ["paid"])
    assert error.facts["renamed"] == {"paid": "total_paid"}
    assert place.events() == 20
    write(folder / "b.csv", lines(20, 40), 3)
    assert place.pull().accepted == 20


def test_number_that_became_text_stops_the_pull(place, folder):
    empty = "\n".join([HEAD, *(f"o{n},c1,2025-07-02 10:00:00," for n in range(30, 50))])
    write(folder / "b.csv", empty.replace("00:00,", "00:00,many"), 2)
    error = failure(place.pull)
    assert error.facts["changed"] == [{"column": "paid", "was": "number", "now": "text"}]
    write(folder / "b.csv", empty, 3)
    assert place.pull().accepted == 20


def test_shrunk_file_is_refused_until_somebody_accepts_it(settings, folder):
    write(folder / "a.csv", lines(0, 40), 1)
    place = Place(settings, "files", folder / "a.csv")
    place.pull()
    write(folder / "a.csv", lines(0, 15), 2)
    error = failure(place.pull)
    assert (error.code, error.facts["rows"], error.facts["rows_before"]) == ("shrunk", 15, 40)
    assert place.pull(accepts_shrunk=True).duplicate == 15
    assert place.pull() is None


def test_file_without_rows_is_no_problem(settings, folder):
    write(folder / "a.csv", lines(0, 20), 1)
    write(folder / "b.csv", f"{HEAD}\n", 1)
    write(folder / "c.csv", "", 1)
    place = Place(settings, "files", folder / "*.csv")
    assert place.pull().accepted == 20
    assert place.pull() is None


def test_events_older_than_a_day_before_the_newest_are_late(settings, folder):
    write(folder / "a.csv", lines(0, 20, day=10), 1)
    place = Place(settings, "files", folder / "*.csv")
    assert place.pull().late == 0
    write(folder / "b.csv", lines(20, 23, day=8) + lines(23, 25, day=10).split("\n", 1)[1], 2)
    total = place.pull()
    assert (total.accepted, total.late) == (5, 3)


def test_currency_that_changes_stops_the_pull(settings, folder):
    table = MAP + 'currency = "currency"\n'
    text = lines(0, 20).replace("\n", ",USD\n").replace("paid,USD", "paid,currency")
    write(folder / "a.csv", text, 1)
    place = Place(settings, "files", folder / "*.csv", map_text=table)
    place.pull()
    write(folder / "b.csv", lines(20, 40).replace("\n", ",EUR\n").replace("d,EUR", "d,currency"), 2)
    error = failure(place.pull)
    assert (error.code, error.facts) == ("currency_changed", {"known": ["USD"], "new": ["EUR"]})
    assert place.events() == 20


def test_folder_without_permission_is_access_denied(settings, folder):
    write(folder / "a.csv", lines(0, 20), 1)
    (folder / "a.csv").chmod(0)
    if os.access(folder / "a.csv", os.R_OK):
        pytest.skip("this user may read everything")
    error = failure(lambda: Place(settings, "files", folder / "*.csv").pull())
    assert error.code == "access_denied"


@pytest.fixture
def memory_driver(monkeypatch):
    monkeypatch.setitem(places.DRIVERS, "memory", "fsspec")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/*.conf",
        "memory://orders/*.csv",
        "HTTP://127.0.0.1/orders.csv",
        "ftp://10.0.0.7/orders.csv",
        "simplecache::http://127.0.0.1/orders.csv",
        "zip://*.csv::http://127.0.0.1/orders.zip",
        "s3://bucket/*.csv::file:///etc",
    ],
)
def test_object_store_is_reached_by_its_driver_alone(settings, monkeypatch, url):
    monkeypatch.setattr(fsspec.core, "url_to_fs", pytest.fail)
    with pytest.raises(BadInput):
        places.stored_files(settings, url, {})


@pytest.mark.usefixtures("memory_driver")
def test_object_store_is_pulled_by_its_pattern(settings):
    store = fsspec.filesystem("memory")
    store.pipe("/shop-orders/1.csv", lines(0, 20).encode())
    try:
        place = Place(settings, "object_store", "memory://shop-orders/*.csv")
        assert place.pull().accepted == 20
        assert place.pull() is None
        store.pipe("/shop-orders/2.csv", lines(20, 30).encode())
        assert place.pull().accepted == 10
        assert not list((settings.home / "sources" / "orders").glob("downloads/**/*.csv"))
    finally:
        store.rm("/shop-orders", recursive=True)


def test_secrets_of_another_place_are_a_problem_of_the_source(settings, folder):
    place = Place(settings, "files", folder / "*.csv")
    place.source.secrets = connections.encrypt(settings.keys, {}, {"location": "elsewhere"})
    assert failure(place.pull).code == "unreadable"


def test_object_store_without_driver_names_the_package(settings, monkeypatch):
    missing = Mock(side_effect=ImportError("Install s3fs to access S3"))
    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    error = failure(lambda: Place(settings, "object_store", "s3://bucket/*.csv").pull())
    assert "pip install s3fs" in error.facts["text"]


def test_web_address_is_pulled_when_it_changes(settings, httpserver):
    def serve(text, mark, status=200):
        httpserver.clear()
        needed = {"Authorization": "Bearer geheim"}
        answer = httpserver.expect_request("/orders.csv", headers=needed)
        answer.respond_with_data(text, status, headers={"ETag": mark})

    serve(lines(0, 20), "1")
    url = httpserver.url_for("/orders.csv")
    place = Place(near(settings), "object_store", url, secrets={"token": "geheim"})
    assert place.pull().accepted == 20
    assert place.pull() is None
    serve(lines(0, 25), "2")
    assert place.pull().accepted == 5
    serve("", "3", 403)
    assert failure(place.pull).code == "access_denied"
    serve("", "3", 503)
    assert failure(place.pull).code == "unavailable"
    serve("", "3", 404)
    assert place.pull() is None


def near(settings, **values):
    """Settings that allow this machine."""
    return settings.model_copy(update={"private_sources": "127.0.0.0/8, ::1", **values})


def refused(settings, url) -> str:
    error = failure(lambda: Place(settings, "object_store", url).pull())
    assert error.code == "unreadable"
    return error.facts["text"]


def test_web_address_never_leads_to_a_private_address(settings, httpserver):
    """A redirect read the internal service of a cloud machine."""
    for path, target in (
        ("/own.csv", httpserver.url_for("/orders.csv")),
        ("/cloud", "http://169.254.169.254/latest/meta-data"),
        ("/mapped", "http://[::ffff:10.0.0.7]/orders.csv"),
        ("/translated", "http://[64:ff9b::a00:7]/orders.csv"),
    ):
        httpserver.expect_request(path).respond_with_data("", 302, headers={"Location": target})
    httpserver.expect_request("/orders.csv").respond_with_data(lines(0, 20))
    assert "127.0.0.1" in refused(settings, httpserver.url_for("/orders.csv"))
    own = Place(near(settings), "object_store", httpserver.url_for("/own.csv"))
    assert own.pull().accepted == 20
    for path, address in (
        ("/cloud", "169.254.169.254"),
        ("/mapped", "10.0.0.7"),
        ("/translated", "10.0.0.7"),
    ):
        text = refused(near(settings), httpserver.url_for(path))
        assert f"RETENTION_PRIVATE_SOURCES={address}" in text


def test_address_that_is_not_for_the_public_is_refused(settings):
    addresses = (
        *("168.63.129.16", "169.254.169.254", "192.0.0.192", "192.168.0.1", "100.64.0.1"),
        *("[64:ff9b:1::a00:7]", "[::a00:7]", "[fec0::1]", "[fd00::1]", "[2002:a00:7::1]"),
        "[ff0e::1]",
    )
    for address in addresses:
        text = refused(settings, f"http://{address}/orders.csv")
        assert "RETENTION_PRIVATE_SOURCES=" in text, address


def test_connection_goes_to_the_address_that_was_checked(settings, httpserver, monkeypatch):
    """A second look-up of the name could give another address (DNS rebinding)."""
    answers = iter(["127.0.0.1", "10.0.0.7"])
    resolve = socket.getaddrinfo

    def rebinding(host, port, *args, **options):
        named = next(answers) if host == "shop.example" else host
        return resolve(named, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    httpserver.expect_request("/orders.csv").respond_with_data(lines(0, 20), headers={"ETag": "1"})
    url = f"http://shop.example:{httpserver.port}/orders.csv"
    with public_web.answer(near(settings), url, {}) as answer:
        assert answer.status_code == 200
    assert "10.0.0.7" in refused(near(settings), url)


@pytest.mark.parametrize("packed", ["sent", "encoded", "file", "zip"])
def test_web_file_has_a_limit_sent_and_unpacked(settings, httpserver, packed):
    """4.5 MB of gzip became 1.5 GB."""
    zeros = bytes(3 * 2**20)
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("orders.csv", zeros)
        zipped = buffer.getvalue()
    name, body, headers = {
        "sent": ("orders.csv", zeros, {}),
        "encoded": ("orders.csv", gzip.compress(zeros), {"Content-Encoding": "gzip"}),
        "file": ("orders.csv.gz", gzip.compress(zeros), {}),
        "zip": ("orders.zip", zipped, {}),
    }[packed]
    httpserver.expect_request(f"/{name}").respond_with_data(body, headers=headers)
    limited = near(settings, source_limit_mb=2)
    assert "RETENTION_SOURCE_LIMIT_MB" in refused(limited, httpserver.url_for(f"/{name}"))
    assert not [*(settings.home / "sources").glob("*/downloads/**/*.*")]


def test_download_of_a_killed_pull_is_deleted_by_the_next(settings, httpserver):
    left = settings.home / "sources" / "orders" / "downloads" / "left.csv"
    left.parent.mkdir(parents=True)
    left.touch()
    body = gzip.compress(lines(0, 20).encode())
    packed = {"Content-Encoding": "gzip"}
    httpserver.expect_request("/orders.csv").respond_with_data(body, headers=packed)
    url = httpserver.url_for("/orders.csv")
    assert Place(near(settings), "object_store", url).pull().accepted == 20
    assert not left.exists()


class NoCredentialsError(Exception):
    """As botocore names it."""


class Answered(Exception):
    """An error with the status of an HTTP answer."""

    def __init__(self, status) -> None:
        super().__init__("the store refused")
        self.status_code = status


@pytest.mark.usefixtures("memory_driver")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError("GET orders_202401.csv and 403.csv timed out"), "unavailable"),
        (ConnectionError("permission-list.csv: connection reset"), "unavailable"),
        (Answered(503), "unavailable"),
        (Answered(403), "access_denied"),
        (PermissionError("Access Denied"), "access_denied"),
        (NoCredentialsError("Unable to locate"), "access_denied"),
        (OSError("Forbidden: shop-orders/1.csv"), "access_denied"),
    ],
)
def test_access_is_refused_by_type_or_status_alone(settings, monkeypatch, error, code):
    """A time-out on a file named 202401 lost its retry."""
    store = fsspec.filesystem("memory")
    store.pipe("/refusing/1.csv", lines(0, 20).encode())
    monkeypatch.setattr(type(store), "get_file", Mock(side_effect=error))
    place = Place(settings, "object_store", "memory://refusing/*.csv")
    try:
        assert failure(place.pull).code == code
    finally:
        store.rm("/refusing", recursive=True)


# ---------------------------------------------------------------- queries


class Shop:
    """A database with orders."""

    def __init__(self, url: str, time: str = "TEXT") -> None:
        self.url = url
        columns = f"id TEXT, customer TEXT, at {time}, paid NUMERIC(9, 2), changed {time}"
        self.run(f"CREATE TABLE orders ({columns})")

    def run(self, statement: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def add(self, start: int, stop: int, changed: str) -> None:
        for number in range(start, stop):
            row = f"'o{number}', 'c1', '2025-07-01 10:00:00', {number + 0.5}, '{changed}'"
            self.run(f"INSERT INTO orders VALUES ({row})")


@pytest.fixture
def query(settings, folder):
    shop = Shop(f"sqlite:///{folder}/shop.db")
    shop.add(0, 20, "2025-07-01 10:00:00")
    return shop, query_place(settings, shop)


def query_place(settings, shop: Shop) -> Place:
    how = {"query": "SELECT * FROM orders;", "watermark_column": "changed"}
    return Place(settings, "query", shop.url, secrets={"url": shop.url}, **how)


def test_query_reads_rows_from_the_watermark_on(query):
    shop, place = query
    assert place.pull().accepted == 20
    # A row with the same value of the watermark is not lost.
    shop.add(20, 21, "2025-07-01 10:00:00")
    shop.add(21, 25, "2025-07-01 11:00:00")
    total = place.pull()
    assert (total.accepted, place.events()) == (5, 25)
    total = place.pull()
    assert (total.read, total.accepted) == (4, 0)


@pytest.mark.nightly
def test_postgresql_is_read_from_the_watermark_on(settings):
    with postgres() as url:
        shop = Shop(url, "TIMESTAMPTZ")
        shop.add(0, 20, "2025-07-01 10:00:00+00")
        place = query_place(settings, shop)
        assert place.pull().accepted == 20
        shop.add(20, 25, "2025-07-01 11:00:00+02")  # within the overlap: an hour earlier in UTC
        assert place.pull().accepted == 0
        shop.add(25, 27, "2025-07-01 12:30:00+02")
        total = place.pull()
        assert (total.accepted, place.events()) == (2, 22)
        assert "2025-07-01T10:30:00+00:00" in str(place.source.watermark)


def test_query_whose_rows_column_or_database_are_gone_is_refused(query):
    shop, place = query
    place.pull()
    shop.run("DELETE FROM orders WHERE paid > 5")
    assert failure(place.pull).code == "shrunk"
    assert place.pull(accepts_shrunk=True).accepted == 0
    shop.run("ALTER TABLE orders RENAME COLUMN paid TO total")
    assert failure(place.pull).facts["renamed"] == {"paid": "total"}
    away = {"url": "sqlite:////nowhere/x.db"}
    place.encrypt(away)
    assert failure(place.pull).code == "unavailable"


def test_watermark_of_times_is_read_with_an_overlap():
    watermark = {"type": "time", "value": "2025-07-01T10:00:00"}
    sql = query_source.since_watermark(
        "postgresql+psycopg://h/d", "SELECT * FROM o WHERE a LIKE '5%'", "updatedAt", watermark
    )
    assert "2025-07-01 09:50:00" in sql
    assert '"updatedAt" >=' in sql
    assert "LIKE '5%'" in sql
