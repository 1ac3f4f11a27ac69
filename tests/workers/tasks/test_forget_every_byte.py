"""Test that no byte of the home and of the database names an erased customer."""

import gzip
import json
import os
import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from sqlalchemy import inspect, text, update

from retention import clock, erasure, logs
from retention.data_subject import certificate
from retention.db import Database
from retention.db.tables import ImportLog, Note, Send, Thread
from retention.errors import BadInput
from retention.lake.importing.import_files import import_files
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.privacy import leftovers, pseudonym
from tests.databases import create_tables
from tests.postgres import postgres
from tests.retention.data_subject.rows_of_a_customer import fill_tables
from tests.workers.harness import ADMIN, ask, job
from tests.world import add
from workers.job_requests import Forget, Score, Sweep
from workers.retrain_request import Retrain
from workers.tasks.customers import forget
from workers.tasks.runner import run_job

WHO, OTHER = "cust-zq-77123", "c0007"
EMAIL, PHONE, NAME = "zeb.quagmire@post.example", "+4915799912345", "Zebulon Quagmire"
IDENTIFIERS = (WHO, EMAIL, PHONE, NAME)
EVERYWHERE = {
    *("lake/customers", "lake/events", "lake/scores", "lake/links", "lake/relations"),
    *("lake/treatments", "quarantine", "uploads", "sources", "read", "logs", "errors.log"),
    "state.db-wal",
}


def _run(shop, request) -> dict:
    stored = ask(shop.database, request, secrets.token_hex(8), channel=ADMIN)
    assert run_job(shop.database, stored.id, "test") == "done"
    return job(shop.database, stored.id).result


def _import(shop, table: str, *lines: str) -> None:
    file = shop.settings.home.parent / "more.csv"
    file.write_text("\n".join([*lines, ""]))
    import_files(shop.lake, shop.database, shop.settings, table, [str(file)])


@pytest.fixture
def named(admin_shop):
    """A shop whose every store names a customer."""
    return _with_a_customer_everywhere(admin_shop)


def _with_a_customer_everywhere(own):
    home, end = own.settings.home, f"{own.end:%Y-%m}"
    head = "customer_id,email,phone,name,marketing_consent"
    _import(own, "customers", head, f"{WHO},{EMAIL},{PHONE},{NAME},true")
    days = [f"{WHO},purchase,{end}-{day:02},o{day},9.5," for day in range(1, 19)]
    columns = "customer_id,event_type,occurred_at,order_id,amount,query"
    typed = f"{OTHER},search,{end}-03,,,mail {EMAIL} now"
    _import(own, "events", columns, *days, typed, f"{WHO},purchase,soon,,,", f"{EMAIL},x,soon,,,")
    relation = {"customer_id": OTHER, "other_id": WHO, "kind": "follow"}
    link = {"link_id": "l", "customer_id": OTHER, "same_as": WHO, "method": "email", "seq": 1}
    link |= {"probability": 1.0, "state": "rejected", "decided_at": own.end, "decided_by": "U1"}
    said = {"occurred_at": own.begin, "kind": "review", "text": f"ask {EMAIL} or {NAME}"}
    wrote = {"text_id": "t1", "customer_id": WHO, **said}
    named = {"text_id": "t2", "customer_id": OTHER, **said}
    treated = {"campaign_id": "c", "customer_id": WHO, "arm": "control", "sent_at": own.begin}
    for table, row in (
        *(("relations", relation), ("links", link), ("treatments", treated)),
        *(("texts", wrote), ("texts", named)),
    ):
        own_rows = delta_store.to_arrow(_frame(row), TABLES[table])
        delta_store.append(own.lake.root, TABLES[table], own_rows)
    _run(own, Sweep(tier="low", top=500))
    _run(own, Score(customer_id=WHO))
    with own.database.transaction() as session:
        fill_tables(session, [WHO])
        session.execute(update(Send).values(error=f"550 no such user: {EMAIL}"))
    about = f"moved in with {NAME}, call {PHONE}"
    report = {"examples": [{"customer_id": WHO, "text": EMAIL}]}
    name = pseudonym(own.settings.key, WHO)
    add(
        own.database,
        Note(customer_id=OTHER, text=about, by=ADMIN),
        ImportLog(id="i", table_name="customers", source="file", report=report),
        Thread(channel="C0", ts="1.0", command=f"score {name}", customer=name),
    )
    csv = f"customer_id,email\n{WHO},{EMAIL}\n"
    _copy(home / "uploads" / "F1" / "orders.csv", csv.encode())
    _copy(home / "sources" / "shop" / "page.csv.gz", gzip.compress(csv.encode()))
    (home / "read").mkdir(exist_ok=True)
    with zipfile.ZipFile(home / "read" / "orders.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("orders.csv", csv)
    _copy(home / "read" / "orders.zip", None)
    _copy(home / "logs" / "worker.log", f"INFO scored {WHO}\n".encode())
    logs.write_trace(home / logs.TRACES, "ab", ValueError(f"no order of {WHO}"), own.end.date())
    return own


def _frame(row):
    import pandas as pd

    return pd.DataFrame([row])


def _copy(path: Path, content: bytes | None) -> None:
    """A file that nobody has written to for two hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    at = (clock.wall() - timedelta(hours=2)).timestamp()
    os.utime(path, (at, at))


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and those that it has compressed."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield pq.read_table(path).to_pandas().to_csv().encode()
    elif path.suffix == ".gz":
        yield gzip.decompress(path.read_bytes())
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())


def _stores_naming(shop, identifiers=IDENTIFIERS) -> set[str]:
    """The stores with an identifier, in any case, by folder of the home."""
    home = shop.settings.home
    words = [each.lower().encode() for each in identifiers]
    found = set()
    for path in filter(Path.is_file, home.rglob("*")):
        if any(word in content.lower() for content in _contents(path) for word in words):
            parts = path.relative_to(home).parts
            found.add("/".join(parts[: 2 if parts[0] == "lake" else 1]))
    with shop.database.reading() as session:
        for table in inspect(session.connection()).get_table_names():
            rows = session.execute(text(f'SELECT * FROM "{table}"')).all()
            if any(word in str(rows).encode().lower() for word in words):
                found.add(f"table {table}")
    return found


def _forget(shop) -> dict:
    result = _run(shop, Forget(customer_id=WHO))
    shop.database.dispose()
    return result


def test_no_byte_of_home_and_database_names_an_erased_customer(named):
    before = _stores_naming(named)
    assert before >= EVERYWHERE
    signed = _forget(named)["certificate"]
    assert _stores_naming(named) == set()
    assert OTHER in set(named.lake.table("events").customer_id.execute())
    counted = {"events", "old_versions", "quarantine", "copies", "logs", "texts", "searches"}
    assert all(signed["erased"][store] for store in counted)
    head = "customer_id,event_type,occurred_at"
    _import(named, "events", head, f"{WHO},view,2025-02-01", f"{OTHER},view,2025-02-01")
    delta_store.compact(named.lake.root, TABLES["events"])
    assert _stores_naming(named) == set()


@pytest.mark.nightly
def test_no_byte_names_an_erased_customer_after_training_and_on_postgresql(admin_shop):
    with postgres() as url:
        own_key = SecretStr("of the shop on PostgreSQL" * 2)
        changes = {"database_url": SecretStr(url), "secret_key": own_key}
        settings = admin_shop.settings.model_copy(update=changes)
        own = replace(admin_shop, settings=settings, database=Database(url, settings))
        create_tables(own.database)
        _with_a_customer_everywhere(own)
        _run(own, Retrain(models=("churn",), horizon=14, cutoff=own.end))
        assert _stores_naming(own) >= {*EVERYWHERE, "table jobs"} - {"state.db-wal"}
        _forget(own)
        assert _stores_naming(own) == set()
        own.database.dispose()


STEPS = {
    "lake/customers": (erasure, "erase_from_lake", lambda *_: {}),
    "lake/events": (erasure, "erase_from_old_files", lambda *_: 0),
    "lake/links": (erasure, "erase_from_log", lambda *_: 0),
    "quarantine": (erasure, "erase_from_quarantine", lambda *_: 0),
    "uploads": (leftovers, "COPIES", ("sources", "scratch", "read")),
    "sources": (leftovers, "COPIES", ("uploads", "scratch", "read")),
    "read": (leftovers, "COPIES", ("uploads", "scratch", "sources")),
    "logs": (leftovers, "_mask", lambda *_: False),
    "table notes": (leftovers, "redacted_texts", lambda *_: []),
    "table jobs": (forget, "_scrub", lambda *_: None),
    "table coupons": (erasure, "erase_from_sql", lambda *_: {}),
    "table directory": (erasure, "erase_from_directory", lambda *_: 0),
}


@pytest.mark.nightly_after(2)
@pytest.mark.parametrize("store", STEPS)
def test_search_finds_each_store_that_an_erasure_skips(named, monkeypatch, store):
    monkeypatch.setattr(*STEPS[store])
    _forget(named)
    assert store in _stores_naming(named)


def test_certificate_is_checked_and_names_nobody(named):
    keys, signed = named.settings.keys, _forget(named)["certificate"]
    text = json.dumps(signed)
    assert certificate.verify(keys, text, WHO)["erased"] == signed["erased"]
    assert not [each for each in IDENTIFIERS if each in text]
    changed = json.dumps({**signed, "erased": {**signed["erased"], "events": 1}})
    forged = [json.dumps({**signed, name: "é"}) for name in ("key_id", "signature")]
    for given in ((changed,), (text, OTHER), ("{}",), *((each,) for each in forged)):
        with pytest.raises(BadInput):
            certificate.verify(keys, *given)


def test_readers_of_an_earlier_version_and_of_a_checkpoint_go_on(named):
    lake, table = named.lake, TABLES["customers"]
    old = delta_store.files(delta_store.open_table(lake.root, table))
    delta_store.open_table(lake.root, table).create_checkpoint()
    before = lake.table("customers").count().execute()
    erasure.erase_from_lake(lake, [WHO])
    assert erasure.erase_from_old_versions(lake, [WHO], [EMAIL])
    rows = lake.duckdb.execute(f"SELECT customer_id FROM read_parquet({old!r})").fetchall()
    assert len(rows) == before - 1
    assert (WHO,) not in rows
    lake.write_scores("r-1", lambda: [lake.all_scores("none").execute().head(0)])
    opened = delta_store.open_table(lake.root, table)
    assert len(opened.to_pyarrow_table()) == before - 1
    assert delta_store.version(lake.root, table) > 0
