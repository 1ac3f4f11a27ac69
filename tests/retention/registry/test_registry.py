"""Tests of stored artefacts, seals and promotion."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention.db.tables import ModelVersion
from retention.errors import BadInput
from retention.registry import champion, load, promote, save
from tests.world import model_version


def _saved(settings, content=b"model", **changes) -> ModelVersion:
    row = {"cutoff": datetime(2025, 6, 1, tzinfo=UTC), "features": ["a"]} | changes
    return save(settings, model_version(settings, **row), content)


def test_saved_artefact_loads_without_leftover_files(settings):
    row = _saved(settings, b"\x00artefact")
    assert load(settings, row) == b"\x00artefact"
    iterdir = (Path(settings.models_url) / "churn").iterdir()
    assert [path.name for path in iterdir] == [Path(row.artefact).name]


def test_version_contains_the_shops_local_day(settings):
    """What was learned from before the first of June in London was called 20250531."""
    for zone, moment in (
        ("America/Chicago", datetime(2025, 6, 2, 4, tzinfo=UTC)),
        ("Europe/London", datetime(2025, 5, 31, 23, tzinfo=UTC)),
    ):
        row = _saved(settings.model_copy(update={"timezone": zone}), cutoff=moment)
        assert row.version.startswith("churn-20250601-")


def test_changed_artefact_is_not_loaded(settings):
    row = _saved(settings)
    (Path(settings.models_url) / row.artefact).write_bytes(b"other")
    with pytest.raises(BadInput, match="not what was saved"):
        load(settings, row)


def test_changed_row_is_refused(settings):
    import hashlib

    row, other = _saved(settings), _saved(settings, b"other")
    (Path(settings.models_url) / row.artefact).write_bytes(b"other")
    row.sha256 = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(BadInput, match="not what was saved"):
        load(settings, row)
    row.hmac = other.hmac  # another version's seal does not fit either
    with pytest.raises(BadInput, match="not what was saved"):
        load(settings, row)


def test_missing_artefact_gives_a_clear_message(settings):
    row = _saved(settings)
    (Path(settings.models_url) / row.artefact).unlink()
    with pytest.raises(BadInput, match="is missing"):
        load(settings, row)


def test_there_is_one_champion(settings, database):
    first, second = _saved(settings), _saved(settings)
    with database.transaction() as session:
        assert champion(session, "churn") is None
        promote(session, first, "U0ADMIN")
    with database.transaction() as session:
        promote(session, second, "U0ADMIN")
    with database.reading() as session:
        assert champion(session, "churn").version == second.version
        assert session.get(ModelVersion, first.version).state == "retired"
        assert champion(session, "recommend") is None
