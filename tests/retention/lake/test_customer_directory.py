"""The directory knows a customer by id, pseudonym and e-mail address, and says who is near."""

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from retention import clock
from retention.db.tables import DirectoryEntry
from retention.erasure import erase_from_directory
from retention.errors import BadInput
from retention.lake.customer_directory import find, read, write
from retention.lake.importing.import_files import import_files
from retention.lake.lake import Lake
from retention.privacy import pseudonym
from retention.privacy.erased import record_erased
from tests import shop as tiny
from tests.retention.recommend.small_shop import import_relations
from tests.world import change, scalars


@pytest.fixture
def ask(shop):
    def find_customer(text):
        with shop.database.reading() as session:
            return find(session, text)

    return find_customer


def test_finds_customer_by_id_pseudonym_or_email(ask, shop):
    name = pseudonym(shop.settings.key, "c0007")
    texts = ("c0007", " C0007@example.com", name, name.lower().replace("-", " "))
    assert {ask(text) for text in texts} == {"c0007"}


def test_unknown_customer_error_names_nearest_ids(ask):
    with pytest.raises(BadInput, match="c0298"):
        ask("c02981")
    with pytest.raises(BadInput, match="'!!'"):
        ask("!!")


def test_unknown_number_suggests_no_other_customer(ask):
    with pytest.raises(BadInput) as refused:
        ask("0298")
    assert "nearest" not in str(refused.value)


def test_empty_directory_error_says_no_data_was_imported(database, settings):
    with database.reading() as session, pytest.raises(BadInput, match="no data"):
        find(session, "1")


def sync(lake, session) -> int:
    return write(session, read(lake, session.settings))


def test_sync_adds_and_removes_customers(database, settings, shop):
    with database.transaction() as session:
        assert sync(shop.lake, session) == 300
        assert sync(shop.lake, session) == 0
        assert sync(Lake.open(settings), session) == 300  # an empty lake: nobody is left


def test_old_snapshot_removes_no_customer_and_brings_none_back(shop_copy, tmp_path):
    """Live events added a customer, and another was erased, while an import read the lake."""
    shop, file = shop_copy, tmp_path / "customers.csv"
    snapshot = read(shop.lake, shop.settings)
    file.write_text("customer_id,name\nnew,Nora\n")
    import_files(shop.lake, shop.database, shop.settings, "customers", [str(file)])
    with shop.database.transaction() as session:
        record_erased(session, ["c0007"], "U0ADMIN", clock.now())
        erase_from_directory(session, ["c0007"])
    change(shop.database, write, snapshot)
    known = set(scalars(shop.database, select(DirectoryEntry.customer_id)))
    assert "new" in known
    assert "c0007" not in known


def test_sync_dates_email_changes_but_not_key_changes(shop_copy, tmp_path):
    file, at = tmp_path / "customers.csv", clock.now()
    file.write_text("customer_id,email\nc0007,Other@example.com\nc0008,C0008@Example.com\nc0009,\n")
    import_files(shop_copy.lake, shop_copy.database, shop_copy.settings, "customers", [str(file)])
    changed = select(DirectoryEntry.customer_id, DirectoryEntry.email_changed_at)
    changed = changed.where(DirectoryEntry.email_changed_at.is_not(None))
    with shop_copy.database.transaction() as session:
        gone = select(DirectoryEntry.customer_id).where(DirectoryEntry.email_hash.is_(None))
        assert session.scalars(gone).all() == ["c0009"]
        ((who, since),) = session.execute(changed)
        assert who == "c0007"
        assert at <= since <= clock.now()
    other = shop_copy.settings.model_copy(update={"secret_key": SecretStr(64 * "a")})
    other.__dict__.pop("key", None)
    other.__dict__.pop("keys", None)
    with shop_copy.database.using(other).transaction() as session:
        assert sync(shop_copy.lake, session) == 300
        assert session.execute(changed).all() == [("c0007", since)]


def test_referred_customers_are_listed(tmp_path):
    """A newcomer can be asked about, and erased, before they have ordered anything."""
    shop = tiny.build(tmp_path / "home", customers=10, items=6, days=30)
    import_relations(shop, [("c0001", "newcomer", "refer", ""), ("watcher", "c0002", "follow", "")])
    with shop.database.reading() as session:
        assert [find(session, who) for who in ("newcomer", "watcher")] == ["newcomer", "watcher"]
