"""A new root key: what older ones signed stays valid, and nothing is signed with them any more."""

import stat
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from retention import encryption
from retention.db.tables import DirectoryEntry, ModelVersion
from retention.encryption import encrypt
from retention.errors import BadInput
from retention.installation.rotation import reseal_all, rotate
from retention.keys import Keys
from retention.lake import Lake
from retention.lake.customer_directory import read
from retention.outreach import consent
from retention.privacy import erased, pseudonym
from retention.registry.store import load, save
from retention.settings import Settings
from tests.world import model_version

NOW = datetime(2025, 5, 1, tzinfo=UTC)


def _saved(settings) -> ModelVersion:
    return save(settings, model_version(settings, cutoff=NOW, features=["f"]), b"a model")


def test_new_key_signs_and_older_keys_still_verify(database, settings):
    token, old = consent.unsubscribe_token(settings.keys, 7), settings.key
    with database.transaction() as session:
        session.add(_saved(settings))
        erased.record_erased(session, ["k1"], "U0ADMIN", NOW)
    for _ in range(2):
        settings = rotate(settings)
    assert old not in settings.keys.all[:2]
    assert settings.keys.all[2] == old
    again = Settings(home=settings.home, _env_file=None)
    assert again.keys == settings.keys  # another process sees the same
    assert stat.S_IMODE((settings.home / "secret.key").stat().st_mode) == 0o600
    assert consent.read_unsubscribe_token(again.keys, token) == 7
    assert consent.unsubscribe_token(again.keys, 7) != token
    assert erased.load_erased(database, again).among(["k1", "k2"]) == {"k1"}
    directory = read(Lake.open(again), again)
    with database.using(again).transaction() as session:
        (row,) = session.scalars(select(ModelVersion))
        assert load(again, row) == b"a model"
        session.add(DirectoryEntry(customer_id="gone", pseudonym="P"))
        counts = reseal_all(directory, session, "operator")
        assert counts["models"] == 1
        assert reseal_all(directory, session, "operator")["models"] == 0
        session.refresh(row)
        alone = again.model_copy()
        alone.__dict__["keys"] = type(again.keys)(again.keys.all[:1])
        assert load(alone, row) == b"a model"  # the old keys are not needed for it any more


def test_row_with_foreign_seal_is_not_resealed(database, settings):
    with database.transaction() as session:
        row = _saved(settings)
        row.sha256 = "0" * 64
        session.add(row)
    settings = rotate(settings)
    with database.using(settings).transaction() as session:
        (row,) = session.scalars(select(ModelVersion))
        directory = read(Lake.open(settings), settings)
        assert reseal_all(directory, session, "operator")["models"] == 0
        with pytest.raises(BadInput, match="not what was saved"):
            load(settings, row)


def test_secret_of_a_lost_key_stops_no_rotation(settings):
    lost = encrypt(Keys((b"lost",)), {"token": "x"}, {})
    assert encryption.rotate(settings.keys, lost) == lost
    own = encrypt(settings.keys, {"token": "x"}, {})
    assert encryption.rotate(settings.keys, own) != own


def test_key_from_the_environment_is_not_rotated(tmp_path):
    configured = Settings(
        home=tmp_path, secret_key="new" * 11, old_secret_keys="old " + "older", _env_file=None
    )
    assert configured.keys.all == (b"new" * 11, b"old", b"older")
    with pytest.raises(BadInput, match="RETENTION_OLD_SECRET_KEYS"):
        rotate(configured)
    assert pseudonym(configured.key, "k") != pseudonym(b"old", "k")
